package state

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func deleted(m *v1.Meta) { at := epoch; m.DeletedAt = &at }

func fence(o *v1.Instance) { o.Fence = &v1.FenceProof{At: epoch, By: "tester", How: "key removed"} }

func limit(n int64) *int64 { return &n }

// TestInvariants: each line is a step in a world where vm 1 runs on host 1 with volume 1, and volume 2 is blank.
func TestInvariants(t *testing.T) {
	for _, line := range []struct {
		name string
		do   func(w *world) error
		code v1.Code // "" when it is right
	}{
		{"names: the same in a project", func(w *world) error { o := newVM(5); o.Name = "vm-1"; return w.tryCreate(o) }, v1.CodeNameTaken},
		{"names: the same in another project", func(w *world) error {
			o := newVM(5)
			o.Name, o.Project = "vm-1", id(v1.KindProject, 2)
			return w.tryCreate(o)
		}, ""},
		{"names: the same of another kind", func(w *world) error { o := newVolume(5); o.Name = "vm-1"; return w.tryCreate(o) }, ""},
		{"names: the platform's own", func(w *world) error { o := newHost(5); o.Name = "host-1"; return w.tryCreate(o) }, v1.CodeNameTaken},
		{"names: renamed to a taken one", func(w *world) error {
			w.create(newVM(5))
			return change(w, newVM(5), func(o *v1.VM) { o.Name = "vm-1" })
		}, v1.CodeNameTaken},
		{"names: two new ones in one entry", func(w *world) error {
			a, b := newVM(5), newVM(6)
			b.Name = a.Name
			return w.tryCreate(a, b)
		}, v1.CodeNameTaken},
		{"names: exchanged in one entry", func(w *world) error {
			w.create(newVM(5))
			a, b := fresh(w, newVM(1)), fresh(w, newVM(5))
			a.Name, b.Name = b.Name, a.Name
			return w.refusedWhole(w.txn().Update(a, "").Update(b, ""))
		}, ""},
		{"names: free again after the deletion", func(w *world) error {
			w.create(newVM(5))
			require.NoError(w, w.remove(newVM(5)))
			o := newVM(6)
			o.Name = "vm-5"
			return w.tryCreate(o)
		}, ""},
		{"names: of what has none", func(w *world) error {
			a, b := newOperation(5, newVM(1)), newOperation(6, newVM(1))
			b.Name = a.Name
			return w.tryCreate(a, b)
		}, ""},

		{"references: to nothing", func(w *world) error { o := newVM(5); o.Status.FlavorID = id(v1.KindFlavor, 9); return w.tryCreate(o) }, v1.CodeConflict},
		{"references: to what is made in the same entry, in any order", func(w *world) error {
			return w.tryCreate(newAttachment(5, 5, 5, 5), newInstance(5, 5, 2), newVolume(5), newVM(5))
		}, ""},
		{"references: to what is being deleted", func(w *world) error {
			require.NoError(w, change(w, newFlavor(1), func(o *v1.Flavor) { deleted(&o.Meta) }))
			return w.tryCreate(newVM(5))
		}, v1.CodeConflict},
		{"references: of what refers already to what is being deleted", func(w *world) error {
			require.NoError(w, change(w, newVM(1), func(o *v1.VM) { deleted(&o.Meta) }))
			return change(w, newInstance(1, 1, 1), stop)
		}, ""},
		{"references: a task of the deletion itself", func(w *world) error {
			w.create(newOperation(1, newHost(1)))
			require.NoError(w, change(w, newHost(1), func(o *v1.Host) { deleted(&o.Meta) }))
			return w.tryCreate(newTask(1, 1, 1))
		}, ""},
		{"references: a new attachment of a volume that is being deleted", func(w *world) error {
			require.NoError(w, change(w, newVolume(2), func(o *v1.Volume) { deleted(&o.Meta) }))
			return w.tryCreate(newAttachment(5, 2, 1, 1))
		}, v1.CodeConflict},
		{"references: several", func(w *world) error {
			return change(w, newProject(1), func(o *v1.Project) {
				o.Status.MemberIDs = []string{id(v1.KindUser, 1), id(v1.KindUser, 9)}
			})
		}, v1.CodeConflict},

		{"held: a flavor by a machine", func(w *world) error { return w.remove(newFlavor(1)) }, v1.CodeInUse},
		{"held: a host by what lies on it", func(w *world) error { return w.remove(newHost(1)) }, v1.CodeInUse},
		{"held: a host that holds nothing", func(w *world) error { return w.remove(newHost(2)) }, ""},
		{"held: a volume by an attachment", func(w *world) error { return w.remove(newVolume(1)) }, v1.CodeInUse},
		{"held: a volume by a snapshot", func(w *world) error { w.create(newSnapshot(1, 2)); return w.remove(newVolume(2)) }, v1.CodeInUse},
		{"held: a volume together with its snapshot", func(w *world) error {
			w.create(newSnapshot(1, 2))
			return w.remove(newSnapshot(1, 2), newVolume(2))
		}, ""},
		{"held: a machine by its instance", func(w *world) error { return w.remove(newVM(1)) }, v1.CodeInUse},
		{"held: a user by a project", func(w *world) error {
			require.NoError(w, change(w, newProject(1), func(o *v1.Project) { o.Status.MemberIDs = []string{id(v1.KindUser, 1)} }))
			return w.remove(newUser(1))
		}, v1.CodeInUse},
		{"held: an operation by its task", func(w *world) error {
			w.create(newOperation(1, newVM(1)), newTask(1, 1, 1))
			return w.remove(newOperation(1, newVM(1)))
		}, v1.CodeInUse},
		{"held: an image by a volume", func(w *world) error {
			o := newVolume(5)
			o.Status.ImageID = id(v1.KindImage, 1)
			w.create(o)
			return w.remove(newImage(1))
		}, v1.CodeInUse},
		{"held: a group by its member", func(w *world) error {
			o := newVM(5)
			o.Status.GroupID = id(v1.KindPlacementGroup, 1)
			w.create(newGroup(1, v1.AntiAffinityHard), o)
			return w.remove(newGroup(1, ""))
		}, v1.CodeInUse},

		{"projects: into none that is there", func(w *world) error { o := newVM(5); o.Project = id(v1.KindProject, 9); return w.tryCreate(o) }, v1.CodeNotFound},
		{"projects: moved to none that is there", func(w *world) error {
			return change(w, newVolume(2), func(o *v1.Volume) { o.Project = id(v1.KindProject, 9) })
		}, v1.CodeNotFound},
		{"projects: with a machine", func(w *world) error { return w.remove(newProject(1)) }, v1.CodeInUse},
		{"projects: empty", func(w *world) error { return w.remove(newProject(2)) }, ""},
		{"projects: with an open operation", func(w *world) error {
			o := newOperation(1, newVM(1))
			o.Project = id(v1.KindProject, 2)
			w.create(o)
			return w.remove(newProject(2))
		}, v1.CodeInUse},
		{"projects: with finished operations, which stay", func(w *world) error {
			o := newOperation(1, newVM(1))
			o.Project, o.Status.State = id(v1.KindProject, 2), v1.OperationFailed
			w.create(o)
			require.NoError(w, w.remove(newProject(2)))
			require.NotNil(w, w.store.Snapshot().Operation(o.ID))
			return change(w, o, func(o *v1.Operation) { o.Status.Message = "history may still change" })
		}, ""},

		{"capacity: full to the brim", func(w *world) error {
			w.create(newVM(5))
			o := newInstance(5, 5, 1)
			o.Spec.VCPUs, o.Spec.MemoryMiB = 6, 7<<10
			return w.tryCreate(o)
		}, ""},
		{"capacity: one virtual CPU too many", func(w *world) error {
			w.create(newVM(5))
			o := newInstance(5, 5, 1)
			o.Spec.VCPUs = 7
			return w.tryCreate(o)
		}, v1.CodeNoCapacity},
		{"capacity: one MiB too many", func(w *world) error {
			w.create(newVM(5))
			o := newInstance(5, 5, 1)
			o.Spec.MemoryMiB = 7<<10 + 1
			return w.tryCreate(o)
		}, v1.CodeNoCapacity},
		{"capacity: one GiB too many", func(w *world) error {
			return change(w, newVolume(2), func(o *v1.Volume) { o.Spec.SizeGiB = 91 })
		}, v1.CodeNoCapacity},
		{"capacity: grows to the brim", func(w *world) error {
			return change(w, newVolume(2), func(o *v1.Volume) { o.Spec.SizeGiB = 90 })
		}, ""},
		{"capacity: two that fit alone", func(w *world) error {
			w.create(newVM(5), newVM(6))
			a, b := newInstance(5, 5, 1), newInstance(6, 6, 1)
			a.Spec.VCPUs, b.Spec.VCPUs = 4, 4
			return w.tryCreate(a, b)
		}, v1.CodeNoCapacity},
		{"capacity: a stopped instance takes nothing", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), stop))
			o := newInstance(5, 1, 1)
			o.Spec.VCPUs, o.Spec.MemoryMiB = 8, 8<<10
			return w.tryCreate(o)
		}, ""},
		{"capacity: a fenced instance takes nothing", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), fence))
			o := newInstance(5, 1, 1)
			o.Spec.VCPUs, o.Spec.MemoryMiB = 8, 8<<10
			return w.tryCreate(o)
		}, ""},
		{"capacity: one goes and one comes in one entry", func(w *world) error {
			old, o := fresh(w, newInstance(1, 1, 1)), newInstance(5, 1, 1)
			stop(old)
			o.Spec.VCPUs, o.Spec.MemoryMiB = 8, 8<<10
			return w.refusedWhole(w.txn().Update(old, "").Create(o, ""))
		}, ""},
		{"capacity: a host may be made smaller than what is given out", func(w *world) error {
			return change(w, newHost(1), func(o *v1.Host) { o.Spec.ReservedMemoryMiB = 8 << 10 })
		}, ""},
		{"capacity: an overfull host takes nothing more", func(w *world) error {
			require.NoError(w, change(w, newHost(1), func(o *v1.Host) { o.Spec.StorageOvercommit = 0.1 }))
			o := newVolume(5)
			o.Spec.SizeGiB, o.Status.SizeGiB = 1, 1
			return w.tryCreate(o)
		}, v1.CodeNoCapacity},
		{"capacity: on an overfull host what is there may change", func(w *world) error {
			require.NoError(w, change(w, newHost(1), func(o *v1.Host) { o.Spec.StorageOvercommit = 0.1; o.Spec.ReservedMemoryMiB = 8 << 10 }))
			require.NoError(w, change(w, newVolume(2), func(o *v1.Volume) { o.Status.Phase = v1.VolumeDeleting }))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Observed.Seq = 7 })
		}, ""},
		{"capacity: a volume goes to a full host", func(w *world) error {
			o := newVolume(5)
			o.Spec.SizeGiB, o.Status.SizeGiB, o.Status.Host = 100, 100, id(v1.KindHost, 2)
			w.create(o)
			return change(w, newVolume(2), func(o *v1.Volume) { o.Status.Host = id(v1.KindHost, 2) })
		}, v1.CodeNoCapacity},

		{"quota: one machine too many", func(w *world) error { return withQuota(w, v1.Quota{VMs: limit(1)}, newVM(5)) }, v1.CodeQuota},
		{"quota: to the brim", func(w *world) error { return withQuota(w, v1.Quota{VMs: limit(2)}, newVM(5)) }, ""},
		{"quota: nothing allowed", func(w *world) error { return withQuota(w, v1.Quota{Images: limit(0)}, newImage(5)) }, v1.CodeQuota},
		{"quota: virtual CPUs", func(w *world) error { return withQuota(w, v1.Quota{VCPUs: limit(3)}, newVM(5)) }, v1.CodeQuota},
		{"quota: memory", func(w *world) error { return withQuota(w, v1.Quota{MemoryMiB: limit(2047)}, newVM(5)) }, v1.CodeQuota},
		{"quota: volumes", func(w *world) error { return withQuota(w, v1.Quota{Volumes: limit(2)}, newVolume(5)) }, v1.CodeQuota},
		{"quota: storage", func(w *world) error { return withQuota(w, v1.Quota{StorageGiB: limit(29)}, newVolume(5)) }, v1.CodeQuota},
		{"quota: storage to the brim", func(w *world) error { return withQuota(w, v1.Quota{StorageGiB: limit(30)}, newVolume(5)) }, ""},
		{"quota: snapshots", func(w *world) error { return withQuota(w, v1.Quota{Snapshots: limit(0)}, newSnapshot(1, 2)) }, v1.CodeQuota},
		{"quota: another project's", func(w *world) error {
			o := newVM(5)
			o.Project = id(v1.KindProject, 2)
			return withQuota(w, v1.Quota{VMs: limit(1)}, o)
		}, ""},
		{"quota: of the project that it is moved to", func(w *world) error {
			require.NoError(w, change(w, newProject(2), func(o *v1.Project) { o.Spec.Quota.Volumes = limit(0) }))
			return change(w, newVolume(2), func(o *v1.Volume) { o.Project = id(v1.KindProject, 2) })
		}, v1.CodeQuota},
		{"quota: grows by a resize", func(w *world) error {
			require.NoError(w, withQuota(w, v1.Quota{VCPUs: limit(2)}))
			return change(w, newVM(1), func(o *v1.VM) { o.Status.VCPUs = 3 })
		}, v1.CodeQuota},
		{"quota: lowered below what is used", func(w *world) error { return withQuota(w, v1.Quota{VMs: limit(0), StorageGiB: limit(0)}) }, ""},
		{"quota: what is there may change when it is overdrawn", func(w *world) error {
			require.NoError(w, withQuota(w, v1.Quota{VMs: limit(0), VCPUs: limit(0)}))
			return change(w, newVM(1), func(o *v1.VM) { o.Status.VCPUs = 1 })
		}, ""},
		{"quota: one goes and one comes in one entry", func(w *world) error {
			require.NoError(w, withQuota(w, v1.Quota{Volumes: limit(2)}))
			return w.refusedWhole(w.txn().Delete(fresh(w, newVolume(2)), "").Create(newVolume(5), ""))
		}, ""},

		{"live: a second instance", func(w *world) error { return w.tryCreate(newInstance(5, 1, 2)) }, v1.CodeConflict},
		{"live: two at once", func(w *world) error {
			w.create(newVM(5))
			return w.tryCreate(newInstance(5, 5, 1), newInstance(6, 5, 2))
		}, v1.CodeConflict},
		{"live: the next after the first is over", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), stop))
			return w.tryCreate(newInstance(5, 1, 2))
		}, ""},
		{"live: wanted stopped is not stopped", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Desired.State = v1.DesiredStopped }))
			return w.tryCreate(newInstance(5, 1, 2))
		}, v1.CodeConflict},
		{"live: the next after the first is fenced", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), fence))
			return w.tryCreate(newInstance(5, 1, 2))
		}, ""},

		{"writers: a second one", func(w *world) error {
			w.create(newVM(5), newInstance(5, 5, 1))
			return w.tryCreate(newAttachment(5, 1, 5, 5))
		}, v1.CodeInUse},
		{"writers: after the first is over", func(w *world) error {
			w.create(newVM(5), newInstance(5, 5, 1))
			require.NoError(w, change(w, newInstance(1, 1, 1), stop))
			return w.tryCreate(newAttachment(5, 1, 5, 5))
		}, ""},
		{"writers: the same volume twice in one machine", func(w *world) error { return w.tryCreate(newAttachment(5, 1, 1, 1)) }, v1.CodeInUse},
		{"writers: of two volumes", func(w *world) error { return w.tryCreate(newAttachment(5, 2, 1, 1)) }, ""},
		{"writers: an attachment that is given to another volume", func(w *world) error {
			w.create(newVM(5), newInstance(5, 5, 1), newAttachment(5, 2, 5, 5))
			return change(w, newAttachment(5, 2, 5, 5), func(o *v1.Attachment) { o.Spec.Volume = id(v1.KindVolume, 1) })
		}, v1.CodeInUse},

		{"groups: hard, one host", func(w *world) error { return inGroup(w, v1.AntiAffinityHard, 1, 1) }, v1.CodeNoCapacity},
		{"groups: hard, two hosts", func(w *world) error { return inGroup(w, v1.AntiAffinityHard, 1, 2) }, ""},
		{"groups: soft, one host", func(w *world) error { return inGroup(w, v1.AntiAffinitySoft, 1, 1) }, ""},
		{"groups: hard, after the other is over", func(w *world) error {
			refused(w, inGroup(w, v1.AntiAffinityHard, 1, 1), v1.CodeNoCapacity)
			require.NoError(w, change(w, newInstance(5, 5, 1), stop))
			return w.tryCreate(newInstance(6, 6, 1))
		}, ""},
		{"groups: a soft one becomes hard", func(w *world) error {
			require.NoError(w, inGroup(w, v1.AntiAffinitySoft, 1, 1))
			return change(w, newGroup(1, ""), func(o *v1.PlacementGroup) { o.Spec.Policy = v1.AntiAffinityHard })
		}, v1.CodeConflict},
		{"groups: a running machine joins", func(w *world) error {
			require.NoError(w, inGroup(w, v1.AntiAffinityHard, 1, 2))
			return change(w, newVM(1), func(o *v1.VM) { o.Status.GroupID = id(v1.KindPlacementGroup, 1) })
		}, v1.CodeConflict},
		{"groups: the same machine again", func(w *world) error {
			require.NoError(w, inGroup(w, v1.AntiAffinityHard, 1, 2))
			old := fresh(w, newInstance(5, 5, 1))
			stop(old)
			return w.refusedWhole(w.txn().Update(old, "").Create(newInstance(7, 5, 1), ""))
		}, ""},

		{"addresses: the same", func(w *world) error { o := newVM(5); o.Status.MAC = newVM(1).Status.MAC; return w.tryCreate(o) }, v1.CodeConflict},
		{"addresses: none", func(w *world) error {
			a, b := newVM(5), newVM(6)
			a.Status.MAC, b.Status.MAC = "", ""
			return w.tryCreate(a, b)
		}, ""},
		{"addresses: taken over from one that goes", func(w *world) error {
			w.create(newVM(5))
			o := newVM(6)
			o.Status.MAC = newVM(5).Status.MAC
			return w.refusedWhole(w.txn().Delete(fresh(w, newVM(5)), "").Create(o, ""))
		}, ""},

		{"forward: from running to pending", func(w *world) error {
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Observed.State = v1.InstancePending })
		}, v1.CodeConflict},
		{"forward: paused and running again", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Observed.State = v1.InstancePaused }))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Observed.State = v1.InstanceRunning })
		}, ""},
		{"forward: stopped and running again", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), stop))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Observed.State = v1.InstanceRunning })
		}, v1.CodeConflict},
		{"forward: wanted running after stopped", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Desired.State = v1.DesiredStopped }))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Desired.State = v1.DesiredRunning })
		}, v1.CodeConflict},
		{"forward: wanted on hold after running", func(w *world) error {
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Desired.State = v1.DesiredHold })
		}, v1.CodeConflict},
		{"forward: a fence taken back", func(w *world) error {
			require.NoError(w, change(w, newInstance(1, 1, 1), fence))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Fence = nil })
		}, v1.CodeConflict},
		{"forward: to another host", func(w *world) error {
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Spec.Host = id(v1.KindHost, 2) })
		}, v1.CodeConflict},
		{"forward: to another machine", func(w *world) error {
			w.create(newVM(5))
			return change(w, newInstance(1, 1, 1), func(o *v1.Instance) { o.Spec.VM = id(v1.KindVM, 5) })
		}, v1.CodeConflict},

		{"cluster: a second one", func(w *world) error { return w.tryCreate(newCluster(2)) }, v1.CodeConflict},
		{"cluster: the first one changes", func(w *world) error {
			return change(w, newCluster(1), func(o *v1.Cluster) { o.Spec.Title = "Hà Nội" })
		}, ""},
	} {
		t.Run(line.name, func(t *testing.T) {
			w := base(newWorld(t))
			running(w, 1, 1)
			volume := newVolume(2)
			volume.Spec.SizeGiB, volume.Status.SizeGiB = 10, 10
			w.create(volume)
			before := w.store.Snapshot()
			err := line.do(w)
			if line.code == "" {
				require.NoError(t, err)
				require.NotEqual(t, body(t, before), body(t, w.store.Snapshot()))
				return
			}
			refused(t, err, line.code)
		})
	}
}

