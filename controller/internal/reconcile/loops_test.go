package reconcile

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// term runs a loop until end is called, as a term of leadership does.
func term(t testing.TB, run func(context.Context) error) (end func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

const silentAfter = 10 * time.Second

func TestHostMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		monitor := NewHostMonitor(w.loop(), silentAfter)
		time.Sleep(time.Hour) // between terms nobody listens, and nothing is held against the hosts
		end := term(t, monitor.Run)

		// Host 1 speaks every two seconds, host 2 does not.
		for range 5 {
			time.Sleep(2 * time.Second)
			monitor.Beat(id('h', 1), hostv1.Heartbeat{})
			require.Equal(t, v1.HostReady, w.phase(2), "full grace at the beginning of a term")
		}
		time.Sleep(2 * time.Second)
		require.Equal(t, v1.HostReady, w.phase(1))
		require.Equal(t, v1.HostSilent, w.phase(2))
		require.Equal(t, v1.HostSilent, w.phase(3), "a silent one stays so until it is heard")
		require.NotEqual(t, begun, w.store.Snapshot().Host(id('h', 2)).Status.Since)

		// A word from a silent one counts at once, not at the next tick.
		spoke := time.Now()
		monitor.Beat(id('h', 2), hostv1.Heartbeat{})
		synctest.Wait()
		require.Equal(t, v1.HostReady, w.phase(2))
		require.Zero(t, time.Since(spoke))
		require.NoError(t, end())

		// A new term: everything that was heard is forgotten, and every host has its full grace again.
		time.Sleep(time.Hour)
		end = term(t, monitor.Run)
		time.Sleep(silentAfter - time.Millisecond)
		require.Equal(t, v1.HostReady, w.phase(1))
		require.Equal(t, v1.HostReady, w.phase(2))
		require.Equal(t, v1.HostSilent, w.phase(3))
		time.Sleep(silentAfter / 5)
		require.Equal(t, v1.HostSilent, w.phase(1))
		require.Equal(t, v1.HostSilent, w.phase(2))
		require.Empty(t, w.refused)
		before := w.store.Index()
		time.Sleep(time.Hour)
		require.Equal(t, before, w.store.Index(), "nothing is written while nothing changes")
		require.NoError(t, end())
	})
}

func TestHostMonitorEndsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		w.fail = v1.NewProblem(v1.CodeOutcomeUnknown, "lost")
		monitor := NewHostMonitor(w.loop(), silentAfter)
		require.ErrorIs(t, monitor.Run(t.Context()), w.fail)
	})
}

// starts records what Restart begins.
type starts struct {
	mu  sync.Mutex
	at  map[string][]time.Duration
	err error
}

func (s *starts) of(n int) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[id('v', n)]
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		w.create(newVM(1, "", ""), newInstance(1, 1, v1.InstanceRunning, ""), newVM(2, "", ""), newInstance(2, 2, v1.InstanceRunning, ""))
		origin := time.Now()
		began := &starts{at: map[string][]time.Duration{}}
		restart := &Restart{Loop: w.loop(), Start: func(_ context.Context, vm string) error {
			began.mu.Lock()
			defer began.mu.Unlock()
			began.at[vm] = append(began.at[vm], time.Since(origin))
			return began.err
		}}
		end := term(t, restart.Run)
		time.Sleep(time.Minute)
		require.Empty(t, began.of(1), "what runs is left alone")

		// It crashes, and crashes again whenever it is started: at once, then ever more seldom.
		origin = time.Now()
		change(w, v1.KindInstance, id('i', 1), func(o *v1.Instance) {
			o.Observed = v1.InstanceObserved{Seq: 2, State: v1.InstanceStopped, Reason: v1.StoppedCrashed}
		})
		synctest.Wait()
		require.Equal(t, []time.Duration{0}, began.of(1), "on the signal, not at the next tick")
		time.Sleep(time.Hour)
		tries := began.of(1)
		for i := 1; i < len(tries); i++ {
			pause, least := tries[i]-tries[i-1], min(firstPause<<i, longestPause)
			require.GreaterOrEqual(t, pause, least, "try %d", i)
			require.LessOrEqual(t, pause, least+5*time.Second, "try %d", i)
		}
		require.Greater(t, len(tries), 15)
		require.Less(t, len(tries), 25)
		require.Empty(t, began.of(2))
		require.NoError(t, end())
	})
}

