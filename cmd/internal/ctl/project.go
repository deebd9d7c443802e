package ctl

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) projects() *cobra.Command {
	n := noun[v1.Project, *v1.Project]{app: a, key: "project", columns: []column[v1.Project]{
		textColumn("title", ifRoom, func(o *v1.Project) string { return o.Spec.Title }),
		usedColumn("vms", always, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.VMs, o.Spec.Quota.VMs }),
		usedColumn("vcpus", always, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.VCPUs, o.Spec.Quota.VCPUs }),
		usedColumn("memory-mib", always, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.MemoryMiB, o.Spec.Quota.MemoryMiB }),
		usedColumn("storage-gib", ifRoom, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.StorageGiB, o.Spec.Quota.StorageGiB }),
		usedColumn("volumes", wideOnly, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.Volumes, o.Spec.Quota.Volumes }),
		usedColumn("snapshots", wideOnly, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.Snapshots, o.Spec.Quota.Snapshots }),
		usedColumn("images", wideOnly, func(o *v1.Project) (int64, *int64) { return o.Status.Usage.Images, o.Spec.Quota.Images }),
		textColumn("members", detailOnly, func(o *v1.Project) string { return memberText(o.Spec.Members) }),
	}}
	var createQuota, updateQuota []string
	setup := func(quota *[]string) func(*specFlags) {
		return func(s *specFlags) {
			s.text("title", "title")
			s.command.Flags().StringSliceVar(quota, "quota", nil, s.usage("quota"))
			a.complete(s.command, "quota", func(context.Context) []string { return quotaNames() })
			s.add("quota", "quota", func() (any, error) { return a.quota(*quota) })
		}
	}
	group := a.group("project", "project", "projects")
	member := a.group("project.member", "member", "members")
	member.AddCommand(a.memberAdd(n), a.memberRemove(n))
	group.AddCommand(n.list(), n.show(), n.create(creation{setup: setup(&createQuota)}), n.update(setup(&updateQuota)), n.delete(), member)
	return group
}

// usedColumn shows what is used of what is allowed.
func usedColumn(key string, level level, amounts func(*v1.Project) (used int64, limit *int64)) column[v1.Project] {
	return column[v1.Project]{
		key: key, level: level,
		value: func(o *v1.Project) string { used, _ := amounts(o); return number(used) },
		human: func(_ *app, o *v1.Project) string {
			used, limit := amounts(o)
			if limit == nil {
				return number(used)
			}
			return number(used) + "/" + number(*limit)
		},
		colour: func(o *v1.Project) string {
			if used, limit := amounts(o); limit != nil && *limit > 0 && used >= *limit {
				return yellow
			}
			return noColour
		},
	}
}

// quotas are the limits by the names that people type.
var quotas = []struct {
	name  string
	field string
	unit  int64
}{
	{"vms", "vms", 1}, {"vcpus", "vcpus", 1}, {"memory", "memoryMiB", mebibyte}, {"volumes", "volumes", 1},
	{"storage", "storageGiB", gibibyte}, {"snapshots", "snapshots", 1}, {"images", "images", 1},
}

func quotaNames() []string {
	names := make([]string, len(quotas))
	for i, quota := range quotas {
		names[i] = quota.name + "="
	}
	return names
}

// quota reads "vcpus=8", "memory=16GiB", and "vms=none" (no limit).
func (a *app) quota(texts []string) (map[string]any, error) {
	result := map[string]any{}
	for _, text := range texts {
		name, value, _ := strings.Cut(text, "=")
		at := slices.IndexFunc(quotas, func(q struct {
			name  string
			field string
			unit  int64
		}) bool {
			return q.name == name || q.field == name
		})
		if at < 0 || value == "" {
			return nil, a.usage("error.quota", "Value", text, "Allowed", strings.Join(quotaNames(), ", "))
		}
		if value == "none" {
			result[quotas[at].field] = nil
			continue
		}
		amount, err := parseSize(value, quotas[at].unit)
		if err != nil || quotas[at].unit == 1 && strings.TrimLeft(value, "0123456789") != "" {
			return nil, a.usage("error.quota", "Value", text, "Allowed", strings.Join(quotaNames(), ", "))
		}
		result[quotas[at].field] = amount
	}
	return result, nil
}

func memberText(members []v1.Member) string {
	parts := make([]string, len(members))
	for i, member := range members {
		parts[i] = member.User + " (" + string(member.Role) + ")"
	}
	return strings.Join(parts, ", ")
}

func (a *app) memberAdd(n noun[v1.Project, *v1.Project]) *cobra.Command {
	role := ""
	command := a.command(verb{key: "project.member.add", name: "add", args: []string{"project", "user…"}, names: a.names("projects"), run: func(ctx context.Context, args []string) error {
		return n.changeMembers(ctx, args[0], func(members []v1.Member, ids []string) []v1.Member {
			for _, user := range args[1:] {
				if at := memberIndex(members, ids, user); at >= 0 {
					members[at].Role = v1.Role(role)
				} else {
					members = append(members, v1.Member{User: user, Role: v1.Role(role)})
				}
			}
			return members
		})
	}})
	command.Flags().StringVar(&role, "role", string(v1.RoleProjectMember), a.T("flag.member.role"))
	a.complete(command, "role", func(context.Context) []string {
		return []string{string(v1.RoleProjectAdmin), string(v1.RoleProjectMember), string(v1.RoleReader)}
	})
	return command
}

func (a *app) memberRemove(n noun[v1.Project, *v1.Project]) *cobra.Command {
	return a.command(verb{key: "project.member.remove", name: "remove", aliases: []string{"rm"}, args: []string{"project", "user…"}, names: a.names("projects"), run: func(ctx context.Context, args []string) error {
		return n.changeMembers(ctx, args[0], func(members []v1.Member, ids []string) []v1.Member {
			var kept []v1.Member
			for i, member := range members {
				leaves := slices.ContainsFunc(args[1:], func(user string) bool { return member.User == user || i < len(ids) && ids[i] == user })
				if !leaves {
					kept = append(kept, member)
				}
			}
			return kept
		})
	}})
}

func memberIndex(members []v1.Member, ids []string, user string) int {
	for i, member := range members {
		if member.User == user || i < len(ids) && ids[i] == user {
			return i
		}
	}
	return -1
}

// changeMembers changes what it has read, and reads again when somebody else was quicker.
func (n noun[T, P]) changeMembers(ctx context.Context, name string, change func([]v1.Member, []string) []v1.Member) error {
	c, err := n.client()
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		project, err := client.Get[v1.Project](ctx, c, client.Ref{ID: name})
		if err != nil {
			return err
		}
		members := change(slices.Clone(project.Spec.Members), project.Status.MemberIDs)
		if members == nil {
			members = []v1.Member{}
		}
		patch := map[string]any{"spec": map[string]any{"members": members}}
		result, err := client.Patch[T, P](ctx, c, client.Ref{ID: project.ID}, patch, project.Version)
		if attempt < 5 && (isCode(err, v1.CodeNotMatched) || isCode(err, v1.CodeConflict)) {
			continue
		}
		if err != nil {
			return err
		}
		return n.printOne(ctx, result.Object, result.Operation)
	}
}
