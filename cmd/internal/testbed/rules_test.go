package testbed

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestRules: what is refused, at which limit exactly, and that a refusal leaves nothing. 3 hosts of 64 virtual CPUs and 57344 MiB each.
func TestRules(t *testing.T) {
	w := newWorld(t, Options{Controllers: 1, Hosts: 3, SilentAfter: time.Minute})
	t.Run("quotas", func(t *testing.T) { rulesQuotas(w.on(t)) })
	t.Run("capacity", func(t *testing.T) { rulesCapacity(w.on(t)) })
	t.Run("placement groups", func(t *testing.T) { rulesGroups(w.on(t)) })
	t.Run("dry run", func(t *testing.T) { rulesDryRun(w.on(t)) })
	t.Run("idempotency", func(t *testing.T) { rulesIdempotency(w.on(t)) })
	t.Run("conditions and immutables", func(t *testing.T) { rulesChanges(w.on(t)) })
	t.Run("names", func(t *testing.T) { rulesNames(w.on(t)) })
	t.Run("in use, busy, and gone", func(t *testing.T) { rulesDeletion(w.on(t)) })
	t.Run("operations", func(t *testing.T) { rulesOperations(w.on(t)) })
	t.Run("lists", func(t *testing.T) { rulesLists(w.on(t)) })
	t.Run("hosts", func(t *testing.T) { rulesHosts(w.on(t)) })
}

// idle is a VM that is not started: it takes quota and disk, and no CPU.
func idle(change ...func(*v1.VMSpec)) v1.VMSpec {
	spec := v1.VMSpec{Flavor: "small", Image: "tiny", Power: v1.PowerStopped}
	for _, f := range change {
		f(&spec)
	}
	return spec
}

func running(change ...func(*v1.VMSpec)) v1.VMSpec {
	return idle(append(change, func(s *v1.VMSpec) { s.Power = "" })...)
}

