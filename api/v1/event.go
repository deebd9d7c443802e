package v1

import "time"

// Action is what happened to an object.
type Action string

const (
	ActionCreated Action = "created"
	ActionUpdated Action = "updated"
	ActionDeleted Action = "deleted"
)

// Event says that an object was written. Events are made by the state itself from each log entry, kept for a bounded number, and never change.
type Event struct {
	// ID is "<log index>-<position in the entry>": it orders events, and a client resumes from it.
	ID        string    `json:"id" doc:"Position in the log; events are ordered by it" example:"412-0"`
	Index     uint64    `json:"index" doc:"Log index"`
	At        time.Time `json:"at" doc:"When (UTC)"`
	Actor     string    `json:"actor" doc:"Who did it"`
	Action    Action    `json:"action" doc:"What happened" enum:"created,updated,deleted"`
	Object    Link      `json:"object" doc:"To what"`
	Project   string    `json:"project,omitempty" doc:"Id of the project"`
	Operation string    `json:"operation,omitempty" doc:"Operation in which it happened"`
	Note      string    `json:"note,omitempty" doc:"What it means, in words"`
}
