package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestEveryNoun goes through the life of each noun that has one.
func TestEveryNoun(t *testing.T) {
	changes := map[string]string{
		"users": `{"spec":{"title":"Lan Nguyen"}}`, "projects": `{"spec":{"title":"Land"}}`, "flavors": `{"labels":{"x":"y"}}`, "images": `{"spec":{"title":"Tiny"}}`,
		"placement-groups": `{"labels":{"x":"y"}}`, "vms": `{"spec":{"power":"Stopped"}}`, "volumes": `{"spec":{"sizeGiB":20}}`, "snapshots": `{"labels":{"x":"y"}}`,
	}
	for plural, change := range changes {
		t.Run(plural, func(t *testing.T) {
			w := start(t, generous)
			collection := "/v1/" + plural
			got := w.do("POST", collection, adminSecret, bodies[plural])
			object := w.object(got)
			id, version := object["id"].(string), uint64(object["version"].(float64))
			if slow(kindOf(plural)) {
				require.Equal(t, 202, got.status, got.body)
				require.NotEmpty(t, object["operation"])
				require.Equal(t, object["operation"], got.header.Get("Coloa-Operation"))
			} else {
				require.Equal(t, 201, got.status, got.body)
				require.NotContains(t, object, "operation")
				require.Empty(t, got.header.Get("Coloa-Operation"))
			}
			require.Equal(t, collection+"/"+id, got.header.Get("Location"))
			require.Equal(t, fmt.Sprintf(`"%d"`, version), got.header.Get("ETag"))
			require.NotContains(t, got.body, "argon2id")

			name := object["name"].(string)
			for _, place := range []string{id, strings.ReplaceAll(name, "@", "%40"), name} {
				got = w.do("GET", collection+"/"+place, adminSecret, "")
				require.Equal(t, 200, got.status, got.body)
				require.Equal(t, id, w.object(got)["id"])
				require.NotEmpty(t, got.header.Get("ETag"))
				require.Equal(t, "application/json", got.header.Get("Content-Type"))
			}
			got = w.do("GET", collection+"/"+id+"?view=spec", adminSecret, "")
			require.Equal(t, 200, got.status, got.body)
			view := w.object(got)
			require.NotContains(t, view, "id")
			require.NotContains(t, view, "status")
			again, _ := json.Marshal(view)

			// What ?view=spec gives can be sent back.
			got = w.do("PUT", collection+"/"+id, adminSecret, string(again), fmt.Sprintf(`If-Match: "%d"`, version))
			require.Equal(t, 200, got.status, got.body)
			require.NotEqual(t, fmt.Sprintf(`"%d"`, version), got.header.Get("ETag"))
			w.problem(w.do("PUT", collection+"/"+id, adminSecret, string(again), fmt.Sprintf(`If-Match: "%d"`, version)), 412, v1.CodeNotMatched)

			got = w.do("PATCH", collection+"/"+id, adminSecret, change, "Content-Type: application/merge-patch+json")
			require.Equal(t, 200, got.status, got.body)

			got = w.do("GET", collection+"?name="+name, adminSecret, "")
			require.Equal(t, 200, got.status, got.body)
			require.Len(t, w.object(got)["items"], 1)

			got = w.do("DELETE", collection+"/"+id, adminSecret, "")
			if slow(kindOf(plural)) {
				require.Equal(t, 202, got.status, got.body)
				require.NotEmpty(t, w.object(got)["operation"])
			} else {
				require.Equal(t, 204, got.status)
				require.Empty(t, got.body)
				w.problem(w.do("GET", collection+"/"+id, adminSecret, ""), 404, v1.CodeNotFound)
			}
		})
	}
}

func kindOf(plural string) v1.Kind {
	for _, definition := range v1.Kinds {
		if definition.Path == plural {
			return definition.Kind
		}
	}
	return ""
}

func TestListPages(t *testing.T) {
	w := start(t, generous)
	for i := range 5 {
		require.Equal(t, 201, w.do("POST", "/v1/flavors", adminSecret, strings.Replace(flavorBody, "small", fmt.Sprintf("f%d", i), 1)).status)
	}
	seen, cursor, pages := 0, "", 0
	for {
		got := w.do("GET", "/v1/flavors?limit=2&cursor="+cursor, adminSecret, "")
		require.Equal(t, 200, got.status, got.body)
		require.NotEmpty(t, got.header.Get("Coloa-Index"))
		page := w.object(got)
		seen += len(page["items"].([]any))
		pages++
		next, more := page["next"]
		if !more {
			break
		}
		cursor = next.(string)
	}
	require.Equal(t, 5, seen)
	require.Equal(t, 3, pages)
	require.JSONEq(t, `{"items":[]}`, w.do("GET", "/v1/vms?label=a=b&label=c=d=e&label=f=", adminSecret, "").body)
}

