package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode/memnet"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

var begun = time.Date(2025, 6, 7, 8, 9, 10, 0, time.UTC)

const cluster = "01890a5d-0000-774b-bcce-0000000000aa"

// id makes identifiers that are easy to tell apart.
func id(kind byte, n int) string { return fmt.Sprintf("01890a5d-00%02x-774b-bcce-%012x", kind, n) }

func hostID(n int) string     { return id('h', n) }
func instanceID(n int) string { return id('i', n) }
func taskID(n int) string     { return id('t', n) }

// world is a store that is written directly, as Raft would.
type world struct {
	testing.TB
	store *state.Store
	index uint64
}

func newWorld(t testing.TB) *world { return &world{TB: t, store: state.New(), index: 10} }

func (w *world) apply(txn *state.Txn) error {
	w.Helper()
	data, err := txn.Encode()
	require.NoError(w, err)
	decoded, err := state.DecodeTxn(data)
	require.NoError(w, err)
	w.index++
	return w.store.Apply(w.index, decoded)
}

func (w *world) create(objects ...v1.Object) {
	w.Helper()
	txn := state.NewTxn(begun, "tester")
	for _, object := range objects {
		txn.Create(object, "")
	}
	require.NoError(w, w.apply(txn))
}

func newHost(n int) *v1.Host {
	return &v1.Host{Meta: v1.Meta{ID: hostID(n), Name: fmt.Sprintf("host-%d", n)}, Spec: v1.HostSpec{Schedulable: true, SecurityLevel: 3, CPUOvercommit: 2, StorageOvercommit: 1},
		Status: v1.HostStatus{Phase: v1.HostReady, Inventory: v1.Inventory{CPUs: 64, MemoryMiB: 64 << 10, Pools: []v1.Pool{{Driver: v1.DriverLocal, TotalBytes: 100 << 30}}}}}
}

func newProject() *v1.Project { return &v1.Project{Meta: v1.Meta{ID: id('p', 1), Name: "project"}} }

func newFlavor() *v1.Flavor {
	return &v1.Flavor{Meta: v1.Meta{ID: id('f', 1), Name: "small"}, Spec: v1.FlavorSpec{VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}}
}

// newVM has the instance and the host of the same number.
func newVM(n int) *v1.VM {
	return &v1.VM{Meta: v1.Meta{ID: id('v', n), Name: fmt.Sprintf("vm-%d", n), Project: id('p', 1)}, Spec: v1.VMSpec{Flavor: "small", Image: "tiny"},
		Status: v1.VMStatus{FlavorID: id('f', 1), VCPUs: 1, MemoryMiB: 512, MAC: fmt.Sprintf("52:54:00:00:00:%02x", n)}}
}

func newInstance(n, host int) *v1.Instance {
	return &v1.Instance{Meta: v1.Meta{ID: instanceID(n), Name: fmt.Sprintf("i-%d", n), Project: id('p', 1)},
		Spec:    v1.InstanceSpec{VM: id('v', n), Host: hostID(host), Title: fmt.Sprintf("vm-%d", n), VCPUs: 1, MemoryMiB: 512},
		Desired: v1.InstanceDesired{State: v1.DesiredRunning}, Observed: v1.InstanceObserved{Seq: 5, State: v1.InstanceRunning}}
}

func newOperation(n int) *v1.Operation {
	return &v1.Operation{Meta: v1.Meta{ID: id('o', n), Name: fmt.Sprintf("o-%d", n), Project: id('p', 1)},
		Spec: v1.OperationSpec{Type: v1.OpVolumeCreate, Target: v1.Link{Kind: v1.KindVM, ID: id('v', 1)}, Actor: "tester"}, Status: v1.OperationStatus{State: v1.OperationRunning}}
}

func newTask(n, host int) *v1.Task {
	return &v1.Task{Meta: v1.Meta{ID: taskID(n), Name: fmt.Sprintf("t-%d", n), Project: id('p', 1)},
		Spec:   v1.TaskSpec{Operation: id('o', 1), Step: "make", Host: hostID(host), Type: v1.TaskVolumeCreate, Args: json.RawMessage(`{"volume":"x"}`)},
		Status: v1.TaskStatus{Seq: 5, State: v1.TaskPending}}
}

// base has two hosts, with an instance and a task each.
func base(w *world) *world {
	w.create(newHost(1), newHost(2), newProject(), newFlavor(), newVM(1), newVM(2), newInstance(1, 1), newInstance(2, 2), newOperation(1), newTask(1, 1), newTask(2, 2))
	return w
}

// member is a controller's dispatcher over a real Raft node.
type member struct {
	*Dispatcher
	t       testing.TB
	node    *raftnode.Node
	store   *state.Store
	handler http.Handler
	beats   *beats
	ready   chan struct{}
}

