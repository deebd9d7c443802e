package task

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/fake"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/mem"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// bench is a runner on a pool and a hypervisor in memory, and the controllers' side of its tasks.
type bench struct {
	t          *testing.T
	ledger     *ledger.Ledger
	machines   *fake.Hypervisor
	host       *fake.Host
	pool       *mem.Driver
	runner     *Runner
	generation uint64
	tasks      []hostv1.Task
	forgotten  []string
	end        func()

	mutex   sync.Mutex
	fetches int
	fetch   func(image string) (io.ReadCloser, int64, error)
}

func newBench(t *testing.T, options mem.Options) *bench {
	b := &bench{t: t, ledger: ledger.OpenMemory("c", "h"), host: fake.NewHost(fake.Options{}), pool: mem.New(options)}
	b.machines = b.host.Open("c")
	require.NoError(t, b.ledger.Registered(hostv1.RegisterResponse{Cluster: "c", Epoch: 1}))
	b.start()
	return b
}

func (b *bench) start() {
	b.runner = New(Options{
		Ledger: b.ledger, Hypervisor: b.machines, Drivers: map[string]storage.Driver{"mem": b.pool}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		ForgetVM: func(vm string) error { b.forgotten = append(b.forgotten, vm); return nil },
		Fetch: func(_ context.Context, _, image string) (io.ReadCloser, int64, error) {
			b.mutex.Lock()
			defer b.mutex.Unlock()
			b.fetches++
			return b.fetch(image)
		},
	})
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	runner := b.runner
	go func() {
		defer close(ended)
		_ = runner.Run(ctx) // it has no errors
	}()
	b.end = func() { cancel(); <-ended }
}

func (b *bench) give() {
	b.generation++
	set := hostv1.Assignments{Cluster: "c", Host: "h", Epoch: 1, Generation: b.generation, Tasks: b.tasks}
	set.Digest = set.ComputeDigest()
	body, err := json.Marshal(set)
	require.NoError(b.t, err)
	_, err = b.ledger.Accept(body)
	require.NoError(b.t, err)
	b.runner.Kick()
}

func (b *bench) order(taskType v1.TaskType, args any) string {
	encoded, err := json.Marshal(args)
	require.NoError(b.t, err)
	id := newID()
	b.tasks = append(b.tasks, hostv1.Task{ID: id, Spec: v1.TaskSpec{Type: taskType, Args: encoded}})
	b.give()
	return id
}

// outcome waits, in virtual time.
func (b *bench) outcome(id string) v1.TaskStatus {
	b.t.Helper()
	for range 10_000 {
		synctest.Wait()
		for _, report := range b.ledger.Unsent(1000, 1<<30) {
			if report.ID == id && report.Task.State != v1.TaskPending {
				return *report.Task
			}
		}
		time.Sleep(time.Second)
	}
	require.Fail(b.t, "the task has no outcome")
	return v1.TaskStatus{}
}

func (b *bench) do(taskType v1.TaskType, args any) v1.TaskStatus {
	b.t.Helper()
	return b.outcome(b.order(taskType, args))
}

func (b *bench) done(taskType v1.TaskType, args any) {
	b.t.Helper()
	status := b.do(taskType, args)
	require.Equal(b.t, v1.TaskDone, status.State, "%+v", status.Error)
}

func (b *bench) fails(code v1.Code, taskType v1.TaskType, args any) {
	b.t.Helper()
	status := b.do(taskType, args)
	require.Equal(b.t, v1.TaskFailed, status.State)
	require.Equal(b.t, code, status.Error.Code, status.Error.Detail)
	require.NotEmpty(b.t, status.Error.Detail)
}

func (b *bench) serve(data []byte) v1.ImageRef {
	sum := sha256.Sum256(data)
	b.fetch = func(string) (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	}
	return v1.ImageRef{ID: newID(), Format: storage.FormatRaw, SHA256: hex.EncodeToString(sum[:]), Keeper: "c1"}
}

