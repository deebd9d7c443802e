package testbed

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	secretMarker = "marker-of-the-user-data"
	keyMarker    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMarkerOfTheSSHKeyMarkerOfTheSSHKeyMarkerOfX marker-of-the-key"
)

// access says what each user may do at a route with an object of the project red (where objects belong to users: of red-member).
// y: allowed (whatever is wrong with the request otherwise), d: denied (403), n: not found (404). The columns are those of accessUsers.
type access struct {
	who  string
	id   string // which object, a key of the ids of TestAccess; "" for collections
	body func(project string) any
}

var accessUsers = []string{"admin", "auditor", "red-admin", "red-member", "red-reader", "blue-member"}

func of(spec any) func(string) any {
	return func(project string) any { return draft("made", project, spec) }
}

func plain(body any) func(string) any { return func(string) any { return body } }

// accessTable has a line for every route that is documented. PUT and DELETE are sent with a version that is never right: 412 is past the authorisation.
var accessTable = map[string]access{
	"GET /v1/users":                    {"yyyyyy", "", nil},
	"POST /v1/users":                   {"yddddd", "", plain(draft("made", "", v1.UserSpec{}))},
	"GET /v1/users/{id}":               {"yynynn", "user", nil},
	"PUT /v1/users/{id}":               {"ydndnn", "user", nil},
	"PATCH /v1/users/{id}":             {"ydndnn", "user", nil},
	"DELETE /v1/users/{id}":            {"ydndnn", "user", nil},
	"POST /v1/users/{id}/password":     {"ydnynn", "user", plain(v1.PasswordRequest{Password: password, Old: password})},
	"GET /v1/tokens":                   {"yyyyyy", "", nil},
	"POST /v1/tokens":                  {"yyyyyy", "", plain(draft("made", "", v1.TokenSpec{}))},
	"GET /v1/tokens/{id}":              {"yynynn", "token", nil},
	"DELETE /v1/tokens/{id}":           {"ydnynn", "token", nil},
	"GET /v1/projects":                 {"yyyyyy", "", nil},
	"POST /v1/projects":                {"yddddd", "", plain(draft("made", "", v1.ProjectSpec{}))},
	"GET /v1/projects/{id}":            {"yyyyyn", "project", nil},
	"PUT /v1/projects/{id}":            {"ydyddn", "project", nil},
	"PATCH /v1/projects/{id}":          {"ydyddn", "project", nil},
	"DELETE /v1/projects/{id}":         {"ydyddn", "project", nil},
	"GET /v1/flavors":                  {"yyyyyy", "", nil},
	"POST /v1/flavors":                 {"yddddd", "", plain(draft("made", "", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1}))},
	"GET /v1/flavors/{id}":             {"yyyyyy", "flavor", nil},
	"PUT /v1/flavors/{id}":             {"yddddd", "flavor", nil},
	"PATCH /v1/flavors/{id}":           {"yddddd", "flavor", nil},
	"DELETE /v1/flavors/{id}":          {"yddddd", "flavor", nil},
	"GET /v1/hosts":                    {"yyyyyy", "", nil},
	"GET /v1/hosts/{id}":               {"yynnnn", "host", nil},
	"PUT /v1/hosts/{id}":               {"ydnnnn", "host", nil},
	"PATCH /v1/hosts/{id}":             {"ydnnnn", "host", nil},
	"DELETE /v1/hosts/{id}":            {"ydnnnn", "host", nil},
	"GET /v1/images":                   {"yyyyyy", "", nil},
	"POST /v1/images":                  {"ydyydn", "", of(v1.ImageSpec{Format: v1.FormatRaw})},
	"GET /v1/images/{id}":              {"yyyyyn", "image", nil},
	"PUT /v1/images/{id}":              {"ydyydn", "image", nil},
	"PATCH /v1/images/{id}":            {"ydyydn", "image", nil},
	"DELETE /v1/images/{id}":           {"ydyydn", "image", nil},
	"PUT /v1/images/{id}/data":         {"ydyydn", "image", plain([]byte("bytes"))},
	"GET /v1/placement-groups":         {"yyyyyy", "", nil},
	"POST /v1/placement-groups":        {"ydyydn", "", of(v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft})},
	"GET /v1/placement-groups/{id}":    {"yyyyyn", "group", nil},
	"PUT /v1/placement-groups/{id}":    {"ydyydn", "group", nil},
	"PATCH /v1/placement-groups/{id}":  {"ydyydn", "group", nil},
	"DELETE /v1/placement-groups/{id}": {"ydyydn", "group", nil},
	"GET /v1/vms":                      {"yyyyyy", "", nil},
	"POST /v1/vms":                     {"ydyydn", "", of(v1.VMSpec{Flavor: "none", Image: "none"})},
	"GET /v1/vms/{id}":                 {"yyyyyn", "vm", nil},
	"PUT /v1/vms/{id}":                 {"ydyydn", "vm", nil},
	"PATCH /v1/vms/{id}":               {"ydyydn", "vm", nil},
	"DELETE /v1/vms/{id}":              {"ydyydn", "vm", nil},
	"GET /v1/vms/{id}/log":             {"yyyyyn", "vm", nil},
	"GET /v1/vms/{id}/console":         {"ydyydn", "vm", nil},
	"POST /v1/vms/{id}/start":          {"ydyydn", "vm", plain(struct{}{})},
	"POST /v1/vms/{id}/stop":           {"ydyydn", "vm-stopped", plain(v1.StopRequest{})},
	"POST /v1/vms/{id}/reboot":         {"ydyydn", "vm-stopped", plain(v1.RebootRequest{})},
	"GET /v1/volumes":                  {"yyyyyy", "", nil},
	"POST /v1/volumes":                 {"ydyydn", "", of(v1.VolumeSpec{SizeGiB: 1, Image: "none"})},
	"GET /v1/volumes/{id}":             {"yyyyyn", "volume", nil},
	"PUT /v1/volumes/{id}":             {"ydyydn", "volume", nil},
	"PATCH /v1/volumes/{id}":           {"ydyydn", "volume", nil},
	"DELETE /v1/volumes/{id}":          {"ydyydn", "volume", nil},
	"GET /v1/snapshots":                {"yyyyyy", "", nil},
	"POST /v1/snapshots":               {"ydyydn", "", of(v1.SnapshotSpec{Volume: "none"})},
	"GET /v1/snapshots/{id}":           {"yyyyyn", "snapshot", nil},
	"PUT /v1/snapshots/{id}":           {"ydyydn", "snapshot", nil},
	"PATCH /v1/snapshots/{id}":         {"ydyydn", "snapshot", nil},
	"DELETE /v1/snapshots/{id}":        {"ydyydn", "snapshot", nil},
	"POST /v1/snapshots/{id}/restore":  {"ydyydn", "snapshot-in-use", plain(struct{}{})},
	"GET /v1/instances":                {"yyyyyy", "", nil},
	"GET /v1/instances/{id}":           {"yyyyyn", "instance", nil},
	"GET /v1/attachments":              {"yyyyyy", "", nil},
	"GET /v1/attachments/{id}":         {"yyyyyn", "attachment", nil},
	"GET /v1/operations":               {"yyyyyy", "", nil},
	"GET /v1/operations/{id}":          {"yyyyyn", "operation", nil},
	"POST /v1/operations/{id}/cancel":  {"ydyydn", "operation-done", plain(struct{}{})},
	"POST /v1/operations/{id}/retry":   {"ydyydn", "operation-done", plain(struct{}{})},
	"POST /v1/operations/{id}/abandon": {"ydyydn", "operation-done", plain(struct{}{})},
	"GET /v1/tasks":                    {"yyyyyy", "", nil},
	"GET /v1/tasks/{id}":               {"yyyyyn", "task", nil},
	"GET /v1/cluster":                  {"yydddd", "", nil},
	"GET /v1/events":                   {"yyyyyy", "", nil},
	"GET /v1/whoami":                   {"yyyyyy", "", nil},
	"POST /v1/logout":                  {"", "", nil}, // ends the token in use: TestTokens
	"POST /v1/login":                   {"", "", nil}, // without a token: TestLogin
}

