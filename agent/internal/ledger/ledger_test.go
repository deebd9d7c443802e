package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	cluster = "cluster-1"
	host    = "host-1"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// bench is a ledger in a real file that can be closed and opened again.
type bench struct {
	*Ledger
	t    *testing.T
	path string
}

func newBench(t *testing.T) *bench {
	bench := &bench{t: t, path: filepath.Join(t.TempDir(), "ledger.db")}
	bench.open()
	t.Cleanup(func() { require.NoError(t, bench.Close()) })
	require.NoError(t, bench.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 5, Controllers: []hostv1.Controller{{ID: "c1", Address: "a:1"}}}))
	return bench
}

func (b *bench) open() {
	ledger, err := Open(b.path, cluster, host)
	require.NoError(b.t, err)
	b.Ledger = ledger
}

func (b *bench) reopen() {
	require.NoError(b.t, b.Close())
	b.open()
}

func (b *bench) accept(set hostv1.Assignments) Accepted {
	b.t.Helper()
	outcome, err := b.Accept(encode(set))
	require.NoError(b.t, err)
	return outcome
}

func encode(set hostv1.Assignments) []byte {
	body, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return body
}

// set is a good one; change breaks it before its digest is made.
func set(generation uint64, instances []hostv1.Assignment, tasks ...hostv1.Task) hostv1.Assignments {
	return signed(hostv1.Assignments{Cluster: cluster, Host: host, Epoch: 5, Generation: generation, Instances: instances, Tasks: tasks})
}

func signed(set hostv1.Assignments) hostv1.Assignments {
	set.Digest = set.ComputeDigest()
	return set
}

func instance(desired v1.DesiredState) hostv1.Assignment {
	return hostv1.Assignment{
		ID: newID(), Project: newID(), Desired: v1.InstanceDesired{State: desired},
		Spec: v1.InstanceSpec{VM: newID(), Host: host, VCPUs: 1, MemoryMiB: 64, Labels: map[string]string{"b": "<1>", "a": "2"}, Seed: v1.Seed{UserData: "#!/bin/sh\n"}},
	}
}

func TestAcceptBelieves(t *testing.T) {
	bench := newBench(t)
	one, two := instance(v1.DesiredHold), instance(v1.DesiredRunning)
	first := set(10, []hostv1.Assignment{one, two})
	body := encode(first)
	outcome, err := bench.Accept(body)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{one.ID, two.ID}, outcome.Changed)
	require.Equal(t, body, bench.Set(), "verbatim")
	require.Equal(t, Position{cluster, host, 5, 10, first.Digest}, bench.Position())

	for range 2 {
		require.Equal(t, Accepted{}, bench.accept(first), "the same again is nothing")
		bench.reopen()
	}
	require.Equal(t, body, bench.Set())
	one.Desired.State = v1.DesiredRunning
	require.Equal(t, []string{one.ID}, bench.accept(set(11, []hostv1.Assignment{one, two})).Changed)
	bench.reopen()
	record, ok := bench.Instance(one.ID)
	require.True(t, ok)
	require.Equal(t, one, record.Assignment)
	require.Equal(t, []hostv1.Controller{{ID: "c1", Address: "a:1"}}, bench.Controllers())
}

