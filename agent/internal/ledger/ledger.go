// Package ledger is the agent's memory: what the controllers want (the last complete set, verbatim), how far each Instance is (its journal,
// written before every side effect), and what has been seen and not yet been taken by the controllers (the outbox). It lives in one bbolt
// file, and every change is on the disk before the call returns.
//
// The ledger decides which sets are believed (Accept) and when an Instance may be forgotten. It starts nothing and sends nothing.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Errors of Accept and Registered (wrapped with what was seen). In each case the ledger is unchanged.
var (
	// ErrForeign: it comes from another cluster, or is for another host.
	ErrForeign = errors.New("this is not from our cluster or not for this host")
	// ErrStale: it is older than what is known; an old leader, a follower that lags, or a late answer.
	ErrStale = errors.New("older than what is known")
	// ErrContradiction: the same generation was accepted with another content.
	ErrContradiction = errors.New("contradicts the set that was accepted for the same generation")
	// ErrCorrupt: the set's digest is not that of its content, or the content makes no sense.
	ErrCorrupt = errors.New("damaged set")
	// ErrUnregistered: the set is for a registration that this agent did not make or did not hear of; it has to register again.
	ErrUnregistered = errors.New("the set is of another registration of this host")
)

// ErrGone: the ledger has no (more) such object; the caller has nothing left to do for it.
var ErrGone = errors.New("not in the ledger")

// Phase is how far the agent is with an Instance. It only moves forward. Each is written before the side effects that it announces.
type Phase string

const (
	PhaseNone     Phase = ""         // nothing has been done
	PhaseDefining Phase = "Defining" // its files and its machine may exist; it was never started
	PhaseStarting Phase = "Starting" // it may have been started
	PhaseStarted  Phase = "Started"  // it was seen running
	PhaseStopping Phase = "Stopping" // it was asked to stop, or killed, because the controller wants it
	PhaseRemoving Phase = "Removing" // it is over, for the reason recorded; its machine and files are being removed
	PhaseStopped  Phase = "Stopped"  // nothing of it is left
)

// Journal is what was about to be done last.
type Journal struct {
	Phase   Phase         `json:"phase"`
	BootID  string        `json:"bootId,omitempty"`  // the host's boot in which it was started
	Reason  v1.StopReason `json:"reason,omitempty"`  // from PhaseRemoving on
	Message string        `json:"message,omitempty"` // from PhaseRemoving on
}

// Instance is all that the ledger knows of one.
type Instance struct {
	// Assignment is what the controllers said last. Spec and Desired never move backwards.
	Assignment hostv1.Assignment `json:"assignment"`
	// Absent is true while the set does not name it although it was not Stopped: it runs on.
	Absent  bool                `json:"absent,omitempty"`
	Journal Journal             `json:"journal"`
	Report  v1.InstanceObserved `json:"report"` // the newest; Seq 0: none yet
	Acked   uint64              `json:"acked"`  // the controllers have all reports up to this number
}

// task is one pending task of the set with the agent's newest word on it.
type task struct {
	spec   v1.TaskSpec
	Status v1.TaskStatus `json:"status"`
	Acked  uint64        `json:"acked"`
}

func (t *task) finished() bool {
	return t.Status.State == v1.TaskDone || t.Status.State == v1.TaskFailed
}

// state is the small part that is kept under one key.
type state struct {
	Schema      int                 `json:"schema"`
	Cluster     string              `json:"cluster"`
	Host        string              `json:"host"`
	Epoch       uint64              `json:"epoch"`       // of the last registration
	SetEpoch    uint64              `json:"setEpoch"`    // of the last accepted set
	Generation  uint64              `json:"generation"`  // of the last accepted set
	Digest      string              `json:"digest"`      // of the last accepted set
	Controllers []hostv1.Controller `json:"controllers"` // as of the last registration
}

const schema = 1

// Ledger is safe for concurrent use. Make it with Open or OpenMemory.
type Ledger struct {
	mutex     sync.Mutex
	store     store
	state     state
	set       []byte // the last accepted set, as it was received
	instances map[string]*Instance
	tasks     map[string]*task
	logs      map[string][]string // VM -> its instances with serial logs, oldest first
	unsent    chan struct{}
}

// Open opens the ledger in this file, or begins it for this host of this cluster. ErrForeign when the file belongs to another.
// Only one process can have it open.
func Open(path, cluster, host string) (*Ledger, error) {
	opened, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	ledger, err := load(opened, cluster, host)
	if err != nil {
		_ = opened.close()
		return nil, fmt.Errorf("ledger %s: %w", path, err)
	}
	return ledger, nil
}

// OpenMemory returns an empty ledger that forgets everything with the process: for simulated hosts.
func OpenMemory(cluster, host string) *Ledger {
	ledger, _ := load(memoryStore{}, cluster, host) // an empty store has nothing that could fail
	return ledger
}

