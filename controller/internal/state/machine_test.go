package state

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// few is how many ids and names there are of each kind: so few that entries get into each other's way.
const few = 4

// members are three controllers that get the same log. The third now and then falls behind so far that it gets a snapshot.
type members struct {
	stores   [3]*Store
	index    uint64
	body     string          // of the state after the last entry
	outcomes map[v1.Code]int // "" for entries that were carried out
}

func drawID(t *rapid.T, kind v1.Kind) string {
	return id(kind, rapid.IntRange(1, few).Draw(t, "number of "+string(kind)))
}

// drawSome is mostly the id of an object that is there, sometimes any id, sometimes none.
func drawSome(t *rapid.T, s *Snapshot, kind v1.Kind, none bool) string {
	switch choice := rapid.IntRange(0, 9).Draw(t, "which "+string(kind)); {
	case choice == 0 && none:
		return ""
	case choice <= 1:
		return drawID(t, kind)
	}
	if list := s.List(kind); len(list) > 0 {
		return rapid.SampledFrom(list).Draw(t, string(kind)).ObjectMeta().ID
	}
	return drawID(t, kind)
}

// maker makes an object of each kind with an id and a name of its own.
var maker = map[v1.Kind]func(n int) v1.Object{
	v1.KindCluster: func(n int) v1.Object { return newCluster(n) }, v1.KindHost: func(n int) v1.Object { return newHost(n) }, v1.KindUser: func(n int) v1.Object { return newUser(n) },
	v1.KindToken: func(n int) v1.Object { return newToken(n, 1) }, v1.KindProject: func(n int) v1.Object { return newProject(n) }, v1.KindFlavor: func(n int) v1.Object { return newFlavor(n) },
	v1.KindImage: func(n int) v1.Object { return newImage(n) }, v1.KindPlacementGroup: func(n int) v1.Object { return newGroup(n, v1.AntiAffinityHard) }, v1.KindVM: func(n int) v1.Object { return newVM(n) },
	v1.KindVolume: func(n int) v1.Object { return newVolume(n) }, v1.KindSnapshot: func(n int) v1.Object { return newSnapshot(n, 1) }, v1.KindInstance: func(n int) v1.Object { return newInstance(n, 1, 1) },
	v1.KindAttachment: func(n int) v1.Object { return newAttachment(n, 1, 1, 1) }, v1.KindOperation: func(n int) v1.Object { return newOperation(n, newVM(1)) }, v1.KindTask: func(n int) v1.Object { return newTask(n, 1, 1) },
	v1.KindReceipt: func(n int) v1.Object { return newReceipt(n) },
}

// drawNew makes an object as its maker does, now and then with something else about it.
func drawNew(t *rapid.T, s *Snapshot, kind v1.Kind, n int) v1.Object {
	object := maker[kind](n)
	switch o := object.(type) {
	case *v1.Instance:
		o.Spec.VM, o.Spec.Host = drawSome(t, s, v1.KindVM, false), drawSome(t, s, v1.KindHost, false)
	case *v1.Attachment:
		o.Spec.Volume, o.Spec.Instance, o.Spec.VM = drawSome(t, s, v1.KindVolume, false), drawSome(t, s, v1.KindInstance, false), ""
	}
	for range max(0, rapid.IntRange(-2, 2).Draw(t, "variations")) {
		vary(t, s, object)
	}
	return object
}

