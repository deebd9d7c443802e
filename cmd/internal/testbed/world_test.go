package testbed

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage/mem"
)

// gate holds the hosts' storage back while it is shut, so that operations and tasks can be looked at on their way.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: open
}

func (g *gate) pass(string, string) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// world is a cloud with two projects, red and blue, and a user of every role. Furnish's project demo belongs to nobody but the administrator.
type world struct {
	testing.TB
	cloud   *Cloud
	gate    *gate
	http    *http.Client
	secrets map[string]string         // by user
	clients map[string]*client.Client // by user
	ids     map[string]string         // of users, projects and tokens, by "user/admin", "project/red", "token/red-member"
}

const password = "a long enough password"

// users of the world: platform role, and role in the projects red and blue.
var users = []struct {
	name     string
	platform v1.Role
	in       map[string]v1.Role
}{
	{"auditor", v1.RoleReader, nil},
	{"red-admin", "", map[string]v1.Role{"red": v1.RoleProjectAdmin}},
	{"red-member", "", map[string]v1.Role{"red": v1.RoleProjectMember}},
	{"red-reader", "", map[string]v1.Role{"red": v1.RoleReader}},
	{"blue-member", "", map[string]v1.Role{"blue": v1.RoleProjectMember}},
	{"both", "", map[string]v1.Role{"red": v1.RoleProjectMember, "blue": v1.RoleProjectMember}},
}

func newWorld(t *testing.T, options Options) *world {
	t.Helper()
	g := &gate{}
	options.Storage = mem.Options{Fail: g.pass, TotalBytes: options.Storage.TotalBytes}
	cloud, admin := furnished(t, options)
	t.Cleanup(g.open)
	w := &world{TB: t, cloud: cloud, gate: g, http: cloud.HTTP(), secrets: map[string]string{}, clients: map[string]*client.Client{"admin": admin}, ids: map[string]string{}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.secrets["admin"] = w.newToken("admin", "admin")
	me, err := admin.WhoAmI(t.Context())
	require.NoError(t, err)
	w.ids["user/admin"] = me.User.ID
	members := map[string][]v1.Member{}
	for _, user := range users {
		made, err := client.Create[v1.User](t.Context(), admin, client.Draft{Name: user.name, Spec: v1.UserSpec{PlatformRole: user.platform}})
		require.NoError(t, err)
		w.ids["user/"+user.name] = made.Object.ID
		for project, role := range user.in {
			members[project] = append(members[project], v1.Member{User: user.name, Role: role})
		}
		w.login(user.name, w.newToken(user.name, user.name))
	}
	for _, name := range []string{"red", "blue"} {
		made, err := client.Create[v1.Project](t.Context(), admin, client.Draft{Name: name, Spec: v1.ProjectSpec{Members: members[name]}})
		require.NoError(t, err)
		w.ids["project/"+name] = made.Object.ID
	}
	return w
}

// on is the world for a subtest.
func (w *world) on(t *testing.T) *world {
	t.Helper()
	copied := *w
	copied.TB = t
	return &copied
}

// newToken makes a token for a user, by the administrator.
func (w *world) newToken(name, user string) string {
	w.Helper()
	made, err := w.clients["admin"].CreateToken(w.Context(), client.Draft{Name: "t-" + name, Spec: v1.TokenSpec{User: user}})
	require.NoError(w, err)
	w.ids["token/"+name] = made.Token.ID
	return made.Secret
}

// login gives a user a client with a token.
func (w *world) login(user, secret string) {
	w.Helper()
	made, err := w.cloud.Client(secret)
	require.NoError(w, err)
	w.Cleanup(made.Close)
	w.secrets[user], w.clients[user] = secret, made
}

// reply is a raw answer.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) code() v1.Code {
	var problem v1.Problem
	_ = json.Unmarshal([]byte(r.body), &problem) // an answer that is no problem has no code
	return problem.Code
}

func (r reply) problem(t testing.TB) *v1.Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", r.header.Get("Content-Type"), r.body)
	problem := new(v1.Problem)
	require.NoError(t, json.Unmarshal([]byte(r.body), problem))
	require.NotEmpty(t, problem.Detail)
	return problem
}

func (r reply) id(t testing.TB) string {
	t.Helper()
	var object struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &object), r.body)
	return object.ID
}