// withQuota sets the quota of project 1, then creates.
func withQuota(w *world, quota v1.Quota, objects ...v1.Object) error {
	w.Helper()
	if err := change(w, newProject(1), func(o *v1.Project) { o.Spec.Quota = quota }); err != nil || len(objects) == 0 {
		return err
	}
	return w.tryCreate(objects...)
}

// inGroup makes machines 5 and 6 in one group, and starts them on two hosts.
func inGroup(w *world, policy v1.PlacementPolicy, first, second int) error {
	w.Helper()
	a, b := newVM(5), newVM(6)
	a.Status.GroupID, b.Status.GroupID = id(v1.KindPlacementGroup, 1), id(v1.KindPlacementGroup, 1)
	w.create(newGroup(1, policy), a, b, newInstance(5, 5, first))
	return w.tryCreate(newInstance(6, 6, second))
}

// TestRefusalsAreSaidInWords: what a user reads names the thing, the rule and the way out.
func TestRefusalsAreSaidInWords(t *testing.T) {
	w := base(newWorld(t))
	running(w, 1, 1)
	for n := 2; n <= 5; n++ {
		w.create(newVM(n))
	}
	problem := refused(t, w.remove(newFlavor(1)), v1.CodeInUse)
	require.Equal(t, `the flavor "flavor-1" is in use by 5 virtual machines (vm-1, vm-2, vm-3, …)`, problem.Detail)
	require.Equal(t, "5", problem.Params["count"])
	require.NotEmpty(t, problem.Next)
	problem = refused(t, w.remove(newVM(1)), v1.CodeInUse)
	require.Contains(t, problem.Detail, "1 volume (volume-1)")

	taken := newVM(9)
	taken.Name = "vm-1"
	problem = refused(t, w.tryCreate(taken), v1.CodeNameTaken)
	require.Equal(t, `there is a virtual machine named "vm-1" already`, problem.Detail)
	require.Equal(t, "name", problem.Field)

	problem = refused(t, withQuota(w, v1.Quota{VMs: limit(5)}, newVM(9)), v1.CodeQuota)
	require.Equal(t, "the project's quota allows vms up to 5, and this would make it 6", problem.Detail)
	require.Equal(t, map[string]string{"resource": "vms", "limit": "5", "wanted": "6"}, problem.Params)

	o := newInstance(9, 2, 1)
	o.Spec.VCPUs = 100
	problem = refused(t, w.tryCreate(o), v1.CodeNoCapacity)
	require.NotContains(t, problem.Error(), "host-1")
}

