package auth

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	ownProject   = "01890a5d-0000-774b-bcce-000000000001"
	otherProject = "01890a5d-0000-774b-bcce-000000000002"
	gone         = "01890a5d-0000-774b-bcce-000000000003"
)

// actors are the columns of the table below, in its order.
var actors = []struct {
	name      string
	user      *v1.User
	inProject v1.Role // in the project of its own
}{
	{"nobody", nil, ""},
	{"disabled administrator", &v1.User{Meta: v1.Meta{ID: "u1"}, Spec: v1.UserSpec{PlatformRole: v1.RolePlatformAdmin, Disabled: true}}, v1.RoleProjectAdmin},
	{"outsider", &v1.User{Meta: v1.Meta{ID: "u2"}}, ""},
	{"platform administrator", &v1.User{Meta: v1.Meta{ID: "u3"}, Spec: v1.UserSpec{PlatformRole: v1.RolePlatformAdmin}}, ""},
	{"platform reader", &v1.User{Meta: v1.Meta{ID: "u4"}, Spec: v1.UserSpec{PlatformRole: v1.RoleReader}}, ""},
	{"project administrator", &v1.User{Meta: v1.Meta{ID: "u5"}}, v1.RoleProjectAdmin},
	{"project member", &v1.User{Meta: v1.Meta{ID: "u6"}}, v1.RoleProjectMember},
	{"project reader", &v1.User{Meta: v1.Meta{ID: "u7"}}, v1.RoleReader},
	{"platform reader and member", &v1.User{Meta: v1.Meta{ID: "u8"}, Spec: v1.UserSpec{PlatformRole: v1.RoleReader}}, v1.RoleProjectMember},
	{"unknown roles", &v1.User{Meta: v1.Meta{ID: "u9"}, Spec: v1.UserSpec{PlatformRole: "operator"}}, "owner"},
}

