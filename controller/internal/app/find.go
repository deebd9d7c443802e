package app

import (
	"context"
	"slices"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func notFound(kind v1.Kind, id string) *v1.Problem {
	return v1.NewProblem(v1.CodeNotFound, "there is no %s %q here", v1.WordsFor(kind), id).With("kind", kind).With("name", id).
		WithNext("Check the name and the project; list what there is.")
}

func denied(verb auth.Verb, object v1.Object) *v1.Problem {
	next := "Ask an administrator of the project for a role that allows it."
	if object.ObjectMeta().Project == "" {
		next = "Ask a platform administrator."
	}
	if verb == auth.Write {
		verb = "change"
	}
	return v1.NewProblem(v1.CodeDenied, "your role does not allow you to %s this %s", verb, v1.WordsFor(object.ObjectKind())).WithNext("%s", next)
}

// allowed checks a caller. What may not even be read is not found: nobody learns that it exists.
func allowed(s *state.Snapshot, caller httpapi.Caller, verb auth.Verb, object v1.Object) error {
	if !auth.Allowed(caller.User, auth.Read, object, s.Project) {
		return notFound(object.ObjectKind(), object.ObjectMeta().ID)
	}
	if verb != auth.Read && !auth.Allowed(caller.User, verb, object, s.Project) {
		return denied(verb, object)
	}
	return nil
}

// findProject finds a project by name or id that the caller may see. "" is CodeInvalid.
func findProject(s *state.Snapshot, caller httpapi.Caller, project string) (*v1.Project, error) {
	if project == "" {
		return nil, v1.NewProblem(v1.CodeInvalid, "project: must be given").WithField("project").WithNext("Say in which project it shall live.")
	}
	found := s.Project(project)
	if found == nil {
		found, _ = s.ByName(v1.KindProject, "", project).(*v1.Project)
	}
	if found == nil || !auth.Allowed(caller.User, auth.Read, found, s.Project) {
		return nil, notFound(v1.KindProject, project)
	}
	return found, nil
}

// find finds an object by reference that the caller may see, and checks that it may be written if verb says so.
func find(s *state.Snapshot, caller httpapi.Caller, ref httpapi.Ref, verb auth.Verb) (v1.Object, error) {
	object, err := seek(s, caller, ref)
	if err != nil {
		return nil, err
	}
	if err := allowed(s, caller, verb, object); err != nil {
		if v1.CodeOf(err) == v1.CodeNotFound {
			return nil, notFound(ref.Kind, ref.ID)
		}
		return nil, err
	}
	return object, nil
}

func seek(s *state.Snapshot, caller httpapi.Caller, ref httpapi.Ref) (v1.Object, error) {
	definition, err := v1.Define(ref.Kind)
	if err != nil || ref.Kind == v1.KindReceipt {
		return nil, notFound(ref.Kind, ref.ID)
	}
	project := ""
	if ref.Project != "" && definition.Scoped {
		found, err := findProject(s, caller, ref.Project)
		if err != nil {
			return nil, err
		}
		project = found.ID
	}
	if v1.IsID(ref.ID) {
		object := s.Get(ref.Kind, ref.ID)
		if object == nil || (project != "" && object.ObjectMeta().Project != project && !public(object)) {
			return nil, notFound(ref.Kind, ref.ID)
		}
		return object, nil
	}
	if !definition.Named {
		return byOurName(s, caller, ref, project)
	}
	if !definition.Scoped || project != "" {
		if object := s.ByName(ref.Kind, project, ref.ID); object != nil {
			return object, nil
		}
		if ref.Kind == v1.KindImage { // a public image is found from every project
			return publicImage(s, ref.ID)
		}
		return nil, notFound(ref.Kind, ref.ID)
	}
	return byNameAnywhere(s, caller, ref)
}

// byOurName finds what has a name that people did not give, or that need not be unique (operations, tokens, instances): if exactly one that the caller sees has it.
func byOurName(s *state.Snapshot, caller httpapi.Caller, ref httpapi.Ref, project string) (found v1.Object, err error) {
	for _, object := range s.List(ref.Kind) {
		meta := object.ObjectMeta()
		if meta.Name != ref.ID || (project != "" && meta.Project != project) || !auth.Allowed(caller.User, auth.Read, object, s.Project) {
			continue
		}
		if found != nil {
			return nil, v1.NewProblem(v1.CodeConflict, "several have the name %q", ref.ID).WithNext("Use the id.")
		}
		found = object
	}
	if found == nil {
		return nil, notFound(ref.Kind, ref.ID)
	}
	return found, nil
}

// byNameAnywhere finds a name that is unique among all that the caller sees.
func byNameAnywhere(s *state.Snapshot, caller httpapi.Caller, ref httpapi.Ref) (v1.Object, error) {
	var found v1.Object
	for _, project := range s.List(v1.KindProject) {
		object := s.ByName(ref.Kind, project.ObjectMeta().ID, ref.ID)
		if object == nil || !auth.Allowed(caller.User, auth.Read, object, s.Project) {
			continue
		}
		if found != nil {
			return nil, v1.NewProblem(v1.CodeConflict, "several projects have a %s named %q", v1.WordsFor(ref.Kind), ref.ID).WithField("project").WithNext("Say which project you mean.")
		}
		found = object
	}
	if found == nil {
		return nil, notFound(ref.Kind, ref.ID)
	}
	return found, nil
}

func public(object v1.Object) bool {
	image, ok := object.(*v1.Image)
	return ok && image.Spec.Public
}

func publicImage(s *state.Snapshot, name string) (v1.Object, error) {
	for _, object := range s.List(v1.KindImage) {
		if image := object.(*v1.Image); image.Spec.Public && image.Name == name {
			return image, nil
		}
	}
	return nil, notFound(v1.KindImage, name)
}

// need finds what a spec's field names; the problem names the field.
func need[T v1.Object](s *state.Snapshot, caller httpapi.Caller, kind v1.Kind, project, id, field string) (object T, err error) {
	found, err := find(s, caller, httpapi.Ref{Kind: kind, ID: id, Project: project}, auth.Read)
	if err != nil {
		problem := v1.AsProblem(err).Clone()
		if problem.Code == v1.CodeNotFound { // of a field, not of the path
			missing := v1.NewProblem(v1.CodeInvalid, "%s: %s", field, problem.Detail).WithNext("%s", problem.Next)
			missing.Params = problem.Params
			problem = missing
		}
		return object, problem.WithField(field)
	}
	if found.ObjectMeta().Deleting() {
		return object, v1.NewProblem(v1.CodeConflict, "%s: the %s %q is being deleted", field, v1.WordsFor(kind), found.ObjectMeta().Name).WithField(field)
	}
	return found.(T), nil
}

// show makes the copy of an object that a caller may see. full shows what only members may see (never in lists).
func show(s *state.Snapshot, caller httpapi.Caller, object v1.Object, full bool) v1.Object {
	platform := auth.Platform(caller.User)
	switch o := object.(type) {
	case *v1.VM:
		related := v1.Related{Operation: s.Operation(o.Status.Operation)}
		if o.Status.Instance != "" {
			if related.Instance = s.Instance(o.Status.Instance); related.Instance != nil {
				related.Host = s.Host(related.Instance.Spec.Host)
			}
		}
		shown := o.Show(related)
		if !full || !auth.Allowed(caller.User, auth.Write, o, s.Project) {
			shown = shown.Redact()
		}
		if !platform {
			shown.Status.Host, shown.Status.HostName = "", ""
		}
		return shown
	case *v1.Volume:
		related := v1.Related{}
		if instance := s.AttachedTo(o.ID); instance != nil {
			related.AttachedTo = instance.Spec.VM
		}
		shown := o.Show(related)
		if !platform {
			shown.Status.Host = ""
		}
		return shown
	case *v1.Host:
		return o.Show(v1.Related{HostUsage: s.HostUsage(o.ID)})
	case *v1.Project:
		return o.Show(v1.Related{Usage: s.ProjectUsage(o.ID)})
	case *v1.User:
		return o.Show(v1.Related{})
	case *v1.Token:
		return o.Show(v1.Related{})
	case *v1.Instance:
		shown := o.Show(v1.Related{})
		if !platform {
			shown.Spec.Host = ""
		}
		return shown
	case *v1.Attachment:
		shown := o.Clone()
		if !platform {
			shown.Spec.Host = ""
		}
		return shown
	case *v1.Operation:
		if platform {
			return o
		}
		shown := o.Clone() // arguments are between us and the hosts, and name them
		shown.Spec.Args = nil
		return shown
	case *v1.Task:
		shown := o.Clone()
		if !platform {
			shown.Spec.Host, shown.Spec.Args = "", nil
		}
		return shown
	}
	return object
}

// Get implements httpapi.Nouns.
func (a *App) Get(_ context.Context, caller httpapi.Caller, ref httpapi.Ref) (v1.Object, error) {
	s := a.Store.Snapshot()
	object, err := find(s, caller, ref, auth.Read)
	if err != nil {
		return nil, err
	}
	return show(s, caller, object, true), nil
}

// List implements httpapi.Nouns.
func (a *App) List(_ context.Context, caller httpapi.Caller, query httpapi.Query) (httpapi.Page, error) {
	s := a.Store.Snapshot()
	definition, err := v1.Define(query.Kind)
	if err != nil || query.Kind == v1.KindReceipt {
		return httpapi.Page{}, notFound(query.Kind, "")
	}
	project := ""
	if query.Project != "" && definition.Scoped {
		found, err := findProject(s, caller, query.Project)
		if err != nil {
			return httpapi.Page{}, err
		}
		project = found.ID
	}
	matches, err := matcher(s, caller, query, project)
	if err != nil {
		return httpapi.Page{}, err
	}
	page := httpapi.Page{Items: []v1.Object{}, Index: s.Index()}
	query.Limit = max(1, query.Limit)
	visit := func(object v1.Object) bool {
		if project != "" && object.ObjectMeta().Project != project && !public(object) {
			return true
		}
		if !auth.Allowed(caller.User, auth.Read, object, s.Project) || !matches(object) {
			return true
		}
		if len(page.Items) == query.Limit {
			page.Next = page.Items[len(page.Items)-1].ObjectMeta().ID
			return false
		}
		page.Items = append(page.Items, show(s, caller, object, false))
		return true
	}
	if project != "" && query.Kind != v1.KindImage {
		for _, object := range s.By(query.Kind, "project", project) {
			if object.ObjectMeta().ID > query.Cursor && !visit(object) {
				break
			}
		}
		return page, nil
	}
	s.Walk(query.Kind, query.Cursor, visit)
	return page, nil
}

// matcher makes the test of a query's equalities. A field is the name of a reference of the kind, or one of a few words.
func matcher(s *state.Snapshot, caller httpapi.Caller, query httpapi.Query, project string) (func(v1.Object) bool, error) {
	var tests []func(v1.Object) bool
	if query.Name != "" {
		tests = append(tests, func(o v1.Object) bool { return o.ObjectMeta().Name == query.Name })
	}
	for key, value := range query.Labels {
		tests = append(tests, func(o v1.Object) bool { found, ok := o.ObjectMeta().Labels[key]; return ok && found == value })
	}
	for field, value := range query.Fields {
		test, err := fieldTest(s, caller, query.Kind, project, field, value)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	return func(object v1.Object) bool {
		for _, test := range tests {
			if !test(object) {
				return false
			}
		}
		return true
	}, nil
}

func fieldTest(s *state.Snapshot, caller httpapi.Caller, kind v1.Kind, project, field, value string) (func(v1.Object) bool, error) {
	for _, reference := range state.References {
		if reference.From == kind && reference.Name == field {
			object, err := find(s, caller, httpapi.Ref{Kind: reference.To, ID: value, Project: project}, auth.Read)
			if err != nil {
				// Nothing refers to what is not there. And whoever may not see a host must not learn what is on it.
				return func(v1.Object) bool { return false }, nil //nolint:nilerr // see above
			}
			id := object.ObjectMeta().ID
			return func(o v1.Object) bool { return slices.Contains(reference.IDs(o), id) }, nil
		}
	}
	switch {
	case kind == v1.KindOperation && field == "target":
		return func(o v1.Object) bool {
			target := o.(*v1.Operation).Spec.Target
			return target.ID == value || target.Name == value
		}, nil
	case kind == v1.KindOperation && field == "state":
		return func(o v1.Object) bool { return string(o.(*v1.Operation).Status.State) == value }, nil
	case kind == v1.KindVM && field == "host":
		return func(o v1.Object) bool {
			instance := s.Instance(o.(*v1.VM).Status.Instance)
			if instance == nil || !instance.Live() || !auth.Platform(caller.User) {
				return false
			}
			host := s.Host(instance.Spec.Host)
			return instance.Spec.Host == value || (host != nil && host.Name == value)
		}, nil
	}
	return nil, v1.NewProblem(v1.CodeInvalid, "%s: lists of this kind cannot be narrowed by it", field).WithField(field)
}
