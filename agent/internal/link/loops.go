package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
)

// poll asks for sets until the registration ends.
func (l *Link) poll(ctx context.Context) error {
	wait := newBackoff()
	for ctx.Err() == nil {
		err := l.pollOnce(ctx)
		switch {
		case err == nil:
			wait.Reset()
		case errors.Is(err, errRegister):
			return err
		default:
			l.pause(ctx, wait, "assignments", err)
		}
	}
	return ctx.Err()
}

func (l *Link) pollOnce(ctx context.Context) error {
	position := l.options.Ledger.Position()
	query := url.Values{
		"epoch": {strconv.FormatUint(position.Epoch, 10)},
		"after": {strconv.FormatUint(position.Generation, 10)},
		"wait":  {pollWait.String()},
	}
	address := l.controller()
	body, status, err := l.exchange(ctx, http.MethodGet, address, hostv1.PathAssignments+"?"+query.Encode(), nil, pollWait+answerWithin, hostv1.MaxAssignments)
	if err != nil || status == http.StatusNotModified {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("controller %s: assignments: unexpected status %d", address, status)
	}
	outcome, err := l.options.Ledger.Accept(body)
	if err != nil {
		l.refused.Add(1)
		if errors.Is(err, ledger.ErrUnregistered) {
			return fmt.Errorf("%w: %w", errRegister, err)
		}
		// A follower that lags, a foreigner or a liar: another may know better.
		l.leave(address)
		return fmt.Errorf("set of controller %s refused: %w", address, err)
	}
	for _, id := range outcome.Kept {
		l.log.Error("the controllers have left out an instance that they never stopped; it runs on, and somebody should ask why", "instance", id)
	}
	if l.accepted != nil {
		l.accepted(outcome)
	}
	return nil
}

// beat says that we live, until the registration ends.
func (l *Link) beat(ctx context.Context, every time.Duration) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	silent := false
	for {
		position := l.options.Ledger.Position()
		err := l.post(ctx, l.controller(), hostv1.PathHeartbeat,
			hostv1.Heartbeat{Epoch: position.Epoch, AppliedGeneration: position.Generation, Digest: position.Digest}, &struct{}{},
			max(every, heartbeatWithin))
		if errors.Is(err, errRegister) {
			return err
		}
		// The ticker is the back-off: a heartbeat is worth sending only on time.
		if failing := err != nil; failing != silent && ctx.Err() == nil {
			silent = failing
			if failing {
				l.log.Warn("no controller takes our heartbeat; guests run on", "error", err)
			} else {
				l.log.Info("heartbeats arrive again")
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report empties the outbox whenever there is something in it, until the registration ends.
func (l *Link) report(ctx context.Context) error {
	for {
		if err := l.sendAll(ctx); err != nil {
			return err
		}
		select {
		case <-l.options.Ledger.Outbox():
			sleep(ctx, gatherReports)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Link) sendAll(ctx context.Context) error {
	wait := newBackoff()
	for ctx.Err() == nil {
		reports := l.options.Ledger.Unsent(hostv1.MaxReports, reportBytes)
		if len(reports) == 0 {
			return nil
		}
		err := l.sendSome(ctx, reports)
		switch {
		case err == nil:
			wait.Reset()
		case errors.Is(err, errRegister):
			return err
		default:
			l.pause(ctx, wait, "status", err)
		}
	}
	return ctx.Err()
}

func (l *Link) sendSome(ctx context.Context, reports []hostv1.Report) error {
	address := l.controller()
	var response hostv1.StatusResponse
	err := l.post(ctx, address, hostv1.PathStatus, hostv1.StatusRequest{Epoch: l.options.Ledger.Position().Epoch, Reports: reports}, &response, answerWithin)
	if err != nil {
		return err
	}
	if len(response.Results) != len(reports) {
		l.leave(address)
		return fmt.Errorf("controller %s: status: %d results for %d reports", address, len(response.Results), len(reports))
	}
	for i, result := range response.Results {
		switch result {
		case hostv1.ReportTaken:
		case hostv1.ReportUnknown, hostv1.ReportRefused:
			l.log.Warn("a report was not taken", "object", reports[i].ID, "result", result)
		default:
			l.leave(address)
			return fmt.Errorf("controller %s: status: unknown result %.40q", address, result)
		}
	}
	return l.options.Ledger.Sent(reports)
}