func TestSecretsAreCutOff(t *testing.T) {
	w := start(t, generous)
	for _, path := range []string{"/v1/users", "/v1/tokens", "/v1/users/admin", "/v1/tokens/admin"} {
		got := w.do("GET", path, adminSecret, "")
		require.Equal(t, 200, got.status)
		require.NotContains(t, got.body, "argon2id")
		require.NotContains(t, got.body, "aaaaaaaa")
	}
	got := w.do("POST", "/v1/tokens", adminSecret, bodies["tokens"])
	require.Equal(t, 201, got.status, got.body)
	require.Contains(t, got.body, "made-secret")
	require.NotContains(t, got.body, "bbbbbbbb")
	require.NotEmpty(t, got.header.Get("Location"))
	for _, caller := range w.fake.callers { // and only in what is shown
		require.NotEmpty(t, caller.User.Secret.PasswordHash)
		require.NotEmpty(t, caller.Token.Hash)
	}
}

func TestIdentity(t *testing.T) {
	w := start(t, generous)
	got := w.do("POST", "/v1/login", "", bodies["login"])
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, memberSecret, w.object(got)["secret"])
	w.problem(w.do("POST", "/v1/login", "", `{"user":"member","password":"no"}`), 401, v1.CodeUnauthenticated)
	got = w.do("GET", "/v1/whoami", memberSecret, "")
	require.Equal(t, 200, got.status)
	require.Contains(t, got.body, `"name":"member"`)
	require.Equal(t, 204, w.do("POST", "/v1/users/member/password", memberSecret, bodies["password"]).status)
	problem := w.problem(w.do("POST", "/v1/users/member/password", memberSecret, `{"password":"short"}`), 422, v1.CodeInvalid)
	require.Equal(t, "password", problem.Field)
	require.NotContains(t, problem.Detail, "short")
	require.Equal(t, 204, w.do("POST", "/v1/logout", memberSecret, "").status)
	w.problem(w.do("GET", "/v1/whoami", memberSecret, ""), 401, v1.CodeUnauthenticated)
	require.Equal(t, 200, w.do("GET", "/v1/cluster", adminSecret, "").status)
}

func TestActions(t *testing.T) {
	w := start(t, generous)
	id := w.vm()
	for _, at := range []struct{ path, body, asked string }{
		{"/v1/vms/web/start", "", "Act start <nil>"},
		{"/v1/vms/web/start", "{}", "Act start <nil>"},
		{"/v1/vms/" + id + "/stop", "", "Act stop {Force:false GraceSeconds:0}"},
		{"/v1/vms/web/stop?project=tax", `{"force":true,"graceSeconds":5}`, "Act stop {Force:true GraceSeconds:5}"},
		{"/v1/vms/web/reboot", `{"force":true}`, "Act reboot {Force:true}"},
	} {
		got := w.do("POST", at.path, memberSecret, at.body)
		require.Equal(t, 202, got.status, got.body)
		require.NotEmpty(t, w.object(got)["operation"])
		calls := w.fake.calls()
		require.Equal(t, at.asked, calls[len(calls)-1])
	}
	operation := w.object(w.do("POST", "/v1/vms/web/start", memberSecret, ""))["operation"].(string)
	for _, verb := range []string{"cancel", "retry", "abandon"} {
		require.Equal(t, 202, w.do("POST", "/v1/operations/"+operation+"/"+verb, memberSecret, "").status)
	}
	for _, body := range []string{`{"forced":true}`, `{"force":1}`, `{"graceSeconds":-1}`, `{"graceSeconds":3601}`, `{"graceSeconds":1.5}`, `[]`} {
		w.problem(w.do("POST", "/v1/vms/web/stop", memberSecret, body), 422, v1.CodeInvalid)
	}
	w.problem(w.do("POST", "/v1/vms/web/start", memberSecret, `{"force":true}`), 422, v1.CodeInvalid)
	w.problem(w.do("POST", "/v1/vms/other/start", memberSecret, ""), 404, v1.CodeNotFound)
}

