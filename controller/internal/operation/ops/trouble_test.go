package ops_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/operation/optest"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// TestSilentHostIsWaitedFor: its operations say so, and go on once it is back.
func TestSilentHostIsWaitedFor(t *testing.T) {
	eachScene(t, func(t *testing.T, s scene) {
		p := s.open(t)
		if s.of == v1.OpVMResize && s.name == "stopped" {
			t.Log("no host has anything to do with it")
			p.Run(p.id)
			p.ended(v1.OperationSucceeded)
			return
		}
		p.SetSilent(p.one, true)
		p.Run(p.id)
		if s.of == v1.OpImageDelete { // it takes those that answer; the copy of the others can be used by nobody
			require.Equal(t, v1.OperationSucceeded, p.status().State)
			require.Empty(t, p.two.Images)
			require.NotEmpty(t, p.one.Images)
			return
		}
		require.Equal(t, v1.OperationRunning, p.status().State)
		require.Equal(t, "waits for a host that does not answer", p.status().Message)
		p.SetSilent(p.one, false)
		p.Run(p.id)
		p.ended(v1.OperationSucceeded)
	})
}

// TestImageDeleteLosesAHostMidway: it does not hang on a host that falls silent after it was told.
func TestImageDeleteLosesAHostMidway(t *testing.T) {
	w := newWorld(t)
	id := w.deleteImage()
	w.Advance(id)
	require.Len(t, w.Store.Snapshot().List(v1.KindTask), 3, "all hosts at once, each pool")
	w.SetSilent(w.one, true)
	w.done(id)
	require.Empty(t, w.Store.Snapshot().List(v1.KindTask))
}

// TestNonsenseFromAHost: an image is what was uploaded, or it is refused.
func TestNonsenseFromAHost(t *testing.T) {
	for name, output := range map[string]any{
		"no object":       "done",
		"nothing":         v1.ImageResult{},
		"no size":         v1.ImageResult{SHA256: digest, SizeBytes: 1},
		"another image":   v1.ImageResult{SHA256: "00", SizeBytes: 1, VirtualSize: 1},
		"a negative size": v1.ImageResult{SHA256: digest, SizeBytes: 1, VirtualSize: -1},
	} {
		t.Run(name, func(t *testing.T) {
			p := scenes[0].open(t)
			p.one.Output = func(spec v1.TaskSpec) any {
				if spec.Type == v1.TaskImageImport {
					return output
				}
				return nil
			}
			p.Run(p.id)
			p.ended(v1.OperationFailed)
			require.Equal(t, v1.CodeHostFailed, p.status().Error.Code)
		})
	}
}

// TestResizeHoldsWhatUndoingNeeds: while it runs nobody can take the quota of the old size, nor delete the old flavor.
func TestResizeHoldsWhatUndoingNeeds(t *testing.T) {
	w := newWorld(t)
	running(w)
	w.done(w.resizeVM(w.largeSize(1)))
	id := w.resizeVM(w.smallSize(1))
	w.Advance(id)
	used := w.Store.Snapshot().ProjectUsage(w.project)
	require.EqualValues(t, 2, used.VCPUs)
	require.EqualValues(t, 1024, used.MemoryMiB)
	txn := state.NewTxn(w.Now, "operator")
	txn.Delete(w.Store.Snapshot().Flavor(w.large), "")
	require.Equal(t, v1.CodeInUse, v1.CodeOf(w.Apply(txn)))
	require.NoError(t, w.Steer(id, operation.ActionCancel))
	w.Run(id)
	require.Equal(t, v1.OperationCancelled, w.Status(id).State)
	w.running(2)
	w.sized(w.largeSize(1))
}

// TestResizeWithoutTheFlavor: the new flavor may vanish on the way; then there is no resize.
func TestResizeWithoutTheFlavor(t *testing.T) {
	w := newWorld(t)
	running(w)
	id := w.resizeVM(w.largeSize(1))
	w.Must(func(s *state.Snapshot, txn *state.Txn) { txn.Delete(s.Flavor(w.large), "") })
	w.Run(id)
	require.Equal(t, v1.OperationFailed, w.Status(id).State)
	require.Contains(t, w.Status(id).Error.Detail, "flavor")
	w.running(1)
	w.sized(w.smallSize(1))
}

