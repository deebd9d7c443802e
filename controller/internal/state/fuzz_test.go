package state

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// FuzzTxn: no bytes in the log make Apply panic or leave something half done. (A panic in Apply would stop every controller, again at each start.)
func FuzzTxn(f *testing.F) {
	for _, definition := range v1.Kinds {
		object := maker[definition.Kind](1)
		data, err := NewTxn(epoch, "tester").Create(object, "note").Encode()
		require.NoError(f, err)
		f.Add(data)
		object.ObjectMeta().Version = 1
		data, err = NewTxn(epoch, "tester").Update(object, "").Encode()
		require.NoError(f, err)
		f.Add(data)
		data, err = NewTxn(epoch, "tester").Delete(object, "").Encode()
		require.NoError(f, err)
		f.Add(data)
	}
	for _, text := range []string{
		"", "null", "{}", "[]", `{"schema":1}`, `{"schema":1,"ops":[null,{}]}`, `{"schema":1,"guards":[null,{}]}`, `{"schema":1,"ops":[{"kind":"VM"}]}`,
		`{"schema":1,"ops":[{"kind":"VM","id":"x","object":null}]}`, `{"schema":1,"ops":[{"kind":"VM","id":"","object":{}}]}`, `{"schema":1,"ops":[{"kind":"applied","id":"log"}]}`,
		`{"schema":1,"guards":[{"kind":"applied","id":"log","version":0}]}`, `{"schema":1,"guards":[{"kind":"event","id":"1-0","version":0}]}`, `{"schema":1,"guards":[{"kind":"Event","id":"1-0","version":0}]}`,
		`{"schema":1,"ops":[{"kind":"Host","id":"01890a5d-0001-774b-bcce-000000000001","object":{"id":"01890a5d-0001-774b-bcce-000000000001","name":"a","status":null,"spec":null,"labels":null,"deletedAt":null}}]}`,
		`{"schema":1,"ops":[{"kind":"Operation","id":"01890a5d-000d-774b-bcce-000000000009","object":{"id":"01890a5d-000d-774b-bcce-000000000009","name":"a","status":{"state":"Failed","steps":[null],"error":null}}}]}`,
		`{"schema":1,"ops":[{"kind":"Project","id":"01890a5d-0004-774b-bcce-000000000001","object":{"id":"01890a5d-0004-774b-bcce-000000000001","name":"a","spec":{"members":[null]},"status":{"memberIds":[null,""]}}}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWorld(t)
		first := w.txn()
		for _, object := range []v1.Object{newCluster(1), newHost(1), newUser(1), newProject(1), newFlavor(1), newImage(1), newGroup(1, v1.AntiAffinityHard), newVM(1), newVolume(1), newInstance(1, 1, 1),
			newAttachment(1, 1, 1, 1), newOperation(1, newVM(1)), newTask(1, 1, 1), newToken(1, 1), newReceipt(1), newSnapshot(1, 1)} {
			first.Create(object, "")
		}
		w.must(first)
		before := w.store.Snapshot()
		answer := FSM{w.store}.Apply(raftLog(2, data))
		after := w.store.Snapshot()
		require.Equal(t, uint64(2), after.Index())
		if answer != nil {
			require.Equal(t, body(t, before), body(t, after))
		}
		require.Empty(t, audit(after))
		require.Empty(t, auditStep(before, after))
		require.Equal(t, hash(t, w.store), hash(t, restoredFrom(t, w.store)))
	})
}

// FuzzRestore: no stream makes Restore panic; what it takes is whole, and what it refuses leaves the state alone.
func FuzzRestore(f *testing.F) {
	f.Add(written(f, everythingStore(f)))
	f.Add([]byte("{\"schema\":1,\"index\":7}\n{\"end\":true}\n"))
	f.Add([]byte("{\"schema\":1,\"index\":7}\n{\"event\":{\"id\":\"x\"},\"place\":65535}\n{\"host\":\"x\",\"generation\":1}\n{\"end\":true}\n"))
	f.Add([]byte("{\"schema\":1}\n{\"kind\":\"VM\",\"object\":{\"id\":\"x\",\"status\":null}}\n{\"end\":true}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		store := New()
		if err := store.Restore(bytes.NewReader(data)); err != nil {
			require.Zero(t, store.Index())
			return
		}
		require.Empty(t, auditUsage(store.Snapshot()))
		require.Equal(t, hash(t, store), hash(t, restoredFrom(t, store)))
	})
}
