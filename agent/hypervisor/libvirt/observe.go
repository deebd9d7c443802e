//go:build libvirt_dlopen

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/domxml"
)

func isNotFound(err error) bool { return errors.Is(err, hypervisor.ErrNotFound) }

// List looks at every domain of the host and returns those of this cluster.
func (host *Hypervisor) List(ctx context.Context) ([]hypervisor.Observation, error) {
	return call(ctx, host, "list", func(session *session) ([]hypervisor.Observation, error) {
		domains, err := session.connection.ListAllDomains(0)
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range domains {
				_ = domains[i].Free()
			}
		}()
		var list []hypervisor.Observation
		for i := range domains {
			seen, err := host.observe(&domains[i])
			if isNotFound(err) || errors.Is(err, libvirt.ERR_NO_DOMAIN) {
				continue // somebody else's, or gone since it was listed
			}
			if err != nil {
				return nil, err
			}
			list = append(list, seen)
		}
		slices.SortFunc(list, func(a, b hypervisor.Observation) int { return cmp.Compare(a.ID, b.ID) })
		return list, nil
	}, nil)
}

// Get looks at one domain.
func (host *Hypervisor) Get(ctx context.Context, id string) (hypervisor.Observation, error) {
	return onDomain(ctx, host, "get "+id, id, host.observe)
}

// onDomain runs work with this cluster's domain of that id, or returns ErrNotFound.
func onDomain[T any](ctx context.Context, host *Hypervisor, what, id string, work func(*libvirt.Domain) (T, error)) (T, error) {
	return call(ctx, host, what, func(session *session) (T, error) {
		var nothing T
		domain, err := host.find(session, id)
		if err != nil {
			return nothing, err
		}
		defer func() { _ = domain.Free() }()
		return work(domain)
	}, nil)
}

// change is onDomain without a result.
func (host *Hypervisor) change(ctx context.Context, what, id string, work func(*libvirt.Domain) error) error {
	_, err := onDomain(ctx, host, what+" "+id, id, func(domain *libvirt.Domain) (struct{}, error) { return struct{}{}, work(domain) })
	return err
}

// find returns this cluster's domain of that id, to be freed by the caller, or ErrNotFound.
func (host *Hypervisor) find(session *session, id string) (*libvirt.Domain, error) {
	if !hypervisor.ValidID(id) {
		return nil, fmt.Errorf("%w: %.64q is not an id", hypervisor.ErrNotFound, id)
	}
	domain, err := session.connection.LookupDomainByUUIDString(id)
	if err != nil {
		return nil, err
	}
	if err := host.requireOurs(domain); err != nil {
		_ = domain.Free()
		return nil, err
	}
	return domain, nil
}

// requireOurs returns ErrNotFound for a domain of somebody else: another cluster, or made by hand.
func (host *Hypervisor) requireOurs(domain *libvirt.Domain) error {
	element, err := domain.GetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, domxml.Namespace, libvirt.DOMAIN_AFFECT_CURRENT)
	if err != nil && !errors.Is(err, libvirt.ERR_NO_DOMAIN_METADATA) {
		return err
	}
	if err == nil {
		owner, err := domxml.ParseOwner(element)
		if err == nil && owner.Cluster == host.options.Cluster {
			return nil
		}
	}
	return fmt.Errorf("%w: the libvirt domain of this id is not this cluster's", hypervisor.ErrNotFound)
}

func (host *Hypervisor) observe(domain *libvirt.Domain) (hypervisor.Observation, error) {
	if err := host.requireOurs(domain); err != nil {
		return hypervisor.Observation{}, err
	}
	id, err := domain.GetUUIDString()
	if err != nil {
		return hypervisor.Observation{}, err
	}
	state, detail, err := domain.GetState()
	if err != nil {
		return hypervisor.Observation{}, err
	}
	seen := hypervisor.Observation{ID: id, State: stateOf(state, detail)}
	if seen.State != hypervisor.StateDefined {
		name, err := domain.GetName()
		if err != nil {
			return hypervisor.Observation{}, err
		}
		seen.PID, seen.Since = host.process(name)
		if seen.State == hypervisor.StatePaused {
			seen.Since = time.Time{} // the process has run before that
		}
		return seen, nil
	}
	seen.Reason = reasonOf(state, detail)
	if seen.Reason == hypervisor.ReasonUnknown && !wasStarted(domain) {
		seen.Reason = hypervisor.ReasonNone
	}
	return seen, nil
}

// process returns the guest's qemu process and when it began. libvirt's API says neither, its pid file both.
func (host *Hypervisor) process(name string) (int, time.Time) {
	path := filepath.Join(host.options.RunDirectory, name+".pid")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, time.Time{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, time.Time{}
	}
	info, err := os.Stat(path)
	if err != nil {
		return pid, time.Time{}
	}
	return pid, info.ModTime()
}

// stateOf maps what libvirt says. Passing states count as what they pass from, so that nobody acts on them.
func stateOf(state libvirt.DomainState, detail int) hypervisor.State {
	switch state {
	case libvirt.DOMAIN_RUNNING, libvirt.DOMAIN_BLOCKED, libvirt.DOMAIN_SHUTDOWN:
		return hypervisor.StateRunning
	case libvirt.DOMAIN_PMSUSPENDED:
		return hypervisor.StatePaused
	case libvirt.DOMAIN_PAUSED:
		switch libvirt.DomainPausedReason(detail) {
		case libvirt.DOMAIN_PAUSED_STARTING_UP:
			return hypervisor.StateDefined
		case libvirt.DOMAIN_PAUSED_SHUTTING_DOWN, libvirt.DOMAIN_PAUSED_CRASHED:
			return hypervisor.StateRunning
		}
		return hypervisor.StatePaused
	}
	return hypervisor.StateDefined
}

// reasonOf maps the reason of a domain that is not running. ReasonUnknown may also mean that it never ran: see wasStarted.
func reasonOf(state libvirt.DomainState, detail int) hypervisor.StopReason {
	if state == libvirt.DOMAIN_CRASHED {
		return hypervisor.ReasonCrashed
	}
	if state != libvirt.DOMAIN_SHUTOFF {
		return hypervisor.ReasonNone // it is starting
	}
	switch libvirt.DomainShutoffReason(detail) {
	case libvirt.DOMAIN_SHUTOFF_SHUTDOWN:
		return hypervisor.ReasonShutdown
	case libvirt.DOMAIN_SHUTOFF_DESTROYED:
		return hypervisor.ReasonKilled
	case libvirt.DOMAIN_SHUTOFF_CRASHED, libvirt.DOMAIN_SHUTOFF_FAILED:
		return hypervisor.ReasonCrashed
	}
	return hypervisor.ReasonUnknown
}

func wasStarted(domain *libvirt.Domain) bool {
	_, err := domain.GetMetadata(libvirt.DOMAIN_METADATA_ELEMENT, domxml.StartedNamespace, libvirt.DOMAIN_AFFECT_CONFIG)
	return err == nil
}