// items of a list, or of events.
func (r reply) items(t testing.TB) (ids []string, next string) {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	var page struct {
		Items []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"items"`
		Next string `json:"next"`
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &page))
	for _, item := range page.Items {
		ids = append(ids, item.ID)
	}
	return ids, page.Next
}

// do sends a request as a user ("" for nobody), or with a token "token:...". Headers are "Name: value".
func (w *world) do(user, method, path string, body any, headers ...string) reply {
	w.Helper()
	var reader io.Reader
	media := ""
	switch typed := body.(type) {
	case nil:
	case []byte:
		reader, media = bytes.NewReader(typed), "application/octet-stream"
	case io.Reader:
		reader, media = typed, "application/octet-stream"
	case string:
		reader, media = strings.NewReader(typed), "application/json"
	default:
		text, err := json.Marshal(body)
		require.NoError(w, err)
		reader, media = bytes.NewReader(text), "application/json"
	}
	request, err := http.NewRequestWithContext(w.Context(), method, w.cloud.Endpoints()[0]+path, reader)
	require.NoError(w, err)
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	if secret, ok := strings.CutPrefix(user, "token:"); ok {
		request.Header.Set("Authorization", "Bearer "+secret)
	} else if user != "" {
		require.NotEmpty(w, w.secrets[user], user)
		request.Header.Set("Authorization", "Bearer "+w.secrets[user])
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := w.http.Do(request)
	require.NoError(w, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return reply{response.StatusCode, response.Header, string(text)}
}

// must is do with the status that is expected.
func (w *world) must(status int, user, method, path string, body any, headers ...string) reply {
	w.Helper()
	got := w.do(user, method, path, body, headers...)
	require.Equal(w, status, got.status, "%s %s %s: %s", user, method, path, got.body)
	return got
}

// refused is must for a refusal with a code; the problem says what is wrong.
func (w *world) refused(status int, code v1.Code, user, method, path string, body any, headers ...string) *v1.Problem {
	w.Helper()
	problem := w.must(status, user, method, path, body, headers...).problem(w)
	require.Equal(w, code, problem.Code, "%s %s %s: %s", user, method, path, problem.Detail)
	return problem
}

// finish waits for the operation that an answer names, if there is one, and sees to it that it succeeded.
func (w *world) finish(got reply) reply {
	w.Helper()
	if operation := got.header.Get("Coloa-Operation"); operation != "" {
		require.Equal(w, v1.OperationSucceeded, w.ended(operation).Status.State)
	}
	return got
}

func (w *world) ended(operation string) *v1.Operation {
	w.Helper()
	got := w.must(200, "admin", "GET", "/v1/operations/"+operation+"?wait=30s", nil)
	var finished v1.Operation
	require.NoError(w, json.Unmarshal([]byte(got.body), &finished))
	require.True(w, finished.Status.State.Finished() || finished.Status.State == v1.OperationNeedsAttention, "%s %s", finished.Spec.Type, finished.Status.State)
	return &finished
}

// make creates an object and waits until it is made. It returns the id.
func (w *world) make(user, path, name, project string, spec any) string {
	w.Helper()
	got := w.do(user, "POST", path, draft(name, project, spec))
	require.Contains(w, []int{201, 202}, got.status, "%s %s %s: %s", user, path, name, got.body)
	return w.finish(got).id(w)
}

func (w *world) remove(user, path string) {
	w.Helper()
	got := w.do(user, "DELETE", path, nil)
	require.Contains(w, []int{202, 204}, got.status, "%s: %s", path, got.body)
	w.finish(got)
}

func draft(name, project string, spec any) map[string]any {
	made := map[string]any{"name": name, "spec": spec}
	if project != "" {
		made["project"] = project
	}
	return made
}

func (w *world) leader() *Controller {
	w.Helper()
	leader, err := w.cloud.Leader(w.Context())
	require.NoError(w, err)
	return leader
}

// body is the written state without its log index: whatever a refused request left behind would be in it.
func (w *world) body() string {
	w.Helper()
	var buffer bytes.Buffer
	require.NoError(w, w.leader().get().Store().Snapshot().Write(&buffer))
	_, rest, _ := strings.Cut(buffer.String(), "\n")
	return rest
}

// quiet waits until nothing is under way, since hosts and operations write by themselves.
func (w *world) quiet() {
	w.Helper()
	require.Eventually(w, func() bool {
		s := w.leader().get().Store().Snapshot()
		return len(s.OpenOperations()) == 0 && s.Count(v1.KindTask) == 0
	}, 20*time.Second, 5*time.Millisecond)
}

// leavesNothing runs requests that are refused, and compares the state before and after.
func (w *world) leavesNothing(do func()) {
	w.Helper()
	w.quiet()
	before := w.body()
	do()
	require.Equal(w, before, w.body(), "a refused request left something behind")
}

func sorted(list ...string) []string { slices.Sort(list); return list }