func TestAcceptRefuses(t *testing.T) {
	bench := newBench(t)
	one := instance(v1.DesiredRunning)
	good := set(10, []hostv1.Assignment{one})
	bench.accept(good)
	body := bench.Set()
	other := func(change func(*hostv1.Assignments)) []byte {
		changed := good
		change(&changed)
		return encode(signed(changed))
	}
	for name, test := range map[string]struct {
		body []byte
		want error
	}{
		"other cluster":          {other(func(s *hostv1.Assignments) { s.Cluster, s.Generation = "other", 99 }), ErrForeign},
		"other host":             {other(func(s *hostv1.Assignments) { s.Host, s.Generation = "other", 99 }), ErrForeign},
		"older epoch":            {other(func(s *hostv1.Assignments) { s.Epoch, s.Generation = 4, 99 }), ErrStale},
		"epoch of somebody else": {other(func(s *hostv1.Assignments) { s.Epoch, s.Generation = 6, 99 }), ErrUnregistered},
		"older generation":       {other(func(s *hostv1.Assignments) { s.Generation = 9 }), ErrStale},
		"older and empty":        {other(func(s *hostv1.Assignments) { s.Generation, s.Instances = 9, nil }), ErrStale},
		"same, other content":    {other(func(s *hostv1.Assignments) { s.Instances = nil }), ErrContradiction},
		"wrong digest":           {bytes.Replace(encode(good), []byte(`"generation":10`), []byte(`"generation":11`), 1), ErrCorrupt},
		"cut off":                {body[:len(body)/2], ErrCorrupt},
		"nothing":                {nil, ErrCorrupt},
		"twice":                  {other(func(s *hostv1.Assignments) { s.Generation, s.Instances = 11, []hostv1.Assignment{one, one} }), ErrCorrupt},
		"path for an id": {other(func(s *hostv1.Assignments) {
			bad := instance(v1.DesiredRunning)
			bad.ID = "../../etc/passwd"
			s.Generation, s.Instances = 11, []hostv1.Assignment{one, bad}
		}), ErrCorrupt},
		"path for a VM": {other(func(s *hostv1.Assignments) {
			bad := instance(v1.DesiredRunning)
			bad.Spec.VM = ".."
			s.Generation, s.Instances = 11, []hostv1.Assignment{one, bad}
		}), ErrCorrupt},
		"task without id": {other(func(s *hostv1.Assignments) { s.Generation, s.Tasks = 11, []hostv1.Task{{ID: "x"}} }), ErrCorrupt},
	} {
		before := bench.Instances()
		_, err := bench.Accept(test.body)
		require.ErrorIs(t, err, test.want, name)
		require.Equal(t, body, bench.Set(), name)
		require.Equal(t, before, bench.Instances(), name)
	}
	require.ErrorIs(t, bench.Registered(hostv1.RegisterResponse{Cluster: "other", Epoch: 9}), ErrForeign)
	require.ErrorIs(t, bench.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 4}), ErrStale)
	require.EqualValues(t, 5, bench.Position().Epoch)

	// After a new registration the same generation may come again with the new epoch in it, but not an older one.
	require.NoError(t, bench.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 7}))
	_, err := bench.Accept(encode(good))
	require.ErrorIs(t, err, ErrStale)
	_, err = bench.Accept(other(func(s *hostv1.Assignments) { s.Epoch, s.Generation = 7, 9 }))
	require.ErrorIs(t, err, ErrStale)
	_, err = bench.Accept(other(func(s *hostv1.Assignments) { s.Epoch = 7 }))
	require.NoError(t, err)
}

