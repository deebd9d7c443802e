package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// noun is what the verbs that all nouns share need to know of one.
type noun[T any, P client.Noun[T]] struct {
	*app
	key     string // of the catalogue: noun.<key>, noun.<key>.many
	columns []column[T]
	filters []filter
}

// column is one column of a table, and one line of `show`.
type column[T any] struct {
	key    string
	level  level
	whole  bool
	value  func(*T) string       // for programs
	human  func(*app, *T) string // for people; value when nil
	colour func(*T) string       // "" when nil
	ref    v1.Kind               // value is an id of this kind: people see its name
}

// filter is a flag of `list` that the server understands as an equality.
type filter struct {
	name string
	ref  v1.Kind // its value is a name or id of this kind; "" for plain text
}

func (n noun[T, P]) definition() v1.Definition {
	definition, err := v1.Define(P(new(T)).ObjectKind())
	if err != nil {
		panic(err) // client.Noun is closed over api/v1
	}
	return definition
}

// all are the columns with those that every noun has.
func (n noun[T, P]) all() []column[T] {
	definition := n.definition()
	name := column[T]{key: "name", whole: true, value: func(o *T) string { return P(o).ObjectMeta().Name }}
	id := column[T]{key: "id", level: wideOnly, whole: true, value: func(o *T) string { return P(o).ObjectMeta().ID }}
	if !definition.Named {
		name.level, id.level = wideOnly, always
	}
	if n.key == "token" {
		name.level = always
	}
	columns := append([]column[T]{name}, n.columns...)
	if !definition.Named {
		columns = append([]column[T]{id, name}, n.columns...)
	}
	columns = append(columns, column[T]{
		key: "age", level: ifRoom,
		value: func(o *T) string { return stamp(P(o).ObjectMeta().CreatedAt) },
		human: func(a *app, o *T) string { return a.age(P(o).ObjectMeta().CreatedAt) },
	})
	if definition.Scoped {
		columns = append(columns, column[T]{key: "project", level: wideOnly, ref: v1.KindProject, value: func(o *T) string { return P(o).ObjectMeta().Project }})
	}
	columns = append(columns, column[T]{key: "labels", level: wideOnly, value: func(o *T) string { return labelText(P(o).ObjectMeta().Labels) }})
	if definition.Named {
		columns = append(columns, id)
	}
	return append(columns,
		column[T]{key: "created", level: detailOnly, value: func(o *T) string { return stamp(P(o).ObjectMeta().CreatedAt) }, human: func(a *app, o *T) string { return a.moment(P(o).ObjectMeta().CreatedAt) }},
		column[T]{key: "version", level: detailOnly, value: func(o *T) string { return number(int64(P(o).ObjectMeta().Version)) }},
	)
}

// sheet lays objects out. Names of what ids point at are looked up for people alone.
func (n noun[T, P]) sheet(ctx context.Context, objects []*T, detail bool) *sheet {
	s := &sheet{}
	columns := n.all()
	look := n.newLookup(ctx, n.forPeople() && (detail || len(objects) > 0))
	for _, c := range columns {
		s.columns = append(s.columns, heading{c.key, c.level, c.whole})
	}
	for _, object := range objects {
		row := make([]cell, len(columns))
		for i, c := range columns {
			machine := c.value(object)
			human := machine
			switch {
			case c.human != nil:
				human = c.human(n.app, object)
			case c.ref != "" && machine != "" && (detail || c.level < wideOnly || n.flags.output == formWide):
				human = look.name(c.ref, machine)
			}
			row[i] = cell{machine: machine, human: plain(human)}
			if c.colour != nil {
				row[i].colour = c.colour(object)
			}
		}
		s.rows = append(s.rows, row)
	}
	return s
}

func (n noun[T, P]) names(objects []*T) []string {
	names := make([]string, len(objects))
	for i, object := range objects {
		names[i] = n.nameOf(object)
	}
	return names
}

func (n noun[T, P]) nameOf(object *T) string {
	meta := P(object).ObjectMeta()
	if n.definition().Named {
		return meta.Name
	}
	return meta.ID
}

func (n noun[T, P]) printList(ctx context.Context, objects []*T) error {
	if objects == nil {
		objects = []*T{}
	}
	return n.print(result{data: objects, names: n.names(objects), sheet: func() *sheet { return n.sheet(ctx, objects, false) }})
}

