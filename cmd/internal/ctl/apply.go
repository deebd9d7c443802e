package ctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// document is one wish in a file: the writable part of an object, with its kind.
type document struct {
	Kind v1.Kind `json:"kind"`
	client.Draft
}

const maxDocuments = 8 << 20 // bytes of a file

// What applying a document did.
const (
	appliedCreated   = "created"
	appliedChanged   = "changed"
	appliedUnchanged = "unchanged"
)

type applied struct {
	Kind      v1.Kind `json:"kind"`
	Name      string  `json:"name"`
	Action    string  `json:"action"`
	Operation string  `json:"operation,omitempty"`
}

// apply makes the cloud as a file says: what is missing is created, what differs is replaced, what is alike is left alone. Nothing is deleted.
func (a *app) apply() *cobra.Command {
	var paths []string
	var command *cobra.Command
	command = a.command(verb{key: "apply", name: "apply", run: func(ctx context.Context, _ []string) error {
		if err := a.require(command, []string{"file"}); err != nil {
			return err
		}
		var documents []document
		for _, path := range paths {
			read, err := a.readDocuments(path)
			if err != nil {
				return err
			}
			documents = append(documents, read...)
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		done := []applied{}
		var failed error
		for _, wish := range documents {
			one, err := a.applyOne(ctx, c, wish)
			if err == nil && one.Operation != "" && !a.flags.noWait {
				err = a.follow(ctx, c, one.Operation)
			}
			if err != nil {
				// What comes later may need what failed.
				failed = err
				break
			}
			done = append(done, one)
		}
		if err := a.printApplied(done); err != nil {
			return err
		}
		return failed
	}})
	command.Flags().StringArrayVarP(&paths, "file", "f", nil, a.T("flag.apply.file"))
	_ = command.RegisterFlagCompletionFunc("file", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	a.waitFlags(command)
	return command
}

func (a *app) printApplied(done []applied) error {
	names := make([]string, len(done))
	for i, one := range done {
		names[i] = one.Name
	}
	return a.print(result{data: done, names: names, sheet: func() *sheet {
		s := &sheet{columns: []heading{{key: "kind"}, {key: "name", whole: true}, {key: "action"}}}
		for _, one := range done {
			s.rows = append(s.rows, []cell{
				{machine: string(one.Kind), human: a.word("kind", string(one.Kind))}, {machine: one.Name, human: plain(one.Name)},
				{machine: one.Action, human: a.T("applied." + one.Action)},
			})
		}
		return s
	}})
}

// readDocuments reads YAML documents (JSON is YAML).
func (a *app) readDocuments(path string) ([]document, error) {
	var from io.Reader = a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, a.failure("error.file", "File", path, "Cause", err)
		}
		defer file.Close()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxDocuments+1))
	if err != nil {
		return nil, a.failure("error.file", "File", path, "Cause", err)
	}
	if len(text) > maxDocuments {
		return nil, a.usage("error.file.large", "File", path, "Limit", maxDocuments)
	}
	var documents []document
	for i, part := range splitDocuments(text) {
		if len(bytes.TrimSpace(part)) == 0 {
			continue
		}
		converted, err := yaml.YAMLToJSONStrict(part)
		if err == nil && string(converted) == "null" {
			continue // comments alone
		}
		var wish struct {
			document
			Spec json.RawMessage `json:"spec"`
		}
		if err == nil {
			decoder := json.NewDecoder(bytes.NewReader(converted))
			decoder.DisallowUnknownFields()
			err = decoder.Decode(&wish)
		}
		if err != nil {
			return nil, a.usage("error.document", "File", path, "Number", i+1, "Cause", err)
		}
		wish.Draft.Spec = wish.Spec
		if len(wish.Spec) == 0 {
			wish.Draft.Spec = struct{}{}
		}
		if wish.Name == "" || wish.Kind == "" {
			return nil, a.usage("error.document.incomplete", "File", path, "Number", i+1)
		}
		documents = append(documents, wish.document)
	}
	return documents, nil
}

func splitDocuments(text []byte) [][]byte {
	var parts [][]byte
	var part bytes.Buffer
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, maxDocuments+1)
	for scanner.Scan() {
		line := scanner.Text()
		if line == "---" || strings.HasPrefix(line, "--- ") {
			parts = append(parts, bytes.Clone(part.Bytes()))
			part.Reset()
			continue
		}
		part.WriteString(line + "\n")
	}
	return append(parts, part.Bytes())
}

func (a *app) applyOne(ctx context.Context, c *client.Client, wish document) (applied, error) {
	switch wish.Kind {
	case v1.KindUser:
		return applyAs[v1.User](ctx, c, wish)
	case v1.KindProject:
		return applyAs[v1.Project](ctx, c, wish)
	case v1.KindFlavor:
		return applyAs[v1.Flavor](ctx, c, wish)
	case v1.KindImage:
		return applyAs[v1.Image](ctx, c, wish)
	case v1.KindPlacementGroup:
		return applyAs[v1.PlacementGroup](ctx, c, wish)
	case v1.KindVM:
		return applyAs[v1.VM](ctx, c, wish)
	case v1.KindVolume:
		return applyAs[v1.Volume](ctx, c, wish)
	case v1.KindSnapshot:
		return applyAs[v1.Snapshot](ctx, c, wish)
	case v1.KindHost:
		return applyAs[v1.Host](ctx, c, wish)
	}
	return applied{}, a.usage("error.document.kind", "Kind", wish.Kind)
}

func applyAs[T any, P client.Noun[T]](ctx context.Context, c *client.Client, wish document) (applied, error) {
	done := applied{Kind: wish.Kind, Name: wish.Name, Action: appliedCreated}
	ref := client.Ref{ID: wish.Name, Project: wish.Project}
	present, version, err := client.GetSpec(ctx, c, wish.Kind, ref)
	var result client.Result[T]
	switch {
	case isCode(err, v1.CodeNotFound):
		result, err = client.Create[T, P](ctx, c, wish.Draft)
	case err == nil && alike[T](present, wish.Draft):
		done.Action = appliedUnchanged
		return done, nil
	case err == nil:
		done.Action = appliedChanged
		result, err = client.Update[T, P](ctx, c, ref, wish.Draft, version)
	}
	done.Operation = result.Operation
	return done, err
}

// alike compares what is written; the project may be a name on one side and an id on the other, and was found by the look-up.
func alike[T any](present, wish client.Draft) bool {
	if len(present.Labels)+len(wish.Labels) > 0 && !reflect.DeepEqual(present.Labels, wish.Labels) {
		return false
	}
	one, known := normal[T](present.Spec)
	other, readable := normal[T](wish.Spec)
	return known && readable && reflect.DeepEqual(one, other)
}

// normal writes a spec as its type does, so that "public: false" and leaving it out are the same. What the type does not know is a difference:
// the controller will say so.
func normal[T any](spec any) (any, bool) {
	text, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return nil, false
	}
	object := new(T)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(object); err != nil {
		return nil, false
	}
	text, err = json.Marshal(object)
	if err != nil {
		return nil, false
	}
	var result struct {
		Spec any `json:"spec"`
	}
	err = json.Unmarshal(text, &result)
	return result.Spec, err == nil
}