// policy says for every kind what each actor may do: "rw", "r-" or "--". own is an object of the actor's project (for users, tokens: the actor's own; for what belongs to the platform: all
// there is), other one of another project (another's). The columns are the actors.
var policy = map[v1.Kind]struct{ own, other string }{
	//                    nobody disabled outsider platform-admin platform-reader project-admin member reader reader+member unknown
	v1.KindCluster:        {"-- -- -- rw r- -- -- -- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindHost:           {"-- -- -- rw r- -- -- -- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindReceipt:        {"-- -- -- rw r- -- -- -- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindFlavor:         {"-- -- r- rw r- r- r- r- r- r-", "-- -- r- rw r- r- r- r- r- r-"},
	v1.KindUser:           {"-- -- r- rw r- r- r- r- r- r-", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindToken:          {"-- -- rw rw rw rw rw rw rw rw", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindProject:        {"-- -- -- rw r- rw r- r- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindImage:          {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindPlacementGroup: {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindVM:             {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindVolume:         {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindSnapshot:       {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindOperation:      {"-- -- -- rw r- rw rw r- rw --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindInstance:       {"-- -- -- rw r- r- r- r- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindAttachment:     {"-- -- -- rw r- r- r- r- r- --", "-- -- -- rw r- -- -- -- r- --"},
	v1.KindTask:           {"-- -- -- rw r- r- r- r- r- --", "-- -- -- rw r- -- -- -- r- --"},
}

func projects() map[string]*v1.Project {
	own, other := &v1.Project{Meta: v1.Meta{ID: ownProject}}, &v1.Project{Meta: v1.Meta{ID: otherProject}}
	for _, actor := range actors {
		if actor.inProject != "" {
			own.Spec.Members = append(own.Spec.Members, v1.Member{User: actor.user.ID, Role: actor.inProject})
			own.Status.MemberIDs = append(own.Status.MemberIDs, actor.user.ID)
		}
	}
	return map[string]*v1.Project{ownProject: own, otherProject: other}
}

// object makes one of a kind that belongs to a project or, where a kind belongs to users, to a user.
func object(definition v1.Definition, project *v1.Project, user string) v1.Object {
	made := definition.New()
	meta := made.ObjectMeta()
	meta.ID = "01890a5d-0000-774b-bcce-00000000ffff"
	if definition.Scoped {
		meta.Project = project.ID
	}
	switch o := made.(type) {
	case *v1.User:
		o.ID = user
	case *v1.Token:
		o.Status.UserID = user
	case *v1.Project:
		return project
	}
	return made
}

func shown(user *v1.User, of v1.Object, find Projects) string {
	text := "--"
	if Allowed(user, Read, of, find) {
		text = "r-"
	}
	if Allowed(user, Write, of, find) {
		text = text[:1] + "w"
	}
	return text
}

// TestPolicy: every kind, every role, both verbs, own and other's. A kind without a line fails.
func TestPolicy(t *testing.T) {
	all := projects()
	find := func(id string) *v1.Project { return all[id] }
	require.Len(t, policy, len(v1.Kinds), "a kind was removed: remove its line")
	checked := 0
	for _, definition := range v1.Kinds {
		line, ok := policy[definition.Kind]
		require.True(t, ok, "%s has no line in the table of the policy: who may do what with it?", definition.Kind)
		own, other := strings.Fields(line.own), strings.Fields(line.other)
		require.Len(t, own, len(actors), definition.Kind)
		require.Len(t, other, len(actors), definition.Kind)
		for i, actor := range actors {
			id := "nobody"
			if actor.user != nil {
				id = actor.user.ID
			}
			require.Equal(t, own[i], shown(actor.user, object(definition, all[ownProject], id), find), "%s, own, %s", definition.Kind, actor.name)
			require.Equal(t, other[i], shown(actor.user, object(definition, all[otherProject], "somebody"), find), "%s, other's, %s", definition.Kind, actor.name)
			checked += 4
			if definition.Scoped { // of a project that is gone, or of none: nobody's but the platform's
				for _, project := range []string{gone, ""} {
					orphan := object(definition, &v1.Project{Meta: v1.Meta{ID: project}}, "somebody")
					require.Equal(t, other[i], shown(actor.user, orphan, find), "%s of no project, %s", definition.Kind, actor.name)
				}
			}
		}
	}
	require.Equal(t, 4*len(actors)*len(v1.Kinds), checked)
}

// stranger is a kind that the policy has never heard of.
type stranger struct{ v1.VM }

func (*stranger) ObjectKind() v1.Kind { return "Stranger" }

func TestUnknownKindsAreDenied(t *testing.T) {
	all := projects()
	of := &stranger{}
	of.Project = ownProject
	for _, actor := range actors {
		want := "--"
		switch {
		case Admin(actor.user):
			want = "rw"
		case Platform(actor.user):
			want = "r-"
		}
		require.Equal(t, want, shown(actor.user, of, func(id string) *v1.Project { return all[id] }), actor.name)
	}
}

func TestPublicImages(t *testing.T) {
	all := projects()
	public := &v1.Image{Meta: v1.Meta{ID: "i", Project: otherProject}, Spec: v1.ImageSpec{Public: true}}
	for i, want := range strings.Fields("-- -- r- rw r- r- r- r- r- r-") {
		require.Equal(t, want, shown(actors[i].user, public, func(id string) *v1.Project { return all[id] }), actors[i].name)
	}
}

func TestRoleIn(t *testing.T) {
	project := projects()[ownProject]
	for i, want := range []v1.Role{"", "", "", v1.RolePlatformAdmin, v1.RoleReader, v1.RoleProjectAdmin, v1.RoleProjectMember, v1.RoleReader, v1.RoleProjectMember, ""} {
		require.Equal(t, want, RoleIn(actors[i].user, project), actors[i].name)
	}
	require.Equal(t, v1.RoleReader, RoleIn(actors[4].user, nil))
	require.Equal(t, v1.Role(""), RoleIn(actors[5].user, nil))
	require.Equal(t, v1.Role(""), RoleIn(nil, nil))
}
