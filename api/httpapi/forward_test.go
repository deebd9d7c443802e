package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// pair is a follower that forwards to a leader, as controllers do.
func pair(t *testing.T, limits Limits) (follower, leader *world) {
	follower, leader = start(t, limits), start(t, limits)
	follower.fake.leader.Store(false)
	channel := httptest.NewServer(PeerHandler(leader.api.engine))
	t.Cleanup(channel.Close)
	target, err := url.Parse(channel.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			WriteProblem(w, v1.NewProblem(v1.CodeOutcomeUnknown, "The leader was lost."))
		},
	}
	handler := http.HandlerFunc(proxy.ServeHTTP)
	follower.fake.forwarded.Store(&handler)
	return follower, leader
}

func TestChangesGoToTheLeader(t *testing.T) {
	follower, leader := pair(t, generous)
	got := follower.do("POST", "/v1/vms", memberSecret, vmBody, "Idempotency-Key: once", HeaderClientAddress+": 9.9.9.9", HeaderRequestID+": 0123456789abcdef")
	require.Equal(t, 202, got.status, got.body)
	require.Empty(t, follower.fake.calls())
	require.Equal(t, []string{"Create"}, leader.fake.calls())
	for _, name := range standardHeaders {
		require.Len(t, got.header.Values(name), 1, name)
	}
	id := got.header.Get(HeaderRequestID)
	require.NotEqual(t, "0123456789abcdef", id, "clients do not name requests")
	require.Contains(t, follower.logs.String(), id)
	require.Contains(t, leader.logs.String(), id, "one name in both logs")
	require.Contains(t, leader.logs.String(), `"client":"127.0.0.1"`)
	require.NotContains(t, leader.logs.String(), "9.9.9.9")

	follower.problem(follower.do("POST", "/v1/vms", memberSecret, `{"name":1}`), 422, v1.CodeInvalid)
	require.Equal(t, 200, follower.do("POST", "/v1/login", "", bodies["login"]).status)
	follower.problem(follower.do("POST", "/v1/vms", "wrong", vmBody), 401, v1.CodeUnauthenticated)
	follower.problem(follower.do("POST", "/v1/nothing", memberSecret, vmBody), 404, v1.CodeNotFound)
	follower.problem(follower.do("DELETE", "/v1/vms", memberSecret, ""), 405, v1.CodeMethodNotAllowed)
	require.Equal(t, 200, follower.do("GET", "/v1/vms", memberSecret, "").status)
	require.Equal(t, []string{"List"}, follower.fake.calls(), "reads stay here")
}

func TestUploadGoesToTheLeader(t *testing.T) {
	follower, leader := pair(t, Limits{MaxUploadBytes: 1 << 20})
	image := leader.object(leader.do("POST", "/v1/images", adminSecret, bodies["images"]))
	var size, got int64
	leader.fake.uploaded = func(declared int64, data io.Reader) (err error) {
		size = declared
		got, err = io.Copy(io.Discard, data)
		return err
	}
	path := "/v1/images/" + image["id"].(string) + "/data"
	answer := follower.do("PUT", path, memberSecret, strings.Repeat("x", 1<<20), "Content-Type: application/octet-stream")
	require.Equal(t, 202, answer.status, answer.body)
	require.EqualValues(t, 1<<20, size)
	require.EqualValues(t, 1<<20, got)
	follower.problem(follower.do("PUT", path, memberSecret, strings.Repeat("x", 1<<20+1), "Content-Type: application/octet-stream"), 413, v1.CodeTooLarge)

	// Of unknown length it is the follower that stops it in the middle; the client hears why, and not that the leader was lost.
	request, err := http.NewRequest("PUT", follower.server.URL+path, io.LimitReader(zeros{}, 1<<20+1))
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+memberSecret)
	request.Header.Set("Content-Type", "application/octet-stream")
	response, err := http.DefaultTransport.RoundTrip(request)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	follower.problem(reply{response.StatusCode, response.Header, string(raw)}, 413, v1.CodeTooLarge)
}

