package state

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func TestGuards(t *testing.T) {
	for _, line := range []struct {
		name string
		txn  func(w *world, txn *Txn)
		code v1.Code // "" when it holds
	}{
		{"create what is not there", func(_ *world, txn *Txn) { txn.Create(newFlavor(2), "") }, ""},
		{"create what is there", func(_ *world, txn *Txn) { txn.Create(newFlavor(1), "") }, v1.CodeConflict},
		{"update as it was read", func(w *world, txn *Txn) { txn.Update(fresh(w, newFlavor(1)), "") }, ""},
		{"update of an older version", func(w *world, txn *Txn) {
			old := fresh(w, newFlavor(1))
			require.NoError(w, change(w, newFlavor(1), func(o *v1.Flavor) { o.Spec.DiskGiB = 20 }))
			txn.Update(old, "")
		}, v1.CodeConflict},
		{"update of a version that is not there yet", func(w *world, txn *Txn) {
			o := fresh(w, newFlavor(1))
			o.Version++
			txn.Update(o, "")
		}, v1.CodeConflict},
		{"update of what is gone", func(w *world, txn *Txn) {
			old := fresh(w, newFlavor(1))
			require.NoError(w, w.remove(old))
			txn.Update(old, "")
		}, v1.CodeConflict},
		{"delete as it was read", func(w *world, txn *Txn) { txn.Delete(fresh(w, newFlavor(1)), "") }, ""},
		{"delete of an older version", func(w *world, txn *Txn) {
			o := fresh(w, newFlavor(1))
			o.Version--
			txn.Delete(o, "")
		}, v1.CodeConflict},
		{"delete without a guard of what is not there", func(_ *world, txn *Txn) { txn.Ops = append(txn.Ops, Op{Kind: v1.KindFlavor, ID: id(v1.KindFlavor, 9)}) }, ""},
		{"another object unchanged", func(w *world, txn *Txn) { txn.Unchanged(fresh(w, newHost(1))).Create(newFlavor(2), "") }, ""},
		{"another object changed", func(w *world, txn *Txn) {
			old := fresh(w, newHost(1))
			require.NoError(w, change(w, newHost(1), func(o *v1.Host) { o.Spec.Schedulable = false }))
			txn.Unchanged(old).Create(newFlavor(2), "")
		}, v1.CodeConflict},
		{"one guard of two", func(w *world, txn *Txn) { txn.Create(newFlavor(2), "").Create(newHost(1), "") }, v1.CodeConflict},
		{"an entry without ops", func(*world, *Txn) {}, ""},
		{"a guard on a kind that does not exist", func(_ *world, txn *Txn) { txn.Guards = append(txn.Guards, Guard{"Nothing", "x", 0}) }, v1.CodeInternal},
		{"a guard on a table of the state's own", func(_ *world, txn *Txn) { txn.Guards = append(txn.Guards, Guard{tableApplied, "log", 0}) }, v1.CodeInternal},
		{"a guard on events", func(_ *world, txn *Txn) { txn.Guards = append(txn.Guards, Guard{v1.KindEvent, "1-0", 0}) }, v1.CodeInternal},
		{"a delete in a table of the state's own", func(_ *world, txn *Txn) { txn.Ops = append(txn.Ops, Op{Kind: tableApplied, ID: "log"}) }, v1.CodeInternal},
		{"an op under another id", func(_ *world, txn *Txn) { txn.Create(newFlavor(2), "").Ops[0].ID = id(v1.KindFlavor, 3) }, v1.CodeInternal},
		{"an object that is not valid", func(_ *world, txn *Txn) {
			o := newFlavor(2)
			o.Name = "a/b"
			txn.Create(o, "")
		}, v1.CodeInvalid},
		{"an object that is written twice", func(w *world, txn *Txn) {
			o := fresh(w, newFlavor(1))
			txn.Ops = append(txn.Ops, Op{Kind: v1.KindFlavor, ID: o.ID}, Op{Kind: v1.KindFlavor, ID: o.ID, Object: o})
		}, v1.CodeInternal},
	} {
		t.Run(line.name, func(t *testing.T) {
			w := base(newWorld(t))
			w.create(newFlavor(3)) // so that flavor 1 is held by nobody
			txn := w.txn()
			line.txn(w, txn)
			err := w.refusedWhole(txn)
			if line.code == "" {
				require.NoError(t, err)
				return
			}
			refused(t, err, line.code)
			require.Equal(t, line.code == v1.CodeConflict, errorsIsConflict(err))
		})
	}
}

