package ctl

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
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

const (
	mebibyte = int64(1) << 20
	gibibyte = int64(1) << 30
	tebibyte = int64(1) << 40
)

// sizeValue is a flag like 20, 20GiB, 1TiB or 512MiB. Its amount counts units of unit bytes.
type sizeValue struct {
	app    *app
	unit   int64 // bytes
	amount int64
}

func (v *sizeValue) Type() string { return "size" }

func (v *sizeValue) String() string {
	if v.amount == 0 {
		return ""
	}
	return strconv.FormatInt(v.amount, 10)
}

func (v *sizeValue) Set(text string) error {
	amount, err := parseSize(text, v.unit)
	if err != nil {
		return v.app.usage("error.size", "Value", text)
	}
	v.amount = amount
	return nil
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"mib", mebibyte}, {"gib", gibibyte}, {"tib", tebibyte}, {"mb", mebibyte}, {"gb", gibibyte}, {"tb", tebibyte}, {"m", mebibyte}, {"g", gibibyte}, {"t", tebibyte}}

// parseSize reads a whole number of units; text without a suffix is in units already.
func parseSize(text string, unit int64) (int64, error) {
	number, factor := strings.ToLower(strings.TrimSpace(text)), unit
	for _, candidate := range sizeUnits {
		if rest, found := strings.CutSuffix(number, candidate.suffix); found {
			number, factor = strings.TrimSpace(rest), candidate.bytes
			break
		}
	}
	value, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	if value < 0 || factor > unit && value > math.MaxInt64/(factor/unit) {
		return 0, strconv.ErrRange
	}
	if factor >= unit {
		return value * (factor / unit), nil
	}
	if value%(unit/factor) != 0 {
		return 0, fmt.Errorf("%s is no whole number of units", text)
	}
	return value / (unit / factor), nil
}

// number writes an integer for tables.
func number(n int64) string { return strconv.FormatInt(n, 10) }

// ratio writes a factor for tables.
func ratio(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// bytesText writes bytes for people.
func bytesText(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n >= gibibyte:
		return strconv.FormatFloat(float64(n)/float64(gibibyte), 'f', 1, 64) + " GiB"
	case n >= mebibyte:
		return strconv.FormatFloat(float64(n)/float64(mebibyte), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/1024, 'f', 1, 64) + " KiB"
}

// memoryText writes MiB for people.
func memoryText(mib int64) string {
	if mib > 0 && mib%1024 == 0 {
		return number(mib/1024) + " GiB"
	}
	return number(mib) + " MiB"
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// moment writes a time in the user's zone.
func (a *app) moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 -07:00")
}

// age writes how long ago something was, in one unit.
func (a *app) age(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return a.span(a.now().Sub(at))
}

func (a *app) span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return a.T("age.seconds", "N", int(d/time.Second))
	case d < 2*time.Hour:
		return a.T("age.minutes", "N", int(d/time.Minute))
	case d < 48*time.Hour:
		return a.T("age.hours", "N", int(d/time.Hour))
	}
	return a.T("age.days", "N", int(d/(24*time.Hour)))
}

// reference columns and phases are the same for many nouns.
func phaseColumn[T any](phase func(*T) string) column[T] {
	return column[T]{
		key: "phase", value: phase, colour: func(o *T) string { return phaseColour(phase(o)) },
		human: func(a *app, o *T) string { return a.word("phase", phase(o)) },
	}
}

func operationColumn[T any](operation func(*T) string) column[T] {
	return column[T]{key: "operation", level: detailOnly, value: operation}
}

func refColumn[T any](key string, level level, kind v1.Kind, id func(*T) string) column[T] {
	return column[T]{key: key, level: level, ref: kind, value: id}
}

func textColumn[T any](key string, level level, value func(*T) string) column[T] {
	return column[T]{key: key, level: level, value: value}
}

func boolText(b bool) string { return strconv.FormatBool(b) }

// yesNo is a boolean for people.
func yesNo[T any](key string, level level, value func(*T) bool) column[T] {
	return column[T]{key: key, level: level, value: func(o *T) string { return boolText(value(o)) }, human: func(a *app, o *T) string { return a.T("word." + boolText(value(o))) }}
}
