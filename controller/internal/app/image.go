package app

import (
	"context"
	"io"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/operation/ops"
	"github.com/coloa-cloud/coloa/controller/internal/spool"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func createImage(r *request) (v1.Object, string, error) {
	image := &v1.Image{Meta: r.meta, Spec: specOf[v1.ImageSpec](r.draft), Status: v1.ImageStatus{Phase: v1.ImageWaiting}}
	if err := r.mayCreate(image); err != nil {
		return nil, "", err
	}
	if image.Spec.Public && !auth.Admin(r.caller.User) {
		return nil, "", v1.NewProblem(v1.CodeDenied, "only platform administrators make public images").WithField("spec.public")
	}
	r.txn.Create(image, "waits for its bytes")
	return image, "", nil
}

func replaceImage(r *request, old v1.Object) (string, error) {
	image := old.(*v1.Image).Clone()
	spec := specOf[v1.ImageSpec](r.draft)
	var f frozen
	f.check("spec.format", spec.Format == image.Spec.Format)
	f.check("spec.sha256", spec.SHA256 == image.Spec.SHA256)
	if err := f.err(); err != nil {
		return "", err
	}
	if spec.Public != image.Spec.Public && !auth.Admin(r.caller.User) {
		return "", v1.NewProblem(v1.CodeDenied, "only platform administrators make images public").WithField("spec.public")
	}
	applyMeta(&image.Meta, r.draft)
	image.Spec = spec
	r.txn.Update(image, "")
	return "", image.Validate()
}

func removeImage(r *request, old v1.Object) (string, error) {
	image := old.(*v1.Image).Clone()
	if err := busy(r.state, image); err != nil {
		return "", err
	}
	if volumes := r.state.By(v1.KindVolume, "image", image.ID); len(volumes) > 0 {
		return "", v1.NewProblem(v1.CodeInUse, "%d volumes are clones of the image %q", len(volumes), image.Name).With("count", len(volumes)).
			WithNext("Delete those volumes and virtual machines first.")
	}
	if image.Status.Phase == v1.ImageWaiting && image.Status.Keeper == "" {
		r.txn.Delete(image, "")
		return "", nil
	}
	id := NewID()
	ops.AddImageDelete(r.txn, id, image, r.actor)
	return id, nil
}

// Upload implements httpapi.Images. The bytes are kept by this controller; a host checks and converts them.
func (a *App) Upload(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, size int64, data io.Reader) (httpapi.Result, error) {
	ref.Kind = v1.KindImage
	object, err := find(a.Store.Snapshot(), caller, ref, auth.Write)
	if err != nil {
		return httpapi.Result{}, err
	}
	image := object.(*v1.Image)
	if err := waitsForBytes(image); err != nil {
		return httpapi.Result{}, err
	}
	received, err := a.Uploads.Receive(ctx, image.ID, data)
	if err != nil {
		return httpapi.Result{}, err
	}
	if problem := wrongBytes(image, size, received); problem != nil {
		received.Discard()
		return httpapi.Result{}, problem
	}
	id := NewID()
	waiting := func(s *state.Snapshot) (*v1.Image, error) {
		object, err := find(s, caller, ref, auth.Write)
		if err != nil {
			return nil, err
		}
		if object.ObjectMeta().ID != image.ID { // deleted, and another made in its name
			return nil, notFound(v1.KindImage, ref.ID)
		}
		found := object.(*v1.Image).Clone()
		return found, waitsForBytes(found)
	}
	err = received.Keep(func() error {
		_, err := waiting(a.Store.Snapshot())
		return err
	}, func() error {
		return a.Placer.Decide(ctx, actorOf(caller), func(s *state.Snapshot, _ *Board, txn *state.Txn) error {
			image, err := waiting(s)
			if err != nil {
				return err
			}
			where, err := importHost(s)
			if err != nil {
				return err
			}
			image.Status.Keeper, image.Status.SHA256, image.Status.SizeBytes = a.Node.ID(), received.SHA256, received.Size
			txn.Operation = id
			ops.AddImageImport(txn, id, image, where, actorOf(caller))
			return nil
		})
	})
	if err != nil {
		return httpapi.Result{}, err
	}
	result := httpapi.Result{Operation: id}
	s := a.Store.Snapshot()
	if now := s.Image(image.ID); now != nil {
		result.Object = show(s, caller, now, true)
	}
	return result, nil
}

// wrongBytes compares what arrived with what was promised.
func wrongBytes(image *v1.Image, size int64, received *spool.Received) *v1.Problem {
	switch {
	case received.Size == 0:
		return v1.NewProblem(v1.CodeInvalidImage, "no bytes were sent")
	case size >= 0 && received.Size != size:
		return v1.NewProblem(v1.CodeInvalidImage, "%d of %d bytes arrived", received.Size, size).WithNext("Send the file again.")
	case image.Spec.SHA256 != "" && image.Spec.SHA256 != received.SHA256:
		return v1.NewProblem(v1.CodeInvalidImage, "the file's SHA-256 is %s, and %s was promised", received.SHA256, image.Spec.SHA256).WithNext("Send the right file.")
	}
	return nil
}

func waitsForBytes(image *v1.Image) error {
	if image.Status.Phase != v1.ImageWaiting || image.Deleting() {
		return v1.NewProblem(v1.CodeWrongState, "the image %q has its bytes already (%s)", image.Name, image.Status.Phase).WithNext("Make a new image for other bytes.")
	}
	return nil
}

// importHost chooses who checks and converts an image: the host that answers and has the most room left.
func importHost(s *state.Snapshot) (ops.HostArgs, error) {
	var best *v1.Host
	var room int64
	for _, host := range s.Hosts() {
		if host.Status.Phase != v1.HostReady || len(host.Status.Inventory.Pools) == 0 {
			continue
		}
		if left := host.Limits().StorageGiB - s.HostUsage(host.ID).StorageGiB; best == nil || left > room {
			best, room = host, left
		}
	}
	if best == nil {
		return ops.HostArgs{}, v1.NewProblem(v1.CodeNoCapacity, "no host is there to check the image").WithNext("Ask the operators to look at the hosts.")
	}
	return ops.HostArgs{Host: best.ID, Driver: v1.DriverLocal}, nil
}