// printOne prints an object that a change led to; operation is put beside it for programs.
func (n noun[T, P]) printOne(ctx context.Context, object *T, operation string) error {
	var data any = object
	if operation != "" {
		data = withOperation{object, operation}
	}
	objects := []*T{object}
	return n.print(result{data: data, names: n.names(objects), sheet: func() *sheet { return n.sheet(ctx, objects, false) }})
}

// withOperation is an object with the link to the operation that works on it, as the API gives it.
type withOperation struct {
	object    any
	operation string
}

func (w withOperation) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(w.object)
	if err != nil {
		return nil, err
	}
	link, err := json.Marshal(w.operation)
	if err != nil {
		return nil, err
	}
	return slices.Concat(text[:len(text)-1], []byte(`,"operation":`), link, []byte("}")), nil
}

func (n noun[T, P]) pairs() []any {
	return []any{"Noun", n.T("noun." + n.key), "Nouns", n.T("noun." + n.key + ".many")}
}

func (n noun[T, P]) candidates() func(context.Context) []string {
	return n.app.names(n.definition().Path)
}

// list is the command `list`.
func (n noun[T, P]) list() *cobra.Command {
	var labels map[string]string
	var name string
	var limit int
	var everywhere bool
	values := make([]string, len(n.filters))
	command := n.command(verb{key: "list", name: "list", aliases: []string{"ls"}, pairs: n.pairs(), run: func(ctx context.Context, _ []string) error {
		c, err := n.client()
		if err != nil {
			return err
		}
		query := client.Query{Labels: labels, Name: name, All: everywhere, Fields: map[string]string{}}
		for i, filter := range n.filters {
			if values[i] == "" {
				continue
			}
			if query.Fields[filter.name], err = n.idOf(ctx, c, filter.ref, values[i]); err != nil {
				return err
			}
		}
		objects, err := client.ListAll[T, P](ctx, c, query, limit)
		if err != nil {
			return err
		}
		return n.printList(ctx, objects)
	}})
	flags := command.Flags()
	flags.StringToStringVarP(&labels, "label", "l", nil, n.T("flag.list.label"))
	flags.IntVar(&limit, "limit", 0, n.T("flag.list.limit"))
	if n.definition().Named {
		flags.StringVar(&name, "name", "", n.T("flag.list.name"))
	}
	if n.definition().Scoped {
		flags.BoolVarP(&everywhere, "all-projects", "A", false, n.T("flag.list.all"))
	}
	for i, filter := range n.filters {
		flags.StringVar(&values[i], filter.name, "", n.T("flag.list."+filter.name))
		if definition, err := v1.Define(filter.ref); err == nil {
			n.complete(command, filter.name, n.app.names(definition.Path))
		}
	}
	return command
}

// show is the command `show`.
func (n noun[T, P]) show() *cobra.Command {
	spec := false
	command := n.command(verb{key: "show", name: "show", aliases: []string{"get"}, args: []string{"name"}, pairs: n.pairs(), names: n.candidates(), run: func(ctx context.Context, args []string) error {
		c, err := n.client()
		if err != nil {
			return err
		}
		if spec {
			return n.printSpec(ctx, c, n.definition().Kind, args[0])
		}
		object, err := client.Get[T, P](ctx, c, client.Ref{ID: args[0]})
		if err != nil {
			return err
		}
		return n.print(result{data: object, names: []string{n.nameOf(object)}, one: true, sheet: func() *sheet { return n.sheet(ctx, []*T{object}, true) }})
	}})
	if n.key != "operation" && n.key != "instance" && n.key != "task" && n.key != "attachment" {
		command.Flags().BoolVar(&spec, "spec", false, n.T("flag.show.spec"))
	}
	return command
}

// delete is the command `delete`. All deletions are asked for before any is waited for.
func (n noun[T, P]) delete() *cobra.Command {
	command := n.command(verb{key: "delete", name: "delete", aliases: []string{"rm"}, args: []string{"name…"}, pairs: n.pairs(), names: n.candidates(), run: func(ctx context.Context, args []string) error {
		return n.each(ctx, args, true, func(ctx context.Context, c *client.Client, name string) (client.Result[T], error) {
			return client.Delete[T, P](ctx, c, client.Ref{ID: name}, 0)
		})
	}})
	n.waitable(command)
	return command
}