func TestFileOfSomebodyElse(t *testing.T) {
	bench := newBench(t)
	_, err := Open(bench.path, cluster, host)
	require.ErrorContains(t, err, "another agent has it open")
	require.NoError(t, bench.Close())
	_, err = Open(bench.path, "cluster-2", host)
	require.ErrorIs(t, err, ErrForeign)
	_, err = Open(bench.path, cluster, "host-2")
	require.ErrorIs(t, err, ErrForeign)
	bench.open()
	info, err := os.Stat(bench.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds users' cloud-init data")
}

func TestAbsence(t *testing.T) {
	bench := newBench(t)
	untouched, running, stopped, wanted := instance(v1.DesiredHold), instance(v1.DesiredRunning), instance(v1.DesiredStopped), instance(v1.DesiredStopped)
	unheard := instance(v1.DesiredRunning)
	bench.accept(set(10, []hostv1.Assignment{untouched, running, stopped, wanted, unheard}))
	require.NoError(t, bench.Mark(running.ID, Journal{Phase: PhaseStarted, BootID: "b"}, &v1.InstanceObserved{State: v1.InstanceRunning}))
	require.NoError(t, bench.Mark(stopped.ID, Journal{Phase: PhaseStopped}, &v1.InstanceObserved{State: v1.InstanceStopped, Reason: v1.StoppedRequested}))
	require.NoError(t, bench.Mark(wanted.ID, Journal{Phase: PhaseStopping}, nil))
	require.NoError(t, bench.Mark(unheard.ID, Journal{Phase: PhaseStopped}, &v1.InstanceObserved{State: v1.InstanceStopped, Reason: v1.StoppedCrashed}))

	outcome := bench.accept(set(11, nil))
	require.ElementsMatch(t, []string{untouched.ID, stopped.ID}, outcome.Forgotten)
	require.ElementsMatch(t, []string{running.ID, unheard.ID}, outcome.Kept, "never stopped by anybody: kept, and loudly")
	bench.reopen()
	record, ok := bench.Instance(running.ID)
	require.True(t, ok && record.Absent)
	require.Equal(t, v1.DesiredRunning, record.Assignment.Desired.State)
	require.ErrorIs(t, bench.Mark(stopped.ID, Journal{Phase: PhaseStopped}, nil), ErrGone)

	// What was not stopped is not forgotten; what ends later, and was wanted so, is.
	for _, id := range []string{running.ID, wanted.ID} {
		require.NoError(t, bench.Forget(id))
		_, ok := bench.Instance(id)
		require.True(t, ok)
	}
	require.NoError(t, bench.Mark(wanted.ID, Journal{Phase: PhaseStopped}, nil))
	require.NoError(t, bench.Forget(wanted.ID))
	_, ok = bench.Instance(wanted.ID)
	require.False(t, ok)

	// The controllers left it out without knowing that it had ended. Given again, it must not live again; once they have the report, it may go.
	bench.accept(set(12, []hostv1.Assignment{unheard, running}))
	record, _ = bench.Instance(unheard.ID)
	require.Equal(t, PhaseStopped, record.Journal.Phase)
	bench.accept(set(13, []hostv1.Assignment{running}))
	require.NoError(t, bench.Forget(unheard.ID))
	require.Len(t, bench.Instances(), 2)
	require.NoError(t, bench.Sent(bench.Unsent(10, 1<<20)))
	require.NoError(t, bench.Forget(unheard.ID))
	require.Len(t, bench.Instances(), 1)
}

func TestAssignmentsOnlyMoveForward(t *testing.T) {
	bench := newBench(t)
	one := instance(v1.DesiredStopped)
	one.Desired.Force, one.Over = true, true
	bench.accept(set(10, []hostv1.Assignment{one}))
	back := one
	back.Desired, back.Over, back.Spec.VCPUs = v1.InstanceDesired{State: v1.DesiredRunning}, false, 64
	bench.accept(set(11, []hostv1.Assignment{back}))
	record, _ := bench.Instance(one.ID)
	require.Equal(t, one, record.Assignment)
}

func TestReports(t *testing.T) {
	bench := newBench(t)
	one := instance(v1.DesiredRunning)
	one.Reported = 3 // an earlier ledger was lost
	bench.accept(set(10, []hostv1.Assignment{one}))
	require.NoError(t, bench.Mark(one.ID, Journal{}, &v1.InstanceObserved{State: v1.InstancePending}))
	require.Empty(t, bench.Unsent(10, 1<<20), "Pending is no news")
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseStarted}, &v1.InstanceObserved{State: v1.InstanceRunning}))
	<-bench.Outbox()
	sent := bench.Unsent(10, 1<<20)
	require.Len(t, sent, 1)
	require.EqualValues(t, 4, sent[0].Instance.Seq, "it must count as newer than what the controllers have")

	// While it is on its way there is newer news: that stays to be sent.
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseStarted}, &v1.InstanceObserved{State: v1.InstancePaused, Message: "disk"}))
	require.NoError(t, bench.Sent(sent))
	bench.reopen()
	<-bench.Outbox()
	sent = bench.Unsent(10, 1<<20)
	require.Equal(t, v1.InstancePaused, sent[0].Instance.State)
	require.NoError(t, bench.Sent(sent))
	require.Empty(t, bench.Unsent(10, 1<<20))
	for range 3 {
		require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseStarted}, &v1.InstanceObserved{State: v1.InstancePaused, Message: "disk"}))
	}
	require.Empty(t, bench.Unsent(10, 1<<20), "the same again is no news")

	// A set shows that the last report did not arrive, although it was acknowledged: once more.
	one.Reported = 4
	bench.accept(set(11, []hostv1.Assignment{one}))
	require.Equal(t, sent, bench.Unsent(10, 1<<20))
	// A set knows of reports that we do not remember: ours gets a higher number.
	one.Reported = 90
	bench.accept(set(12, []hostv1.Assignment{one}))
	require.EqualValues(t, 91, bench.Unsent(10, 1<<20)[0].Instance.Seq)
}

