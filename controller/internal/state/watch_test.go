package state

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func closed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

func TestWatchChannels(t *testing.T) {
	w := base(newWorld(t))
	w.create(newVM(1), newOperation(1, newVM(1)))
	for _, line := range []struct {
		name   string
		watch  func(*Snapshot) <-chan struct{}
		change func()
	}{
		{"an object is changed", func(s *Snapshot) <-chan struct{} { return s.WatchObject(v1.KindVM, id(v1.KindVM, 1)) }, func() {
			require.NoError(t, change(w, newVM(1), func(o *v1.VM) { o.Spec.Power = v1.PowerStopped }))
		}},
		{"an object appears", func(s *Snapshot) <-chan struct{} { return s.WatchObject(v1.KindVM, id(v1.KindVM, 2)) }, func() { w.create(newVM(2)) }},
		{"an object goes", func(s *Snapshot) <-chan struct{} { return s.WatchObject(v1.KindVM, id(v1.KindVM, 2)) }, func() { require.NoError(t, w.remove(newVM(2))) }},
		{"an instance for a host", func(s *Snapshot) <-chan struct{} { return s.WatchGeneration(id(v1.KindHost, 1)) }, func() { w.create(newInstance(1, 1, 1)) }},
		{"a task for a host", func(s *Snapshot) <-chan struct{} { return s.WatchGeneration(id(v1.KindHost, 1)) }, func() { w.create(newTask(1, 1, 1)) }},
		{"an entry", func(s *Snapshot) <-chan struct{} { return s.WatchApplied() }, func() { w.create(newVM(3)) }},
		{"a refused entry", func(s *Snapshot) <-chan struct{} { return s.WatchApplied() }, func() { require.Error(t, w.tryCreate(newVM(3))) }},
		{"an unreadable entry", func(s *Snapshot) <-chan struct{} { return s.WatchApplied() }, func() { w.index++; FSM{w.store}.Apply(raftLog(w.index, nil)) }},
	} {
		snapshot := w.store.Snapshot()
		channel := line.watch(snapshot)
		require.False(t, closed(channel), line.name)
		line.change()
		require.True(t, closed(channel), line.name)
		require.False(t, closed(snapshot.Abandoned()), line.name)
		require.False(t, closed(line.watch(w.store.Snapshot())), "%s: a new channel is open", line.name)
	}
	quiet := w.store.Snapshot().WatchObject(v1.KindVM, id(v1.KindVM, 1))
	require.Error(t, w.tryCreate(newVM(1)))
	require.False(t, closed(quiet), "a refused entry changes no object")
}

// TestGenerations: a host's generation moves with what concerns it, and with nothing else.
func TestGenerations(t *testing.T) {
	w := base(newWorld(t))
	generations := func() [2]uint64 {
		s := w.store.Snapshot()
		return [2]uint64{s.Generation(id(v1.KindHost, 1)), s.Generation(id(v1.KindHost, 2))}
	}
	require.Equal(t, [2]uint64{1, 1}, generations())
	for _, line := range []struct {
		name string
		do   func() error
		host int // which one it concerns; 0 for none
	}{
		{"a machine", func() error { return w.tryCreate(newVM(1), newVM(2), newVolume(1), newOperation(1, newVM(1))) }, 0},
		{"an instance", func() error { return w.tryCreate(newInstance(1, 1, 2)) }, 2},
		{"the same again is refused", func() error { return w.tryCreate(newInstance(1, 1, 2)) }, 0},
		{"an attachment", func() error { return w.tryCreate(newAttachment(1, 1, 1, 1)) }, 0},
		{"a report", func() error {
			return change(w, newInstance(1, 1, 2), func(o *v1.Instance) { o.Observed.State = v1.InstanceRunning })
		}, 2},
		{"a task", func() error { return w.tryCreate(newTask(1, 1, 1)) }, 1},
		{"a task goes", func() error { return w.remove(newTask(1, 1, 1)) }, 1},
		{"a registration", func() error { return change(w, newHost(1), func(o *v1.Host) { o.Status.Epoch = 0 }) }, 1},
		{"the machine's spec", func() error { return change(w, newVM(1), func(o *v1.VM) { o.Spec.Power = v1.PowerStopped }) }, 0},
		{"an operation", func() error {
			return change(w, newOperation(1, newVM(1)), func(o *v1.Operation) { o.Status.Current++ })
		}, 0},
	} {
		want := generations()
		_ = line.do()
		if line.host > 0 {
			want[line.host-1] = w.index
		}
		require.Equal(t, want, generations(), line.name)
	}
	require.Equal(t, generations(), [2]uint64{restoredFrom(t, w.store).Snapshot().Generation(id(v1.KindHost, 1)), restoredFrom(t, w.store).Snapshot().Generation(id(v1.KindHost, 2))})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // its channels belong to the bubble
		require.NoError(t, w.store.Wait(context.Background(), 0))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		done := make(chan error, 3)
		go func() { done <- w.store.Wait(ctx, 2) }()
		synctest.Wait()
		require.Empty(t, done)
		w.create(newFlavor(1))
		synctest.Wait()
		require.Empty(t, done, "one entry is not two")
		require.Error(t, w.tryCreate(newFlavor(1)))
		require.NoError(t, <-done, "a refused entry counts")

		go func() { done <- w.store.Wait(ctx, 100) }()
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
	})
}

