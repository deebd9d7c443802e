//go:build libvirt_dlopen

package libvirt

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/lossypipe"
)

const (
	// A console that is not read keeps this many bytes; older ones are lost.
	consoleBacklog = 256 << 10
	// Typing further ahead than this waits for the guest.
	typeAhead = 64 << 10
	// Close waits this long for libvirtd's answer, which changes nothing for the caller.
	closeWait = 2 * time.Second

	whenReadable = libvirt.STREAM_EVENT_READABLE | libvirt.STREAM_EVENT_HANGUP | libvirt.STREAM_EVENT_ERROR
)

// console is one attachment to a guest's serial port, over a stream that never blocks: libvirt's event loop calls onEvent.
type console struct {
	set   *consoleSet
	input *lossypipe.Pipe // from the guest

	mutex  sync.Mutex // held while the stream is used; never while libvirt is waited for
	change *sync.Cond
	stream *libvirt.Stream
	typed  []byte // to the guest, not sent yet
	ended  bool   // the guest's side is gone
	closed bool
}

func (host *Hypervisor) Console(ctx context.Context, id string) (io.ReadWriteCloser, error) {
	opened, err := call(ctx, host, "console of "+id, func(session *session) (*console, error) {
		domain, err := host.find(session, id)
		if err != nil {
			return nil, err
		}
		defer func() { _ = domain.Free() }()
		if err := requireActive(domain); err != nil {
			return nil, err
		}
		return openConsole(session, domain)
	}, func(late *console) { _ = late.Close() })
	if err != nil {
		return nil, err // not opened: a nil *console in an interface is not nil
	}
	return opened, nil
}

func openConsole(session *session, domain *libvirt.Domain) (*console, error) {
	stream, err := session.connection.NewStream(libvirt.STREAM_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// FORCE takes the port from whoever has it: a forgotten terminal must not lock its owner out.
	if err := domain.OpenConsole("", stream, libvirt.DOMAIN_CONSOLE_FORCE); err != nil {
		_ = stream.Free()
		return nil, notRunning(domain, err)
	}
	opened := &console{set: &session.consoles, input: lossypipe.New(consoleBacklog), stream: stream}
	opened.change = sync.NewCond(&opened.mutex)
	if err := stream.EventAddCallback(whenReadable, opened.onEvent); err != nil {
		_ = stream.Abort()
		_ = stream.Free()
		return nil, err
	}
	if !session.consoles.add(opened) {
		_ = opened.Close()
		return nil, hypervisor.ErrUnavailable
	}
	return opened, nil
}

// onEvent runs on the event loop.
func (console *console) onEvent(_ *libvirt.Stream, events libvirt.StreamEventType) {
	console.mutex.Lock()
	defer console.mutex.Unlock()
	if console.closed || console.ended {
		return
	}
	if events&libvirt.STREAM_EVENT_READABLE != 0 {
		console.receive()
	}
	if events&libvirt.STREAM_EVENT_WRITABLE != 0 && !console.ended {
		console.send()
	}
	if events&(libvirt.STREAM_EVENT_HANGUP|libvirt.STREAM_EVENT_ERROR) != 0 && !console.ended {
		console.receive()
		console.finish()
	}
}

// receive takes what has arrived. It never leaves anything behind for a slow reader's sake: the guest's kernel would wait too.
func (console *console) receive() {
	buffer := make([]byte, 16<<10)
	for range 64 { // then other events get their turn
		count, err := console.stream.Recv(buffer)
		if err != nil {
			console.finish() // the guest ended, or somebody took the port
			return
		}
		if count < 0 { // nothing there now
			return
		}
		_, _ = console.input.Write(buffer[:count]) // never fails
	}
}

func (console *console) finish() {
	if console.ended {
		return
	}
	console.ended = true
	console.input.CloseWith(io.EOF)
	_ = console.stream.EventUpdateCallback(0)
	console.change.Broadcast()
}

// send gives libvirt as much as it takes now, and asks to be called when it takes more.
func (console *console) send() {
	for len(console.typed) > 0 {
		count, err := console.stream.Send(console.typed)
		if err != nil {
			console.finish()
			return
		}
		if count < 0 {
			break
		}
		console.typed = append(console.typed[:0], console.typed[count:]...)
	}
	events := libvirt.StreamEventType(whenReadable)
	if len(console.typed) > 0 {
		events |= libvirt.STREAM_EVENT_WRITABLE
	}
	_ = console.stream.EventUpdateCallback(events)
	console.change.Broadcast()
}

func (console *console) Read(into []byte) (int, error) { return console.input.Read(into) }

// Write types. It waits while the guest is far behind.
func (console *console) Write(data []byte) (int, error) {
	console.mutex.Lock()
	defer console.mutex.Unlock()
	written := 0
	for written < len(data) {
		for len(console.typed) >= typeAhead && !console.closed && !console.ended {
			console.change.Wait()
		}
		if console.closed || console.ended {
			return written, os.ErrClosed
		}
		count := min(len(data)-written, typeAhead-len(console.typed))
		console.typed = append(console.typed, data[written:written+count]...)
		written += count
		console.send()
	}
	return written, nil
}

// Close gives the port back. It can be called again, and while others read and write.
func (console *console) Close() error {
	console.mutex.Lock()
	if console.closed {
		console.mutex.Unlock()
		return nil
	}
	console.closed = true // from here on nobody else touches the stream
	console.change.Broadcast()
	console.mutex.Unlock()
	console.input.CloseWith(os.ErrClosed)
	console.set.remove(console)
	released := make(chan struct{})
	go func() {
		defer close(released)
		_ = console.stream.EventRemoveCallback()
		_ = console.stream.Abort() // its errors say that the other side is gone already
		_ = console.stream.Free()
	}()
	select {
	case <-released:
	case <-time.After(closeWait):
	}
	return nil
}

// consoleSet holds the consoles of one session: libvirt does not end them when the connection is lost.
type consoleSet struct {
	mutex  sync.Mutex
	closed bool
	open   map[*console]struct{}
}

func (set *consoleSet) add(opened *console) bool {
	set.mutex.Lock()
	defer set.mutex.Unlock()
	if set.closed {
		return false
	}
	if set.open == nil {
		set.open = map[*console]struct{}{}
	}
	set.open[opened] = struct{}{}
	return true
}

func (set *consoleSet) remove(gone *console) {
	set.mutex.Lock()
	defer set.mutex.Unlock()
	delete(set.open, gone)
}

// closeAll ends all consoles, and those that come later. Their readers see the end of the stream.
func (set *consoleSet) closeAll() {
	set.mutex.Lock()
	set.closed = true
	var consoles []*console
	for each := range set.open {
		consoles = append(consoles, each)
	}
	set.mutex.Unlock()
	var closing sync.WaitGroup
	for _, each := range consoles {
		each.input.CloseWith(io.EOF)
		closing.Go(func() { _ = each.Close() })
	}
	closing.Wait()
}