// TestResizeFindsNoRoom: while the machine was off somebody else took the room. It runs again as it was.
func TestResizeFindsNoRoom(t *testing.T) {
	w := newWorld(t)
	running(w)
	to := w.largeSize(1)
	to.VCPUs = 4
	id := w.resizeVM(to)
	w.Advance(id)
	w.Must(func(_ *state.Snapshot, txn *state.Txn) {
		vm := &v1.VM{Meta: w.meta(w.ID(), "other"), Spec: v1.VMSpec{Flavor: "small", Image: "tiny"}, Status: v1.VMStatus{FlavorID: w.small, VCPUs: 1, MemoryMiB: 512}}
		txn.Create(vm, "")
		txn.Create(ops.NewInstance(w.ID(), vm, w.root(), w.one.ID, v1.DesiredHold), "")
	})
	w.Run(id)
	status := w.Status(id)
	require.Equal(t, v1.OperationFailed, status.State)
	require.Equal(t, v1.CodeNoCapacity, status.Error.Code)
	require.Equal(t, v1.InstanceRunning, w.instance().Observed.State)
	require.Equal(t, 1, w.instance().Spec.VCPUs)
	require.Equal(t, w.smallSize(1), ops.SizeOf(w.vm(), w.root()))
}

// TestResizeIsCalledOffBeforeItsMachineStops: the machine that never stopped is left alone; one that was asked to stop is waited for, and started again.
func TestResizeIsCalledOffBeforeItsMachineStops(t *testing.T) {
	w := newWorld(t)
	running(w)
	first := w.instance().ID
	id := w.resizeVM(w.largeSize(1))
	require.NoError(t, w.Steer(id, operation.ActionCancel))
	w.Run(id)
	require.Equal(t, v1.OperationCancelled, w.Status(id).State)
	require.Equal(t, first, w.instance().ID)
	w.running(1)

	id = w.resizeVM(w.largeSize(1))
	w.Advance(id)
	require.Equal(t, v1.DesiredStopped, w.instance().Desired.State)
	require.NoError(t, w.Steer(id, operation.ActionCancel))
	w.Run(id)
	require.Equal(t, v1.OperationCancelled, w.Status(id).State)
	require.NotEqual(t, first, w.instance().ID)
	w.running(1)
}

// TestUndoingStartsAgain: each attempt to start is an incarnation of its own, and only the last one is kept.
func TestUndoingStartsAgain(t *testing.T) {
	w := newWorld(t)
	running(w)
	id := w.resizeVM(w.largeSize(1))
	fails := 3
	w.one.FailStart = func(v1.InstanceSpec) bool { fails--; return fails >= 0 }
	w.Run(id)
	require.Equal(t, v1.OperationFailed, w.Status(id).State)
	require.Equal(t, 2, w.Status(id).Steps[1].Attempts, "the new size failed once, the old one twice")
	require.Len(t, w.Store.Snapshot().List(v1.KindInstance), 1)
	w.running(1)
}

// TestStopOfAMachineThatHasNotStarted, and of one whose stop is hurried by somebody else.
func TestStopOfAMachineThatHasNotStarted(t *testing.T) {
	w := newWorld(t)
	stopped(w)
	w.SetSilent(w.one, true)
	w.startVM()
	w.SetSilent(w.one, false)
	id := w.stopVM(ops.StopArgs{GraceSeconds: 3600})
	w.Advance(id)
	require.True(t, w.instance().Desired.Force, "nobody is there to be asked")
	before := w.Now
	w.done(id)
	require.Less(t, w.Now.Sub(before).Seconds(), 1.0)
	require.Empty(t, w.one.Logs, "it never ran")
}

// TestStopAsksFirst: a guest that obeys in time is not forced; one that does not is, after its grace and not before.
func TestStopAsksFirst(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		w := newWorld(t)
		running(w)
		w.one.Deaf = deaf
		before := w.Now
		w.done(w.stopVM(ops.StopArgs{GraceSeconds: 30}))
		require.Equal(t, deaf, w.instance().Desired.Force)
		require.Equal(t, deaf, w.Now.Sub(before).Seconds() >= 30)
		require.Less(t, w.Now.Sub(before).Seconds(), 31.0)
	}
}

func TestStopIsHurried(t *testing.T) {
	w := newWorld(t)
	running(w)
	w.one.Deaf = true
	id := w.stopVM(ops.StopArgs{GraceSeconds: 3600})
	w.Advance(id)
	require.False(t, w.instance().Desired.Force)
	require.Equal(t, "asks the guest to shut down", w.Status(id).Message)
	w.Must(func(_ *state.Snapshot, txn *state.Txn) {
		forced := w.instance().Clone()
		forced.Desired.Force = true
		txn.Update(forced, "")
	})
	before := w.Now
	w.done(id)
	require.Less(t, w.Now.Sub(before).Seconds(), 1.0)
}

// TestRebootOfAMachineThatEnds: nobody reboots it any more, and no task is left.
func TestRebootOfAMachineThatEnds(t *testing.T) {
	w := newWorld(t)
	running(w)
	id := w.rebootVM()
	w.Advance(id)
	w.one.Stop(w.instance().ID, v1.StoppedByGuest)
	w.one.FailTask = func(v1.TaskSpec) *optest.Failure {
		return &optest.Failure{Problem: v1.NewProblem(v1.CodeWrongState, "it does not run")}
	}
	w.Run(id)
	require.Equal(t, v1.OperationFailed, w.Status(id).State)
	require.Equal(t, v1.CodeWrongState, w.Status(id).Error.Code)
	require.Empty(t, w.Store.Snapshot().List(v1.KindTask))
}

