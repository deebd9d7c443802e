package ledger

import (
	"fmt"
	"maps"
	"slices"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Instance returns what is known of one, or false.
func (l *Ledger) Instance(id string) (Instance, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	record, ok := l.instances[id]
	if !ok {
		return Instance{}, false
	}
	return *record, true
}

// Instances returns all of them, sorted by id.
func (l *Ledger) Instances() []Instance {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	list := make([]Instance, 0, len(l.instances))
	for _, id := range slices.Sorted(maps.Keys(l.instances)) {
		list = append(list, *l.instances[id])
	}
	return list
}

// Mark writes the journal of an Instance, and what is seen of it if that is news, in one step. Seq and Since of what is seen are set here; an
// observation that says nothing new makes no report. ErrGone when the Instance was forgotten meanwhile.
func (l *Ledger) Mark(id string, journal Journal, seen *v1.InstanceObserved) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	before, ok := l.instances[id]
	if !ok {
		return fmt.Errorf("%w: instance %s", ErrGone, id)
	}
	after := *before
	after.Journal = journal
	after.Report = nextReport(before, seen)
	if after.Journal == before.Journal && after.Report == before.Report {
		return nil
	}
	if err := l.store.write([]change{put(bucketInstances, id, after)}); err != nil {
		return err
	}
	l.instances[id] = &after
	if after.Report.Seq > after.Acked {
		l.signal()
	}
	return nil
}

func nextReport(record *Instance, seen *v1.InstanceObserved) v1.InstanceObserved {
	last := record.Report
	if seen == nil {
		return last
	}
	if last.Seq == 0 {
		last.State = v1.InstancePending // as the controller made it
	}
	if seen.State == last.State && seen.Reason == last.Reason && seen.Message == last.Message {
		return record.Report
	}
	next := *seen
	next.Seq = max(last.Seq, record.Assignment.Reported) + 1
	next.Since = last.Since
	if next.State != last.State || next.Since.IsZero() {
		next.Since = now()
	}
	return next
}

// Settled: it is Stopped and the controllers know, because they wanted it or have our report. Only then may it be forgotten: else they could
// give it to us again, and it would live twice.
func (r *Instance) Settled() bool {
	known := r.Assignment.Desired.State == v1.DesiredStopped || r.Assignment.Over || r.Report.State == v1.InstanceStopped && r.Report.Seq <= r.Acked
	return r.Journal.Phase == PhaseStopped && known
}

// Forget removes an Instance that is Stopped, which the controllers know, and that the set does not name any more. Others stay.
func (l *Ledger) Forget(id string) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	record, ok := l.instances[id]
	if !ok || !record.Absent || !record.Settled() {
		return nil
	}
	if err := l.store.write([]change{remove(bucketInstances, id)}); err != nil {
		return err
	}
	delete(l.instances, id)
	return nil
}