func rulesIdempotency(w *world) {
	key := func() string { return "Idempotency-Key: " + uuid.NewString() }
	one := key()
	request := draft("once", "red", idle())
	first := w.must(202, "red-member", "POST", "/v1/vms", request, one)
	require.Empty(w, first.header.Get("Idempotent-Replayed"))
	again := w.must(202, "red-member", "POST", "/v1/vms", request, one)
	require.Equal(w, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(w, first.id(w), again.id(w))
	require.Equal(w, first.header.Get("Coloa-Operation"), again.header.Get("Coloa-Operation"))
	w.finish(first)
	after := w.must(202, "red-member", "POST", "/v1/vms", request, one) // also when all is done: the answer is the first one's
	require.Equal(w, first.id(w), after.id(w))
	w.leavesNothing(func() {
		w.refused(409, v1.CodeKeyReused, "red-member", "POST", "/v1/vms", draft("twice", "red", idle()), one)
		w.refused(409, v1.CodeKeyReused, "red-member", "POST", "/v1/volumes", draft("once", "red", v1.VolumeSpec{SizeGiB: 1}), one)
		require.Contains(w, []int{400, 422}, w.do("red-member", "POST", "/v1/vms", request, "Idempotency-Key: "+strings.Repeat("x", 256)).status)
	})
	// Another user's key is another key; and what the first one made is not told.
	w.refused(409, v1.CodeNameTaken, "red-admin", "POST", "/v1/vms", request, one)
	w.refused(404, v1.CodeNotFound, "blue-member", "POST", "/v1/vms", request, one)

	// A refused request keeps no receipt: sent again once it is right, it is decided anew.
	late := key()
	w.refused(409, v1.CodeNameTaken, "red-member", "POST", "/v1/vms", request, late)
	w.remove("red-member", "/v1/vms/once?project=red")
	w.refused(404, v1.CodeNotFound, "red-member", "POST", "/v1/vms", request, one) // what it made is gone; it must not be made again
	w.finish(w.must(202, "red-member", "POST", "/v1/vms", request, late))

	// The same request many times at once makes one machine.
	crowd := key()
	var all sync.WaitGroup
	var mu sync.Mutex
	ids, operations, replays := map[string]bool{}, map[string]bool{}, 0
	for range 12 {
		all.Go(func() {
			got := w.must(202, "red-member", "POST", "/v1/vms", draft("crowd", "red", idle()), crowd)
			mu.Lock()
			defer mu.Unlock()
			ids[got.id(w)], operations[got.header.Get("Coloa-Operation")] = true, true
			if got.header.Get("Idempotent-Replayed") == "true" {
				replays++
			}
		})
	}
	all.Wait()
	require.Len(w, ids, 1)
	require.Len(w, operations, 1)
	require.Equal(w, 11, replays)
	w.quiet()

	// Actions too: one start, however often it is sent.
	start := key()
	began := w.must(202, "red-member", "POST", "/v1/vms/crowd/start?project=red", struct{}{}, start)
	repeated := w.must(202, "red-member", "POST", "/v1/vms/crowd/start?project=red", struct{}{}, start)
	require.Equal(w, began.header.Get("Coloa-Operation"), repeated.header.Get("Coloa-Operation"))
	w.finish(began)
	w.refused(409, v1.CodeKeyReused, "red-member", "POST", "/v1/vms/crowd/stop?project=red", v1.StopRequest{}, start)
	w.remove("red-member", "/v1/vms/crowd?project=red")
	w.remove("red-member", "/v1/vms/once?project=red")
}

func rulesChanges(w *world) {
	vm := w.make("red-member", "/v1/vms", "fixed", "red", idle(func(s *v1.VMSpec) { s.UserData = "#!/bin/sh\n" }))
	path := "/v1/vms/" + vm
	seen := w.must(200, "red-member", "GET", path, nil).header.Get("ETag")
	changed := w.must(200, "red-member", "PATCH", path, `{"labels":{"tier":"web"}}`, "If-Match: "+seen)
	require.NotEqual(w, seen, changed.header.Get("ETag"))
	w.leavesNothing(func() {
		for _, method := range []string{"PATCH", "PUT", "DELETE"} {
			var body any
			switch method {
			case "PATCH":
				body = `{"labels":{"tier":"db"}}`
			case "PUT":
				body = draft("fixed", "red", idle(func(s *v1.VMSpec) { s.UserData = "#!/bin/sh\n" }))
			}
			w.refused(412, v1.CodeNotMatched, "red-member", method, path, body, "If-Match: "+seen)
		}
		// Each field that cannot change is named, all of them at once.
		problem := w.refused(422, v1.CodeImmutable, "red-member", "PATCH", path, map[string]any{"name": "other", "spec": map[string]any{
			"image": "nix", "diskGiB": 7, "userData": "x", "sshKeys": []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMarkerOfTheSSHKeyMarkerOfTheSSHKeyMarkerOfX x"},
			"placementGroup": "nix", "securityLevel": 2, "diskThrottle": map[string]any{"readIops": 100}}})
		var fields []string
		for _, field := range problem.Errors {
			fields = append(fields, field.Field)
		}
		require.Equal(w, []string{"name", "spec.image", "spec.diskGiB", "spec.userData", "spec.sshKeys", "spec.placementGroup", "spec.diskThrottle", "spec.securityLevel"}, fields)
		require.Equal(w, "name", problem.Field)
		problem = w.refused(422, v1.CodeImmutable, "admin", "PATCH", "/v1/flavors/small", `{"spec":{"vcpus":2,"memoryMiB":512,"diskGiB":2}}`)
		require.Len(w, problem.Errors, 3)
		problem = w.refused(422, v1.CodeImmutable, "admin", "PATCH", "/v1/images/tiny?project=demo", `{"spec":{"format":"qcow2"}}`)
		require.Equal(w, "spec.format", problem.Field)
		// A PUT that leaves out what the machine has would change it.
		w.refused(422, v1.CodeImmutable, "red-member", "PUT", path, draft("fixed", "red", idle()))
		w.refused(422, v1.CodeInvalid, "red-member", "PATCH", path, `{"spec":{"flavor":"large","power":"Running"}}`)
		w.refused(422, v1.CodeInvalid, "red-member", "PATCH", path, `{"spec":{"flavor":"nix"}}`)
		w.refused(422, v1.CodeInvalid, "red-member", "PATCH", path, `{"spec":{"restartPolicy":"sometimes"}}`)
	})
	// What is read can be written back as it is, and changes nothing.
	spec := w.must(200, "red-member", "GET", path+"?view=spec", nil).body
	require.Contains(w, spec, `"userData":"#!/bin/sh\n"`)
	w.must(200, "red-member", "PUT", path, spec)
	require.JSONEq(w, spec, w.must(200, "red-member", "GET", path+"?view=spec", nil).body)
	w.must(200, "red-member", "PATCH", path, `{"spec":{"restartPolicy":"always"},"labels":{"tier":null}}`)
	require.NotContains(w, w.must(200, "red-member", "GET", path, nil).body, `"tier"`)
	// A reader's view of the spec lacks what it may not see.
	require.NotContains(w, w.must(200, "red-reader", "GET", path+"?view=spec", nil).body, "#!/bin/sh")

	volume := w.make("red-member", "/v1/volumes", "grows", "red", v1.VolumeSpec{SizeGiB: 2})
	problem := w.refused(422, v1.CodeImmutable, "red-member", "PATCH", "/v1/volumes/"+volume, `{"spec":{"sizeGiB":1}}`)
	require.Contains(w, problem.Detail, "shrink")
	w.finish(w.must(202, "red-member", "PATCH", "/v1/volumes/"+volume, `{"spec":{"sizeGiB":3}}`))
	w.remove("red-member", "/v1/volumes/"+volume)
	w.remove("red-member", path)
}

func rulesNames(w *world) {
	first := w.make("red-member", "/v1/volumes", "name", "red", v1.VolumeSpec{SizeGiB: 1})
	w.leavesNothing(func() {
		problem := w.refused(409, v1.CodeNameTaken, "red-member", "POST", "/v1/volumes", draft("name", "red", v1.VolumeSpec{SizeGiB: 1}))
		require.Equal(w, "name", problem.Field)
	})
	w.make("both", "/v1/volumes", "name", "blue", v1.VolumeSpec{SizeGiB: 1}) // a name of another project is free
	w.make("red-member", "/v1/placement-groups", "name", "red", v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft})
	// A name without a project must be clear to whoever asks.
	require.Equal(w, first, w.must(200, "red-member", "GET", "/v1/volumes/name", nil).id(w))
	problem := w.refused(409, v1.CodeConflict, "both", "GET", "/v1/volumes/name", nil)
	require.Equal(w, "project", problem.Field)
	require.Equal(w, first, w.must(200, "both", "GET", "/v1/volumes/name?project=red", nil).id(w))
	// Renamed, the old name is free; a rename to a name that is taken is refused.
	w.must(200, "red-member", "PATCH", "/v1/volumes/"+first, `{"name":"renamed"}`)
	w.refused(404, v1.CodeNotFound, "red-member", "GET", "/v1/volumes/name?project=red", nil)
	w.make("red-member", "/v1/volumes", "name", "red", v1.VolumeSpec{SizeGiB: 1})
	w.refused(409, v1.CodeNameTaken, "red-member", "PATCH", "/v1/volumes/"+first, `{"name":"name"}`)
	// Deleted, the name is free again at once.
	for range 3 {
		w.remove("red-member", "/v1/volumes/name?project=red")
		w.make("red-member", "/v1/volumes", "name", "red", v1.VolumeSpec{SizeGiB: 1})
	}
	// Many who want one name: one gets it.
	var all sync.WaitGroup
	codes := make([]v1.Code, 8)
	for i := range codes {
		all.Go(func() {
			codes[i] = w.do("red-member", "POST", "/v1/placement-groups", draft("wanted", "red", v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft})).code()
		})
	}
	all.Wait()
	taken := 0
	for _, code := range codes {
		if code == v1.CodeNameTaken {
			taken++
		}
	}
	require.Equal(w, 7, taken)
	w.remove("red-member", "/v1/placement-groups/wanted?project=red")
	w.remove("red-member", "/v1/placement-groups/name?project=red")
	w.remove("red-member", "/v1/volumes/name?project=red")
	w.remove("red-member", "/v1/volumes/renamed?project=red")
	w.remove("both", "/v1/volumes/name?project=blue")
}

