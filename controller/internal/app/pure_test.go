package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Nearly all of this package is tested through the real API, with real agents, in cmd/internal/testbed. Here is what is a function of its own.

func TestPositionOf(t *testing.T) {
	store := state.New()
	for index := uint64(3); index <= 5; index++ {
		txn := state.NewTxn(time.Now(), "x")
		for n := range 2 {
			txn.Create(&v1.User{Meta: v1.Meta{ID: NewID(), Name: fmt.Sprintf("u-%d-%d", index, n)}}, "")
		}
		require.NoError(t, store.Apply(index, txn))
	}
	s := store.Snapshot()
	for after, want := range map[string][2]uint64{"": {5, 1}, "0": {0, 0}, "3-0": {3, 0}, "5-1": {5, 1}, "99-7": {99, 7}} {
		index, place, err := positionOf(s, after)
		require.NoError(t, err, after)
		require.Equal(t, want, [2]uint64{index, uint64(place)}, after)
	}
	for _, after := range []string{"x", "1", "-1-0", "3-", "3-0x", "3-0-0", " 3-0", "03-0", "3-65536", "18446744073709551616-0", strings.Repeat("9", 5000)} {
		_, _, err := positionOf(s, after)
		require.Equal(t, v1.CodeInvalid, v1.CodeOf(err), "%.40q", after)
		require.Less(t, len(err.Error()), 300)
	}
	_, _, err := positionOf(s, "1-0")
	require.Equal(t, v1.CodeNotFound, v1.CodeOf(err), "older than what is kept: something may have been missed")
	index, place, err := positionOf(state.New().Snapshot(), "")
	require.NoError(t, err)
	require.Zero(t, index+uint64(place))
}

func TestRootName(t *testing.T) {
	id := NewID()
	for _, vm := range []string{"a", "web-1", strings.Repeat("x", v1.MaxNameLength)} {
		name := rootName(vm, id)
		require.True(t, v1.IsName(name), name)
		require.True(t, strings.HasSuffix(name, v1.Short(id)))
	}
}

func TestFrozen(t *testing.T) {
	var f frozen
	f.check("name", true)
	require.NoError(t, f.err())
	f.check("spec.a", false)
	f.check("spec.b", false)
	problem := v1.AsProblem(f.err())
	require.Equal(t, v1.CodeImmutable, problem.Code)
	require.Equal(t, "spec.a", problem.Field)
	require.Len(t, problem.Errors, 2)
}

func TestArgsOf(t *testing.T) {
	want := v1.StopRequest{Force: true}
	require.Equal(t, want, argsOf[v1.StopRequest](want))
	require.Equal(t, want, argsOf[v1.StopRequest](&want))
	require.Zero(t, argsOf[v1.StopRequest](nil))
	require.Zero(t, argsOf[v1.StopRequest]((*v1.StopRequest)(nil)))
	require.Zero(t, argsOf[v1.StopRequest]("x"))
}