func TestUnsentIsBounded(t *testing.T) {
	bench := newBench(t)
	var all []hostv1.Assignment
	for range 20 {
		all = append(all, instance(v1.DesiredRunning))
	}
	bench.accept(set(10, all))
	for _, each := range all {
		require.NoError(t, bench.Mark(each.ID, Journal{Phase: PhaseStarted}, &v1.InstanceObserved{State: v1.InstanceRunning, Message: string(bytes.Repeat([]byte("x"), 1000))}))
	}
	require.Len(t, bench.Unsent(7, 1<<20), 7)
	require.Len(t, bench.Unsent(100, 5000), 4)
	require.Len(t, bench.Unsent(100, 1), 1, "always one, or nothing would ever go")
	for sent := 0; sent < 20; {
		some := bench.Unsent(7, 1<<20)
		sent += len(some)
		require.NoError(t, bench.Sent(some))
	}
	require.Empty(t, bench.Unsent(7, 1<<20))
}

func TestTasks(t *testing.T) {
	bench := newBench(t)
	one, two := hostv1.Task{ID: newID(), Spec: v1.TaskSpec{Type: v1.TaskVolumeCreate, Args: json.RawMessage(`{"volume":"<x>"}`)}},
		hostv1.Task{ID: newID(), Spec: v1.TaskSpec{Args: json.RawMessage(`{}`)}}
	require.True(t, bench.accept(set(10, nil, one, two)).Tasks)
	require.Len(t, bench.Tasks(), 2)
	bench.reopen()
	require.JSONEq(t, string(one.Spec.Args), string(bench.Tasks()[0].Spec.Args))

	bench.Progress(one.ID, 10)
	bench.Progress(one.ID, 5)
	reports := bench.Unsent(10, 1<<20)
	require.Len(t, reports, 1)
	require.Equal(t, 10, reports[0].Task.Percent)
	require.NoError(t, bench.Finish(one.ID, v1.TaskStatus{State: v1.TaskDone}))
	require.NoError(t, bench.Sent(reports), "of the progress")
	require.NoError(t, bench.Finish(one.ID, v1.TaskStatus{State: v1.TaskFailed}), "the first outcome stays")
	bench.Progress(one.ID, 99)
	done := bench.Unsent(10, 1<<20)
	require.Equal(t, v1.TaskDone, done[0].Task.State)
	require.Greater(t, done[0].Task.Seq, reports[0].Task.Seq)

	// Finished, sent or not, it is not carried out again, not even after a restart while the set still names it.
	bench.reopen()
	require.Equal(t, []hostv1.Task{two}, bench.Tasks())
	require.Equal(t, done, bench.Unsent(10, 1<<20))
	require.NoError(t, bench.Sent(done))
	bench.reopen()
	require.Len(t, bench.Tasks(), 1)
	require.Equal(t, done, bench.Unsent(10, 1<<20), "still pending there: said once more")

	require.True(t, bench.accept(set(11, nil, two)).Tasks)
	require.Empty(t, bench.Unsent(10, 1<<20))
	require.ErrorIs(t, bench.Finish(one.ID, v1.TaskStatus{State: v1.TaskDone}), ErrGone)
	bench.reopen()
	require.Equal(t, []hostv1.Task{two}, bench.Tasks())
}

func TestLogs(t *testing.T) {
	bench := newBench(t)
	require.Empty(t, bench.Logs("vm"))
	require.NoError(t, bench.SetLogs("vm", []string{"a", "b"}))
	bench.reopen()
	require.Equal(t, []string{"a", "b"}, bench.Logs("vm"))
	require.NoError(t, bench.SetLogs("vm", nil))
	bench.reopen()
	require.Empty(t, bench.Logs("vm"))
}

// failing is a disk that can be full.
type failing struct {
	store
	full bool
}

func (f *failing) write(changes []change) error {
	if f.full {
		return errors.New("no space left on device")
	}
	return f.store.write(changes)
}

// What could not be written has not happened.
func TestFullDisk(t *testing.T) {
	bench := newBench(t)
	one, task := instance(v1.DesiredRunning), hostv1.Task{ID: newID()}
	bench.accept(set(10, []hostv1.Assignment{one}, task))
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseDefining}, &v1.InstanceObserved{State: v1.InstancePending, Message: "x"}))
	disk := &failing{store: bench.store, full: true}
	bench.store = disk
	before, position, unsent := bench.Instances(), bench.Position(), bench.Unsent(9, 1<<20)
	_, err := bench.Accept(encode(set(11, nil)))
	require.Error(t, err)
	require.Error(t, bench.Mark(one.ID, Journal{Phase: PhaseStarting}, nil))
	require.Error(t, bench.Finish(task.ID, v1.TaskStatus{State: v1.TaskDone}))
	require.Error(t, bench.Sent(unsent))
	require.Error(t, bench.SetLogs("vm", []string{"a"}))
	require.Error(t, bench.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 9}))
	require.Equal(t, before, bench.Instances())
	require.Equal(t, position, bench.Position())
	require.Equal(t, unsent, bench.Unsent(9, 1<<20))
	require.Len(t, bench.Tasks(), 1)
	require.Empty(t, bench.Logs("vm"))
	disk.full = false
	require.NoError(t, bench.Finish(task.ID, v1.TaskStatus{State: v1.TaskDone}))
}