// TestRestartForgives: a machine that ran for long begins anew with short pauses.
func TestRestartForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		w.create(newVM(1, "", ""))
		instance := func(n int, at v1.InstanceState) {
			made := newInstance(n, 1, at, "")
			made.Spec.VM = id('v', 1)
			w.create(made)
			change(w, v1.KindVM, id('v', 1), func(o *v1.VM) { o.Status.Instance = made.ID })
		}
		crash := func(n int) {
			change(w, v1.KindInstance, id('i', n), func(o *v1.Instance) {
				o.Observed = v1.InstanceObserved{Seq: 2, State: v1.InstanceStopped, Reason: v1.StoppedCrashed}
			})
		}
		next := 1
		instance(next, v1.InstanceRunning)
		var tries []time.Time
		restart := &Restart{Loop: w.loop(), Start: func(context.Context, string) error {
			tries = append(tries, time.Now())
			next++
			instance(next, v1.InstanceRunning) // it runs
			return nil
		}}
		end := term(t, restart.Run)
		for range 6 {
			synctest.Wait()
			crash(next)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
		}
		pauses := func() time.Duration { return tries[len(tries)-1].Sub(tries[len(tries)-2]) }
		require.GreaterOrEqual(t, pauses(), time.Minute)
		time.Sleep(forgiveAfter)
		crashed := time.Now()
		crash(next)
		synctest.Wait()
		require.Equal(t, crashed, tries[len(tries)-1], "at once again")
		require.NoError(t, end())
		require.LessOrEqual(t, len(restart.tried), 1)
	})
}

func TestRestartErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		w.create(newVM(1, "", ""), newInstance(1, 1, v1.InstanceStopped, v1.StoppedCrashed), newVM(2, "", ""), newInstance(2, 2, v1.InstanceStopped, v1.StoppedCrashed))
		began := &starts{at: map[string][]time.Duration{}, err: v1.NewProblem(v1.CodeNoCapacity, "full")}
		restart := &Restart{Loop: w.loop(), Start: func(_ context.Context, vm string) error {
			began.at[vm] = append(began.at[vm], 0)
			return began.err
		}}
		end := term(t, restart.Run)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Greater(t, len(began.of(1)), 2, "one that cannot be started is tried again")
		require.Len(t, began.of(2), len(began.of(1)), "and keeps no other from being started")
		require.NoError(t, end())
		began.err = v1.NewProblem(v1.CodeOutcomeUnknown, "lost")
		require.ErrorIs(t, restart.Run(t.Context()), began.err, "an unknown outcome ends the term")
	})
}

func TestCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := base(newWorld(t))
		now := time.Now()
		w.create(newReceipt(1, now.Add(24*time.Hour)), newToken(1, now.Add(time.Hour)))
		end := term(t, GC{w.loop()}.Run)
		count := func(kind v1.Kind) int { return w.store.Snapshot().Count(kind) }
		time.Sleep(time.Hour - time.Second)
		require.Equal(t, 1, count(v1.KindToken))
		time.Sleep(collectionPeriod + time.Second)
		require.Zero(t, count(v1.KindToken))
		require.Equal(t, 1, count(v1.KindReceipt))
		time.Sleep(23*time.Hour + collectionPeriod)
		require.Zero(t, count(v1.KindReceipt))
		events := w.store.Snapshot().Events(0, 0, 1000, func(e *v1.Event) bool { return e.Object.Kind == v1.KindToken && e.Action == v1.ActionDeleted })
		require.Len(t, events, 1)
		require.Equal(t, "gc", events[0].Actor)
		require.Equal(t, "expired", events[0].Note)
		before := w.store.Index()
		time.Sleep(time.Hour)
		require.Equal(t, before, w.store.Index())
		require.NoError(t, end())
		require.Empty(t, w.refused)
	})
}
