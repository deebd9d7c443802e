package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"reflect"
	"time"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/scheduler"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// defaultGrace is how long a guest may take to shut down before it is forced.
const defaultGrace = 60

func createVM(r *request) (v1.Object, string, error) {
	vm, root, err := r.draftVM()
	if err != nil {
		return nil, "", err
	}
	host, err := r.placeVM(vm, root)
	if err != nil {
		return nil, "", err
	}
	root.Status.Driver, root.Status.Host = v1.DriverLocal, host.ID
	vm.Status.MAC = newMAC(r.state)
	id := NewID()
	var instance *v1.Instance
	if vm.RunningWanted() {
		instance = ops.NewInstance(NewID(), vm, root, host.ID, v1.DesiredHold)
	}
	ops.AddVMCreate(r.state, r.txn, id, vm, root, instance, r.actor)
	return vm, id, nil
}

// draftVM makes the VM and its root disk that a draft asks for, not placed yet.
func (r *request) draftVM() (*v1.VM, *v1.Volume, error) {
	vm := &v1.VM{Meta: r.meta, Spec: specOf[v1.VMSpec](r.draft)}
	if err := r.mayCreate(vm); err != nil {
		return nil, nil, err
	}
	if err := vm.Validate(); err != nil {
		return nil, nil, err
	}
	flavor, err := need[*v1.Flavor](r.state, r.caller, v1.KindFlavor, "", vm.Spec.Flavor, "spec.flavor")
	if err != nil {
		return nil, nil, err
	}
	image, err := need[*v1.Image](r.state, r.caller, v1.KindImage, vm.Project, vm.Spec.Image, "spec.image")
	if err != nil {
		return nil, nil, err
	}
	if vm.Spec.PlacementGroup != "" {
		group, err := need[*v1.PlacementGroup](r.state, r.caller, v1.KindPlacementGroup, vm.Project, vm.Spec.PlacementGroup, "spec.placementGroup")
		if err != nil {
			return nil, nil, err
		}
		vm.Status.GroupID = group.ID
	}
	size := vm.Spec.DiskGiB
	if size == 0 {
		size = flavor.Spec.DiskGiB
	}
	if err := imageFits(image, size, "spec.diskGiB"); err != nil {
		return nil, nil, err
	}
	vm.Status.FlavorID, vm.Status.ImageID = flavor.ID, image.ID
	vm.Status.VCPUs, vm.Status.MemoryMiB = flavor.Spec.VCPUs, flavor.Spec.MemoryMiB
	rootID := NewID()
	root := &v1.Volume{
		Meta:   v1.Meta{ID: rootID, Name: rootName(vm.Name, rootID), Project: vm.Project},
		Spec:   v1.VolumeSpec{SizeGiB: size, Image: vm.Spec.Image, Throttle: vm.Spec.DiskThrottle},
		Status: v1.VolumeStatus{ImageID: image.ID},
	}
	return vm, root, nil
}

// rootName names a root disk after its VM; the tail keeps it apart from volumes of users.
func rootName(vm, id string) string {
	tail := "-root-" + v1.Short(id)
	return vm[:min(len(vm), v1.MaxNameLength-len(tail))] + tail
}

func imageFits(image *v1.Image, sizeGiB int64, field string) error {
	if image.Status.Phase != v1.ImageAvailable {
		return v1.NewProblem(v1.CodeWrongState, "the image %q is not available yet (%s)", image.Name, image.Status.Phase).WithField("spec.image").
			WithNext("Upload its bytes and wait until its import is finished.")
	}
	if sizeGiB < image.MinDiskGiB() {
		return v1.NewProblem(v1.CodeInvalid, "%s: %d GiB is smaller than the image %q, which needs %d GiB", field, sizeGiB, image.Name, image.MinDiskGiB()).WithField(field).
			With("minimum", image.MinDiskGiB()).WithNext("Ask for a larger disk, or choose a smaller image.")
	}
	return nil
}

// placeVM chooses the host of a VM's next incarnation.
func (r *request) placeVM(vm *v1.VM, root *v1.Volume) (*v1.Host, error) {
	host, explanation := r.board.Place(placementOf(r.state, vm, root), vm.Status.GroupID)
	if host == nil {
		return nil, scheduler.Problem(explanation)
	}
	return host, nil
}

func placementOf(s *state.Snapshot, vm *v1.VM, root *v1.Volume) scheduler.Request {
	request := scheduler.Request{Driver: v1.DriverLocal, Level: vm.Level(), Peers: map[string]int{}}
	if vm.RunningWanted() {
		request.Want.VCPUs, request.Want.MemoryMiB = int64(vm.Status.VCPUs), vm.Status.MemoryMiB
	}
	if root.Status.Host != "" { // its disk is somewhere already
		request.Pinned, request.Driver = root.Status.Host, root.Status.Driver
	} else {
		request.Want.StorageGiB = root.Spec.SizeGiB
	}
	if vm.Status.GroupID != "" {
		if group, ok := s.Get(v1.KindPlacementGroup, vm.Status.GroupID).(*v1.PlacementGroup); ok {
			request.Policy = group.Spec.Policy
		}
		for _, object := range s.By(v1.KindVM, "group", vm.Status.GroupID) {
			for _, instance := range s.InstancesOf(object.ObjectMeta().ID) {
				if instance.Live() && object.ObjectMeta().ID != vm.ID {
					request.Peers[instance.Spec.Host]++
				}
			}
		}
	}
	return request
}

