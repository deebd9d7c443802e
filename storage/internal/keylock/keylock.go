// Package keylock gives one lock a key, whose wait ends with a context. Drivers use it to put calls on the same id in a row.
package keylock

import (
	"context"
	"sync"
)

// Locks is a set of locks by key. The zero value is ready; it must not be copied.
type Locks struct {
	mutex sync.Mutex
	held  map[string]*entry
}

type entry struct {
	slot  chan struct{} // holds one token while locked
	users int           // holder and waiters; the entry is forgotten at 0
}

// Lock waits for key and returns its release, or ctx's error.
func (l *Locks) Lock(ctx context.Context, key string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mutex.Lock()
	if l.held == nil {
		l.held = map[string]*entry{}
	}
	lock := l.held[key]
	if lock == nil {
		lock = &entry{slot: make(chan struct{}, 1)}
		l.held[key] = lock
	}
	lock.users++
	l.mutex.Unlock()

	select {
	case lock.slot <- struct{}{}:
		return func() { <-lock.slot; l.leave(key, lock) }, nil
	case <-ctx.Done():
		l.leave(key, lock)
		return nil, ctx.Err()
	}
}

func (l *Locks) leave(key string, lock *entry) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.held, key)
	}
}
