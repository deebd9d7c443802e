package v1

import "encoding/json"

// TaskType names what a host is to do.
type TaskType string

const (
	TaskImageImport     TaskType = "image.import"     // ImageArgs -> ImageResult
	TaskImageDelete     TaskType = "image.delete"     // ImageArgs
	TaskVolumeCreate    TaskType = "volume.create"    // VolumeArgs
	TaskVolumeResize    TaskType = "volume.resize"    // VolumeArgs
	TaskVolumeDelete    TaskType = "volume.delete"    // VolumeArgs
	TaskSnapshotCreate  TaskType = "snapshot.create"  // SnapshotArgs
	TaskSnapshotRestore TaskType = "snapshot.restore" // SnapshotArgs
	TaskSnapshotDelete  TaskType = "snapshot.delete"  // SnapshotArgs
	TaskVMReboot        TaskType = "vm.reboot"        // RebootArgs
	TaskVMForget        TaskType = "vm.forget"        // VMArgs: remove serial logs and everything else kept for a VM
)

// TaskState is where a task stands.
type TaskState string

const (
	TaskPending TaskState = "Pending"
	TaskDone    TaskState = "Done"
	TaskFailed  TaskState = "Failed"
)

// Task is one idempotent job for one host, inside an Operation. The agent repeats it until it has reported it Done or Failed.
type Task struct {
	Meta
	Spec   TaskSpec   `json:"spec"`
	Status TaskStatus `json:"status"`
}

// TaskSpec cannot change.
type TaskSpec struct {
	Operation string          `json:"operation" doc:"Id of the operation it belongs to"`
	Step      string          `json:"step" doc:"Name of the operation's step"`
	Host      string          `json:"host" doc:"Id of the host"`
	Type      TaskType        `json:"type" doc:"What to do"`
	Args      json.RawMessage `json:"args" doc:"With what"`
}

// TaskStatus is written by the agent.
type TaskStatus struct {
	Seq     uint64          `json:"seq" doc:"Number of the agent's report"`
	State   TaskState       `json:"state" doc:"Where it stands"`
	Output  json.RawMessage `json:"output,omitempty" doc:"What it found out"`
	Error   *Problem        `json:"error,omitempty" doc:"Why it failed"`
	Percent int             `json:"percent,omitempty" doc:"Progress, 0 to 100"`
}

// ImageArgs of the image tasks. The agent fetches the bytes from the keeper (hostv1).
type ImageArgs struct {
	Driver string   `json:"driver"`
	Image  ImageRef `json:"image"`
}

// ImageRef is all that an agent needs to get an image that its pool does not have.
type ImageRef struct {
	ID     string `json:"id"`
	Format string `json:"format"`
	SHA256 string `json:"sha256,omitempty"`
	Keeper string `json:"keeper"` // id of the controller that has the bytes
}

// ImageResult is the output of TaskImageImport.
type ImageResult struct {
	SHA256      string `json:"sha256"`
	SizeBytes   int64  `json:"sizeBytes"`
	VirtualSize int64  `json:"virtualSize"`
}

// VolumeArgs of the volume tasks. Instance is set when a running Instance has the volume open: the resize goes through the hypervisor.
type VolumeArgs struct {
	Driver    string    `json:"driver"`
	Volume    string    `json:"volume"`
	SizeBytes int64     `json:"sizeBytes,omitempty"`
	Image     *ImageRef `json:"image,omitempty"`
	Instance  string    `json:"instance,omitempty"`
}

// SnapshotArgs of the snapshot tasks.
type SnapshotArgs struct {
	Driver   string `json:"driver"`
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
}

// RebootArgs of TaskVMReboot.
type RebootArgs struct {
	Instance string `json:"instance"`
	Force    bool   `json:"force,omitempty"`
}

// VMArgs of TaskVMForget.
type VMArgs struct {
	VM string `json:"vm"`
}

func (*Task) ObjectKind() Kind { return KindTask }

// Validate implements Object.
func (o *Task) Validate() error {
	var c checker
	project := o.Project
	if project == "" {
		project = "00000000-0000-0000-0000-000000000000"
	}
	c.meta(&Meta{ID: o.ID, Name: o.Name, Project: project}, KindTask)
	c.reference("spec.host", o.Spec.Host, true)
	c.reference("spec.operation", o.Spec.Operation, true)
	oneOf(&c, "status.state", o.Status.State, TaskPending, TaskDone, TaskFailed)
	c.between("status.percent", int64(o.Status.Percent), 0, 100)
	if len(o.Status.Output) > 1<<16 {
		c.fail("status.output", "is too large")
	}
	return c.err()
}

// Clone copies the object.
func (o *Task) Clone() *Task {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.Args = cloneSlice(o.Spec.Args)
	copied.Status.Output, copied.Status.Error = cloneSlice(o.Status.Output), o.Status.Error.Clone()
	return &copied
}
