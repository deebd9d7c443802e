package httpapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// FuzzBody sends any bytes as a body: the answer is an object or a problem document about the request, never about ourselves, and what is
// accepted has one meaning.
func FuzzBody(f *testing.F) {
	for _, body := range bodies {
		f.Add([]byte(body))
	}
	for _, body := range []string{`{"name":"a","name":"b"}`, `{"labels":{"\ud800":"x"}}`, `{"spec":{"sizeGiB":1e400}}`, `[[[[[]]]]]`, "\xff", `{"spec":{"sizeGiB":1e3}}`, "null", `{"":{"":0}}`, `{"spec":{"sizeGiB":null}}`} {
		f.Add([]byte(body))
	}
	service := newFake()
	a, err := build(Options{Service: service, Limits: generous, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(f, err)
	image := &v1.VM{Meta: v1.Meta{ID: service.id(), Name: "web", Project: projectID}, Spec: v1.VMSpec{Flavor: "f", Image: "i"}}
	service.put(image, v1.ActionCreated)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, at := range [][2]string{{"POST", "/v1/volumes"}, {"POST", "/v1/vms"}, {"POST", "/v1/projects"}, {"POST", "/v1/tokens"}, {"PUT", "/v1/vms/" + image.ID}, {"PATCH", "/v1/vms/" + image.ID}, {"POST", "/v1/vms/" + image.ID + "/stop"}, {"POST", "/v1/login"}} {
			request := httptest.NewRequest(at[0], at[1], strings.NewReader(string(body)))
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Authorization", "Bearer "+memberSecret)
			recorder := httptest.NewRecorder()
			a.engine.ServeHTTP(recorder, request)
			status := recorder.Code
			require.True(t, utf8.Valid(recorder.Body.Bytes()))
			if status >= 300 {
				require.Contains(t, []int{400, 401, 412, 422}, status, "%s %s: %s", at[0], at[1], recorder.Body)
				var problem v1.Problem
				require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &problem))
				require.NotEqual(t, v1.CodeInternal, problem.Code)
				require.Equal(t, status, problem.Status)
				continue
			}
			if len(body) > 0 {
				require.True(t, json.Valid(body))
				require.NotContains(t, string(body), `\u0000`)
			}
		}
		// What the requests made is dropped: each input meets the same cloud.
		service.mu.Lock()
		defer service.mu.Unlock()
		for _, kind := range []v1.Kind{v1.KindVM, v1.KindVolume, v1.KindOperation, v1.KindToken, v1.KindProject} {
			clear(service.objects[kind])
		}
		service.put(image, v1.ActionCreated)
		service.events, service.asked = nil, nil
	})
}

// TestMergePatchProperties: merging is idempotent, an empty patch changes nothing, and neither argument is touched.
func TestMergePatchProperties(t *testing.T) {
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaves := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.Int().AsAny(), rapid.StringMatching("[ab]?").AsAny(), rapid.Bool().AsAny()}
		if depth > 0 {
			leaves = append(leaves, rapid.Custom(func(t *rapid.T) any {
				object := map[string]any{}
				for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, "keys") {
					object[key] = value(depth-1).Draw(t, key)
				}
				return object
			}))
		}
		return rapid.OneOf(leaves...)
	}
	text := func(t *rapid.T, value any) string {
		raw, err := json.Marshal(value)
		require.NoError(t, err)
		return string(raw)
	}
	rapid.Check(t, func(t *rapid.T) {
		target, patch := value(3).Draw(t, "target"), value(3).Draw(t, "patch")
		before, change := text(t, target), text(t, patch)
		once := mergePatch(target, patch)
		require.Equal(t, before, text(t, target))
		require.Equal(t, change, text(t, patch))
		require.Equal(t, text(t, once), text(t, mergePatch(once, patch)))
		if object, isObject := target.(map[string]any); isObject {
			require.Equal(t, text(t, object), text(t, mergePatch(object, map[string]any{})))
		}
		require.NotContains(t, keysWithNull(once, patch), true)
	})
}

// keysWithNull says for each key that the patch sets to null whether it is left in the outcome.
func keysWithNull(merged, patch any) []bool {
	var found []bool
	changes, _ := patch.(map[string]any)
	object, _ := merged.(map[string]any)
	for key, change := range changes {
		left, there := object[key]
		if change == nil {
			found = append(found, there)
		} else {
			found = append(found, keysWithNull(left, change)...)
		}
	}
	return found
}

// TestInspectAgreesWithDecoders: a document that passes has no key twice, so any two decoders see the same.
func TestInspectAgreesWithDecoders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "A"}), 1, 5).Draw(t, "keys")
		depth := rapid.IntRange(1, 40).Draw(t, "depth")
		var parts []string
		for _, key := range keys {
			parts = append(parts, `"`+key+`":1`)
		}
		document := strings.Repeat(`{"x":`, depth-1) + "{" + strings.Join(parts, ",") + "}" + strings.Repeat("}", depth-1)
		sorted := slices.Clone(keys)
		slices.Sort(sorted)
		whole := len(slices.Compact(sorted)) == len(keys) && depth <= maxDepth
		problem := inspect([]byte(document))
		require.Equal(t, whole, problem == nil, document)
		if problem != nil {
			require.Equal(t, http.StatusBadRequest, problem.Status)
		}
	})
}