// newMAC chooses a free address with the cloud's prefix. That it is free is an invariant; here it only saves another round.
func newMAC(s *state.Snapshot) string {
	prefix := "52:54:00"
	if cluster := s.Cluster(); cluster != nil && cluster.Spec.MACPrefix != "" {
		prefix = cluster.Spec.MACPrefix
	}
	for {
		var tail [3]byte
		_, _ = rand.Read(tail[:])
		mac := fmt.Sprintf("%s:%02x:%02x:%02x", prefix, tail[0], tail[1], tail[2])
		if len(s.By(v1.KindVM, "mac", mac)) == 0 {
			return mac
		}
	}
}

// Explain implements httpapi.Nouns.
func (a *App) Explain(_ context.Context, caller httpapi.Caller, draft httpapi.Draft) (v1.Placement, error) {
	s := a.Store.Snapshot()
	project, err := findProject(s, caller, draft.Project)
	if err != nil {
		return v1.Placement{}, err
	}
	r := &request{caller: caller, state: s, txn: state.NewTxn(time.Now(), actorOf(caller)), board: newBoard(s), draft: draft,
		meta: v1.Meta{ID: NewID(), Name: draft.Name, Labels: draft.Labels, Project: project.ID}}
	vm, root, err := r.draftVM()
	if err != nil {
		return v1.Placement{}, err
	}
	host, explanation := newBoard(s).Place(placementOf(s, vm, root), vm.Status.GroupID)
	if !platformUser(caller) {
		explanation.Host = ""
	}
	if host == nil {
		return explanation, nil
	}
	// Names, quotas and all other rules are asked, too: the entry that would be written is tried.
	object, _, err := createVM(r)
	if err == nil {
		err = object.Validate()
	}
	if err == nil {
		err = a.Store.Check(r.txn)
	}
	return explanation, err
}

func replaceVM(r *request, old v1.Object) (string, error) {
	vm := old.(*v1.VM).Clone()
	before := vm.Spec
	spec := specOf[v1.VMSpec](r.draft)
	var f frozen
	f.check("name", r.draft.Name == "" || r.draft.Name == vm.Name)
	f.check("spec.image", spec.Image == before.Image)
	f.check("spec.diskGiB", spec.DiskGiB == before.DiskGiB)
	f.check("spec.userData", spec.UserData == before.UserData)
	f.check("spec.sshKeys", len(spec.SSHKeys) == 0 && len(before.SSHKeys) == 0 || reflect.DeepEqual(spec.SSHKeys, before.SSHKeys))
	f.check("spec.placementGroup", spec.PlacementGroup == before.PlacementGroup)
	f.check("spec.diskThrottle", spec.DiskThrottle == before.DiskThrottle)
	f.check("spec.securityLevel", spec.SecurityLevel == before.SecurityLevel)
	if err := f.err(); err != nil {
		return "", err
	}
	applyMeta(&vm.Meta, r.draft)
	vm.Spec.RestartPolicy = spec.RestartPolicy
	vm.Spec.Flavor, vm.Spec.Power = spec.Flavor, spec.Power
	if err := vm.Validate(); err != nil {
		return "", err
	}
	resized := spec.Flavor != before.Flavor
	wasOff, wantsOff := before.Power == v1.PowerStopped, spec.Power == v1.PowerStopped
	if resized && wasOff != wantsOff {
		return "", v1.NewProblem(v1.CodeInvalid, "spec.flavor and spec.power: change one after the other").WithField("spec.power").WithNext("Send two requests.")
	}
	vm.Spec.Flavor, vm.Spec.Power = before.Flavor, before.Power
	switch {
	case resized:
		return r.resizeVM(vm, spec.Flavor)
	case wasOff && !wantsOff:
		return r.startVM(vm)
	case !wasOff && wantsOff:
		return r.stopVM(vm, v1.StopRequest{})
	}
	vm.Spec.Power = spec.Power
	r.txn.Update(vm, "")
	return "", nil
}

func (r *request) rootOf(vm *v1.VM) (*v1.Volume, error) {
	root := r.state.Volume(vm.Status.RootVolume)
	if root == nil {
		return nil, v1.NewProblem(v1.CodeConflict, "the machine has no root disk")
	}
	return root, nil
}

func (r *request) startVM(vm *v1.VM) (string, error) {
	root, err := r.rootOf(vm)
	if err != nil {
		return "", err
	}
	if err := busy(r.state, vm, root); err != nil {
		return "", err
	}
	for _, instance := range r.state.InstancesOf(vm.ID) {
		if instance.Live() {
			if vm.Spec.Power == v1.PowerStopped {
				return "", v1.NewProblem(v1.CodeWrongState, "the machine still runs").WithNext("Wait until it has stopped.")
			}
			return "", nil // it runs
		}
	}
	vm.Spec.Power = v1.PowerRunning
	host, err := r.placeVM(vm, root)
	if err != nil {
		return "", err
	}
	id := NewID()
	ops.AddVMStart(r.state, r.txn, id, vm, root, ops.NewInstance(NewID(), vm, root, host.ID, v1.DesiredRunning), r.actor)
	return id, nil
}

