package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/mem"
)

// host is a simulated host whose agent can end and come back.
type host struct {
	t       *testing.T
	cloud   *cloud
	fake    *fake.Host
	pool    *mem.Driver
	options Options
	agent   *Agent
	running *cut
	boots   *bootCounter
}

// bootCounter counts how often each machine really boots.
type bootCounter struct {
	hypervisor.Hypervisor
	mutex sync.Mutex
	boots map[string]int
}

func (b *bootCounter) Start(ctx context.Context, id string) error {
	before, _ := b.Hypervisor.Get(ctx, id)
	err := b.Hypervisor.Start(ctx, id)
	if after, _ := b.Hypervisor.Get(ctx, id); before.State == hypervisor.StateDefined && after.State == hypervisor.StateRunning {
		b.mutex.Lock()
		b.boots[id]++
		b.mutex.Unlock()
	}
	return err
}

func (b *bootCounter) of(id string) int {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.boots[id]
}

func newHost(t *testing.T, fakeOptions fake.Options) *host {
	machines := fake.NewHost(fakeOptions)
	h := &host{t: t, cloud: newCloud(), fake: machines, pool: mem.New(mem.Options{}), boots: &bootCounter{Hypervisor: machines.Open(clusterID), boots: map[string]int{}}}
	h.options = Options{
		Cluster: clusterID, HostID: hostID, HostName: "server-1", Address: "server-1:8446", Version: "v1", BootID: "boot-1", Controllers: addresses,
		Transport: h.cloud, Hypervisor: h.boots, Drivers: map[string]storage.Driver{"mem": h.pool}, DataFolder: filepath.Join(t.TempDir(), "agent"),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	return h
}

func (h *host) start() {
	h.t.Helper()
	agent, err := New(h.options)
	require.NoError(h.t, err)
	ctx, cancel := context.WithCancel(h.t.Context())
	h.agent, h.running = agent, &cut{cancel, make(chan error, 1)}
	ended := h.running.ended
	go func() { ended <- agent.Run(ctx) }()
}

func (h *host) stop() {
	h.t.Helper()
	h.running.cancel()
	require.NoError(h.t, <-h.running.ended)
	h.running = nil
}

// instance makes an Instance whose disk exists.
func (h *host) instance(desired v1.DesiredState) hostv1.Assignment {
	volume := newID()
	_, err := h.pool.CreateVolume(h.t.Context(), volume, 1<<30, storage.VolumeSource{})
	require.NoError(h.t, err)
	return hostv1.Assignment{
		ID: newID(), Project: newID(), Desired: v1.InstanceDesired{State: desired},
		Spec: v1.InstanceSpec{
			VM: newID(), Host: hostID, Title: "<portal & co>", VCPUs: 1, MemoryMiB: 64,
			Disks: []v1.InstanceDisk{{Volume: volume, Driver: "mem"}}, NICs: []v1.InstanceNIC{{MAC: "52:54:00:00:00:01", Kind: "user"}},
			Seed: v1.Seed{InstanceID: newID(), Hostname: "portal-1", UserData: "#!/bin/sh\necho <&>\n"},
		},
	}
}

func (h *host) within(most time.Duration, condition func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(most); !condition(); time.Sleep(50 * time.Millisecond) {
		require.True(h.t, time.Now().Before(deadline), "it did not happen within %s", most)
	}
}

func (h *host) awaitState(id string, state v1.InstanceState) {
	h.t.Helper()
	h.within(2*time.Minute, func() bool { return h.cloud.observed(id).State == state })
}

func (h *host) get(path string) (int, string) {
	recorder := httptest.NewRecorder()
	h.agent.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(h.t.Context(), "GET", path, nil))
	return recorder.Code, recorder.Body.String()
}

func TestWholeLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{ShutdownTime: 2 * time.Second})
		h.start()
		h.within(5*time.Second, func() bool { return h.agent.link.Connected() })
		h.cloud.locked(func() {
			request := h.cloud.registered[0]
			require.Equal(t, "server-1", request.Name)
			require.Equal(t, "boot-1", request.BootID)
			require.Equal(t, "mem", request.Inventory.Pools[0].Driver)
			require.Equal(t, "simulated", request.Inventory.Hypervisor)
			require.Positive(t, request.Inventory.MemoryMiB)
		})
		began := time.Now()
		id := h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(id, v1.InstanceRunning)
		require.Less(t, time.Since(began), time.Second, "from the decision to the report")

		vm := h.cloud.instances[id].Spec.VM
		status, text := h.get("/agent/v1/vms/" + vm + "/log")
		require.Equal(t, 200, status)
		require.Equal(t, fake.Greeting, text)
		_, text = h.get("/metrics")
		require.Contains(t, text, `coloa_agent_instances{state="Running"} 1`)
		require.Contains(t, text, "coloa_agent_connected 1")

		reboot := h.cloud.order(v1.TaskVMReboot, v1.RebootArgs{Instance: id, Force: true})
		h.within(10*time.Second, func() bool { return h.cloud.outcome(reboot).State == v1.TaskDone })
		_, text = h.get("/agent/v1/vms/" + vm + "/log")
		require.Equal(t, fake.Greeting+fake.Greeting, text)

		forget := h.cloud.order(v1.TaskVMForget, v1.VMArgs{VM: vm})
		h.within(10*time.Second, func() bool { return h.cloud.outcome(forget).State == v1.TaskFailed })
		require.Equal(t, v1.CodeInUse, h.cloud.outcome(forget).Error.Code)

		h.cloud.desire(id, v1.DesiredStopped, false)
		h.awaitState(id, v1.InstanceStopped)
		require.Equal(t, v1.StoppedRequested, h.cloud.observed(id).Reason)
		h.cloud.change(func() { delete(h.cloud.instances, id) })
		forget = h.cloud.order(v1.TaskVMForget, v1.VMArgs{VM: vm})
		h.within(10*time.Second, func() bool { return h.cloud.outcome(forget).State == v1.TaskDone })
		h.stop()

		// Nothing of it is left.
		var left []string
		require.NoError(t, filepath.WalkDir(h.options.DataFolder, func(path string, entry os.DirEntry, err error) error {
			if !entry.IsDir() && entry.Name() != "ledger.db" {
				left = append(left, path)
			}
			return err
		}))
		require.Empty(t, left)
		h.start()
		synctest.Wait()
		require.Empty(t, h.agent.ledger.Instances())
		require.Empty(t, h.agent.ledger.Tasks())
		h.stop()
	})
}

// Losing the controllers never stops a VM, nor does an agent that comes and goes meanwhile; what was seen last reaches them when they are back.
func TestControllersDie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{})
		h.start()
		stays, ends := h.cloud.give(h.instance(v1.DesiredRunning)), h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(stays, v1.InstanceRunning)
		h.awaitState(ends, v1.InstanceRunning)
		before, err := h.boots.Get(t.Context(), stays)
		require.NoError(t, err)

		h.cloud.locked(func() { h.cloud.down = func(string) bool { return true } })
		time.Sleep(time.Hour)
		require.NoError(t, h.fake.PauseGuest(ends))
		time.Sleep(time.Minute)
		require.NoError(t, h.fake.CrashGuest(ends))
		time.Sleep(time.Minute)
		h.stop()
		time.Sleep(time.Minute)
		h.start()
		time.Sleep(time.Hour)
		after, err := h.boots.Get(t.Context(), stays)
		require.NoError(t, err)
		require.Equal(t, before, after, "the same process, running since then")
		_, text := h.get("/metrics")
		require.Contains(t, text, "coloa_agent_connected 0")

		h.cloud.locked(func() {
			requests := h.cloud.requests[addresses[0]] + h.cloud.requests[addresses[1]]
			require.Less(t, requests, 4*7200, "it does not hammer at closed doors")
			h.cloud.down = nil
		})
		h.within(time.Minute, func() bool { return h.cloud.observed(ends).State == v1.InstanceStopped })
		require.Equal(t, v1.StoppedCrashed, h.cloud.observed(ends).Reason)
		require.Equal(t, 1, h.boots.of(stays))
		h.stop()
	})
}

func TestFailOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{})
		h.options.Controllers = addresses[:1] // the other one is learned
		h.start()
		h.within(5*time.Second, func() bool { return h.agent.link.Connected() })
		for number := range 4 {
			dead := addresses[number%2]
			h.cloud.locked(func() { h.cloud.down = func(address string) bool { return address == dead } })
			began := time.Now()
			id := h.cloud.give(h.instance(v1.DesiredRunning))
			h.awaitState(id, v1.InstanceRunning)
			require.Less(t, time.Since(began), 55*time.Second)
		}
		// After a restart, the configuration's only controller being dead, the remembered one serves.
		h.stop()
		h.cloud.locked(func() { h.cloud.down = func(address string) bool { return address == addresses[0] } })
		h.start()
		h.within(10*time.Second, func() bool { return h.agent.link.Connected() })
		h.stop()
	})
}

// A new epoch (the host was registered by somebody else, or the controllers want it) leads to a new registration, and to nothing else.
func TestRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{})
		h.start()
		id := h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(id, v1.InstanceRunning)
		h.cloud.change(func() { h.cloud.epoch = h.cloud.generation + 1 })
		h.within(time.Minute, func() bool { return h.agent.ledger.Position().Epoch > h.cloud.generation-5 })
		two := h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(two, v1.InstanceRunning)
		require.Equal(t, 1, h.boots.of(id))
		h.cloud.locked(func() { require.LessOrEqual(t, len(h.cloud.registered), 3) })
		h.stop()
	})
}

// A wiped cloud, or another one under the same address, gets nothing and changes nothing.
func TestForeignCloud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{})
		h.start()
		id := h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(id, v1.InstanceRunning)
		h.stop()

		foreign := newCloud()
		foreign.cluster = "cluster-2"
		h.options.Transport = foreign
		h.start()
		time.Sleep(10 * time.Minute)
		seen, err := h.boots.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)
		foreign.locked(func() {
			require.NotEmpty(t, foreign.registered)
			require.Zero(t, foreign.heartbeats)
		})
		h.stop()

		wiped := newCloud() // same name, no memory: its log begins again
		wiped.epoch, wiped.generation = 0, 0
		h.options.Transport = wiped
		h.start()
		time.Sleep(10 * time.Minute)
		require.Len(t, h.agent.ledger.Instances(), 1)
		seen, err = h.boots.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, hypervisor.StateRunning, seen.State)
		h.stop()
	})
}

func TestLedgerOfAnotherHostIsRefused(t *testing.T) {
	h := newHost(t, fake.Options{})
	agent, err := New(h.options)
	require.NoError(t, err)
	require.NoError(t, agent.Close())
	h.options.HostID = "host-2"
	_, err = New(h.options)
	require.ErrorContains(t, err, "belongs to host host-1")
}

