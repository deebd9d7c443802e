package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file makes the OpenAPI document. It is checked in as openapi.yaml; a test fails when it drifts.

//go:generate go test -run TestDocumentIsCheckedIn -update .

const schemaPrefix = "#/components/schemas/"

// refusals are the problems that an operation may answer with, besides its own; each is a shared response of the document.
var refusals = map[int]string{
	400: "The request cannot be read", 401: "No valid token", 403: "The caller may not do this", 404: "There is no such object, or the caller may not see it",
	409: "Not possible as things are: see code", 412: "If-Match does not hold", 413: "The body is too large", 415: "The body's type is not read here",
	422: "A field is wrong: see field and errors", 429: "Too many requests; see Retry-After", 500: "Something failed inside", 503: "No leader, or the host is silent; see code",
}

func (a *api) document() huma.Config {
	registry := huma.NewMapRegistry(schemaPrefix, schemaName)
	// huma's own error model never leaves this package (api.transform), so it must not be in the document either.
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[v1.Problem]())
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	document := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Coloa", Version: "v1",
			Description: "The private cloud's HTTP surface. Objects are {id, name, project, labels, createdAt, updatedAt, version, spec, status}: spec is what the user writes, " +
				"status is ours. Changes answer at once, with 202 and an operation while work goes on. Names may stand for ids everywhere.",
		},
		Components: &huma.Components{
			Schemas:   registry,
			Responses: map[string]*huma.Response{},
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", Description: "A token of login, or one made for a program"}},
		},
		Security: []map[string][]string{{"bearer": {}}},
	}
	problem := registry.Schema(reflect.TypeFor[v1.Problem](), true, "")
	for status, description := range refusals {
		document.Components.Responses["Problem"+strconv.Itoa(status)] = &huma.Response{
			Description: description, Content: map[string]*huma.MediaType{problemType: {Schema: problem}},
		}
	}
	return huma.Config{
		OpenAPI: document, DefaultFormat: "application/json", Transformers: []huma.Transformer{a.transform},
		Formats: map[string]huma.Format{"application/json": format, "json": format},
	}
}

// schemaName names drafts after their noun: writable[VMSpec] is VMDraft.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if spec, found := strings.CutPrefix(name, "Writable"); found {
		return strings.TrimSuffix(spec, "Spec") + "Draft"
	}
	return name
}

// documentNoun makes the schema of a noun that of an answer: without what is never shown, with the operation.
func (a *api) documentNoun(reference *huma.Schema, definition v1.Definition, about string) {
	schema := a.huma.OpenAPI().Components.Schemas.SchemaFromRef(reference.Ref)
	schema.Description = about
	for _, secret := range []string{"secret", "hash"} {
		delete(schema.Properties, secret)
	}
	schema.Properties["operation"] = &huma.Schema{Type: huma.TypeString, Description: "Operation that carries out the request; only in answers to changes"}
	schema.PrecomputeMessages()
	a.huma.OpenAPI().Tags = append(a.huma.OpenAPI().Tags, &huma.Tag{Name: definition.Path, Description: about})
}

// documentDraft leaves the project out for what belongs to none, and so refuses it.
func (a *api) documentDraft(reference *huma.Schema, definition v1.Definition) {
	schema := a.huma.OpenAPI().Components.Schemas.SchemaFromRef(reference.Ref)
	schema.Description = "The part of " + withArticle(string(definition.Kind)) + " that its user writes"
	if !definition.Scoped {
		delete(schema.Properties, "project")
	}
	schema.PrecomputeMessages()
}

