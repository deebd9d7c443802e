package v1

import "time"

// This file holds the bodies of requests that write no noun.

// LoginRequest proves who somebody is: by a one-time token, or by name and password.
type LoginRequest struct {
	Token    string `json:"token,omitempty" doc:"One-time token" maxLength:"256"`
	User     string `json:"user,omitempty" doc:"Name of the user" maxLength:"63"`
	Password string `json:"password,omitempty" doc:"Password" maxLength:"256"`
}

// LoginResponse carries the new token; its text is shown this once.
type LoginResponse struct {
	Secret    string    `json:"secret" doc:"Text of the new token; it is not shown again"`
	ExpiresAt time.Time `json:"expiresAt" doc:"When the token ends"`
	User      Link      `json:"user" doc:"The user it acts as"`
}

// Identity is who the caller is.
type Identity struct {
	User         Link      `json:"user" doc:"The user"`
	PlatformRole Role      `json:"platformRole,omitempty" doc:"Role on the platform"`
	Projects     []Access  `json:"projects" doc:"Projects that the user has a role in"`
	Token        Link      `json:"token" doc:"The token in use"`
	ExpiresAt    time.Time `json:"expiresAt" doc:"When the token ends"`
}

// Access is a role in a project.
type Access struct {
	Project Link `json:"project" doc:"The project"`
	Role    Role `json:"role" doc:"The role"`
}

// NewToken is the answer to the making of a token: the only time that its text is shown.
type NewToken struct {
	Token  Token  `json:"token" doc:"The token"`
	Secret string `json:"secret" doc:"Its text; it is not shown again"`
}

// PasswordRequest sets a password.
type PasswordRequest struct {
	Password string `json:"password" doc:"New password, 12 to 256 characters" minLength:"12" maxLength:"256"`
	Old      string `json:"old,omitempty" doc:"Present password; not needed by platform administrators for others" maxLength:"256"`
}

// StopRequest are the arguments of a stop.
type StopRequest struct {
	Force        bool `json:"force,omitempty" doc:"At once, without asking the guest"`
	GraceSeconds int  `json:"graceSeconds,omitempty" doc:"How long the guest may take before it is forced; 60 when left out" minimum:"0" maximum:"3600"`
}

// RebootRequest are the arguments of a reboot.
type RebootRequest struct {
	Force bool `json:"force,omitempty" doc:"Reset it, without asking the guest"`
}

// Placement is where a virtual machine would go, and why.
type Placement struct {
	Placed     bool           `json:"placed" doc:"A host can take it"`
	Host       string         `json:"host,omitempty" doc:"Id of the host (shown to platform users)"`
	Considered int            `json:"considered" doc:"Hosts looked at"`
	Filters    []FilterResult `json:"filters" doc:"What each filter refused, in order"`
	// StateIndex is the log index that the answer was computed at.
	StateIndex uint64 `json:"stateIndex" doc:"Log index that it was computed at"`
}

// FilterResult is how many hosts a filter refused, and why.
type FilterResult struct {
	Filter  string `json:"filter" doc:"Name of the filter" example:"memory"`
	Refused int    `json:"refused" doc:"Hosts that it refused"`
	Reason  string `json:"reason,omitempty" doc:"Why, in words"`
}
