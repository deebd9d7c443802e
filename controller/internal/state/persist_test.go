package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

var update = flag.Bool("update", false, "write the kept snapshot of the present schema anew (only before a release of that schema)")

func written(t helper, store *Store) []byte {
	t.Helper()
	var buffer bytes.Buffer
	require.NoError(t, store.Snapshot().Write(&buffer))
	return buffer.Bytes()
}

func restoredFrom(t helper, store *Store) *Store {
	t.Helper()
	restored := New()
	require.NoError(t, restored.Restore(bytes.NewReader(written(t, store))))
	return restored
}

func hash(t helper, store *Store) string {
	t.Helper()
	text, err := store.Snapshot().Hash()
	require.NoError(t, err)
	return text
}

// everything is a world with each kind in it, and with values that are hard to write: it never changes, since the kept snapshot is made of it.
func everything(t testing.TB) *world {
	w := base(newWorld(t))
	member := newProject(3)
	member.Spec.Members, member.Status.MemberIDs = []v1.Member{{User: "user-1", Role: v1.RoleProjectAdmin}}, []string{id(v1.KindUser, 1)}
	member.Spec.Quota.VMs, member.Spec.Title = limit(0), "Bộ Nội vụ <&> \"Hà Nội\""
	w.create(member, newToken(1, 1), newGroup(1, v1.AntiAffinityHard), newReceipt(1))
	running(w, 1, 1)
	running(w, 2, 2)
	grouped := newVM(3)
	grouped.Status.GroupID, grouped.Labels = id(v1.KindPlacementGroup, 1), map[string]string{"b": "2", "a": "1", "c": ""}
	grouped.Spec.UserData, grouped.Spec.SSHKeys = "#!/bin/sh\necho '<&>\u2028'\n", []string{}
	operation := newOperation(1, grouped)
	operation.Status.Steps[0].Error = v1.NewProblem(v1.CodeNoSpace, "full").With("pool", "local")
	w.create(grouped, newSnapshot(1, 1), operation, newTask(1, 1, 1))
	require.NoError(t, change(w, newInstance(2, 2, 2), fence))
	require.NoError(t, change(w, newInstance(1, 1, 1), func(o *v1.Instance) { stop(o); o.Observed.Reason = v1.StoppedByGuest }))
	require.NoError(t, change(w, newHost(2), func(o *v1.Host) { deleted(&o.Meta) }))
	return w
}

// TestRestore: a restored state is the same to the last byte, derived parts included.
func TestRestore(t *testing.T) {
	w := newWorld(t)
	for name, store := range map[string]*Store{"empty": w.store, "everything": everythingStore(t)} {
		restored := restoredFrom(t, store)
		require.Equal(t, string(written(t, store)), string(written(t, restored)), name)
		require.Equal(t, hash(t, store), hash(t, restored), name)
		require.Equal(t, store.Index(), restored.Index(), name)
		require.Empty(t, differences(store.Snapshot(), restored.Snapshot()), name)
		require.Empty(t, audit(restored.Snapshot()), name)
	}
}

func everythingStore(t testing.TB) *Store { return everything(t).store }

// TestKeptSnapshots: what any release wrote can be read, and the newest holds each kind.
func TestKeptSnapshots(t *testing.T) {
	present := filepath.Join("testdata", fmt.Sprintf("snapshot-schema%d.jsonl", SnapshotSchema))
	if *update {
		require.NoError(t, os.WriteFile(present, written(t, everythingStore(t)), 0o644))
	}
	kept, err := filepath.Glob(filepath.Join("testdata", "snapshot-schema*.jsonl"))
	require.NoError(t, err)
	require.Len(t, kept, SnapshotSchema, "one for each schema")
	for _, path := range kept {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		store := New()
		require.NoError(t, store.Restore(bytes.NewReader(data)), path)
		s := store.Snapshot()
		require.Empty(t, audit(s), path)
		require.NotZero(t, s.Index())
		if path == present {
			for _, definition := range v1.Kinds {
				require.NotZero(t, s.Count(definition.Kind), "%s is not in %s: add it to everything, and run with -update", definition.Kind, path)
			}
		}
		require.Equal(t, v1.RoleProjectAdmin, s.Project(id(v1.KindProject, 3)).RoleOf(id(v1.KindUser, 1)))
		require.Equal(t, "Bộ Nội vụ <&> \"Hà Nội\"", s.Project(id(v1.KindProject, 3)).Spec.Title)
		require.Zero(t, *s.Project(id(v1.KindProject, 3)).Spec.Quota.VMs)
		require.Equal(t, v1.StoppedByGuest, s.Instance(id(v1.KindInstance, 1)).Observed.Reason)
		require.NotNil(t, s.Instance(id(v1.KindInstance, 2)).Fence)
		require.True(t, s.Host(id(v1.KindHost, 2)).Deleting())
		require.Equal(t, v1.Usage{StorageGiB: 10}, s.HostUsage(id(v1.KindHost, 1)))
		require.Equal(t, "#!/bin/sh\necho '<&>\u2028'\n", s.VM(id(v1.KindVM, 3)).Spec.UserData)
	}
	require.Equal(t, string(written(t, everythingStore(t))), string(written(t, everythingStore(t))), "the kept snapshot is made the same each time")
}

