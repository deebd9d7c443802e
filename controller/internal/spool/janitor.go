package spool

import (
	"context"
	"log/slog"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// settle is how old a file must be before the janitor takes it for left behind: an upload stores its bytes before its image says so.
const settle = 10 * time.Minute

// Clean throws away bytes of images that are gone, or that another controller keeps, until ctx ends. Every controller runs it for its own spool.
func (s *Spool) Clean(ctx context.Context, store *state.Store, member string, logger *slog.Logger) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	changes := store.Subscribe(func(change state.Change) []string {
		before, was := change.Old.(*v1.Image)
		after, is := change.New.(*v1.Image)
		if was && before.Status.Keeper == member && (!is || after.Status.Keeper != member) {
			return []string{change.ID} // deleted, or its bytes were refused
		}
		return nil
	})
	defer changes.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes.Signal():
			gone, _ := changes.Take()
			for _, id := range gone {
				s.discard(store, member, id, logger)
			}
		case <-ticker.C:
		}
		s.sweep(store, member, logger)
	}
}

func (s *Spool) sweep(store *state.Store, member string, logger *slog.Logger) {
	ids, err := s.List()
	if err != nil {
		logger.Warn("cannot list the uploads", "error", err)
		return
	}
	for _, id := range ids {
		if file, err := s.Open(id); err == nil {
			info, err := file.Stat()
			_ = file.Close() // only read
			if err == nil && time.Since(info.ModTime()) > settle {
				s.discard(store, member, id, logger)
			}
		}
	}
}

// discard throws the bytes of an image away unless this member keeps them.
func (s *Spool) discard(store *state.Store, member, id string, logger *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if image := store.Snapshot().Image(id); image != nil && image.Status.Keeper == member {
		return
	}
	if err := s.remove(id); err != nil {
		logger.Warn("cannot remove an upload that nobody needs", "image", id, "error", err)
	}
}
