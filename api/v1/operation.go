package v1

import (
	"encoding/json"
	"time"
)

// OperationState is where an operation stands.
type OperationState string

const (
	OperationRunning        OperationState = "Running"
	OperationUndoing        OperationState = "Undoing" // a step failed, or it was cancelled: what was done is being undone
	OperationSucceeded      OperationState = "Succeeded"
	OperationFailed         OperationState = "Failed"         // and everything it did is undone
	OperationCancelled      OperationState = "Cancelled"      // and everything it did is undone
	OperationNeedsAttention OperationState = "NeedsAttention" // undoing is stuck: retry, or abandon
	OperationAbandoned      OperationState = "Abandoned"      // given up by an operator; something may be left behind
)

// Finished says whether nothing more will happen.
func (s OperationState) Finished() bool {
	return s == OperationSucceeded || s == OperationFailed || s == OperationCancelled || s == OperationAbandoned
}

// OperationType names what an operation does.
type OperationType string

const (
	OpImageImport     OperationType = "image.import"
	OpImageDelete     OperationType = "image.delete"
	OpVolumeCreate    OperationType = "volume.create"
	OpVolumeResize    OperationType = "volume.resize"
	OpVolumeDelete    OperationType = "volume.delete"
	OpSnapshotCreate  OperationType = "snapshot.create"
	OpSnapshotRestore OperationType = "snapshot.restore"
	OpSnapshotDelete  OperationType = "snapshot.delete"
	OpVMCreate        OperationType = "vm.create"
	OpVMStart         OperationType = "vm.start"
	OpVMStop          OperationType = "vm.stop"
	OpVMReboot        OperationType = "vm.reboot"
	OpVMResize        OperationType = "vm.resize"
	OpVMDelete        OperationType = "vm.delete"
)

// Operation is a durable job of several steps. It survives restarts and changes of the leader.
type Operation struct {
	Meta
	Spec   OperationSpec   `json:"spec"`
	Status OperationStatus `json:"status"`
}

// OperationSpec says what to do. It cannot change.
type OperationSpec struct {
	Type   OperationType   `json:"type" doc:"What it does"`
	Target Link            `json:"target" doc:"What it works on"`
	Actor  string          `json:"actor" doc:"Who started it"`
	Args   json.RawMessage `json:"args,omitempty" doc:"Its arguments"`
}

// OperationStatus is how far it has come.
type OperationStatus struct {
	State           OperationState `json:"state" doc:"Where it stands"`
	Steps           []StepStatus   `json:"steps" doc:"Its steps in order"`
	Current         int            `json:"current" doc:"Index of the step that it is at"`
	Error           *Problem       `json:"error,omitempty" doc:"Why it failed"`
	CancelRequested bool           `json:"cancelRequested,omitempty" doc:"Somebody asked to cancel it"`
	FinishedAt      *time.Time     `json:"finishedAt,omitempty" doc:"When it ended"`
	Message         string         `json:"message,omitempty" doc:"What it waits for"`
}

// StepState is where a step stands.
type StepState string

const (
	StepPending StepState = "Pending"
	StepStarted StepState = "Started"
	StepDone    StepState = "Done"
	StepFailed  StepState = "Failed"
	StepUndoing StepState = "Undoing"
	StepUndone  StepState = "Undone"
)

// StepStatus is the journal of one step: written as started before anything is done, and as done with its output.
type StepStatus struct {
	Name       string          `json:"name" doc:"Name of the step"`
	State      StepState       `json:"state" doc:"Where it stands"`
	StartedAt  *time.Time      `json:"startedAt,omitempty" doc:"When it began"`
	FinishedAt *time.Time      `json:"finishedAt,omitempty" doc:"When it ended"`
	Attempts   int             `json:"attempts,omitempty" doc:"How often its undoing was tried"`
	Output     json.RawMessage `json:"output,omitempty" doc:"What it found out"`
	Error      *Problem        `json:"error,omitempty" doc:"Why it failed"`
	Percent    int             `json:"percent,omitempty" doc:"Progress, 0 to 100"`
}

func (*Operation) ObjectKind() Kind { return KindOperation }

// Validate implements Object.
func (o *Operation) Validate() error {
	var c checker
	// Operations of the platform's own objects belong to no project.
	project := o.Project
	if project == "" {
		project = "00000000-0000-0000-0000-000000000000"
	}
	c.meta(&Meta{ID: o.ID, Name: o.Name, Project: project, Labels: o.Labels}, KindOperation)
	if len(o.Spec.Args) > 1<<18 {
		c.fail("spec.args", "is too large")
	}
	return c.err()
}

// Clone copies the object.
func (o *Operation) Clone() *Operation {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.Args = cloneSlice(o.Spec.Args)
	copied.Status.Steps = cloneSlice(o.Status.Steps)
	for i := range copied.Status.Steps {
		step := &copied.Status.Steps[i]
		step.StartedAt, step.FinishedAt = clonePointer(step.StartedAt), clonePointer(step.FinishedAt)
		step.Output, step.Error = cloneSlice(step.Output), step.Error.Clone()
	}
	copied.Status.FinishedAt = clonePointer(o.Status.FinishedAt)
	copied.Status.Error = o.Status.Error.Clone()
	return &copied
}
