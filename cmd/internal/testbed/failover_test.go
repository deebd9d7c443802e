package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/api/client"
	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller"
)

var quick = controller.RaftTimes{Heartbeat: 400 * time.Millisecond, Election: 400 * time.Millisecond, Lease: 300 * time.Millisecond}

// process is a running fake machine: where, and as which process.
type process struct {
	host string
	pid  int
}

// processes are all machines that run, by instance.
func processes(t testing.TB, c *Cloud) map[string]process {
	t.Helper()
	all := map[string]process{}
	for _, host := range c.Hosts {
		view := host.Machine.Open(c.ID)
		machines, err := view.List(t.Context())
		require.NoError(t, err)
		require.NoError(t, view.Close())
		for _, machine := range machines {
			if machine.State == hypervisor.StateRunning {
				all[machine.ID] = process{host.Name, machine.PID}
			}
		}
	}
	return all
}

// agree waits until all members have the same state.
func agree(t testing.TB, c *Cloud) {
	t.Helper()
	var hashes []string
	require.Eventually(t, func() bool {
		hashes = nil
		indexes := map[uint64]bool{}
		for _, member := range c.Controllers {
			hash, index, err := member.Hash()
			if err != nil {
				return false
			}
			hashes = append(hashes, hash)
			indexes[index] = true
		}
		return len(indexes) == 1
	}, 20*time.Second, 5*time.Millisecond, "the members do not come to the same index")
	for _, hash := range hashes {
		require.Equal(t, hashes[0], hash, "two members have another state at the same index")
	}
}

func leads(t testing.TB, c *Cloud) *Controller {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	leader, err := c.Leader(ctx)
	require.NoError(t, err)
	return leader
}

func createVM(t testing.TB, c *client.Client, name string, change ...func(*v1.VMSpec)) *v1.VM {
	t.Helper()
	spec := v1.VMSpec{Flavor: "small", Image: "tiny"}
	for _, f := range change {
		f(&spec)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	made, err := client.Create[v1.VM](ctx, c, client.Draft{Name: name, Project: "demo", Spec: spec})
	require.NoError(t, err)
	operation, err := c.WaitOperation(ctx, made.Operation, nil)
	if err != nil {
		now, _ := client.Get[v1.Operation](t.Context(), c, ref(made.Operation))
		t.Logf("%s is not made: %+v", name, now)
	}
	require.NoError(t, err)
	require.Equal(t, v1.OperationSucceeded, operation.Status.State, "%v", operation.Status.Error)
	return getVM(t, c, name)
}

func getVM(t testing.TB, c *client.Client, name string) *v1.VM {
	t.Helper()
	vm, err := client.Get[v1.VM](t.Context(), c, ref(name))
	require.NoError(t, err)
	return vm
}

// TestFailOver kills and cuts off controllers under load, and restarts everything, while four machines run.
func TestFailOver(t *testing.T) {
	t.Parallel() // most of it is waiting
	cloud, admin := furnished(t, Options{Controllers: 3, Hosts: 3, SilentAfter: time.Minute, HeartbeatEvery: 200 * time.Millisecond, Raft: quick, KeepLedgers: true,
		Limits: httpapi.Limits{RatePerToken: -1, RatePerAddress: -1, ConsistentTimeout: 2 * time.Second}})
	for n := range 4 {
		createVM(t, admin, fmt.Sprintf("steady-%d", n))
	}
	before := processes(t, cloud)
	require.Len(t, before, 4)
	for _, step := range []struct {
		name string
		run  func(*testing.T, *Cloud, *client.Client)
	}{
		{"a killed leader costs no acknowledged write", killedLeader},
		{"a leader that is cut off acknowledges nothing", cutOffLeader},
		{"the keeper of an image dies and comes back", lostKeeper},
		{"restarts twice in a row change nothing", restarts},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			step.run(t, cloud, admin)
			agree(t, cloud)
			require.Equal(t, before, processes(t, cloud), "a guest was touched")
		})
		require.True(t, ok, "what follows would make no sense")
	}
}

// history is what clients were told.
type history struct {
	mu        sync.Mutex
	attempted map[string]bool
	acked     map[string]string // name -> id
	refused   map[v1.Code]int
	counter   map[string]int // name -> highest number whose writing was acknowledged
}

