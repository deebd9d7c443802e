package ops

import (
	"encoding/json"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// AddVMCreate makes a VM with its root disk and, if it shall run, its first Instance, all decided, and begins to carry it out.
func AddVMCreate(s *state.Snapshot, txn *state.Txn, id string, vm *v1.VM, root *v1.Volume, instance *v1.Instance, actor string) {
	vm.Status.Operation, vm.Status.RootVolume = id, root.ID
	root.Status.Phase, root.Status.Operation, root.Status.VM = v1.VolumeCreating, id, vm.ID
	steps := []string{"reserve", "disk"}
	note := "placed"
	if instance != nil {
		addInstance(s, txn, vm, instance)
		steps = append(steps, "start")
	}
	txn.Create(vm, note)
	txn.Create(root, "root disk of "+vm.Name)
	txn.Create(operation.New(id, v1.OpVMCreate, vm, actor, nil, steps...), "")
}

func vmCreate() operation.Definition {
	return operation.Definition{Type: v1.OpVMCreate, Steps: []operation.Step{
		// A host forgets only what it was told to stop, also an Instance that was never started.
		{Name: "reserve", Undo: func(c operation.Context) operation.Verdict {
			if stopping := stop(c, 0); stopping.Outcome != operation.Done {
				return stopping
			}
			return forgetVM(c, undoing, "could not be created")
		}},
		{
			Name: "disk",
			Do:   func(c operation.Context) operation.Verdict { return makeDisk(c, rootOf(c)) },
			Undo: func(c operation.Context) operation.Verdict { return dropDisk(c, undoing, rootOf(c)) },
		},
		startStep(),
	}}
}

func rootOf(c operation.Context) string {
	if vm := c.State.VM(c.Operation.Spec.Target.ID); vm != nil {
		return vm.Status.RootVolume
	}
	return ""
}

// forgetVM has the host forget what it keeps for a VM (serial logs), and then removes every row of it.
func forgetVM(c operation.Context, direction, note string) operation.Verdict {
	vm, ok := target[*v1.VM](c)
	if !ok {
		return operation.Finish(nil)
	}
	remove := func(txn *state.Txn) {
		for _, instance := range c.State.InstancesOf(vm.ID) {
			removeInstance(c.State, txn, instance)
		}
		if root := c.State.Volume(vm.Status.RootVolume); root != nil {
			removeVolume(c.State, txn, root)
		}
		txn.Delete(vm, note)
	}
	root := c.State.Volume(vm.Status.RootVolume)
	if root == nil || root.Status.Host == "" {
		return operation.Finish(remove)
	}
	return task(c, direction, root.Status.Host, v1.TaskVMForget, v1.VMArgs{VM: vm.ID}, "clears away what is left", func(txn *state.Txn, _ json.RawMessage) { remove(txn) })
}

// StartArgs of vm.start.
type StartArgs struct {
	Was v1.Power `json:"was"` // what was wanted before: it is wanted again when the start fails
}

// AddVMStart begins a new incarnation of a VM, already placed.
func AddVMStart(s *state.Snapshot, txn *state.Txn, id string, vm *v1.VM, root *v1.Volume, instance *v1.Instance, actor string) {
	was := v1.PowerRunning
	if stored := s.VM(vm.ID); stored != nil && !stored.RunningWanted() {
		was = v1.PowerStopped
	}
	vm.Spec.Power, vm.Status.Operation = v1.PowerRunning, id
	addInstance(s, txn, vm, instance)
	txn.Unchanged(root) // nothing may have begun on the disk meanwhile
	txn.Update(vm, "start asked for")
	txn.Create(operation.New(id, v1.OpVMStart, vm, actor, StartArgs{Was: was}, "power", "start"), "")
}

func vmStart() operation.Definition {
	return operation.Definition{Type: v1.OpVMStart, Steps: []operation.Step{
		// When it does not start, it is wanted again what was wanted before. A machine that was wanted running stays so: the restart loop tries again, more and more slowly. The Instance is there from the beginning, even when the next step has not begun.
		{Name: "power", Undo: func(c operation.Context) operation.Verdict {
			if stopping := stop(c, 0); stopping.Outcome != operation.Done {
				return stopping
			}
			if c.Operation.Status.CancelRequested {
				return wantPower(c, v1.PowerStopped, "its start was cancelled")
			}
			return wantPower(c, operation.Args[StartArgs](c.Operation).Was, "could not be started")
		}},
		startStep(),
	}}
}

func wantPower(c operation.Context, power v1.Power, note string) operation.Verdict {
	vm, ok := target[*v1.VM](c)
	if !ok || vm.Spec.Power == power {
		return operation.Finish(nil)
	}
	return operation.Finish(func(txn *state.Txn) {
		vm.Spec.Power = power
		txn.Update(vm, note)
	})
}

// StopArgs of vm.stop.
type StopArgs struct {
	GraceSeconds int  `json:"graceSeconds"`
	Force        bool `json:"force"`
}

// AddVMStop begins to stop a VM.
func AddVMStop(txn *state.Txn, id string, vm *v1.VM, args StopArgs, actor string) {
	vm.Spec.Power, vm.Status.Operation = v1.PowerStopped, id
	txn.Update(vm, "stop asked for")
	txn.Create(operation.New(id, v1.OpVMStop, vm, actor, args, "shutdown"), "")
}

func vmStop() operation.Definition {
	return operation.Definition{Type: v1.OpVMStop, Forward: true, Steps: []operation.Step{{
		Name: "shutdown",
		Do: func(c operation.Context) operation.Verdict {
			args := operation.Args[StopArgs](c.Operation)
			if args.Force {
				return stop(c, 0)
			}
			return stop(c, time.Duration(args.GraceSeconds)*time.Second)
		},
	}}}
}

// AddVMReboot reboots a running VM; its Instance stays.
func AddVMReboot(txn *state.Txn, id string, vm *v1.VM, instance *v1.Instance, force bool, actor string) {
	vm.Status.Operation = id
	txn.Update(vm, "reboot asked for")
	txn.Unchanged(instance)
	txn.Create(operation.New(id, v1.OpVMReboot, vm, actor, v1.RebootArgs{Instance: instance.ID, Force: force}, "reboot"), "")
}

func vmReboot() operation.Definition {
	return operation.Definition{Type: v1.OpVMReboot, Steps: []operation.Step{{
		Name: "reboot",
		Do: func(c operation.Context) operation.Verdict {
			args := operation.Args[v1.RebootArgs](c.Operation)
			instance := c.State.Instance(args.Instance)
			if instance == nil || !instance.Live() {
				return operation.Failed(v1.NewProblem(v1.CodeWrongState, "the machine does not run any more"), func(txn *state.Txn) { withdraw(c, txn) })
			}
			return task(c, doing, instance.Spec.Host, v1.TaskVMReboot, args, "reboots the machine", nil)
		},
		Undo: withdrawn,
	}}}
}

// AddVMDelete begins the deletion of a VM and its root disk.
func AddVMDelete(txn *state.Txn, id string, vm *v1.VM, root *v1.Volume, actor string) {
	markDeleted(&vm.Meta, txn.Time)
	vm.Status.Operation = id
	txn.Update(vm, "deletion asked for")
	if root != nil {
		dying := root.Clone()
		markDeleted(&dying.Meta, txn.Time)
		dying.Status.Phase, dying.Status.Operation = v1.VolumeDeleting, id
		txn.Update(dying, "")
	}
	txn.Create(operation.New(id, v1.OpVMDelete, vm, actor, nil, "stop", "disk", "remove"), "")
}

func vmDelete() operation.Definition {
	return operation.Definition{Type: v1.OpVMDelete, Forward: true, Steps: []operation.Step{
		{Name: "stop", Do: func(c operation.Context) operation.Verdict { return stop(c, 0) }},
		{Name: "disk", Do: func(c operation.Context) operation.Verdict { return dropDisk(c, doing, rootOf(c)) }},
		{Name: "remove", Do: func(c operation.Context) operation.Verdict { return forgetVM(c, doing, "") }},
	}}
}
