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
	if first == nil || c.store.Snapshot().Cluster() != nil {
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