// load creates objects, and counts one up in each worker, until stop is closed.
func (h *history) load(ctx context.Context, c *client.Client, worker int, stop <-chan struct{}) error {
	spec := v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft}
	counted := fmt.Sprintf("counted-%d", worker)
	if _, err := client.Create[v1.PlacementGroup](ctx, c, client.Draft{Name: counted, Project: "demo", Spec: spec}); err != nil {
		return err
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		case <-time.After(5 * time.Millisecond):
		}
		name := fmt.Sprintf("load-%d-%d", worker, n)
		h.mu.Lock()
		h.attempted[name] = true
		h.mu.Unlock()
		made, err := client.Create[v1.PlacementGroup](ctx, c, client.Draft{Name: name, Project: "demo", Spec: spec})
		_, counting := client.Patch[v1.PlacementGroup](ctx, c, ref(counted), map[string]any{"labels": map[string]any{"n": strconv.Itoa(n)}}, 0)
		h.mu.Lock()
		if err == nil {
			h.acked[name] = made.Object.ID
		} else {
			h.refused[v1.CodeOf(err)]++
		}
		if counting == nil {
			h.counter[counted] = n
		}
		h.mu.Unlock()
	}
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acked)
}

func killedLeader(t *testing.T, cloud *Cloud, admin *client.Client) {
	h := &history{attempted: map[string]bool{}, acked: map[string]string{}, refused: map[v1.Code]int{}, counter: map[string]int{}}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			if err := h.load(t.Context(), admin, worker, stop); err != nil {
				t.Error(err)
			}
		})
	}
	more := func(count int) {
		t.Helper()
		from := h.count()
		require.Eventually(t, func() bool { return h.count() >= from+count }, 30*time.Second, 5*time.Millisecond, "the others do not answer")
	}
	more(20)
	for range 2 {
		leader := leads(t, cloud)
		require.NoError(t, leader.Kill())
		// The next request is answered by the others: the client finds them by itself, and each of them answers alone.
		begun := time.Now()
		_, err := client.Create[v1.PlacementGroup](t.Context(), admin, client.Draft{Name: "next-" + leader.ID, Project: "demo", Spec: v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft}})
		require.NoError(t, err)
		t.Logf("answered %v after %s was killed", time.Since(begun).Round(time.Millisecond), leader.ID)
		for _, member := range cloud.Controllers {
			if member.Running() {
				got := plainGet(t, cloud, admin, member)
				require.Contains(t, got, "next-"+leader.ID, "%s does not see what was acknowledged before", member.ID)
			}
		}
		// The agents have found another controller as well: a machine starts.
		vm := createVM(t, admin, "after-"+leader.ID)
		require.Equal(t, v1.VMRunning, vm.Status.Phase)
		deleted, err := client.Delete[v1.VM](t.Context(), admin, ref(vm.ID), 0)
		require.NoError(t, err)
		succeed(t, admin, deleted.Operation)
		more(20)
		require.NoError(t, leader.Start())
		more(20)
	}
	close(stop)
	all.Wait()
	agree(t, cloud)
	t.Logf("%d creates acknowledged, %d not: %v", len(h.acked), len(h.attempted)-len(h.acked), h.refused)
	require.Greater(t, len(h.acked), 100)
	for _, member := range cloud.Controllers {
		s := member.get().Store().Snapshot()
		demo := s.ByName(v1.KindProject, "", "demo").ObjectMeta().ID
		for name, id := range h.acked {
			found := s.ByName(v1.KindPlacementGroup, demo, name)
			require.NotNil(t, found, "%s was acknowledged, and %s has lost it", name, member.ID)
			require.Equal(t, id, found.ObjectMeta().ID)
		}
		for _, object := range s.List(v1.KindPlacementGroup) {
			if strings.HasPrefix(object.ObjectMeta().Name, "load-") {
				require.True(t, h.attempted[object.ObjectMeta().Name])
			}
		}
		for name, n := range h.counter {
			kept, err := strconv.Atoi(s.ByName(v1.KindPlacementGroup, demo, name).ObjectMeta().Labels["n"])
			require.NoError(t, err)
			require.GreaterOrEqual(t, kept, n, "%s: an acknowledged number was lost", name)
		}
	}
}

