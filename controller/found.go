package controller

import (
	"context"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/app"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// found writes what a new cloud begins with: itself, its first user, and the one-time token to log in with. It does nothing in a cloud that exists.
func (c *Controller) found(ctx context.Context) error {
	first := c.options.First
	if first == nil {
		return nil
	}
	if first.Recovery {
		return c.recover(ctx, time.Now())
	}
	if c.store.Snapshot().Cluster() != nil {
		return nil
	}
	txn := state.NewTxn(time.Now(), "cluster init")
	txn.Create(&v1.Cluster{Meta: v1.Meta{ID: first.Cluster, Name: first.Name}, Spec: v1.ClusterSpec{MACPrefix: "52:54:00"}}, "founded")
	admin := &v1.User{Meta: v1.Meta{ID: app.NewID(), Name: first.Admin}, Spec: v1.UserSpec{Title: "First administrator", PlatformRole: v1.RolePlatformAdmin}}
	txn.Create(admin, "")
	expires := first.ExpiresAt
	txn.Create(&v1.Token{
		Meta: v1.Meta{ID: app.NewID(), Name: "first-login"}, Spec: v1.TokenSpec{OneTime: true, ExpiresAt: &expires}, Hash: first.TokenHash,
		Status: v1.TokenStatus{UserID: admin.ID},
	}, "")
	return c.app.Propose(ctx, txn)
}

// recoveryNote is what the events say of a recovery. Nobody in the cloud has done it, so administrators have to be able to see it.
const recoveryNote = "recovered by root on the server"

// recover lets an administrator into a cloud that exists, as root on this server has asked for: with a one-time token for a user who is made a
// platform administrator when needed. Each recovery holds once: leadership that comes back, and a restart, do not bring a used token back.
func (c *Controller) recover(ctx context.Context, now time.Time) error {
	txn := recovery(c.store.Snapshot(), c.options.First, now)
	if txn == nil {
		return nil
	}
	c.options.Logger.Warn(recoveryNote, "user", c.options.First.Admin)
	return c.app.Propose(ctx, txn)
}

// recovery is what has to change, or nil. The name of the token tells one recovery from another in the events, which outlive the token.
func recovery(s *state.Snapshot, first *First, now time.Time) *state.Txn {
	cluster := s.Cluster()
	if cluster == nil || cluster.ID != first.Cluster || !first.ExpiresAt.After(now) || len(first.TokenHash) < 16 {
		return nil
	}
	name := "recovery-" + first.TokenHash[:16]
	done := s.Events(0, 0, 1, func(event *v1.Event) bool {
		return event.Object.Kind == v1.KindToken && event.Object.Name == name && event.Note == recoveryNote
	})
	if len(done) > 0 || len(s.By(v1.KindToken, "hash", first.TokenHash)) > 0 {
		return nil
	}
	txn := state.NewTxn(now, "cluster recover")
	admin, exists := s.ByName(v1.KindUser, "", first.Admin).(*v1.User)
	switch {
	case !exists:
		admin = &v1.User{Meta: v1.Meta{ID: app.NewID(), Name: first.Admin}, Spec: v1.UserSpec{PlatformRole: v1.RolePlatformAdmin}}
		txn.Create(admin, recoveryNote)
	case admin.Spec.Disabled || admin.Spec.PlatformRole != v1.RolePlatformAdmin:
		admin = admin.Clone()
		admin.Spec.Disabled, admin.Spec.PlatformRole = false, v1.RolePlatformAdmin
		txn.Update(admin, recoveryNote)
	default:
		txn.Unchanged(admin)
	}
	expires := first.ExpiresAt
	return txn.Create(&v1.Token{
		Meta: v1.Meta{ID: app.NewID(), Name: name}, Spec: v1.TokenSpec{OneTime: true, ExpiresAt: &expires}, Hash: first.TokenHash,
		Status: v1.TokenStatus{UserID: admin.ID},
	}, recoveryNote)
}