func errorsIsConflict(err error) bool {
	c, ok := err.(conflictError)
	return ok && c.Unwrap()[0] == ErrConflict
}

// TestConflictIsSaid: guards that fail are ErrConflict and a problem at once; it says whether the object is gone.
func TestConflictIsSaid(t *testing.T) {
	w := base(newWorld(t))
	old := fresh(w, newFlavor(1))
	require.NoError(t, change(w, newFlavor(1), func(o *v1.Flavor) { o.Spec.DiskGiB = 11 }))
	err := w.refusedWhole(w.txn().Update(old, ""))
	require.ErrorIs(t, err, ErrConflict)
	require.Contains(t, err.Error(), "was changed by somebody else")
	require.NoError(t, w.remove(newFlavor(1)))
	err = w.refusedWhole(w.txn().Update(old, ""))
	require.ErrorIs(t, err, ErrConflict)
	require.Contains(t, err.Error(), "is gone")
	require.NotErrorIs(t, w.tryCreate(newVM(1)), ErrConflict, "an invariant is not a guard: trying again does not help")
}

// TestMetaIsWrittenByApply: version and times come from the entry, whatever the object brings.
func TestMetaIsWrittenByApply(t *testing.T) {
	w := newWorld(t)
	o := newFlavor(1)
	o.Version, o.CreatedAt, o.UpdatedAt = 99, time.Unix(5, 0), time.Unix(6, 0)
	txn := w.txn()
	txn.Create(o, "")
	w.must(txn)
	created := fresh(w, o)
	require.Equal(t, uint64(1), created.Version)
	require.Equal(t, txn.Time, created.CreatedAt)
	require.Equal(t, txn.Time, created.UpdatedAt)

	later := NewTxn(epoch.Add(time.Hour), "tester")
	changed := fresh(w, o)
	changed.CreatedAt = time.Unix(7, 0)
	later.Update(changed, "")
	w.must(later)
	updated := fresh(w, o)
	require.Equal(t, uint64(2), updated.Version)
	require.Equal(t, created.CreatedAt, updated.CreatedAt)
	require.Equal(t, later.Time, updated.UpdatedAt)
}

// TestHostEpoch: a registration leaves the epoch open, and the entry becomes it.
func TestHostEpoch(t *testing.T) {
	w := base(newWorld(t))
	require.Equal(t, uint64(1), fresh(w, newHost(1)).Status.Epoch)
	require.NoError(t, change(w, newHost(1), func(o *v1.Host) { o.Spec.Schedulable = false }))
	require.Equal(t, uint64(1), fresh(w, newHost(1)).Status.Epoch)
	require.NoError(t, change(w, newHost(1), func(o *v1.Host) { o.Status.Epoch = 0 }))
	require.Equal(t, w.index, fresh(w, newHost(1)).Status.Epoch)
}

// TestBuilding: the builder keeps the first guard and the last op of each object.
func TestBuilding(t *testing.T) {
	w := base(newWorld(t))
	txn := w.txn()
	require.True(t, txn.Empty())
	o := fresh(w, newFlavor(1))
	o.Spec.DiskGiB = 11
	txn.Update(o, "first")
	again := clone(o).(*v1.Flavor)
	again.Spec.DiskGiB, again.Version = 12, 77
	txn.Update(again, "second")
	require.Len(t, txn.Guards, 1)
	require.Len(t, txn.Ops, 1)
	w.must(txn)
	require.Equal(t, int64(12), fresh(w, o).Spec.DiskGiB)

	created := newFlavor(5)
	txn = w.txn().Create(created, "").Update(created, "").Delete(created, "")
	require.Equal(t, []Guard{{v1.KindFlavor, created.ID, 0}}, txn.Guards)
	require.Len(t, txn.Ops, 1)
	w.must(txn)
	require.Nil(t, w.store.Snapshot().Flavor(created.ID), "made and deleted in one entry")
	require.False(t, txn.Empty())
}

