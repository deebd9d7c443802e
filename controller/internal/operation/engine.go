package operation

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Engine advances all open operations. The leader runs it for its term.
type Engine struct {
	Store *state.Store
	// Propose writes an entry and waits until it is applied here.
	Propose func(context.Context, *state.Txn) error
	// Definitions by type.
	Definitions map[v1.OperationType]Definition
	Logger      *slog.Logger
}

// lanes is how many operations advance side by side; each belongs to one lane, so that its entries come one after the other.
const lanes = 32

const (
	// sweep is how often a lane looks at its operations even though nothing that it is told of has changed (hosts that fall silent, for example).
	sweep = 5 * time.Second
	// mostConflicts in a row, and something is wrong with the decision itself: it must not fill the log.
	mostConflicts = 16
	longestRest   = time.Minute
)

// Run advances operations until ctx ends. It returns an error only when proposing has become impossible.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for number := range lanes {
		lane := &lane{engine: e, number: uint32(number), waiting: map[string]*waiting{}, rests: map[string]time.Time{}}
		group.Go(func() error { return lane.run(ctx) })
	}
	return group.Wait()
}

func laneOf(id string) uint32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(id))
	return hash.Sum32() % lanes
}

// touchedOperations names the operations that a change may move on: by id, or by "vm:<id>" for those that work on a VM.
func touchedOperations(change state.Change) []string {
	for _, object := range []v1.Object{change.New, change.Old} {
		switch o := object.(type) {
		case *v1.Operation:
			return []string{o.ID}
		case *v1.Task:
			return []string{o.Spec.Operation}
		case *v1.Instance:
			return []string{"vm:" + o.Spec.VM}
		}
	}
	return nil
}

type lane struct {
	engine  *Engine
	number  uint32
	waiting map[string]*waiting
	rests   map[string]time.Time // operations whose last attempt failed: not before then
}

// waiting is what a lane remembers of an operation: where it stood and since when.
type waiting struct {
	at    string
	since time.Time
	wake  time.Time // when to look at it again even though nothing has changed
}

func (l *lane) run(ctx context.Context) error {
	changes := l.engine.Store.Subscribe(touchedOperations)
	defer changes.Close()
	timer := time.NewTimer(sweep)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.Signal():
			names, all := changes.Take()
			if all {
				if err := l.advanceAll(ctx); err != nil {
					return err
				}
				break
			}
			for _, name := range names {
				if err := l.advance(ctx, l.resolve(name)); err != nil {
					return err
				}
			}
		case <-timer.C:
			if err := l.advanceDue(ctx); err != nil {
				return err
			}
		}
		timer.Reset(l.nextWake())
	}
}

func (l *lane) resolve(name string) string {
	if len(name) > 3 && name[:3] == "vm:" {
		if operation := l.engine.Store.Snapshot().OpenOperationOn(name[3:]); operation != nil {
			return operation.ID
		}
		return ""
	}
	return name
}

func (l *lane) advanceAll(ctx context.Context) error {
	for _, operation := range l.engine.Store.Snapshot().OpenOperations() {
		if err := l.advance(ctx, operation.ID); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) advanceDue(ctx context.Context) error {
	now := time.Now()
	for id, w := range l.waiting {
		if now.Before(w.wake) || now.Before(l.rests[id]) {
			continue
		}
		if err := l.advance(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) nextWake() time.Duration {
	next := sweep
	now := time.Now()
	for id, w := range l.waiting {
		due := w.wake
		if rest := l.rests[id]; rest.After(due) {
			due = rest
		}
		next = min(next, max(due.Sub(now), time.Millisecond))
	}
	return next
}

// advance moves one operation as far as it goes now.
func (l *lane) advance(ctx context.Context, id string) error {
	if id == "" || laneOf(id) != l.number {
		return nil
	}
	for conflicts := 0; ctx.Err() == nil; {
		snapshot := l.engine.Store.Snapshot()
		operation := snapshot.Operation(id)
		if operation == nil || operation.Status.State.Finished() || operation.Status.State == v1.OperationNeedsAttention {
			delete(l.waiting, id)
			delete(l.rests, id)
			return nil
		}
		if time.Now().Before(l.rests[id]) {
			return nil
		}
		definition, ok := l.engine.Definitions[operation.Spec.Type]
		if !ok {
			l.engine.Logger.Error("no such type of operation in this version", "operation", id, "type", operation.Spec.Type)
			return nil
		}
		w := l.remember(operation)
		now := time.Now()
		txn, wake := Advance(definition, snapshot, id, now, now.Sub(w.since))
		w.wake = now.Add(sweep)
		if wake > 0 {
			w.wake = now.Add(min(wake, sweep))
		}
		if txn == nil {
			return nil
		}
		err := l.engine.Propose(ctx, txn)
		if isRefusal(ctx, err) {
			// The state does not take what the step wants (capacity, an invariant). The step fails with that reason.
			problem := v1.AsProblem(err)
			l.engine.Logger.Warn("the state refused a step", "operation", id, "type", operation.Spec.Type, "problem", problem)
			if txn = Refused(definition, snapshot, id, time.Now(), problem); txn == nil {
				return nil
			}
			if err = l.engine.Propose(ctx, txn); isRefusal(ctx, err) {
				l.engine.Logger.Error("the state does not even take that a step failed", "operation", id, "error", err)
				l.rest(operation, longestRest)
				return nil
			}
		}
		switch {
		case err == nil:
			if after := l.engine.Store.Snapshot().Operation(id); after != nil && attemptsOf(after) > attemptsOf(operation) {
				l.rest(after, time.Second<<min(attemptsOf(after), 5)) // a failed attempt: let the cause pass
				return nil
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, state.ErrConflict):
			// Somebody else changed what it was decided on: look again, but not for ever.
			if conflicts++; conflicts >= mostConflicts {
				l.rest(operation, time.Second)
				return nil
			}
		default:
			return err // the term is over, or as good as
		}
	}
	return nil
}

// isRefusal says whether the state has looked at an entry and does not take it.
func isRefusal(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || errors.Is(err, state.ErrConflict) {
		return false
	}
	code := v1.CodeOf(err)
	return code != v1.CodeUnavailable && code != v1.CodeOutcomeUnknown
}

// rest leaves an operation alone for a while.
func (l *lane) rest(operation *v1.Operation, duration time.Duration) {
	until := time.Now().Add(duration)
	l.rests[operation.ID], l.remember(operation).wake = until, until
}

func attemptsOf(operation *v1.Operation) int {
	total := 0
	for _, step := range operation.Status.Steps {
		total += step.Attempts
	}
	return total
}

func (l *lane) remember(operation *v1.Operation) *waiting {
	step := ""
	if current := operation.Status.Current; current < len(operation.Status.Steps) {
		step = operation.Status.Steps[current].Name + string(operation.Status.Steps[current].State)
	}
	at := string(operation.Status.State) + "/" + step
	w := l.waiting[operation.ID]
	if w == nil || w.at != at {
		w = &waiting{at: at, since: time.Now()}
		l.waiting[operation.ID] = w
	}
	return w
}
