package ops_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/operation/optest"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

var hostVolume = regexp.MustCompile(`^[0-9a-f-]{36} volume `)

var errTest = v1.NewProblem(v1.CodeHostFailed, "it was made to fail")

// play is a scene on its way.
type play struct {
	*world
	scene  scene
	id     string
	before optest.Picture
	disks  map[string]int64 // sizes before
}

// open builds a scene and begins its operation.
func (s scene) open(t optest.T) *play {
	p := &play{world: s.set(newWorld(t)), scene: s, disks: map[string]int64{}}
	p.before = p.picture()
	for id, disk := range p.one.Volumes {
		p.disks[id] = disk.Bytes
	}
	p.id = s.begin(p.world)
	return p
}

func (p *play) picture() optest.Picture {
	for _, host := range p.Hosts {
		p.Sync(host)
	}
	return p.Picture()
}

func (p *play) status() v1.OperationStatus { return p.Status(p.id) }

// ended says that the operation has ended as it should, and that the world is as that promises.
func (p *play) ended(want ...v1.OperationState) {
	p.Helper()
	status := p.status()
	require.Contains(p, want, status.State, "%+v", status)
	require.True(p, status.State.Finished())
	require.NotNil(p, status.FinishedAt)
	require.Empty(p, p.Store.Snapshot().List(v1.KindTask), "tasks are left")
	switch status.State {
	case v1.OperationSucceeded:
		require.Nil(p, status.Error)
		require.Empty(p, status.Message)
		for _, step := range status.Steps {
			require.Equal(p, v1.StepDone, step.State, step.Name)
			require.Nil(p, step.Error, step.Name)
			require.NotNil(p, step.StartedAt, step.Name)
		}
		p.scene.after(p.world)
		for name := range p.picture() {
			require.NotContains(p, name, "left behind")
			require.NotContains(p, name, " logs of ")
		}
	case v1.OperationFailed, v1.OperationCancelled:
		require.NotNil(p, status.Error)
		require.Equal(p, status.State == v1.OperationCancelled, status.Error.Code == v1.CodeCancelled)
		require.Empty(p, status.Message)
		for _, step := range status.Steps {
			require.Contains(p, []v1.StepState{v1.StepPending, v1.StepUndone}, step.State, step.Name)
		}
		p.undone()
	}
}

// undone says that everything is as it was. Only a disk that has grown stays larger, and the state says so too.
func (p *play) undone() {
	p.Helper()
	now := p.picture()
	before := maps.Clone(p.before)
	for id, size := range p.disks {
		disk := p.one.Volumes[id]
		require.NotNil(p, disk)
		if disk.Bytes == size {
			continue
		}
		volume := p.Store.Snapshot().Volume(id)
		require.Equal(p, disk.Bytes, volume.Status.SizeGiB<<30, "the state does not tell the disk's size")
		require.Equal(p, volume.Status.SizeGiB, volume.Spec.SizeGiB)
		differs := func(name string) bool {
			return name == "Volume "+volume.Name || hostVolume.MatchString(name) || regexp.MustCompile("^use of ").MatchString(name)
		}
		before.Without(differs)
		now.Without(differs)
		require.True(p, p.scene.grows, "a disk has changed its size")
		require.False(p, p.scene.of == v1.OpVolumeResize && p.status().State == v1.OperationCancelled, "it is said to be cancelled, and was done")
	}
	require.Equal(p, before, now)
}

// entries counts what the happy path writes after the beginning, and finds the tasks that it gives.
func (s scene) entries(t *testing.T) (count int, tasks []v1.TaskSpec, kept []int) {
	p := s.open(t)
	seen := map[string]bool{}
	p.Written = func(txn *state.Txn) {
		count++
		for _, op := range txn.Ops {
			if task, ok := op.Object.(*v1.Task); ok && task.Status.Seq == 0 && !seen[string(task.Spec.Type)+task.Spec.Step] {
				seen[string(task.Spec.Type)+task.Spec.Step] = true
				tasks = append(tasks, task.Spec)
			}
		}
	}
	engine := 0
	p.Refuse = func(txn *state.Txn) *v1.Problem {
		if engine++; len(txn.Ops) > 1 {
			kept = append(kept, engine)
		}
		return nil
	}
	p.Run(p.id)
	p.ended(v1.OperationSucceeded)
	return count, tasks, kept
}

