// Package app answers the API's requests: it finds what is asked for, checks who asks, decides on a snapshot, and proposes one entry that carries the
// whole decision. One file holds one noun; what they share is in app.go (proposing), find.go (finding and showing) and placer.go (placing).
package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/spool"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Agents reach the hosts' own port.
type Agents interface {
	// Get opens a stream from the agent of a host.
	Get(ctx context.Context, host *v1.Host, path string) (io.ReadCloser, error)
	// Dial opens a two-way stream to the agent of a host.
	Dial(ctx context.Context, host *v1.Host, path string) (io.ReadWriteCloser, error)
}

// App implements httpapi.Service.
type App struct {
	Store   *state.Store
	Node    *raftnode.Node
	Agents  Agents
	Uploads *spool.Spool // the bytes of images that were uploaded here
	Logger  *slog.Logger
	Version string

	Placer *Placer
	cache  authCache
}

var _ httpapi.Service = (*App)(nil)

// NewID makes an identifier: ordered by time, chosen by the proposer.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// attempts is how often a decision is taken anew when somebody else was faster.
const attempts = 8

// Propose writes one entry and waits until it is applied here. Errors are problems: CodeConflict (and state.ErrConflict) when a guard did not hold, whatever an invariant said,
// CodeUnavailable when nothing was done, CodeOutcomeUnknown when that cannot be known.
func (a *App) Propose(ctx context.Context, txn *state.Txn) error {
	data, err := txn.Encode()
	if err != nil {
		return v1.NewProblem(v1.CodeInternal, "%v", err)
	}
	_, response, err := a.Node.Propose(ctx, data)
	return outcome(response, err)
}

func outcome(response any, err error) error {
	switch {
	case err == nil:
		if refused, ok := response.(error); ok {
			return refused
		}
		return nil
	case errors.Is(err, raftnode.ErrOutcomeUnknown):
		return v1.NewProblem(v1.CodeOutcomeUnknown, "the leader was lost before it answered; the change may or may not have been made").
			WithNext("Look whether it was made, or send the request again with the same Idempotency-Key.")
	case errors.Is(err, raftnode.ErrTooLarge):
		return v1.NewProblem(v1.CodeTooLarge, "%v", err)
	default:
		return v1.NewProblem(v1.CodeUnavailable, "%v", err).WithNext("Try again shortly.")
	}
}

// change decides on a snapshot and proposes, again as long as somebody else is faster. decide fills in the entry; it must not keep anything between calls.
func (a *App) change(ctx context.Context, actor string, decide func(s *state.Snapshot, txn *state.Txn) error) error {
	var err error
	for range attempts {
		snapshot := a.Store.Snapshot()
		txn := state.NewTxn(time.Now(), actor)
		if err := decide(snapshot, txn); err != nil {
			return err
		}
		if txn.Empty() {
			return nil
		}
		if err = a.Propose(ctx, txn); err == nil || !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return err
}

func actorOf(caller httpapi.Caller) string { return caller.User.Name }

// Consistent implements httpapi.Consensus.
func (a *App) Consistent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		err := a.Node.CatchUp(ctx)
		if err == nil {
			return nil
		}
		if !errors.Is(err, raftnode.ErrNotLeader) || ctx.Err() != nil {
			return v1.NewProblem(v1.CodeUnavailable, "this controller cannot tell whether it is up to date: %v", err).WithNext("Try again shortly, or ask another controller.")
		}
		select { // a change of leader: wait for the next one
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// IsLeader implements httpapi.Consensus.
func (a *App) IsLeader() bool { return a.Node.IsLeader() }

// Ready implements httpapi.Consensus.
func (a *App) Ready(ctx context.Context) error {
	if err := a.Node.CatchUp(ctx); err != nil {
		return v1.NewProblem(v1.CodeUnavailable, "not in touch with the leader: %v", err)
	}
	if a.Store.Snapshot().Cluster() == nil {
		return v1.NewProblem(v1.CodeUnavailable, "the cloud is not set up yet")
	}
	return nil
}

// Forward implements httpapi.Consensus.
func (a *App) Forward(w http.ResponseWriter, r *http.Request) { Forward(a.Node, w, r) }
