package state

import (
	"strings"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Invariants hold after every entry. They close what guards cannot see: two requests that are each right, and together wrong. Each looks at
// the state with the entry written, and at what the entry changed; the first problem refuses the whole entry.
var invariants = []func(*Snapshot, []Change) error{
	namesAreUnique,
	referencesExist,
	nothingHeldIsDeleted,
	whatIsHeldStaysWhole,
	liveInstancesStay,
	projectsExistAndAreEmpty,
	hostsAreNotOverfull,
	quotasHold,
	oneLiveInstance,
	oneWriter,
	groupsStayApart,
	thereIsOneCluster,
	addressesAreUnique,
	instancesOnlyMoveForward,
}

func namesAreUnique(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		definition, err := v1.Define(change.Kind)
		if change.New == nil || err != nil || !definition.Named {
			continue
		}
		meta := change.New.ObjectMeta()
		for _, other := range s.listBy(change.Kind, "name", nameKey(meta.Project, meta.Name)) {
			if other.ObjectMeta().ID != meta.ID {
				return v1.NewProblem(v1.CodeNameTaken, "there is a %s named %q already", v1.WordsFor(change.Kind), meta.Name).WithField("name").
					With("kind", change.Kind).With("name", meta.Name).WithNext("Choose another name, or use the one that exists.")
			}
		}
	}
	return nil
}

func referencesExist(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		if change.New == nil {
			continue
		}
		for _, reference := range References {
			if reference.From != change.Kind {
				continue
			}
			for _, id := range reference.IDs(change.New) {
				target := s.Get(reference.To, id)
				if target == nil {
					return v1.NewProblem(v1.CodeConflict, "the %s %s is gone", v1.WordsFor(reference.To), id).WithNext("Read it again and repeat the request.")
				}
				// What is being deleted takes nothing new; what refers to it already may still change on its way out.
				if target.ObjectMeta().Deleting() && change.Old == nil && reference.To != v1.KindOperation {
					switch change.Kind {
					case v1.KindTask: // the deletion's own
					default:
						return v1.NewProblem(v1.CodeConflict, "the %s %q is being deleted", v1.WordsFor(reference.To), target.ObjectMeta().Name)
					}
				}
			}
		}
	}
	return nil
}

func nothingHeldIsDeleted(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		if change.New != nil {
			continue
		}
		for _, reference := range References {
			if reference.To != change.Kind || !reference.Holds {
				continue
			}
			if holders := s.listBy(reference.From, reference.Name, change.ID); len(holders) > 0 {
				return inUse(change.Old, reference.From, holders)
			}
		}
	}
	return nil
}

// whatIsHeldStaysWhole refuses to begin the deletion of an image that something was cloned from in the same moment.
func whatIsHeldStaysWhole(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		image, ok := change.New.(*v1.Image)
		if !ok || !image.Deleting() || change.Old == nil || change.Old.ObjectMeta().Deleting() {
			continue
		}
		if holders := s.listBy(v1.KindVolume, "image", image.ID); len(holders) > 0 {
			return inUse(image, v1.KindVolume, holders)
		}
	}
	return nil
}

// liveInstancesStay refuses to forget an Instance that may run: only one that was seen stopped, or was fenced, or was never given to be run.
func liveInstancesStay(_ *Snapshot, changes []Change) error {
	for _, change := range changes {
		if instance, ok := change.Old.(*v1.Instance); ok && change.New == nil && instance.Live() {
			return v1.NewProblem(v1.CodeConflict, "the instance %s may still run", instance.ID).WithNext("Stop it first.")
		}
	}
	return nil
}

func inUse(object v1.Object, by v1.Kind, holders []v1.Object) error {
	names := make([]string, 0, 3)
	for _, holder := range holders[:min(3, len(holders))] {
		names = append(names, holder.ObjectMeta().Name)
	}
	list := strings.Join(names, ", ")
	if len(holders) > 3 {
		list += ", …"
	}
	return v1.NewProblem(v1.CodeInUse, "the %s %q is in use by %d %s (%s)", v1.WordsFor(object.ObjectKind()), object.ObjectMeta().Name, len(holders), plural(by, len(holders)), list).
		With("kind", object.ObjectKind()).With("name", object.ObjectMeta().Name).With("count", len(holders)).With("by", by).
		WithNext("Delete or detach what uses it first.")
}

func plural(kind v1.Kind, count int) string {
	if count == 1 {
		return v1.WordsFor(kind)
	}
	return v1.WordsFor(kind) + "s"
}

