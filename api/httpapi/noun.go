package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file holds what all nouns have in common: list, get, create, replace, patch, delete. routes.go says which noun has what.

// verbs are what can be done to a noun besides reading it.
type verbs int

const (
	create verbs = 1 << iota
	replace
	remove
	readOnly verbs = 0
)

// noun is a line of the table in routes.go. O is the noun's type (*v1.VM), S its spec (v1.VMSpec).
type noun[O v1.Object, S any] struct {
	kind    v1.Kind
	title   string // for people, without article: "virtual machine"
	about   string // a sentence or two for the document
	can     verbs
	spec    func(O) *S
	filters []filter
	ids     *regexp.Regexp // form of what people may write instead of an id; names when nil
	explain bool           // POST takes dryRun
	wait    bool           // GET takes wait
	// creates replaces the way objects are made, for what must be shown once.
	creates func(ctx context.Context, a *api, caller Caller, draft Draft) (*answer, error)
	created any // its answer, for the document
}

// filter is a further query parameter of a list.
type filter struct{ name, about string }

// writable is the part of an object that its user writes.
type writable[S any] struct {
	Name    string            `json:"name" doc:"Name, unique among its kind in its project" maxLength:"63"`
	Project string            `json:"project,omitempty" doc:"Name or id of the project" maxLength:"63"`
	Labels  map[string]string `json:"labels,omitempty" doc:"Free key/value pairs"`
	Spec    S                 `json:"spec" doc:"What is wanted"`
}

func (w *writable[S]) draft() Draft {
	return Draft{Name: w.Name, Project: w.Project, Labels: w.Labels, Spec: &w.Spec}
}

type (
	listInput struct {
		Project string   `query:"project" doc:"Name or id of a project; all that the caller sees when left out"`
		Name    string   `query:"name" doc:"Exact name" maxLength:"63"`
		Labels  []string `query:"label,explode" doc:"key=value; repeated, all must match"`
		Limit   int      `query:"limit" doc:"Most items in a page" default:"100" minimum:"1" maximum:"1000"`
		Cursor  string   `query:"cursor" doc:"The field next of the page before" maxLength:"1024"`
	}
	// PathID names the object. It is exported only because huma reads exported fields alone.
	PathID struct {
		ID      string `path:"id" doc:"Id, or name" maxLength:"63"`
		Project string `query:"project" doc:"Name or id of the project, when a name is given that several projects have"`
	}
	getInput struct {
		PathID
		View string `query:"view" doc:"spec gives the writable part alone" enum:"spec"`
	}
	createInput[S any] struct {
		Key  string `header:"Idempotency-Key" doc:"Makes a repetition harmless: the first answer is given again" maxLength:"255"`
		Body writable[S]
	}
	replaceInput[S any] struct {
		PathID
		Match string `header:"If-Match" doc:"The ETag that was seen; refused with 412 when it is no longer the present one"`
		Body  writable[S]
	}
	changeInput struct {
		PathID
		Match string `header:"If-Match" doc:"The ETag that was seen; refused with 412 when it is no longer the present one"`
	}
)

// identifiers are the forms of {id}.
var (
	plainIDs = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) // every UUID is also of this form
	userIDs  = regexp.MustCompile(`^[a-z0-9]([a-z0-9._@-]{0,61}[a-z0-9])?$`)
)

// registered is a noun with what registering it needs.
type registered[O v1.Object, S any] struct {
	*api
	noun[O, S]
	path     string // "/v1/vms"
	plural   string // "vms"
	singular string // "vm", for operation ids
	tag      string
	full     *huma.Schema // of O
	draft    *huma.Schema // of writable[S]
}