// TestEncoding: an entry comes out of the log as it went in; what cannot be understood is refused.
func TestEncoding(t *testing.T) {
	txn := NewTxn(time.Date(2025, 6, 7, 15, 0, 0, 123456789, time.FixedZone("ICT", 7*3600)), "nguyen.van.a")
	txn.Operation = id(v1.KindOperation, 1)
	txn.Create(newVM(1), "note").Delete(newFlavor(1), "<gone>").Unchanged(newHost(1))
	require.Equal(t, time.UTC, txn.Time.Location())
	data, err := txn.Encode()
	require.NoError(t, err)
	decoded, err := DecodeTxn(data)
	require.NoError(t, err)
	require.Equal(t, txn, decoded)

	for name, text := range map[string]string{
		"nothing": "", "no JSON": "\x00\x01", "a list": "[]", "no schema": "{}", "later schema": `{"schema":2}`, "schema 0": `{"schema":0}`, "negative": `{"schema":-1}`,
		"unknown kind": `{"schema":1,"ops":[{"kind":"Router","id":"x","object":{}}]}`, "the wrong type": `{"schema":1,"ops":[{"kind":"VM","id":"x","object":[]}]}`,
		"no time": `{"schema":1,"time":"yesterday"}`, "cut off": string(data[:len(data)/2]), "ops is no list": `{"schema":1,"ops":{}}`, "a field of another type": `{"schema":1,"ops":[{"kind":"VM","id":"x","object":{"id":5}}]}`,
	} {
		_, err := DecodeTxn([]byte(text))
		require.Error(t, err, name)
	}
	for _, text := range []string{`{"schema":1,"ops":[null]}`, `{"schema":1,"ops":[{"kind":"VM","id":"x","object":null}]}`, `{"schema":1,"ops":null,"guards":null}`, `{"schema":1,"guards":[null]}`, `{"schema":1,"ops":[{}]}`} {
		decoded, err := DecodeTxn([]byte(text))
		require.NoError(t, err, text)
		require.NotPanics(t, func() { _ = New().Apply(1, decoded) }, text)
	}
}

// TestSharedObjectsStay: what was read is never changed by later entries.
func TestSharedObjectsStay(t *testing.T) {
	w := base(newWorld(t))
	running(w, 1, 1)
	read := w.store.Snapshot()
	before := body(t, read)
	require.NoError(t, change(w, newInstance(1, 1, 1), stop))
	require.NoError(t, w.remove(newAttachment(1, 1, 1, 1), newInstance(1, 1, 1)))
	require.Equal(t, before, body(t, read))
}

// TestFSM: entries that cannot be read are refused, and counted.
func TestFSM(t *testing.T) {
	fsm := FSM{New()}
	data, err := NewTxn(epoch, "tester").Create(newFlavor(1), "").Encode()
	require.NoError(t, err)
	require.Nil(t, fsm.Apply(raftLog(1, data)))
	refused(t, fsm.Apply(raftLog(2, data)).(error), v1.CodeConflict)
	refused(t, fsm.Apply(raftLog(3, []byte("garbage"))).(error), v1.CodeInternal)
	refused(t, fsm.Apply(raftLog(4, nil)).(error), v1.CodeInternal)
	require.Equal(t, uint64(4), fsm.Store.Index())
	require.Equal(t, 1, fsm.Store.Snapshot().Count(v1.KindFlavor))
}

// TestUnknownFieldsOfEntries: a field that a later version added is dropped, as all members of one version do.
func TestUnknownFieldsOfEntries(t *testing.T) {
	data, err := json.Marshal(map[string]any{"schema": 1, "time": epoch, "actor": "a", "later": true})
	require.NoError(t, err)
	_, err = DecodeTxn(data)
	require.NoError(t, err)
}