func TestNoLeader(t *testing.T) {
	w := start(t, generous)
	w.fake.leader.Store(false)
	w.problem(w.do("POST", "/v1/vms", memberSecret, vmBody), 503, v1.CodeUnavailable)

	// What reached the leader that is none any more goes no further: two that each think the other leads must not play ping-pong.
	channel := httptest.NewServer(PeerHandler(w.api.engine))
	defer channel.Close()
	direct := w.server
	w.server = channel
	w.problem(w.do("POST", "/v1/vms", memberSecret, vmBody), 503, v1.CodeUnavailable)
	w.server = direct

	lost := func(ctx context.Context) error { return v1.NewProblem(v1.CodeUnavailable, "There is no leader.") }
	w.fake.consistent.Store(&lost)
	w.problem(w.do("GET", "/v1/vms", memberSecret, ""), 503, v1.CodeUnavailable)
	w.problem(w.do("GET", "/v1/events", memberSecret, ""), 503, v1.CodeUnavailable)
	// What helps in that hour goes on.
	for _, path := range []string{"/v1/cluster", "/healthz", "/metrics", "/v1/events?limit=1"} {
		require.Equal(t, 200, w.do("GET", path, adminSecret, "", "Last-Event-ID: 1-0").status, path)
	}
	w.fake.mu.Lock()
	w.fake.put(&v1.VM{Meta: v1.Meta{ID: w.fake.id(), Name: "web"}}, v1.ActionCreated)
	w.fake.mu.Unlock()
	require.Equal(t, 200, w.do("GET", "/v1/vms/web/log", adminSecret, "").status)
}

func TestReadsWaitUntilTheyAreCurrent(t *testing.T) {
	w := start(t, Limits{RatePerAddress: -1, ConsistentTimeout: 100 * time.Millisecond})
	// The object arrives while the read waits.
	arrives := func(context.Context) error {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		if len(w.fake.objects[v1.KindVM]) == 0 {
			w.fake.put(&v1.VM{Meta: v1.Meta{ID: w.fake.id(), Name: "web"}}, v1.ActionCreated)
		}
		return nil
	}
	w.fake.consistent.Store(&arrives)
	require.Equal(t, 200, w.do("GET", "/v1/vms/web", memberSecret, "").status)

	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	w.fake.consistent.Store(&hangs)
	w.problem(w.do("GET", "/v1/vms/web", memberSecret, ""), 503, v1.CodeUnavailable)
}

// TestTokenMadeElsewhere: it is found as soon as this controller has caught up, and a revoked one is not.
func TestTokenMadeElsewhere(t *testing.T) {
	w := start(t, Limits{RatePerAddress: 0.001, BurstPerAddress: 3})
	w.fake.mu.Lock()
	caller := w.fake.callers[memberSecret]
	delete(w.fake.callers, memberSecret)
	w.fake.mu.Unlock()
	arrives := func(context.Context) error {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		w.fake.callers[memberSecret] = caller
		return nil
	}
	w.fake.consistent.Store(&arrives)
	require.Equal(t, 200, w.do("GET", "/v1/whoami", memberSecret, "").status)

	revoked := func(context.Context) error {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		delete(w.fake.callers, memberSecret)
		return nil
	}
	w.fake.consistent.Store(&revoked)
	w.problem(w.do("GET", "/v1/whoami", memberSecret, ""), 401, v1.CodeUnauthenticated)
	require.NotContains(t, w.fake.calls()[1:], "WhoAmI")

	// Invented tokens make nobody catch up once the address has used up its share.
	for range 5 {
		w.do("GET", "/v1/whoami", "invented", "")
	}
	before := w.fake.caughtUp.Load()
	w.problem(w.do("GET", "/v1/whoami", "invented", ""), 429, v1.CodeRateLimited)
	require.Equal(t, before, w.fake.caughtUp.Load())
}
