package worker

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func mustJSON(object any) []byte {
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return data
}

var (
	wantRunning = v1.InstanceDesired{State: v1.DesiredRunning}
	wantStopped = v1.InstanceDesired{State: v1.DesiredStopped}
	wantKilled  = v1.InstanceDesired{State: v1.DesiredStopped, Force: true}
)

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{ShutdownTime: 3 * time.Second})
		scene.seedFolder = filepath.Join(t.TempDir(), "seed")
		scene.start()
		one := scene.assignment(v1.DesiredHold)
		scene.give(one)
		synctest.Wait()
		require.Zero(t, scene.machines(), "on hold nothing is touched")
		require.Zero(t, scene.report(one.ID).Seq, "Pending is what it was made as: no news")

		scene.desire(one.ID, wantRunning)
		synctest.Wait()
		require.Equal(t, v1.InstanceRunning, scene.report(one.ID).State)
		machine, ok := scene.host.Machine(one.ID)
		require.True(t, ok)
		require.Equal(t, "coloa-"+one.ID, machine.Name)
		require.Len(t, machine.Disks, 2)
		require.Equal(t, int64(2<<20), machine.Disks[0].WriteBytesPerSec)
		require.True(t, machine.Disks[1].CDROM)
		require.FileExists(t, machine.Disks[1].Path)

		// A restart of the agent disturbs nothing, and says nothing new.
		before := scene.report(one.ID)
		scene.stop()
		scene.start()
		synctest.Wait()
		require.Equal(t, before, scene.report(one.ID))

		scene.desire(one.ID, wantStopped)
		scene.within(5*time.Second, func() bool { return scene.report(one.ID).State == v1.InstanceStopped })
		require.Equal(t, v1.StoppedRequested, scene.report(one.ID).Reason)
		require.Zero(t, scene.machines())
		require.NoFileExists(t, machine.Disks[1].Path)

		scene.leaveOut(one.ID)
		synctest.Wait()
		_, known := scene.ledger.Instance(one.ID)
		require.False(t, known, "stopped and absent: forgotten")
		require.Equal(t, 1, scene.witness.boots[one.ID])
		scene.stop()
	})
}

func TestDeafGuestIsAskedAgainAndThenKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		scene := newScene(t, fake.Options{IgnoreShutdown: func(string) bool { asked.Add(1); return true }})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		synctest.Wait()
		scene.desire(one.ID, wantStopped)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 4, asked.Load(), "at 0, 10, 20 and 30 s")
		require.Equal(t, v1.InstanceRunning, scene.report(one.ID).State)
		scene.desire(one.ID, wantKilled)
		synctest.Wait()
		require.Equal(t, v1.InstanceStopped, scene.report(one.ID).State, "at once, without waiting for the next time to ask")
		require.Equal(t, v1.StoppedRequested, scene.report(one.ID).Reason)
		scene.stop()
	})
}

func TestEndsByItself(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(*scene, string)
		reason v1.StopReason
	}{
		"power off":      {func(s *scene, id string) { require.NoError(s.t, s.host.PowerOffGuest(id)) }, v1.StoppedByGuest},
		"crash":          {func(s *scene, id string) { require.NoError(s.t, s.host.CrashGuest(id)) }, v1.StoppedCrashed},
		"virsh destroy":  {func(s *scene, id string) { require.NoError(s.t, s.witness.Hypervisor.Kill(s.t.Context(), id)) }, v1.StoppedUnknown},
		"virsh undefine": {func(s *scene, id string) { require.NoError(s.t, s.witness.Hypervisor.Remove(s.t.Context(), id)) }, v1.StoppedUnknown},
		"while the agent is away": {func(s *scene, id string) {
			s.stop()
			require.NoError(s.t, s.host.PowerOffGuest(id))
			s.start()
		}, v1.StoppedByGuest},
		"reboot of the host": {func(s *scene, id string) { s.reboot(2); s.start() }, v1.StoppedHostBoot},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scene := newScene(t, fake.Options{})
				one := scene.assignment(v1.DesiredRunning)
				scene.give(one)
				scene.start()
				synctest.Wait()
				require.Equal(t, v1.InstanceRunning, scene.report(one.ID).State)
				test.end(scene, one.ID)
				synctest.Wait()
				require.Equal(t, v1.InstanceStopped, scene.report(one.ID).State)
				require.Equal(t, test.reason, scene.report(one.ID).Reason)
				time.Sleep(5 * time.Minute)
				require.Equal(t, 1, scene.witness.boots[one.ID], "an instance lives once")
				require.Zero(t, scene.machines())
				scene.stop()
			})
		})
	}
}

func TestLostEventIsFoundByTheTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.witness.Hypervisor = deaf{scene.witness.Hypervisor}
		scene.start()
		synctest.Wait()
		require.NoError(t, scene.host.CrashGuest(one.ID))
		synctest.Wait()
		require.Equal(t, v1.InstanceRunning, scene.report(one.ID).State)
		time.Sleep(lookEvery)
		synctest.Wait()
		require.Equal(t, v1.StoppedCrashed, scene.report(one.ID).Reason)
		scene.stop()
	})
}

func TestPausedIsContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var resumes atomic.Int32
		scene := newScene(t, fake.Options{Fail: func(method, _ string) error {
			if method == "Resume" {
				resumes.Add(1)
			}
			return nil
		}})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		synctest.Wait()
		for range 200 { // a guest on a full disk pauses again soon after it is continued
			require.NoError(t, scene.host.PauseGuest(one.ID))
			synctest.Wait()
			require.Contains(t, []v1.InstanceState{v1.InstanceRunning, v1.InstancePaused}, scene.report(one.ID).State)
			if scene.report(one.ID).State == v1.InstancePaused {
				require.NotEmpty(t, scene.report(one.ID).Message)
			}
			time.Sleep(time.Second)
		}
		require.Less(t, resumes.Load(), int32(25), "not in a circle")
		require.Greater(t, resumes.Load(), int32(3))
		time.Sleep(2 * time.Minute)
		require.Equal(t, v1.InstanceRunning, scene.report(one.ID).State)
		scene.stop()
	})
}

func TestStartThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		method string
		err    error
		reason v1.StopReason
	}{
		"refused":       {"Start", fmt.Errorf("qemu: cannot open the disk"), v1.StoppedNoStart},
		"invalid":       {"Define", fmt.Errorf("%w: VCPUs", hypervisor.ErrInvalid), v1.StoppedNoStart},
		"define breaks": {"Define", fmt.Errorf("no space left on device"), v1.StoppedNoStart},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scene := newScene(t, fake.Options{Fail: func(method, _ string) error {
					if method == test.method {
						return test.err
					}
					return nil
				}})
				one := scene.assignment(v1.DesiredRunning)
				scene.give(one)
				scene.start()
				scene.within(10*time.Minute, func() bool { return scene.report(one.ID).State == v1.InstanceStopped })
				require.Equal(t, test.reason, scene.report(one.ID).Reason)
				require.Contains(t, scene.report(one.ID).Message, test.err.Error())
				require.Zero(t, scene.machines())
				scene.stop()
			})
		})
	}
	t.Run("disk missing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			scene := newScene(t, fake.Options{})
			one, two := scene.assignment(v1.DesiredRunning), scene.assignment(v1.DesiredRunning)
			require.NoError(t, scene.pool.DeleteVolume(t.Context(), one.Spec.Disks[0].Volume))
			two.Spec.Disks[0].Driver = "ceph"
			scene.give(one, two)
			scene.start()
			synctest.Wait()
			for _, id := range []string{one.ID, two.ID} {
				require.Equal(t, v1.StoppedNoStart, scene.report(id).Reason)
				require.NotEmpty(t, scene.report(id).Message)
			}
			scene.stop()
		})
	})
}