// Controllers at their worst: followers that lag, sets that contradict, are cut off, or come from elsewhere; requests that fail, answers that are
// lost, epochs that end, agents that restart. In the end everything is as the cloud wants it, and no Instance has booted twice.
func TestControllersMisbehave(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			var dice sync.Mutex
			roll := func(n int) int {
				dice.Lock()
				defer dice.Unlock()
				return random.IntN(n)
			}
			h := newHost(t, fake.Options{ShutdownTime: time.Second})
			h.cloud.locked(func() {
				h.cloud.down = func(string) bool { return roll(10) == 0 }
				h.cloud.spoil = func(string) int {
					return []int{500, 503, 404, 302, 429, 200, 409, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}[roll(20)]
				}
				h.cloud.lose = func(string) bool { return roll(6) == 0 }
				h.cloud.behind = func(_ string, set []byte) []byte { return h.mischief(roll, set) }
			})
			h.start()
			var ids []string
			for range 40 {
				switch roll(8) {
				case 0, 1:
					ids = append(ids, h.cloud.give(h.instance(v1.DesiredHold)))
				case 2, 3, 4:
					if len(ids) > 0 {
						id := ids[roll(len(ids))]
						if h.cloud.instances[id].Desired.State == v1.DesiredHold {
							h.cloud.desire(id, v1.DesiredRunning, false)
						}
					}
				case 5:
					if len(ids) > 0 {
						h.cloud.desire(ids[roll(len(ids))], v1.DesiredStopped, roll(2) == 0)
					}
				case 6:
					if len(ids) > 0 {
						_ = h.fake.CrashGuest(ids[roll(len(ids))]) // it may not run
					}
				case 7:
					h.stop()
					h.start()
				}
				time.Sleep(time.Duration(roll(3000)) * time.Millisecond)
			}
			h.cloud.locked(func() { h.cloud.down, h.cloud.spoil, h.cloud.lose, h.cloud.behind = nil, nil, nil, nil })
			time.Sleep(3 * time.Minute)
			for _, id := range ids {
				require.LessOrEqual(t, h.boots.of(id), 1, "seed %d", seed)
				record, known := h.agent.ledger.Instance(id)
				require.True(t, known)
				machine, err := h.boots.Get(t.Context(), id)
				seen, desired := h.cloud.observed(id), h.cloud.instances[id].Desired.State
				require.Equal(t, record.Report.Seq, seen.Seq, "seed %d: the newest report has arrived", seed)
				switch {
				case desired == v1.DesiredStopped || seen.State == v1.InstanceStopped:
					require.Equal(t, v1.InstanceStopped, seen.State, "seed %d", seed)
					require.ErrorIs(t, err, hypervisor.ErrNotFound, "seed %d", seed)
				case desired == v1.DesiredRunning:
					require.NoError(t, err, "seed %d", seed)
					require.Equal(t, hypervisor.StateRunning, machine.State, "seed %d", seed)
					require.Equal(t, v1.InstanceRunning, seen.State, "seed %d", seed)
				default:
					require.Zero(t, h.boots.of(id), "seed %d", seed)
				}
			}
			require.Zero(t, h.agent.worker.Orphans())
			h.stop()
		})
	}
}

// mischief is what a bad controller serves instead of the set, or nil.
func (h *host) mischief(roll func(int) int, set []byte) []byte {
	var honest hostv1.Assignments
	if err := json.Unmarshal(set, &honest); err != nil {
		panic(err)
	}
	switch roll(12) {
	case 0, 1: // a follower that lags, very much or a little; or an old answer that comes late
		h.cloud.mutex.Lock()
		defer h.cloud.mutex.Unlock()
		if n := len(h.cloud.history); n > 0 {
			return h.cloud.history[max(0, n-1-roll(n))]
		}
	case 2: // the same generation, everything gone
		honest.Instances, honest.Tasks = nil, nil
		honest.Generation = h.agent.ledger.Position().Generation
		return encode(honest)
	case 3:
		honest.Cluster = "cluster-2"
		honest.Generation += 100
		honest.Instances = nil
		return encode(honest)
	case 4:
		honest.Host = "host-2"
		return encode(honest)
	case 5: // garbled on the way
		return []byte(strings.Replace(string(set), `"instances"`, `"instancez"`, 1))
	case 6:
		return set[:roll(len(set))]
	case 7:
		return set // once more
	}
	return nil
}

// Many simulated hosts fit into a process: no files, few goroutines.
func TestSimulatedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, fake.Options{})
		h.options.Simulated, h.options.DataFolder = true, ""
		h.start()
		id := h.cloud.give(h.instance(v1.DesiredRunning))
		h.awaitState(id, v1.InstanceRunning)
		status, text := h.get("/agent/v1/vms/" + newID() + "/log")
		require.Equal(t, 200, status)
		require.Empty(t, text)
		machine, _ := h.fake.Machine(id)
		require.Len(t, machine.Disks, 1)
		require.Empty(t, machine.SerialLog)
		h.stop()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	good := newHost(t, fake.Options{}).options
	for name, spoil := range map[string]func(*Options){
		"cluster": func(o *Options) { o.Cluster = "" }, "host": func(o *Options) { o.HostID = "" }, "boot": func(o *Options) { o.BootID = "" },
		"hypervisor": func(o *Options) { o.Hypervisor = nil }, "transport": func(o *Options) { o.Transport = nil },
		"controllers": func(o *Options) { o.Controllers = nil }, "folder": func(o *Options) { o.DataFolder = "data" }, "no folder": func(o *Options) { o.DataFolder = "" },
	} {
		bad := good
		spoil(&bad)
		_, err := New(bad)
		require.Error(t, err, name)
	}
}
