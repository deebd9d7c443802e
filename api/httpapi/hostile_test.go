package httpapi

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestHostileBodies: each of these is refused with its place, and nothing is made.
func TestHostileBodies(t *testing.T) {
	w := start(t, Limits{RatePerToken: -1, RatePerAddress: -1, MaxBodyBytes: 1 << 16})
	volume := func(size string) string {
		return `{"name":"data","project":"tax","spec":{"sizeGiB":` + size + `}}`
	}
	invalid, malformed := v1.CodeInvalid, v1.CodeMalformed
	for _, at := range []struct {
		name, body, field string
		code              v1.Code
	}{
		{"no JSON", `hello`, "", malformed},
		{"cut off", `{"name":"data","spec":{`, "", malformed},
		{"trailing comma", `{"name":"data",}`, "", malformed},
		{"single quotes", `{'name':'data'}`, "", malformed},
		{"comment", `{"name":"data"} // x`, "", malformed},
		{"two documents", volume("1") + volume("2"), "", malformed},
		{"trailing garbage", volume("1") + "x", "", malformed},
		{"byte order mark", "\xef\xbb\xbf" + volume("1"), "", malformed},
		{"invalid UTF-8", `{"name":"da` + "\xff" + `ta","spec":{"sizeGiB":1}}`, "", malformed},
		{"UTF-16", "{\x00}\x00", "", malformed},
		{"NaN", volume("NaN"), "", malformed},
		{"hexadecimal", volume("0x10"), "", malformed},
		{"leading zero", volume("010"), "", malformed},
		{"null", `null`, "", invalid},
		{"list", `[]`, "", invalid},
		{"text", `"data"`, "", invalid},
		{"number", `1`, "", invalid},
		{"duplicate key", `{"name":"data","name":"other","spec":{"sizeGiB":1}}`, "name", malformed},
		{"duplicate key, escaped", `{"name":"data","n\u0061me":"other","spec":{"sizeGiB":1}}`, "name", malformed},
		{"duplicate key below", `{"name":"data","spec":{"sizeGiB":1,"sizeGiB":2}}`, "spec.sizeGiB", malformed},
		{"duplicate label", `{"name":"data","labels":{"a":"1","a":"2"},"spec":{"sizeGiB":1}}`, "labels.a", malformed},
		{"key in other letters", `{"Name":"data","spec":{"sizeGiB":1}}`, "Name", invalid},
		{"key twice in other letters", `{"name":"data","NAME":"other","spec":{"sizeGiB":1}}`, "NAME", invalid},
		{"key with a long s", `{"name":"data","ſpec":{},"spec":{"sizeGiB":1}}`, "ſpec", invalid},
		{"unknown field", `{"name":"data","spec":{"sizeGiB":1,"sizeGB":2}}`, "spec.sizeGB", invalid},
		{"unknown field at the top", `{"name":"data","owner":"me","spec":{"sizeGiB":1}}`, "owner", invalid},
		{"read-only field", `{"id":"x","name":"data","spec":{"sizeGiB":1}}`, "id", invalid},
		{"status", `{"name":"data","spec":{"sizeGiB":1},"status":{"phase":"Available"}}`, "status", invalid},
		{"__proto__", `{"name":"data","__proto__":{},"spec":{"sizeGiB":1}}`, "__proto__", invalid},
		{"control character in a key", `{"name":"data","a\nb\u001b[31m":1,"spec":{"sizeGiB":1}}`, "a?b?[31m", invalid},
		{"missing name", `{"spec":{"sizeGiB":1}}`, "name", invalid},
		{"missing spec", `{"name":"data"}`, "spec", invalid},
		{"missing field", `{"name":"data","spec":{}}`, "spec.sizeGiB", invalid},
		{"null field", volume("null"), "spec.sizeGiB", invalid},
		{"text for a number", volume(`"10"`), "spec.sizeGiB", invalid},
		{"true for a number", volume(`true`), "spec.sizeGiB", invalid},
		{"fraction", volume("1.5"), "spec.sizeGiB", invalid},
		{"zero", volume("0"), "spec.sizeGiB", invalid},
		{"negative", volume("-1"), "spec.sizeGiB", invalid},
		{"10^18", volume("1000000000000000000"), "spec.sizeGiB", invalid},
		{"10^18 with exponent", volume("1e18"), "spec.sizeGiB", invalid},
		{"exponent", volume("1e3"), "spec.sizeGiB", invalid},
		{"2^64", volume("18446744073709551616"), "spec.sizeGiB", invalid},
		{"1e400", volume("1e400"), "spec.sizeGiB", invalid},
		{"-1e400", volume("-1e400"), "spec.sizeGiB", invalid},
		{"5000 digits", volume(strings.Repeat("9", 5000)), "spec.sizeGiB", invalid},
		{"list for text", `{"name":["data"],"spec":{"sizeGiB":1}}`, "name", invalid},
		{"object for text", `{"name":{"$ne":""},"spec":{"sizeGiB":1}}`, "name", invalid},
		{"number as label", `{"name":"data","labels":{"a":1},"spec":{"sizeGiB":1}}`, "labels.a", invalid},
		{"NUL", `{"name":"data","labels":{"a":"x\u0000y"},"spec":{"sizeGiB":1}}`, "labels.a", invalid},
		{"NUL in a key", `{"name":"data","labels":{"a\u0000":"x"},"spec":{"sizeGiB":1}}`, "labels", invalid},
		{"half a surrogate pair", `{"name":"data","labels":{"a":"\ud800"},"spec":{"sizeGiB":1}}`, "labels.a", invalid},
		{"name with a slash", `{"name":"a/b","spec":{"sizeGiB":1}}`, "name", invalid},
		{"name with a line", `{"name":"a\nb","spec":{"sizeGiB":1}}`, "name", invalid},
		{"name that climbs", `{"name":"..","spec":{"sizeGiB":1}}`, "name", invalid},
		{"long name", `{"name":"` + strings.Repeat("a", 64) + `","spec":{"sizeGiB":1}}`, "name", invalid},
		{"label with a line", `{"name":"data","labels":{"a":"x\ny"},"spec":{"sizeGiB":1}}`, "labels", invalid},
		{"33 deep", strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), "", malformed},
		{"33 deep lists", strings.Repeat("[", 33) + strings.Repeat("]", 33), "", malformed},
		{"20000 deep", strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "", malformed},
		{"20000 deep, open", strings.Repeat("[", 20000), "", malformed},
		{"deep where nothing may be", `{"name":"data","spec":{"sizeGiB":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}}`, "spec.sizeGiB", invalid},
	} {
		t.Run(at.name, func(t *testing.T) {
			w := &world{T: t, fake: w.fake, api: w.api, server: w.server, logs: w.logs}
			status := map[v1.Code]int{invalid: 422, malformed: 400}[at.code]
			got := w.do("POST", "/v1/volumes", memberSecret, at.body)
			problem := w.problem(got, status, at.code)
			require.Equal(t, at.field, problem.Field, got.body)
			require.NotEmpty(t, problem.Next)
			if at.code == invalid {
				require.NotEmpty(t, problem.Errors)
			}
			require.NotContains(t, got.body, "\\u0000")
		})
	}
	require.Empty(t, w.fake.objects[v1.KindVolume])
	require.Empty(t, w.fake.objects[v1.KindOperation])
	require.Equal(t, 202, w.do("POST", "/v1/volumes", memberSecret, volume("1")).status, "the form itself is good")

	problem := w.problem(w.do("POST", "/v1/flavors", adminSecret, `{"name":"f","spec":{"vcpus":0,"memoryMiB":1,"wrong":1}}`), 422, invalid)
	var fields []string
	for _, wrong := range problem.Errors {
		fields = append(fields, wrong.Field+": "+wrong.Detail)
	}
	require.Equal(t, []string{"spec.diskGiB: must be given", "spec.memoryMiB: must be at least 32", "spec.vcpus: must be at least 1", "spec.wrong: is unknown"}, fields)
	problem = w.problem(w.do("POST", "/v1/flavors", adminSecret, `{"name":"f","project":"tax","spec":{"vcpus":1,"memoryMiB":512,"diskGiB":1}}`), 422, invalid)
	require.Equal(t, "project", problem.Field)
}

