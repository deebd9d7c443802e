// Package task carries out the Tasks that the controllers give this host: on storage pools, images and machines. Each is repeated until it
// has an outcome (Done or Failed), which goes to the ledger and from there to the controllers; all of them may be repeated after a crash.
package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
)

const (
	// atOnce bounds the tasks that work on storage, and, apart from them, those that work on machines: a reboot does not wait for imports.
	atOnce = 4
	// importsAtOnce bounds the imports of images, which may take hours and use a whole processor.
	importsAtOnce = 2
	// attempts is how often a task may fail for reasons that nobody can name before it counts as Failed.
	attempts = 4
	// patience is how long the hypervisor or the keeper of an image may be away before a task that needs it counts as Failed.
	patience  = 10 * time.Minute
	firstWait = time.Second
	mostWait  = 30 * time.Second
)

// ErrUnavailable: what the task needs does not answer at the moment (wrapped by Fetch).
var ErrUnavailable = errors.New("does not answer")

// Options of New.
type Options struct {
	Ledger     *ledger.Ledger
	Hypervisor hypervisor.Hypervisor
	Drivers    map[string]storage.Driver // by name
	// Fetch opens the uploaded bytes of an image at its keeper; size is -1 when it is not known. The caller closes the reader. Errors:
	// ErrUnavailable when trying again may help; a *v1.Problem when it does not.
	Fetch func(ctx context.Context, keeper, image string) (data io.ReadCloser, size int64, err error)
	// ForgetVM removes everything that is kept for a VM.
	ForgetVM func(vm string) error
	Logger   *slog.Logger
}

// Runner carries out tasks. Make it with New.
type Runner struct {
	options Options
	log     *slog.Logger
	kick    chan struct{}
	storage chan struct{} // one token for each task at work on storage
	machine chan struct{} // one token for each task at work on machines
	imports chan struct{} // one token for each image that is being checked and converted
	images  keyedLocks
}

// New makes a runner that does nothing until Run.
func New(options Options) *Runner {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Runner{
		options: options,
		log:     options.Logger.With("part", "tasks"),
		kick:    make(chan struct{}, 1),
		storage: make(chan struct{}, atOnce),
		machine: make(chan struct{}, atOnce),
		imports: make(chan struct{}, importsAtOnce),
	}
}

// Kick says that the pending tasks have changed.
func (r *Runner) Kick() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns when all tasks have stopped. Tasks that the ledger does not name any more are cancelled.
func (r *Runner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	cancels := map[string]context.CancelFunc{}
	last := map[string]chan struct{}{} // by object: closed when its latest task has stopped
	ended := make(chan string)
	for {
		tasks := r.options.Ledger.Tasks()
		pending := map[string]bool{}
		for _, task := range tasks {
			pending[task.ID] = true
		}
		for id, cancel := range cancels {
			if !pending[id] {
				cancel() // it says itself when it has stopped
			}
		}
		for _, task := range tasks {
			if cancels[task.ID] != nil {
				continue
			}
			taskContext, cancel := context.WithCancel(ctx)
			cancels[task.ID] = cancel
			// A task that was taken back may still be at work on the object that the next one is about: they must not cross.
			object := objectOf(task)
			before, stopped := last[object], make(chan struct{})
			if object != "" {
				last[object] = stopped
			}
			running.Go(func() {
				defer close(stopped)
				if before != nil {
					<-before // it always stops: it has its own end, or it is cancelled
				}
				r.carryOut(taskContext, task)
				cancel()
				select {
				case ended <- task.ID:
				case <-ctx.Done():
				}
			})
		}
		for object, stopped := range last {
			select {
			case <-stopped:
				delete(last, object)
			default:
			}
		}
		select {
		case <-ctx.Done():
			for _, cancel := range cancels {
				cancel()
			}
			return nil
		case id := <-ended:
			delete(cancels, id)
		case <-r.kick:
		}
	}
}

// objectOf names what a task works on; "" when tasks of its type may run side by side.
func objectOf(task hostv1.Task) string {
	var args struct {
		Volume string      `json:"volume"`
		VM     string      `json:"vm"`
		Image  v1.ImageRef `json:"image"`
	}
	if json.Unmarshal(task.Spec.Args, &args) != nil {
		return "" // attempt refuses it
	}
	switch {
	case args.Volume != "":
		return "volume/" + args.Volume
	case args.VM != "":
		return "vm/" + args.VM
	case args.Image.ID != "":
		return "image/" + args.Image.ID
	}
	return ""
}