func rulesDeletion(w *world) {
	w.make("red-member", "/v1/images", "base", "red", v1.ImageSpec{Format: v1.FormatRaw})
	w.finish(w.must(202, "red-member", "PUT", "/v1/images/base/data?project=red", []byte(strings.Repeat("x", 4096))))
	vm := w.make("red-member", "/v1/vms", "user", "red", running(func(s *v1.VMSpec) { s.Image = "base" }))
	root := w.leader().get().Store().Snapshot().VM(vm).Status.RootVolume
	volume := w.make("red-member", "/v1/volumes", "kept", "red", v1.VolumeSpec{SizeGiB: 1, Image: "base"})
	w.make("red-member", "/v1/snapshots", "keeper", "red", v1.SnapshotSpec{Volume: "kept"})
	w.leavesNothing(func() {
		for _, path := range []string{"/v1/images/base?project=red", "/v1/volumes/kept?project=red", "/v1/volumes/" + root, "/v1/flavors/small", "/v1/projects/red", "/v1/users/red-member"} {
			problem := w.refused(409, v1.CodeInUse, "admin", "DELETE", path, nil)
			require.NotEmpty(w, problem.Next, path)
		}
		w.refused(409, v1.CodeWrongState, "admin", "DELETE", "/v1/hosts/"+w.cloud.Hosts[0].ID, nil)
		w.refused(409, v1.CodeInUse, "red-member", "POST", "/v1/snapshots", draft("hot", "red", v1.SnapshotSpec{Volume: root}))
		w.refused(405, v1.CodeMethodNotAllowed, "admin", "DELETE", "/v1/instances/"+w.leader().get().Store().Snapshot().VM(vm).Status.Instance, nil)
	})
	// While it is under way: busy for others, the same answer for the same wish, and 404 afterwards.
	w.remove("red-member", "/v1/snapshots/keeper?project=red")
	w.gate.close()
	first := w.must(202, "red-member", "DELETE", "/v1/volumes/"+volume, nil)
	second := w.must(202, "red-member", "DELETE", "/v1/volumes/"+volume, nil)
	require.Equal(w, first.header.Get("Coloa-Operation"), second.header.Get("Coloa-Operation"))
	require.Contains(w, second.body, `"deletedAt"`)
	w.refused(409, v1.CodeWrongState, "red-member", "PATCH", "/v1/volumes/"+volume, `{"spec":{"sizeGiB":2}}`)
	require.Contains(w, []int{409, 422}, w.do("red-member", "POST", "/v1/snapshots", draft("late", "red", v1.SnapshotSpec{Volume: "kept"})).status)
	w.refused(409, v1.CodeNameTaken, "red-member", "POST", "/v1/volumes", draft("kept", "red", v1.VolumeSpec{SizeGiB: 1})) // not free before it is gone
	w.gate.open()
	w.finish(first)
	w.refused(404, v1.CodeNotFound, "red-member", "DELETE", "/v1/volumes/"+volume, nil)
	w.refused(404, v1.CodeNotFound, "red-member", "GET", "/v1/volumes/"+volume, nil)

	w.gate.close()
	deletion := w.must(202, "red-member", "DELETE", "/v1/vms/"+vm, nil)
	require.Equal(w, deletion.header.Get("Coloa-Operation"), w.must(202, "red-member", "DELETE", "/v1/vms/user?project=red", nil).header.Get("Coloa-Operation"))
	for _, action := range []string{"start", "stop", "reboot"} {
		w.refused(409, v1.CodeWrongState, "red-member", "POST", "/v1/vms/"+vm+"/"+action, struct{}{})
	}
	w.gate.open()
	w.finish(deletion)
	w.refused(404, v1.CodeNotFound, "red-member", "GET", "/v1/vms/user?project=red", nil)
	w.refused(404, v1.CodeNotFound, "red-member", "GET", "/v1/volumes/"+root, nil)
	w.remove("red-member", "/v1/images/base?project=red")
}

