//go:build libvirt_dlopen

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/broadcast"
)

// libvirtd serves a client with few threads, so more calls at a time only wait there; and when it hangs, this many goroutines hang with it.
const callsAtOnce = 16

// Hypervisor is a connection to libvirtd that mends itself.
type Hypervisor struct {
	options Options
	hub     broadcast.Hub
	slots   chan struct{} // one token for each call under way
	ending  context.Context
	end     context.CancelFunc
	keeper  chan struct{} // closed when the keeper has ended

	mutex   sync.Mutex
	session *session // nil while not connected
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// Open connects to libvirtd, and waits for it until ctx ends (then ErrUnavailable). ErrNoLibrary when libvirt is not installed. The caller
// closes what it got.
func Open(ctx context.Context, options Options) (*Hypervisor, error) {
	if options.Cluster == "" {
		return nil, errors.New("libvirt: Options.Cluster must be given")
	}
	if err := startEventLoop(); err != nil {
		return nil, err
	}
	ending, end := context.WithCancel(context.Background())
	opened := &Hypervisor{
		options: options.withDefaults(),
		slots:   make(chan struct{}, callsAtOnce),
		ending:  ending,
		end:     end,
		keeper:  make(chan struct{}),
	}
	connected := make(chan struct{})
	go opened.keepConnected(sync.OnceFunc(func() { close(connected) }))
	select {
	case <-connected:
		return opened, nil
	case <-ctx.Done():
		_ = opened.Close()
		return nil, fmt.Errorf("%w: %s: %w", hypervisor.ErrUnavailable, opened.options.URI, ctx.Err())
	}
}

// Close ends subscriptions and consoles and disconnects. Guests run on.
func (host *Hypervisor) Close() error {
	host.end()
	host.hub.Close()
	select {
	case <-host.keeper:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%w: a call to libvirt did not end; its connection stays open", hypervisor.ErrUnavailable)
	}
}

// call runs work on its own goroutine with the present connection. When ctx ends first, work is abandoned: its effect is unknown, and what it
// returns late goes to discard (nil when there is nothing to give back).
func call[T any](ctx context.Context, host *Hypervisor, what string, work func(*session) (T, error), discard func(T)) (T, error) {
	var nothing T
	ctx, cancel := context.WithTimeout(ctx, host.options.CallTimeout)
	defer cancel()
	unavailable := func(reason error) error {
		return fmt.Errorf("%w: %s: %w", hypervisor.ErrUnavailable, what, reason)
	}
	if ctx.Err() != nil {
		return nothing, unavailable(ctx.Err())
	}
	select {
	case host.slots <- struct{}{}:
	case <-ctx.Done():
		return nothing, unavailable(ctx.Err())
	}
	using, err := host.use()
	if err != nil {
		<-host.slots
		return nothing, unavailable(err)
	}
	type outcome struct {
		value T
		err   error
	}
	answers := make(chan outcome)
	go func() {
		value, err := work(using)
		if err != nil {
			err = translate(err, using, what)
		}
		using.users.Done()
		<-host.slots
		select {
		case answers <- outcome{value, err}:
		case <-ctx.Done():
			if err == nil && discard != nil {
				discard(value)
			}
		}
	}()
	select {
	case answer := <-answers:
		return answer.value, answer.err
	case <-ctx.Done():
		return nothing, unavailable(ctx.Err())
	}
}

// use returns the present connection and keeps it from being closed until users.Done.
func (host *Hypervisor) use() (*session, error) {
	host.mutex.Lock()
	defer host.mutex.Unlock()
	if host.ending.Err() != nil {
		return nil, errors.New("it has been closed")
	}
	if host.session == nil {
		return nil, errors.New("not connected to libvirtd on " + host.options.URI)
	}
	host.session.users.Add(1)
	return host.session, nil
}

// translate turns libvirt's errors into our own.
func translate(err error, using *session, what string) error {
	var problem libvirt.Error
	if !errors.As(err, &problem) {
		return fmt.Errorf("%s: %w", what, err) // made by us
	}
	kind := error(nil)
	switch {
	case using.isLost(), problem.Domain == libvirt.FROM_RPC:
		kind = hypervisor.ErrUnavailable
	default:
		switch problem.Code {
		case libvirt.ERR_NO_DOMAIN:
			kind = hypervisor.ErrNotFound
		case libvirt.ERR_OPERATION_TIMEOUT, libvirt.ERR_INVALID_CONN, libvirt.ERR_NO_CONNECT:
			kind = hypervisor.ErrUnavailable
		case libvirt.ERR_XML_ERROR, libvirt.ERR_XML_DETAIL, libvirt.ERR_XML_INVALID_SCHEMA, libvirt.ERR_CONFIG_UNSUPPORTED, libvirt.ERR_INVALID_ARG:
			kind = hypervisor.ErrInvalid
		}
	}
	if kind == nil {
		return fmt.Errorf("%s: %s", what, plain(err))
	}
	return fmt.Errorf("%w: %s: %s", kind, what, plain(err))
}

// plain spells an error for people; libvirt's own spelling is for programmers.
func plain(err error) string {
	var problem libvirt.Error
	if errors.As(err, &problem) {
		return fmt.Sprintf("libvirt: %s (code %d)", problem.Message, problem.Code)
	}
	return err.Error()
}
