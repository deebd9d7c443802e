package httpapi

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestPublicRoutes is the list of what answers without a token. Think twice before it grows.
func TestPublicRoutes(t *testing.T) {
	a, err := build(Options{Service: newFake()})
	require.NoError(t, err)
	var public []string
	for _, route := range a.engine.Routes() {
		about := a.routes[route.Method+" "+route.Path]
		require.NotNil(t, about, "%s %s is served, and nothing says how", route.Method, route.Path)
		if about.public {
			public = append(public, route.Method+" "+route.Path)
		}
	}
	slices.Sort(public)
	require.Equal(t, []string{"GET /healthz", "GET /openapi.json", "GET /openapi.yaml", "GET /readyz", "POST /v1/login"}, public)
	require.Len(t, a.engine.Routes(), len(a.routes))
	require.Greater(t, len(a.routes), 60)
}

// TestNoToken: whatever is asked without a good token, nothing is done, looked up or even read.
func TestNoToken(t *testing.T) {
	w := start(t, generous)
	paths := [][2]string{{"GET", "/"}, {"GET", "/v1/nothing"}, {"DELETE", "/v1/vms"}, {"POST", "/v2/vms"}, {"TRACE", "/v1/vms"}, {"OPTIONS", "/v1/vms"}, {"BREW", "/v1/vms"}}
	for _, route := range w.api.engine.Routes() {
		if !w.api.routes[route.Method+" "+route.Path].public {
			paths = append(paths, [2]string{route.Method, route.Path})
		}
	}
	for _, at := range paths {
		path, body, headers := goodRequest(at[0], at[1])
		for _, header := range []string{"", "Bearer wrong", "Bearer", "Bearer ", "Basic YWRtaW46YWRtaW4=", "bearer  " + adminSecret, adminSecret, "Bearer " + adminSecret + " x", "Bearer " + strings.Repeat("a", 600)} {
			got := w.do(at[0], path, "", body, append(headers, "Authorization: "+header)...)
			problem := w.problem(got, 401, v1.CodeUnauthenticated)
			require.NotEmpty(t, problem.Next)
		}
	}
	require.Empty(t, w.fake.calls())
}

func TestTokenByQueryOrCookieIsNoToken(t *testing.T) {
	w := start(t, generous)
	w.problem(w.do("GET", "/v1/whoami?access_token="+adminSecret, "", ""), 401, v1.CodeUnauthenticated)
	w.problem(w.do("GET", "/v1/whoami", "", "", "Cookie: token="+adminSecret), 401, v1.CodeUnauthenticated)
	require.Equal(t, 200, w.do("GET", "/v1/whoami", "", "", "Authorization: BEARER "+adminSecret).status)
}

// TestRefusalsOfTheService: each refusal of the service is answered as it is; anything else is answered without its words.
func TestRefusalsOfTheService(t *testing.T) {
	const inside = "disk /var/lib/coloa is broken"
	w := start(t, generous)
	w.fake.openConsole = nil
	cases := []struct {
		err    error
		status int
		code   v1.Code
	}{
		{v1.NewProblem(v1.CodeDenied, "You may not do this.").WithNext("Ask."), 403, v1.CodeDenied},
		{v1.NewProblem(v1.CodeQuota, "The quota is used up."), 409, v1.CodeQuota},
		{v1.NewProblem(v1.CodeUnavailable, "There is no leader."), 503, v1.CodeUnavailable},
		{v1.NewProblem(v1.CodeOutcomeUnknown, "It may have happened."), 503, v1.CodeOutcomeUnknown},
		{errors.New(inside), 500, v1.CodeInternal},
		{v1.NewProblem(v1.CodeInternal, inside), 500, v1.CodeInternal},
		{nil, 500, v1.CodeInternal}, // a panic
	}
	served := 0
	for _, route := range w.api.engine.Routes() {
		if !strings.HasPrefix(route.Path, "/v1/") {
			continue
		}
		path, body, headers := goodRequest(route.Method, route.Path)
		for _, refusal := range cases {
			w.fake.mu.Lock()
			w.fake.fail = func(string) error {
				if refusal.err == nil {
					panic(inside)
				}
				return refusal.err
			}
			w.fake.mu.Unlock()
			got := w.do(route.Method, path, adminSecret, body, headers...)
			problem := w.problem(got, refusal.status, refusal.code)
			require.NotContains(t, got.body, inside)
			if refusal.code == v1.CodeInternal {
				reference := problem.Params["reference"]
				require.Len(t, reference, 16)
				require.Contains(t, w.logs.String(), reference)
			} else {
				require.Equal(t, refusal.err.(*v1.Problem).Detail, problem.Detail)
			}
			served++
		}
	}
	require.Greater(t, served, 400)
	require.Contains(t, w.logs.String(), inside, "the operators are told")
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := start(t, generous)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/vm", "/v1/vms/", "//v1/vms", "/v1/vms/web/", "/v1/vms/web/explode", "/v1/%76ms", "/v1/vms%2fweb", "/v1/receipts", "/docs", "/schemas/VM.json", "/openapi-3.0.json", "/v1/../v1/vms"} {
		w.problem(w.do("GET", path, adminSecret, ""), 404, v1.CodeNotFound)
	}
	for _, at := range [][2]string{{"DELETE", "/v1/vms"}, {"POST", "/v1/vms/web"}, {"POST", "/v1/hosts"}, {"PUT", "/v1/tokens/x"}, {"POST", "/v1/instances"}, {"GET", "/v1/vms/web/start"}, {"OPTIONS", "/v1/vms"}, {"BREW", "/v1/vms"}, {"POST", "/healthz"}} {
		got := w.do(at[0], at[1], adminSecret, "")
		w.problem(got, 405, v1.CodeMethodNotAllowed)
		require.NotEmpty(t, got.header.Get("Allow"))
	}
	require.Equal(t, 405, w.do("HEAD", "/v1/vms", adminSecret, "").status)
	require.Empty(t, w.fake.calls())
}