// mode is how the world behaves besides.
type mode struct {
	name  string
	apply func(*play)
}

var modes = []mode{
	{"plain", func(*play) {}},
	{"everything twice and a crash after each entry", func(p *play) {
		p.Strict = true
		p.eachHost(func(h *optest.Host) { h.Twice = true })
		p.Written = func(*state.Txn) { p.Crash() }
	}},
}

var strict = modes[1]

// eachMode runs a test in all modes; apply must be called after the beginning.
func eachMode(t *testing.T, name string, test func(t *testing.T, apply func(*play))) {
	for _, m := range modes {
		t.Run(name+", "+m.name, func(t *testing.T) { test(t, m.apply) })
	}
}

func TestHappyPath(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		eachMode(t, "succeeds", func(t *testing.T, apply func(*play)) {
			p := s.open(t)
			apply(p)
			p.Run(p.id)
			p.ended(v1.OperationSucceeded)
		})
	})
}

// failed: the operation has been undone, or, when it cannot be, it waits for somebody; once the cause is gone, it succeeds.
func (p *play) failed(code v1.Code, heal func()) {
	p.Helper()
	if !p.scene.forward() {
		p.ended(v1.OperationFailed)
		require.Equal(p, code, p.status().Error.Code)
		return
	}
	status := p.status()
	require.Equal(p, v1.OperationNeedsAttention, status.State, "%+v", status)
	require.Equal(p, code, status.Error.Code)
	require.Equal(p, operation.MaxAttempts, status.Steps[status.Current].Attempts)
	require.Contains(p, status.Message, "retry, or abandon")
	heal()
	require.NoError(p, p.Steer(p.id, operation.ActionRetry))
	p.Run(p.id)
	p.ended(v1.OperationSucceeded)
}

func TestEachTaskFails(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		_, tasks, _ := s.entries(t)
		for _, task := range tasks {
			for _, after := range []bool{false, true} {
				if after && task.Type == v1.TaskVolumeResize {
					continue // a host that says it could not grow a disk must not have grown it: nobody could tell
				}
				t.Run(fmt.Sprintf("%s %s after=%v", task.Step, task.Type, after), func(t *testing.T) {
					p := s.open(t)
					if !after {
						strict.apply(p)
					}
					fail := func(spec v1.TaskSpec) *optest.Failure {
						if spec.Type == task.Type && spec.Step == task.Step {
							return &optest.Failure{Problem: errTest, After: after}
						}
						return nil
					}
					p.eachHost(func(h *optest.Host) { h.FailTask = fail })
					p.Run(p.id)
					p.failed(errTest.Code, func() { p.eachHost(func(h *optest.Host) { h.FailTask = nil }) })
				})
			}
		}
	})
}

func (p *play) eachHost(do func(*optest.Host)) {
	for _, host := range p.Hosts {
		do(host)
	}
}

// TestMachineDoesNotStart: the first start after the beginning fails.
func TestMachineDoesNotStart(t *testing.T) {
	starts := 0
	eachScene(t, func(t *testing.T, s scene) {
		eachMode(t, "StartFailed", func(t *testing.T, apply func(*play)) {
			p := s.open(t)
			apply(p)
			failed := ""
			p.one.FailStart = func(spec v1.InstanceSpec) bool {
				if failed == "" {
					failed = spec.VM
					return true
				}
				return false
			}
			p.Run(p.id)
			if failed == "" {
				p.ended(v1.OperationSucceeded)
				return
			}
			starts++
			p.ended(v1.OperationFailed)
			require.Equal(p, v1.CodeHostFailed, p.status().Error.Code)
			require.Contains(p, p.status().Error.Detail, "the hypervisor refused it")
		})
	})
	require.Equal(t, 6*len(modes), starts, "of vm.create, vm.start (two) and vm.resize (three)")
}

