package httpapi

import (
	"context"
	"io"
	"net/http"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file holds what the HTTP layer asks of the controller: small interfaces that the controller's packages fill. Every error is a
// *v1.Problem or becomes CodeInternal. The HTTP layer authenticates; each method authorises its caller before anything else.

// Caller is an authenticated user.
type Caller struct {
	User  *v1.User
	Token *v1.Token
}

// Identities answer who somebody is.
type Identities interface {
	// Authenticate finds the caller of a bearer token's text. CodeUnauthenticated for anything else.
	Authenticate(ctx context.Context, secret string) (Caller, error)
	Login(ctx context.Context, request v1.LoginRequest) (v1.LoginResponse, error)
	Logout(ctx context.Context, caller Caller) error
	WhoAmI(ctx context.Context, caller Caller) (v1.Identity, error)
	SetPassword(ctx context.Context, caller Caller, user string, request v1.PasswordRequest) error
	// CreateToken makes a token; the only answer that carries its text.
	CreateToken(ctx context.Context, caller Caller, draft Draft) (v1.NewToken, error)
}

// Draft is the writable part of an object. Spec points at the kind's spec (*v1.VMSpec for a VM).
type Draft struct {
	Name    string
	Project string // name or id; "" for what belongs to the platform
	Labels  map[string]string
	Spec    any
}

// Key makes the repetition of a request harmless: the first answer is given again.
type Key struct {
	Key     string // the Idempotency-Key; "" when the client sent none
	Request string // SHA-256 over method, path and body
}

// Ref names an object: by id, or by name within a project (Project may be "" when the name is unique among what the caller sees).
type Ref struct {
	Kind    v1.Kind
	ID      string // id or name
	Project string // id or name
}

// Query selects objects of a kind. Objects that the caller may not see are left out.
type Query struct {
	Kind    v1.Kind
	Project string            // id or name; "" for all that the caller sees
	Labels  map[string]string // all must match
	Name    string            // exact
	Limit   int               // 1..1000
	Cursor  string            // from the previous page
	// Fields are further equalities by kind, for example {"volume": id} of snapshots, {"vm": id} of instances, {"state": "Running"} of operations.
	Fields map[string]string
}

// Page is a part of a list.
type Page struct {
	Items []v1.Object
	Next  string // cursor of the next page; "" at the end
	Index uint64 // log index that it was read at
}

// Result is what a change led to.
type Result struct {
	Object    v1.Object // as it is shown; nil when it is gone
	Operation string    // id of the operation that carries it out; "" when all is done
	Replayed  bool      // the answer of an earlier request with the same Idempotency-Key
}

// Nouns read and change objects of all kinds.
type Nouns interface {
	List(ctx context.Context, caller Caller, query Query) (Page, error)
	Get(ctx context.Context, caller Caller, ref Ref) (v1.Object, error)
	Create(ctx context.Context, caller Caller, kind v1.Kind, draft Draft, key Key) (Result, error)
	// Replace writes the whole writable part. version 0 asks for no match.
	Replace(ctx context.Context, caller Caller, ref Ref, draft Draft, version uint64) (Result, error)
	Delete(ctx context.Context, caller Caller, ref Ref, version uint64) (Result, error)
	// Act does what is no change of a spec: "start", "stop" (v1.StopRequest), "reboot" (v1.RebootRequest) of a VM, "restore" of a
	// Snapshot, "cancel", "retry", "abandon" of an Operation.
	Act(ctx context.Context, caller Caller, ref Ref, action string, args any, key Key) (Result, error)
	// Explain says where a VM would be placed, and makes nothing.
	Explain(ctx context.Context, caller Caller, draft Draft) (v1.Placement, error)
}

// Images take uploads.
type Images interface {
	// Upload stores the bytes of an image that waits for them and starts its import. size is -1 when unknown.
	Upload(ctx context.Context, caller Caller, ref Ref, size int64, data io.Reader) (Result, error)
}

// Waits wait for changes.
type Waits interface {
	// WaitOperation returns the operation once it is finished or ctx ends, whichever comes first.
	WaitOperation(ctx context.Context, caller Caller, ref Ref) (*v1.Operation, error)
	// Events returns the events after a position ("" from now on, "0" from the oldest kept) that the caller may see, up to limit. It waits until there is at
	// least one or ctx ends; that ctx ended is no error. next is the position to go on from, also when there are no events. What is kept already
	// must be found within 50 ms: that is how the HTTP layer asks without waiting. CodeNotFound when the position is older than what is kept.
	Events(ctx context.Context, caller Caller, after, project string, limit int) (events []v1.Event, next string, err error)
}

// Guests reach into running virtual machines.
type Guests interface {
	// Log opens the kept serial output; follow goes on until ctx ends. tail 0 is all.
	Log(ctx context.Context, caller Caller, ref Ref, tail int, follow bool) (io.ReadCloser, error)
	// Console attaches to the serial port.
	Console(ctx context.Context, caller Caller, ref Ref) (io.ReadWriteCloser, error)
}

// Clusters tell how the cloud is.
type Clusters interface {
	ClusterStatus(ctx context.Context, caller Caller) (v1.ClusterStatus, error)
}

// Consensus says where a request must be answered.
type Consensus interface {
	// Consistent waits until reads here see every change that was acknowledged anywhere before the call.
	Consistent(ctx context.Context) error
	// IsLeader says whether changes are decided here.
	IsLeader() bool
	// Forward answers a request through the leader, whose channel for controllers is served by PeerHandler. It hands on all headers, streams the
	// body (reading it may fail with a *v1.Problem, which is then the answer), and speaks for itself by WriteProblem: CodeUnavailable when there
	// is no leader, CodeOutcomeUnknown when it was lost in the middle.
	Forward(w http.ResponseWriter, r *http.Request)
	// Ready returns nil when this controller can answer (it knows a leader and has caught up).
	Ready(ctx context.Context) error
}

// Service is all of it.
type Service interface {
	Identities
	Nouns
	Images
	Waits
	Guests
	Clusters
	Consensus
}