// The hypervisor being away is no answer: the worker waits for it, however long, and says so.
func TestHypervisorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		var calls atomic.Int32
		scene := newScene(t, fake.Options{Fail: func(method, _ string) error {
			if away.Load() && (method == "Define" || method == "Start") {
				calls.Add(1)
				return hypervisor.ErrUnavailable
			}
			return nil
		}})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		time.Sleep(10 * time.Minute)
		require.Equal(t, v1.InstancePending, scene.report(one.ID).State)
		require.Contains(t, scene.report(one.ID).Message, "does not answer")
		require.Less(t, calls.Load(), int32(60), "with back-off")
		away.Store(false)
		scene.within(time.Minute, func() bool { return scene.report(one.ID).State == v1.InstanceRunning })
		require.Empty(t, scene.report(one.ID).Message)
		require.Equal(t, 1, scene.witness.boots[one.ID])
		scene.stop()
	})
}

// A start whose answer is lost has happened.
func TestStartWithLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{FailAfter: func(method, _ string) error {
			if method == "Start" || method == "Define" {
				return hypervisor.ErrUnavailable
			}
			return nil
		}})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		scene.within(time.Minute, func() bool { return scene.report(one.ID).State == v1.InstanceRunning })
		require.Equal(t, 1, scene.witness.boots[one.ID])
		scene.stop()
	})
}

func TestAbsenceStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		synctest.Wait()
		scene.leaveOut(one.ID)
		time.Sleep(time.Hour)
		record, known := scene.ledger.Instance(one.ID)
		require.True(t, known && record.Absent)
		seen, err := scene.witness.Hypervisor.Get(t.Context(), one.ID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)

		// It comes back in a set, and obeys.
		scene.give(one)
		synctest.Wait()
		record, _ = scene.ledger.Instance(one.ID)
		require.False(t, record.Absent)
		scene.desire(one.ID, wantStopped)
		synctest.Wait()
		require.Equal(t, v1.InstanceStopped, scene.report(one.ID).State)
		scene.stop()
	})
}

// A fenced Instance on a host that came back must not run on.
func TestOverIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{IgnoreShutdown: func(string) bool { return true }})
		one := scene.assignment(v1.DesiredRunning)
		scene.give(one)
		scene.start()
		synctest.Wait()
		one.Over = true
		scene.give(one)
		synctest.Wait()
		require.Zero(t, scene.machines())
		require.Equal(t, v1.InstanceStopped, scene.report(one.ID).State)
		scene.stop()
	})
}

func TestOrphansAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scene := newScene(t, fake.Options{})
		stray := hypervisor.Machine{ID: newID(), Name: "stray", Cluster: cluster, VCPUs: 1, MemoryMiB: 64}
		require.NoError(t, scene.witness.Hypervisor.Define(t.Context(), stray))
		require.NoError(t, scene.witness.Hypervisor.Start(t.Context(), stray.ID))
		scene.start()
		synctest.Wait()
		require.Zero(t, scene.worker.Orphans(), "one look is not enough")
		time.Sleep(3 * lookEvery)
		require.Equal(t, 1, scene.worker.Orphans())
		seen, err := scene.witness.Hypervisor.Get(t.Context(), stray.ID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)
		scene.stop()
	})
}

// The agent dies at every call to the hypervisor, before and after its effect, in a whole life; the next one goes on. The Instance boots once.
func TestDiesAtEveryPoint(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			died := false
			synctest.Test(t, func(t *testing.T) {
				scene := newScene(t, fake.Options{ShutdownTime: time.Second})
				scene.witness.crash = func(call int, isAfter bool) bool {
					died = died || (call == at && isAfter == after)
					return call == at && isAfter == after
				}
				one := scene.assignment(v1.DesiredRunning)
				scene.give(one)
				revive := func() {
					synctest.Wait()
					select {
					case <-scene.ended:
						scene.start()
					default:
					}
				}
				scene.start()
				scene.within(time.Minute, func() bool { revive(); return scene.report(one.ID).State == v1.InstanceRunning })
				scene.desire(one.ID, wantStopped)
				scene.within(time.Minute, func() bool { revive(); return scene.report(one.ID).State == v1.InstanceStopped })
				require.Equal(t, v1.StoppedRequested, scene.report(one.ID).Reason)
				require.Equal(t, 1, scene.witness.boots[one.ID], "death at call %d, after=%v", at, after)
				require.Zero(t, scene.machines())
				scene.stop()
			})
			if !died {
				require.Greater(t, at, 8, "the life has that many calls at least")
				break
			}
		}
	}
}

