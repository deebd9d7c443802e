package dispatch

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode/memnet"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// TestAssignmentsOf: a set is the host's alone, complete, and the same on every controller that has the same entries, however it came to them.
func TestAssignmentsOf(t *testing.T) {
	one, two := base(newWorld(t)), base(newWorld(t))
	for _, w := range []*world{one, two} {
		txn := state.NewTxn(begun, "tester")
		over := w.store.Snapshot().Instance(instanceID(2)).Clone()
		over.Observed = v1.InstanceObserved{Seq: 9, State: v1.InstanceStopped, Reason: v1.StoppedCrashed}
		done := w.store.Snapshot().Task(taskID(2)).Clone()
		done.Status.State = v1.TaskDone
		require.NoError(t, w.apply(txn.Update(over, "").Update(done, "")))
		w.create(newVM(3), newInstance(3, 1), newTask(3, 1), newTask(4, 1)) // after the first ones, with larger ids
	}
	set := AssignmentsOf(one.store.Snapshot(), cluster, hostID(1))
	require.Equal(t, set, AssignmentsOf(two.store.Snapshot(), cluster, hostID(1)))
	require.Equal(t, set.ComputeDigest(), set.Digest)
	require.Equal(t, cluster, set.Cluster)
	require.Equal(t, hostID(1), set.Host)
	require.Equal(t, one.store.Snapshot().Host(hostID(1)).Status.Epoch, set.Epoch)
	require.Equal(t, one.index, set.Generation)
	require.Len(t, set.Instances, 2)
	require.Equal(t, instanceID(1), set.Instances[0].ID)
	require.EqualValues(t, 5, set.Instances[0].Reported)
	require.False(t, set.Instances[0].Over)
	require.Equal(t, instanceID(3), set.Instances[1].ID)
	require.Equal(t, []hostv1.Task{{ID: taskID(1), Spec: newTask(1, 1).Spec}, {ID: taskID(3), Spec: newTask(3, 1).Spec}, {ID: taskID(4), Spec: newTask(4, 1).Spec}}, set.Tasks)

	other := AssignmentsOf(one.store.Snapshot(), cluster, hostID(2))
	require.Len(t, other.Instances, 1)
	require.True(t, other.Instances[0].Over, "what is over stays in the set, so that absence never means stop")
	require.Empty(t, other.Tasks, "finished tasks are nobody's any more")
	require.Equal(t, one.index-1, other.Generation, "the generation is the last entry that concerned this host")

	nobody := AssignmentsOf(one.store.Snapshot(), cluster, hostID(9))
	require.NotNil(t, nobody.Instances)
	require.Empty(t, nobody.Instances)
	require.Zero(t, nobody.Generation)
}

func TestPoll(t *testing.T) {
	m := alone(t)
	epoch := m.register(1, "one").Epoch
	path := hostv1.PathAssignments
	for _, query := range []string{"", "?epoch=1", "?after=1", "?epoch=x&after=1", "?epoch=-1&after=1", "?epoch=1&after=1e3", "?epoch=1&after=1&wait=soon", "?epoch=99999999999999999999&after=0"} {
		requireProblem(t, m.ask(t.Context(), hostID(1), "GET", path+query, nil), 400, v1.CodeMalformed)
	}
	got := m.poll(1, epoch, 0, 0)
	require.Equal(t, 200, got.Code)
	set := read[hostv1.Assignments](t, got)
	require.Equal(t, epoch, set.Epoch)
	require.Equal(t, set.ComputeDigest(), set.Digest)

	// Nothing newer: it waits as long as asked, not longer, and a wish of the past is none.
	begun := time.Now()
	require.Equal(t, 304, m.poll(1, epoch, set.Generation, -time.Hour).Code)
	require.Equal(t, 304, m.poll(1, epoch, set.Generation, 0).Code)
	require.Less(t, time.Since(begun), time.Second)
	begun = time.Now()
	got = m.poll(1, epoch, set.Generation, 150*time.Millisecond)
	require.Equal(t, 304, got.Code)
	require.Empty(t, got.Body.String())
	require.GreaterOrEqual(t, time.Since(begun), 150*time.Millisecond)

	// A change of this host's wakes it at once; one of another host's does not.
	m.create(newHost(2), newProject(), newFlavor(), newVM(1), newVM(2))
	type reply struct {
		took time.Duration
		set  hostv1.Assignments
	}
	answered := make(chan reply, 1)
	var changed time.Time
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		got := m.poll(1, epoch, set.Generation, 30*time.Second)
		answered <- reply{time.Since(changed), read[hostv1.Assignments](t, got)}
	}()
	<-waiting
	time.Sleep(30 * time.Millisecond)
	m.create(newInstance(2, 2))
	select {
	case <-answered:
		t.Fatal("woken by what is not its own")
	case <-time.After(100 * time.Millisecond):
	}
	changed = time.Now()
	m.create(newInstance(1, 1))
	woken := <-answered
	require.Less(t, woken.took, 500*time.Millisecond)
	require.Len(t, woken.set.Instances, 1)
	require.Greater(t, woken.set.Generation, set.Generation)

	// Another registration makes the old epoch's polls end.
	ended := make(chan int, 1)
	go func() { ended <- m.poll(1, epoch, woken.set.Generation, 30*time.Second).Code }()
	time.Sleep(30 * time.Millisecond)
	next := m.register(1, "one").Epoch
	require.Greater(t, next, epoch)
	require.Equal(t, 409, <-ended)
	requireProblem(t, m.poll(1, epoch, 0, time.Second), 409, v1.CodeConflict)
	require.Equal(t, 200, m.poll(1, next, 0, 0).Code)
	require.Equal(t, 304, m.poll(1, next+1000, 0, 0).Code, "an epoch that is not known here yet: a follower that lags waits")

	// A client that goes away is not answered.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	generation := read[hostv1.Assignments](t, m.poll(1, next, 0, 0)).Generation
	require.Empty(t, m.ask(ctx, hostID(1), "GET", fmt.Sprintf("%s?epoch=%d&after=%d&wait=30s", path, next, generation), nil).Body.String())

	// A host that was forgotten is told so, while it waits and afterwards.
	m.register(3, "three")
	third := m.store.Snapshot().Host(hostID(3))
	go func() {
		ended <- m.poll(3, third.Status.Epoch, m.store.Snapshot().Generation(hostID(3)), 30*time.Second).Code
	}()
	time.Sleep(30 * time.Millisecond)
	m.write(state.NewTxn(begun, "tester").Delete(third, "forgotten"))
	require.Equal(t, 409, <-ended)
	requireProblem(t, m.poll(3, third.Status.Epoch, 0, 0), 409, v1.CodeConflict)
	requireProblem(t, m.ask(t.Context(), hostID(3), "POST", hostv1.PathHeartbeat, hostv1.Heartbeat{Epoch: third.Status.Epoch}), 409, v1.CodeConflict)
	require.NotZero(t, m.register(3, "three").Epoch)
}