func inBubble(t *testing.T, options mem.Options, test func(*bench)) {
	synctest.Test(t, func(t *testing.T) {
		bench := newBench(t, options)
		test(bench)
		bench.end()
	})
}

func TestEveryType(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		image := b.serve(bytes.Repeat([]byte("x"), 1<<20))
		status := b.do(v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: image})
		require.Equal(t, v1.TaskDone, status.State, "%+v", status.Error)
		require.Equal(t, 100, status.Percent)
		var result v1.ImageResult
		require.NoError(t, json.Unmarshal(status.Output, &result))
		require.Equal(t, v1.ImageResult{SHA256: image.SHA256, SizeBytes: 1 << 20, VirtualSize: 1 << 20}, result)

		volume, snapshot := newID(), newID()
		args := v1.VolumeArgs{Driver: "mem", Volume: volume, SizeBytes: 1 << 30, Image: &image}
		for range 2 { // each of them twice, as after a crash
			b.done(v1.TaskVolumeCreate, args)
			b.done(v1.TaskSnapshotCreate, v1.SnapshotArgs{Driver: "mem", Volume: volume, Snapshot: snapshot})
			b.done(v1.TaskSnapshotRestore, v1.SnapshotArgs{Driver: "mem", Volume: volume, Snapshot: snapshot})
		}
		require.Equal(t, 1, b.fetches, "the pool has it")
		for range 2 {
			b.done(v1.TaskVolumeResize, v1.VolumeArgs{Driver: "mem", Volume: volume, SizeBytes: 2 << 30})
		}
		b.fails(v1.CodeInvalid, v1.TaskVolumeResize, v1.VolumeArgs{Driver: "mem", Volume: volume, SizeBytes: 1 << 30})
		b.fails(v1.CodeInUse, v1.TaskImageDelete, v1.ImageArgs{Driver: "mem", Image: image})
		for range 2 {
			b.done(v1.TaskSnapshotDelete, v1.SnapshotArgs{Driver: "mem", Volume: volume, Snapshot: snapshot})
			b.done(v1.TaskVolumeDelete, v1.VolumeArgs{Driver: "mem", Volume: volume})
			b.done(v1.TaskImageDelete, v1.ImageArgs{Driver: "mem", Image: image})
		}
		contents, err := b.pool.Contents(t.Context())
		require.NoError(t, err)
		require.Empty(t, contents.Volumes)
		require.Empty(t, contents.Images)
		vm := newID()
		b.done(v1.TaskVMForget, v1.VMArgs{VM: vm})
		require.Equal(t, []string{vm}, b.forgotten)
	})
}

func TestRefusals(t *testing.T) {
	inBubble(t, mem.Options{TotalBytes: 1 << 30}, func(b *bench) {
		volume := v1.VolumeArgs{Driver: "mem", Volume: newID(), SizeBytes: 2 << 30}
		b.fails(v1.CodeNoSpace, v1.TaskVolumeCreate, volume)
		volume.SizeBytes = 1
		b.fails(v1.CodeInvalid, v1.TaskVolumeCreate, volume)
		volume.Driver = "ceph"
		b.fails(v1.CodeHostFailed, v1.TaskVolumeCreate, volume)
		b.fails(v1.CodeInvalid, v1.TaskVolumeDelete, v1.VolumeArgs{Driver: "mem", Volume: "../x"})
		b.fails(v1.CodeNotFound, v1.TaskVolumeResize, v1.VolumeArgs{Driver: "mem", Volume: newID(), SizeBytes: 1 << 20})
		b.fails(v1.CodeNotFound, v1.TaskSnapshotCreate, v1.SnapshotArgs{Driver: "mem", Volume: newID(), Snapshot: newID()})
		b.fails(v1.CodeNotFound, v1.TaskVMReboot, v1.RebootArgs{Instance: newID()})
		b.fails(v1.CodeInvalid, v1.TaskVMForget, v1.VMArgs{VM: "../.."})
		b.fails(v1.CodeInvalid, v1.TaskVMReboot, []int{1})
		b.fails(v1.CodeHostFailed, "volume.transmute", volume)

		image := b.serve([]byte("12345"))
		image.SHA256 = hex.EncodeToString(make([]byte, 32))
		b.fails(v1.CodeInvalidImage, v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: image})
		b.fetch = func(string) (io.ReadCloser, int64, error) { return nil, 0, v1.NewProblem(v1.CodeNotFound, "no bytes") }
		before := b.fetches
		b.fails(v1.CodeNotFound, v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: image})
		require.Equal(t, attempts, b.fetches-before, "the keeper may be behind for a moment")
	})
}