// plainGet lists all placement groups at one controller, without any help of the client.
func plainGet(t *testing.T, cloud *Cloud, admin *client.Client, member *Controller) string {
	t.Helper()
	alone, err := client.New(client.Options{Endpoints: []string{member.URL()}, Token: tokenOf(t, admin), CAPool: cloud.authority.pool, RetryFor: 10 * time.Second})
	require.NoError(t, err)
	defer alone.Close()
	groups, err := client.ListAll[v1.PlacementGroup](t.Context(), alone, client.Query{Project: "demo"}, 0)
	require.NoError(t, err, member.ID)
	var names []string
	for _, group := range groups {
		names = append(names, group.Name)
	}
	return strings.Join(names, " ")
}

func tokenOf(t *testing.T, admin *client.Client) string {
	t.Helper()
	made, err := admin.CreateToken(t.Context(), client.Draft{Name: "alone", Spec: v1.TokenSpec{}})
	require.NoError(t, err)
	return made.Secret
}

func cutOffLeader(t *testing.T, cloud *Cloud, admin *client.Client) {
	old := leads(t, cloud)
	alone, err := client.New(client.Options{Endpoints: []string{old.URL()}, Token: tokenOf(t, admin), CAPool: cloud.authority.pool, RetryFor: -1, RequestTimeout: 8 * time.Second})
	require.NoError(t, err)
	defer alone.Close()
	spec := v1.PlacementGroupSpec{Policy: v1.AntiAffinitySoft}
	_, err = client.Create[v1.PlacementGroup](t.Context(), alone, client.Draft{Name: "before-the-cut", Project: "demo", Spec: spec})
	require.NoError(t, err)
	cloud.Network.Isolate(old.ID)
	var refused sync.WaitGroup
	for n := range 2 { // at once, while it still believes that it leads, and afterwards
		refused.Go(func() {
			time.Sleep(time.Duration(n) * time.Second)
			_, err := client.Create[v1.PlacementGroup](t.Context(), alone, client.Draft{Name: fmt.Sprintf("lost-%d", n), Project: "demo", Spec: spec})
			if code := v1.CodeOf(err); code != v1.CodeUnavailable && code != v1.CodeOutcomeUnknown {
				t.Errorf("a leader that is cut off answered a write with %v", err)
			}
		})
	}
	refused.Go(func() {
		time.Sleep(time.Second)
		_, err := client.List[v1.PlacementGroup](t.Context(), alone, client.Query{Project: "demo"})
		if v1.CodeOf(err) != v1.CodeUnavailable {
			t.Errorf("a read must not show what may be old: %v", err)
		}
	})
	refused.Wait()

	require.Eventually(t, func() bool {
		for _, member := range cloud.Controllers {
			if member != old && member.Leads() {
				return true
			}
		}
		return false
	}, 20*time.Second, 5*time.Millisecond, "the others choose nobody")
	made, err := client.Create[v1.PlacementGroup](t.Context(), admin, client.Draft{Name: "meanwhile", Project: "demo", Spec: spec})
	require.NoError(t, err)
	cloud.Network.Heal()
	agree(t, cloud)
	s := old.get().Store().Snapshot()
	require.NotNil(t, s.Get(v1.KindPlacementGroup, made.Object.ID))
	demo := s.ByName(v1.KindProject, "", "demo").ObjectMeta().ID
	require.NotNil(t, s.ByName(v1.KindPlacementGroup, demo, "before-the-cut"))
	for n := range 2 {
		require.Nil(t, s.ByName(v1.KindPlacementGroup, demo, fmt.Sprintf("lost-%d", n)), "what was never acknowledged, and never reached the others, is nowhere")
	}
}

