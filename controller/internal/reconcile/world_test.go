package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

var begun = time.Date(2025, 6, 7, 8, 9, 10, 0, time.UTC)

func id(kind byte, n int) string { return fmt.Sprintf("01890a5d-00%02x-774b-bcce-%012x", kind, n) }

// world is a store that is written directly, as Raft would.
type world struct {
	testing.TB
	mu      sync.Mutex
	store   *state.Store
	index   uint64
	fail    error // of the next proposals
	refused []error
}

func newWorld(t testing.TB) *world { return &world{TB: t, store: state.New(), index: 10} }

func (w *world) apply(txn *state.Txn) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, err := txn.Encode()
	require.NoError(w, err)
	decoded, err := state.DecodeTxn(data)
	require.NoError(w, err)
	w.index++
	return w.store.Apply(w.index, decoded)
}

func (w *world) loop() Loop {
	return Loop{Store: w.store, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Propose: func(_ context.Context, txn *state.Txn) error {
		if w.fail != nil {
			return w.fail
		}
		err := w.apply(txn)
		if err != nil {
			w.refused = append(w.refused, err)
		}
		return err
	}}
}

func (w *world) create(objects ...v1.Object) {
	w.Helper()
	txn := state.NewTxn(begun, "tester")
	for _, object := range objects {
		txn.Create(object, "")
	}
	require.NoError(w, w.apply(txn))
}

// change writes an object as it is now with a change.
func change[T interface {
	v1.Object
	Clone() T
}](w *world, kind v1.Kind, id string, f func(T)) {
	w.Helper()
	changed := w.store.Snapshot().Get(kind, id).(T).Clone()
	f(changed)
	require.NoError(w, w.apply(state.NewTxn(begun, "tester").Update(changed, "")))
}

func newHost(n int, phase v1.HostPhase) *v1.Host {
	return &v1.Host{Meta: v1.Meta{ID: id('h', n), Name: fmt.Sprintf("host-%d", n)}, Spec: v1.HostSpec{Schedulable: true, SecurityLevel: 3, CPUOvercommit: 2, StorageOvercommit: 1},
		Status: v1.HostStatus{Phase: phase, Since: begun, Inventory: v1.Inventory{CPUs: 64, MemoryMiB: 64 << 10}}}
}

func newVM(n int, policy v1.RestartPolicy, power v1.Power) *v1.VM {
	return &v1.VM{Meta: v1.Meta{ID: id('v', n), Name: fmt.Sprintf("vm-%d", n), Project: id('p', 1)},
		Spec:   v1.VMSpec{Flavor: "small", Image: "tiny", RestartPolicy: policy, Power: power},
		Status: v1.VMStatus{FlavorID: id('f', 1), VCPUs: 1, MemoryMiB: 512, MAC: fmt.Sprintf("52:54:00:00:00:%02x", n), Instance: id('i', n)}}
}

func newInstance(n, host int, observed v1.InstanceState, reason v1.StopReason) *v1.Instance {
	return &v1.Instance{Meta: v1.Meta{ID: id('i', n), Name: fmt.Sprintf("i-%d", n), Project: id('p', 1)},
		Spec:    v1.InstanceSpec{VM: id('v', n), Host: id('h', host), Title: fmt.Sprintf("vm-%d", n), VCPUs: 1, MemoryMiB: 512},
		Desired: v1.InstanceDesired{State: v1.DesiredRunning}, Observed: v1.InstanceObserved{Seq: 1, State: observed, Reason: reason}}
}

func newOperation(n int, target string, at v1.OperationState, finished time.Time) *v1.Operation {
	operation := &v1.Operation{Meta: v1.Meta{ID: id('o', n), Name: fmt.Sprintf("o-%d", n), Project: id('p', 1)},
		Spec: v1.OperationSpec{Type: v1.OpVMStart, Target: v1.Link{Kind: v1.KindVM, ID: target}, Actor: "tester"}, Status: v1.OperationStatus{State: at}}
	if at.Finished() {
		operation.Status.FinishedAt = &finished
	}
	return operation
}

func newReceipt(n int, expires time.Time) *v1.Receipt {
	return &v1.Receipt{Meta: v1.Meta{ID: id('r', n), Name: "receipt"}, User: id('u', 1), Key: fmt.Sprintf("key-%d", n), Request: strings.Repeat("0", 64), ExpiresAt: expires}
}

func newToken(n int, expires time.Time) *v1.Token {
	return &v1.Token{Meta: v1.Meta{ID: id('k', n), Name: "token"}, Spec: v1.TokenSpec{ExpiresAt: &expires}, Hash: fmt.Sprintf("%064x", n), Status: v1.TokenStatus{UserID: id('u', 1)}}
}

// base is what others refer to.
func base(w *world) *world {
	w.create(&v1.Project{Meta: v1.Meta{ID: id('p', 1), Name: "project"}}, &v1.User{Meta: v1.Meta{ID: id('u', 1), Name: "user"}},
		&v1.Flavor{Meta: v1.Meta{ID: id('f', 1), Name: "small"}, Spec: v1.FlavorSpec{VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}}, newHost(1, v1.HostReady), newHost(2, v1.HostReady), newHost(3, v1.HostSilent))
	return w
}

// changed names what an entry does, for tables.
func changed(txn *state.Txn) []string {
	names := []string{}
	for _, op := range txn.Ops {
		text := "delete "
		if op.Object != nil {
			text = "put "
		}
		names = append(names, text+string(op.Kind)+" "+op.ID[len(op.ID)-1:])
	}
	return names
}

func (w *world) phase(n int) v1.HostPhase { return w.store.Snapshot().Host(id('h', n)).Status.Phase }

func TestWrite(t *testing.T) {
	w := base(newWorld(t))
	loop := w.loop()
	txn := func() *state.Txn { return state.NewTxn(begun, "x").Delete(w.store.Snapshot().Host(id('h', 1)), "") }
	for name, line := range map[string]struct {
		fail error
		ends bool
	}{
		"conflict":        {state.ErrConflict, false},
		"refused":         {v1.NewProblem(v1.CodeInUse, "in use"), false},
		"unavailable":     {v1.NewProblem(v1.CodeUnavailable, "no leader"), true},
		"outcome unknown": {v1.NewProblem(v1.CodeOutcomeUnknown, "lost"), true},
	} {
		w.fail = line.fail
		err := loop.write(t.Context(), "test", txn())
		require.Equal(t, line.ends, err != nil, name)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.fail = errors.New("must not be asked")
	require.NoError(t, loop.write(ended, "test", txn()), "a term that is over writes nothing")
	require.NoError(t, loop.write(t.Context(), "test", state.NewTxn(begun, "x")), "nothing is not written")
	w.fail = nil
	require.NoError(t, loop.write(t.Context(), "test", txn()))
	require.Nil(t, w.store.Snapshot().Host(id('h', 1)))
}
