// Package broadcast gives each event to every subscriber, and never waits for one. Both hypervisors use it.
package broadcast

import (
	"context"
	"sync"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// A subscriber that has this many events unread loses further ones. Losing is allowed (events only say "look"), memory without bound is not.
const backlog = 256

// Hub is ready to use; the zero value has no subscribers.
type Hub struct {
	mutex       sync.Mutex
	closed      bool
	subscribers map[*subscriber]struct{}
}

type subscriber struct {
	events chan hypervisor.Event
	stop   func() bool
}

// Subscribe delivers what is published from now on, until ctx ends or the hub closes; then the channel is closed.
func (hub *Hub) Subscribe(ctx context.Context) <-chan hypervisor.Event {
	hub.mutex.Lock()
	defer hub.mutex.Unlock()
	added := &subscriber{events: make(chan hypervisor.Event, backlog)}
	if hub.closed || ctx.Err() != nil {
		close(added.events)
		return added.events
	}
	if hub.subscribers == nil {
		hub.subscribers = map[*subscriber]struct{}{}
	}
	hub.subscribers[added] = struct{}{}
	added.stop = context.AfterFunc(ctx, func() {
		hub.mutex.Lock()
		defer hub.mutex.Unlock()
		hub.drop(added)
	})
	return added.events
}

// Publish gives the event to every subscriber that has room for it.
func (hub *Hub) Publish(event hypervisor.Event) {
	hub.mutex.Lock()
	defer hub.mutex.Unlock()
	for each := range hub.subscribers {
		select {
		case each.events <- event:
		default:
		}
	}
}

// Close ends every subscription, and those that come later.
func (hub *Hub) Close() {
	hub.mutex.Lock()
	defer hub.mutex.Unlock()
	hub.closed = true
	for each := range hub.subscribers {
		each.stop()
		hub.drop(each)
	}
}

func (hub *Hub) drop(gone *subscriber) {
	if _, found := hub.subscribers[gone]; found {
		delete(hub.subscribers, gone)
		close(gone.events)
	}
}
