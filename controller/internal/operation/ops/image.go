package ops

import (
	"encoding/json"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// HostArgs name the host that an operation works on.
type HostArgs struct {
	Host   string `json:"host"`
	Driver string `json:"driver"`
}

// AddImageImport begins the import of an uploaded image on a host.
func AddImageImport(txn *state.Txn, id string, image *v1.Image, where HostArgs, actor string) {
	image.Status.Phase, image.Status.Operation = v1.ImageImporting, id
	txn.Update(image, "bytes received")
	txn.Create(operation.New(id, v1.OpImageImport, image, actor, where, "verify"), "")
}

func imageImport() operation.Definition {
	imageTask := func(c operation.Context, direction string, taskType v1.TaskType, message string, finish func(*state.Txn, json.RawMessage)) operation.Verdict {
		where := operation.Args[HostArgs](c.Operation)
		reference := imageRef(c.State, c.Operation.Spec.Target.ID)
		if reference == nil {
			return gone(c)
		}
		return task(c, direction, where.Host, taskType, v1.ImageArgs{Driver: where.Driver, Image: *reference}, message, finish)
	}
	return operation.Definition{Type: v1.OpImageImport, Steps: []operation.Step{{
		Name: "verify",
		Do: func(c operation.Context) operation.Verdict {
			verdict := imageTask(c, doing, v1.TaskImageImport, "checks and converts the image", func(txn *state.Txn, output json.RawMessage) {
				if image, ok := target[*v1.Image](c); ok {
					result := read[v1.ImageResult](output)
					image.Status.Phase = v1.ImageAvailable
					image.Status.SHA256, image.Status.SizeBytes, image.Status.VirtualSize = result.SHA256, result.SizeBytes, result.VirtualSize
					txn.Update(image, "available")
				}
			})
			if verdict.Outcome == operation.Done && !credible(c, verdict) {
				return operation.Failed(v1.NewProblem(v1.CodeHostFailed, "the host did not say what the image is"), func(txn *state.Txn) { withdraw(c, txn) })
			}
			return verdict
		},
		Undo: func(c operation.Context) operation.Verdict {
			return imageTask(c, undoing, v1.TaskImageDelete, "removes the refused image", func(txn *state.Txn, _ json.RawMessage) {
				if image, ok := target[*v1.Image](c); ok {
					// The image waits for other bytes; those that were refused are thrown away by their keeper.
					image.Status.Phase, image.Status.Keeper, image.Status.SHA256, image.Status.SizeBytes = v1.ImageWaiting, "", "", 0
					txn.Update(image, "import failed")
				}
			})
		},
	}}}
}

// credible says whether what a host found out of an image can be: it has a size, and is what was uploaded.
func credible(c operation.Context, verdict operation.Verdict) bool {
	output, _ := verdict.Output.(json.RawMessage)
	result := read[v1.ImageResult](output)
	reference := imageRef(c.State, c.Operation.Spec.Target.ID)
	return result.VirtualSize > 0 && result.SizeBytes > 0 && reference != nil && (reference.SHA256 == "" || reference.SHA256 == result.SHA256)
}

// AddImageDelete begins the deletion of an image.
func AddImageDelete(txn *state.Txn, id string, image *v1.Image, actor string) {
	markDeleted(&image.Meta, txn.Time)
	image.Status.Phase, image.Status.Operation = v1.ImageDeleting, id
	txn.Update(image, "deletion asked for")
	txn.Create(operation.New(id, v1.OpImageDelete, image, actor, nil, "hosts", "remove"), "")
}

// markDeleted remembers when a deletion was asked for first.
func markDeleted(meta *v1.Meta, at time.Time) {
	if meta.DeletedAt == nil {
		meta.DeletedAt = &at
	}
}

func imageDelete() operation.Definition {
	return operation.Definition{Type: v1.OpImageDelete, Forward: true, Steps: []operation.Step{
		{Name: "hosts", Do: func(c operation.Context) operation.Verdict {
			reference := imageRef(c.State, c.Operation.Spec.Target.ID)
			if reference == nil {
				return gone(c)
			}
			const message = "removes the image from the hosts"
			waits := false
			var changes []func(*state.Txn)
			for _, host := range c.State.Hosts() {
				// Hosts that are silent keep a copy that nobody can use; until orphans are looked for, an operator removes it.
				if host.Status.Phase == v1.HostSilent {
					continue
				}
				for _, pool := range host.Status.Inventory.Pools {
					id := taskID(c, doing, host.ID+"/"+pool.Driver)
					verdict := taskAs(c, id, doing, host.ID, v1.TaskImageDelete, v1.ImageArgs{Driver: pool.Driver, Image: *reference}, message, nil)
					switch verdict.Outcome {
					case operation.Fail:
						return operation.Failed(verdict.Problem, func(txn *state.Txn) { withdraw(c, txn) })
					case operation.Wait:
						waits = true
						if verdict.Changes != nil {
							changes = append(changes, verdict.Changes)
						}
					}
				}
			}
			if !waits {
				return operation.Finish(func(txn *state.Txn) { withdraw(c, txn) })
			}
			if changes == nil {
				return operation.Waiting(message, nil)
			}
			return operation.Waiting(message, func(txn *state.Txn) {
				for _, change := range changes {
					change(txn)
				}
			})
		}},
		{Name: "remove", Do: func(c operation.Context) operation.Verdict {
			image, ok := target[*v1.Image](c)
			if !ok {
				return operation.Finish(nil)
			}
			return operation.Finish(func(txn *state.Txn) { txn.Delete(image, "") })
		}},
	}}
}
