//go:build libvirt_dlopen

package libvirt

import (
	"context"

	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// Events delivers lifecycle events of this cluster's machines, and one for each of them after every (re)connection, since some may have been
// missed until then.
func (host *Hypervisor) Events(ctx context.Context) (<-chan hypervisor.Event, error) {
	if _, err := call(ctx, host, "events", func(*session) (struct{}, error) { return struct{}{}, nil }, nil); err != nil {
		return nil, err
	}
	return host.hub.Subscribe(ctx), nil
}

// change is what libvirt has told us of a machine.
type change struct {
	id   string
	gone bool // it is no longer defined
}

// noteEvent runs on libvirt's event loop, where no call to libvirt is allowed: it only takes the id down.
func (session *session) noteEvent(_ *libvirt.Connect, domain *libvirt.Domain, event *libvirt.DomainEventLifecycle) {
	id, err := domain.GetUUIDString() // local, no call to libvirtd
	if err != nil {
		return
	}
	select {
	case session.changed <- change{id: id, gone: event.Event == libvirt.DOMAIN_EVENT_UNDEFINED}:
	default: // events may be lost; blocking here would stop keepalives too
	}
}

// passOnEvents gives the events of our own machines to the subscribers, until the session is lost or the hypervisor closes.
func (host *Hypervisor) passOnEvents(session *session) {
	ours := map[string]bool{}
	if list, err := host.List(host.ending); err == nil {
		for _, each := range list {
			ours[each.ID] = true
			host.hub.Publish(hypervisor.Event{ID: each.ID})
		}
	}
	for {
		select {
		case told := <-session.changed:
			if !ours[told.id] {
				// A machine that is gone already is told of only when it was seen before; so nothing of another cluster leaks out.
				if _, err := host.Get(host.ending, told.id); err != nil {
					continue
				}
				ours[told.id] = true
			}
			if told.gone {
				delete(ours, told.id)
			}
			host.hub.Publish(hypervisor.Event{ID: told.id})
		case <-session.lost:
			return
		case <-host.ending.Done():
			return
		}
	}
}
