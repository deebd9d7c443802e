// Package auth says who may do what (policy.go) and proves who somebody is (secrets.go). The policy is a pure function of the caller and the
// object; whatever it does not allow is denied.
package auth

import (
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Verb is what somebody wants to do with an object.
type Verb string

const (
	Read  Verb = "read"
	Write Verb = "write" // create, change, delete, act
)

// Projects finds a project by id; nil when there is none.
type Projects func(id string) *v1.Project

// RoleIn is the user's role towards a project: on the platform, else in the project, else "".
func RoleIn(user *v1.User, project *v1.Project) v1.Role {
	if user == nil || user.Spec.Disabled {
		return ""
	}
	if user.Spec.PlatformRole == v1.RolePlatformAdmin {
		return v1.RolePlatformAdmin
	}
	if project != nil {
		switch own := project.RoleOf(user.ID); own {
		case v1.RoleProjectAdmin, v1.RoleProjectMember, v1.RoleReader:
			return own
		}
	}
	if Platform(user) {
		return v1.RoleReader
	}
	return ""
}

// Platform says whether the user sees the whole platform.
func Platform(user *v1.User) bool {
	return Admin(user) || (user != nil && !user.Spec.Disabled && user.Spec.PlatformRole == v1.RoleReader)
}

// Admin says whether the user may do everything.
func Admin(user *v1.User) bool {
	return user != nil && !user.Spec.Disabled && user.Spec.PlatformRole == v1.RolePlatformAdmin
}

// Allowed says whether the user may do verb with an object. For something new, the object is what it would be.
func Allowed(user *v1.User, verb Verb, object v1.Object, projects Projects) bool {
	if user == nil || user.Spec.Disabled {
		return false
	}
	if Admin(user) {
		return true
	}
	meta := object.ObjectMeta()
	if verb == Read && Platform(user) {
		return true
	}
	var role v1.Role
	if meta.Project != "" {
		role = RoleIn(user, projects(meta.Project))
	}
	switch o := object.(type) {
	case *v1.Flavor:
		return verb == Read
	case *v1.User:
		return verb == Read && o.ID == user.ID
	case *v1.Token:
		return o.Status.UserID == user.ID
	case *v1.Project:
		role = RoleIn(user, o)
		return role == v1.RoleProjectAdmin || (verb == Read && role != "")
	case *v1.Image:
		if verb == Read && o.Spec.Public {
			return true
		}
	case *v1.VM, *v1.Volume, *v1.Snapshot, *v1.PlacementGroup, *v1.Operation:
	case *v1.Instance, *v1.Attachment, *v1.Task:
		if verb != Read {
			return false
		}
	default: // hosts, the cluster, and whatever comes
		return false
	}
	switch role {
	case v1.RoleProjectAdmin, v1.RoleProjectMember:
		return true
	case v1.RoleReader:
		return verb == Read
	}
	return false
}
