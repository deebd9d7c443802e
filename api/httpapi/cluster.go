package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *api) addCluster() {
	add(a, huma.Operation{
		OperationID: "get-cluster", Method: http.MethodGet, Path: "/v1/cluster", Tags: []string{"cluster"}, Summary: "How the cloud is",
		Description: "Answers also without a leader, with what is known here.",
		Responses:   objectResponse("How the cloud is", a.schema(reflect.TypeFor[v1.ClusterStatus]())),
	}, route{reads: readsTry}, func(ctx context.Context, _ *struct{}) (*answer, error) {
		status, err := a.service.ClusterStatus(ctx, requestOf(ctx).caller)
		if err != nil {
			return nil, err
		}
		return encode(http.StatusOK, status)
	})
}

// addHealth serves what probes, scrapers and generators of clients ask for.
func (a *api) addHealth(registry *prometheus.Registry) {
	open := route{public: true, reads: readsNothing}
	a.addPlain("/healthz", open, func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	a.addPlain("/readyz", open, func(c *gin.Context) {
		if err := a.readiness.check(c.Request.Context(), a.service.Ready); err != nil {
			// Why is for the log: this route is open to everybody.
			a.logger.DebugContext(c.Request.Context(), "not ready", "error", err)
			c.Writer.Header().Set("Retry-After", "1")
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "not ready"})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ready"})
	})
	a.addPlain("/openapi.json", open, func(c *gin.Context) { a.serveDocument(c, "application/openapi+json", a.documentJSON) })
	a.addPlain("/openapi.yaml", open, func(c *gin.Context) { a.serveDocument(c, "application/openapi+yaml", a.documentYAML) })

	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	a.addPlain("/metrics", route{reads: readsNothing}, func(c *gin.Context) {
		// The one decision made in this package: metrics belong to no noun, so no method of the service guards them.
		switch requestOf(c.Request.Context()).caller.User.Spec.PlatformRole {
		case v1.RolePlatformAdmin, v1.RoleReader:
			scrape.ServeHTTP(c.Writer, c.Request)
		default:
			a.refuse(c, v1.NewProblem(v1.CodeDenied, "Metrics are for readers of the platform.").WithNext("Ask a platform administrator for the role reader on the platform."))
		}
	})
}

// readiness remembers its last finding for a second: the route is open, and finding out may cost the leader something.
type readiness struct {
	mu      sync.Mutex
	checked time.Time
	err     error
}

func (r *readiness) check(ctx context.Context, ready func(context.Context) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.checked) < time.Second {
		return r.err
	}
	// Not the first asker's context alone: its going away must not be remembered as unreadiness.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	r.err = ready(ctx)
	r.checked = time.Now()
	return r.err
}