// Random histories: guests end, pause and are forgotten, the agent dies anywhere, the host reboots, the hypervisor is away, sets leave Instances
// out. Whatever happens, an Instance boots at most once, never after its end was reported, and is gone when all is said and done.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			var away atomic.Bool
			scene := newScene(t, fake.Options{ShutdownTime: time.Second, Fail: func(method, _ string) error {
				if away.Load() {
					return hypervisor.ErrUnavailable
				}
				return nil
			}})
			var ids []string
			for range 3 {
				each := scene.assignment(v1.DesiredHold)
				ids = append(ids, each.ID)
				scene.give(each)
			}
			dead, left := map[string]bool{}, map[string]hostv1.Assignment{}
			boots := 1
			scene.start()
			for range 60 {
				id := ids[random.IntN(len(ids))]
				switch random.IntN(15) {
				case 0, 1, 2:
					if _, given := scene.wanted[id]; given {
						scene.desire(id, wantRunning)
					}
				case 3:
					if _, given := scene.wanted[id]; given && random.IntN(3) == 0 {
						scene.desire(id, wantStopped)
					}
				case 4:
					_ = scene.host.PowerOffGuest(id) // it may not run
				case 5:
					_ = scene.host.CrashGuest(id) // it may not run
				case 6:
					_ = scene.host.PauseGuest(id) // it may not run
				case 7:
					scene.host.Forget()
				case 8:
					if !away.Load() {
						boots++
						scene.reboot(boots)
						scene.start()
					}
				case 9:
					away.Store(!away.Load())
				case 10, 11:
					scene.witness.mutex.Lock()
					at, after := scene.witness.calls+1+random.IntN(4), random.IntN(2) == 0
					scene.witness.crash = func(call int, isAfter bool) bool { return call == at && isAfter == after }
					scene.witness.mutex.Unlock()
				case 12:
					kept, given := scene.wanted[id]
					if record, known := scene.ledger.Instance(id); known && given && record.Journal.Phase != ledger.PhaseNone {
						scene.leaveOut(id)
						left[id] = kept
					}
				case 13:
					if kept, out := left[id]; out {
						delete(left, id)
						if _, known := scene.ledger.Instance(id); known {
							scene.give(kept)
						}
					}
				}
				time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
				synctest.Wait()
				select {
				case <-scene.ended:
					scene.start()
					synctest.Wait()
				default:
				}
				for _, id := range ids {
					require.LessOrEqual(t, scene.witness.boots[id], 1, "seed %d", seed)
					if record, known := scene.ledger.Instance(id); known && record.Report.State == v1.InstanceStopped {
						dead[id] = true
					} else if known && record.Report.Seq > 0 {
						require.False(t, dead[id], "seed %d: it has come back to life", seed)
					}
				}
			}
			away.Store(false)
			scene.witness.mutex.Lock()
			scene.witness.crash = nil
			scene.witness.mutex.Unlock()
			for _, id := range ids {
				if _, given := scene.wanted[id]; given {
					scene.desire(id, wantKilled)
				}
			}
			time.Sleep(5 * time.Minute)
			for _, id := range ids {
				record, known := scene.ledger.Instance(id)
				if known && !record.Absent {
					require.Equal(t, v1.InstanceStopped, record.Report.State, "seed %d", seed)
					_, defined := scene.host.Machine(id)
					require.False(t, defined, "seed %d", seed)
				}
			}
			scene.stop()
		})
	}
}