// carryOut repeats the task until it has an outcome that is in the ledger.
func (r *Runner) carryOut(ctx context.Context, task hostv1.Task) {
	slots := r.storage
	switch {
	case strings.HasPrefix(string(task.Spec.Type), "vm."):
		slots = r.machine
	case task.Spec.Type == v1.TaskImageImport:
		slots = r.imports // they may take hours
	}
	log := r.log.With("task", task.ID, "type", task.Spec.Type)
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = firstWait, mostWait
	began, failures := time.Now(), 0
	for {
		// A place is held for an attempt, not for the waiting between them: tasks that cannot go on must not keep others from the storage.
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		output, err := r.attempt(ctx, task)
		<-slots
		if ctx.Err() != nil {
			return
		}
		if err != nil && !isAnswer(err) {
			away := errors.Is(err, ErrUnavailable) || errors.Is(err, hypervisor.ErrUnavailable)
			if !away {
				failures++
			}
			if (away && time.Since(began) < patience) || (!away && failures < attempts) {
				delay := wait.NextBackOff()
				log.Warn("task: trying again", "error", err, "after", delay)
				if !sleep(ctx, delay) {
					return
				}
				continue
			}
		}
		status := v1.TaskStatus{State: v1.TaskDone, Output: output, Percent: 100}
		if err != nil {
			status = v1.TaskStatus{State: v1.TaskFailed, Error: problemOf(err)}
			log.Error("task failed", "error", err)
		} else {
			log.Info("task done", "took", time.Since(began).Round(time.Millisecond))
		}
		err = r.options.Ledger.Finish(task.ID, status)
		if err == nil || errors.Is(err, ledger.ErrGone) {
			return
		}
		log.Error("cannot write the ledger", "error", err)
		if !sleep(ctx, wait.NextBackOff()) {
			return
		}
	}
}

// attempt does the task once. The output is small JSON or nil.
func (r *Runner) attempt(ctx context.Context, task hostv1.Task) (json.RawMessage, error) {
	switch task.Spec.Type {
	case v1.TaskImageImport:
		return with(task, func(args v1.ImageArgs) (any, error) { return r.importImage(ctx, task.ID, args) })
	case v1.TaskImageDelete:
		return onPool(r, task, func(args v1.ImageArgs) string { return args.Driver }, func(driver storage.Driver, args v1.ImageArgs) error {
			return driver.DeleteImage(ctx, args.Image.ID)
		})
	case v1.TaskVolumeCreate:
		return with(task, func(args v1.VolumeArgs) (any, error) { return nil, r.createVolume(ctx, task.ID, args) })
	case v1.TaskVolumeResize:
		return with(task, func(args v1.VolumeArgs) (any, error) { return nil, r.resizeVolume(ctx, args) })
	case v1.TaskVolumeDelete:
		return onPool(r, task, func(args v1.VolumeArgs) string { return args.Driver }, func(driver storage.Driver, args v1.VolumeArgs) error {
			return driver.DeleteVolume(ctx, args.Volume)
		})
	case v1.TaskSnapshotCreate:
		return onPool(r, task, driverOfSnapshot, func(driver storage.Driver, args v1.SnapshotArgs) error {
			return driver.CreateSnapshot(ctx, args.Volume, args.Snapshot)
		})
	case v1.TaskSnapshotRestore:
		return onPool(r, task, driverOfSnapshot, func(driver storage.Driver, args v1.SnapshotArgs) error {
			return driver.RestoreSnapshot(ctx, args.Volume, args.Snapshot)
		})
	case v1.TaskSnapshotDelete:
		return onPool(r, task, driverOfSnapshot, func(driver storage.Driver, args v1.SnapshotArgs) error {
			return driver.DeleteSnapshot(ctx, args.Volume, args.Snapshot)
		})
	case v1.TaskVMReboot:
		return with(task, func(args v1.RebootArgs) (any, error) {
			return nil, r.options.Hypervisor.Reboot(ctx, args.Instance, args.Force)
		})
	case v1.TaskVMForget:
		return with(task, func(args v1.VMArgs) (any, error) { return nil, r.forgetVM(args) })
	}
	return nil, v1.NewProblem(v1.CodeHostFailed, "this host's agent does not know tasks of the type %.60q", string(task.Spec.Type)).
		WithNext("Bring the agent of this host to the controllers' version.")
}