func TestHostileRequests(t *testing.T) {
	w := start(t, generous)
	w.vm()
	for _, at := range []struct {
		method, path, body string
		headers            []string
		status             int
		field              string
	}{
		{"GET", "/v1/vms?colour=red", "", nil, 422, "colour"},
		{"GET", "/v1/vms?colour", "", nil, 422, "colour"},
		{"GET", "/v1/vms?Name=web", "", nil, 422, "Name"},
		{"GET", "/v1/vms?volume=x", "", nil, 422, "volume"},
		{"GET", "/v1/vms/web?limit=1", "", nil, 422, "limit"},
		{"POST", "/v1/vms?force=true", vmBody, nil, 422, "force"},
		{"DELETE", "/v1/vms/web?force=true", "", nil, 422, "force"},
		{"GET", "/v1/vms?name=a&name=b", "", nil, 400, "name"},
		{"GET", "/v1/vms?limit=1&limit=2", "", nil, 400, "limit"},
		{"GET", "/v1/vms?project=tax&project=land", "", nil, 400, "project"},
		{"GET", "/v1/vms?a=%zz", "", nil, 400, ""},
		{"GET", "/v1/vms?name=a;limit=2", "", nil, 400, ""},
		{"GET", "/v1/vms?limit=0", "", nil, 422, "limit"},
		{"GET", "/v1/vms?limit=-1", "", nil, 422, "limit"},
		{"GET", "/v1/vms?limit=1001", "", nil, 422, "limit"},
		{"GET", "/v1/vms?limit=ten", "", nil, 422, "limit"},
		{"GET", "/v1/vms?limit=1e2", "", nil, 422, "limit"},
		{"GET", "/v1/vms?limit=99999999999999999999", "", nil, 422, "limit"},
		{"GET", "/v1/vms?name=a%00b", "", nil, 422, "name"},
		{"GET", "/v1/vms?name=a%0ab", "", nil, 422, "name"},
		{"GET", "/v1/vms?name=%ff", "", nil, 422, "name"},
		{"GET", "/v1/vms?name=" + strings.Repeat("a", 64), "", nil, 422, "name"},
		{"GET", "/v1/vms?cursor=" + strings.Repeat("a", 2000), "", nil, 422, "cursor"},
		{"GET", "/v1/vms?project=../tax", "", nil, 422, "project"},
		{"GET", "/v1/vms/web?project=a/b", "", nil, 422, "project"},
		{"GET", "/v1/vms?label=a", "", nil, 422, "label"},
		{"GET", "/v1/vms?label==a", "", nil, 422, "label"},
		{"GET", "/v1/vms?label=a=1&label=a=2", "", nil, 422, "label"},
		{"GET", "/v1/vms?" + strings.Repeat("label=a=1&", 65), "", nil, 422, "label"},
		{"GET", "/v1/vms?host=a/b", "", nil, 422, "host"},
		{"GET", "/v1/operations?state=Running%20or%201=1", "", nil, 422, "state"},
		{"GET", "/v1/vms/web?view=full", "", nil, 422, "view"},
		{"GET", "/v1/operations/x?wait=61s", "", nil, 422, "wait"},
		{"GET", "/v1/operations/x?wait=-1s", "", nil, 422, "wait"},
		{"GET", "/v1/operations/x?wait=30", "", nil, 422, "wait"},
		{"GET", "/v1/vms/web?wait=30s", "", nil, 422, "wait"},
		{"GET", "/v1/events?after=yesterday", "", nil, 422, "after"},
		{"GET", "/v1/events?after=1-0%0aid:2", "", nil, 422, "after"},
		{"GET", "/v1/events", "", []string{"Last-Event-ID: 1; DROP"}, 422, "after"},
		{"GET", "/v1/events", "", []string{"Last-Event-ID: 1-0", "Last-Event-ID: 2-0"}, 400, ""},
		{"GET", "/v1/vms/web/log?tail=-1", "", nil, 422, "tail"},
		{"GET", "/v1/vms/web/log?tail=1000001", "", nil, 422, "tail"},
		{"GET", "/v1/vms/web/log?follow=maybe", "", nil, 422, "follow"},
		{"GET", "/v1/vms/a%2fb", "", nil, 404, ""},
		{"GET", "/v1/vms/..%2fusers", "", nil, 404, ""},
		{"POST", "/v1/vms/web%2fstart/stop", "", nil, 404, ""},
		{"GET", "/v1/vms/..", "", nil, 404, ""},
		{"GET", "/v1/vms/%2e%2e", "", nil, 404, ""},
		{"GET", "/v1/vms/a%00", "", nil, 404, ""},
		{"GET", "/v1/vms/a%0ab", "", nil, 404, ""},
		{"GET", "/v1/vms/WEB", "", nil, 404, ""},
		{"GET", "/v1/vms/web%20", "", nil, 404, ""},
		{"GET", "/v1/vms/a@b", "", nil, 404, ""},
		{"GET", "/v1/users/a%40b%2fc", "", nil, 404, ""},
		{"GET", "/v1/vms/" + strings.Repeat("a", 64), "", nil, 404, ""},
		{"GET", "/v1/vms/caf%C3%A9", "", nil, 404, ""},
		{"GET", "/v1/vms", "{}", nil, 400, ""},
		{"DELETE", "/v1/vms/web", "{}", nil, 400, ""},
		{"POST", "/v1/vms", "", nil, 400, ""},
		{"PUT", "/v1/vms/web", "", nil, 400, ""},
		{"PATCH", "/v1/vms/web", "", nil, 400, ""},
		{"POST", "/v1/login", "", nil, 400, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: text/plain"}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: "}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: application/json; charset=utf-16"}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: application/json;;"}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: application/merge-patch+json"}, 415, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Type: application/json", "Content-Type: text/plain"}, 400, ""},
		{"POST", "/v1/vms", vmBody, []string{"Content-Encoding: gzip"}, 415, ""},
		{"PUT", "/v1/images/web/data", "bytes", nil, 415, ""},
		{"PUT", "/v1/images/web/data", "", []string{"Content-Type: application/octet-stream"}, 400, ""},
		{"GET", "/v1/vms/web/console", "", nil, 400, ""},
	} {
		got := w.do(at.method, at.path, adminSecret, at.body, at.headers...)
		code := map[int]v1.Code{400: v1.CodeMalformed, 404: v1.CodeNotFound, 415: v1.CodeUnsupportedMedia, 422: v1.CodeInvalid}[at.status]
		require.Equal(t, at.status, got.status, "%s %s %v: %s", at.method, at.path, at.headers, got.body)
		problem := w.problem(got, at.status, code)
		require.Equal(t, at.field, problem.Field, "%s %s", at.method, at.path)
	}
	require.Len(t, w.fake.objects[v1.KindVM], 1)
	// And what only looks odd is served.
	require.Equal(t, 200, w.do("GET", "/v1/vms/web?project=&view=", adminSecret, "").status)
	require.Equal(t, 202, w.do("POST", "/v1/vms", adminSecret, strings.Replace(vmBody, "web", "app", 1), "Content-Type: application/json; charset=UTF-8").status)
}

