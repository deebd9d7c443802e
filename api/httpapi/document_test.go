package httpapi

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write openapi.yaml anew")

// TestDocumentIsCheckedIn fails when the surface and openapi.yaml differ. After a wanted change: go generate ./api/httpapi
func TestDocumentIsCheckedIn(t *testing.T) {
	a, err := build(Options{Service: newFake(), Version: "any"})
	require.NoError(t, err)
	made, err := a.documentYAML()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile("openapi.yaml", made, 0o644))
	}
	kept, err := os.ReadFile("openapi.yaml")
	require.NoError(t, err)
	require.True(t, string(kept) == string(made), "openapi.yaml is not what the code says; run go generate ./api/httpapi and look at the difference")

	asJSON, err := a.documentJSON()
	require.NoError(t, err)
	fromYAML, err := yaml.YAMLToJSON(made)
	require.NoError(t, err)
	require.JSONEq(t, string(asJSON), string(fromYAML))
}

// TestDocumentIsWhole holds what generated clients rely on.
func TestDocumentIsWhole(t *testing.T) {
	a, err := build(Options{Service: newFake()})
	require.NoError(t, err)
	raw, err := a.documentJSON()
	require.NoError(t, err)
	text := string(raw)
	for _, never := range []string{"$schema", "ErrorModel", "passwordHash", "UserSecret", `"hash"`, "unpkg", "http://", "https://", "\\u0000"} {
		require.False(t, strings.Contains(text, never), "the document holds %q", never)
	}
	var document struct {
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas   map[string]any `json:"schemas"`
			Responses map[string]any `json:"responses"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(raw, &document))
	ids := map[string]bool{}
	for path, methods := range document.Paths {
		for method, operation := range methods {
			id, _ := operation["operationId"].(string)
			require.NotEmpty(t, id, "%s %s", method, path)
			require.False(t, ids[id], "%s is there twice", id)
			ids[id] = true
			require.NotEmpty(t, operation["tags"], id)
			require.NotEmpty(t, operation["summary"], id)
			responses, _ := operation["responses"].(map[string]any)
			for _, status := range []string{"400", "401", "422", "429", "500", "503"} {
				require.Contains(t, responses, status, id)
			}
			for _, parameter := range asList(operation["parameters"]) {
				described, _ := parameter.(map[string]any)
				require.NotEmpty(t, described["description"], "%s: parameter %v", id, described["name"])
			}
		}
	}
	for _, id := range []string{"list-vms", "get-vm", "create-vm", "replace-vm", "update-vm", "delete-vm", "start-vm", "create-placement-group", "restore-snapshot", "abandon-operation", "login"} {
		require.True(t, ids[id], id)
	}
	for _, id := range []string{"create-host", "create-instance", "create-operation", "delete-task", "replace-token"} {
		require.False(t, ids[id], id)
	}
	// Every reference leads somewhere.
	for _, part := range strings.Split(text, `"$ref": "#/components/`)[1:] {
		place, name, _ := strings.Cut(part[:strings.Index(part, `"`)], "/")
		switch place {
		case "schemas":
			require.Contains(t, document.Components.Schemas, name)
		case "responses":
			require.Contains(t, document.Components.Responses, name)
		default:
			t.Fatalf("a reference to %s", place)
		}
	}
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}
