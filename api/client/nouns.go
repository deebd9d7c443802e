package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Noun is a pointer to one of the nouns of api/v1: client.Get[v1.VM](ctx, c, ref).
type Noun[T any] interface {
	*T
	v1.Object
}

// Ref names an object.
type Ref struct {
	ID      string // id or name
	Project string // where a name is looked up; the client's project when ""
}

// Draft is the writable part of an object. Spec is the kind's spec (v1.VMSpec for a VM), or any JSON of its form.
type Draft struct {
	Name    string            `json:"name"`
	Project string            `json:"project,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Spec    any               `json:"spec"`
}

// Query selects objects.
type Query struct {
	Project string // the client's project when ""
	All     bool   // of all projects, whatever the client's project is
	Name    string
	Labels  map[string]string
	// Fields are further equalities, for example {"volume": id} of snapshots.
	Fields map[string]string
	Limit  int // objects in a page, 1..1000; the server's choice when 0
	Cursor string
}

// Page is a part of a list.
type Page[T any] struct {
	Items []*T   `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; "" at the end
}

// Result is what a change led to.
type Result[T any] struct {
	Object    *T     // nil when it is gone
	Operation string // id of the operation that carries it out; "" when all is done
	Replayed  bool   // the answer of an earlier request with the same Idempotency-Key
}

// pathOf is the collection's address and whether its objects belong to a project.
func pathOf[T any, P Noun[T]]() (string, bool) {
	definition, err := v1.Define(P(new(T)).ObjectKind())
	if err != nil {
		// Noun is closed over api/v1; a kind without a line in its table is a mistake in api/v1.
		panic(err)
	}
	return "/v1/" + definition.Path, definition.Scoped
}

func (c *Client) projectOr(project string) string {
	if project == "" {
		return c.options.Project
	}
	return project
}

func (c *Client) refPath(collection string, scoped bool, ref Ref) (string, url.Values) {
	query := url.Values{}
	if project := c.projectOr(ref.Project); scoped && project != "" && !v1.IsID(ref.ID) {
		query.Set("project", project)
	}
	return collection + "/" + url.PathEscape(ref.ID), query
}

// List returns one page.
func List[T any, P Noun[T]](ctx context.Context, c *Client, query Query) (Page[T], error) {
	path, scoped := pathOf[T, P]()
	values := url.Values{}
	if project := c.projectOr(query.Project); scoped && project != "" && !query.All {
		values.Set("project", project)
	}
	if query.Name != "" {
		values.Set("name", query.Name)
	}
	for key, value := range query.Labels {
		values.Add("label", key+"="+value)
	}
	for key, value := range query.Fields {
		values.Set(key, value)
	}
	if query.Limit > 0 {
		values.Set("limit", strconv.Itoa(query.Limit))
	}
	if query.Cursor != "" {
		values.Set("cursor", query.Cursor)
	}
	answer, err := c.do(ctx, call{method: http.MethodGet, path: path, query: values})
	if err != nil {
		return Page[T]{}, err
	}
	var page Page[T]
	return page, decode(answer, &page)
}

// ListAll follows the pages to the end, or until limit objects are there (0: no limit).
func ListAll[T any, P Noun[T]](ctx context.Context, c *Client, query Query, limit int) ([]*T, error) {
	var all []*T
	for {
		query.Limit = 500
		if limit > 0 {
			query.Limit = min(limit-len(all), 1000)
		}
		page, err := List[T, P](ctx, c, query)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || page.Next == query.Cursor || limit > 0 && len(all) >= limit {
			return all, nil
		}
		query.Cursor = page.Next
	}
}

// Get returns an object by id or name.
func Get[T any, P Noun[T]](ctx context.Context, c *Client, ref Ref) (*T, error) {
	collection, scoped := pathOf[T, P]()
	path, query := c.refPath(collection, scoped, ref)
	answer, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return nil, err
	}
	object := new(T)
	return object, decode(answer, object)
}

// GetSpec returns the writable part alone, with its version for If-Match.
func GetSpec(ctx context.Context, c *Client, kind v1.Kind, ref Ref) (Draft, uint64, error) {
	definition, err := v1.Define(kind)
	if err != nil {
		return Draft{}, 0, err
	}
	path, query := c.refPath("/v1/"+definition.Path, definition.Scoped, ref)
	query.Set("view", "spec")
	answer, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return Draft{}, 0, err
	}
	var body struct {
		Draft
		Spec json.RawMessage `json:"spec"`
	}
	if err := decode(answer, &body); err != nil {
		return Draft{}, 0, err
	}
	body.Draft.Spec = body.Spec
	return body.Draft, version(answer), nil
}