func load(from store, cluster, host string) (*Ledger, error) {
	ledger := &Ledger{
		store:     from,
		instances: map[string]*Instance{},
		tasks:     map[string]*task{},
		logs:      map[string][]string{},
		unsent:    make(chan struct{}, 1),
	}
	if err := from.load(ledger.restore); err != nil {
		return nil, fmt.Errorf("cannot be read: %w. Move the file away only if no virtual machine of this host matters", err)
	}
	if ledger.state.Schema == 0 { // a new file: from now on it is this host's
		ledger.state = state{Schema: schema, Cluster: cluster, Host: host}
		if err := from.write([]change{put(bucketState, keyState, ledger.state)}); err != nil {
			return nil, err
		}
	}
	if ledger.state.Schema != schema {
		return nil, fmt.Errorf("written with schema %d, this agent knows %d: use the newer agent", ledger.state.Schema, schema)
	}
	if ledger.state.Cluster != cluster || ledger.state.Host != host {
		return nil, fmt.Errorf("%w: it belongs to host %s of cluster %s, this agent's certificate is of host %s of cluster %s",
			ErrForeign, ledger.state.Host, ledger.state.Cluster, host, cluster)
	}
	if ledger.set != nil {
		var set hostv1.Assignments
		if err := json.Unmarshal(ledger.set, &set); err != nil {
			return nil, fmt.Errorf("the stored set cannot be read: %w", err)
		}
		ledger.takeTasks(set.Tasks)
	}
	if ledger.anyUnsent() {
		ledger.signal()
	}
	return ledger, nil
}

// restore takes one stored pair.
func (l *Ledger) restore(bucket, key string, value []byte) error {
	switch bucket {
	case bucketState:
		if key == keySet {
			l.set = slices.Clone(value)
			return nil
		}
		return json.Unmarshal(value, &l.state)
	case bucketInstances:
		record := &Instance{}
		l.instances[key] = record
		return json.Unmarshal(value, record)
	case bucketTasks:
		found := &task{}
		l.tasks[key] = found
		return json.Unmarshal(value, found)
	case bucketLogs:
		var ids []string
		err := json.Unmarshal(value, &ids)
		l.logs[key] = ids
		return err
	}
	return fmt.Errorf("unknown part %q", bucket)
}

// Close lets go of the file.
func (l *Ledger) Close() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.store.close()
}

// Position is where the agent stands, for polls and heartbeats.
type Position struct {
	Cluster, Host     string
	Epoch, Generation uint64
	Digest            string
}

// Position returns the registration and the set that hold now.
func (l *Ledger) Position() Position {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return Position{Cluster: l.state.Cluster, Host: l.state.Host, Epoch: l.state.Epoch, Generation: l.state.Generation, Digest: l.state.Digest}
}

// Controllers returns those that the last registration named.
func (l *Ledger) Controllers() []hostv1.Controller {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.state.Controllers)
}

// Registered records a registration. ErrForeign for another cluster's answer, ErrStale for that of a registration before the last.
func (l *Ledger) Registered(response hostv1.RegisterResponse) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if response.Cluster != l.state.Cluster {
		return fmt.Errorf("%w: the controller is of cluster %q, this host of %q", ErrForeign, response.Cluster, l.state.Cluster)
	}
	if response.Epoch < l.state.Epoch {
		return fmt.Errorf("%w: the registration has epoch %d, the last one had %d", ErrStale, response.Epoch, l.state.Epoch)
	}
	next := l.state
	next.Epoch = response.Epoch
	if len(response.Controllers) > 0 {
		next.Controllers = slices.Clone(response.Controllers)
	}
	if err := l.store.write([]change{put(bucketState, keyState, next)}); err != nil {
		return err
	}
	l.state = next
	return nil
}

// Set returns the last accepted set as it was received; nil when there was none.
func (l *Ledger) Set() []byte {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.set)
}

// Logs returns the instances of a VM that may have serial logs, oldest first.
func (l *Ledger) Logs(vm string) []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.logs[vm])
}

// SetLogs records them; none forgets the VM.
func (l *Ledger) SetLogs(vm string, instances []string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if slices.Equal(l.logs[vm], instances) {
		return nil
	}
	var entry change
	if len(instances) == 0 {
		entry = remove(bucketLogs, vm)
	} else {
		entry = put(bucketLogs, vm, instances)
	}
	if err := l.store.write([]change{entry}); err != nil {
		return err
	}
	l.logs[vm] = slices.Clone(instances)
	if len(instances) == 0 {
		delete(l.logs, vm)
	}
	return nil
}

// now is by the host's clock, cut so that it survives JSON unchanged.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
