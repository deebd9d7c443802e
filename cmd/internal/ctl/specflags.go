package ctl

import (
	"context"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
)

// specFlags are flags that write fields of an object: the same ones for create (a whole spec) and update (a merge patch).
type specFlags struct {
	app     *app
	noun    string
	command *cobra.Command
	fields  []specField
	labels  []string
	rename  string
}

type specField struct {
	flag  string
	field string // path below spec, with dots
	value func() (any, error)
}

func (s *specFlags) usage(flag string) string { return s.app.T("flag." + s.noun + "." + flag) }

func (s *specFlags) add(flag, field string, value func() (any, error)) {
	s.fields = append(s.fields, specField{flag, field, value})
}

func (s *specFlags) text(flag, field string) {
	value := s.command.Flags().String(flag, "", s.usage(flag))
	s.add(flag, field, func() (any, error) { return *value, nil })
}

func (s *specFlags) oneOf(flag, field string, allowed ...string) {
	s.text(flag, field)
	s.app.complete(s.command, flag, func(context.Context) []string { return allowed })
}

// ref is the name of another object.
func (s *specFlags) ref(flag, field, collection string) {
	s.text(flag, field)
	s.app.complete(s.command, flag, s.app.names(collection))
}

func (s *specFlags) integer(flag, field string) {
	value := s.command.Flags().Int64(flag, 0, s.usage(flag))
	s.add(flag, field, func() (any, error) { return *value, nil })
}

func (s *specFlags) float(flag, field string) {
	value := s.command.Flags().Float64(flag, 0, s.usage(flag))
	s.add(flag, field, func() (any, error) { return *value, nil })
}

func (s *specFlags) boolean(flag, field string) {
	value := s.command.Flags().Bool(flag, false, s.usage(flag))
	s.add(flag, field, func() (any, error) { return *value, nil })
}

// size is an amount in units of 1<<shift bytes (MiB or GiB).
func (s *specFlags) size(flag, field string, unit int64) {
	value := &sizeValue{app: s.app, unit: unit}
	s.command.Flags().Var(value, flag, s.usage(flag))
	s.add(flag, field, func() (any, error) { return value.amount, nil })
}

// throttle are the limits of a disk's speed, below the field.
func (s *specFlags) throttle(field string) {
	for flag, name := range map[string]string{"read-iops": "readIops", "write-iops": "writeIops", "read-mibps": "readMiBps", "write-mibps": "writeMiBps"} {
		value := s.command.Flags().Int64(flag, 0, s.app.T("flag.throttle."+flag))
		s.add(flag, field+"."+name, func() (any, error) { return *value, nil })
	}
}

// spec is what the flags that were given say.
func (s *specFlags) spec() (map[string]any, error) {
	spec := map[string]any{}
	for _, field := range s.fields {
		if !s.command.Flags().Changed(field.flag) {
			continue
		}
		value, err := field.value()
		if err != nil {
			return nil, err
		}
		at := spec
		path := strings.Split(field.field, ".")
		for _, part := range path[:len(path)-1] {
			next, _ := at[part].(map[string]any)
			if next == nil {
				next = map[string]any{}
				at[part] = next
			}
			at = next
		}
		at[path[len(path)-1]] = value
	}
	return spec, nil
}

// labelChanges reads "key=value" and "key-" (remove: nil).
func (s *specFlags) labelChanges() (map[string]any, error) {
	changes := map[string]any{}
	for _, text := range s.labels {
		key, value, given := strings.Cut(text, "=")
		switch {
		case given && key != "":
			changes[key] = value
		case strings.HasSuffix(text, "-") && len(text) > 1:
			changes[strings.TrimSuffix(text, "-")] = nil
		default:
			return nil, s.app.usage("error.label", "Value", text)
		}
	}
	return changes, nil
}

// creation is the command `create` of a noun.
type creation struct {
	required []string // flags that must be given
	setup    func(*specFlags)
	// before may complete the draft, or answer the request itself (done).
	before func(ctx context.Context, draft *client.Draft) (done bool, err error)
}

func (n noun[T, P]) create(how creation) *cobra.Command {
	s := &specFlags{app: n.app, noun: n.key}
	command := n.command(verb{key: n.key + ".create", name: "create", args: []string{"name"}, run: func(ctx context.Context, args []string) error {
		if err := n.require(s.command, how.required); err != nil {
			return err
		}
		draft, err := n.draft(s, args[0])
		if err != nil {
			return err
		}
		if how.before != nil {
			if done, err := how.before(ctx, &draft); done || err != nil {
				return err
			}
		}
		return n.one(ctx, draft.Name, func(ctx context.Context, c *client.Client, _ string) (client.Result[T], error) {
			return client.Create[T, P](ctx, c, draft)
		})
	}})
	s.command = command
	command.Flags().StringArrayVar(&s.labels, "label", nil, n.T("flag.label"))
	if how.setup != nil {
		how.setup(s)
	}
	n.waitable(command)
	return command
}

// draft is what the flags of a create describe.
func (n noun[T, P]) draft(s *specFlags, name string) (client.Draft, error) {
	draft := client.Draft{Name: name}
	var err error
	if n.definition().Scoped {
		if draft.Project, err = n.project(); err != nil {
			return draft, err
		}
	}
	labels, err := s.labelChanges()
	if err != nil {
		return draft, err
	}
	for key, value := range labels {
		if text, given := value.(string); given {
			if draft.Labels == nil {
				draft.Labels = map[string]string{}
			}
			draft.Labels[key] = text
		}
	}
	draft.Spec, err = s.spec()
	return draft, err
}

// update is the command `update`: only what is given changes.
func (n noun[T, P]) update(setup func(*specFlags)) *cobra.Command {
	s := &specFlags{app: n.app, noun: n.key}
	command := n.command(verb{key: "update", name: "update", aliases: []string{"set"}, args: []string{"name"}, pairs: n.pairs(), names: n.candidates(), run: func(ctx context.Context, args []string) error {
		patch, err := s.patch()
		if err != nil {
			return err
		}
		return n.patch(ctx, args[0], patch)
	}})
	s.command = command
	command.Flags().StringArrayVar(&s.labels, "label", nil, n.T("flag.label.update"))
	command.Flags().StringVar(&s.rename, "rename", "", n.T("flag.rename"))
	if setup != nil {
		setup(s)
	}
	n.waitable(command)
	return command
}

func (s *specFlags) patch() (map[string]any, error) {
	patch := map[string]any{}
	spec, err := s.spec()
	if err != nil {
		return nil, err
	}
	labels, err := s.labelChanges()
	if err != nil {
		return nil, err
	}
	if len(spec) > 0 {
		patch["spec"] = spec
	}
	if len(labels) > 0 {
		patch["labels"] = maps.Clone(labels)
	}
	if s.rename != "" {
		patch["name"] = s.rename
	}
	if len(patch) == 0 {
		return nil, s.app.usage("error.nothing-to-change")
	}
	return patch, nil
}

func (n noun[T, P]) patch(ctx context.Context, name string, patch map[string]any) error {
	return n.one(ctx, name, func(ctx context.Context, c *client.Client, name string) (client.Result[T], error) {
		return client.Patch[T, P](ctx, c, client.Ref{ID: name}, patch, 0)
	})
}

// require says which flag is missing.
func (a *app) require(command *cobra.Command, flags []string) error {
	for _, flag := range flags {
		if !command.Flags().Changed(flag) {
			return a.usage("error.flag.required", "Flag", "--"+flag, "Command", command.CommandPath())
		}
	}
	return nil
}
