package app

import (
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func createUser(r *request) (v1.Object, string, error) {
	user := &v1.User{Meta: r.meta, Spec: specOf[v1.UserSpec](r.draft)}
	if !auth.Admin(r.caller.User) {
		return nil, "", denied("create", user)
	}
	r.txn.Create(user, "")
	return user, "", nil
}

func replaceUser(r *request, old v1.Object) (string, error) {
	user := old.(*v1.User).Clone()
	spec := specOf[v1.UserSpec](r.draft)
	if lastAdmin(r.state, user.ID) && (spec.Disabled || spec.PlatformRole != v1.RolePlatformAdmin) {
		return "", v1.NewProblem(v1.CodeConflict, "%q is the last platform administrator", user.Name).WithNext("Make another one first.")
	}
	applyMeta(&user.Meta, r.draft)
	user.Spec = spec
	r.txn.Update(user, "")
	return "", user.Validate()
}

// lastAdmin says whether nobody could govern the platform without the user.
func lastAdmin(s *state.Snapshot, id string) bool {
	for _, object := range s.List(v1.KindUser) {
		if user := object.(*v1.User); user.ID != id && auth.Admin(user) {
			return false
		}
	}
	user := s.User(id)
	return user != nil && auth.Admin(user)
}

// removeUser deletes a user with all tokens. A user who is still a member of a project is held by it.
func removeUser(r *request, old v1.Object) (string, error) {
	if lastAdmin(r.state, old.ObjectMeta().ID) {
		return "", v1.NewProblem(v1.CodeConflict, "%q is the last platform administrator", old.ObjectMeta().Name).WithNext("Make another one first.")
	}
	for _, token := range r.state.By(v1.KindToken, "user", old.ObjectMeta().ID) {
		r.txn.Delete(token, "")
	}
	r.txn.Delete(old, "")
	return "", nil
}