// TestInstanceLife goes through a whole life: made, run, stopped, and all of it gone.
func TestInstanceLife(t *testing.T) {
	w := base(newWorld(t))
	empty := w.store.Snapshot()
	running(w, 1, 1)
	require.Equal(t, v1.Usage{VCPUs: 2, MemoryMiB: 1024, StorageGiB: 10}, w.store.Snapshot().HostUsage(id(v1.KindHost, 1)))
	require.Equal(t, v1.ProjectUsage{VMs: 1, VCPUs: 2, MemoryMiB: 1024, Volumes: 1, StorageGiB: 10, Images: 1}, w.store.Snapshot().ProjectUsage(id(v1.KindProject, 1)))
	require.NoError(t, change(w, newInstance(1, 1, 1), func(o *v1.Instance) {
		stop(o)
		o.Observed.Since = epoch.Add(time.Minute)
	}))
	require.Equal(t, v1.Usage{StorageGiB: 10}, w.store.Snapshot().HostUsage(id(v1.KindHost, 1)))
	require.NoError(t, w.remove(newAttachment(1, 1, 1, 1), newInstance(1, 1, 1), newVolume(1), newVM(1)))
	require.Equal(t, empty.ProjectUsage(id(v1.KindProject, 1)), w.store.Snapshot().ProjectUsage(id(v1.KindProject, 1)))
	require.True(t, w.store.Snapshot().HostUsage(id(v1.KindHost, 1)).IsZero())
}