// Create makes an object.
func Create[T any, P Noun[T]](ctx context.Context, c *Client, draft Draft) (Result[T], error) {
	path, scoped := pathOf[T, P]()
	if scoped {
		draft.Project = c.projectOr(draft.Project)
	}
	return change[T](ctx, c, http.MethodPost, path, nil, draft, 0, "")
}

// Update writes the whole writable part. version is what If-Match carries; 0 asks for no match.
func Update[T any, P Noun[T]](ctx context.Context, c *Client, ref Ref, draft Draft, version uint64) (Result[T], error) {
	collection, scoped := pathOf[T, P]()
	path, query := c.refPath(collection, scoped, ref)
	return change[T](ctx, c, http.MethodPut, path, query, draft, version, "")
}

// Patch merges {name, labels, spec} into the object (RFC 7396: null removes). version is what If-Match carries; 0 asks for no match.
func Patch[T any, P Noun[T]](ctx context.Context, c *Client, ref Ref, patch any, version uint64) (Result[T], error) {
	collection, scoped := pathOf[T, P]()
	path, query := c.refPath(collection, scoped, ref)
	return change[T](ctx, c, http.MethodPatch, path, query, patch, version, "application/merge-patch+json")
}

// Delete asks for an object's deletion. When an attempt whose answer was lost had already deleted it, that is success.
func Delete[T any, P Noun[T]](ctx context.Context, c *Client, ref Ref, version uint64) (Result[T], error) {
	collection, scoped := pathOf[T, P]()
	path, query := c.refPath(collection, scoped, ref)
	answer, result, err := changed[T](ctx, c, http.MethodDelete, path, query, nil, version, "")
	if answer != nil && answer.unsure && v1.CodeOf(err) == v1.CodeNotFound {
		return Result[T]{}, nil
	}
	return result, err
}

// Act does what is no change of a spec, for example "start" of a VM. args may be nil.
func Act[T any, P Noun[T]](ctx context.Context, c *Client, ref Ref, action string, args any) (Result[T], error) {
	collection, scoped := pathOf[T, P]()
	path, query := c.refPath(collection, scoped, ref)
	if args == nil {
		args = struct{}{}
	}
	return change[T](ctx, c, http.MethodPost, path+"/"+url.PathEscape(action), query, args, 0, "")
}

func change[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any, version uint64, media string) (Result[T], error) {
	_, result, err := changed[T](ctx, c, method, path, query, body, version, media)
	return result, err
}

func changed[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any, version uint64, media string) (*answer, Result[T], error) {
	request := call{method: method, path: path, query: query, header: http.Header{}}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, Result[T]{}, fmt.Errorf("the request cannot be written as JSON: %w", err)
		}
		request.body = text
	}
	if version > 0 {
		request.header.Set("If-Match", `"`+strconv.FormatUint(version, 10)+`"`)
	}
	if media != "" {
		request.header.Set("Content-Type", media)
	}
	answer, err := c.do(ctx, request)
	if err != nil {
		return answer, Result[T]{}, err
	}
	result, err := resultOf[T](answer)
	return answer, result, err
}

func resultOf[T any](answer *answer) (Result[T], error) {
	result := Result[T]{Operation: answer.header.Get("Coloa-Operation"), Replayed: answer.header.Get("Idempotent-Replayed") == "true"}
	if answer.status == http.StatusNoContent || len(answer.body) == 0 {
		return result, nil
	}
	result.Object = new(T)
	if err := decode(answer, result.Object); err != nil || result.Operation != "" {
		return result, err
	}
	var link struct {
		Operation string `json:"operation"`
	}
	err := decode(answer, &link)
	result.Operation = link.Operation
	return result, err
}

func decode(answer *answer, into any) error {
	if err := json.Unmarshal(answer.body, into); err != nil {
		return v1.NewProblem(v1.CodeInternal, "the controller's answer cannot be read: %v", err).WithNext("Check that client and controller are of the same version.")
	}
	return nil
}

func version(answer *answer) uint64 {
	text := answer.header.Get("ETag")
	if unquoted, err := strconv.Unquote(text); err == nil {
		text = unquoted
	}
	number, _ := strconv.ParseUint(text, 10, 64)
	return number
}
