// Package link is the agent's line to the controllers: it registers, polls for the complete desired set, sends heartbeats and reports, and
// fetches images. It carries; what is believed and what is said is the ledger's business.
//
// The line may be down for as long as it likes: nothing on the host depends on it. Any controller serves; one that fails is left for the next.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
)

const (
	pollWait       = 50 * time.Second
	answerWithin   = 15 * time.Second // beyond what was asked for
	retryFirst     = 250 * time.Millisecond
	retryMost      = 15 * time.Second
	gatherReports  = 20 * time.Millisecond // reports come in groups: one request for a group
	reportBytes    = hostv1.MaxBody * 3 / 4
	heartbeatUsual = 2 * time.Second
	heartbeatLeast = 50 * time.Millisecond
	heartbeatMost  = time.Minute
	// heartbeatWithin is short, so that a dead controller is left for another before the living ones miss us.
	heartbeatWithin = 3 * time.Second
)

// errRegister ends a session: a controller says that our epoch is not the present one.
var errRegister = errors.New("the registration does not hold any more")

// Options of New.
type Options struct {
	Ledger *ledger.Ledger
	// Controllers are the addresses (host:port of the host port) to begin with; those that a registration names are added.
	Controllers []string
	// Transport carries the requests, and proves who we are: by TLS, or directly in a process of tests.
	Transport http.RoundTripper
	// Describe returns what to register. It is asked before each registration; its errors are tried again.
	Describe func(ctx context.Context) (hostv1.RegisterRequest, error)
	Logger   *slog.Logger
}

// Link is safe for concurrent use. Make it with New.
type Link struct {
	options Options
	log     *slog.Logger
	client  http.Client

	mutex   sync.Mutex
	current string // the controller in use

	accepted func(ledger.Accepted)

	connected atomic.Bool
	refused   atomic.Uint64
}

// New makes a link that is silent until Run.
func New(options Options) *Link {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	link := &Link{options: options, log: options.Logger.With("part", "link")}
	link.client = http.Client{
		Transport: options.Transport,
		// A controller answers for itself; a redirect would only lead elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if all := link.controllers(); len(all) > 0 {
		link.current = all[rand.IntN(len(all))] // hosts spread over the controllers
	}
	return link
}

// Accepted has this called after each accepted set that changed something. Call it before Run.
func (l *Link) Accepted(call func(ledger.Accepted)) { l.accepted = call }

// Connected says whether the last exchange with a controller worked.
func (l *Link) Connected() bool { return l.connected.Load() }

// Refused is how many sets were not believed since the start: stale, foreign, contradictory or damaged.
func (l *Link) Refused() uint64 { return l.refused.Load() }

// Run registers and serves until ctx ends, and registers again whenever the registration does not hold any more.
func (l *Link) Run(ctx context.Context) error {
	if len(l.controllers()) == 0 {
		return errors.New("no controller is known: give at least one address in the configuration")
	}
	wait := newBackoff()
	for ctx.Err() == nil {
		every, err := l.register(ctx)
		if err != nil {
			l.pause(ctx, wait, "register", err)
			continue
		}
		began := time.Now()
		err = l.session(ctx, every)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			wait.Reset()
		}
		l.pause(ctx, wait, "serve", err)
	}
	l.connected.Store(false)
	return nil
}

// session runs until the registration ends.
func (l *Link) session(ctx context.Context, heartbeatEvery time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.poll(ctx) })
	group.Go(func() error { return l.beat(ctx, heartbeatEvery) })
	group.Go(func() error { return l.report(ctx) })
	return group.Wait()
}

func (l *Link) register(ctx context.Context) (heartbeatEvery time.Duration, err error) {
	described, err := l.options.Describe(ctx)
	if err != nil {
		return 0, fmt.Errorf("describe this host: %w", err)
	}
	var response hostv1.RegisterResponse
	address := l.controller()
	if err := l.post(ctx, address, hostv1.PathRegister, described, &response, answerWithin); err != nil {
		return 0, err
	}
	if err := l.options.Ledger.Registered(response); err != nil {
		l.leave(address)
		return 0, err
	}
	l.log.Info("registered", "controller", address, "epoch", response.Epoch)
	every := response.HeartbeatEvery
	if every <= 0 {
		every = heartbeatUsual
	}
	return min(max(every, heartbeatLeast), heartbeatMost), nil
}

// ---- which controller ----

// controllers are all known addresses: those of the configuration, then those that were learned.
func (l *Link) controllers() []string {
	list := slices.Clone(l.options.Controllers)
	for _, each := range l.options.Ledger.Controllers() {
		if !slices.Contains(list, each.Address) {
			list = append(list, each.Address)
		}
	}
	return list
}

func (l *Link) controller() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.current
}

// leave goes on to the next controller, if the one that failed is still in use: three loops may fail on it at once.
func (l *Link) leave(failed string) {
	all := l.controllers()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.current == failed {
		l.current = all[(slices.Index(all, failed)+1)%len(all)]
	}
}

// ---- waiting ----

func newBackoff() *backoff.ExponentialBackOff {
	wait := backoff.NewExponentialBackOff() // with jitter: hosts must not come back all at once
	wait.InitialInterval, wait.MaxInterval = retryFirst, retryMost
	return wait
}

func (l *Link) pause(ctx context.Context, wait *backoff.ExponentialBackOff, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	delay := wait.NextBackOff()
	l.log.Warn("controller: trying again; guests run on", "what", what, "error", err, "after", delay)
	sleep(ctx, delay)
}

func sleep(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
