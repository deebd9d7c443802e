package httpapi

import (
	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file is the table of the surface. To add a noun, add it to the table of kinds in api/v1 and add a line here (DESIGN.md).

func (a *api) registerAll(registry *prometheus.Registry) {
	addNoun(a, noun[*v1.User, v1.UserSpec]{
		kind: v1.KindUser, title: "user", about: "A person or a program that may ask for things.",
		can: create | replace | remove, spec: func(o *v1.User) *v1.UserSpec { return &o.Spec }, ids: userIDs})
	addNoun(a, noun[*v1.Token, v1.TokenSpec]{
		kind: v1.KindToken, title: "token", about: "Lets its holder act as a user. Its text is shown once, when it is made.",
		can: create | remove, spec: func(o *v1.Token) *v1.TokenSpec { return &o.Spec }, creates: createToken, created: v1.NewToken{}})
	addNoun(a, noun[*v1.Project, v1.ProjectSpec]{
		kind: v1.KindProject, title: "project", about: "The place where resources live, with its members and its quota.",
		can: create | replace | remove, spec: func(o *v1.Project) *v1.ProjectSpec { return &o.Spec }})
	addNoun(a, noun[*v1.Flavor, v1.FlavorSpec]{
		kind: v1.KindFlavor, title: "flavor", about: "A size of virtual machines.",
		can: create | replace | remove, spec: func(o *v1.Flavor) *v1.FlavorSpec { return &o.Spec }})
	addNoun(a, noun[*v1.Host, v1.HostSpec]{
		kind: v1.KindHost, title: "host", about: "A server with an agent. It comes into being when its agent registers; a silent one can be deleted.",
		can: replace | remove, spec: func(o *v1.Host) *v1.HostSpec { return &o.Spec }})
	addNoun(a, noun[*v1.Image, v1.ImageSpec]{
		kind: v1.KindImage, title: "image", about: "What disks are cloned from. Its bytes are uploaded after it was created.",
		can: create | replace | remove, spec: func(o *v1.Image) *v1.ImageSpec { return &o.Spec }})
	addNoun(a, noun[*v1.PlacementGroup, v1.PlacementGroupSpec]{
		kind: v1.KindPlacementGroup, title: "placement group", about: "Keeps virtual machines apart.",
		can: create | replace | remove, spec: func(o *v1.PlacementGroup) *v1.PlacementGroupSpec { return &o.Spec }})
	addNoun(a, noun[*v1.VM, v1.VMSpec]{
		kind: v1.KindVM, title: "virtual machine", about: "A machine that lives long. Each of its runs on a host is an instance. Lists leave out userData and sshKeys.",
		can: create | replace | remove, spec: func(o *v1.VM) *v1.VMSpec { return &o.Spec }, explain: true,
		filters: []filter{{"host", "Name or id of the host it is on"}}})
	addNoun(a, noun[*v1.Volume, v1.VolumeSpec]{
		kind: v1.KindVolume, title: "volume", about: "A block device that outlives the machines that use it.",
		can: create | replace | remove, spec: func(o *v1.Volume) *v1.VolumeSpec { return &o.Spec },
		filters: []filter{{"vm", "Name or id of the virtual machine whose disk it is"}}})
	addNoun(a, noun[*v1.Snapshot, v1.SnapshotSpec]{
		kind: v1.KindSnapshot, title: "snapshot", about: "Keeps the content of a volume at one moment.",
		can: create | replace | remove, spec: func(o *v1.Snapshot) *v1.SnapshotSpec { return &o.Spec },
		filters: []filter{{"volume", "Name or id of the volume"}}})
	addNoun(a, noun[*v1.Instance, v1.InstanceSpec]{
		kind: v1.KindInstance, title: "instance", about: "One incarnation of a virtual machine on one host, with its hardware frozen.",
		can: readOnly, spec: func(o *v1.Instance) *v1.InstanceSpec { return &o.Spec },
		filters: []filter{{"vm", "Name or id of the virtual machine"}, {"host", "Name or id of the host"}}})
	addNoun(a, noun[*v1.Attachment, v1.AttachmentSpec]{
		kind: v1.KindAttachment, title: "attachment", about: "A volume given to an instance.",
		can: readOnly, spec: func(o *v1.Attachment) *v1.AttachmentSpec { return &o.Spec },
		filters: []filter{{"volume", "Name or id of the volume"}, {"vm", "Name or id of the virtual machine"}}})
	addNoun(a, noun[*v1.Operation, v1.OperationSpec]{
		kind: v1.KindOperation, title: "operation", about: "A durable job of several steps. It survives restarts and changes of the leader.",
		can: readOnly, spec: func(o *v1.Operation) *v1.OperationSpec { return &o.Spec }, wait: true,
		filters: []filter{{"state", "Where it stands, for example Running"}, {"target", "Id of the object it works on"}}})
	addNoun(a, noun[*v1.Task, v1.TaskSpec]{
		kind: v1.KindTask, title: "task", about: "One idempotent job for one host, inside an operation.",
		can: readOnly, spec: func(o *v1.Task) *v1.TaskSpec { return &o.Spec },
		filters: []filter{{"operation", "Id of the operation"}, {"host", "Name or id of the host"}}})

	addAction(a, action[*v1.VM, none]{kind: v1.KindVM, title: "virtual machine", verb: "start", about: "Start it", noArgs: true})
	addAction(a, action[*v1.VM, v1.StopRequest]{kind: v1.KindVM, title: "virtual machine", verb: "stop", about: "Stop it: ask the guest, then force"})
	addAction(a, action[*v1.VM, v1.RebootRequest]{kind: v1.KindVM, title: "virtual machine", verb: "reboot", about: "Reboot it"})
	addAction(a, action[*v1.Snapshot, none]{kind: v1.KindSnapshot, title: "snapshot", verb: "restore", about: "Give the volume the content it had", noArgs: true})
	addAction(a, action[*v1.Operation, none]{kind: v1.KindOperation, title: "operation", verb: "cancel", about: "Undo what was done, and end", noArgs: true})
	addAction(a, action[*v1.Operation, none]{kind: v1.KindOperation, title: "operation", verb: "retry", about: "Try the stuck undo again", noArgs: true})
	addAction(a, action[*v1.Operation, none]{kind: v1.KindOperation, title: "operation", verb: "abandon", about: "Give up; something may be left behind", noArgs: true})

	a.addIdentity()
	a.addUpload()
	a.addLog()
	a.addConsole()
	a.addEvents()
	a.addCluster()
	a.addHealth(registry)
}