func TestDryRun(t *testing.T) {
	w := start(t, generous)
	got := w.do("POST", "/v1/vms?dryRun=true", memberSecret, vmBody)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, true, w.object(got)["placed"])
	require.Equal(t, []string{"Explain"}, w.fake.calls())
	for _, value := range []string{"", "TRUE", "1", "yes"} {
		problem := w.problem(w.do("POST", "/v1/vms?dryRun="+value, memberSecret, vmBody), 422, v1.CodeInvalid)
		require.Equal(t, "dryRun", problem.Field)
	}
	w.problem(w.do("POST", "/v1/volumes?dryRun=true", memberSecret, bodies["volumes"]), 422, v1.CodeInvalid)
	require.Equal(t, []string{"Explain"}, w.fake.calls(), "nothing was made")
	require.Equal(t, 202, w.do("POST", "/v1/vms?dryRun=false", memberSecret, vmBody).status)
}

func TestIdempotencyKey(t *testing.T) {
	w := start(t, generous)
	first := w.do("POST", "/v1/vms", memberSecret, vmBody, "Idempotency-Key: k1")
	require.Equal(t, 202, first.status)
	require.Empty(t, first.header.Get("Idempotent-Replayed"))
	again := w.do("POST", "/v1/vms", memberSecret, vmBody, "Idempotency-Key: k1")
	require.Equal(t, 202, again.status)
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, first.body, again.body)
	require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
	w.problem(w.do("POST", "/v1/vms", memberSecret, strings.Replace(vmBody, "web", "app", 1), "Idempotency-Key: k1"), 409, v1.CodeKeyReused)
	w.problem(w.do("POST", "/v1/vms?dryRun=false", memberSecret, vmBody, "Idempotency-Key: k1"), 409, v1.CodeKeyReused)
	w.problem(w.do("POST", "/v1/volumes", memberSecret, bodies["volumes"], "Idempotency-Key: k1"), 409, v1.CodeKeyReused)
	require.Equal(t, 202, w.do("POST", "/v1/vms", adminSecret, vmBody, "Idempotency-Key: k1").status, "keys are the user's own")

	for _, key := range []string{strings.Repeat("k", 256), "caf\xff", "a\tb"} {
		got := w.do("POST", "/v1/vms", memberSecret, vmBody, "Idempotency-Key: "+key)
		require.Contains(t, []int{400, 422}, got.status, "%q", key)
	}
	w.problem(w.do("POST", "/v1/vms", memberSecret, vmBody, "Idempotency-Key: a", "Idempotency-Key: b"), 400, v1.CodeMalformed)
}

func TestConditions(t *testing.T) {
	w := start(t, generous)
	got := w.do("POST", "/v1/flavors", adminSecret, flavorBody)
	tag := got.header.Get("ETag")
	for match, status := range map[string]int{
		"*": 200, tag: -1, `"999999"`: 412, "W/" + tag: 412, `"0"`: 412, `"007"`: 412, `"abc"`: 412, `""`: 412, `"18446744073709551616"`: 412, `"-1"`: 412,
		"412": 400, tag + `, "7"`: 400, `"unfinished`: 400, "'1'": 400, "null": 400,
	} {
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			body := flavorBody
			switch method {
			case "PATCH":
				body = `{"labels":{"x":"y"}}`
			case "DELETE":
				body = ""
			}
			if status == 200 && method == "DELETE" {
				continue
			}
			wanted, header := status, match
			if status == -1 { // the present version, whatever it is by now
				if method == "DELETE" {
					continue
				}
				wanted, header = 200, w.do("GET", "/v1/flavors/small", adminSecret, "").header.Get("ETag")
			}
			got := w.do(method, "/v1/flavors/small", adminSecret, body, "If-Match: "+header)
			require.Equal(t, wanted, got.status, "%s %s: %s", method, match, got.body)
			if wanted >= 400 {
				w.problem(got, wanted, map[int]v1.Code{400: v1.CodeMalformed, 412: v1.CodeNotMatched}[wanted])
			}
		}
	}
	// A condition that would not be looked at is refused: its sender relies on it.
	for _, at := range [][3]string{{"GET", "/v1/flavors/small", ""}, {"POST", "/v1/flavors", flavorBody}, {"POST", "/v1/vms/web/start", ""}} {
		w.problem(w.do(at[0], at[1], adminSecret, at[2], `If-Match: "1"`), 400, v1.CodeMalformed)
	}
	w.problem(w.do("PUT", "/v1/flavors/small", adminSecret, flavorBody, "If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT"), 400, v1.CodeMalformed)
	w.problem(w.do("PUT", "/v1/flavors/small", adminSecret, flavorBody, `If-Match: "1"`, "If-Match: *"), 400, v1.CodeMalformed)
	require.Equal(t, http.StatusNoContent, w.do("DELETE", "/v1/flavors/small", adminSecret, "", "If-Match: "+w.do("GET", "/v1/flavors/small", adminSecret, "").header.Get("ETag")).status)
}