func addNoun[O v1.Object, S any](a *api, line noun[O, S]) {
	definition, err := v1.Define(line.kind)
	if err != nil {
		panic(err) // a wrong line in routes.go
	}
	if line.ids == nil {
		line.ids = plainIDs
	}
	n := &registered[O, S]{
		api: a, noun: line, path: "/v1/" + definition.Path, plural: definition.Path, singular: singularOf(definition),
		tag: definition.Path, full: a.schema(reflect.TypeFor[O]()),
	}
	a.documentNoun(n.full, definition, line.about)
	if line.can&(create|replace) != 0 || line.creates != nil {
		n.draft = a.schema(reflect.TypeFor[writable[S]]())
		a.documentDraft(n.draft, definition)
	}
	n.addReads()
	if line.can&create != 0 {
		n.addCreate()
	}
	if line.can&replace != 0 {
		n.addReplace()
		n.addPatch()
	}
	if line.can&remove != 0 {
		n.addDelete()
	}
}

func singularOf(definition v1.Definition) string { return strings.TrimSuffix(definition.Path, "s") }

func (n *registered[O, S]) operation(method, path, verb, summary string) huma.Operation {
	return huma.Operation{
		OperationID: verb, Method: method, Path: n.path + path, Tags: []string{n.tag}, Summary: summary,
	}
}

func (n *registered[O, S]) oneRoute(body bodyKind) route {
	return route{ids: n.ids, noun: n.title, body: body}
}

func (n *registered[O, S]) ref(in PathID) Ref {
	return Ref{Kind: n.kind, ID: in.ID, Project: in.Project}
}

