package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file holds what long answers have in common: they are counted for each user, end with the token and with the controller, and a client
// that does not take what it is sent is cut off.

var (
	errStopping = errors.New("the controller is stopping")
	errTokenEnd = errors.New("the token is no longer valid")
)

// longLived begins a long answer. Its context ends with the client, the token, or the controller; context.Cause says which. end must be called.
func (a *api) longLived(ctx context.Context, request *request) (_ context.Context, end func(), _ error) {
	user := request.caller.User.ID
	if !a.streams.enter(user) {
		a.metrics.limited.WithLabelValues("streams").Inc()
		return nil, nil, v1.NewProblem(v1.CodeRateLimited, "The user has too many events, logs, consoles and waits open.").WithNext("Close some, then send the request again.")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ticker := time.NewTicker(a.limits.KeepAlive)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.stopping:
				cancel(errStopping)
				return
			case <-ticker.C:
				if _, err := a.service.Authenticate(ctx, request.secret); v1.CodeOf(err) == v1.CodeUnauthenticated {
					cancel(errTokenEnd)
					return
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-finished
		a.streams.leave(user)
	}, nil
}

// waitOperation gives the operation once it is finished or the time is over.
func (a *api) waitOperation(ctx context.Context, ref Ref, wait time.Duration) (v1.Object, error) {
	request := requestOf(ctx)
	ctx, end, err := a.longLived(ctx, request)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	operation, err := a.service.WaitOperation(ctx, request.caller, ref)
	if err != nil {
		return nil, err
	}
	if operation == nil {
		return nil, errors.New("the service answered no operation")
	}
	return operation, nil
}

// piecewise writes a stream: each piece is sent at once and must be taken in time.
type piecewise struct {
	a       *api
	c       *gin.Context
	control *http.ResponseController
}

func (a *api) piecewise(c *gin.Context) *piecewise {
	return &piecewise{a: a, c: c, control: http.NewResponseController(c.Writer)}
}

func (p *piecewise) Write(data []byte) (int, error) {
	p.a.extendWrite(p.c)
	n, err := p.c.Writer.Write(data)
	if err != nil {
		return n, err
	}
	return n, p.flush()
}

// flush also sends headers that are still waiting.
func (p *piecewise) flush() error {
	p.c.Writer.WriteHeaderNow()
	p.a.extendWrite(p.c)
	if err := p.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
