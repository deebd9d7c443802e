package serial

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

type memoryIndex struct {
	mutex sync.Mutex
	logs  map[string][]string
}

func (m *memoryIndex) Logs(vm string) []string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return append([]string(nil), m.logs[vm]...)
}

func (m *memoryIndex) SetLogs(vm string, instances []string) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.logs[vm] = instances
	return nil
}

func newStore(t *testing.T) (*Store, string) {
	return NewStore(filepath.Join(t.TempDir(), "serial"), &memoryIndex{logs: map[string][]string{}}), newID()
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func prepare(t *testing.T, store *Store, vm string, text string) (instance, path string) {
	t.Helper()
	instance = newID()
	path, err := store.Prepare(vm, instance)
	require.NoError(t, err)
	write(t, path, text)
	return instance, path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func read(t *testing.T, store *Store, vm string, tail int) string {
	t.Helper()
	var text bytes.Buffer
	require.NoError(t, store.Copy(t.Context(), &text, vm, tail, false, func() {}))
	return text.String()
}

func TestOldestFirstWithRotatedParts(t *testing.T) {
	store, vm := newStore(t)
	require.Empty(t, read(t, store, vm, -1))
	_, first := prepare(t, store, vm, "c\n")
	write(t, first+".0", "b\n")
	write(t, first+".1", "a\n")
	prepare(t, store, vm, "d\n")
	require.Equal(t, "a\nb\nc\nd\n", read(t, store, vm, -1))
}

func TestTail(t *testing.T) {
	store, vm := newStore(t)
	_, first := prepare(t, store, vm, "3\n4\n")
	write(t, first+".0", "1\n2\n")
	_, second := prepare(t, store, vm, "5\n6")
	for tail, want := range map[int]string{0: "", -1: "1\n2\n3\n4\n5\n6", 1: "6", 2: "5\n6", 3: "4\n5\n6", 4: "3\n4\n5\n6", 5: "2\n3\n4\n5\n6", 6: "1\n2\n3\n4\n5\n6", 99: "1\n2\n3\n4\n5\n6"} {
		require.Equal(t, want, read(t, store, vm, tail), "tail=%d", tail)
	}
	write(t, second, "\n")
	require.Equal(t, "5\n6\n", read(t, store, vm, 2))

	var long strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	write(t, second, long.String())
	require.Equal(t, "line 49998\nline 49999\n", read(t, store, vm, 2))
	require.Equal(t, 30_000, strings.Count(read(t, store, vm, 30_000), "\n"))
}

func TestOnlyTheLastInstancesAreKept(t *testing.T) {
	store, vm := newStore(t)
	_, first := prepare(t, store, vm, "0\n")
	write(t, first+".0", "rotated\n")
	for i := range 3 {
		prepare(t, store, vm, fmt.Sprintln(i+1))
	}
	require.Equal(t, "1\n2\n3\n", read(t, store, vm, -1))
	entries, err := os.ReadDir(filepath.Dir(first))
	require.NoError(t, err)
	require.Len(t, entries, Keep)

	require.NoError(t, store.Forget(vm))
	require.NoError(t, store.Forget(vm))
	require.NoDirExists(t, filepath.Dir(first))
	require.Empty(t, store.index.Logs(vm))
	for _, bad := range []string{"", "..", "../x", "a/b"} {
		require.Error(t, store.Forget(bad))
		_, err := store.Prepare(bad, newID())
		require.Error(t, err)
		_, err = store.Prepare(vm, bad)
		require.Error(t, err)
		require.ErrorIs(t, store.Copy(t.Context(), &bytes.Buffer{}, bad, -1, false, func() {}), os.ErrNotExist)
	}
}

// lockedBuffer is written by Copy and looked at by the test.
type lockedBuffer struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}

func TestFollowOverRotationAndInstances(t *testing.T) {
	store, vm := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	var text lockedBuffer
	done := make(chan error, 1)
	go func() { done <- store.Copy(ctx, &text, vm, 1, true, func() {}) }()
	expect := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool { return text.String() == want }, 5*time.Second, 20*time.Millisecond, "want %q, have %q", want, text.String())
	}
	_, path := prepare(t, store, vm, "a\n") // it was not there when the following began
	expect("a\n")
	write(t, path, "b\n")
	require.NoError(t, os.Rename(path, path+".0"))
	write(t, path, "c\n")
	expect("a\nb\nc\n")
	write(t, path, "d\n")
	prepare(t, store, vm, "e\n")
	expect("a\nb\nc\nd\ne\n")
	cancel()
	require.NoError(t, <-done)
}