func TestHealth(t *testing.T) {
	w := start(t, Limits{RatePerAddress: 0.001, BurstPerAddress: 1})
	for range 20 { // probes are not limited
		require.JSONEq(t, `{"status":"ok"}`, w.do("GET", "/healthz", "", "").body)
	}
	require.JSONEq(t, `{"status":"ready"}`, w.do("GET", "/readyz", "", "").body)
	failed := errors.New("secret reason")
	w.fake.ready.Store(&failed)
	w.api.readiness.mu.Lock()
	w.api.readiness.checked = w.api.readiness.checked.Add(-2e9)
	w.api.readiness.mu.Unlock()
	got := w.do("GET", "/readyz", "", "")
	require.Equal(t, 503, got.status)
	require.JSONEq(t, `{"status":"not ready"}`, got.body)
	for path, media := range map[string]string{"/openapi.json": "application/openapi+json", "/openapi.yaml": "application/openapi+yaml"} {
		got := w.do("GET", path, "", "")
		require.Equal(t, 200, got.status)
		require.Equal(t, media, got.header.Get("Content-Type"))
		require.Contains(t, got.body, "create-vm")
	}
}

func TestMetricsAreForReadersOfThePlatform(t *testing.T) {
	w := start(t, generous)
	w.vm()
	w.problem(w.do("GET", "/metrics", memberSecret, ""), 403, v1.CodeDenied)
	got := w.do("GET", "/metrics", adminSecret, "")
	require.Equal(t, 200, got.status)
	require.Contains(t, got.body, `coloa_http_requests_total{method="POST",route="/v1/vms",status="202"} 1`)
	require.Contains(t, got.body, `coloa_http_request_seconds_count{method="POST",route="/v1/vms"} 1`)
	require.Contains(t, got.body, "coloa_http_in_flight 1")
	w.do("GET", "/v1/some-invented-path", adminSecret, "")
	w.do("BREW", "/v1/vms", adminSecret, "")
	got = w.do("GET", "/metrics", adminSecret, "")
	require.NotContains(t, got.body, "some-invented-path")
	require.NotContains(t, got.body, "BREW")
	require.Contains(t, got.body, `coloa_http_requests_total{method="other",route="none",status="404"} 1`)
}

// TestLogs: one line a request, and nothing in it that was secret or chosen by the client.
func TestLogs(t *testing.T) {
	w := start(t, generous)
	id := w.vm()
	w.do("POST", "/v1/login", "", bodies["login"])
	w.do("POST", "/v1/login", "", `{"user":"member","password":"guessed-password"}`)
	w.do("POST", "/v1/login", "", `{"user":"member","password":["listed-password"]}`)
	w.do("GET", "/v1/vms?name=query-secret&cursor=other-secret", memberSecret, "")
	w.do("GET", "/v1/path-secret", memberSecret, "")
	got := w.do("GET", "/v1/vms/"+id, memberSecret, "", "X-Thing: header-secret")
	logs := w.logs.String()
	for _, never := range []string{memberSecret, "correct horse", "guessed-password", "listed-password", "query-secret", "other-secret", "path-secret", "header-secret", "echo hi"} {
		require.NotContains(t, logs, never)
	}
	require.Contains(t, logs, `"route":"/v1/vms/:id"`)
	require.Contains(t, logs, `"user":"`+w.fake.callers[memberSecret].User.ID+`"`)
	require.Contains(t, logs, got.header.Get(HeaderRequestID))
	require.Len(t, got.header.Get(HeaderRequestID), 16)
}