// keeping is a disk that needs no waiting for.
type keeping map[[2]string][]byte

func (k keeping) load(each func(bucket, key string, value []byte) error) error {
	for at, value := range k {
		if err := each(at[0], at[1], value); err != nil {
			return err
		}
	}
	return nil
}

func (k keeping) write(changes []change) error {
	for _, each := range changes {
		if each.value == nil {
			delete(k, [2]string{each.bucket, each.key})
		} else {
			k[[2]string{each.bucket, each.key}] = each.value
		}
	}
	return nil
}

func (keeping) close() error { return nil }

// Sets in any order, doubled, from lagging followers: the newest one counts, what is known of an Instance never moves back, and whatever was
// seen last is what the controllers end up with, over restarts too.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		disk := keeping{}
		ledger, err := load(disk, cluster, host)
		check := func(err error) {
			if err != nil {
				r.Fatal(err)
			}
		}
		check(err)
		check(ledger.Registered(hostv1.RegisterResponse{Cluster: cluster, Epoch: 5}))
		one := instance(v1.DesiredHold)
		var history [][]byte
		for generation := uint64(1); generation <= 6; generation++ {
			one.Desired.State = []v1.DesiredState{v1.DesiredHold, v1.DesiredRunning, v1.DesiredStopped}[(generation-1)/2]
			history = append(history, encode(set(generation, []hostv1.Assignment{one})))
		}
		highest, taken, last := uint64(0), uint64(0), v1.InstanceObserved{}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0, 1:
				number := rapid.IntRange(0, 5).Draw(r, "set")
				_, err := ledger.Accept(history[number])
				if generation := uint64(number + 1); generation >= highest {
					check(err)
					highest = generation
				} else if !errors.Is(err, ErrStale) {
					r.Fatalf("an old set: %v", err)
				}
			case 2:
				last = v1.InstanceObserved{State: v1.InstanceRunning, Message: rapid.StringN(1, 3, 9).Draw(r, "message")}
				if err := ledger.Mark(one.ID, Journal{Phase: PhaseStarted}, &last); err != nil && !errors.Is(err, ErrGone) {
					r.Fatal(err)
				}
			case 3:
				reports := ledger.Unsent(9, 1<<20)
				for _, report := range reports {
					if report.Instance.Seq < taken {
						r.Fatal("a report that the controllers would drop as late")
					}
					taken = report.Instance.Seq
				}
				if rapid.Bool().Draw(r, "answered") {
					check(ledger.Sent(reports))
				}
			}
			if rapid.IntRange(0, 9).Draw(r, "restart") == 0 {
				ledger, err = load(disk, cluster, host)
				check(err)
			}
		}
		if ledger.Position().Generation != highest {
			r.Fatalf("at generation %d, not %d", ledger.Position().Generation, highest)
		}
		record, ok := ledger.Instance(one.ID)
		if ok && record.Report.Seq > 0 && record.Report.Message != last.Message {
			r.Fatal("the newest observation is lost")
		}
	})
}

func TestSinceIsWhenTheStateBegan(t *testing.T) {
	bench := newBench(t)
	one := instance(v1.DesiredRunning)
	bench.accept(set(10, []hostv1.Assignment{one}))
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseDefining}, &v1.InstanceObserved{State: v1.InstancePending, Message: "a"}))
	first, _ := bench.Instance(one.ID)
	time.Sleep(5 * time.Millisecond)
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseDefining}, &v1.InstanceObserved{State: v1.InstancePending, Message: "b"}))
	second, _ := bench.Instance(one.ID)
	require.Equal(t, first.Report.Since, second.Report.Since)
	require.NoError(t, bench.Mark(one.ID, Journal{Phase: PhaseStarted}, &v1.InstanceObserved{State: v1.InstanceRunning}))
	third, _ := bench.Instance(one.ID)
	require.True(t, third.Report.Since.After(first.Report.Since))
}
