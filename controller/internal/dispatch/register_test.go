package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode/memnet"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func TestRegister(t *testing.T) {
	m := alone(t)
	first := m.register(1, "one")
	require.Equal(t, cluster, first.Cluster)
	require.Equal(t, time.Second, first.HeartbeatEvery)
	require.Equal(t, []hostv1.Controller{{ID: "c1", Address: "c1:8444"}}, first.Controllers)
	host := m.store.Snapshot().Host(hostID(1))
	require.Equal(t, host.Version, first.Epoch, "the epoch is the entry's own index")
	require.Equal(t, v1.HostReady, host.Status.Phase)
	require.True(t, host.Spec.Schedulable)
	require.EqualValues(t, 8<<10, host.Spec.ReservedMemoryMiB, "an eighth of its memory stays its own")
	require.Equal(t, first.Epoch, m.beats.of(hostID(1))[0].Epoch)

	// What operators said of it stays.
	changed := host.Clone()
	changed.Name, changed.Spec.Schedulable, changed.Labels = "renamed", false, map[string]string{"rack": "7"}
	changed.Status.Phase = v1.HostSilent
	m.write(state.NewTxn(begun, "operator").Update(changed, ""))
	second := m.register(1, "one")
	require.Greater(t, second.Epoch, first.Epoch)
	host = m.store.Snapshot().Host(hostID(1))
	require.Equal(t, "renamed", host.Name)
	require.False(t, host.Spec.Schedulable)
	require.Equal(t, map[string]string{"rack": "7"}, host.Labels)
	require.Equal(t, v1.HostReady, host.Status.Phase)

	// Many at once: each gets an epoch, and the last one is the state's.
	var all sync.WaitGroup
	epochs := make([]uint64, 8)
	for i := range epochs {
		all.Go(func() { epochs[i] = m.register(1, "one").Epoch })
	}
	all.Wait()
	last := m.store.Snapshot().Host(hostID(1)).Status.Epoch
	for _, epoch := range epochs {
		require.Greater(t, epoch, second.Epoch)
		require.LessOrEqual(t, epoch, last)
	}
}

func TestNamesOfHosts(t *testing.T) {
	m := alone(t)
	for n, line := range []struct{ says, gets string }{
		{"node", "node"}, {"NODE-2.example.gov.vn", "node-2"}, {"node", "node-" + v1.Short(hostID(3))}, {"", "host"},
		{"../../etc/passwd", "host-" + v1.Short(hostID(5))}, {"a\nb", "host-" + v1.Short(hostID(6))}, {strings.Repeat("x", 63), strings.Repeat("x", 63)},
		{strings.Repeat("x", 63), strings.Repeat("x", 54) + "-" + v1.Short(hostID(8))}, {strings.Repeat("y", 1<<20), "host-" + v1.Short(hostID(9))}, {"<script>", "host-" + v1.Short(hostID(10))},
	} {
		m.register(n+1, line.says)
		require.Equal(t, line.gets, m.store.Snapshot().Host(hostID(n+1)).Name, "%.40q", line.says)
	}
}

func TestHostileRegistrations(t *testing.T) {
	m := alone(t)
	for name, change := range map[string]func(*hostv1.RegisterRequest){
		"address with a path":       func(r *hostv1.RegisterRequest) { r.Address = "h:8446/other?x=" },
		"address with a user":       func(r *hostv1.RegisterRequest) { r.Address = "user@h:8446" },
		"address without a port":    func(r *hostv1.RegisterRequest) { r.Address = "h" },
		"address without a host":    func(r *hostv1.RegisterRequest) { r.Address = ":8446" },
		"address of two lines":      func(r *hostv1.RegisterRequest) { r.Address = "h:8446\r\nX: y" },
		"huge boot id":              func(r *hostv1.RegisterRequest) { r.BootID = strings.Repeat("x", 1<<20) },
		"version of two lines":      func(r *hostv1.RegisterRequest) { r.Version = "1\n2" },
		"negative memory":           func(r *hostv1.RegisterRequest) { r.Inventory.MemoryMiB = -1 },
		"more memory than there is": func(r *hostv1.RegisterRequest) { r.Inventory.MemoryMiB = 1 << 40 },
		"many pools":                func(r *hostv1.RegisterRequest) { r.Inventory.Pools = make([]v1.Pool, 1000) },
		"a pool of 10^18 bytes":     func(r *hostv1.RegisterRequest) { r.Inventory.Pools[0].TotalBytes = 1e18 },
	} {
		request := hostv1.RegisterRequest{Name: "h", BootID: "boot", Address: "h:8446", Inventory: newHost(1).Status.Inventory}
		change(&request)
		requireProblem(t, m.ask(t.Context(), hostID(1), "POST", hostv1.PathRegister, request), 422, v1.CodeInvalid)
		require.Nil(t, m.store.Snapshot().Host(hostID(1)), name)
	}
	require.Empty(t, m.beats.of(hostID(1)))
}