// raw sends bytes as they are and gives what comes back.
func (w *world) raw(request string) *http.Response {
	w.Helper()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	require.NoError(w, err)
	w.Cleanup(func() { conn.Close() })
	require.NoError(w, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte(request))
	require.NoError(w, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(w, err)
	return response
}

func TestRepeatedHeaders(t *testing.T) {
	w := start(t, generous)
	head := "GET /v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + adminSecret + "\r\n"
	require.Equal(t, 200, w.raw(head+"\r\n").StatusCode)
	require.Equal(t, 400, w.raw(head+"authorization: Bearer "+memberSecret+"\r\n\r\n").StatusCode)
	require.Equal(t, 400, w.raw(head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\n").StatusCode)
	require.Equal(t, 400, w.raw(head+"Host: y\r\n\r\n").StatusCode)
}

func TestLargeBodies(t *testing.T) {
	w := start(t, generous)
	head := "POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer " + adminSecret + "\r\n"
	// Refused by what the header says: the answer comes though not one byte was sent.
	response := w.raw(head + "Content-Length: 1048577\r\n\r\n")
	require.Equal(t, 413, response.StatusCode)
	require.True(t, response.Close, "the connection is not used again")
	// Without a length it is read to the limit and no further.
	chunk := strings.Repeat("a", 1<<16)
	var body strings.Builder
	for range 20 {
		fmt.Fprintf(&body, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	response = w.raw(head + "Transfer-Encoding: chunked\r\n\r\n" + body.String())
	require.Equal(t, 413, response.StatusCode)
	// Just below the limit it is read.
	padded := `{"name":"` + strings.Repeat("a", 1<<20-11) + `"}`
	require.Len(t, padded, 1<<20)
	w.problem(w.do("POST", "/v1/vms", adminSecret, padded), 422, v1.CodeInvalid)
	w.problem(w.do("POST", "/v1/vms", adminSecret, padded+" "), 413, v1.CodeTooLarge)
}

func TestSlowBody(t *testing.T) {
	w := start(t, Limits{BodyTimeout: 200 * time.Millisecond})
	begun := time.Now()
	head := "POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nAuthorization: Bearer " + adminSecret + "\r\n\r\n{"
	response := w.raw(head)
	require.Equal(t, 408, response.StatusCode)
	require.Less(t, time.Since(begun), 5*time.Second)
}

// TestUnreadBody: a request that is refused before its body was read does not keep the server waiting for the rest of it.
func TestUnreadBody(t *testing.T) {
	w := start(t, Limits{BodyTimeout: 200 * time.Millisecond})
	begun := time.Now()
	response := w.raw("POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.Equal(t, 401, response.StatusCode)
	require.Less(t, time.Since(begun), 5*time.Second)
}