// TestAccess asks every route as every role, for objects of their own project and of another one.
func TestAccess(t *testing.T) {
	w := newWorld(t, Options{Controllers: 1, Hosts: 3, SilentAfter: time.Minute})
	require.NoError(t, w.clients["admin"].SetPassword(t.Context(), "red-member", v1.PasswordRequest{Password: password}))

	ids := map[string]string{"user": w.ids["user/red-member"], "token": w.ids["token/red-member"], "project": w.ids["project/red"], "host": w.cloud.Hosts[0].ID}
	ids["flavor"] = w.make("admin", "/v1/flavors", "spare", "", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1})
	ids["image"] = w.make("red-member", "/v1/images", "mine", "red", v1.ImageSpec{Format: v1.FormatRaw})
	w.finish(w.must(202, "red-member", "PUT", "/v1/images/mine/data?project=red", []byte(strings.Repeat("bytes...", 1<<10))))
	ids["group"] = w.make("red-member", "/v1/placement-groups", "apart", "red", v1.PlacementGroupSpec{Policy: v1.AntiAffinityHard})
	ids["volume"] = w.make("red-member", "/v1/volumes", "data", "red", v1.VolumeSpec{SizeGiB: 1})
	ids["snapshot"] = w.make("red-member", "/v1/snapshots", "before", "red", v1.SnapshotSpec{Volume: "data"})
	spec := v1.VMSpec{Flavor: "small", Image: "tiny", UserData: "#!/bin/sh\n# " + secretMarker + "\n", SSHKeys: []string{keyMarker}}
	ids["vm"] = w.make("red-member", "/v1/vms", "web", "red", spec)
	spec.Power = v1.PowerStopped
	ids["vm-stopped"] = w.make("red-member", "/v1/vms", "idle", "red", spec)
	s := w.leader().get().Store().Snapshot()
	ids["instance"] = s.VM(ids["vm"]).Status.Instance
	ids["attachment"] = s.AttachmentsOf(ids["instance"])[0].ID
	ids["operation-done"] = s.By(v1.KindOperation, "target", ids["vm"])[0].ObjectMeta().ID
	idle := s.VM(ids["vm-stopped"]).Status.RootVolume
	ids["snapshot-in-use"] = w.make("red-member", "/v1/snapshots", "idle-before", "red", v1.SnapshotSpec{Volume: idle})
	w.finish(w.must(202, "red-member", "POST", "/v1/vms/"+ids["vm-stopped"]+"/start", struct{}{})) // its disk is in use now: a restore is refused
	w.finish(w.must(202, "red-member", "POST", "/v1/vms/"+ids["vm-stopped"]+"/stop", v1.StopRequest{Force: true}))

	// One operation on its way, with its task.
	w.gate.close()
	pending := w.must(202, "red-member", "POST", "/v1/volumes", draft("pending", "red", v1.VolumeSpec{SizeGiB: 1}))
	ids["operation"] = pending.header.Get("Coloa-Operation")
	require.Eventually(t, func() bool {
		tasks := w.leader().get().Store().Snapshot().TasksOf(ids["operation"])
		if len(tasks) == 1 {
			ids["task"] = tasks[0].ID
		}
		return len(tasks) == 1
	}, 10*time.Second, 5*time.Millisecond)

	t.Run("every route has its line", func(t *testing.T) {
		var document struct {
			Paths map[string]map[string]json.RawMessage `json:"paths"`
		}
		require.NoError(t, json.Unmarshal([]byte(w.must(200, "", "GET", "/openapi.json", nil).body), &document))
		var routes []string
		for path, methods := range document.Paths {
			for method := range methods {
				routes = append(routes, strings.ToUpper(method)+" "+path)
			}
		}
		require.Equal(t, sorted(slices.Collect(maps.Keys(accessTable))...), sorted(routes...))
	})
	t.Run("secrets", func(t *testing.T) { accessSecrets(t, w.on(t), ids) })
	t.Run("foreign ids in bodies", func(t *testing.T) { accessBodies(t, w.on(t), ids) })
	t.Run("lists and filters", func(t *testing.T) { accessLists(t, w.on(t), ids) })
	t.Run("events", func(t *testing.T) { accessEvents(t, w.on(t), ids) })
	t.Run("routes", func(t *testing.T) {
		// Those who are refused come first, while everything is as it was; then those who may.
		for _, letter := range "ndy" {
			for _, route := range slices.Sorted(maps.Keys(accessTable)) {
				line := accessTable[route]
				for i, user := range accessUsers {
					if line.who != "" && rune(line.who[i]) == letter {
						accessOne(t, w.on(t), ids, route, line, user, letter)
					}
				}
			}
		}
	})
	for _, path := range []string{"/metrics"} {
		for _, user := range accessUsers {
			want := 403
			if user == "admin" || user == "auditor" {
				want = 200
			}
			w.must(want, user, "GET", path, nil)
		}
	}
}

