package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Accepted says what a set changed.
type Accepted struct {
	Changed   []string // instances whose assignment is new or different, or that are absent now: look at them
	Kept      []string // instances that the set leaves out though they were never Stopped: they run on, and somebody should ask why
	Forgotten []string // instances that the set leaves out and that are over
	Tasks     bool     // the pending tasks changed
}

// Accept takes the complete set in body, if it is to be believed, and returns when it is on the disk. The same set again changes nothing.
// Errors: ErrForeign, ErrCorrupt, ErrStale, ErrContradiction, ErrUnregistered.
func (l *Ledger) Accept(body []byte) (Accepted, error) {
	var set hostv1.Assignments
	if err := json.Unmarshal(body, &set); err != nil {
		return Accepted{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if again, err := l.believable(&set); again || err != nil {
		return Accepted{}, err
	}

	next := l.state
	next.SetEpoch, next.Generation, next.Digest = set.Epoch, set.Generation, set.Digest
	changes := []change{put(bucketState, keyState, next), {bucketState, keySet, body}}
	var outcome Accepted
	instances := maps.Clone(l.instances)
	named := map[string]bool{}
	for _, assignment := range set.Instances {
		named[assignment.ID] = true
		before := l.instances[assignment.ID]
		after := merge(before, assignment)
		if before == nil || before.Absent || !reflect.DeepEqual(before.Assignment, after.Assignment) {
			outcome.Changed = append(outcome.Changed, assignment.ID)
		}
		if before == nil || !reflect.DeepEqual(*before, *after) {
			instances[assignment.ID] = after
			changes = append(changes, put(bucketInstances, assignment.ID, after))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.instances)) {
		record := l.instances[id]
		switch {
		case named[id]:
		case record.Journal.Phase == PhaseNone || record.Settled():
			outcome.Forgotten = append(outcome.Forgotten, id)
			delete(instances, id)
			changes = append(changes, remove(bucketInstances, id))
		default:
			if record.Assignment.Desired.State != v1.DesiredStopped && !record.Assignment.Over {
				outcome.Kept = append(outcome.Kept, id)
			}
			if !record.Absent {
				absent := *record
				absent.Absent = true
				instances[id] = &absent
				outcome.Changed = append(outcome.Changed, id)
				changes = append(changes, put(bucketInstances, id, absent))
			}
		}
	}
	for id := range l.tasks {
		if !slices.ContainsFunc(set.Tasks, func(t hostv1.Task) bool { return t.ID == id }) {
			changes = append(changes, remove(bucketTasks, id))
			outcome.Tasks = true
		}
	}
	if err := l.store.write(changes); err != nil {
		return Accepted{}, err
	}
	l.state, l.set, l.instances = next, slices.Clone(body), instances
	outcome.Tasks = l.takeTasks(set.Tasks) || outcome.Tasks
	if l.anyUnsent() {
		l.signal()
	}
	return outcome, nil
}

// believable says whether the set is the one that is known already, or why it is refused.
func (l *Ledger) believable(set *hostv1.Assignments) (again bool, err error) {
	switch {
	case set.Cluster != l.state.Cluster:
		return false, fmt.Errorf("%w: the set is of cluster %q, this host of %q", ErrForeign, set.Cluster, l.state.Cluster)
	case set.Host != l.state.Host:
		return false, fmt.Errorf("%w: the set is for host %q, this is %q", ErrForeign, set.Host, l.state.Host)
	case set.ComputeDigest() != set.Digest:
		return false, fmt.Errorf("%w: its digest is not that of its content", ErrCorrupt)
	case set.Epoch < l.state.Epoch:
		return false, fmt.Errorf("%w: the set has epoch %d, the registration %d", ErrStale, set.Epoch, l.state.Epoch)
	case set.Epoch > l.state.Epoch:
		return false, fmt.Errorf("%w: the set has epoch %d, the registration %d", ErrUnregistered, set.Epoch, l.state.Epoch)
	case set.Generation < l.state.Generation:
		return false, fmt.Errorf("%w: the set has generation %d, known is %d", ErrStale, set.Generation, l.state.Generation)
	case set.Generation == l.state.Generation && set.Epoch == l.state.SetEpoch && l.set != nil:
		if set.Digest != l.state.Digest {
			return false, fmt.Errorf("%w: generation %d", ErrContradiction, set.Generation)
		}
		return true, nil
	}
	// Ids become names of files and machines: nothing else than ids goes in.
	seen := map[string]bool{}
	for _, instance := range set.Instances {
		if !v1.IsID(instance.ID) || !v1.IsID(instance.Spec.VM) || seen[instance.ID] {
			return false, fmt.Errorf("%w: an instance's id %.80q or its VM's %.80q is no id, or is there twice", ErrCorrupt, instance.ID, instance.Spec.VM)
		}
		seen[instance.ID] = true
	}
	for _, task := range set.Tasks {
		if !v1.IsID(task.ID) || seen[task.ID] {
			return false, fmt.Errorf("%w: the task id %.80q is no id, or is there twice", ErrCorrupt, task.ID)
		}
		seen[task.ID] = true
	}
	return false, nil
}

// merge is what is known of an Instance after a set has named it.
func merge(before *Instance, said hostv1.Assignment) *Instance {
	if before == nil {
		return &Instance{Assignment: said}
	}
	after := *before
	after.Absent = false
	after.Assignment = forward(before.Assignment, said)
	switch {
	case said.Reported > after.Report.Seq && after.Report.Seq > 0:
		// The ledger is older than the controllers' knowledge (an old disk came back): what we know now must count as newer.
		after.Report.Seq, after.Acked = said.Reported+1, said.Reported
	case said.Reported < after.Acked:
		after.Acked = said.Reported // the controllers do not have it (any more): send it again
	}
	return &after
}

// forward keeps what can only move forward from moving back: the specification is frozen, Stopped and Over are final.
func forward(before, said hostv1.Assignment) hostv1.Assignment {
	said.Spec = before.Spec
	if rank(said.Desired.State) < rank(before.Desired.State) {
		said.Desired.State = before.Desired.State
	}
	said.Desired.Force = said.Desired.Force || before.Desired.Force
	said.Over = said.Over || before.Over
	return said
}

func rank(state v1.DesiredState) int {
	switch state {
	case v1.DesiredRunning:
		return 1
	case v1.DesiredStopped:
		return 2
	}
	return 0
}

// takeTasks makes the pending tasks those of the set, and keeps what was reported of them. It says whether any is new.
func (l *Ledger) takeTasks(tasks []hostv1.Task) (added bool) {
	next := make(map[string]*task, len(tasks))
	for _, each := range tasks {
		found := l.tasks[each.ID]
		if found == nil {
			found, added = &task{Status: v1.TaskStatus{State: v1.TaskPending}}, true
		}
		found.spec = each.Spec
		if found.finished() {
			found.Acked = 0 // still pending there: it has not arrived, or not yet; once more does no harm
		}
		next[each.ID] = found
	}
	l.tasks = next
	return added
}