// vary changes one thing of an object.
func vary(t *rapid.T, s *Snapshot, object v1.Object) {
	m := object.ObjectMeta()
	switch rapid.IntRange(0, 29).Draw(t, "part") {
	case 0:
		m.Name = rapid.SampledFrom([]string{"vm-1", "volume-1", "host-2", "a/b", ""}).Draw(t, "other name")
		return
	case 1:
		at := epoch
		m.DeletedAt = &at
		return
	case 2:
		if m.Project != "" {
			m.Project = drawSome(t, s, v1.KindProject, true)
		}
		return
	case 3:
		m.Labels = map[string]string{"a": "1", "b": "2", "c": "3"}
		return
	}
	small := func(name string, most int) int { return rapid.IntRange(0, most).Draw(t, name) }
	switch o := object.(type) {
	case *v1.Cluster:
		o.Spec.Title = rapid.SampledFrom([]string{"", "Cổ Loa", "a\nb"}).Draw(t, "title")
	case *v1.Host:
		switch small("host", 4) {
		case 0:
			o.Spec.CPUOvercommit = float64(small("overcommit", 4)) / 2
		case 1:
			o.Spec.StorageOvercommit = float64(small("storage", 4)) / 2
		case 2:
			o.Spec.ReservedMemoryMiB = int64(small("reserved", 8)) << 10
		case 3:
			o.Status.Epoch = 0
		default:
			o.Status.Phase = rapid.SampledFrom([]v1.HostPhase{v1.HostReady, v1.HostSilent}).Draw(t, "phase")
		}
	case *v1.User:
		o.Spec.Disabled = !o.Spec.Disabled
	case *v1.Token:
		o.Status.UserID = drawSome(t, s, v1.KindUser, true)
	case *v1.Project:
		if small("members", 2) == 0 {
			o.Status.MemberIDs = []string{drawSome(t, s, v1.KindUser, false), drawSome(t, s, v1.KindUser, false)}
			return
		}
		q := &o.Spec.Quota
		n := limit(int64(small("limit", 8)))
		*rapid.SampledFrom([]**int64{&q.VMs, &q.VCPUs, &q.Volumes, &q.StorageGiB, &q.Snapshots, &q.Images, &q.MemoryMiB}).Draw(t, "quota") = n
	case *v1.Flavor:
		o.Spec.VCPUs = small("vcpus", 4)
	case *v1.Image:
		o.Status.VirtualSize = int64(small("size", 100))
	case *v1.PlacementGroup:
		o.Spec.Policy = rapid.SampledFrom([]v1.PlacementPolicy{v1.AntiAffinityHard, v1.AntiAffinitySoft, ""}).Draw(t, "policy")
	case *v1.VM:
		switch small("vm", 4) {
		case 0:
			o.Status.FlavorID = drawSome(t, s, v1.KindFlavor, true)
		case 1:
			o.Status.GroupID = drawSome(t, s, v1.KindPlacementGroup, true)
		case 2:
			o.Status.MAC = rapid.SampledFrom([]string{"", "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"}).Draw(t, "mac")
		default:
			o.Status.VCPUs, o.Status.MemoryMiB = small("vcpus", 4), int64(small("memory", 2))<<10
		}
	case *v1.Volume:
		switch small("volume", 5) {
		case 0:
			o.Status.Host = drawSome(t, s, v1.KindHost, true)
		case 1:
			o.Status.ImageID = drawSome(t, s, v1.KindImage, true)
		case 2:
			o.Status.VM = drawSome(t, s, v1.KindVM, true)
		case 3:
			o.Status.SizeGiB = int64(small("present size", 80))
		default:
			o.Spec.SizeGiB = int64(small("size", 80))
		}
	case *v1.Snapshot:
		o.Status.VolumeID = drawSome(t, s, v1.KindVolume, true)
	case *v1.Instance:
		switch small("instance", 8) {
		case 0, 1, 2:
			o.Observed.State = rapid.SampledFrom([]v1.InstanceState{v1.InstancePending, v1.InstanceRunning, v1.InstancePaused, v1.InstanceStopped}).Draw(t, "observed")
			o.Observed.Seq++
		case 3, 4:
			o.Desired.State = rapid.SampledFrom([]v1.DesiredState{v1.DesiredHold, v1.DesiredRunning, v1.DesiredStopped}).Draw(t, "desired")
		case 5:
			fence(o)
		case 6:
			o.Fence = nil
		case 7:
			o.Spec.VCPUs, o.Spec.MemoryMiB = small("vcpus", 6), int64(small("memory", 6))<<10
		default:
			o.Spec.Host, o.Spec.VM = drawSome(t, s, v1.KindHost, true), drawSome(t, s, v1.KindVM, true)
		}
	case *v1.Attachment:
		if small("attachment", 1) == 0 {
			o.Spec.Volume = drawSome(t, s, v1.KindVolume, true)
		} else {
			o.Spec.Instance = drawSome(t, s, v1.KindInstance, true)
		}
	case *v1.Operation:
		o.Status.State = rapid.SampledFrom([]v1.OperationState{v1.OperationRunning, v1.OperationUndoing, v1.OperationSucceeded, v1.OperationFailed}).Draw(t, "operation state")
	case *v1.Task:
		switch small("task", 2) {
		case 0:
			o.Spec.Operation = drawSome(t, s, v1.KindOperation, false)
		case 1:
			o.Spec.Host = drawSome(t, s, v1.KindHost, false)
		default:
			o.Status.State = rapid.SampledFrom([]v1.TaskState{v1.TaskPending, v1.TaskDone, ""}).Draw(t, "task state")
		}
	case *v1.Receipt:
		o.Key = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key")
	}
}

// weighted lets what gets into each other's way come more often.
var weighted = func() (kinds []v1.Kind) {
	for _, definition := range v1.Kinds {
		kinds = append(kinds, definition.Kind)
	}
	for range 3 {
		kinds = append(kinds, v1.KindInstance, v1.KindInstance, v1.KindAttachment, v1.KindVM, v1.KindVolume)
	}
	return append(kinds, v1.KindProject, v1.KindPlacementGroup, v1.KindHost)
}()

