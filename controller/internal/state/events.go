package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// MaxEvents is how many events are kept; the oldest go first.
const MaxEvents = 20000

type eventRow struct {
	position string
	event    *v1.Event
}

// record makes the events of an entry. It must not look at anything but the entry and the state.
func record(tx *memdb.Txn, index uint64, txn *Txn, changes []Change) {
	place := uint16(0)
	for _, change := range changes {
		event, ok := eventOf(change)
		if !ok {
			continue
		}
		event.ID, event.Index, event.At = fmt.Sprintf("%d-%d", index, place), index, txn.Time
		event.Actor, event.Operation = txn.Actor, txn.Operation
		put(tx, tableEvent, &eventRow{position(index, place), &event})
		place++
	}
	if place > 0 {
		trimEvents(tx, int(place))
	}
}

// trimEvents removes as many events as were added once the table is full. The count is kept in a row, since a table does not know its length.
func trimEvents(tx *memdb.Txn, added int) {
	count := usageRow(tx, tableApplied, "events")
	count.Index += uint64(added)
	for count.Index > MaxEvents {
		oldest, err := tx.First(tableEvent, "id")
		if err != nil || oldest == nil {
			break
		}
		if err := tx.Delete(tableEvent, oldest); err != nil {
			panic(err)
		}
		count.Index--
	}
	put(tx, tableApplied, &count)
}

// eventOf says whether a change is worth an event, and what it means.
func eventOf(change Change) (v1.Event, bool) {
	object := change.New
	action := v1.ActionUpdated
	switch {
	case change.New == nil:
		object, action = change.Old, v1.ActionDeleted
	case change.Old == nil:
		action = v1.ActionCreated
	}
	event := v1.Event{Action: action, Object: v1.LinkTo(object), Project: object.ObjectMeta().Project, Note: change.Note}
	switch o := object.(type) {
	case *v1.Receipt, *v1.Task, *v1.Attachment:
		return event, false
	case *v1.Operation:
		before, updated := change.Old.(*v1.Operation)
		if action == v1.ActionDeleted || (updated && action == v1.ActionUpdated && before.Status.State == o.Status.State) {
			return event, false
		}
		if event.Note == "" {
			event.Note = fmt.Sprintf("%s %s: %s", o.Spec.Type, o.Spec.Target.Name, o.Status.State)
			if o.Status.Error != nil {
				event.Note += " (" + o.Status.Error.Detail + ")"
			}
		}
	case *v1.Instance:
		before, updated := change.Old.(*v1.Instance)
		if action == v1.ActionUpdated && updated && before.Observed.State == o.Observed.State && before.Desired == o.Desired && before.Fence == o.Fence {
			return event, false
		}
		if event.Note == "" && action == v1.ActionUpdated {
			event.Note = fmt.Sprintf("%s: wanted %s, is %s", o.Spec.Title, o.Desired.State, o.Observed.State)
			if o.Observed.Reason != "" {
				event.Note += " (" + string(o.Observed.Reason) + ")"
			}
		}
	}
	return event, true
}

// Events returns up to limit events after a position, oldest first, that want returns true for. oldest is the position before the oldest kept event.
func (s *Snapshot) Events(afterIndex uint64, afterPlace uint16, limit int, want func(*v1.Event) bool) []v1.Event {
	after := position(afterIndex, afterPlace)
	iterator, err := s.tx.LowerBound(tableEvent, "id", after)
	if err != nil {
		panic(err)
	}
	var events []v1.Event
	for found := iterator.Next(); found != nil && len(events) < limit; found = iterator.Next() {
		row := found.(*eventRow)
		if row.position > after && want(row.event) {
			events = append(events, *row.event)
		}
	}
	return events
}

// OldestEvent returns the log index of the oldest event kept, or 0.
func (s *Snapshot) OldestEvent() uint64 {
	oldest, err := s.tx.First(tableEvent, "id")
	if err != nil || oldest == nil {
		return 0
	}
	return oldest.(*eventRow).event.Index
}

// LatestEvent returns the id of the newest event, or "0-0".
func (s *Snapshot) LatestEvent() string {
	newest, err := s.tx.Last(tableEvent, "id")
	if err != nil || newest == nil {
		return "0-0"
	}
	return newest.(*eventRow).event.ID
}
