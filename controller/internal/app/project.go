package app

import (
	"reflect"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func createProject(r *request) (v1.Object, string, error) {
	project := &v1.Project{Meta: r.meta, Spec: specOf[v1.ProjectSpec](r.draft)}
	if !auth.Admin(r.caller.User) {
		return nil, "", denied("create", project)
	}
	if err := project.Validate(); err != nil {
		return nil, "", err
	}
	if err := resolveMembers(r.state, project); err != nil {
		return nil, "", err
	}
	r.txn.Create(project, "")
	return project, "", nil
}

// resolveMembers finds the users that a project's members name. Names of users that do not exist are refused in the same words whoever asks.
func resolveMembers(s *state.Snapshot, project *v1.Project) error {
	project.Status.MemberIDs = nil
	seen := map[string]bool{}
	for _, member := range project.Spec.Members {
		user := userByRef(s, member.User)
		if user == nil {
			return v1.NewProblem(v1.CodeInvalid, "spec.members: there is no user %q", member.User).WithField("spec.members").WithNext("Create the user first.")
		}
		if seen[user.ID] {
			return v1.NewProblem(v1.CodeInvalid, "spec.members: names the user %q twice", user.Name).WithField("spec.members").WithNext("Name each user once.")
		}
		seen[user.ID] = true
		project.Status.MemberIDs = append(project.Status.MemberIDs, user.ID)
	}
	return nil
}

func userByRef(s *state.Snapshot, ref string) *v1.User {
	if user := s.User(ref); user != nil {
		return user
	}
	user, _ := s.ByName(v1.KindUser, "", ref).(*v1.User)
	return user
}

// replaceProject changes a project. Its administrators change title, labels and members; name and quota are the platform's.
func replaceProject(r *request, old v1.Object) (string, error) {
	project := old.(*v1.Project).Clone()
	spec := specOf[v1.ProjectSpec](r.draft)
	if !auth.Admin(r.caller.User) {
		if !reflect.DeepEqual(spec.Quota, project.Spec.Quota) {
			return "", v1.NewProblem(v1.CodeDenied, "only platform administrators change quotas").WithField("spec.quota").WithNext("Ask the operators.")
		}
		if r.draft.Name != "" && r.draft.Name != project.Name {
			return "", v1.NewProblem(v1.CodeDenied, "only platform administrators rename projects").WithField("name").WithNext("Ask the operators.")
		}
	}
	applyMeta(&project.Meta, r.draft)
	project.Spec = spec
	if err := project.Validate(); err != nil {
		return "", err
	}
	if err := resolveMembers(r.state, project); err != nil {
		return "", err
	}
	r.txn.Update(project, "")
	return "", nil
}

// removeProject deletes an empty project. Whoever may not make one may not remove one: its quota was given by the platform.
func removeProject(r *request, old v1.Object) (string, error) {
	if !auth.Admin(r.caller.User) {
		return "", denied("delete", old)
	}
	return removePlain(r, old)
}
