package app

import (
	"context"
	"fmt"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// WaitOperation implements httpapi.Waits.
func (a *App) WaitOperation(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref) (*v1.Operation, error) {
	ref.Kind = v1.KindOperation
	for {
		s := a.Store.Snapshot()
		object, err := find(s, caller, ref, auth.Read)
		if err != nil {
			return nil, err
		}
		operation := object.(*v1.Operation)
		if operation.Status.State.Finished() || operation.Status.State == v1.OperationNeedsAttention || ctx.Err() != nil {
			shown, _ := show(s, caller, operation, true).(*v1.Operation)
			return shown, nil
		}
		select {
		case <-s.WatchObject(v1.KindOperation, operation.ID):
		case <-s.Abandoned():
		case <-ctx.Done():
		}
	}
}

// Events implements httpapi.Waits.
func (a *App) Events(ctx context.Context, caller httpapi.Caller, after, project string, limit int) ([]v1.Event, string, error) {
	s := a.Store.Snapshot()
	projectID := ""
	if project != "" {
		found, err := findProject(s, caller, project)
		if err != nil {
			return nil, "", err
		}
		projectID = found.ID
	}
	index, place, err := positionOf(s, after)
	if err != nil {
		return nil, "", err
	}
	for {
		s = a.Store.Snapshot()
		seen := s.LatestEvent()
		events := s.Events(index, place, limit, func(event *v1.Event) bool {
			return (projectID == "" || event.Project == projectID) && mayHear(s, caller, event)
		})
		if len(events) > 0 {
			return events, events[len(events)-1].ID, nil
		}
		// Nothing for this caller up to here: go on from the newest, whosever it is.
		if _, err := fmt.Sscanf(seen, "%d-%d", &index, &place); err != nil {
			return nil, "", v1.NewProblem(v1.CodeInternal, "the position %q cannot be read", seen)
		}
		select {
		case <-s.WatchApplied():
		case <-s.Abandoned():
		case <-ctx.Done():
			return nil, seen, nil
		}
	}
}

// positionOf reads a position: "" is now, "0" the beginning of what is kept.
func positionOf(s *state.Snapshot, after string) (index uint64, place uint16, err error) {
	if after == "" {
		after = s.LatestEvent()
	}
	if after == "0" {
		return 0, 0, nil
	}
	if n, err := fmt.Sscanf(after, "%d-%d", &index, &place); n != 2 || err != nil || fmt.Sprintf("%d-%d", index, place) != after {
		return 0, 0, v1.NewProblem(v1.CodeInvalid, "after: %q is no position of an event", clip(after)).WithField("after").WithNext("Use the id of an event, 0 for the oldest kept, or leave it out.")
	}
	if oldest := s.OldestEvent(); index != 0 && oldest > index+1 {
		return 0, 0, v1.NewProblem(v1.CodeNotFound, "events so old are not kept any more").WithField("after").WithNext("Read the objects again, and go on from 0.")
	}
	return index, place, nil
}

func clip(text string) string { return text[:min(len(text), 40)] }

// mayHear says whether a caller may know of an event: whoever may read the project, or the platform's staff; and everybody of what concerns themselves.
func mayHear(s *state.Snapshot, caller httpapi.Caller, event *v1.Event) bool {
	if auth.Platform(caller.User) {
		return true
	}
	if event.Project != "" {
		project := s.Project(event.Project)
		return project != nil && auth.RoleIn(caller.User, project) != ""
	}
	if event.Object.Kind == v1.KindProject {
		project := s.Project(event.Object.ID)
		return project != nil && auth.RoleIn(caller.User, project) != ""
	}
	return event.Object.Kind == v1.KindUser && event.Object.ID == caller.User.ID
}