// TestGuestEndsDuringItsResize: it is resized and started all the same, since it is wanted running.
func TestGuestEndsDuringItsResize(t *testing.T) {
	w := newWorld(t)
	running(w)
	id := w.resizeVM(w.largeSize(1))
	w.one.Stop(w.instance().ID, v1.StoppedByGuest)
	w.done(id)
	w.running(2)
}

// TestFencedInstance is not taken for one that runs.
func TestFencedInstance(t *testing.T) {
	w := newWorld(t)
	stopped(w)
	id := w.startVM()
	w.Must(func(_ *state.Snapshot, txn *state.Txn) {
		fenced := w.instance().Clone()
		fenced.Observed.State, fenced.Fence = v1.InstanceRunning, &v1.FenceProof{By: "tester"}
		txn.Update(fenced, "")
	})
	w.Run(id)
	require.Equal(t, v1.OperationFailed, w.Status(id).State)
	require.Contains(t, w.Status(id).Error.Detail, "the host failed")
}

// TestGrowingIsWaitedFor: whatever goes wrong meanwhile, only the host's answer tells how large the disk is.
func TestGrowingIsWaitedFor(t *testing.T) {
	for name, failure := range map[string]*optest.Failure{"it has grown": nil, "it has not": {Problem: errTest}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			blank(w)
			id := w.resizeVolume(w.volume(), 5)
			w.Advance(id)
			w.SetSilent(w.one, true)
			w.Refuse = func(*state.Txn) *v1.Problem { w.Refuse = nil; return errTest }
			w.Run(id)
			require.Equal(t, v1.OperationUndoing, w.Status(id).State)
			require.Equal(t, "waits until it is known how large the disk is", w.Status(id).Message)
			w.one.FailTask = func(v1.TaskSpec) *optest.Failure { return failure }
			w.SetSilent(w.one, false)
			w.Run(id)
			require.Equal(t, v1.OperationFailed, w.Status(id).State)
			want := int64(5)
			if failure != nil {
				want = 2
			}
			require.Equal(t, want<<30, w.one.Volumes[w.volume().ID].Bytes)
			require.Equal(t, want, w.volume().Spec.SizeGiB)
			require.Equal(t, want, w.volume().Status.SizeGiB)
			require.Equal(t, want, w.Store.Snapshot().ProjectUsage(w.project).StorageGiB)
			require.Empty(t, w.Store.Snapshot().List(v1.KindTask))
		})
	}
}

// TestAMachineThatRanIsKept: a guest that runs and ends while the controllers are away is heard of only when it is over. Its data must not be undone.
func TestAMachineThatRanIsKept(t *testing.T) {
	for reason, kept := range map[v1.StopReason]bool{
		v1.StoppedByGuest: true, v1.StoppedCrashed: true, v1.StoppedHostBoot: true, v1.StoppedUnknown: true, v1.StoppedNoStart: false,
	} {
		t.Run(string(reason), func(t *testing.T) {
			w := newWorld(t)
			id := w.createVM(v1.PowerRunning)
			for w.instance().Desired.State != v1.DesiredRunning {
				if wrote, _ := w.Advance(id); !wrote {
					require.True(t, w.Work(), "nothing moves")
				}
			}
			w.Must(func(s *state.Snapshot, txn *state.Txn) {
				over := w.instance().Clone()
				over.Observed = v1.InstanceObserved{Seq: 1, State: v1.InstanceStopped, Reason: reason}
				txn.Update(over, "")
			})
			w.Advance(id)
			if kept {
				require.Equal(t, v1.OperationSucceeded, w.Status(id).State)
				require.NotNil(t, w.root())
			} else {
				require.Equal(t, v1.OperationUndoing, w.Status(id).State)
			}
		})
	}
}

// TestRestoreToALargerSnapshotIsChargedFirst: what the quota does not allow is refused before anything is overwritten.
func TestRestoreToALargerSnapshotIsChargedFirst(t *testing.T) {
	w := newWorld(t)
	w.done(w.createVolume(""))
	w.done(w.createSnapshot())
	w.Must(func(_ *state.Snapshot, txn *state.Txn) { // as after the restore of a smaller one
		larger := w.snapshot()
		larger.Status.SizeGiB = w.volume().Spec.SizeGiB + 7
		txn.Update(larger, "")
	})
	used := w.Store.Snapshot().ProjectUsage(w.project).StorageGiB
	w.restoreSnapshot()
	require.Equal(t, used+7, w.Store.Snapshot().ProjectUsage(w.project).StorageGiB)
}
