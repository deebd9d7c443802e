package state

import (
	"slices"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Snapshot is the state at one index. Its objects are shared with everybody: Clone before changing one.
type Snapshot struct {
	tx      *memdb.Txn
	abandon <-chan struct{}
}

// Index is the log index of the last entry in it.
func (s *Snapshot) Index() uint64 {
	if found := first(s.tx, tableApplied, "id", "log"); found != nil {
		return found.(*row).Index
	}
	return 0
}

// Get returns an object by id, or nil.
func (s *Snapshot) Get(kind v1.Kind, id string) v1.Object {
	if found := first(s.tx, string(kind), "id", id); found != nil {
		return found.(v1.Object)
	}
	return nil
}

// ByName returns an object by its name in a project ("" for what belongs to the platform), or nil.
func (s *Snapshot) ByName(kind v1.Kind, project, name string) v1.Object {
	if found := first(s.tx, string(kind), "name", nameKey(project, name)); found != nil {
		return found.(v1.Object)
	}
	return nil
}

// List returns all objects of a kind, ordered by id (the order of their creation).
func (s *Snapshot) List(kind v1.Kind) []v1.Object { return s.collect(s.tx.Get(string(kind), "id")) }

// ListAfter returns at most limit objects with ids after a cursor.
func (s *Snapshot) Walk(kind v1.Kind, after string, visit func(v1.Object) bool) {
	iterator, err := s.tx.LowerBound(string(kind), "id", after)
	if err != nil {
		panic(err)
	}
	for found := iterator.Next(); found != nil; found = iterator.Next() {
		object := found.(v1.Object)
		if object.ObjectMeta().ID > after && !visit(object) {
			return
		}
	}
}

// Count is how many objects of a kind there are.
func (s *Snapshot) Count(kind v1.Kind) int { return len(s.List(kind)) }

// By returns the objects of a kind by one of its indexes: the references of schema.go, "project", and the look-ups. Ordered by id.
func (s *Snapshot) By(kind v1.Kind, index, value string) []v1.Object {
	objects := s.listBy(kind, index, value)
	slices.SortFunc(objects, func(a, b v1.Object) int {
		if a.ObjectMeta().ID < b.ObjectMeta().ID {
			return -1
		}
		return 1
	})
	return objects
}

// HasIndex says whether a kind has an index.
func HasIndex(kind v1.Kind, index string) bool {
	table := schema().Tables[string(kind)]
	return table != nil && table.Indexes[index] != nil
}

func (s *Snapshot) listBy(kind v1.Kind, index, value string) []v1.Object {
	return s.collect(s.tx.Get(string(kind), index, value))
}

func (s *Snapshot) collect(iterator memdb.ResultIterator, err error) []v1.Object {
	if err != nil { // a wrong index is a mistake of the program
		panic(err)
	}
	var objects []v1.Object
	for found := iterator.Next(); found != nil; found = iterator.Next() {
		objects = append(objects, found.(v1.Object))
	}
	return objects
}

func typed[T v1.Object](s *Snapshot, kind v1.Kind, id string) (object T) {
	if found := first(s.tx, string(kind), "id", id); found != nil {
		return found.(T)
	}
	return object
}

func typedBy[T v1.Object](objects []v1.Object) []T {
	list := make([]T, len(objects))
	for i, object := range objects {
		list[i] = object.(T)
	}
	return list
}

// The typed accessors return nil when there is no such object.

func (s *Snapshot) VM(id string) *v1.VM           { return typed[*v1.VM](s, v1.KindVM, id) }
func (s *Snapshot) Host(id string) *v1.Host       { return typed[*v1.Host](s, v1.KindHost, id) }
func (s *Snapshot) User(id string) *v1.User       { return typed[*v1.User](s, v1.KindUser, id) }
func (s *Snapshot) Project(id string) *v1.Project { return typed[*v1.Project](s, v1.KindProject, id) }
func (s *Snapshot) Flavor(id string) *v1.Flavor   { return typed[*v1.Flavor](s, v1.KindFlavor, id) }
func (s *Snapshot) Image(id string) *v1.Image     { return typed[*v1.Image](s, v1.KindImage, id) }
func (s *Snapshot) Volume(id string) *v1.Volume   { return typed[*v1.Volume](s, v1.KindVolume, id) }
func (s *Snapshot) Volumes() []*v1.Volume         { return typedBy[*v1.Volume](s.List(v1.KindVolume)) }
func (s *Snapshot) Hosts() []*v1.Host             { return typedBy[*v1.Host](s.List(v1.KindHost)) }
func (s *Snapshot) Task(id string) *v1.Task       { return typed[*v1.Task](s, v1.KindTask, id) }
func (s *Snapshot) Instance(id string) *v1.Instance {
	return typed[*v1.Instance](s, v1.KindInstance, id)
}
func (s *Snapshot) Snapshot(id string) *v1.Snapshot {
	return typed[*v1.Snapshot](s, v1.KindSnapshot, id)
}
func (s *Snapshot) Operation(id string) *v1.Operation {
	return typed[*v1.Operation](s, v1.KindOperation, id)
}

// Cluster returns the cloud itself, or nil before it is set up.
func (s *Snapshot) Cluster() *v1.Cluster {
	if list := s.List(v1.KindCluster); len(list) > 0 {
		return list[0].(*v1.Cluster)
	}
	return nil
}

// InstancesOf returns the incarnations of a VM, oldest first.
func (s *Snapshot) InstancesOf(vm string) []*v1.Instance {
	return typedBy[*v1.Instance](s.By(v1.KindInstance, "vm", vm))
}

// InstancesOn returns the instances of a host.
func (s *Snapshot) InstancesOn(host string) []*v1.Instance {
	return typedBy[*v1.Instance](s.By(v1.KindInstance, "host", host))
}

// TasksOn returns the tasks of a host.
func (s *Snapshot) TasksOn(host string) []*v1.Task {
	return typedBy[*v1.Task](s.By(v1.KindTask, "host", host))
}

// TasksOf returns the tasks of an operation.
func (s *Snapshot) TasksOf(operation string) []*v1.Task {
	return typedBy[*v1.Task](s.By(v1.KindTask, "operation", operation))
}

// AttachmentsOf returns what is attached to an instance.
func (s *Snapshot) AttachmentsOf(instance string) []*v1.Attachment {
	return typedBy[*v1.Attachment](s.By(v1.KindAttachment, "instance", instance))
}

// OpenOperations returns the operations that are not finished.
func (s *Snapshot) OpenOperations() []*v1.Operation {
	return typedBy[*v1.Operation](s.By(v1.KindOperation, "open", "open"))
}

// OpenOperationOn returns the unfinished operation that works on an object, or nil.
func (s *Snapshot) OpenOperationOn(id string) *v1.Operation {
	for _, object := range s.By(v1.KindOperation, "target", id) {
		if operation := object.(*v1.Operation); !operation.Status.State.Finished() {
			return operation
		}
	}
	return nil
}

// AttachedTo returns the live Instance that has a volume open, or nil.
func (s *Snapshot) AttachedTo(volume string) *v1.Instance {
	for _, object := range s.By(v1.KindAttachment, "volume", volume) {
		if instance := s.Instance(object.(*v1.Attachment).Spec.Instance); instance != nil && instance.Live() {
			return instance
		}
	}
	return nil
}

// HostUsage is what is given out of a host.
func (s *Snapshot) HostUsage(host string) v1.Usage {
	return usageRow(s.tx, tableHostUsage, host).Usage
}

// ProjectUsage is what a project uses.
func (s *Snapshot) ProjectUsage(project string) v1.ProjectUsage {
	return usageRow(s.tx, tableProjectUsage, project).Used
}

// Generation is the log index of the last entry that concerned the host.
func (s *Snapshot) Generation(host string) uint64 {
	return usageRow(s.tx, tableGeneration, host).Index
}

// WatchGeneration is closed once the host's generation changes.
func (s *Snapshot) WatchGeneration(host string) <-chan struct{} {
	channel, _, err := s.tx.FirstWatch(tableGeneration, "id", host)
	if err != nil {
		panic(err)
	}
	return channel
}

// WatchObject is closed once the object changes.
func (s *Snapshot) WatchObject(kind v1.Kind, id string) <-chan struct{} {
	channel, _, err := s.tx.FirstWatch(string(kind), "id", id)
	if err != nil {
		panic(err)
	}
	return channel
}

// WatchApplied is closed once another entry is applied.
func (s *Snapshot) WatchApplied() <-chan struct{} {
	channel, _, err := s.tx.FirstWatch(tableApplied, "id", "log")
	if err != nil {
		panic(err)
	}
	return channel
}

// Abandoned is closed when a restore has replaced the state: channels of the watches above may then never close. Read again.
func (s *Snapshot) Abandoned() <-chan struct{} { return s.abandon }
