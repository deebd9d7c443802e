package dispatch

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/app"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// batch is the reports of one request on their way into an entry.
type batch struct {
	host    string
	epoch   uint64
	reports []hostv1.Report
	results []hostv1.ReportResult
	done    chan error
}

type reportQueue chan *batch

// maxReports is how many reports share an entry.
const maxReports = 1000

func (d *Dispatcher) status(w http.ResponseWriter, r *http.Request, host string) {
	var request hostv1.StatusRequest
	if !decode(w, r, &request) {
		return
	}
	if len(request.Reports) > hostv1.MaxReports {
		app.WriteProblem(w, v1.NewProblem(v1.CodeTooLarge, "%d reports are too many", len(request.Reports)).WithNext("Send at most %d at once.", hostv1.MaxReports))
		return
	}
	waiting := &batch{host: host, epoch: request.Epoch, reports: request.Reports, done: make(chan error, 1)}
	select {
	case d.reports <- waiting:
	case <-r.Context().Done():
		return
	case <-time.After(time.Second):
		app.WriteProblem(w, v1.NewProblem(v1.CodeUnavailable, "too many reports wait").WithNext("Try again shortly."))
		return
	}
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-waiting.done:
			if err != nil {
				app.WriteProblem(w, v1.AsProblem(err))
				return
			}
			answer(w, hostv1.StatusResponse{Results: waiting.results})
			return
		case <-look.C: // nobody writes them here any more; that they may be written after all does no harm
			if !d.Node.IsLeader() {
				app.WriteProblem(w, notLeading())
				return
			}
		case <-r.Context().Done():
			return
		case <-late.C:
			app.WriteProblem(w, v1.NewProblem(v1.CodeUnavailable, "the reports could not be written in time").WithNext("Send them again."))
			return
		}
	}
}

// NewReports makes room for reports; call it before anything else.
func (d *Dispatcher) NewReports() { d.reports = make(reportQueue, 4096) }

// Run writes reports until ctx ends: all that wait share an entry. The leader runs it.
func (d *Dispatcher) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-d.reports:
			batches := []*batch{first}
			count := len(first.reports)
			for count < maxReports {
				select {
				case next := <-d.reports:
					batches = append(batches, next)
					count += len(next.reports)
					continue
				default:
				}
				break
			}
			d.write(ctx, batches)
		}
	}
}

// write puts batches into one entry; should the state refuse that, each into its own.
func (d *Dispatcher) write(ctx context.Context, batches []*batch) {
	err := d.writeTogether(ctx, batches)
	if err != nil && len(batches) > 1 && v1.CodeOf(err) != v1.CodeUnavailable && v1.CodeOf(err) != v1.CodeOutcomeUnknown {
		for _, one := range batches {
			one.done <- d.writeTogether(ctx, []*batch{one})
		}
		return
	}
	for _, one := range batches {
		one.done <- err
	}
}

func (d *Dispatcher) writeTogether(ctx context.Context, batches []*batch) error {
	var err error
	for range 16 {
		snapshot := d.Store.Snapshot()
		txn := state.NewTxn(time.Now(), "agent")
		for _, one := range batches {
			one.results = Take(snapshot, txn, one.host, one.epoch, one.reports)
		}
		if txn.Empty() {
			return nil
		}
		if err = d.Propose(ctx, txn); err == nil || !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return err
}
