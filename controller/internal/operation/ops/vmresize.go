package ops

import (
	"fmt"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// VMSize is what a resize changes.
type VMSize struct {
	Flavor    string `json:"flavor"` // as the user wrote it
	FlavorID  string `json:"flavorId"`
	VCPUs     int    `json:"vcpus"`
	MemoryMiB int64  `json:"memoryMiB"`
	DiskGiB   int64  `json:"diskGiB"` // of the root disk
}

// VMResizeArgs of vm.resize.
type VMResizeArgs struct {
	From    VMSize `json:"from"`
	To      VMSize `json:"to"`
	Restart bool   `json:"restart"` // it ran: stop it before, start it after
}

// SizeOf is the present size of a VM.
func SizeOf(vm *v1.VM, root *v1.Volume) VMSize {
	return VMSize{Flavor: vm.Spec.Flavor, FlavorID: vm.Status.FlavorID, VCPUs: vm.Status.VCPUs, MemoryMiB: vm.Status.MemoryMiB, DiskGiB: root.Spec.SizeGiB}
}

func (size VMSize) give(vm *v1.VM) {
	vm.Spec.Flavor, vm.Status.FlavorID, vm.Status.VCPUs, vm.Status.MemoryMiB = size.Flavor, size.FlavorID, size.VCPUs, size.MemoryMiB
}

// AddVMResize gives a VM another flavor. Until it is done the larger of both sizes is charged to the quota and the old flavor is held, so that nobody can take away what undoing it needs. Its machine is
// stopped for it, if it runs.
func AddVMResize(txn *state.Txn, id string, vm *v1.VM, root *v1.Volume, to VMSize, restart bool, actor string) {
	args := VMResizeArgs{From: SizeOf(vm, root), To: to, Restart: restart}
	vm.Spec.Flavor, vm.Status.Operation = to.Flavor, id
	vm.Status.VCPUs, vm.Status.MemoryMiB = max(args.From.VCPUs, to.VCPUs), max(args.From.MemoryMiB, to.MemoryMiB)
	txn.Update(vm, "resize asked for")
	grown := root.Clone()
	grown.Spec.SizeGiB, grown.Status.Operation = max(to.DiskGiB, root.Spec.SizeGiB), id
	txn.Update(grown, "")
	steps := []string{"size"}
	if restart {
		steps = append(steps, "shutdown")
	}
	if grown.Spec.SizeGiB > root.Spec.SizeGiB {
		steps = append(steps, "grow")
	}
	if restart {
		steps = append(steps, "again")
	}
	txn.Create(operation.New(id, v1.OpVMResize, vm, actor, args, steps...), "")
}

// resizeGrace is how long a guest may take to shut down for a resize.
const resizeGrace = 60 * time.Second

func vmResize() operation.Definition {
	return operation.Definition{Type: v1.OpVMResize, Done: takeSize, Steps: []operation.Step{
		{Name: "size", Undo: func(c operation.Context) operation.Verdict {
			args := operation.Args[VMResizeArgs](c.Operation)
			vm, ok := target[*v1.VM](c)
			if !ok {
				return gone(c)
			}
			root := c.State.Volume(vm.Status.RootVolume)
			return operation.Finish(func(txn *state.Txn) {
				args.From.give(vm)
				txn.Update(vm, "could not be resized")
				if root != nil && root.Spec.SizeGiB > root.Status.SizeGiB {
					back := root.Clone()
					back.Spec.SizeGiB = max(args.From.DiskGiB, root.Status.SizeGiB)
					txn.Update(back, "")
				}
			})
		}},
		{
			Name: "shutdown",
			Do:   func(c operation.Context) operation.Verdict { return stop(c, resizeGrace) },
			// It ran before, so it is started again in its old size. Once it was asked to stop there is no way back but through its end.
			Undo: func(c operation.Context) operation.Verdict {
				if last := current(c.State, c.Operation.Spec.Target.ID); last != nil && last.Live() && last.Desired.State == v1.DesiredStopped {
					return stop(c, resizeGrace)
				}
				return startAgain(c, operation.Args[VMResizeArgs](c.Operation).From, undoing)
			},
		},
		{
			Name:    "grow",
			Do:      func(c operation.Context) operation.Verdict { return growDisk(c, rootOf(c)) },
			TooLate: growing,
			Undo: func(c operation.Context) operation.Verdict {
				return settleSize(c, rootOf(c), operation.Args[VMResizeArgs](c.Operation).From.DiskGiB)
			},
		},
		{
			Name: "again",
			Do: func(c operation.Context) operation.Verdict {
				return startAgain(c, operation.Args[VMResizeArgs](c.Operation).To, doing)
			},
			Undo: func(c operation.Context) operation.Verdict { return stop(c, 0) },
		},
	}}
}

// takeSize gives back what only undoing would have needed.
func takeSize(c operation.Context, txn *state.Txn) {
	if vm, ok := target[*v1.VM](c); ok {
		operation.Args[VMResizeArgs](c.Operation).To.give(vm)
		txn.Update(vm, "resized")
	}
}

// startAgain begins the next incarnation of a VM on the host that it was on, in the given size, and waits until it runs.
func startAgain(c operation.Context, size VMSize, direction string) operation.Verdict {
	vm, ok := target[*v1.VM](c)
	if !ok {
		return gone(c)
	}
	last := current(c.State, vm.ID)
	// Each attempt has an incarnation of its own: one that did not start never will.
	id := derivedID(c.Operation.ID, fmt.Sprintf("instance/%s/%s/%d", c.Step.Name, direction, c.Step.Attempts))
	if last != nil && (last.Live() || last.ID == id) {
		return run(c, last)
	}
	root := c.State.Volume(vm.Status.RootVolume)
	if root == nil {
		return gone(c)
	}
	return operation.Waiting("starts the machine", func(txn *state.Txn) {
		sized := vm.Clone()
		size.give(sized)
		host := root.Status.Host
		if last != nil {
			host = last.Spec.Host
		}
		addInstance(c.State, txn, vm, NewInstance(id, sized, root, host, v1.DesiredRunning))
		txn.Update(vm, "")
	})
}