func driverOfSnapshot(args v1.SnapshotArgs) string { return args.Driver }

// with decodes the arguments and encodes the output.
func with[Args any](task hostv1.Task, do func(Args) (any, error)) (json.RawMessage, error) {
	var args Args
	if err := json.Unmarshal(task.Spec.Args, &args); err != nil {
		return nil, v1.NewProblem(v1.CodeInvalid, "the arguments of the task cannot be read: %v", err)
	}
	output, err := do(args)
	if err != nil || output == nil {
		return nil, err
	}
	return json.Marshal(output)
}

// onPool is with for a task that is one call to a driver.
func onPool[Args any](r *Runner, task hostv1.Task, name func(Args) string, do func(storage.Driver, Args) error) (json.RawMessage, error) {
	return with(task, func(args Args) (any, error) {
		driver, err := r.driver(name(args))
		if err != nil {
			return nil, err
		}
		return nil, do(driver, args)
	})
}

func (r *Runner) driver(name string) (storage.Driver, error) {
	driver := r.options.Drivers[name]
	if driver == nil {
		return nil, v1.NewProblem(v1.CodeHostFailed, "this host has no storage pool of the driver %.60q", name)
	}
	return driver, nil
}

// answers are the errors that say that the task cannot be done, however often it is tried.
var answers = []struct {
	is   error
	code v1.Code
}{
	{storage.ErrNoSpace, v1.CodeNoSpace},
	{storage.ErrInvalidImage, v1.CodeInvalidImage},
	{storage.ErrInUse, v1.CodeInUse},
	{storage.ErrNotFound, v1.CodeNotFound},
	{storage.ErrShrink, v1.CodeInvalid},
	{storage.ErrInvalid, v1.CodeInvalid},
	{storage.ErrConflict, v1.CodeConflict},
	{hypervisor.ErrInvalid, v1.CodeInvalid},
	{hypervisor.ErrNotFound, v1.CodeNotFound},
	{hypervisor.ErrNotRunning, v1.CodeWrongState},
}

// errDoubtful marks an answer that may be another one in a moment.
var errDoubtful = errors.New("asked again")

func isAnswer(err error) bool {
	if errors.Is(err, errDoubtful) {
		return false
	}
	var problem *v1.Problem
	if errors.As(err, &problem) {
		return true
	}
	for _, each := range answers {
		if errors.Is(err, each.is) {
			return true
		}
	}
	return false
}

func problemOf(err error) *v1.Problem {
	var problem *v1.Problem
	if errors.As(err, &problem) {
		return problem
	}
	detail := err.Error()
	if len(detail) > v1.MaxTextLength {
		detail = strings.ToValidUTF8(detail[:v1.MaxTextLength], "") + "…"
	}
	for _, each := range answers {
		if errors.Is(err, each.is) {
			return v1.NewProblem(each.code, "%s", detail)
		}
	}
	return v1.NewProblem(v1.CodeHostFailed, "%s", detail).WithNext("See the agent's log on the host.")
}

func sleep(ctx context.Context, delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// forgetVM refuses while an Instance of the VM may run.
func (r *Runner) forgetVM(args v1.VMArgs) error {
	if !v1.IsID(args.VM) {
		return v1.NewProblem(v1.CodeInvalid, "%.80q is no id of a VM", args.VM)
	}
	for _, record := range r.options.Ledger.Instances() {
		phase := record.Journal.Phase
		if record.Assignment.Spec.VM == args.VM && phase != ledger.PhaseNone && phase != ledger.PhaseStopped {
			return v1.NewProblem(v1.CodeInUse, "the instance %s of this VM is not over on this host", record.Assignment.ID)
		}
	}
	if err := r.options.ForgetVM(args.VM); err != nil {
		return fmt.Errorf("forget VM %s: %w", args.VM, err)
	}
	return nil
}