func projectsExistAndAreEmpty(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		if change.Kind == v1.KindProject && change.New == nil {
			for _, definition := range v1.Kinds {
				if !definition.Scoped || definition.Kind == v1.KindOperation || definition.Kind == v1.KindTask {
					continue // finished operations stay as history until they are collected
				}
				if holders := s.listBy(definition.Kind, "project", change.ID); len(holders) > 0 {
					return inUse(change.Old, definition.Kind, holders)
				}
			}
			for _, open := range s.listBy(v1.KindOperation, "project", change.ID) {
				if !open.(*v1.Operation).Status.State.Finished() {
					return inUse(change.Old, v1.KindOperation, []v1.Object{open})
				}
			}
		}
		if change.New == nil || change.New.ObjectMeta().Project == "" {
			continue
		}
		if change.Old != nil && change.Old.ObjectMeta().Project == change.New.ObjectMeta().Project {
			continue // history may outlive its project
		}
		if s.Get(v1.KindProject, change.New.ObjectMeta().Project) == nil {
			return v1.NewProblem(v1.CodeNotFound, "the project is gone").WithField("project")
		}
	}
	return nil
}

func hostsAreNotOverfull(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		grown := charge{}
		if change.New != nil {
			grown = chargeOf(change.New)
		}
		if grown.host == "" {
			continue
		}
		more := grown.usage
		if change.Old != nil {
			if before := chargeOf(change.Old); before.host == grown.host {
				more = more.Minus(before.usage)
			}
		}
		object := s.Get(v1.KindHost, grown.host)
		if object == nil {
			continue // referencesExist has said so
		}
		limit, usage := object.(*v1.Host).Limits(), s.HostUsage(grown.host)
		for _, resource := range []struct {
			name             string
			more, used, most int64
		}{
			{"virtual CPUs", more.VCPUs, usage.VCPUs, limit.VCPUs},
			{"memory", more.MemoryMiB, usage.MemoryMiB, limit.MemoryMiB},
			{"storage", more.StorageGiB, usage.StorageGiB, limit.StorageGiB},
		} {
			if resource.more > 0 && resource.used > resource.most {
				return v1.NewProblem(v1.CodeNoCapacity, "the host has not enough %s left", resource.name).With("resource", resource.name).
					WithNext("Ask for less, delete what is no longer needed, or ask the operators for more hosts.")
			}
		}
	}
	return nil
}

func quotasHold(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		if change.New == nil {
			continue
		}
		grown := chargeOf(change.New)
		if grown.project == "" {
			continue
		}
		var before v1.ProjectUsage
		if change.Old != nil && chargeOf(change.Old).project == grown.project {
			before = chargeOf(change.Old).used
		}
		object := s.Get(v1.KindProject, grown.project)
		if object == nil {
			continue
		}
		quota, total := object.(*v1.Project).Spec.Quota, s.ProjectUsage(grown.project)
		for _, resource := range []struct {
			name         string
			limit        *int64
			old, now, is int64
		}{
			{"vms", quota.VMs, before.VMs, grown.used.VMs, total.VMs},
			{"vcpus", quota.VCPUs, before.VCPUs, grown.used.VCPUs, total.VCPUs},
			{"memoryMiB", quota.MemoryMiB, before.MemoryMiB, grown.used.MemoryMiB, total.MemoryMiB},
			{"volumes", quota.Volumes, before.Volumes, grown.used.Volumes, total.Volumes},
			{"storageGiB", quota.StorageGiB, before.StorageGiB, grown.used.StorageGiB, total.StorageGiB},
			{"snapshots", quota.Snapshots, before.Snapshots, grown.used.Snapshots, total.Snapshots},
			{"images", quota.Images, before.Images, grown.used.Images, total.Images},
		} {
			if resource.limit != nil && resource.now > resource.old && resource.is > *resource.limit {
				return v1.NewProblem(v1.CodeQuota, "the project's quota allows %s up to %d, and this would make it %d", resource.name, *resource.limit, resource.is).
					With("resource", resource.name).With("limit", *resource.limit).With("wanted", resource.is).
					WithNext("Delete what is no longer needed, or ask the operators to raise the quota.")
			}
		}
	}
	return nil
}

func oneLiveInstance(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		instance, ok := change.New.(*v1.Instance)
		if !ok || !instance.Live() {
			continue
		}
		for _, other := range s.InstancesOf(instance.Spec.VM) {
			if other.ID != instance.ID && other.Live() {
				return v1.NewProblem(v1.CodeConflict, "the virtual machine %q runs already", instance.Spec.Title)
			}
		}
	}
	return nil
}