// TestStateRefusesEachStep: of the entries that change more than the journal, one is refused.
func TestStateRefusesEachStep(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		_, _, kept := s.entries(t)
		for _, number := range kept {
			t.Run(fmt.Sprintf("entry %d", number), func(t *testing.T) {
				p := s.open(t)
				strict.apply(p)
				engine := 0
				p.Refuse = func(txn *state.Txn) *v1.Problem {
					if engine++; engine == number {
						require.Greater(t, len(txn.Ops), 1)
						return v1.NewProblem(v1.CodeNoCapacity, "the host has not enough left")
					}
					return nil
				}
				p.Run(p.id)
				if s.forward() { // once is not often
					p.ended(v1.OperationSucceeded)
					return
				}
				p.failed(v1.CodeNoCapacity, nil)
			})
		}
	})
}

func TestCancelAtEachPoint(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		count, _, _ := s.entries(t)
		for number := range count + 1 {
			t.Run(fmt.Sprintf("after entry %d", number), func(t *testing.T) {
				p := s.open(t)
				states := map[v1.OperationState]bool{}
				asked := false
				cancel := func() {
					asked = true
					finished := p.status().State.Finished()
					err := p.Steer(p.id, operation.ActionCancel)
					switch {
					case finished:
						require.NoError(t, err)
						states[v1.OperationSucceeded] = true
					case s.forward():
						require.Equal(t, v1.CodeWrongState, v1.CodeOf(err))
						states[v1.OperationSucceeded] = true
					default:
						require.NoError(t, err)
						require.NoError(t, p.Steer(p.id, operation.ActionCancel), "twice")
						states[v1.OperationCancelled] = true
						if s.grows { // a disk that may be growing is waited for
							states[v1.OperationSucceeded] = true
						}
					}
				}
				seen := 0
				p.Written = func(*state.Txn) {
					if seen++; seen == number && !asked {
						cancel()
					}
				}
				if number == 0 {
					cancel()
				}
				p.Run(p.id)
				require.True(t, asked)
				p.ended(slices.Collect(maps.Keys(states))...)
			})
		}
	})
}

// TestUndoingFails: undoing is refused by the state, or fails on the host, until somebody looks; then it is tried again, or given up.
func TestUndoingFails(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		if s.forward() {
			return
		}
		count, _, _ := s.entries(t)
		for number := range count {
			for by, action := range map[string]string{"state": operation.ActionAbandon, "host": operation.ActionRetry} {
				t.Run(fmt.Sprintf("cancelled after entry %d, the %s fails, %s", number, by, action), func(t *testing.T) {
					p := s.open(t)
					undoing := func() bool { return p.status().State == v1.OperationUndoing }
					seen := 0
					p.Written = func(*state.Txn) {
						if seen++; seen == number {
							require.NoError(t, p.Steer(p.id, operation.ActionCancel))
						}
					}
					if number == 0 {
						require.NoError(t, p.Steer(p.id, operation.ActionCancel))
					}
					broken := true
					if by == "state" {
						p.Refuse = func(txn *state.Txn) *v1.Problem {
							if broken && undoing() && len(txn.Ops) > 1 {
								return errTest
							}
							return nil
						}
					} else {
						p.one.FailTask = func(v1.TaskSpec) *optest.Failure {
							if broken && undoing() {
								return &optest.Failure{Problem: errTest}
							}
							return nil
						}
						p.one.FailStart = func(v1.InstanceSpec) bool { return broken && undoing() }
					}
					p.Run(p.id)
					if p.status().State.Finished() { // nothing could go wrong in it
						p.ended(v1.OperationCancelled, v1.OperationSucceeded)
						return
					}
					status := p.status()
					require.Equal(t, v1.OperationNeedsAttention, status.State, "%+v", status)
					require.Equal(t, operation.MaxAttempts, status.Steps[status.Current].Attempts)
					require.Contains(t, status.Message, "undoing the step "+status.Steps[status.Current].Name+" failed")
					require.NoError(t, p.Steer(p.id, operation.ActionCancel), "once more changes nothing")
					broken = false
					require.NoError(t, p.Steer(p.id, action))
					p.Run(p.id)
					if action == operation.ActionAbandon {
						p.ended(v1.OperationAbandoned)
						return
					}
					p.ended(v1.OperationCancelled)
				})
			}
		}
	})
}