// waitable adds --no-wait where a change of the noun may take an operation.
func (n noun[T, P]) waitable(command *cobra.Command) {
	switch n.definition().Kind {
	case v1.KindVM, v1.KindVolume, v1.KindSnapshot, v1.KindImage:
		n.waitFlags(command)
	}
}

// each changes several objects and waits for all. Every failure is reported; the first one decides the exit code.
func (n noun[T, P]) each(ctx context.Context, names []string, gone bool, change func(context.Context, *client.Client, string) (client.Result[T], error)) error {
	c, err := n.client()
	if err != nil {
		return err
	}
	results := make([]client.Result[T], len(names))
	failures := make([]error, len(names))
	for i, name := range names {
		if results[i], failures[i] = change(ctx, c, name); failures[i] != nil && ctx.Err() != nil {
			failures[i] = context.Cause(ctx)
		}
	}
	for i, result := range results {
		switch {
		case failures[i] != nil || result.Operation == "":
		case n.flags.noWait:
			n.notice(n.T("wait.goes-on", "Operation", result.Operation))
		default:
			failures[i] = n.follow(ctx, c, result.Operation)
		}
	}
	var changed []*T
	var operations []string
	for i, result := range results {
		switch {
		case failures[i] != nil:
			continue
		case gone && result.Operation != "" && n.flags.noWait:
			operations = append(operations, result.Operation)
		case gone:
			n.notice(n.T("delete.done", append(n.pairs(), "Name", names[i])...))
		case result.Operation != "" && !n.flags.noWait:
			object, err := client.Get[T, P](ctx, c, client.Ref{ID: P(result.Object).ObjectMeta().ID})
			if failures[i] = err; err == nil {
				changed = append(changed, object)
			}
		case result.Object != nil:
			changed = append(changed, result.Object)
		}
	}
	if err := n.printEach(ctx, c, len(names), changed, results, operations); err != nil {
		return err
	}
	return n.firstOf(failures)
}

func (n noun[T, P]) printEach(ctx context.Context, c *client.Client, asked int, changed []*T, results []client.Result[T], operations []string) error {
	switch {
	case len(operations) > 0:
		return n.printOperations(ctx, c, operations)
	case len(changed) == 1 && asked == 1:
		operation := ""
		if n.flags.noWait {
			operation = results[0].Operation
		}
		return n.printOne(ctx, changed[0], operation)
	case len(changed) > 0:
		return n.printList(ctx, changed)
	}
	return nil
}

// firstOf reports all failures but the last, and returns one that ends the program with the code of the first.
func (a *app) firstOf(failures []error) error {
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	switch len(failures) {
	case 0:
		return nil
	case 1:
		return failures[0]
	}
	exit, last := -1, ""
	for _, err := range failures {
		code, what, next := a.explain(err)
		if exit < 0 {
			exit = code
		}
		if line := what + next; line != last {
			a.report(err)
			last = line
		}
	}
	return quiet{exit}
}

// one carries out a change of one object: it waits, and prints the object as it is then.
func (n noun[T, P]) one(ctx context.Context, name string, change func(context.Context, *client.Client, string) (client.Result[T], error)) error {
	return n.each(ctx, []string{name}, false, change)
}

// printSpec prints the writable part, in the form that `coloa apply` reads.
func (a *app) printSpec(ctx context.Context, c *client.Client, kind v1.Kind, name string) error {
	draft, _, err := client.GetSpec(ctx, c, kind, client.Ref{ID: name})
	if err != nil {
		return err
	}
	if a.forPeople() || a.flags.output == formCSV {
		a.flags.output = formYAML
	}
	return a.print(result{data: document{Kind: kind, Draft: draft}, names: []string{draft.Name}})
}

func labelText(labels map[string]string) string {
	parts := make([]string, 0, len(labels))
	for key, value := range labels {
		parts = append(parts, key+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// isCode says whether an error is a problem of a code.
func isCode(err error, code v1.Code) bool {
	var problem *v1.Problem
	return errors.As(err, &problem) && problem.Code == code
}
