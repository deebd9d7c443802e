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
		if change.Kind == v1.KindImage && change.New == nil {
			return []string{change.ID}
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
				s.discard(id, logger)
			}
		case <-ticker.C:
		}
		s.sweep(store.Snapshot(), member, logger)
	}
}

func (s *Spool) sweep(snapshot *state.Snapshot, member string, logger *slog.Logger) {
	ids, err := s.List()
	if err != nil {
		logger.Warn("cannot list the uploads", "error", err)
		return
	}
	for _, id := range ids {
		if image := snapshot.Image(id); image != nil && image.Status.Keeper == member {
			continue
		}
		if file, err := s.Open(id); err == nil {
			info, err := file.Stat()
			_ = file.Close() // only read
			if err == nil && time.Since(info.ModTime()) > settle {
				s.discard(id, logger)
			}
		}
	}
}

func (s *Spool) discard(id string, logger *slog.Logger) {
	if err := s.Remove(id); err != nil {
		logger.Warn("cannot remove an upload that nobody needs", "image", id, "error", err)
	}
}