func TestPatch(t *testing.T) {
	w := start(t, generous)
	id := w.vm()
	patch := func(body string, headers ...string) reply {
		return w.do("PATCH", "/v1/vms/"+id, memberSecret, body, headers...)
	}
	spec := func() map[string]any {
		return w.object(w.do("GET", "/v1/vms/"+id+"?view=spec", memberSecret, ""))
	}
	require.Equal(t, 200, patch(`{"spec":{"diskGiB":30,"sshKeys":["ssh-ed25519 AAAA"]},"labels":{"c":"d"}}`).status)
	require.Equal(t, 200, patch(`{"labels":{"a":null},"spec":{"diskGiB":null}}`).status)
	now := spec()
	require.Equal(t, map[string]any{"c": "d"}, now["labels"])
	require.NotContains(t, now["spec"], "diskGiB")
	require.Equal(t, "#!/bin/sh\necho hi\n", now["spec"].(map[string]any)["userData"], "what is left out stays")
	require.Equal(t, 200, patch(`{"name":"renamed"}`).status)
	require.Equal(t, "renamed", spec()["name"])
	require.Equal(t, 200, patch(`{}`).status)

	for body, field := range map[string]string{
		`{"spec":{"flavour":"x"}}`: "spec.flavour", `{"spec":{"flavour":null}}`: "spec.flavour", `{"nmae":"x"}`: "nmae", `{"nmae":null}`: "nmae", `{"project":"other"}`: "project",
		`{"status":{}}`: "status", `{"id":"x"}`: "id", `{"spec":{"diskGiB":"30"}}`: "spec.diskGiB", `{"spec":{"diskGiB":1.5}}`: "spec.diskGiB", `{"spec":{"diskGiB":-1}}`: "spec.diskGiB",
		`{"spec":null}`: "spec", `{"spec":[]}`: "spec", `{"name":null}`: "name", `{"name":7}`: "name", `{"labels":{"a":1}}`: "labels.a", `{"spec":{"power":"Off"}}`: "spec.power",
		`{"spec":{"diskThrottle":{"readIops":-1}}}`: "spec.diskThrottle.readIops", `{"spec":{"image":null}}`: "spec.image", `{"spec":{"diskGiB":1e3}}`: "spec.diskGiB",
	} {
		problem := w.problem(patch(body), 422, v1.CodeInvalid)
		require.Equal(t, field, problem.Field, body)
	}
	w.problem(patch(`{}`, "Content-Type: application/json-patch+json"), 415, v1.CodeUnsupportedMedia)
	w.problem(patch(`[{"op":"remove","path":"/name"}]`), 422, v1.CodeInvalid)
	w.problem(w.do("PATCH", "/v1/vms/nothing", memberSecret, `{}`), 404, v1.CodeNotFound)
	require.Equal(t, "renamed", spec()["name"])
}

func TestPatchUnderContention(t *testing.T) {
	w := start(t, generous)
	id := w.vm()
	touch := func() {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		changed := w.fake.objects[v1.KindVM][id].(*v1.VM).Clone()
		changed.Labels["touched"] = fmt.Sprint(w.fake.version)
		w.fake.put(changed, v1.ActionUpdated)
	}
	others := 2
	w.fake.beforeReplace = func() {
		if others > 0 {
			others--
			touch()
		}
	}
	got := w.do("PATCH", "/v1/vms/"+id, memberSecret, `{"labels":{"mine":"1"}}`)
	require.Equal(t, 200, got.status, got.body)
	labels := w.object(got)["labels"].(map[string]any)
	require.Equal(t, "1", labels["mine"])
	require.NotEmpty(t, labels["touched"], "nothing of the others is lost")

	others = 3
	w.problem(w.do("PATCH", "/v1/vms/"+id, memberSecret, `{"labels":{"mine":"2"}}`), 412, v1.CodeNotMatched)

	// With If-Match the first miss is the answer.
	others = 1
	tag := w.do("GET", "/v1/vms/"+id, memberSecret, "").header.Get("ETag")
	before := len(w.fake.calls())
	w.problem(w.do("PATCH", "/v1/vms/"+id, memberSecret, `{"labels":{"mine":"3"}}`, "If-Match: "+tag), 412, v1.CodeNotMatched)
	require.Equal(t, []string{"Get", "Replace"}, w.fake.calls()[before:])
	w.problem(w.do("PATCH", "/v1/vms/"+id, memberSecret, `{"labels":{"mine":"3"}}`, "If-Match: "+tag), 412, v1.CodeNotMatched)
	require.Equal(t, []string{"Get", "Replace", "Get"}, w.fake.calls()[before:], "a merge into another version than the one asked for is not even tried")
}
