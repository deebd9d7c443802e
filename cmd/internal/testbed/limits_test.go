package testbed

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (w *world) quota(project string, limits map[string]any) {
	w.Helper()
	quota := map[string]any{"vms": nil, "vcpus": nil, "memoryMiB": nil, "volumes": nil, "storageGiB": nil, "snapshots": nil, "images": nil}
	for name, limit := range limits {
		quota[name] = limit
	}
	w.must(200, "admin", "PATCH", "/v1/projects/"+project, map[string]any{"spec": map[string]any{"quota": quota}})
}

func (w *world) usage(project string) v1.ProjectUsage {
	w.Helper()
	var shown v1.Project
	require.NoError(w, json.Unmarshal([]byte(w.must(200, "admin", "GET", "/v1/projects/"+project, nil).body), &shown))
	return shown.Status.Usage
}

func rulesQuotas(w *world) {
	create := func(path, name string, spec any) reply {
		return w.do("red-member", "POST", path, draft(name, "red", spec))
	}
	full := map[string]any{"vms": 1, "vcpus": 1, "memoryMiB": 256, "volumes": 2, "storageGiB": 3, "snapshots": 1, "images": 1}
	w.quota("red", full)
	// Exactly at every limit.
	w.make("red-member", "/v1/vms", "one", "red", idle())
	w.make("red-member", "/v1/volumes", "two", "red", v1.VolumeSpec{SizeGiB: 2})
	w.make("red-member", "/v1/snapshots", "three", "red", v1.SnapshotSpec{Volume: "two"})
	w.make("red-member", "/v1/images", "four", "red", v1.ImageSpec{Format: v1.FormatRaw})
	require.Equal(w, v1.ProjectUsage{VMs: 1, VCPUs: 1, MemoryMiB: 256, Volumes: 2, StorageGiB: 3, Snapshots: 1, Images: 1}, w.usage("red"))
	large := func(s *v1.VMSpec) { s.Flavor = "large" }
	for name, line := range map[string]struct {
		relaxed map[string]any // which other limits are in the way
		try     func() reply
	}{
		"vms":        {map[string]any{"vcpus": nil, "memoryMiB": nil, "volumes": nil, "storageGiB": nil}, func() reply { return create("/v1/vms", "more", idle()) }},
		"vcpus":      {map[string]any{"vms": nil, "memoryMiB": nil, "volumes": nil, "storageGiB": nil}, func() reply { return create("/v1/vms", "more", idle()) }},
		"memoryMiB":  {map[string]any{"vms": nil, "vcpus": nil, "volumes": nil, "storageGiB": nil}, func() reply { return create("/v1/vms", "more", idle(large)) }},
		"volumes":    {map[string]any{"storageGiB": nil}, func() reply { return create("/v1/volumes", "more", v1.VolumeSpec{SizeGiB: 1}) }},
		"storageGiB": {map[string]any{"volumes": nil}, func() reply { return create("/v1/volumes", "more", v1.VolumeSpec{SizeGiB: 1}) }},
		"snapshots":  {nil, func() reply { return create("/v1/snapshots", "more", v1.SnapshotSpec{Volume: "two"}) }},
		"images":     {nil, func() reply { return create("/v1/images", "more", v1.ImageSpec{Format: v1.FormatRaw}) }},
	} {
		limits := map[string]any{}
		for other, limit := range full {
			limits[other] = limit
		}
		for other := range line.relaxed {
			delete(limits, other)
		}
		w.quota("red", limits)
		w.leavesNothing(func() {
			got := line.try()
			require.Equal(w, 409, got.status, "%s: %s", name, got.body)
			problem := got.problem(w)
			require.Equal(w, v1.CodeQuota, problem.Code)
			require.Equal(w, name, problem.Params["resource"], problem.Detail)
			require.NotEmpty(w, problem.Next)
		})
	}
	w.quota("red", full)
	// A resize is charged as well: of the disk, and of the machine.
	w.leavesNothing(func() {
		w.refused(409, v1.CodeQuota, "red-member", "PATCH", "/v1/volumes/two?project=red", `{"spec":{"sizeGiB":3}}`)
		w.refused(409, v1.CodeQuota, "red-member", "PATCH", "/v1/vms/one?project=red", `{"spec":{"flavor":"large"}}`)
	})
	// Many at once do not get through together.
	w.quota("red", map[string]any{"vms": 4})
	var all sync.WaitGroup
	statuses := make([]int, 10)
	for i := range statuses {
		all.Go(func() { statuses[i] = create("/v1/vms", fmt.Sprintf("crowd-%d", i), idle()).status })
	}
	all.Wait()
	made := 0
	for _, status := range statuses {
		require.Contains(w, []int{202, 409}, status)
		if status == 202 {
			made++
		}
	}
	require.Equal(w, 3, made)
	w.quiet()
	// A quota below what is used forbids only more. What is deleted is given back.
	w.quota("red", map[string]any{"vms": 0, "storageGiB": 0})
	w.finish(w.must(202, "red-member", "POST", "/v1/vms/one/start?project=red", struct{}{}))
	w.refused(409, v1.CodeQuota, "red-member", "POST", "/v1/vms", draft("more", "red", idle()))
	w.quota("red", nil)
	for i, status := range statuses {
		if status == 202 {
			w.remove("red-member", fmt.Sprintf("/v1/vms/crowd-%d?project=red", i))
		}
	}
	w.remove("red-member", "/v1/vms/one?project=red")
	w.remove("red-member", "/v1/snapshots/three?project=red")
	w.remove("red-member", "/v1/volumes/two?project=red")
	w.remove("red-member", "/v1/images/four?project=red")
	require.Zero(w, w.usage("red"))
}