// TestRestoreRefuses: on an error the state stays as it was.
func TestRestoreRefuses(t *testing.T) {
	w := everything(t)
	good := string(written(t, w.store))
	lines := strings.SplitAfter(good, "\n")
	with := func(n int, text string) string {
		return strings.Join(lines[:n], "") + text + "\n" + strings.Join(lines[n:], "")
	}
	host, err := json.Marshal(newHost(1))
	require.NoError(t, err)
	for name, stream := range map[string]string{
		"nothing":                 "",
		"no JSON":                 "\x00\x00",
		"null":                    "null\n",
		"schema 0":                strings.Replace(good, `"schema":1`, `"schema":0`, 1),
		"later schema":            strings.Replace(good, `"schema":1`, `"schema":2`, 1),
		"only a header":           lines[0],
		"without its end":         strings.TrimSuffix(good, lines[len(lines)-2]),
		"a foreign kind":          with(2, `{"kind":"Router","object":{"id":"x"}}`),
		"a kind without object":   with(2, `{"kind":"VM"}`),
		"a table of the state":    with(2, `{"kind":"applied","object":{"id":"log"}}`),
		"an empty line":           with(2, `{}`),
		"an object of null":       with(2, `{"kind":"VM","object":null}`),
		"an object without id":    with(2, `{"kind":"VM","object":{}}`),
		"an object of a list":     with(2, `{"kind":"VM","object":[]}`),
		"the same object twice":   with(len(lines)-2, `{"kind":"Host","object":`+string(host)+`}`),
		"a field of another type": with(2, `{"kind":"VM","object":{"id":7}}`),
	} {
		store := w.store
		before, index := string(written(t, store)), store.Index()
		abandoned := store.Snapshot().Abandoned()
		require.Error(t, store.Restore(strings.NewReader(stream)), name)
		require.Equal(t, before, string(written(t, store)), name)
		require.Equal(t, index, store.Index())
		require.Empty(t, audit(store.Snapshot()), name)
		select {
		case <-abandoned:
			t.Fatalf("%s: nothing was restored, and readers are told to read again", name)
		default:
		}
	}
}

// TestCutOffStreams cuts the stream at each line and in the middle of each, and lets the reader fail.
func TestCutOffStreams(t *testing.T) {
	good := written(t, everythingStore(t))
	store := New()
	step := max(1, len(good)/400)
	for end := 0; end < len(good)-1; end += step {
		require.Error(t, store.Restore(bytes.NewReader(good[:end])), "%d bytes of %d", end, len(good))
	}
	broken := errors.New("the disk is broken")
	err := store.Restore(io.MultiReader(bytes.NewReader(good[:len(good)/2]), failing{broken}))
	require.ErrorIs(t, err, broken)
	require.Zero(t, store.Index())
	require.NoError(t, store.Restore(bytes.NewReader(good)))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestWriteFails(t *testing.T) {
	broken := errors.New("the disk is full")
	require.ErrorIs(t, everythingStore(t).Snapshot().Write(failing{broken}), broken)
}

// TestFSMSnapshots goes through raft's own snapshot store on a real disk.
func TestFSMSnapshots(t *testing.T) {
	w := everything(t)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 1, nil)
	require.NoError(t, err)
	snapshot, err := FSM{w.store}.Snapshot()
	require.NoError(t, err)
	want := hash(t, w.store)
	w.create(newFlavor(8)) // after the snapshot was taken: it is not in it
	sink, err := snapshots.Create(raft.SnapshotVersionMax, w.index, 1, raft.Configuration{}, 1, nil)
	require.NoError(t, err)
	require.NoError(t, snapshot.Persist(sink))
	snapshot.Release()

	_, reader, err := snapshots.Open(sink.ID())
	require.NoError(t, err)
	restored := FSM{New()}
	require.NoError(t, restored.Restore(reader))
	require.Equal(t, want, hash(t, restored.Store))

	sink, err = snapshots.Create(raft.SnapshotVersionMax, w.index, 2, raft.Configuration{}, 1, nil)
	require.NoError(t, err)
	broken := errors.New("the disk is full")
	require.ErrorIs(t, snapshot.Persist(brokenSink{sink, broken}), broken)
	kept, err := snapshots.List()
	require.NoError(t, err)
	require.Len(t, kept, 1, "a snapshot that could not be written is cancelled")
}

type brokenSink struct {
	raft.SnapshotSink
	err error
}

func (s brokenSink) Write([]byte) (int, error) { return 0, s.err }
