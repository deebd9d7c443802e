//go:build libvirt_dlopen

package libvirt

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor/domxml"
)

// A libvirtd that hangs is given up after keepaliveInterval * keepaliveCount.
const (
	keepaliveInterval = 5 // seconds
	keepaliveCount    = 3
)

// session is one connection, from connecting until it is lost.
type session struct {
	connection *libvirt.Connect
	lifecycle  int            // the id under which libvirt knows our event callback
	users      sync.WaitGroup // calls that use the connection; the host's mutex guards adding
	changed    chan change    // what libvirt has told us, not yet passed on
	lostOnce   sync.Once
	lost       chan struct{}

	defining sync.Mutex // one Define at a time
	consoles consoleSet
	probed   probe
}

// probe is what the host can run: found out once a connection, when it is first asked for.
type probe struct {
	mutex sync.Mutex
	done  bool
	host  domxml.Host
}

func (session *session) lose() { session.lostOnce.Do(func() { close(session.lost) }) }

func (session *session) isLost() bool {
	select {
	case <-session.lost:
		return true
	default:
		return false
	}
}

// ---- the event loop ----

var eventLoop = sync.OnceValue(func() error {
	if err := libvirt.EventRegisterDefaultImpl(); err != nil {
		return fmt.Errorf("%w: %w; install the package libvirt0", ErrNoLibrary, err)
	}
	go func() {
		for {
			// It returns after each event, and on errors that nobody could act upon; the pause keeps those from filling a CPU.
			if err := libvirt.EventRunDefaultImpl(); err != nil {
				time.Sleep(time.Second)
			}
		}
	}()
	return nil
})

// startEventLoop starts what delivers events and keepalives, once in a process: libvirt allows one loop only, and none that ends.
func startEventLoop() error { return eventLoop() }

// ---- the keeper ----

// keepConnected connects, and connects again, until Close.
func (host *Hypervisor) keepConnected(connected func()) {
	defer close(host.keeper)
	log := host.options.Logger.With("uri", host.options.URI)
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 5*time.Second
	complained := false
	for host.ending.Err() == nil {
		opened, err := host.connect()
		if err != nil {
			if host.ending.Err() == nil && !complained {
				log.Warn("libvirt does not answer; trying until it does", "error", plain(err))
				complained = true // once an outage
			}
		} else {
			log.Info("connected to libvirt")
			wait.Reset()
			complained = false
			watcher := host.present(opened)
			connected()
			select {
			case <-opened.lost:
				log.Warn("lost the connection to libvirt; guests run on")
			case <-host.ending.Done():
			}
			host.dismiss(opened)
			<-watcher
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-host.ending.Done():
		}
	}
}

// connect returns a connection whose loss will be noticed and whose events arrive. libvirt's connecting knows no deadline; when Close comes
// first, the late connection is closed by whoever made it.
func (host *Hypervisor) connect() (*session, error) {
	type outcome struct {
		session *session
		err     error
	}
	outcomes := make(chan outcome)
	go func() {
		opened, err := dial(host.options.URI)
		select {
		case outcomes <- outcome{opened, err}:
		case <-host.ending.Done():
			if err == nil {
				opened.close()
			}
		}
	}()
	select {
	case result := <-outcomes:
		return result.session, result.err
	case <-host.ending.Done():
		return nil, errors.New("closed while connecting")
	}
}

func dial(uri string) (*session, error) {
	connection, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, err
	}
	opened := &session{
		connection: connection,
		lifecycle:  -1,
		changed:    make(chan change, 1024),
		lost:       make(chan struct{}),
	}
	if err := connection.RegisterCloseCallback(func(*libvirt.Connect, libvirt.ConnectCloseReason) { opened.lose() }); err != nil {
		opened.close()
		return nil, err
	}
	if err := connection.SetKeepAlive(keepaliveInterval, keepaliveCount); err != nil {
		opened.close()
		return nil, err
	}
	opened.lifecycle, err = connection.DomainEventLifecycleRegister(nil, opened.noteEvent)
	if err != nil {
		opened.lifecycle = -1
		opened.close()
		return nil, err
	}
	return opened, nil
}

// present makes the session the one that calls use, and starts to pass on its events. The channel is closed when that has ended.
func (host *Hypervisor) present(opened *session) <-chan struct{} {
	host.mutex.Lock()
	host.session = opened
	host.mutex.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		host.passOnEvents(opened)
	}()
	return ended
}

// dismiss takes the session away from new calls, waits for those under way (they fail soon on a lost connection) and closes it.
func (host *Hypervisor) dismiss(old *session) {
	host.mutex.Lock()
	host.session = nil
	host.mutex.Unlock()
	old.lose()
	old.consoles.closeAll()
	old.users.Wait()
	old.close()
}

// close gives everything back to libvirt. Its errors say only that a lost connection is lost.
func (session *session) close() {
	if session.lifecycle >= 0 {
		_ = session.connection.DomainEventDeregister(session.lifecycle)
	}
	_ = session.connection.UnregisterCloseCallback()
	_, _ = session.connection.Close()
}