// lostKeeper: the only controller that has an image's bytes dies; agents that register meanwhile still learn where it will be, and fetch the bytes once it is back.
func lostKeeper(t *testing.T, cloud *Cloud, admin *client.Client) {
	require.Eventually(t, func() bool {
		for _, member := range cloud.Controllers {
			if member.get().Known() != 3 {
				return false
			}
		}
		return true
	}, 10*time.Second, 10*time.Millisecond, "the controllers do not learn of each other")
	created, err := client.Create[v1.Image](t.Context(), admin, client.Draft{Name: "kept", Project: "demo", Spec: v1.ImageSpec{Format: v1.FormatRaw}})
	require.NoError(t, err)
	data := strings.Repeat("coloa...", 1<<10)
	uploaded, err := admin.Upload(t.Context(), ref("kept"), strings.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	succeed(t, admin, uploaded.Operation)
	var keeper *Controller
	for _, member := range cloud.Controllers {
		if _, err := os.Stat(filepath.Join(cloud.Options.Dir, member.ID, "images", created.Object.ID)); err == nil {
			require.Nil(t, keeper, "one controller keeps them")
			keeper = member
		}
	}
	require.NotNil(t, keeper)
	require.NoError(t, keeper.Kill())
	for _, host := range cloud.Hosts { // they register anew, with others
		require.NoError(t, host.Stop())
		require.NoError(t, host.Start())
	}
	_, err = client.Create[v1.PlacementGroup](t.Context(), admin, client.Draft{Name: "everywhere", Project: "demo", Spec: v1.PlacementGroupSpec{Policy: v1.AntiAffinityHard}})
	require.NoError(t, err)
	var made []client.Result[v1.VM]
	for n := range 3 { // on all hosts, so on two that do not have the image
		result, err := client.Create[v1.VM](t.Context(), admin, client.Draft{Name: fmt.Sprintf("kept-%d", n), Project: "demo", Spec: v1.VMSpec{Flavor: "small", Image: "kept", PlacementGroup: "everywhere", Power: v1.PowerStopped}})
		require.NoError(t, err)
		made = append(made, result)
	}
	require.NoError(t, keeper.Start())
	for _, result := range made {
		succeed(t, admin, result.Operation)
		deleted, err := client.Delete[v1.VM](t.Context(), admin, ref(result.Object.ID), 0)
		require.NoError(t, err)
		succeed(t, admin, deleted.Operation)
	}
}

func restarts(t *testing.T, cloud *Cloud, admin *client.Client) {
	objects := func() map[string]string {
		t.Helper()
		agree(t, cloud)
		contents := map[string]string{}
		s := leads(t, cloud).get().Store().Snapshot()
		for _, kind := range []v1.Kind{v1.KindVM, v1.KindInstance, v1.KindVolume, v1.KindAttachment, v1.KindOperation, v1.KindTask, v1.KindImage, v1.KindProject, v1.KindFlavor} {
			for _, object := range s.List(kind) {
				text, err := json.Marshal(object)
				require.NoError(t, err)
				contents[string(kind)+"/"+object.ObjectMeta().ID] = string(text)
			}
		}
		return contents
	}
	before := objects()
	running := processes(t, cloud)
	for range 2 {
		for _, host := range cloud.Hosts {
			require.NoError(t, host.Stop())
			require.NoError(t, host.Start())
		}
		for _, member := range cloud.Controllers { // one after the other, in order
			require.NoError(t, member.Stop())
			require.NoError(t, member.Start())
			leads(t, cloud)
		}
		require.Equal(t, running, processes(t, cloud))
		for _, member := range cloud.Controllers { // all at once, without warning
			require.NoError(t, member.Kill())
		}
		for _, host := range cloud.Hosts {
			require.NoError(t, host.Stop())
		}
		require.Equal(t, running, processes(t, cloud), "machines need neither agents nor controllers")
		for _, member := range cloud.Controllers {
			require.NoError(t, member.Start())
		}
		for _, host := range cloud.Hosts {
			require.NoError(t, host.Start())
		}
		leads(t, cloud)
	}
	vm := createVM(t, admin, "afterwards") // everybody is there again
	deleted, err := client.Delete[v1.VM](t.Context(), admin, ref(vm.ID), 0)
	require.NoError(t, err)
	succeed(t, admin, deleted.Operation)
	after := objects()
	for key, text := range before {
		require.JSONEq(t, text, after[key], "%s was written by a restart", key)
	}
}