func rulesCapacity(w *world) {
	w.make("admin", "/v1/flavors", "whole", "", v1.FlavorSpec{VCPUs: 4, MemoryMiB: 57344, DiskGiB: 1})
	w.make("admin", "/v1/flavors", "too-much", "", v1.FlavorSpec{VCPUs: 4, MemoryMiB: 57345, DiskGiB: 1})
	w.make("admin", "/v1/flavors", "wide", "", v1.FlavorSpec{VCPUs: 65, MemoryMiB: 128, DiskGiB: 1})
	whole := running(func(s *v1.VMSpec) { s.Flavor = "whole" })
	w.leavesNothing(func() {
		for _, line := range []struct {
			path, filter string
			spec         any
		}{
			{"/v1/vms", "memory", running(func(s *v1.VMSpec) { s.Flavor = "too-much" })},
			{"/v1/vms", "vcpus", running(func(s *v1.VMSpec) { s.Flavor = "wide" })},
			{"/v1/vms", "security-level", running(func(s *v1.VMSpec) { s.SecurityLevel = 5 })},
			{"/v1/vms", "storage", running(func(s *v1.VMSpec) { s.DiskGiB = v1.MaxVolumeGiB })},
			{"/v1/volumes", "storage", v1.VolumeSpec{SizeGiB: v1.MaxVolumeGiB}},
		} {
			problem := w.refused(409, v1.CodeNoCapacity, "red-member", "POST", line.path, draft("big", "red", line.spec))
			require.NotEmpty(w, problem.Next, line.filter)
		}
	})
	for i := range 3 {
		w.make("red-member", "/v1/vms", fmt.Sprintf("whole-%d", i), "red", whole)
	}
	w.leavesNothing(func() {
		w.refused(409, v1.CodeNoCapacity, "red-member", "POST", "/v1/vms", draft("whole-3", "red", whole))
		w.refused(409, v1.CodeNoCapacity, "red-member", "POST", "/v1/vms", draft("tiny", "red", running()))
	})
	// One that is not to run takes no memory, and cannot be started while there is none.
	w.make("red-member", "/v1/vms", "waits", "red", idle())
	w.leavesNothing(func() {
		w.refused(409, v1.CodeNoCapacity, "red-member", "POST", "/v1/vms/waits/start?project=red", struct{}{})
		w.refused(409, v1.CodeNoCapacity, "red-member", "PATCH", "/v1/vms/waits?project=red", `{"spec":{"power":"Running"}}`)
	})
	for i := range 3 {
		w.remove("red-member", fmt.Sprintf("/v1/vms/whole-%d?project=red", i))
	}
	w.finish(w.must(202, "red-member", "POST", "/v1/vms/waits/start?project=red", struct{}{}))
	// Ten at once for three places: three get one.
	var all sync.WaitGroup
	codes := make([]v1.Code, 10)
	for i := range codes {
		all.Go(func() {
			codes[i] = w.do("red-member", "POST", "/v1/vms", draft(fmt.Sprintf("race-%d", i), "red", whole)).code()
		})
	}
	all.Wait()
	placed := 0
	for i, code := range codes {
		if code == "" {
			placed++
			w.quiet()
			w.remove("red-member", fmt.Sprintf("/v1/vms/race-%d?project=red", i))
			continue
		}
		require.Equal(w, v1.CodeNoCapacity, code)
	}
	require.Equal(w, 2, placed, "one host holds the machine that was waiting")
	w.remove("red-member", "/v1/vms/waits?project=red")
}

func (w *world) hostOf(vm string) string {
	w.Helper()
	s := w.leader().get().Store().Snapshot()
	return s.Instance(s.VM(vm).Status.Instance).Spec.Host
}