func accessOne(t *testing.T, w *world, ids map[string]string, route string, line access, user string, letter rune) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	ask := func(id, project string) reply {
		var body any
		var headers []string
		if line.body != nil {
			body = line.body(project)
		}
		at := strings.ReplaceAll(path, "{id}", id)
		switch method {
		case "PUT", "DELETE":
			if !strings.HasSuffix(path, "/data") {
				headers = append(headers, `If-Match: "1"`)
			}
			if method == "PUT" && body == nil {
				body = w.must(200, "admin", "GET", strings.ReplaceAll(path, "{id}", ids[line.id])+"?view=spec", nil).body
			}
		case "PATCH":
			body = "{}"
			headers = append(headers, "Content-Type: application/merge-patch+json")
		}
		if strings.HasSuffix(path, "/console") {
			headers = append(headers, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: coloa.console.v1")
			return w.console(user, at, headers)
		}
		return w.do(user, method, at, body, headers...)
	}
	project := "red"
	got := ask(ids[line.id], project)
	switch letter {
	case 'y':
		require.NotContains(t, []int{401, 403, 404, 405, 500}, got.status, "%s as %s: %s", route, user, got.body)
	case 'd':
		require.Equal(t, 403, got.status, "%s as %s: %s", route, user, got.body)
		require.Equal(t, v1.CodeDenied, got.problem(t).Code)
		require.NotEmpty(t, got.problem(t).Next)
	case 'n':
		require.Equal(t, 404, got.status, "%s as %s: %s", route, user, got.body)
		// No hint: the answer is the one for what does not exist, word for word.
		id, nothing, name := ids[line.id], uuid.Must(uuid.NewV7()).String(), project
		if line.id == "" { // the project is what is not found
			id, nothing, name = "red", "nix", "nix"
		}
		missing := ask(nothing, name)
		require.Equal(t, missing.status, got.status)
		require.Equal(t, strings.ReplaceAll(missing.body, nothing, "X"), strings.ReplaceAll(got.body, id, "X"), "%s as %s", route, user)
	}
}

// console asks for the upgrade without a client that speaks it: HTTP/1.1, and the connection is closed after the answer.
func (w *world) console(user, path string, headers []string) reply {
	w.Helper()
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: w.cloud.authority.client(), DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(w.Context(), "GET", w.cloud.Endpoints()[0]+path, nil)
	require.NoError(w, err)
	request.Header.Set("Authorization", "Bearer "+w.secrets[user])
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := plain.Do(request)
	require.NoError(w, err)
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return reply{response.StatusCode, response.Header, ""}
	}
	text, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return reply{response.StatusCode, response.Header, string(text)}
}
