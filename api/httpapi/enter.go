package httpapi

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file is the way in: who is it, may it ask this often, and where is it answered. The order matters: nothing of a request is looked at
// before its sender is known, except on the public routes.

// single are headers that mean something for safety: two of one are two meanings.
var single = []string{"Authorization", "If-Match", "Idempotency-Key", "Content-Type", "Content-Length", "Content-Encoding", "Last-Event-Id", "Origin"}

// tokenText is the alphabet of bearer tokens (RFC 6750).
var tokenText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]{1,512}=*$`)

// tryTimeout is how long a read waits for what it can do without.
const tryTimeout = 2 * time.Second

// refusedLoginCosts is what a refused login takes from its address, besides the one for asking.
const refusedLoginCosts = 4

// enter lets in who has a valid token, and everybody on the public routes.
func (a *api) enter(c *gin.Context) {
	request := requestOf(c.Request.Context())
	for _, name := range single {
		if len(c.Request.Header.Values(name)) > 1 {
			a.refuse(c, malformed("The header %s is there more than once.", name))
			return
		}
	}
	about := request.route
	if about != nil && about.public {
		if !a.limitAddress(c, request) {
			return
		}
		c.Next()
		if c.Writer.Status() == http.StatusUnauthorized && !request.peer {
			a.addresses.charge(limitKey(request.address), refusedLoginCosts)
		}
		return
	}
	secret, problem := bearer(c.Request.Header.Get("Authorization"))
	if problem == nil {
		request.secret = secret
		problem = a.identify(c.Request.Context(), request)
	}
	if problem != nil {
		// Holders of good tokens are never slowed down by others behind their address; senders of bad ones are.
		if problem.Code == v1.CodeUnauthenticated && !a.limitAddress(c, request) {
			return
		}
		a.refuse(c, problem)
		return
	}
	if !request.peer {
		if ok, wait := a.tokens.take(request.caller.Token.ID); !ok {
			a.metrics.limited.WithLabelValues("token").Inc()
			a.refuse(c, rateLimited(wait))
			return
		}
	}
}

// limitAddress counts a request without a token against its address. It answers, and returns false, when there were too many.
func (a *api) limitAddress(c *gin.Context, request *request) bool {
	if request.peer || request.route != nil && request.route.public && request.route.reads == readsNothing && safe(c.Request.Method) {
		return true // counted where it entered; or health and the document, which cost next to nothing and must answer probes behind any address
	}
	ok, wait := a.addresses.take(limitKey(request.address))
	if !ok {
		a.metrics.limited.WithLabelValues("address").Inc()
		a.refuse(c, rateLimited(wait))
	}
	return ok
}

const logIn = "Log in (coloa login), and send the token in the header Authorization: Bearer."

func unauthenticated(detail string) *v1.Problem {
	return v1.NewProblem(v1.CodeUnauthenticated, "%s", detail).WithNext(logIn)
}

// bearer reads the token out of the header Authorization.
func bearer(header string) (string, *v1.Problem) {
	if header == "" {
		return "", unauthenticated("The request has no token.")
	}
	scheme, secret, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || !tokenText.MatchString(secret) {
		return "", unauthenticated("The header Authorization holds no bearer token.")
	}
	return secret, nil
}

// identify finds the caller. A token that was made elsewhere a moment ago may not be here yet: then it catches up once and looks again.
func (a *api) identify(ctx context.Context, request *request) *v1.Problem {
	caller, err := a.service.Authenticate(ctx, request.secret)
	if v1.CodeOf(err) == v1.CodeUnauthenticated && !request.peer && a.mayCatchUp(request) {
		if err := a.consistent(ctx, a.limits.ConsistentTimeout); err != nil {
			return a.toProblem(ctx, err)
		}
		caller, err = a.service.Authenticate(ctx, request.secret)
	}
	if err != nil {
		problem := *a.toProblem(ctx, err)
		if problem.Code == v1.CodeUnauthenticated && problem.Next == "" {
			problem.Next = logIn
		}
		return &problem
	}
	if caller.User == nil || caller.Token == nil {
		return unauthenticated("The token is not valid.")
	}
	request.caller = caller
	return nil
}

// mayCatchUp keeps strangers with invented tokens from making the leader work: it looks only when their address has not used up its share.
func (a *api) mayCatchUp(request *request) bool {
	if a.addresses == nil {
		return true
	}
	return a.addresses.bucket(limitKey(request.address)).Tokens() >= 1
}

func (a *api) consistent(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := a.service.Consistent(ctx)
	var problem *v1.Problem
	if err != nil && !errors.As(err, &problem) {
		a.logger.WarnContext(ctx, "this controller is behind", "request", requestID(ctx), "error", err)
		return v1.NewProblem(v1.CodeUnavailable, "This controller could not catch up with the others.").WithNext("Send the request again, or ask another controller.")
	}
	return err
}

// where sends changes to the leader, and lets reads wait until they see what was acknowledged before.
func (a *api) where(c *gin.Context) {
	request := requestOf(c.Request.Context())
	about := request.route
	if about == nil {
		return // not found, or no such method: said here
	}
	a.setDeadlines(c, request)
	if request.changes() {
		if !a.service.IsLeader() {
			a.forward(c, request)
		}
		return
	}
	if about.reads == readsNothing || about.resumes && c.Request.Header.Get("Last-Event-ID") != "" {
		return
	}
	timeout := a.limits.ConsistentTimeout
	if about.reads == readsTry {
		timeout = min(timeout, tryTimeout)
	}
	err := a.consistent(c.Request.Context(), timeout)
	if err != nil {
		if about.reads == readsAll {
			a.refuse(c, err)
		}
		return
	}
	// Now that everything is known here, the token may turn out to be revoked, or its user to have another role.
	if problem := a.identify(c.Request.Context(), request); problem != nil {
		a.refuse(c, problem)
	}
}

// setDeadlines bounds how long the request may take. Streams end with the client, the token, or the controller.
func (a *api) setDeadlines(c *gin.Context, request *request) {
	control := http.NewResponseController(c.Writer)
	if request.route.stream || request.route.body == bodyUpload {
		_ = control.SetWriteDeadline(time.Time{}) // a deadline of the connection's previous request may be left
		return
	}
	_ = control.SetWriteDeadline(time.Now().Add(a.limits.AnswerTimeout + a.limits.WriteTimeout))
	ctx, cancel := context.WithTimeout(c.Request.Context(), a.limits.AnswerTimeout)
	c.Request = c.Request.WithContext(ctx)
	request.release = append(request.release, cancel)
}
