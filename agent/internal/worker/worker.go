// Package worker makes the machines of this host what the ledger says they should be. Next, the heart, is pure: from what is wanted, what was
// done and what is seen it finds the one next step. Around it are a goroutine for each Instance that has something to do, which takes the step
// and owns retries, and one that looks at all machines, by events and by a timer.
//
// Stopping the worker stops no machine.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/agent/internal/serial"
	"github.com/coloa-cloud/coloa/storage"
)

// lookEvery is how often all machines are looked at, whatever the events say: events can be lost.
const lookEvery = 30 * time.Second

// Options of New.
type Options struct {
	Cluster    string
	BootID     string // of the host's present boot
	Ledger     *ledger.Ledger
	Hypervisor hypervisor.Hypervisor
	Drivers    map[string]storage.Driver // by name
	SeedFolder string                    // absolute; "": guests get no cloud-init seed
	Serial     *serial.Store             // nil: no serial logs
	Logger     *slog.Logger
}

// Worker runs the Instances of this host. Make it with New.
type Worker struct {
	options Options
	log     *slog.Logger

	mutex   sync.Mutex
	runners map[string]*runner
	running sync.WaitGroup
	serving context.Context // Run's; nil before and after
	orphans map[string]bool // machines that nobody knows; true: seen at least twice, and so reported
}

// New makes a worker that does nothing until Run.
func New(options Options) *Worker {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Worker{options: options, log: options.Logger.With("part", "worker"), runners: map[string]*runner{}, orphans: map[string]bool{}}
}

// Run works until ctx ends, and returns when all its goroutines have ended.
func (w *Worker) Run(ctx context.Context) error {
	w.mutex.Lock()
	w.serving = ctx
	w.mutex.Unlock()
	defer func() {
		w.mutex.Lock()
		w.serving = nil
		w.mutex.Unlock()
		w.running.Wait()
	}()
	wait := newBackoff(200*time.Millisecond, lookEvery)
	for ctx.Err() == nil {
		err := w.watch(ctx, wait)
		if ctx.Err() != nil {
			break
		}
		delay := wait.NextBackOff()
		w.log.Warn("cannot watch the machines, trying again; guests run on", "error", err, "after", delay)
		sleep(ctx, delay)
	}
	return nil
}

// watch looks at all machines, and then at each that is told of, until the subscription ends or the hypervisor does not answer.
func (w *Worker) watch(ctx context.Context, wait *backoff.ExponentialBackOff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// First the subscription, then the look: nothing falls between them.
	events, err := w.options.Hypervisor.Events(ctx)
	if err != nil {
		return err
	}
	if err := w.lookAtAll(ctx); err != nil {
		return err
	}
	wait.Reset()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case event, open := <-events:
			if !open {
				return errors.New("the hypervisor's events have ended")
			}
			if _, known := w.options.Ledger.Instance(event.ID); known {
				w.Wake(event.ID)
			}
		case <-ticker.C:
			if err := w.lookAtAll(ctx); err != nil {
				return err
			}
		}
	}
}

// lookAtAll wakes every Instance for which there is something to do or to say, and notes machines that nobody knows.
func (w *Worker) lookAtAll(ctx context.Context) error {
	list, err := w.options.Hypervisor.List(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]*hypervisor.Observation, len(list))
	for i := range list {
		seen[list[i].ID] = &list[i]
	}
	for _, record := range w.options.Ledger.Instances() {
		id := record.Assignment.ID
		next := Next(record, See(seen[id], w.options.BootID))
		if next.Step != StepNone || next.Journal != record.Journal || isNews(record, next) {
			w.Wake(id)
		}
		delete(seen, id)
	}
	w.noteOrphans(seen)
	return nil
}

func isNews(record ledger.Instance, next Transition) bool {
	return next.Seen != nil && (next.Seen.State != record.Report.State || next.Seen.Reason != record.Report.Reason || next.Seen.Message != record.Report.Message)
}

// noteOrphans: a machine of this cluster of which the ledger knows nothing is said aloud and left alone; to remove it is the controllers'
// decision. One look alone may fall between two steps, so it takes two.
func (w *Worker) noteOrphans(unknown map[string]*hypervisor.Observation) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	before := w.orphans
	w.orphans = make(map[string]bool, len(unknown))
	for id, machine := range unknown {
		reported, twice := before[id]
		if twice && !reported {
			w.log.Error("a machine of this cluster is on this host, but no controller has given it to us; it is left alone", "instance", id, "state", machine.State)
		}
		w.orphans[id] = twice
	}
}

// Orphans is how many machines of this cluster are on this host without anybody knowing them.
func (w *Worker) Orphans() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	count := 0
	for _, reported := range w.orphans {
		if reported {
			count++
		}
	}
	return count
}

// Active is how many Instances have something to do at this moment.
func (w *Worker) Active() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.runners)
}

// runner is the goroutine of one Instance.
type runner struct {
	id   string
	wake chan struct{} // holds one signal
}

// Wake has an Instance looked at soon.
func (w *Worker) Wake(id string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.serving == nil {
		return // Run looks at all of them first
	}
	ctx := w.serving
	if found := w.runners[id]; found != nil {
		select {
		case found.wake <- struct{}{}:
		default:
		}
		return
	}
	started := &runner{id: id, wake: make(chan struct{}, 1)}
	w.runners[id] = started
	w.running.Go(func() { w.drive(ctx, started) })
}

// retire ends a runner, unless it was woken meanwhile.
func (w *Worker) retire(ending *runner, anyway bool) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(ending.wake) > 0 && !anyway {
		return false
	}
	delete(w.runners, ending.id)
	return true
}

func newBackoff(first, most time.Duration) *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = first, most
	return wait
}

func sleep(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
