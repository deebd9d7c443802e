package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	// askEvery is how often a guest's power button is pressed while it does not react.
	askEvery = 10 * time.Second
	// prepareAttempts is how often preparing a start may fail for reasons that nobody can name. The hypervisor being away does not count.
	prepareAttempts = 6
	retryFirst      = time.Second
	retryMost       = 30 * time.Second
	resumeFirst     = 5 * time.Second
	resumeMost      = time.Minute
)

// idle: nothing to wait for but a wake.
const idle = time.Duration(-1)

// pace keeps one runner from doing the same thing too often.
type pace struct {
	step     Step // done last
	not      time.Time
	failures int
	retry    *backoff.ExponentialBackOff
	resume   *backoff.ExponentialBackOff
}

func newPace() *pace {
	return &pace{retry: newBackoff(retryFirst, retryMost), resume: newBackoff(resumeFirst, resumeMost)}
}

// hold forbids the step for a while, and returns that while.
func (p *pace) hold(step Step, delay time.Duration) time.Duration {
	p.step, p.not = step, time.Now().Add(delay)
	return delay
}

// remaining is how long the step is still forbidden.
func (p *pace) remaining(step Step) time.Duration {
	if step != p.step {
		return 0
	}
	return max(0, time.Until(p.not))
}

// drive takes one step after another until there is none.
func (w *Worker) drive(ctx context.Context, self *runner) {
	pace := newPace()
	for ctx.Err() == nil {
		select {
		case <-self.wake: // what follows looks afresh anyway
		default:
		}
		delay := w.step(ctx, self.id, pace)
		if delay == idle {
			if w.retire(self, false) {
				return
			}
			continue
		}
		if delay > 0 {
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-self.wake:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
	w.retire(self, true)
}

// step looks, decides and acts once. It returns how long to wait before the next look, or idle.
func (w *Worker) step(ctx context.Context, id string, pace *pace) time.Duration {
	record, known := w.options.Ledger.Instance(id)
	if !known {
		return idle
	}
	sight, err := w.look(ctx, id)
	if err != nil {
		return w.troubled(ctx, record, "look", err, pace)
	}
	next := Next(record, sight)
	if remaining := pace.remaining(next.Step); remaining > 0 {
		if err := w.mark(record, Transition{Journal: record.Journal, Seen: next.Seen}); err != nil {
			return w.troubled(ctx, record, next.Step, err, pace)
		}
		return remaining
	}
	if err := w.mark(record, next); err != nil {
		if errors.Is(err, ledger.ErrGone) {
			return idle
		}
		return w.troubled(ctx, record, next.Step, err, pace)
	}
	if next.Step == StepNone {
		if pace.step == StepResume { // it runs again; whether for long shows only later
			if remaining := pace.remaining(StepResume); remaining > 0 {
				return remaining
			}
		}
		return idle
	}
	if next.Step == StepMark {
		return 0
	}
	err = w.act(ctx, id, next)
	if ctx.Err() != nil {
		return 0 // we are ending: what happened will be seen by the next look, after the restart
	}
	if err == nil {
		pace.failures = 0
		pace.retry.Reset()
		switch next.Step {
		case StepAsk:
			return pace.hold(StepAsk, askEvery)
		case StepResume:
			pace.hold(StepResume, pace.resume.NextBackOff())
		}
		return 0
	}
	if !errors.Is(err, hypervisor.ErrUnavailable) {
		pace.failures++
	}
	if w.isFinal(ctx, id, next.Step, err, pace) {
		w.log.Error("an instance cannot start", "instance", id, "vm", record.Assignment.Spec.VM, "error", err)
		record, known = w.options.Ledger.Instance(id)
		if !known {
			return idle
		}
		if err := w.mark(record, failed(record, err)); err == nil {
			return 0
		}
	}
	return w.troubled(ctx, record, next.Step, err, pace)
}

func (w *Worker) look(ctx context.Context, id string) (Sight, error) {
	observation, err := w.options.Hypervisor.Get(ctx, id)
	switch {
	case errors.Is(err, hypervisor.ErrNotFound):
		return See(nil, w.options.BootID), nil
	case err != nil:
		return Sight{}, err
	}
	return See(&observation, w.options.BootID), nil
}

func (w *Worker) mark(record ledger.Instance, next Transition) error {
	if next.Journal.Phase != record.Journal.Phase {
		w.log.Info("instance "+string(next.Journal.Phase), "instance", record.Assignment.ID, "vm", record.Assignment.Spec.VM,
			"reason", next.Journal.Reason, "message", next.Journal.Message)
	}
	return w.options.Ledger.Mark(record.Assignment.ID, next.Journal, next.Seen)
}

// act does what has been announced in the journal.
func (w *Worker) act(ctx context.Context, id string, next Transition) error {
	record, known := w.options.Ledger.Instance(id)
	if !known {
		return nil
	}
	machines := w.options.Hypervisor
	switch next.Step {
	case StepPrepare:
		return w.prepare(ctx, record)
	case StepStart:
		return machines.Start(ctx, id)
	case StepResume:
		return unlessGone(machines.Resume(ctx, id))
	case StepAsk:
		return unlessGone(machines.Shutdown(ctx, id))
	case StepKill:
		return unlessGone(machines.Kill(ctx, id))
	case StepRemove:
		if err := w.remove(ctx, id); err != nil {
			return err
		}
		journal := record.Journal
		journal.Phase = ledger.PhaseStopped
		return w.mark(record, Transition{Journal: journal, Seen: stoppedObservation(journal)})
	case StepForget:
		return w.options.Ledger.Forget(id)
	}
	return fmt.Errorf("unknown step %q", next.Step)
}

// unlessGone: a machine that ended before it was told to has nothing left to be told.
func unlessGone(err error) error {
	if errors.Is(err, hypervisor.ErrNotFound) || errors.Is(err, hypervisor.ErrNotRunning) {
		return nil
	}
	return err
}

// isFinal says whether an Instance that did not start never will.
func (w *Worker) isFinal(ctx context.Context, id string, step Step, err error, pace *pace) bool {
	switch {
	case errors.Is(err, hypervisor.ErrUnavailable), errors.Is(err, hypervisor.ErrNotFound):
		return false
	case step == StepPrepare:
		return errors.Is(err, errFinal) || pace.failures >= prepareAttempts
	case step == StepStart:
		// The hypervisor has refused, which is an answer. But believe the eyes more.
		sight, looking := w.look(ctx, id)
		return looking == nil && !sight.active()
	}
	return false
}

// troubled notes what went wrong, for an Instance that does not run yet also where its owner sees it, and says when to try again.
func (w *Worker) troubled(ctx context.Context, record ledger.Instance, step Step, err error, pace *pace) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	delay := pace.hold(step, pace.retry.NextBackOff())
	id := record.Assignment.ID
	w.log.Warn("instance: trying again", "instance", id, "step", step, "error", err, "after", delay)
	if current, known := w.options.Ledger.Instance(id); known && (step == StepPrepare || step == StepStart) && current.Journal.Phase != ledger.PhaseRemoving {
		if err := w.options.Ledger.Mark(id, current.Journal, observed(v1.InstancePending, clip("trying again: "+err.Error()))); err != nil {
			w.log.Error("cannot write the ledger", "error", err)
		}
	}
	return delay
}
