package testbed

import (
	"bufio"
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

	"github.com/coloa-cloud/coloa/api/client"
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

// accessSecrets reads everything as everybody: user data and keys are for members and nowhere in lists, hosts are for the platform.
func accessSecrets(t *testing.T, w *world, ids map[string]string) {
	full := map[string]bool{"admin": true, "red-admin": true, "red-member": true}
	for route, line := range accessTable {
		method, path, _ := strings.Cut(route, " ")
		if method != "GET" || strings.HasSuffix(path, "/console") || strings.HasSuffix(path, "/log") {
			continue
		}
		for _, user := range accessUsers {
			query := "?limit=1000"
			if line.id != "" {
				query = ""
			} else if path == "/v1/events" {
				query = "?after=0&limit=1000"
			} else if path == "/v1/whoami" || path == "/v1/cluster" {
				query = ""
			}
			paths := []string{strings.ReplaceAll(path, "{id}", ids[line.id]) + query}
			if path == "/v1/vms/{id}" {
				paths = append(paths, paths[0]+"?view=spec")
			}
			if path == "/v1/operations/{id}" {
				paths = append(paths, strings.ReplaceAll(path, "{id}", ids["operation-done"]), strings.ReplaceAll(path, "{id}", ids["operation-done"])+"?wait=1s")
			}
			for _, at := range paths {
				got := w.do(user, "GET", at, nil)
				shows := path == "/v1/vms/{id}" && full[user]
				require.Equal(t, shows, strings.Contains(got.body, secretMarker), "user data: %s as %s", at, user)
				require.Equal(t, shows, strings.Contains(got.body, "marker-of-the-key"), "keys: %s as %s", at, user)
				for _, word := range []string{"passwordHash", "argon2", `"hash"`, "coloa_"} {
					require.NotContains(t, got.body, word, "%s as %s", at, user)
				}
				if user != "admin" && user != "auditor" {
					for _, host := range w.cloud.Hosts {
						if line.id != "host" { // where the caller's own words come back
							require.NotContains(t, got.body, host.ID, "%s as %s", at, user)
						}
					}
					require.NotContains(t, got.body, `"hostName"`, "%s as %s", at, user)
				}
			}
		}
	}
	// The answers to changes are made by the same rules.
	changed := w.must(200, "red-member", "PATCH", "/v1/vms/"+ids["vm"], `{"labels":{"a":"b"}}`)
	require.Contains(t, changed.body, secretMarker)
	require.NotContains(t, changed.body, w.cloud.Hosts[0].ID)
	// What a member wrote comes back to the member as written; to the operators it says where the machine is.
	require.Contains(t, w.must(200, "auditor", "GET", "/v1/vms/"+ids["vm"], nil).body, `"hostName"`)
	explained := w.must(200, "red-member", "POST", "/v1/vms?dryRun=true", draft("x", "red", v1.VMSpec{Flavor: "small", Image: "tiny"}))
	for _, host := range w.cloud.Hosts {
		require.NotContains(t, explained.body, host.ID)
	}
}

// accessBodies names objects of another project in bodies: refused as what does not exist, and nothing is left.
func accessBodies(t *testing.T, w *world, ids map[string]string) {
	vm := func(change func(*v1.VMSpec)) v1.VMSpec {
		spec := v1.VMSpec{Flavor: "small", Image: "tiny"}
		change(&spec)
		return spec
	}
	before := w.body()
	for _, user := range []string{"blue-member", "both"} { // also who may see it in its own project cannot use it in another
		for _, line := range []struct {
			path, field, id, name string
			spec                  func(ref string) any
		}{
			{"/v1/vms", "spec.image", ids["image"], "mine", func(ref string) any { return vm(func(s *v1.VMSpec) { s.Image = ref }) }},
			{"/v1/vms", "spec.placementGroup", ids["group"], "apart", func(ref string) any { return vm(func(s *v1.VMSpec) { s.PlacementGroup = ref }) }},
			{"/v1/volumes", "spec.image", ids["image"], "mine", func(ref string) any { return v1.VolumeSpec{SizeGiB: 1, Image: ref} }},
			{"/v1/snapshots", "spec.volume", ids["volume"], "data", func(ref string) any { return v1.SnapshotSpec{Volume: ref} }},
			{"/v1/vms?dryRun=true", "spec.image", ids["image"], "mine", func(ref string) any { return vm(func(s *v1.VMSpec) { s.Image = ref }) }},
		} {
			for _, ref := range []string{line.id, line.name} {
				problem := w.refused(422, v1.CodeInvalid, user, "POST", line.path, draft("x", "blue", line.spec(ref)))
				require.Equal(t, line.field, problem.Field)
				require.NotEmpty(t, problem.Next)
				nothing := "nix-nix"
				if v1.IsID(ref) {
					nothing = uuid.Must(uuid.NewV7()).String()
				}
				missing := w.do(user, "POST", line.path, draft("x", "blue", line.spec(nothing)))
				got := w.do(user, "POST", line.path, draft("x", "blue", line.spec(ref)))
				require.Equal(t, strings.ReplaceAll(missing.body, nothing, "X"), strings.ReplaceAll(got.body, ref, "X"), "no hint that it exists")
			}
		}
	}
	// Members that do not exist, tokens for others, projects of others.
	problem := w.refused(422, v1.CodeInvalid, "red-admin", "PATCH", "/v1/projects/red", `{"spec":{"members":[{"user":"nobody","role":"reader"}]}}`)
	require.Equal(t, "spec.members", problem.Field)
	for _, other := range []string{"admin", w.ids["user/admin"], "nobody", w.ids["user/red-admin"]} {
		problem := w.refused(422, v1.CodeInvalid, "red-member", "POST", "/v1/tokens", draft("x", "", map[string]any{"user": other}))
		require.Equal(t, "spec.user", problem.Field)
	}
	w.refused(422, v1.CodeImmutable, "both", "PUT", "/v1/volumes/"+ids["volume"], draft("data", "blue", v1.VolumeSpec{SizeGiB: 1}))
	w.refused(404, v1.CodeNotFound, "red-member", "PUT", "/v1/volumes/"+ids["volume"], draft("data", "blue", v1.VolumeSpec{SizeGiB: 1}))
	w.refused(404, v1.CodeNotFound, "both", "GET", "/v1/volumes/"+ids["volume"]+"?project=blue", nil)
	w.refused(422, v1.CodeInvalid, "admin", "POST", "/v1/flavors", draft("x", "red", v1.FlavorSpec{VCPUs: 1, MemoryMiB: 128, DiskGiB: 1}))
	w.refused(403, v1.CodeDenied, "red-admin", "POST", "/v1/images", draft("x", "red", v1.ImageSpec{Format: v1.FormatRaw, Public: true}))
	w.refused(403, v1.CodeDenied, "red-admin", "PATCH", "/v1/images/"+ids["image"], `{"spec":{"public":true}}`)
	w.refused(403, v1.CodeDenied, "red-admin", "PATCH", "/v1/projects/red", `{"spec":{"quota":{"vms":1000}}}`)
	w.refused(403, v1.CodeDenied, "red-admin", "PATCH", "/v1/projects/red", `{"name":"crimson"}`)
	w.refused(403, v1.CodeDenied, "red-admin", "DELETE", "/v1/projects/red", nil)
	w.refused(403, v1.CodeDenied, "red-member", "PATCH", "/v1/projects/red", `{"spec":{"members":[]}}`)
	w.refused(403, v1.CodeDenied, "red-member", "PATCH", "/v1/users/red-member", `{"spec":{"platformRole":"platform-admin"}}`)
	w.refused(403, v1.CodeDenied, "red-reader", "POST", "/v1/vms?dryRun=true", draft("x", "red", v1.VMSpec{Flavor: "small", Image: "tiny"}))
	require.Equal(t, before, w.body(), "refused requests left something behind")
}

func accessLists(t *testing.T, w *world, ids map[string]string) {
	foreign := []string{ids["vm"], ids["volume"], ids["image"], ids["group"], ids["snapshot"], ids["instance"], ids["attachment"], ids["operation"], ids["task"], ids["project"], w.ids["token/red-member"], w.ids["user/red-member"]}
	for route, line := range accessTable {
		method, path, _ := strings.Cut(route, " ")
		if method != "GET" || line.id != "" || path == "/v1/cluster" || path == "/v1/whoami" {
			continue
		}
		got := w.must(200, "blue-member", "GET", path+"?limit=1000", nil)
		for _, id := range foreign {
			require.NotContains(t, got.body, id, path)
		}
		if path == "/v1/users" || path == "/v1/tokens" || path == "/v1/projects" || path == "/v1/flavors" || path == "/v1/hosts" {
			continue
		}
		hidden, missing := w.must(404, "blue-member", "GET", path+"?project=red", nil), w.must(404, "blue-member", "GET", path+"?project=nix", nil)
		require.Equal(t, strings.ReplaceAll(missing.body, "nix", "X"), strings.ReplaceAll(hidden.body, "red", "X"))
		require.Equal(t, 404, w.do("blue-member", "GET", path+"?project="+w.ids["project/red"], nil).status)
	}
	only := func(user, path string, want ...string) {
		t.Helper()
		got, _ := w.must(200, user, "GET", path, nil).items(t)
		require.Equal(t, sorted(want...), sorted(got...), "%s as %s", path, user)
	}
	host := w.leader().get().Store().Snapshot().Instance(ids["instance"]).Spec.Host
	only("red-reader", "/v1/users", w.ids["user/red-reader"])
	only("red-reader", "/v1/projects", w.ids["project/red"])
	only("both", "/v1/projects", w.ids["project/red"], w.ids["project/blue"])
	only("red-reader", "/v1/hosts")
	only("red-reader", "/v1/instances?vm=web&project=red", ids["instance"])
	only("red-reader", "/v1/instances?vm="+ids["vm"], ids["instance"])
	only("red-reader", "/v1/instances?host="+host) // where the neighbours are is nobody's business
	only("red-reader", "/v1/vms?host="+host)
	only("red-reader", "/v1/tasks?host="+host)
	only("auditor", "/v1/instances?host="+host+"&vm="+ids["vm"], ids["instance"])
	only("red-reader", "/v1/snapshots?volume="+ids["volume"], ids["snapshot"])
	only("blue-member", "/v1/snapshots?volume="+ids["volume"])
	only("red-reader", "/v1/snapshots?volume=data", ids["snapshot"])
	only("red-reader", "/v1/snapshots?volume=nix")
	only("red-reader", "/v1/tasks?operation="+ids["operation"], ids["task"])
	only("red-reader", "/v1/operations?state=Running", ids["operation"])
	only("blue-member", "/v1/operations?state=Running")
	only("red-reader", "/v1/operations?target=pending", ids["operation"])
	only("red-reader", "/v1/attachments?vm="+ids["vm"], ids["attachment"])
	only("red-reader", "/v1/vms?name=web", ids["vm"])
	only("red-reader", "/v1/vms?name=nix")
}

func accessEvents(t *testing.T, w *world, ids map[string]string) {
	read := func(user, query string) []v1.Event {
		t.Helper()
		var page struct {
			Items []v1.Event `json:"items"`
			Next  string     `json:"next"`
		}
		require.NoError(t, json.Unmarshal([]byte(w.must(200, user, "GET", "/v1/events?limit=1000&"+query, nil).body), &page))
		return page.Items
	}
	for _, user := range []string{"red-admin", "red-reader", "blue-member"} {
		for _, event := range read(user, "after=0") {
			own := event.Object.Kind == v1.KindUser && event.Object.ID == w.ids["user/"+user]
			mine := w.ids["project/"+strings.SplitN(user, "-", 2)[0]]
			require.True(t, own || event.Project == mine || event.Object.ID == mine, "%s hears of %s %s", user, event.Object.Kind, event.Object.Name)
		}
	}
	require.NotEmpty(t, read("red-reader", "after=0&project=red"))
	require.NotEmpty(t, read("auditor", "after=0&project=red"))
	kinds := map[v1.Kind]bool{}
	for _, event := range read("auditor", "after=0") {
		kinds[event.Object.Kind] = true
	}
	for _, kind := range []v1.Kind{v1.KindUser, v1.KindToken, v1.KindProject, v1.KindFlavor, v1.KindHost, v1.KindImage, v1.KindVM, v1.KindVolume, v1.KindInstance, v1.KindOperation, v1.KindSnapshot} {
		require.True(t, kinds[kind], kind)
	}

	// Read in portions, each is there once and in order.
	whole := read("red-reader", "after=0")
	var pieces []v1.Event
	after := "0"
	for {
		var page struct {
			Items []v1.Event `json:"items"`
			Next  string     `json:"next"`
		}
		require.NoError(t, json.Unmarshal([]byte(w.must(200, "red-reader", "GET", "/v1/events?limit=3&after="+after, nil).body), &page))
		if len(page.Items) == 0 {
			require.NotEmpty(t, page.Next, "a position to go on from, although nothing was for this reader")
			break
		}
		pieces = append(pieces, page.Items...)
		after = page.Next
	}
	require.Equal(t, whole, pieces)
	for _, wrong := range []string{"x", "1", "-1-0", "1-0-0", "99999999999999999999-0"} {
		require.Contains(t, []int{400, 422}, w.do("red-reader", "GET", "/v1/events?after="+wrong, nil).status, wrong)
	}

	// A stream begins where it is told, and goes on with what happens.
	request, err := http.NewRequestWithContext(t.Context(), "GET", w.cloud.Endpoints()[0]+"/v1/events", nil)
	require.NoError(t, err)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", "Bearer "+w.secrets["red-reader"])
	request.Header.Set("Last-Event-ID", whole[len(whole)-3].ID)
	response, err := w.http.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 200, response.StatusCode)
	lines := bufio.NewScanner(response.Body)
	next := func() (event v1.Event) {
		t.Helper()
		kind, id := "", ""
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "event":
				kind = value
			case "data":
				require.NoError(t, json.Unmarshal([]byte(value), &event))
				require.Equal(t, id, event.ID)
				require.Equal(t, string(event.Object.Kind)+"."+string(event.Action), kind)
				return event
			}
		}
		require.NoError(t, lines.Err())
		t.Fatal("the stream ended")
		return event
	}
	require.Equal(t, whole[len(whole)-2], next())
	require.Equal(t, whole[len(whole)-1], next())
	_, err = client.Create[v1.PlacementGroup](t.Context(), w.clients["both"], client.Draft{Name: "hidden", Project: "blue", Spec: v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft}})
	require.NoError(t, err)
	_, err = client.Patch[v1.PlacementGroup](t.Context(), w.clients["both"], client.Ref{ID: ids["group"]}, map[string]any{"labels": map[string]any{"seen": "yes"}}, 0)
	require.NoError(t, err)
	heard := next()
	require.Equal(t, "apart", heard.Object.Name, "what happens in another project is not heard")
	require.Equal(t, "both", heard.Actor)
}