func TestResizeUnderARunningGuest(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		volume, instance := newID(), newID()
		b.done(v1.TaskVolumeCreate, v1.VolumeArgs{Driver: "mem", Volume: volume, SizeBytes: 1 << 30})
		disk, err := b.pool.Open(t.Context(), volume)
		require.NoError(t, err)
		require.NoError(t, b.machines.Define(t.Context(), hypervisor.Machine{ID: instance, Name: "a", Cluster: "c", VCPUs: 1, MemoryMiB: 64, Disks: []hypervisor.Disk{{Path: disk.Path, Format: disk.Format}}}))
		require.NoError(t, b.machines.Start(t.Context(), instance))
		grow := v1.VolumeArgs{Driver: "mem", Volume: volume, SizeBytes: 2 << 30, Instance: instance}
		for range 2 {
			b.done(v1.TaskVolumeResize, grow)
			require.EqualValues(t, 2<<30, b.host.DiskSize(instance, disk.Path))
			found, err := b.pool.Volume(t.Context(), volume)
			require.NoError(t, err)
			require.EqualValues(t, 2<<30, found.SizeBytes)
		}
		require.NoError(t, b.machines.Kill(t.Context(), instance)) // it ended before we came to it
		grow.SizeBytes = 3 << 30
		b.done(v1.TaskVolumeResize, grow)
		found, err := b.pool.Volume(t.Context(), volume)
		require.NoError(t, err)
		require.EqualValues(t, 3<<30, found.SizeBytes)
		b.fails(v1.CodeWrongState, v1.TaskVMReboot, v1.RebootArgs{Instance: instance})
	})
}

// slow is an upload that takes a minute.
type slow struct {
	left int
	fail int // bytes left at which the line breaks
}

func (s *slow) Read(into []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left <= s.fail {
		return 0, errors.New("connection reset")
	}
	time.Sleep(time.Second)
	n := min(s.left, len(into))
	s.left -= n
	return copy(into, make([]byte, n)), nil
}

func (s *slow) Close() error { return nil }

func TestProgressAndBrokenLines(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		attempts := 0
		b.fetch = func(string) (io.ReadCloser, int64, error) {
			attempts++
			switch attempts {
			case 1:
				return nil, 0, fmt.Errorf("%w: down", ErrUnavailable)
			case 2:
				return &slow{left: 1 << 20, fail: 1 << 19}, 1 << 20, nil // in the middle
			case 3:
				return io.NopCloser(bytes.NewReader(make([]byte, 512))), 1 << 20, nil // cut off without an error
			}
			return &slow{left: 8 << 20}, 8 << 20, nil
		}
		id := b.order(v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: v1.ImageRef{ID: newID(), Format: storage.FormatRaw, Keeper: "c1"}})
		var percents []int
		for b.outcomeNow(id) == nil {
			time.Sleep(time.Second)
			for _, report := range b.ledger.Unsent(10, 1<<20) {
				if last := len(percents) - 1; report.Task.State == v1.TaskPending && (last < 0 || percents[last] != report.Task.Percent) {
					percents = append(percents, report.Task.Percent)
				}
			}
		}
		require.Equal(t, v1.TaskDone, b.outcomeNow(id).State)
		require.Equal(t, 4, attempts)
		require.NotEmpty(t, percents)
		require.LessOrEqual(t, len(percents), 12, "not for every block: %v", percents)
	})
}

