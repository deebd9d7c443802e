package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Outbox signals that there may be something to send. It is one signal however much there is.
func (l *Ledger) Outbox() <-chan struct{} { return l.unsent }

func (l *Ledger) signal() {
	select {
	case l.unsent <- struct{}{}:
	default:
	}
}

func (l *Ledger) anyUnsent() bool {
	for _, record := range l.instances {
		if record.Report.Seq > record.Acked {
			return true
		}
	}
	for _, each := range l.tasks {
		if each.Status.Seq > each.Acked {
			return true
		}
	}
	return false
}

// Unsent returns the newest report of each object that the controllers do not have, sorted by id: at most count of them, and at most about
// size bytes, but always one if there is one.
func (l *Ledger) Unsent(count, size int) []hostv1.Report {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var list []hostv1.Report
	full := func(report hostv1.Report) bool {
		encoded, err := json.Marshal(report)
		if err != nil { // plain data always marshals
			panic(err)
		}
		size -= len(encoded) + 1
		if len(list) > 0 && size < 0 {
			return true
		}
		list = append(list, report)
		return len(list) >= count || size < 0
	}
	for _, id := range slices.Sorted(maps.Keys(l.instances)) {
		if record := l.instances[id]; record.Report.Seq > record.Acked {
			report := record.Report
			if full(hostv1.Report{ID: id, Instance: &report}) {
				return list
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.tasks)) {
		if found := l.tasks[id]; found.Status.Seq > found.Acked {
			status := found.Status
			if full(hostv1.Report{ID: id, Task: &status}) {
				return list
			}
		}
	}
	return list
}

// Sent records that these reports were taken, or will never be: they are not sent again. A newer report of the same object stays to be sent.
func (l *Ledger) Sent(reports []hostv1.Report) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var changes []change
	instances, tasks := map[string]*Instance{}, map[string]*task{}
	for _, report := range reports {
		if record := l.instances[report.ID]; record != nil && report.Instance != nil && record.Acked < report.Instance.Seq {
			after := *record
			after.Acked = report.Instance.Seq
			instances[report.ID] = &after
			changes = append(changes, put(bucketInstances, report.ID, after))
		}
		if found := l.tasks[report.ID]; found != nil && report.Task != nil && found.Acked < report.Task.Seq {
			after := *found
			after.Acked = report.Task.Seq
			tasks[report.ID] = &after
			if after.finished() {
				changes = append(changes, put(bucketTasks, report.ID, after))
			}
		}
	}
	if err := l.store.write(changes); err != nil {
		return err
	}
	maps.Copy(l.instances, instances)
	maps.Copy(l.tasks, tasks)
	return nil
}

// Tasks returns the pending tasks of the set that are not finished, sorted by id.
func (l *Ledger) Tasks() []hostv1.Task {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var list []hostv1.Task
	for _, id := range slices.Sorted(maps.Keys(l.tasks)) {
		if found := l.tasks[id]; !found.finished() {
			list = append(list, hostv1.Task{ID: id, Spec: found.spec})
		}
	}
	return list
}

// Finish records the outcome of a task (Done or Failed). The first outcome stays. ErrGone when the set does not name the task any more.
func (l *Ledger) Finish(id string, status v1.TaskStatus) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	found, ok := l.tasks[id]
	if !ok {
		return fmt.Errorf("%w: task %s", ErrGone, id)
	}
	if found.finished() {
		return nil
	}
	after := *found
	status.Seq = nextTaskSeq(found.Status.Seq)
	after.Status = status
	if err := l.store.write([]change{put(bucketTasks, id, after)}); err != nil {
		return err
	}
	l.tasks[id] = &after
	l.signal()
	return nil
}

// Progress notes how far a task is, in percent. It is not written to the disk: it is worth less than a write.
func (l *Ledger) Progress(id string, percent int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	found, ok := l.tasks[id]
	if !ok || found.finished() || found.Status.Percent >= percent {
		return
	}
	found.Status.Percent = min(percent, 100)
	found.Status.Seq = nextTaskSeq(found.Status.Seq)
	l.signal()
}

// nextTaskSeq grows even over a loss of the ledger, of which progress is never part: it follows the host's own clock.
func nextTaskSeq(last uint64) uint64 { return max(last+1, uint64(time.Now().UnixMilli())) }