func withArticle(noun string) string {
	if strings.ContainsRune("aeioAEIO", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func jsonResponse(description string, schema *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

func objectResponse(description string, schema *huma.Schema) map[string]*huma.Response {
	return map[string]*huma.Response{"200": jsonResponse(description, schema)}
}

func noContent(description string) map[string]*huma.Response {
	return map[string]*huma.Response{"204": {Description: description}}
}

func headers(names ...string) map[string]*huma.Param {
	about := map[string]string{
		"ETag": "The version, for If-Match", "Location": "Path of the object", "Coloa-Operation": "Id of the operation",
		"Idempotent-Replayed": "true when this is the first answer, given again", "Coloa-Index": "Log index that it was read at",
	}
	made := map[string]*huma.Param{}
	for _, name := range names {
		made[name] = &huma.Param{Description: about[name], Schema: &huma.Schema{Type: huma.TypeString}}
	}
	return made
}

func (a *api) listAnswer(schema *huma.Schema) map[string]*huma.Response {
	page := &huma.Schema{Type: huma.TypeObject, Required: []string{"items"}, Properties: map[string]*huma.Schema{
		"items": {Type: huma.TypeArray, Items: schema},
		"next":  {Type: huma.TypeString, Description: "Cursor of the next page; missing at the end"},
	}}
	response := jsonResponse("A page", page)
	response.Headers = headers("Coloa-Index")
	return map[string]*huma.Response{"200": response}
}

func (a *api) objectAnswer(status int, schema *huma.Schema) map[string]*huma.Response {
	response := jsonResponse("The object", schema)
	response.Headers = headers("ETag")
	return map[string]*huma.Response{strconv.Itoa(status): response}
}

// changeAnswers are those of a change: done, or under way.
func (a *api) changeAnswers(done int, schema *huma.Schema) map[string]*huma.Response {
	finished, begun := jsonResponse("All is done", schema), jsonResponse("It is decided; an operation carries it out", schema)
	finished.Headers = headers("ETag", "Idempotent-Replayed")
	begun.Headers = headers("ETag", "Idempotent-Replayed", "Coloa-Operation")
	if done == http.StatusCreated {
		finished.Headers, begun.Headers = headers("ETag", "Location", "Idempotent-Replayed"), headers("ETag", "Location", "Idempotent-Replayed", "Coloa-Operation")
	}
	return map[string]*huma.Response{strconv.Itoa(done): finished, "202": begun}
}

func (a *api) deleteAnswers(schema *huma.Schema) map[string]*huma.Response {
	begun := jsonResponse("An operation carries it out", schema)
	begun.Headers = headers("ETag", "Coloa-Operation")
	return map[string]*huma.Response{"202": begun, "204": {Description: "It is gone"}}
}

// documentAnswers adds the problems that the operation may answer with, and whether it needs a token.
func documentAnswers(operation *huma.Operation, about route) {
	statuses := []int{400, 429, 500, 503, 401, 422}
	if about.public {
		operation.Security = []map[string][]string{}
	} else {
		statuses = append(statuses, 403)
	}
	if about.ids != nil {
		statuses = append(statuses, 404)
	}
	if operation.Method != http.MethodGet {
		statuses = append(statuses, 409)
	}
	if about.body != bodyNone {
		statuses = append(statuses, 413, 415)
	}
	switch operation.Method {
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
		if about.body != bodyUpload {
			statuses = append(statuses, 412)
		}
	}
	for _, status := range statuses {
		operation.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/Problem" + strconv.Itoa(status)}
	}
	// huma documents a default status of its own accord; it must be one that we answer with.
	operation.DefaultStatus = lowestStatus(operation.Responses)
}

func lowestStatus(responses map[string]*huma.Response) int {
	var statuses []int
	for text := range responses {
		if status, err := strconv.Atoi(text); err == nil {
			statuses = append(statuses, status)
		}
	}
	return slices.Min(statuses)
}

// finishDocument puts the document into the form that is served.
func (a *api) finishDocument() {
	for _, tag := range []huma.Tag{
		{Name: "identity", Description: "Logging in and out."}, {Name: "events", Description: "What happened, as it happens."},
		{Name: "cluster", Description: "The cloud itself."},
	} {
		a.huma.OpenAPI().Tags = append(a.huma.OpenAPI().Tags, &tag)
	}
	a.openAnswers()
	// Made once, when it is first asked for: the routes are open to everybody.
	a.documentJSON = sync.OnceValues(a.makeJSON)
	a.documentYAML = sync.OnceValues(a.huma.OpenAPI().YAML)
}

// openAnswers lets what only answers hold have fields that a client does not know yet: new fields must not break old clients. Requests stay strict.
func (a *api) openAnswers() {
	schemas := a.huma.OpenAPI().Components.Schemas.Map()
	delete(schemas, "UserSecret") // nothing refers to it once documentNoun has cut it off
	strict := map[string]bool{}
	var visit func(schema *huma.Schema)
	visit = func(schema *huma.Schema) {
		if schema == nil {
			return
		}
		if name, found := strings.CutPrefix(schema.Ref, schemaPrefix); found && !strict[name] {
			strict[name] = true
			visit(schemas[name])
		}
		visit(schema.Items)
		for _, property := range schema.Properties {
			visit(property)
		}
		if values, isSchema := schema.AdditionalProperties.(*huma.Schema); isSchema {
			visit(values)
		}
	}
	for _, path := range a.huma.OpenAPI().Paths {
		for _, operation := range []*huma.Operation{path.Post, path.Put, path.Patch} {
			if operation == nil || operation.RequestBody == nil {
				continue
			}
			for _, media := range operation.RequestBody.Content {
				visit(media.Schema)
			}
		}
	}
	for name, schema := range schemas {
		if closed, isBool := schema.AdditionalProperties.(bool); isBool && !closed && !strict[name] {
			schema.AdditionalProperties = nil
		}
	}
}

func (a *api) makeJSON() ([]byte, error) {
	raw, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	err = json.Indent(&indented, raw, "", "  ")
	return indented.Bytes(), err
}

func (a *api) serveDocument(c *gin.Context, media string, made func() ([]byte, error)) {
	body, err := made()
	if err != nil {
		a.refuse(c, err)
		return
	}
	a.extendWrite(c)
	c.Data(http.StatusOK, media, body)
}