func (r *request) stopVM(vm *v1.VM, args v1.StopRequest) (string, error) {
	if open := r.state.OpenOperationOn(vm.ID); open != nil && open.Spec.Type == v1.OpVMStop && args.Force {
		return r.hurry(vm, open)
	}
	if err := busy(r.state, vm); err != nil {
		return "", err
	}
	instance := r.state.Instance(vm.Status.Instance)
	if (instance == nil || !instance.Live()) && vm.Spec.Power == v1.PowerStopped {
		return "", nil // it is stopped
	}
	if args.GraceSeconds == 0 {
		args.GraceSeconds = defaultGrace
	}
	id := NewID()
	ops.AddVMStop(r.txn, id, vm, ops.StopArgs{GraceSeconds: args.GraceSeconds, Force: args.Force}, r.actor)
	return id, nil
}

// hurry forces a stop that waits for the guest.
func (r *request) hurry(vm *v1.VM, open *v1.Operation) (string, error) {
	instance := r.state.Instance(vm.Status.Instance)
	if instance != nil && instance.Live() && !instance.Desired.Force {
		forced := instance.Clone()
		forced.Desired = v1.InstanceDesired{State: v1.DesiredStopped, Force: true}
		r.txn.Update(forced, "forced")
	}
	return open.ID, nil
}

func (r *request) rebootVM(vm *v1.VM, args v1.RebootRequest) (string, error) {
	if err := busy(r.state, vm); err != nil {
		return "", err
	}
	instance := r.state.Instance(vm.Status.Instance)
	if instance == nil || instance.Observed.State != v1.InstanceRunning {
		return "", v1.NewProblem(v1.CodeWrongState, "the machine does not run").WithNext("Start it.")
	}
	id := NewID()
	ops.AddVMReboot(r.txn, id, vm, instance, args.Force, r.actor)
	return id, nil
}

func (r *request) resizeVM(vm *v1.VM, to string) (string, error) {
	root, err := r.rootOf(vm)
	if err != nil {
		return "", err
	}
	if err := busy(r.state, vm, root); err != nil {
		return "", err
	}
	flavor, err := need[*v1.Flavor](r.state, r.caller, v1.KindFlavor, "", to, "spec.flavor")
	if err != nil {
		return "", err
	}
	size := ops.VMSize{Flavor: to, FlavorID: flavor.ID, VCPUs: flavor.Spec.VCPUs, MemoryMiB: flavor.Spec.MemoryMiB, DiskGiB: root.Spec.SizeGiB}
	if vm.Spec.DiskGiB == 0 && flavor.Spec.DiskGiB > size.DiskGiB {
		size.DiskGiB = flavor.Spec.DiskGiB
	}
	instance := r.state.Instance(vm.Status.Instance)
	running := instance != nil && instance.Live()
	if running {
		if err := r.fitsOnItsHost(instance, size); err != nil {
			return "", err
		}
	}
	id := NewID()
	ops.AddVMResize(r.txn, id, vm, root, size, running, r.actor)
	return id, nil
}

// fitsOnItsHost refuses a resize at once when the host of a running machine has not enough left for what is more.
func (r *request) fitsOnItsHost(instance *v1.Instance, size ops.VMSize) error {
	host := r.state.Host(instance.Spec.Host)
	if host == nil {
		return nil
	}
	want := v1.Usage{VCPUs: int64(size.VCPUs), MemoryMiB: size.MemoryMiB}
	used := r.state.HostUsage(host.ID).Minus(instance.Usage())
	position, explanation := scheduler.Place([]scheduler.Candidate{{Host: host, Limit: host.Limits(), Used: used}},
		scheduler.Request{Want: want, Driver: v1.DriverLocal, Pinned: host.ID, Peers: map[string]int{}, Index: r.state.Index()})
	if position < 0 {
		return scheduler.Problem(explanation)
	}
	return nil
}

func removeVM(r *request, old v1.Object) (string, error) {
	vm := old.(*v1.VM).Clone()
	root := r.state.Volume(vm.Status.RootVolume)
	if root != nil {
		if err := busy(r.state, vm, root); err != nil {
			return "", err
		}
		if snapshots := r.state.By(v1.KindSnapshot, "volume", root.ID); len(snapshots) > 0 {
			return "", v1.NewProblem(v1.CodeInUse, "the root disk of %q has %d snapshots, which would be lost", vm.Name, len(snapshots)).With("count", len(snapshots)).
				WithNext("Delete the snapshots first.")
		}
	} else if err := busy(r.state, vm); err != nil {
		return "", err
	}
	id := NewID()
	ops.AddVMDelete(r.txn, id, vm, root, r.actor)
	return id, nil
}
