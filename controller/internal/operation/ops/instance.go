package ops

import (
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// This file holds what the VM operations share: the making, starting and stopping of Instances.

// NewInstance resolves a VM's hardware for a host and freezes it.
func NewInstance(id string, vm *v1.VM, root *v1.Volume, host string, desired v1.DesiredState) *v1.Instance {
	return &v1.Instance{
		Meta: v1.Meta{ID: id, Name: "i-" + v1.Short(id), Project: vm.Project},
		Spec: v1.InstanceSpec{
			VM: vm.ID, Host: host, Title: vm.Name, VCPUs: vm.Status.VCPUs, MemoryMiB: vm.Status.MemoryMiB,
			Disks:  []v1.InstanceDisk{{Volume: root.ID, Driver: root.Status.Driver, Throttle: root.Spec.Throttle}},
			NICs:   []v1.InstanceNIC{{MAC: vm.Status.MAC, Kind: "user"}},
			Seed:   v1.Seed{InstanceID: vm.ID, Hostname: vm.Name, UserData: vm.Spec.UserData, SSHKeys: vm.Spec.SSHKeys},
			Labels: vm.Labels,
		},
		Desired:  v1.InstanceDesired{State: desired},
		Observed: v1.InstanceObserved{State: v1.InstancePending},
	}
}

// addInstance puts a new incarnation of a VM into an entry, with its attachment, in place of the last one, which is over.
func addInstance(s *state.Snapshot, txn *state.Txn, vm *v1.VM, instance *v1.Instance) {
	for _, last := range s.InstancesOf(vm.ID) {
		removeInstance(s, txn, last)
	}
	txn.Create(instance, "")
	for _, disk := range instance.Spec.Disks {
		id := derivedID(instance.ID, "attachment/"+disk.Volume)
		txn.Create(&v1.Attachment{
			Meta: v1.Meta{ID: id, Name: "a-" + v1.Short(id), Project: vm.Project},
			Spec: v1.AttachmentSpec{Volume: disk.Volume, Instance: instance.ID, VM: vm.ID, Host: instance.Spec.Host, Root: disk.Volume == vm.Status.RootVolume},
		}, "")
	}
	vm.Status.Instance = instance.ID
}

func removeInstance(s *state.Snapshot, txn *state.Txn, instance *v1.Instance) {
	for _, attachment := range s.AttachmentsOf(instance.ID) {
		txn.Delete(attachment, "")
	}
	txn.Delete(instance, "")
}

// current returns the VM's present or last incarnation, or nil.
func current(s *state.Snapshot, vm string) *v1.Instance {
	if found := s.VM(vm); found != nil && found.Status.Instance != "" {
		return s.Instance(found.Status.Instance)
	}
	return nil
}

// startStep wants the VM's Instance running, and waits until its host sees it run.
func startStep() operation.Step {
	return operation.Step{
		Name: "start",
		Do: func(c operation.Context) operation.Verdict {
			return run(c, current(c.State, c.Operation.Spec.Target.ID))
		},
		Undo: func(c operation.Context) operation.Verdict { return stop(c, 0) },
	}
}

func run(c operation.Context, instance *v1.Instance) operation.Verdict {
	if instance == nil {
		return gone(c)
	}
	if instance.Fence != nil && instance.Observed.State != v1.InstanceStopped {
		return operation.Failed(v1.NewProblem(v1.CodeHostFailed, "the host failed before the machine ran"), nil)
	}
	switch instance.Observed.State {
	case v1.InstanceRunning, v1.InstancePaused:
		return operation.Finish(nil)
	case v1.InstanceStopped:
		if hasRun(instance.Observed.Reason) {
			// It ran, and its end was reported before anybody heard of its beginning (the controllers were away). What it wrote must not be undone; whether it
			// runs again is the restart loop's business.
			return operation.Finish(nil)
		}
		detail := instance.Observed.Message
		if detail == "" {
			detail = "the machine stopped as soon as it was started (" + string(instance.Observed.Reason) + ")"
		}
		return operation.Failed(v1.NewProblem(v1.CodeHostFailed, "%s", detail).WithNext("Look at the serial log of the machine, and ask the operators when it does not tell."), nil)
	}
	message := "starts the machine"
	if silent(c, instance.Spec.Host) {
		message = "waits for a host that does not answer"
	}
	if instance.Desired.State == v1.DesiredHold {
		return operation.Waiting(message, func(txn *state.Txn) {
			wanted := instance.Clone()
			wanted.Desired.State = v1.DesiredRunning
			txn.Update(wanted, "")
		})
	}
	return operation.Waiting(message, nil)
}

// hasRun says whether an Instance that ended for this reason may have run, and so have written to its disks.
func hasRun(reason v1.StopReason) bool {
	return reason != v1.StoppedNoStart && reason != v1.StoppedRequested
}

// stop wants the VM's Instance stopped: it asks the guest, and forces it after grace (0: at once).
func stop(c operation.Context, grace time.Duration) operation.Verdict {
	instance := current(c.State, c.Operation.Spec.Target.ID)
	if instance == nil || !instance.Live() {
		return operation.Finish(nil)
	}
	force := instance.Desired.Force || c.Elapsed >= grace || instance.Observed.State == v1.InstancePending
	message := "asks the guest to shut down"
	if force {
		message = "stops the machine"
	}
	if silent(c, instance.Spec.Host) {
		message = "waits for a host that does not answer"
	}
	verdict := operation.Waiting(message, nil)
	if !force {
		verdict.Wake = grace - c.Elapsed
	}
	if wanted := (v1.InstanceDesired{State: v1.DesiredStopped, Force: force}); wanted != instance.Desired {
		verdict.Changes = func(txn *state.Txn) {
			stopped := instance.Clone()
			stopped.Desired = wanted
			txn.Update(stopped, "")
		}
	}
	return verdict
}
