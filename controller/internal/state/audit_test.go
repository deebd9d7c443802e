package state

import (
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file says anew, from nothing but whole lists, what must hold of a state. It shares no code with the invariants.

// all reads a kind by its list alone.
func all[T v1.Object](s *Snapshot, kind v1.Kind) map[string]T {
	found := map[string]T{}
	for _, object := range s.List(kind) {
		found[object.ObjectMeta().ID] = object.(T)
	}
	return found
}

// audit returns what does not hold of a state.
func audit(s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	names := map[string]string{}
	for _, definition := range v1.Kinds {
		last := ""
		for _, object := range s.List(definition.Kind) {
			m := object.ObjectMeta()
			if m.ID <= last {
				say("%s: %s after %s", definition.Kind, m.ID, last)
			}
			last = m.ID
			if object.ObjectKind() != definition.Kind || s.Get(definition.Kind, m.ID) != object {
				say("%s %s cannot be read", definition.Kind, m.ID)
			}
			if err := object.Validate(); err != nil {
				say("%s %s: %v", definition.Kind, m.ID, err)
			}
			if m.Version == 0 || m.Version > s.Index() {
				say("%s %s has version %d at index %d", definition.Kind, m.ID, m.Version, s.Index())
			}
			if definition.Named {
				key := fmt.Sprint(definition.Kind, " ", m.Project, " ", m.Name)
				if names[key] != "" {
					say("two named %s", key)
				}
				names[key] = m.ID
				if s.ByName(definition.Kind, m.Project, m.Name) != object {
					say("%s is not found by name", key)
				}
			}
			if m.Project != "" && s.Project(m.Project) == nil && definition.Kind != v1.KindOperation && definition.Kind != v1.KindTask {
				say("%s %s: its project is gone", definition.Kind, m.ID)
			}
		}
	}
	wrong = append(wrong, auditReferences(s)...)
	wrong = append(wrong, auditUsage(s)...)
	wrong = append(wrong, auditMachines(s)...)
	wrong = append(wrong, auditIndexes(s)...)
	wrong = append(wrong, auditEvents(s)...)
	if s.Count(v1.KindCluster) > 1 {
		say("two clouds")
	}
	return wrong
}

func auditReferences(s *Snapshot) (wrong []string) {
	users, hosts, flavors, images := all[*v1.User](s, v1.KindUser), all[*v1.Host](s, v1.KindHost), all[*v1.Flavor](s, v1.KindFlavor), all[*v1.Image](s, v1.KindImage)
	vms, volumes, groups := all[*v1.VM](s, v1.KindVM), all[*v1.Volume](s, v1.KindVolume), all[*v1.PlacementGroup](s, v1.KindPlacementGroup)
	instances, operations := all[*v1.Instance](s, v1.KindInstance), all[*v1.Operation](s, v1.KindOperation)
	has := func(who, what string, there bool) {
		if !there {
			wrong = append(wrong, who+" refers to a "+what+" that is not there")
		}
	}
	for _, o := range all[*v1.Token](s, v1.KindToken) {
		has("token", "user", users[o.Status.UserID] != nil)
	}
	for _, o := range all[*v1.Project](s, v1.KindProject) {
		for _, member := range o.Status.MemberIDs {
			has("project", "user", users[member] != nil)
		}
	}
	for _, o := range vms {
		has("vm", "flavor", o.Status.FlavorID == "" || flavors[o.Status.FlavorID] != nil)
		has("vm", "group", o.Status.GroupID == "" || groups[o.Status.GroupID] != nil)
	}
	for _, o := range volumes {
		has("volume", "image", o.Status.ImageID == "" || images[o.Status.ImageID] != nil)
		has("volume", "host", o.Status.Host == "" || hosts[o.Status.Host] != nil)
		has("volume", "vm", o.Status.VM == "" || vms[o.Status.VM] != nil)
	}
	for _, o := range all[*v1.Snapshot](s, v1.KindSnapshot) {
		has("snapshot", "volume", o.Status.VolumeID == "" || volumes[o.Status.VolumeID] != nil)
	}
	for _, o := range instances {
		has("instance", "vm", vms[o.Spec.VM] != nil)
		has("instance", "host", hosts[o.Spec.Host] != nil)
	}
	for _, o := range all[*v1.Attachment](s, v1.KindAttachment) {
		has("attachment", "volume", volumes[o.Spec.Volume] != nil)
		has("attachment", "instance", instances[o.Spec.Instance] != nil)
		has("attachment", "vm", o.Spec.VM == "" || vms[o.Spec.VM] != nil)
	}
	for _, o := range all[*v1.Task](s, v1.KindTask) {
		has("task", "operation", operations[o.Spec.Operation] != nil)
		has("task", "host", hosts[o.Spec.Host] != nil)
	}
	return wrong
}

// counted is what is given out of each host, and used by each project, counted from nothing.
func counted(s *Snapshot) (hosts map[string]v1.Usage, projects map[string]v1.ProjectUsage) {
	hosts, projects = map[string]v1.Usage{}, map[string]v1.ProjectUsage{}
	for _, o := range all[*v1.Instance](s, v1.KindInstance) {
		if o.Observed.State != v1.InstanceStopped && o.Fence == nil {
			total := hosts[o.Spec.Host]
			total.VCPUs += int64(o.Spec.VCPUs)
			total.MemoryMiB += o.Spec.MemoryMiB
			hosts[o.Spec.Host] = total
		}
	}
	for _, o := range all[*v1.Volume](s, v1.KindVolume) {
		size := o.Spec.SizeGiB
		if o.Status.SizeGiB > size {
			size = o.Status.SizeGiB
		}
		if o.Status.Host != "" {
			total := hosts[o.Status.Host]
			total.StorageGiB += size
			hosts[o.Status.Host] = total
		}
		total := projects[o.Project]
		total.Volumes++
		total.StorageGiB += size
		projects[o.Project] = total
	}
	for _, o := range all[*v1.VM](s, v1.KindVM) {
		total := projects[o.Project]
		total.VMs++
		total.VCPUs += int64(o.Status.VCPUs)
		total.MemoryMiB += o.Status.MemoryMiB
		projects[o.Project] = total
	}
	for _, o := range all[*v1.Snapshot](s, v1.KindSnapshot) {
		total := projects[o.Project]
		total.Snapshots++
		projects[o.Project] = total
	}
	for _, o := range all[*v1.Image](s, v1.KindImage) {
		total := projects[o.Project]
		total.Images++
		projects[o.Project] = total
	}
	return hosts, projects
}

func auditUsage(s *Snapshot) (wrong []string) {
	hosts, projects := counted(s)
	for id := range all[*v1.Host](s, v1.KindHost) {
		if s.HostUsage(id) != hosts[id] {
			wrong = append(wrong, fmt.Sprintf("host %s: accounted %+v, counted %+v", id, s.HostUsage(id), hosts[id]))
		}
	}
	for id := range all[*v1.Project](s, v1.KindProject) {
		if s.ProjectUsage(id) != projects[id] {
			wrong = append(wrong, fmt.Sprintf("project %s: accounted %+v, counted %+v", id, s.ProjectUsage(id), projects[id]))
		}
	}
	return wrong
}

func auditMachines(s *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	vms, groups := all[*v1.VM](s, v1.KindVM), all[*v1.PlacementGroup](s, v1.KindPlacementGroup)
	liveOf, together, macs, writers := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	alive := map[string]bool{}
	for _, o := range all[*v1.Instance](s, v1.KindInstance) {
		if o.Observed.State == v1.InstanceStopped || o.Fence != nil {
			continue
		}
		alive[o.ID] = true
		if liveOf[o.Spec.VM] != "" {
			say("vm %s has two live instances", o.Spec.VM)
		}
		liveOf[o.Spec.VM] = o.ID
		vm := vms[o.Spec.VM]
		if vm == nil || vm.Status.GroupID == "" || groups[vm.Status.GroupID] == nil || groups[vm.Status.GroupID].Spec.Policy != v1.AntiAffinityHard {
			continue
		}
		place := vm.Status.GroupID + " on " + o.Spec.Host
		if together[place] != "" {
			say("two members of the hard group %s", place)
		}
		together[place] = o.ID
	}
	for _, o := range vms {
		if o.Status.MAC != "" && macs[o.Status.MAC] != "" {
			say("two machines with the address %s", o.Status.MAC)
		}
		macs[o.Status.MAC] = o.ID
	}
	for _, o := range all[*v1.Attachment](s, v1.KindAttachment) {
		if alive[o.Spec.Instance] {
			if writers[o.Spec.Volume] != "" {
				say("volume %s has two writers", o.Spec.Volume)
			}
			writers[o.Spec.Volume] = o.ID
		}
	}
	return wrong
}

var tables = schema().Tables

// auditIndexes looks each value of each index up, and compares with a search through the whole list.
func auditIndexes(s *Snapshot) (wrong []string) {
	for _, definition := range v1.Kinds {
		for name := range tables[string(definition.Kind)].Indexes {
			if name == "id" {
				continue
			}
			want := map[string][]string{}
			for _, object := range s.List(definition.Kind) {
				for _, value := range valuesOf(definition, name, object) {
					if !slices.Contains(want[value], object.ObjectMeta().ID) {
						want[value] = append(want[value], object.ObjectMeta().ID)
					}
				}
			}
			for value, ids := range want {
				var got []string
				for _, object := range s.By(definition.Kind, name, value) {
					got = append(got, object.ObjectMeta().ID)
				}
				got = slices.Compact(got)
				if !slices.Equal(got, ids) {
					wrong = append(wrong, fmt.Sprintf("%s by %s %q: %v, want %v", definition.Kind, name, value, got, ids))
				}
			}
			if found := s.By(definition.Kind, name, "nothing"); len(found) > 0 {
				wrong = append(wrong, fmt.Sprintf("%s by %s finds nothing as %v", definition.Kind, name, found))
			}
		}
	}
	return wrong
}

func valuesOf(definition v1.Definition, index string, object v1.Object) []string {
	switch index {
	case "name":
		return []string{nameKey(object.ObjectMeta().Project, object.ObjectMeta().Name)}
	case "project":
		return one(object.ObjectMeta().Project)
	}
	for _, reference := range References {
		if reference.From == definition.Kind && reference.Name == index {
			return reference.IDs(object)
		}
	}
	return lookups[definition.Kind][index](object)
}

func auditEvents(s *Snapshot) (wrong []string) {
	events := s.Events(0, 0, MaxEvents+1, func(*v1.Event) bool { return true })
	if first := s.Events(0, 0, 1, func(*v1.Event) bool { return true }); len(first) > 0 && first[0].Index != s.OldestEvent() {
		wrong = append(wrong, "the oldest event is another")
	}
	if len(events) > MaxEvents {
		wrong = append(wrong, "too many events")
	}
	if count := usageRow(s.tx, tableApplied, "events").Index; count != uint64(len(events)) {
		wrong = append(wrong, fmt.Sprintf("%d events, but %d are counted", len(events), count))
	}
	for i := range events {
		if events[i].Index > s.Index() || (i > 0 && position(events[i-1].Index, placeOf(&events[i-1])) >= position(events[i].Index, placeOf(&events[i]))) {
			wrong = append(wrong, "event "+events[i].ID+" is out of order")
		}
	}
	if len(events) > 0 && events[len(events)-1].ID != s.LatestEvent() {
		wrong = append(wrong, "the latest event is another")
	}
	return wrong
}

// differences compares what two states derive and do not write.
func differences(a, b *Snapshot) (wrong []string) {
	for _, host := range a.List(v1.KindHost) {
		id := host.ObjectMeta().ID
		if a.HostUsage(id) != b.HostUsage(id) || a.Generation(id) != b.Generation(id) {
			wrong = append(wrong, "host "+id)
		}
	}
	for _, project := range a.List(v1.KindProject) {
		if id := project.ObjectMeta().ID; a.ProjectUsage(id) != b.ProjectUsage(id) {
			wrong = append(wrong, "project "+id)
		}
	}
	return wrong
}

// auditStep returns what may not happen from one state to the next.
func auditStep(before, after *Snapshot) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	instances := all[*v1.Instance](before, v1.KindInstance)
	concerned := map[string]bool{}
	for _, kind := range []v1.Kind{v1.KindInstance, v1.KindTask, v1.KindHost} {
		for _, pair := range [][2]*Snapshot{{before, after}, {after, before}} {
			for _, object := range pair[0].List(kind) {
				other := pair[1].Get(kind, object.ObjectMeta().ID)
				if other != nil && other.ObjectMeta().Version == object.ObjectMeta().Version {
					continue
				}
				switch o := object.(type) {
				case *v1.Instance:
					concerned[o.Spec.Host] = true
				case *v1.Task:
					concerned[o.Spec.Host] = true
				case *v1.Host:
					concerned[o.ID] = true
				}
			}
		}
	}
	for id, host := range all[*v1.Host](after, v1.KindHost) {
		was, is := before.Generation(id), after.Generation(id)
		if want := map[bool]uint64{true: after.Index(), false: was}[concerned[id]]; is != want {
			say("host %s: generation %d after %d at index %d, concerned: %v", id, is, was, after.Index(), concerned[id])
		}
		limit, use, used := host.Limits(), after.HostUsage(id), before.HostUsage(id)
		for _, line := range [][3]int64{{used.VCPUs, use.VCPUs, limit.VCPUs}, {used.MemoryMiB, use.MemoryMiB, limit.MemoryMiB}, {used.StorageGiB, use.StorageGiB, limit.StorageGiB}} {
			if line[1] > line[0] && line[1] > line[2] {
				say("host %s was filled to %d of %d", id, line[1], line[2])
			}
		}
	}
	for id, project := range all[*v1.Project](after, v1.KindProject) {
		quota, use, used := project.Spec.Quota, after.ProjectUsage(id), before.ProjectUsage(id)
		for _, line := range []struct {
			was, is int64
			limit   *int64
		}{{used.VMs, use.VMs, quota.VMs}, {used.VCPUs, use.VCPUs, quota.VCPUs}, {used.MemoryMiB, use.MemoryMiB, quota.MemoryMiB}, {used.Volumes, use.Volumes, quota.Volumes},
			{used.StorageGiB, use.StorageGiB, quota.StorageGiB}, {used.Snapshots, use.Snapshots, quota.Snapshots}, {used.Images, use.Images, quota.Images}} {
			if line.limit != nil && line.is > line.was && line.is > *line.limit {
				say("project %s uses %d of %d", id, line.is, *line.limit)
			}
		}
	}
	for id, now := range all[*v1.Instance](after, v1.KindInstance) {
		was := instances[id]
		if was == nil {
			continue
		}
		if (was.Observed.State == v1.InstanceStopped && now.Observed.State != v1.InstanceStopped) || (was.Observed.State != v1.InstancePending && now.Observed.State == v1.InstancePending) ||
			(was.Desired.State == v1.DesiredStopped && now.Desired.State != v1.DesiredStopped) || (was.Fence != nil && now.Fence == nil) || was.Spec.Host != now.Spec.Host || was.Spec.VM != now.Spec.VM {
			say("instance %s went back", id)
		}
	}
	for _, definition := range v1.Kinds {
		for _, object := range after.List(definition.Kind) {
			was := before.Get(definition.Kind, object.ObjectMeta().ID)
			if was == nil || was.ObjectMeta().Version == object.ObjectMeta().Version {
				continue
			}
			if object.ObjectMeta().Version != after.Index() || !object.ObjectMeta().CreatedAt.Equal(was.ObjectMeta().CreatedAt) {
				a, _ := json.Marshal(was)
				b, _ := json.Marshal(object)
				say("%s was written wrongly: %s -> %s", definition.Kind, a, b)
			}
		}
	}
	return wrong
}