func (b *bench) outcomeNow(id string) *v1.TaskStatus {
	for _, report := range b.ledger.Unsent(1000, 1<<30) {
		if report.ID == id && report.Task.State != v1.TaskPending {
			return report.Task
		}
	}
	return nil
}

func TestOneFetchForManyClones(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		b.fetch = func(string) (io.ReadCloser, int64, error) { return &slow{left: 4 << 20}, 4 << 20, nil }
		image := v1.ImageRef{ID: newID(), Format: storage.FormatRaw, Keeper: "c1"}
		var ids []string
		for range 12 {
			ids = append(ids, b.order(v1.TaskVolumeCreate, v1.VolumeArgs{Driver: "mem", Volume: newID(), SizeBytes: 1 << 30, Image: &image}))
		}
		// Meanwhile a reboot does not wait for the imports.
		reboot := b.order(v1.TaskVMReboot, v1.RebootArgs{Instance: newID()})
		synctest.Wait()
		require.NotNil(t, b.outcomeNow(reboot))
		for _, id := range ids {
			require.Equal(t, v1.TaskDone, b.outcome(id).State)
		}
		require.Equal(t, 1, b.fetches)
	})
}

func TestPatienceEnds(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		b.fetch = func(string) (io.ReadCloser, int64, error) { return nil, 0, fmt.Errorf("%w: gone", ErrUnavailable) }
		began := time.Now()
		b.fails(v1.CodeHostFailed, v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: v1.ImageRef{ID: newID(), Format: storage.FormatRaw}})
		require.Greater(t, time.Since(began), 9*time.Minute)
		require.Less(t, b.fetches, 60)
	})
}

func TestCancelledWithTheSet(t *testing.T) {
	inBubble(t, mem.Options{}, func(b *bench) {
		b.fetch = func(string) (io.ReadCloser, int64, error) { return nil, 0, fmt.Errorf("%w: down", ErrUnavailable) }
		id := b.order(v1.TaskImageImport, v1.ImageArgs{Driver: "mem", Image: v1.ImageRef{ID: newID(), Format: storage.FormatRaw}})
		time.Sleep(time.Minute)
		b.tasks = nil
		b.give()
		synctest.Wait()
		before := b.fetches
		time.Sleep(time.Hour)
		require.Equal(t, before, b.fetches, "it has stopped")
		require.Nil(t, b.outcomeNow(id))
	})
}

// A crash at any time: the task is carried out again when its outcome is not in the ledger, and not when it is.
func TestRestart(t *testing.T) {
	var calls atomic.Int32
	var broken atomic.Bool
	broken.Store(true)
	inBubble(t, mem.Options{FailAfter: func(method, _ string) error {
		if method == "CreateVolume" {
			calls.Add(1)
			if broken.Load() {
				return errors.New("the answer is lost")
			}
		}
		return nil
	}}, func(b *bench) {
		id := b.order(v1.TaskVolumeCreate, v1.VolumeArgs{Driver: "mem", Volume: newID(), SizeBytes: 1 << 30})
		synctest.Wait()
		b.end()
		require.Nil(t, b.outcomeNow(id))
		broken.Store(false)
		b.start()
		require.Equal(t, v1.TaskDone, b.outcome(id).State)
		require.EqualValues(t, 2, calls.Load())
		b.end()
		b.start()
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, calls.Load())
	})
}

func TestUnnamedTroubleIsTriedAFewTimes(t *testing.T) {
	var calls atomic.Int32
	inBubble(t, mem.Options{Fail: func(string, string) error { calls.Add(1); return errors.New("input/output error") }}, func(b *bench) {
		b.fails(v1.CodeHostFailed, v1.TaskVolumeDelete, v1.VolumeArgs{Driver: "mem", Volume: newID()})
		require.EqualValues(t, attempts, calls.Load())
	})
}
