package reconcile

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func TestHostPhases(t *testing.T) {
	const after = 10 * time.Second
	for _, line := range []struct {
		name    string
		silence [3]time.Duration // of hosts 1 and 2, which are ready, and 3, which is silent
		heard   [3]bool
		want    []string
	}{
		{"all as they were", [3]time.Duration{0, after, time.Hour}, [3]bool{true, true, false}, []string{}},
		{"exactly at the limit", [3]time.Duration{after, after + 1, after + 1}, [3]bool{true, true, true}, []string{"put Host 2"}},
		{"both fall silent", [3]time.Duration{time.Minute, time.Minute, time.Minute}, [3]bool{}, []string{"put Host 1", "put Host 2"}},
		{"heard again", [3]time.Duration{0, 0, 0}, [3]bool{true, true, true}, []string{"put Host 3"}},
		{"heard, and long ago", [3]time.Duration{0, 0, after + 1}, [3]bool{true, true, true}, []string{}},
		{"grace of a new term is not being heard", [3]time.Duration{0, 0, 0}, [3]bool{}, []string{}},
	} {
		w := base(newWorld(t))
		number := func(host string) int { return int(host[len(host)-1] - '1') }
		txn := HostPhases(w.store.Snapshot(), begun, after, func(host string) time.Duration { return line.silence[number(host)] }, func(host string) bool { return line.heard[number(host)] })
		require.Equal(t, line.want, changed(txn), line.name)
		require.NoError(t, w.apply(txn))
		txn = HostPhases(w.store.Snapshot(), begun, after, func(host string) time.Duration { return line.silence[number(host)] }, func(host string) bool { return line.heard[number(host)] })
		require.Empty(t, changed(txn), "%s: twice changes nothing", line.name)
	}
}

func TestStoppedAgainstWish(t *testing.T) {
	const stopped = v1.InstanceStopped
	for _, line := range []struct {
		name   string
		policy v1.RestartPolicy
		power  v1.Power
		at     v1.InstanceState
		reason v1.StopReason
		change func(w *world)
		want   bool
	}{
		{name: "crashed", at: stopped, reason: v1.StoppedCrashed, want: true},
		{name: "host rebooted", at: stopped, reason: v1.StoppedHostBoot, want: true},
		{name: "nobody knows why", at: stopped, reason: v1.StoppedUnknown, want: true},
		{name: "asked for by an operation that came to nothing", at: stopped, reason: v1.StoppedRequested, want: true},
		{name: "guest shut down", at: stopped, reason: v1.StoppedByGuest, want: false},
		{name: "guest shut down, on-failure said", policy: v1.RestartOnFailure, at: stopped, reason: v1.StoppedByGuest, want: false},
		{name: "guest shut down, always", policy: v1.RestartAlways, at: stopped, reason: v1.StoppedByGuest, want: true},
		{name: "crashed, always", policy: v1.RestartAlways, at: stopped, reason: v1.StoppedCrashed, want: true},
		{name: "crashed, never", policy: v1.RestartNever, at: stopped, reason: v1.StoppedCrashed, want: false},
		{name: "runs", at: v1.InstanceRunning, want: false},
		{name: "paused", at: v1.InstancePaused, want: false},
		{name: "not yet", at: v1.InstancePending, want: false},
		{name: "not wanted", power: v1.PowerStopped, at: stopped, reason: v1.StoppedCrashed, want: false},
		{name: "wanted in so many words", power: v1.PowerRunning, at: stopped, reason: v1.StoppedCrashed, want: true},
		{name: "being deleted", at: stopped, reason: v1.StoppedCrashed, change: func(w *world) {
			change(w, v1.KindVM, id('v', 1), func(o *v1.VM) { at := begun; o.DeletedAt = &at })
		}},
		{name: "something works on it", at: stopped, reason: v1.StoppedCrashed, change: func(w *world) { w.create(newOperation(1, id('v', 1), v1.OperationRunning, begun)) }},
		{name: "something is stuck on it", at: stopped, reason: v1.StoppedCrashed, change: func(w *world) { w.create(newOperation(1, id('v', 1), v1.OperationNeedsAttention, begun)) }},
		{name: "something has worked on it", at: stopped, reason: v1.StoppedCrashed, want: true, change: func(w *world) { w.create(newOperation(1, id('v', 1), v1.OperationFailed, begun)) }},
		{name: "its host is silent", at: stopped, reason: v1.StoppedCrashed, change: func(w *world) {
			change(w, v1.KindHost, id('h', 1), func(o *v1.Host) { o.Status.Phase = v1.HostSilent })
		}},
		{name: "it has never run", at: stopped, reason: v1.StoppedCrashed, change: func(w *world) {
			change(w, v1.KindVM, id('v', 1), func(o *v1.VM) { o.Status.Instance = "" })
		}},
		{name: "fenced", at: v1.InstanceRunning, want: true, change: func(w *world) {
			change(w, v1.KindInstance, id('i', 1), func(o *v1.Instance) { o.Fence = &v1.FenceProof{At: begun, By: "x", How: "y"} })
		}},
	} {
		w := base(newWorld(t))
		w.create(newVM(1, line.policy, line.power), newInstance(1, 1, line.at, line.reason))
		if line.change != nil {
			line.change(w)
		}
		require.Equal(t, line.want, len(StoppedAgainstWish(w.store.Snapshot())) == 1, line.name)
	}
}

