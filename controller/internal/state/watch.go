package state

import (
	"context"
	"sync"
)

// Wait returns once the entry with the index has been applied here, or ctx ends.
func (s *Store) Wait(ctx context.Context, index uint64) error {
	for {
		snapshot := s.Snapshot()
		changed := snapshot.WatchApplied()
		if snapshot.Index() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-snapshot.Abandoned():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Subscription gathers what changed since it was last read. It holds names only, each once, so that a slow reader costs no more than the number of objects.
type Subscription struct {
	store   *Store
	mu      sync.Mutex
	touched map[string]struct{}
	all     bool
	signal  chan struct{}
	names   func(Change) []string
}

// Subscribe begins to gather the names that names gives for each change. Close it when done.
func (s *Store) Subscribe(names func(Change) []string) *Subscription {
	subscription := &Subscription{store: s, touched: map[string]struct{}{}, all: true, signal: make(chan struct{}, 1), names: names}
	subscription.signal <- struct{}{}
	s.subscribersMu.Lock()
	s.subscribers[subscription] = struct{}{}
	s.subscribersMu.Unlock()
	return subscription
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.store.subscribersMu.Lock()
	delete(s.store.subscribers, s)
	s.store.subscribersMu.Unlock()
}

// Signal has a value whenever there is something to Take.
func (s *Subscription) Signal() <-chan struct{} { return s.signal }

// Take returns the gathered names and forgets them. all means that anything may have changed (at the beginning, and after a restore).
func (s *Subscription) Take() (names []string, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.touched { // order does not matter: the reader looks at each
		names = append(names, name)
	}
	all = s.all
	clear(s.touched)
	s.all = false
	return names, all
}

func (s *Subscription) add(changes []Change, all bool) {
	s.mu.Lock()
	s.all = s.all || all
	added := all
	for _, change := range changes {
		for _, name := range s.names(change) {
			s.touched[name] = struct{}{}
			added = true
		}
	}
	s.mu.Unlock()
	if added {
		select {
		case s.signal <- struct{}{}:
		default: // there is a signal already
		}
	}
}

func (s *Store) publish(changes []Change) { s.broadcast(changes, false) }

func (s *Store) broadcast(changes []Change, all bool) {
	s.subscribersMu.Lock()
	defer s.subscribersMu.Unlock()
	for subscriber := range s.subscribers {
		subscriber.add(changes, all)
	}
}