// TestRestoreWakes: whoever waited on the old state reads again.
func TestRestoreWakes(t *testing.T) {
	w := everything(t)
	synctest.Test(t, func(t *testing.T) {
		store := New()
		subscription := store.Subscribe(func(Change) []string { return nil })
		defer subscription.Close()
		<-subscription.Signal()
		_, all := subscription.Take()
		require.True(t, all, "at the beginning anything may be new")
		_, all = subscription.Take()
		require.False(t, all)

		old := store.Snapshot()
		done := make(chan error, 1)
		go func() { done <- store.Wait(t.Context(), w.index) }()
		synctest.Wait()
		require.NoError(t, store.Restore(bytes.NewReader(written(t, w.store))))
		require.NoError(t, <-done)
		require.True(t, closed(old.Abandoned()))
		require.False(t, closed(store.Snapshot().Abandoned()))
		require.Zero(t, old.Index(), "what was read stays")
		<-subscription.Signal()
		_, all = subscription.Take()
		require.True(t, all, "after a restore anything may be new")
	})
}

// TestSubscribe: each name once, a signal for many changes, and nothing after Close.
func TestSubscribe(t *testing.T) {
	w := base(newWorld(t))
	subscription := w.store.Subscribe(func(c Change) []string {
		if c.Kind != v1.KindVM {
			return nil
		}
		if c.New == nil {
			return []string{"gone " + c.Old.ObjectMeta().Name, c.ID}
		}
		return []string{c.ID}
	})
	<-subscription.Signal()
	names, all := subscription.Take()
	require.Empty(t, names)
	require.True(t, all)

	w.create(newFlavor(2))
	require.Empty(t, subscription.Signal(), "of no interest")
	require.Error(t, w.tryCreate(newFlavor(2)))
	require.Empty(t, subscription.Signal(), "refused")

	w.create(newVM(1), newVM(2))
	require.NoError(t, change(w, newVM(1), func(o *v1.VM) { o.Spec.Power = v1.PowerStopped }))
	require.Len(t, subscription.Signal(), 1, "one signal for all")
	require.NoError(t, w.remove(newVM(2)))
	<-subscription.Signal()
	names, all = subscription.Take()
	slices.Sort(names)
	require.Equal(t, []string{id(v1.KindVM, 1), id(v1.KindVM, 2), "gone vm-2"}, names)
	require.False(t, all)
	require.Empty(t, subscription.Signal())
	names, _ = subscription.Take()
	require.Empty(t, names)

	subscription.Close()
	subscription.Close() // twice does no harm
	w.create(newVM(3))
	require.Empty(t, subscription.Signal())
}

// TestManyReaders lets readers, waiters and subscribers run beside the log and restores (for the race detector), and none may miss the end.
func TestManyReaders(t *testing.T) {
	const entries = 300
	store := New()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var group sync.WaitGroup
	failures := make(chan string, 100)
	for reader := range 4 {
		group.Go(func() {
			last := uint64(0)
			for {
				s := store.Snapshot()
				if s.Index() < last {
					failures <- fmt.Sprintf("reader %d: from index %d back to %d", reader, last, s.Index())
					return
				}
				last = s.Index()
				for _, flavor := range s.List(v1.KindFlavor) {
					if flavor.ObjectMeta().Version > last {
						failures <- "an object of a later entry"
						return
					}
				}
				if last == entries {
					return
				}
				if err := store.Wait(ctx, last+1); err != nil {
					failures <- err.Error()
					return
				}
			}
		})
		group.Go(func() {
			subscription := store.Subscribe(func(c Change) []string { return []string{c.ID} })
			defer subscription.Close()
			seen := map[string]bool{}
			for len(seen) < 20 {
				select {
				case <-subscription.Signal():
				case <-ctx.Done():
					failures <- fmt.Sprintf("subscriber: %d of 20 seen", len(seen))
					return
				}
				names, all := subscription.Take()
				for _, name := range names {
					seen[name] = true
				}
				if all {
					for _, flavor := range store.Snapshot().List(v1.KindFlavor) {
						seen[flavor.ObjectMeta().ID] = true
					}
				}
			}
		})
		group.Go(func() {
			if err := store.Wait(ctx, entries); err != nil {
				failures <- "waiter: " + err.Error()
			}
		})
	}
	// The log: one goroutine applies and restores, as raft's does.
	for index := uint64(1); index <= entries; index++ {
		o := newFlavor(int(index % 20))
		txn := &Txn{Schema: TxnSchema, Time: epoch, Actor: "tester", Ops: []Op{{Kind: v1.KindFlavor, ID: o.ID, Object: o}}}
		require.NoError(t, store.Apply(index, txn))
		if index%50 == 0 {
			require.NoError(t, store.Restore(bytes.NewReader(written(t, store))))
		}
	}
	group.Wait()
	close(failures)
	for failure := range failures {
		t.Error(failure)
	}
	require.Empty(t, audit(store.Snapshot()))
}