func rulesOperations(w *world) {
	w.gate.close()
	created := w.must(202, "red-member", "POST", "/v1/volumes", draft("slow", "red", v1.VolumeSpec{SizeGiB: 1}))
	path := "/v1/operations/" + created.header.Get("Coloa-Operation")
	// Waiting ends with the time given; others do not see it at all.
	begun := time.Now()
	require.Contains(w, w.must(200, "red-member", "GET", path+"?wait=300ms", nil).body, `"state":"Running"`)
	require.GreaterOrEqual(w, time.Since(begun), 300*time.Millisecond)
	w.refused(404, v1.CodeNotFound, "blue-member", "GET", path+"?wait=1s", nil)
	w.refused(404, v1.CodeNotFound, "blue-member", "POST", path+"/cancel", struct{}{})
	w.refused(403, v1.CodeDenied, "red-reader", "POST", path+"/cancel", struct{}{})
	problem := w.refused(409, v1.CodeBusy, "red-member", "DELETE", "/v1/volumes/slow?project=red", nil)
	require.NotEmpty(w, problem.Params["operation"])
	for _, action := range []string{"retry", "abandon"} {
		w.refused(409, v1.CodeWrongState, "red-member", "POST", path+"/"+action, struct{}{})
	}
	// A colleague of the project cancels it: what was done is undone.
	w.must(202, "both", "POST", path+"/cancel", struct{}{})
	w.must(202, "red-admin", "POST", path+"/cancel", struct{}{}) // twice is once
	waiting := make(chan reply, 1)
	go func() { waiting <- w.do("red-member", "GET", path+"?wait=30s", nil) }()
	w.gate.open()
	ended := <-waiting
	require.Contains(w, ended.body, `"state":"Cancelled"`)
	require.Contains(w, ended.body, `"code":"cancelled"`)
	w.refused(404, v1.CodeNotFound, "red-member", "GET", "/v1/volumes/slow?project=red", nil)
	w.must(202, "red-member", "POST", path+"/cancel", struct{}{}) // over is over
	require.Zero(w, w.usage("red").Volumes)
	// What only goes forward cannot be cancelled.
	volume := w.make("red-member", "/v1/volumes", "slow", "red", v1.VolumeSpec{SizeGiB: 1})
	w.gate.close()
	deletion := w.must(202, "red-member", "DELETE", "/v1/volumes/"+volume, nil)
	w.refused(409, v1.CodeWrongState, "red-member", "POST", "/v1/operations/"+deletion.header.Get("Coloa-Operation")+"/cancel", struct{}{})
	w.gate.open()
	w.finish(deletion)
}

