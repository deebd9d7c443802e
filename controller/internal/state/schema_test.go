package state

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TestSchema: the schema is valid, each kind has its table, and references point at kinds that exist.
func TestSchema(t *testing.T) {
	require.NoError(t, schema().Validate())
	tables := schema().Tables
	require.Len(t, tables, len(v1.Kinds)+5)
	for _, definition := range v1.Kinds {
		table := tables[string(definition.Kind)]
		require.NotNil(t, table, definition.Kind)
		require.Equal(t, definition.Named, table.Indexes["name"] != nil)
		require.Equal(t, definition.Scoped, table.Indexes["project"] != nil)
	}
	order := map[v1.Kind]int{}
	for i, definition := range v1.Kinds {
		order[definition.Kind] = i
	}
	seen := map[string]bool{}
	for _, reference := range References {
		name := string(reference.From) + "." + reference.Name
		require.False(t, seen[name], name)
		seen[name] = true
		require.Contains(t, order, reference.From)
		require.Contains(t, order, reference.To)
		require.Less(t, order[reference.To], order[reference.From], "%s: the table of kinds is ordered so that references point backwards", name)
		require.Empty(t, lookups[reference.From][reference.Name], "%s is also a look-up", name)
		definition, err := v1.Define(reference.From)
		require.NoError(t, err)
		require.NotPanics(t, func() { reference.IDs(definition.New()) })
		require.True(t, HasIndex(reference.From, reference.Name))
	}
	for kind := range lookups {
		require.Contains(t, order, kind)
	}
	require.False(t, HasIndex(v1.KindVM, "no such index"))
	require.False(t, HasIndex("NoSuchKind", "name"))
}

// TestIndexesWithOddValues: one value that begins like another is not found in its place.
func TestIndexesWithOddValues(t *testing.T) {
	w := base(newWorld(t))
	for i, mac := range []string{"a", "ab", "", "a/b"} {
		vm := newVM(i + 1)
		vm.Status.MAC = mac
		w.create(vm)
	}
	s := w.store.Snapshot()
	require.Len(t, s.By(v1.KindVM, "mac", "a"), 1)
	require.Empty(t, s.By(v1.KindVM, "mac", ""), "what is empty is in no index")
	require.Nil(t, s.ByName(v1.KindVM, id(v1.KindProject, 1), "vm"))
	require.Nil(t, s.ByName(v1.KindVM, id(v1.KindProject, 2), "vm-1"))
	require.Nil(t, s.ByName(v1.KindVM, "", id(v1.KindProject, 1)+"/vm-1"))
	require.NotNil(t, s.ByName(v1.KindVM, id(v1.KindProject, 1), "vm-1"))
	require.Nil(t, s.ByName(v1.KindHost, "", ""))
}

// TestReading: the accessors agree with each other.
func TestReading(t *testing.T) {
	w := base(newWorld(t))
	running(w, 1, 1)
	running(w, 2, 2)
	operation := newOperation(1, newVM(1))
	done := newOperation(2, newVM(1))
	done.Status.State = v1.OperationSucceeded
	w.create(operation, done, newTask(1, 1, 1), newSnapshot(1, 1), newToken(1, 1), newReceipt(1), newGroup(1, v1.AntiAffinitySoft))
	s := w.store.Snapshot()
	require.Equal(t, id(v1.KindVM, 1), s.VM(id(v1.KindVM, 1)).ID)
	require.Nil(t, s.VM("nothing"))
	require.Nil(t, s.Host(""))
	require.NotNil(t, s.Host(id(v1.KindHost, 1)))
	require.NotNil(t, s.User(id(v1.KindUser, 1)))
	require.NotNil(t, s.Project(id(v1.KindProject, 1)))
	require.NotNil(t, s.Flavor(id(v1.KindFlavor, 1)))
	require.NotNil(t, s.Image(id(v1.KindImage, 1)))
	require.NotNil(t, s.Snapshot(id(v1.KindSnapshot, 1)))
	require.NotNil(t, s.Operation(operation.ID))
	require.NotNil(t, s.Task(id(v1.KindTask, 1)))
	require.NotNil(t, s.Cluster())
	require.Nil(t, New().Snapshot().Cluster())
	require.Len(t, s.Hosts(), 2)
	require.Len(t, s.Volumes(), 2)
	require.Len(t, s.InstancesOf(id(v1.KindVM, 1)), 1)
	require.Len(t, s.InstancesOn(id(v1.KindHost, 2)), 1)
	require.Len(t, s.TasksOn(id(v1.KindHost, 1)), 1)
	require.Len(t, s.TasksOf(operation.ID), 1)
	require.Len(t, s.AttachmentsOf(id(v1.KindInstance, 1)), 1)
	require.Len(t, s.OpenOperations(), 1)
	require.Equal(t, operation.ID, s.OpenOperationOn(id(v1.KindVM, 1)).ID)
	require.Nil(t, s.OpenOperationOn(id(v1.KindVM, 2)))
	require.Equal(t, id(v1.KindInstance, 1), s.AttachedTo(id(v1.KindVolume, 1)).ID)
	require.NoError(t, change(w, newInstance(1, 1, 1), stop))
	require.Nil(t, w.store.Snapshot().AttachedTo(id(v1.KindVolume, 1)))
	require.NotNil(t, s.AttachedTo(id(v1.KindVolume, 1)), "a snapshot never changes")
	require.Len(t, s.By(v1.KindToken, "hash", newToken(1, 1).Hash), 1)
	require.Len(t, s.By(v1.KindReceipt, "key", ReceiptKey(id(v1.KindUser, 1), "key-1")), 1)

	var walked []string
	s.Walk(v1.KindHost, "", func(o v1.Object) bool { walked = append(walked, o.ObjectMeta().ID); return true })
	require.Equal(t, []string{id(v1.KindHost, 1), id(v1.KindHost, 2)}, walked)
	s.Walk(v1.KindHost, id(v1.KindHost, 1), func(o v1.Object) bool {
		require.Equal(t, id(v1.KindHost, 2), o.ObjectMeta().ID)
		return false
	})
	s.Walk(v1.KindHost, id(v1.KindHost, 2), func(v1.Object) bool { t.Fatal("there is none after the last"); return false })
}