func TestGarbage(t *testing.T) {
	w := base(newWorld(t))
	now := begun.Add(100 * 24 * time.Hour)
	old, young := now.Add(-keepOperations-time.Second), now.Add(-keepOperations+time.Second)
	w.create(newReceipt(1, now.Add(-1)), newReceipt(2, now), newReceipt(3, now.Add(1)), newToken(1, now.Add(-1)), newToken(2, now), newToken(3, now.Add(1)),
		newOperation(1, id('v', 1), v1.OperationSucceeded, old), newOperation(2, id('v', 1), v1.OperationFailed, young), newOperation(3, id('v', 1), v1.OperationCancelled, old),
		newOperation(4, id('v', 1), v1.OperationRunning, old), newOperation(5, id('v', 1), v1.OperationNeedsAttention, old), newOperation(6, id('v', 1), v1.OperationAbandoned, old),
		newOperation(7, id('v', 1), v1.OperationSucceeded, old), &v1.Task{Meta: v1.Meta{ID: id('t', 1), Name: "t", Project: id('p', 1)}, Spec: v1.TaskSpec{Operation: id('o', 7), Host: id('h', 1), Type: v1.TaskVMForget}, Status: v1.TaskStatus{State: v1.TaskPending}})
	txn := Garbage(w.store.Snapshot(), now)
	require.Equal(t, []string{"delete Receipt 1", "delete Token 1", "delete Token 2", "delete Operation 1", "delete Operation 3", "delete Operation 6"}, changed(txn))
	require.NoError(t, w.apply(txn))
	require.Empty(t, changed(Garbage(w.store.Snapshot(), now)), "twice changes nothing")
}

// TestGarbageIsBounded: a heap is removed in portions, and history is bounded by number too.
func TestGarbageIsBounded(t *testing.T) {
	w := base(newWorld(t))
	txn := state.NewTxn(begun, "tester")
	for n := range collectedAtOnce + 10 {
		txn.Create(newReceipt(n, begun.Add(-time.Hour)), "")
	}
	require.NoError(t, w.apply(txn))
	portion := Garbage(w.store.Snapshot(), begun)
	require.Len(t, portion.Ops, collectedAtOnce)
	require.NoError(t, w.apply(portion))
	portion = Garbage(w.store.Snapshot(), begun)
	require.Len(t, portion.Ops, 10)
	require.NoError(t, w.apply(portion))

	txn = &state.Txn{Schema: state.TxnSchema, Time: begun, Actor: "tester"}
	for n := range mostOperations + 3 { // without guards: there are many
		made := newOperation(n, id('v', 1), v1.OperationSucceeded, begun)
		txn.Ops = append(txn.Ops, state.Op{Kind: v1.KindOperation, ID: made.ID, Object: made})
	}
	require.NoError(t, w.store.Apply(1<<20, txn))
	require.Equal(t, []string{"delete Operation 0", "delete Operation 1", "delete Operation 2"}, changed(Garbage(w.store.Snapshot(), begun)), "the oldest first")
}