type beats struct {
	mu    sync.Mutex
	heard map[string][]hostv1.Heartbeat
}

func (b *beats) Beat(host string, beat hostv1.Heartbeat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard[host] = append(b.heard[host], beat)
}

func (b *beats) of(host string) []hostv1.Heartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard[host]
}

// folder serves files as the spool does.
type folder string

func (f folder) Open(id string) (*os.File, error) { return os.Open(filepath.Join(string(f), id)) }

const testHost = "Test-Host"

func startMember(t testing.TB, network *memnet.Network, name string) *member {
	t.Helper()
	m := &member{t: t, store: state.New(), beats: &beats{heard: map[string][]hostv1.Heartbeat{}}, ready: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	m.Dispatcher = &Dispatcher{
		Cluster: cluster, Store: m.store, Heartbeats: m.beats, Files: folder(t.TempDir()), HeartbeatEvery: time.Second, Logger: logger,
		Controllers: func() []hostv1.Controller { return []hostv1.Controller{{ID: name, Address: name + ":8444"}} },
		Propose: func(ctx context.Context, txn *state.Txn) error {
			data, err := txn.Encode()
			if err != nil {
				return err
			}
			_, response, err := m.node.Propose(ctx, data)
			if refused, ok := response.(error); err == nil && ok {
				return refused
			}
			if err != nil {
				return v1.NewProblem(v1.CodeUnavailable, "%v", err)
			}
			return nil
		},
	}
	m.NewReports()
	var once sync.Once
	node, err := raftnode.Start(raftnode.Options{
		ID: name, LogStore: raftnode.LogStoreMemory, Fabric: network.Endpoint(name), FSM: state.FSM{Store: m.store}, Logger: logger,
		HeartbeatTimeout: 200 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond, LeaderLeaseTimeout: 150 * time.Millisecond,
		OnLeadership: func(ctx context.Context) error {
			once.Do(func() { close(m.ready) })
			return m.Run(ctx)
		},
		PeerHandler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.Handler(FromPeer).ServeHTTP(w, r) }),
	})
	require.NoError(t, err)
	m.node, m.Node = node, node
	m.handler = m.Handler(func(r *http.Request) (string, error) { return r.Header.Get(testHost), nil })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, node.Close(ctx))
	})
	return m
}

// alone is a single member that leads.
func alone(t testing.TB) *member {
	t.Helper()
	m := startMember(t, memnet.New(), "c1")
	require.NoError(t, m.node.Bootstrap())
	<-m.ready
	return m
}

func (m *member) write(txn *state.Txn) {
	m.t.Helper()
	require.NoError(m.t, m.Propose(context.Background(), txn))
}

func (m *member) create(objects ...v1.Object) {
	m.t.Helper()
	txn := state.NewTxn(begun, "tester")
	for _, object := range objects {
		txn.Create(object, "")
	}
	m.write(txn)
}

// ask sends a request as a host.
func (m *member) ask(ctx context.Context, host, method, path string, body any) *httptest.ResponseRecorder {
	var reader io.Reader = http.NoBody
	switch typed := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(typed)
	default:
		data, err := json.Marshal(body)
		require.NoError(m.t, err)
		reader = bytes.NewReader(data)
	}
	request := httptest.NewRequestWithContext(ctx, method, path, reader)
	request.Header.Set(testHost, host)
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, request)
	return recorder
}

func (m *member) register(host int, name string) hostv1.RegisterResponse {
	m.t.Helper()
	got := m.ask(m.t.Context(), hostID(host), "POST", hostv1.PathRegister, hostv1.RegisterRequest{Name: name, BootID: "boot", Address: "h:8446", Inventory: newHost(1).Status.Inventory})
	require.Equal(m.t, 200, got.Code, got.Body.String())
	return read[hostv1.RegisterResponse](m.t, got)
}

func (m *member) poll(host int, epoch, after uint64, wait time.Duration) *httptest.ResponseRecorder {
	return m.ask(m.t.Context(), hostID(host), "GET", fmt.Sprintf("%s?epoch=%d&after=%d&wait=%s", hostv1.PathAssignments, epoch, after, wait), nil)
}

func read[T any](t testing.TB, from *httptest.ResponseRecorder) (value T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(from.Body.Bytes(), &value), from.Body.String())
	return value
}

func requireProblem(t testing.TB, got *httptest.ResponseRecorder, status int, code v1.Code) *v1.Problem {
	t.Helper()
	require.Equal(t, status, got.Code, got.Body.String())
	problem := read[v1.Problem](t, got)
	require.Equal(t, code, problem.Code)
	require.Equal(t, "application/problem+json", got.Header().Get("Content-Type"))
	return &problem
}