func oneWriter(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		attachment, ok := change.New.(*v1.Attachment)
		if !ok || !s.attachmentLive(attachment) {
			continue
		}
		for _, object := range s.listBy(v1.KindAttachment, "volume", attachment.Spec.Volume) {
			if other := object.(*v1.Attachment); other.ID != attachment.ID && s.attachmentLive(other) {
				return v1.NewProblem(v1.CodeInUse, "the volume is attached to another virtual machine that runs").WithNext("Stop that machine first.")
			}
		}
	}
	return nil
}

func (s *Snapshot) attachmentLive(attachment *v1.Attachment) bool {
	instance := s.Instance(attachment.Spec.Instance)
	return instance != nil && instance.Live()
}

func groupsStayApart(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		switch object := change.New.(type) {
		case *v1.Instance: // its host never changes
			if !object.Live() || change.Old != nil {
				continue
			}
			if vm := s.VM(object.Spec.VM); vm != nil {
				if group := s.crowded(vm.Status.GroupID); group != nil {
					return v1.NewProblem(v1.CodeNoCapacity, "another member of the placement group %q runs on that host", group.Name)
				}
			}
		case *v1.VM:
			if before, was := change.Old.(*v1.VM); !was || before.Status.GroupID == object.Status.GroupID {
				continue
			}
			if group := s.crowded(object.Status.GroupID); group != nil {
				return v1.NewProblem(v1.CodeConflict, "another member of the placement group %q runs on its host", group.Name)
			}
		case *v1.PlacementGroup:
			if before, was := change.Old.(*v1.PlacementGroup); !was || before.Spec.Policy == object.Spec.Policy {
				continue
			}
			if group := s.crowded(object.ID); group != nil {
				return v1.NewProblem(v1.CodeConflict, "two members of the placement group %q run on one host", group.Name)
			}
		}
	}
	return nil
}

// crowded returns the placement group if it is hard and two of its machines are live on one host, or nil.
func (s *Snapshot) crowded(id string) *v1.PlacementGroup {
	if id == "" {
		return nil
	}
	group, ok := s.Get(v1.KindPlacementGroup, id).(*v1.PlacementGroup)
	if !ok || group.Spec.Policy != v1.AntiAffinityHard {
		return nil
	}
	owner := map[string]string{} // host -> the machine there
	for _, object := range s.listBy(v1.KindVM, "group", id) {
		vm := object.ObjectMeta().ID
		for _, instance := range s.InstancesOf(vm) {
			if !instance.Live() {
				continue
			}
			if other, taken := owner[instance.Spec.Host]; taken && other != vm {
				return group
			}
			owner[instance.Spec.Host] = vm
		}
	}
	return nil
}

func thereIsOneCluster(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		if _, ok := change.New.(*v1.Cluster); ok && s.Count(v1.KindCluster) > 1 {
			return v1.NewProblem(v1.CodeConflict, "the cloud is set up already")
		}
	}
	return nil
}

func addressesAreUnique(s *Snapshot, changes []Change) error {
	for _, change := range changes {
		vm, ok := change.New.(*v1.VM)
		if !ok || vm.Status.MAC == "" {
			continue
		}
		if owners := s.listBy(v1.KindVM, "mac", vm.Status.MAC); len(owners) > 1 {
			return v1.NewProblem(v1.CodeConflict, "the MAC address %s is given already", vm.Status.MAC)
		}
	}
	return nil
}

var observedOrder = map[v1.InstanceState]int{v1.InstancePending: 0, v1.InstanceRunning: 1, v1.InstancePaused: 1, v1.InstanceStopped: 2}
var desiredOrder = map[v1.DesiredState]int{v1.DesiredHold: 0, v1.DesiredRunning: 1, v1.DesiredStopped: 2}

func instancesOnlyMoveForward(_ *Snapshot, changes []Change) error {
	for _, change := range changes {
		before, was := change.Old.(*v1.Instance)
		after, is := change.New.(*v1.Instance)
		if !was || !is {
			continue
		}
		if observedOrder[after.Observed.State] < observedOrder[before.Observed.State] || desiredOrder[after.Desired.State] < desiredOrder[before.Desired.State] ||
			(before.Fence != nil && after.Fence == nil) {
			return v1.NewProblem(v1.CodeConflict, "the instance %s has moved on; it cannot go back", after.ID)
		}
		if before.Spec.VM != after.Spec.VM || before.Spec.Host != after.Spec.Host {
			return v1.NewProblem(v1.CodeConflict, "the instance %s belongs to one virtual machine on one host, for good", after.ID)
		}
	}
	return nil
}
