package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// HostMonitor notices hosts that fall silent and hosts that are heard again. What it has heard lives in the leader's memory only; a new leader gives every host its full grace.
type HostMonitor struct {
	Loop
	SilentAfter time.Duration

	mu    sync.Mutex
	heard map[string]time.Time
	news  chan struct{}
}

// NewHostMonitor makes a monitor.
func NewHostMonitor(loop Loop, silentAfter time.Duration) *HostMonitor {
	return &HostMonitor{Loop: loop, SilentAfter: silentAfter, heard: map[string]time.Time{}, news: make(chan struct{}, 1)}
}

// Beat takes a sign of life of a host.
func (m *HostMonitor) Beat(host string, _ hostv1.Heartbeat) {
	m.mu.Lock()
	m.heard[host] = time.Now()
	m.mu.Unlock()
	if known := m.Store.Snapshot().Host(host); known != nil && known.Status.Phase == v1.HostSilent {
		select {
		case m.news <- struct{}{}:
		default:
		}
	}
}

// Run watches until ctx ends. Each term begins with full grace for all.
func (m *HostMonitor) Run(ctx context.Context) error {
	m.mu.Lock()
	clear(m.heard)
	m.mu.Unlock()
	begun := time.Now()
	return every(ctx, max(m.SilentAfter/10, 50*time.Millisecond), m.news, func() error {
		now := time.Now()
		txn := HostPhases(m.Store.Snapshot(), now, m.SilentAfter, func(host string) time.Duration {
			m.mu.Lock()
			defer m.mu.Unlock()
			last, ok := m.heard[host]
			if !ok || last.Before(begun) {
				last = begun
			}
			return now.Sub(last)
		}, func(host string) bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.heard[host].After(begun)
		})
		return m.write(ctx, "hostmonitor", txn)
	})
}

// HostPhases says which hosts change their phase: silent ones that were heard, and ready ones that were not heard for too long.
func HostPhases(s *state.Snapshot, now time.Time, silentAfter time.Duration, silence func(string) time.Duration, heard func(string) bool) *state.Txn {
	txn := state.NewTxn(now, "hostmonitor")
	for _, host := range s.Hosts() {
		quiet := silence(host.ID)
		phase, note := host.Status.Phase, ""
		switch {
		case phase == v1.HostReady && quiet > silentAfter:
			phase, note = v1.HostSilent, "not heard for "+quiet.Round(time.Second).String()
		case phase == v1.HostSilent && heard(host.ID) && quiet <= silentAfter:
			phase, note = v1.HostReady, "heard again"
		}
		if phase != host.Status.Phase {
			changed := host.Clone()
			changed.Status.Phase, changed.Status.Since = phase, txn.Time
			txn.Update(changed, note)
		}
	}
	return txn
}