func rulesLists(w *world) {
	var ids []string
	for i := range 7 {
		body := draft(fmt.Sprintf("listed-%d", i), "blue", v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft})
		body["labels"] = map[string]string{"parity": []string{"even", "odd"}[i%2], "all": "yes"}
		ids = append(ids, w.must(201, "blue-member", "POST", "/v1/placement-groups", body).id(w))
	}
	for _, limit := range []int{1, 2, 3, 7, 1000} {
		for _, project := range []string{"", "&project=blue"} {
			var seen []string
			cursor, pages := "", 0
			for {
				page, next := w.must(200, "blue-member", "GET", fmt.Sprintf("/v1/placement-groups?limit=%d&cursor=%s%s", limit, cursor, project), nil).items(w)
				require.LessOrEqual(w, len(page), limit)
				seen, cursor, pages = append(seen, page...), next, pages+1
				if next == "" {
					break
				}
			}
			require.Equal(w, ids, seen)
			require.Equal(w, (len(ids)+limit-1)/limit, pages, "no empty page at the end")
		}
	}
	count := func(query string) int {
		w.Helper()
		page, _ := w.must(200, "blue-member", "GET", "/v1/placement-groups?"+query, nil).items(w)
		return len(page)
	}
	require.Equal(w, 4, count("label=parity=even"))
	require.Equal(w, 3, count("label=parity=odd&label=all=yes"))
	require.Zero(w, count("label=parity=odd&label=all=no"))
	require.Zero(w, count("label=nix=x"))
	require.Equal(w, 1, count("name=listed-3"))
	require.Equal(w, 7, count("cursor=0"))
	require.Zero(w, count("cursor=zzz"))
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "limit=-1", "label=x", "cursor=" + strings.Repeat("x", 2000)} {
		require.Contains(w, []int{400, 422}, w.do("blue-member", "GET", "/v1/placement-groups?"+bad, nil).status, bad)
	}
	// An object that is deleted between two pages is no reason to begin again.
	_, next := w.must(200, "blue-member", "GET", "/v1/placement-groups?limit=3", nil).items(w)
	w.remove("blue-member", "/v1/placement-groups/"+next)
	page, _ := w.must(200, "blue-member", "GET", "/v1/placement-groups?limit=3&cursor="+next, nil).items(w)
	require.Equal(w, ids[3:6], page)
	for _, id := range ids {
		if id != next {
			w.remove("blue-member", "/v1/placement-groups/"+id)
		}
	}
}
