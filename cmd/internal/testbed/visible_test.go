package testbed

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

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