// TestBadRequests: whoever is not a host of this cloud, and whatever is no request of the protocol.
func TestBadRequests(t *testing.T) {
	m := alone(t)
	epoch := m.register(1, "one").Epoch
	for _, path := range []string{hostv1.PathRegister, hostv1.PathHeartbeat, hostv1.PathStatus} {
		for _, who := range []string{"", "h1", "../h1", strings.ToUpper(hostID(1))} {
			requireProblem(t, m.ask(t.Context(), who, "POST", path, "{}"), 401, v1.CodeUnauthenticated)
		}
		for _, body := range []string{"", "{", "[]", `"x"`, "{} {}", "null x", `{"epoch":"x"}{`, `{"epoch": 1} trailing`} {
			requireProblem(t, m.ask(t.Context(), hostID(1), "POST", path, body), 400, v1.CodeMalformed)
		}
		requireProblem(t, m.ask(t.Context(), hostID(1), "POST", path, `{"x":"`+strings.Repeat("x", hostv1.MaxBody)+`"}`), 400, v1.CodeMalformed)
		require.Equal(t, 405, m.ask(t.Context(), hostID(1), "GET", path, nil).Code)
	}
	require.Equal(t, 404, m.ask(t.Context(), hostID(1), "GET", "/host/v1/secrets", nil).Code)
	require.Equal(t, epoch, m.store.Snapshot().Host(hostID(1)).Status.Epoch)
	for _, foreign := range []uint64{0, epoch - 1, epoch + 1} {
		requireProblem(t, m.ask(t.Context(), hostID(1), "POST", hostv1.PathHeartbeat, hostv1.Heartbeat{Epoch: foreign}), 409, v1.CodeConflict)
	}
	require.Len(t, m.beats.of(hostID(1)), 1)
}

func TestStatus(t *testing.T) {
	m := alone(t)
	one, two := m.register(1, "one").Epoch, m.register(2, "two").Epoch
	m.create(newProject(), newFlavor(), newVM(1), newVM(2), newInstance(1, 1), newInstance(2, 2), newOperation(1), newTask(1, 1), newTask(2, 2))
	send := func(host int, epoch uint64, reports ...hostv1.Report) []hostv1.ReportResult {
		t.Helper()
		got := m.ask(t.Context(), hostID(host), "POST", hostv1.PathStatus, hostv1.StatusRequest{Epoch: epoch, Reports: reports})
		require.Equal(t, 200, got.Code, got.Body.String())
		return read[hostv1.StatusResponse](t, got).Results
	}
	require.Equal(t, []hostv1.ReportResult{taken, unknown}, send(1, one, seen(1, 6, v1.InstancePaused, ""), seen(2, 6, v1.InstanceStopped, "")))
	require.Equal(t, []hostv1.ReportResult{refused}, send(1, one-1, seen(1, 7, v1.InstanceStopped, "")))
	require.Empty(t, send(1, one))
	many := make([]hostv1.Report, hostv1.MaxReports+1)
	requireProblem(t, m.ask(t.Context(), hostID(1), "POST", hostv1.PathStatus, hostv1.StatusRequest{Epoch: one, Reports: many}), 413, v1.CodeTooLarge)

	// Many requests at once share entries, and each is answered with its own results.
	before := m.store.Snapshot().Index()
	var all sync.WaitGroup
	for n := range 200 {
		all.Go(func() {
			host, epoch := 1+n%2, []uint64{one, two}[n%2]
			results := send(host, epoch, did(host, uint64(10+n), v1.TaskPending, n%100), seen(3-host, 99, v1.InstanceStopped, ""))
			require.Equal(t, []hostv1.ReportResult{taken, unknown}, results)
		})
	}
	all.Wait()
	s := m.store.Snapshot()
	require.EqualValues(t, 208, s.Task(taskID(1)).Status.Seq)
	require.EqualValues(t, 209, s.Task(taskID(2)).Status.Seq)
	require.Less(t, s.Index()-before, uint64(200), "reports that wait together are written together")
	require.Equal(t, v1.InstanceRunning, s.Instance(instanceID(2)).Observed.State)
}

// TestForwardedOnceOnly: the host that a forwarding controller found is believed on the controllers' own port alone, and a request goes to the leader in one hop or not at all.
func TestForwardedOnceOnly(t *testing.T) {
	network := memnet.New()
	leader, follower := startMember(t, network, "c1"), startMember(t, network, "c2")
	require.NoError(t, leader.node.Bootstrap())
	<-leader.ready
	require.NoError(t, follower.node.Join(t.Context(), leader.node.Address()))
	body, err := json.Marshal(hostv1.RegisterRequest{Name: "x"})
	require.NoError(t, err)

	request, err := http.NewRequestWithContext(t.Context(), "POST", hostv1.PathRegister, bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set(HeaderHost, hostID(7))
	requireProblem(t, leader.ask(t.Context(), "", "POST", hostv1.PathRegister, string(body)), 401, v1.CodeUnauthenticated)
	_, err = FromPeer(request)
	require.Error(t, err, "the header means nothing outside the controllers' own port")

	ask := func(from *member, to string) int {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, "POST", "https://"+to+hostv1.PathRegister, bytes.NewReader(body))
		require.NoError(t, err)
		request.Header.Set(HeaderHost, hostID(7))
		response, err := from.node.PeerClient().Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		return response.StatusCode
	}
	require.Equal(t, 200, ask(follower, "c1"))
	require.Equal(t, 503, ask(leader, "c2"), "c2 does not lead: it must not send the request round in a circle")
}
