package v1

import (
	"fmt"
	"strings"
)

// Kind names a noun.
type Kind string

const (
	KindCluster        Kind = "Cluster"
	KindHost           Kind = "Host"
	KindProject        Kind = "Project"
	KindUser           Kind = "User"
	KindToken          Kind = "Token"
	KindFlavor         Kind = "Flavor"
	KindImage          Kind = "Image"
	KindVolume         Kind = "Volume"
	KindSnapshot       Kind = "Snapshot"
	KindPlacementGroup Kind = "PlacementGroup"
	KindVM             Kind = "VM"
	KindInstance       Kind = "Instance"
	KindAttachment     Kind = "Attachment"
	KindOperation      Kind = "Operation"
	KindTask           Kind = "Task"
	KindReceipt        Kind = "Receipt"
	KindEvent          Kind = "Event" // made by the state itself, never written by a Txn
)

// Definition is a line in the table of kinds: all that the generic parts (state, API, CLI) need to know of a noun.
type Definition struct {
	Kind   Kind
	Path   string // the collection's name in URLs, for example "vms"
	Scoped bool   // belongs to a project
	Named  bool   // people name it: names are unique within its project, or among all when it is not scoped
	New    func() Object
}

// Kinds is the table of the stored nouns, in the order in which references point backwards (snapshots are written and restored in it).
var Kinds = []Definition{
	{KindCluster, "cluster", false, true, func() Object { return new(Cluster) }},
	{KindHost, "hosts", false, true, func() Object { return new(Host) }},
	{KindUser, "users", false, true, func() Object { return new(User) }},
	{KindToken, "tokens", false, false, func() Object { return new(Token) }},
	{KindProject, "projects", false, true, func() Object { return new(Project) }},
	{KindFlavor, "flavors", false, true, func() Object { return new(Flavor) }},
	{KindImage, "images", true, true, func() Object { return new(Image) }},
	{KindPlacementGroup, "placement-groups", true, true, func() Object { return new(PlacementGroup) }},
	{KindVM, "vms", true, true, func() Object { return new(VM) }},
	{KindVolume, "volumes", true, true, func() Object { return new(Volume) }},
	{KindSnapshot, "snapshots", true, true, func() Object { return new(Snapshot) }},
	{KindInstance, "instances", true, false, func() Object { return new(Instance) }},
	{KindAttachment, "attachments", true, false, func() Object { return new(Attachment) }},
	{KindOperation, "operations", true, false, func() Object { return new(Operation) }},
	{KindTask, "tasks", true, false, func() Object { return new(Task) }},
	{KindReceipt, "receipts", false, false, func() Object { return new(Receipt) }},
}

// Define returns the table's line for a kind, or an error for a kind that is not stored.
func Define(kind Kind) (Definition, error) {
	for _, definition := range Kinds {
		if definition.Kind == kind {
			return definition, nil
		}
	}
	return Definition{}, fmt.Errorf("unknown kind %q", kind)
}

// WordsFor says a kind in the words of a sentence for people.
func WordsFor(kind Kind) string {
	switch kind {
	case KindVM:
		return "virtual machine"
	case KindPlacementGroup:
		return "placement group"
	}
	return strings.ToLower(string(kind))
}