// drawTxn makes an entry of a few ops, most of them right by themselves.
func drawTxn(t *rapid.T, s *Snapshot) *Txn {
	txn := NewTxn(epoch.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "time"))*time.Second), "tester")
	for range max(1, rapid.IntRange(-2, 4).Draw(t, "ops")) {
		kind := rapid.SampledFrom(weighted).Draw(t, "kind")
		n := rapid.IntRange(1, few).Draw(t, "number")
		objectID := id(kind, n)
		note := rapid.SampledFrom([]string{"", "note"}).Draw(t, "note")
		old := s.Get(kind, objectID)
		switch choice := rapid.IntRange(0, 19).Draw(t, "op"); {
		case choice == 0: // without any guard, and maybe twice in the entry
			txn.Ops = append(txn.Ops, Op{Kind: kind, ID: objectID, Object: drawNew(t, s, kind, n)})
		case choice == 1:
			txn.Ops = append(txn.Ops, Op{Kind: kind, ID: objectID})
		case choice == 2:
			txn.Create(drawNew(t, s, kind, n), note)
		case old == nil:
			txn.Create(drawNew(t, s, kind, n), note)
		case choice <= 6:
			txn.Delete(clone(old), note)
		default:
			changed := clone(old)
			for range rapid.IntRange(1, 2).Draw(t, "changes") {
				vary(t, s, changed)
			}
			if choice == 7 {
				changed.ObjectMeta().Version++
			}
			txn.Update(changed, note)
		}
	}
	return txn
}

func (m *members) feed(t *rapid.T, data []byte) {
	before := m.stores[0].Snapshot()
	m.index++
	var answers [3]error
	for i, store := range m.stores {
		answers[i], _ = FSM{store}.Apply(raftLog(m.index, slices.Clone(data))).(error)
	}
	err, after, now := answers[0], m.stores[0].Snapshot(), string(written(t, m.stores[0]))
	require.Equal(t, m.index, after.Index())
	for i, store := range m.stores[1:] {
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(answers[i+1]), "member %d answers otherwise", i+1)
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(now))), hash(t, store), "member %d has another state", i+1)
		require.Empty(t, differences(after, store.Snapshot()), "member %d", i+1)
	}
	_, bodyNow, _ := strings.Cut(now, "\n")
	if err != nil {
		require.Equal(t, m.body, bodyNow, "a refused entry changed something: %v", err)
		require.Empty(t, differences(before, after))
	}
	m.body = bodyNow
	m.outcomes[v1.CodeOf(err)]++
	require.Empty(t, audit(after))
	require.Empty(t, auditStep(before, after))
}

// TestAnyLog feeds any entries, good and bad, to three members, and looks at everything after each.
func TestAnyLog(t *testing.T) {
	outcomes := map[v1.Code]int{}
	rapid.Check(t, func(t *rapid.T) {
		m := &members{outcomes: outcomes}
		for i := range m.stores {
			m.stores[i] = New()
		}
		first := NewTxn(epoch, "tester")
		// Tight from the beginning: a host for two machines, a quota for three, and a group that keeps two apart.
		host, project, vm1, vm2 := newHost(1), newProject(1), newVM(1), newVM(2)
		host.Spec.CPUOvercommit, host.Spec.StorageOvercommit = 1, 0.3
		project.Spec.Quota = v1.Quota{VMs: limit(3), Volumes: limit(2), Snapshots: limit(1)}
		vm1.Status.GroupID, vm2.Status.GroupID = id(v1.KindPlacementGroup, 1), id(v1.KindPlacementGroup, 1)
		for _, object := range []v1.Object{newCluster(1), host, newHost(2), newUser(1), project, newProject(2), newFlavor(1), newImage(1), newGroup(1, v1.AntiAffinityHard),
			vm1, vm2, newVolume(1), newInstance(1, 1, 1), newAttachment(1, 1, 1, 1), newOperation(1, newVM(1)), newTask(1, 1, 1)} {
			first.Create(object, "")
		}
		data, err := first.Encode()
		require.NoError(t, err)
		m.feed(t, data)
		require.Equal(t, 1, m.stores[0].Snapshot().Count(v1.KindInstance))
		t.Repeat(map[string]func(*rapid.T){"step": func(t *rapid.T) {
			data, err := drawTxn(t, m.stores[0].Snapshot()).Encode()
			require.NoError(t, err)
			switch rapid.IntRange(0, 19).Draw(t, "step") {
			case 0: // a member that was away
				m.stores[2] = restoredFrom(t, m.stores[0])
				require.Equal(t, string(written(t, m.stores[0])), string(written(t, m.stores[2])))
				require.Empty(t, audit(m.stores[2].Snapshot()))
			case 1: // an entry that cannot be read
				data = data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")]
			}
			m.feed(t, data)
		}})
	})
	t.Logf("outcomes: %v", outcomes)
	require.Positive(t, outcomes[""], "no entry was carried out")
	require.Greater(t, len(outcomes), 5, "the test has lost its grip")
}