func (n *registered[O, S]) addReads() {
	list := n.operation(http.MethodGet, "", "list-"+n.plural, "List "+n.plural)
	list.Description = "Gives what the caller may see, in pages."
	for _, filter := range n.filters {
		list.Parameters = append(list.Parameters, &huma.Param{Name: filter.name, In: "query", Description: filter.about, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	list.Responses = n.listAnswer(n.full)
	add(n.api, list, route{}, n.list)

	get := n.operation(http.MethodGet, "/{id}", "get-"+n.singular, "Get one "+n.title)
	get.Responses = n.objectAnswer(http.StatusOK, n.full)
	about := n.oneRoute(bodyNone)
	if n.wait {
		get.Description = "With wait it answers once the operation is finished, or the time is over."
		get.Parameters = append(get.Parameters, waitParameter())
		about.stream = true
	}
	add(n.api, get, about, n.get)
}

func (n *registered[O, S]) list(ctx context.Context, in *listInput) (*answer, error) {
	query := Query{Kind: n.kind, Project: in.Project, Name: in.Name, Limit: in.Limit, Cursor: in.Cursor}
	var err error
	if query.Labels, err = parseLabels(in.Labels); err != nil {
		return nil, err
	}
	request := requestOf(ctx)
	for _, filter := range n.filters {
		value := request.gin.Query(filter.name)
		if value == "" {
			continue
		}
		if !filterForm.MatchString(value) {
			return nil, invalidField(filter.name, "is neither a name nor an id")
		}
		if query.Fields == nil {
			query.Fields = map[string]string{}
		}
		query.Fields[filter.name] = value
	}
	page, err := n.service.List(ctx, request.caller, query)
	if err != nil {
		return nil, err
	}
	items := make([]json.RawMessage, 0, len(page.Items))
	for _, item := range page.Items {
		encoded, err := encodeObject(item, "")
		if err != nil {
			return nil, err
		}
		items = append(items, encoded)
	}
	return encodeAnswer(http.StatusOK, page.Index, map[string]any{"items": items}, page.Next)
}

func (n *registered[O, S]) get(ctx context.Context, in *getInput) (*answer, error) {
	object, err := n.find(ctx, in.PathID)
	if err != nil {
		return nil, err
	}
	given := &answer{status: http.StatusOK, version: object.ObjectMeta().Version}
	if in.View == "spec" {
		typed, err := n.typed(object)
		if err != nil {
			return nil, err
		}
		given.body, err = json.Marshal(n.writableOf(typed))
		return given, err
	}
	given.body, err = encodeObject(object, "")
	return given, err
}

// find gets one object, after waiting for it if that was asked for.
func (n *registered[O, S]) find(ctx context.Context, in PathID) (v1.Object, error) {
	request := requestOf(ctx)
	if n.wait {
		wait, err := parseWait(request.gin.Query("wait"))
		if err != nil {
			return nil, err
		}
		if wait > 0 {
			return n.waitOperation(ctx, n.ref(in), wait)
		}
	}
	return n.service.Get(ctx, request.caller, n.ref(in))
}

func (n *registered[O, S]) typed(object v1.Object) (O, error) {
	typed, ok := object.(O)
	if !ok {
		return typed, fmt.Errorf("the service answered a %T where a %s was asked for", object, n.kind)
	}
	return typed, nil
}

func (n *registered[O, S]) writableOf(object O) *writable[S] {
	meta := object.ObjectMeta()
	return &writable[S]{Name: meta.Name, Project: meta.Project, Labels: meta.Labels, Spec: *n.spec(object)}
}

func (n *registered[O, S]) addCreate() {
	operation := n.operation(http.MethodPost, "", "create-"+n.singular, "Create "+withArticle(n.title))
	operation.Responses = n.changeAnswers(http.StatusCreated, n.full)
	if n.creates != nil {
		operation.Responses = n.objectAnswer(http.StatusCreated, n.schema(reflect.TypeOf(n.created)))
	}
	if n.explain {
		operation.Description = "With dryRun it says where the machine would be placed and why, and makes nothing."
		operation.Parameters = append(operation.Parameters, &huma.Param{Name: "dryRun", In: "query",
			Description: "true makes nothing, and answers where it would go", Schema: &huma.Schema{Type: huma.TypeBoolean}})
		operation.Responses["200"] = jsonResponse("Where it would be placed (dryRun)", n.schema(reflect.TypeFor[v1.Placement]()))
	}
	add(n.api, operation, route{body: bodyJSON}, func(ctx context.Context, in *createInput[S]) (*answer, error) {
		request := requestOf(ctx)
		key, err := parseKey(ctx, in.Key)
		if err != nil {
			return nil, err
		}
		if n.explain {
			dry, err := parseDryRun(request.gin)
			if err != nil {
				return nil, err
			}
			if dry {
				placement, err := n.service.Explain(ctx, request.caller, in.Body.draft())
				if err != nil {
					return nil, err
				}
				return encode(http.StatusOK, placement)
			}
		}
		if n.creates != nil {
			return n.creates(ctx, n.api, request.caller, in.Body.draft())
		}
		result, err := n.service.Create(ctx, request.caller, n.kind, in.Body.draft(), key)
		if err != nil {
			return nil, err
		}
		given, err := n.changed(result, http.StatusCreated)
		if err == nil && result.Object != nil {
			given.location = n.path + "/" + result.Object.ObjectMeta().ID
		}
		return given, err
	})
}

func (n *registered[O, S]) addReplace() {
	operation := n.operation(http.MethodPut, "/{id}", "replace-"+n.singular, "Replace the writable part of "+withArticle(n.title))
	operation.Description = "Fields that cannot change must be sent as they are. The project, when sent, must be the present one."
	operation.Responses = n.changeAnswers(http.StatusOK, n.full)
	add(n.api, operation, n.oneRoute(bodyJSON), func(ctx context.Context, in *replaceInput[S]) (*answer, error) {
		version, err := parseMatch(in.Match)
		if err != nil {
			return nil, err
		}
		result, err := n.service.Replace(ctx, requestOf(ctx).caller, n.ref(in.PathID), in.Body.draft(), version)
		if err != nil {
			return nil, err
		}
		return n.changed(result, http.StatusOK)
	})
}

func (n *registered[O, S]) addDelete() {
	operation := n.operation(http.MethodDelete, "/{id}", "delete-"+n.singular, "Delete "+withArticle(n.title))
	operation.Description = "Asking again while the deletion goes on changes nothing; afterwards there is nothing to find (404)."
	operation.Responses = n.deleteAnswers(n.full)
	add(n.api, operation, n.oneRoute(bodyNone), func(ctx context.Context, in *changeInput) (*answer, error) {
		version, err := parseMatch(in.Match)
		if err != nil {
			return nil, err
		}
		result, err := n.service.Delete(ctx, requestOf(ctx).caller, n.ref(in.PathID), version)
		if err != nil {
			return nil, err
		}
		if result.Operation == "" {
			return &answer{status: http.StatusNoContent}, nil
		}
		return n.changed(result, http.StatusOK)
	})
}
