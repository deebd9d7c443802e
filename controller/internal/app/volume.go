package app

import (
	"strings"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/scheduler"
)

func createVolume(r *request) (v1.Object, string, error) {
	volume := &v1.Volume{Meta: r.meta, Spec: specOf[v1.VolumeSpec](r.draft)}
	if err := r.mayCreate(volume); err != nil {
		return nil, "", err
	}
	if err := volume.Validate(); err != nil {
		return nil, "", err
	}
	if volume.Spec.Image != "" {
		image, err := need[*v1.Image](r.state, r.caller, v1.KindImage, volume.Project, volume.Spec.Image, "spec.image")
		if err != nil {
			return nil, "", err
		}
		if err := imageFits(image, volume.Spec.SizeGiB, "spec.sizeGiB"); err != nil {
			return nil, "", err
		}
		volume.Status.ImageID = image.ID
	}
	host, explanation := r.board.Place(scheduler.Request{
		Want: v1.Usage{StorageGiB: volume.Spec.SizeGiB}, Driver: v1.DriverLocal, Level: 1, Peers: map[string]int{},
	}, "")
	if host == nil {
		problem := scheduler.Problem(explanation)
		problem.Detail = strings.Replace(problem.Detail, "virtual machine", "volume", 1)
		return nil, "", problem
	}
	volume.Status.Host, volume.Status.Driver = host.ID, v1.DriverLocal
	id := NewID()
	ops.AddVolumeCreate(r.txn, id, volume, r.actor)
	return volume, id, nil
}

func replaceVolume(r *request, old v1.Object) (string, error) {
	volume := old.(*v1.Volume).Clone()
	spec := specOf[v1.VolumeSpec](r.draft)
	var f frozen
	f.check("spec.image", spec.Image == volume.Spec.Image)
	f.check("name", volume.Status.VM == "" || r.draft.Name == "" || r.draft.Name == volume.Name)
	if err := f.err(); err != nil {
		return "", err
	}
	if spec.SizeGiB < volume.Spec.SizeGiB {
		return "", v1.NewProblem(v1.CodeImmutable, "spec.sizeGiB: a volume cannot shrink (it has %d GiB)", volume.Spec.SizeGiB).WithField("spec.sizeGiB").
			WithNext("Make a smaller volume and copy the data in the guest.")
	}
	from := volume.Spec.SizeGiB
	applyMeta(&volume.Meta, r.draft)
	volume.Spec = spec
	if err := volume.Validate(); err != nil {
		return "", err
	}
	if spec.SizeGiB == from {
		r.txn.Update(volume, "")
		return "", nil
	}
	if err := busy(r.state, old); err != nil {
		return "", err
	}
	if volume.Status.VM != "" {
		if vm := r.state.VM(volume.Status.VM); vm != nil {
			if err := busy(r.state, vm); err != nil {
				return "", err
			}
		}
	}
	volume.Spec.SizeGiB = from
	id := NewID()
	ops.AddVolumeResize(r.txn, id, volume, spec.SizeGiB, r.actor)
	return id, nil
}

func removeVolume(r *request, old v1.Object) (string, error) {
	volume := old.(*v1.Volume).Clone()
	if volume.Status.VM != "" {
		return "", v1.NewProblem(v1.CodeInUse, "%q is the root disk of a virtual machine", volume.Name).WithNext("Delete the virtual machine: its root disk goes with it.")
	}
	if r.state.AttachedTo(volume.ID) != nil {
		return "", v1.NewProblem(v1.CodeInUse, "the volume %q is attached to a virtual machine that runs", volume.Name).WithNext("Detach it first.")
	}
	if snapshots := r.state.By(v1.KindSnapshot, "volume", volume.ID); len(snapshots) > 0 {
		return "", v1.NewProblem(v1.CodeInUse, "the volume %q has %d snapshots, which would be lost", volume.Name, len(snapshots)).With("count", len(snapshots)).
			WithNext("Delete the snapshots first.")
	}
	if err := busy(r.state, volume); err != nil {
		return "", err
	}
	id := NewID()
	ops.AddVolumeDelete(r.txn, id, volume, r.actor)
	return id, nil
}
