package app

import (
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
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
	if spec.Disabled || spec.PlatformRole != v1.RolePlatformAdmin {
		if err := r.leavesAnAdmin(user); err != nil {
			return "", err
		}
	}
	if spec.Disabled && !user.Spec.Disabled {
		for _, token := range r.state.By(v1.KindToken, "user", user.ID) {
			r.txn.Delete(token, "the user was disabled") // for good: enabling the user again does not bring them back
		}
	}
	applyMeta(&user.Meta, r.draft)
	user.Spec = spec
	r.txn.Update(user, "")
	return "", user.Validate()
}

// leavesAnAdmin refuses to take away the last user who can govern the platform. The one who stays is held by a guard: two administrators who
// remove each other at once must not both succeed.
func (r *request) leavesAnAdmin(user *v1.User) error {
	if !auth.Admin(user) {
		return nil
	}
	for _, object := range r.state.List(v1.KindUser) {
		if other := object.(*v1.User); other.ID != user.ID && auth.Admin(other) {
			r.txn.Unchanged(other)
			return nil
		}
	}
	return v1.NewProblem(v1.CodeConflict, "%q is the last platform administrator", user.Name).WithNext("Make another one first.")
}

// removeUser deletes a user with all tokens. A user who is still a member of a project is held by it.
func removeUser(r *request, old v1.Object) (string, error) {
	if err := r.leavesAnAdmin(old.(*v1.User)); err != nil {
		return "", err
	}
	for _, token := range r.state.By(v1.KindToken, "user", old.ObjectMeta().ID) {
		r.txn.Delete(token, "")
	}
	r.txn.Delete(old, "")
	return "", nil
}
