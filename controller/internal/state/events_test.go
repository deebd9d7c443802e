package state

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func every(*v1.Event) bool { return true }

// since returns what events an action made, as short lines.
func since(w *world, do func()) []string {
	w.Helper()
	index := w.index
	do()
	var lines []string
	for _, event := range w.store.Snapshot().Events(index, ^uint16(0), 100, every) {
		require.Equal(w, "tester", event.Actor)
		require.Equal(w, fmt.Sprintf("%d-%d", event.Index, placeOf(&event)), event.ID)
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", event.Action, event.Object.Kind, event.Object.Name, event.Note))
	}
	return lines
}

func TestEvents(t *testing.T) {
	w := base(newWorld(t))
	w.create(newVM(1))
	for _, line := range []struct {
		name string
		do   func()
		want []string
	}{
		{"created with a note", func() { w.must(w.txn().Create(newVM(2), "ordered by letter")) }, []string{"created VM vm-2: ordered by letter"}},
		{"updated", func() { require.NoError(t, change(w, newVM(2), func(o *v1.VM) { o.Spec.Power = v1.PowerStopped })) }, []string{"updated VM vm-2: "}},
		{"deleted", func() { w.must(w.txn().Delete(fresh(w, newVM(2)), "no longer needed")) }, []string{"deleted VM vm-2: no longer needed"}},
		{"two in one entry, in its order", func() { w.create(newFlavor(7), newFlavor(6)) }, []string{"created Flavor flavor-7: ", "created Flavor flavor-6: "}},
		{"refused", func() { require.Error(t, w.tryCreate(newVM(1))) }, nil},
		{"nothing deleted", func() { w.must(&Txn{Schema: 1, Actor: "tester", Ops: []Op{{Kind: v1.KindVM, ID: "x"}}}) }, nil},
		{"operation begins", func() { w.create(newOperation(1, newVM(1))) }, []string{"created Operation operation-1: vm.create vm-1: Running"}},
		{"operation goes on", func() {
			require.NoError(t, change(w, newOperation(1, newVM(1)), func(o *v1.Operation) { o.Status.Current = 1 }))
		}, nil},
		{"operation fails", func() {
			require.NoError(t, change(w, newOperation(1, newVM(1)), func(o *v1.Operation) {
				o.Status.State, o.Status.Error = v1.OperationFailed, v1.NewProblem(v1.CodeNoSpace, "the pool is full")
			}))
		}, []string{"updated Operation operation-1: vm.create vm-1: Failed (the pool is full)"}},
		{"task, receipt and attachment are silent", func() {
			running(w, 3, 1)
			w.create(newTask(1, 1, 1), newReceipt(1))
			require.NoError(t, w.remove(newTask(1, 1, 1)))
		}, []string{"created VM vm-3: ", "created Volume volume-3: ", "created Instance instance-3: ", "updated Instance instance-3: vm-3: wanted Running, is Running"}},
		{"operation is collected", func() { require.NoError(t, w.remove(newOperation(1, newVM(1)))) }, nil},
		{"instance reports the same again", func() {
			require.NoError(t, change(w, newInstance(3, 3, 1), func(o *v1.Instance) { o.Observed.Seq = 9 }))
		}, nil},
		{"instance is to stop", func() {
			require.NoError(t, change(w, newInstance(3, 3, 1), func(o *v1.Instance) { o.Desired.State = v1.DesiredStopped }))
		}, []string{"updated Instance instance-3: vm-3: wanted Stopped, is Running"}},
		{"instance is over", func() {
			require.NoError(t, change(w, newInstance(3, 3, 1), func(o *v1.Instance) {
				stop(o)
				o.Observed.Reason = v1.StoppedByGuest
			}))
		}, []string{"updated Instance instance-3: vm-3: wanted Stopped, is Stopped (GuestShutdown)"}},
		{"instance is fenced", func() { require.NoError(t, change(w, newInstance(3, 3, 1), fence)) }, []string{"updated Instance instance-3: vm-3: wanted Stopped, is Stopped (GuestShutdown)"}},
		{"instance is gone", func() { require.NoError(t, w.remove(newAttachment(3, 3, 3, 3), newInstance(3, 3, 1))) }, []string{"deleted Instance instance-3: "}},
	} {
		require.Equal(t, line.want, since(w, line.do), line.name)
	}
	vm := w.store.Snapshot().Events(0, 0, 1000, func(e *v1.Event) bool { return e.Object.Kind == v1.KindVM })
	require.Equal(t, id(v1.KindProject, 1), vm[0].Project)

	txn := w.txn()
	txn.Operation = "the operation"
	w.must(txn.Create(newFlavor(9), ""))
	events := w.store.Snapshot().Events(w.index-1, ^uint16(0), 10, every)
	require.Equal(t, "the operation", events[0].Operation)
	require.Equal(t, txn.Time, events[0].At)
	require.Equal(t, events[0].ID, w.store.Snapshot().LatestEvent())
}

// TestEventPages: a reader that resumes after each event sees each once.
func TestEventPages(t *testing.T) {
	w := base(newWorld(t))
	w.create(newFlavor(2), newFlavor(3), newFlavor(4))
	whole := w.store.Snapshot().Events(0, 0, 1000, every)
	for _, size := range []int{1, 2, 3, 100} {
		var paged []v1.Event
		index, place := uint64(0), uint16(0)
		for {
			page := w.store.Snapshot().Events(index, place, size, every)
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			index, place = page[len(page)-1].Index, placeOf(&page[len(page)-1])
		}
		require.Equal(t, whole, paged)
	}
	require.Len(t, w.store.Snapshot().Events(0, 0, 2, func(e *v1.Event) bool { return e.Object.Kind == v1.KindHost }), 2)
	require.Equal(t, "0-0", New().Snapshot().LatestEvent())
	require.Zero(t, New().Snapshot().OldestEvent())
}

// TestEventsAreBounded: the oldest go, also after a restore, and the same ones everywhere.
func TestEventsAreBounded(t *testing.T) {
	w := newWorld(t)
	const batch = 2500
	put := func(store *Store, index uint64) {
		txn := &Txn{Schema: TxnSchema, Time: epoch, Actor: "tester"}
		for n := range batch {
			o := newFlavor(n)
			txn.Ops = append(txn.Ops, Op{Kind: v1.KindFlavor, ID: o.ID, Object: o})
		}
		require.NoError(w, store.Apply(index, txn))
	}
	for index := uint64(1); index <= MaxEvents/batch; index++ {
		put(w.store, index)
	}
	require.Equal(t, uint64(1), w.store.Snapshot().OldestEvent())
	restored := restoredFrom(t, w.store)
	for _, store := range []*Store{w.store, restored} {
		put(store, MaxEvents/batch+1)
		s := store.Snapshot()
		require.Equal(t, uint64(2), s.OldestEvent())
		require.Len(t, s.Events(0, 0, 2*MaxEvents, every), MaxEvents)
		require.Empty(t, auditEvents(s))
	}
	require.Equal(t, hash(t, w.store), hash(t, restored))
}