// TestStaleFollower: a follower that is cut off gives what it has, old but true, and never less than it gave before; and it forgets nobody.
func TestStaleFollower(t *testing.T) {
	network := memnet.New()
	leader := startMember(t, network, "c1")
	follower := startMember(t, network, "c2")
	require.NoError(t, leader.node.Bootstrap())
	<-leader.ready
	require.NoError(t, follower.node.Join(t.Context(), leader.node.Address()))
	epoch := follower.register(1, "one").Epoch // forwarded
	require.NoError(t, follower.node.CatchUp(t.Context()))
	before := read[hostv1.Assignments](t, follower.poll(1, epoch, 0, 0))
	require.Equal(t, read[hostv1.Assignments](t, leader.poll(1, epoch, 0, 0)), before, "whoever is asked, the same generation is the same set")
	require.Len(t, leader.beats.of(hostID(1)), 1, "a registration is a sign of life, and the leader hears it")
	require.Equal(t, 200, follower.ask(t.Context(), hostID(1), "POST", hostv1.PathHeartbeat, hostv1.Heartbeat{Epoch: epoch, AppliedGeneration: 7}).Code)
	require.Len(t, leader.beats.of(hostID(1)), 2)
	require.Empty(t, follower.beats.of(hostID(1)))

	network.Isolate("c2")
	require.Equal(t, before, read[hostv1.Assignments](t, follower.poll(1, epoch, 0, 0)))
	require.Equal(t, 304, follower.poll(1, epoch, before.Generation, 0).Code)
	require.Equal(t, 304, follower.poll(2, 99, 0, 0).Code, "who is not known here may be known to the leader")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Equal(t, 503, follower.ask(ctx, hostID(1), "POST", hostv1.PathHeartbeat, hostv1.Heartbeat{Epoch: epoch}).Code)
	network.Heal()
	require.Eventually(t, func() bool {
		return leader.node.IsLeader() || follower.node.IsLeader()
	}, 10*time.Second, 10*time.Millisecond)
}

func TestImages(t *testing.T) {
	m := alone(t)
	image := func(n int, keeper string) *v1.Image {
		return &v1.Image{Meta: v1.Meta{ID: id('g', n), Name: fmt.Sprintf("image-%d", n), Project: id('p', 1)}, Spec: v1.ImageSpec{Format: v1.FormatRaw},
			Status: v1.ImageStatus{Phase: v1.ImageImporting, Keeper: keeper}}
	}
	m.create(newProject(), image(1, "c1"), image(2, "c2"), image(3, ""), image(4, "c1"))
	for _, n := range []int{1, 2, 3, 5} {
		require.NoError(t, os.WriteFile(filepath.Join(string(m.Files.(folder)), id('g', n)), []byte("the bytes"), 0o600))
	}
	get := func(id string) (int, string) {
		got := m.ask(t.Context(), hostID(1), http.MethodGet, hostv1.PathImages+id, nil)
		return got.Code, got.Body.String()
	}
	code, body := get(id('g', 1))
	require.Equal(t, 200, code)
	require.Equal(t, "the bytes", body)
	for _, other := range []string{id('g', 2), id('g', 3), id('g', 4), id('g', 5), id('g', 6), "x", "..", "%2e%2e%2fetc%2fpasswd", ""} {
		code, body := get(other)
		require.Contains(t, []int{404, 307}, code, other)
		require.NotContains(t, body, "the bytes")
	}
}