func rulesGroups(w *world) {
	member := func(group string) v1.VMSpec { return running(func(s *v1.VMSpec) { s.PlacementGroup = group }) }
	w.make("red-member", "/v1/placement-groups", "hard", "red", v1.PlacementGroupSpec{Policy: v1.AntiAffinityHard})
	w.make("red-member", "/v1/placement-groups", "soft", "red", v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft})
	for _, group := range []string{"hard", "soft"} {
		hosts := map[string]bool{}
		var made sync.Map
		var all sync.WaitGroup
		for i := range 3 { // at once: they are placed in one batch
			all.Go(func() {
				got := w.must(202, "red-member", "POST", "/v1/vms", draft(fmt.Sprintf("%s-%d", group, i), "red", member(group)))
				made.Store(w.finish(got).id(w), true)
			})
		}
		all.Wait()
		made.Range(func(vm, _ any) bool { hosts[w.hostOf(vm.(string))] = true; return true })
		require.Len(w, hosts, 3, group)
	}
	w.leavesNothing(func() {
		problem := w.refused(409, v1.CodeNoCapacity, "red-member", "POST", "/v1/vms", draft("hard-3", "red", member("hard")))
		require.Contains(w, problem.Detail, "placement group")
	})
	w.make("red-member", "/v1/vms", "soft-3", "red", member("soft"))
	w.refused(409, v1.CodeInUse, "red-member", "DELETE", "/v1/placement-groups/hard?project=red", nil)
	w.remove("red-member", "/v1/vms/hard-1?project=red")
	w.make("red-member", "/v1/vms", "hard-3", "red", member("hard")) // there is room again
	for _, vm := range []string{"hard-0", "hard-2", "hard-3", "soft-0", "soft-1", "soft-2", "soft-3"} {
		w.remove("red-member", "/v1/vms/"+vm+"?project=red")
	}
	w.remove("red-member", "/v1/placement-groups/hard?project=red")
	w.remove("red-member", "/v1/placement-groups/soft?project=red")
}

func rulesDryRun(w *world) {
	explain := func(user string, spec v1.VMSpec) (placement v1.Placement) {
		w.Helper()
		got := w.must(200, user, "POST", "/v1/vms?dryRun=true", draft("x", "red", spec))
		require.NoError(w, json.Unmarshal([]byte(got.body), &placement))
		return placement
	}
	w.leavesNothing(func() {
		placement := explain("admin", running())
		require.True(w, placement.Placed)
		require.True(w, v1.IsID(placement.Host))
		require.Equal(w, 3, placement.Considered)
		placement = explain("red-member", running())
		require.True(w, placement.Placed)
		require.Empty(w, placement.Host)
		placement = explain("red-member", running(func(s *v1.VMSpec) { s.Flavor = "too-much" }))
		require.False(w, placement.Placed)
		refused := 0
		for _, filter := range placement.Filters {
			refused += filter.Refused
			require.Equal(w, filter.Refused > 0, filter.Reason != "")
		}
		require.Equal(w, 3, refused)
		w.refused(422, v1.CodeInvalid, "red-member", "POST", "/v1/vms?dryRun=true", draft("x", "red", v1.VMSpec{Flavor: "small", Image: "nix"}))
	})
}

func rulesHosts(w *world) {
	host := w.cloud.Hosts[2]
	w.must(200, "admin", "PATCH", "/v1/hosts/h3", `{"spec":{"schedulable":false},"labels":{"rack":"7"}}`)
	require.Contains(w, w.must(200, "admin", "GET", "/v1/hosts/h3", nil).body, `"phase":"Maintenance"`)
	spec := running(func(s *v1.VMSpec) { s.Flavor = "whole" })
	w.make("red-member", "/v1/vms", "a", "red", spec)
	w.make("red-member", "/v1/vms", "b", "red", spec)
	problem := w.refused(409, v1.CodeNoCapacity, "red-member", "POST", "/v1/vms", draft("c", "red", spec))
	require.Contains(w, problem.Error(), "1 of 3 hosts takes no new virtual machines")
	for _, bad := range []string{`{"spec":{"cpuOvercommit":0}}`, `{"spec":{"securityLevel":9}}`, `{"spec":{"reservedMemoryMiB":-1}}`, `{"name":"h1"}`, `{"name":"a/b"}`} {
		require.Contains(w, []int{409, 422}, w.do("admin", "PATCH", "/v1/hosts/h3", bad).status, bad)
	}
	w.must(200, "admin", "PATCH", "/v1/hosts/h3", `{"spec":{"schedulable":true}}`)
	w.remove("red-member", "/v1/vms/a?project=red")
	w.remove("red-member", "/v1/vms/b?project=red")
	require.Equal(w, http.StatusOK, w.do("admin", "GET", "/v1/hosts/"+host.ID, nil).status)
}
