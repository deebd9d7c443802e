package state

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Reference is a field that names other objects. Each makes an index, and Apply sees to it that what is named exists.
type Reference struct {
	From  v1.Kind
	Name  string // also the index's name
	To    v1.Kind
	IDs   func(v1.Object) []string
	Holds bool // the named object cannot be deleted while it is referred to
}

func one(id string) []string {
	if id == "" {
		return nil
	}
	return []string{id}
}

// reference makes a Reference of a typed accessor.
func reference[T v1.Object](from v1.Kind, name string, to v1.Kind, ids func(T) []string) Reference {
	return Reference{From: from, Name: name, To: to, Holds: true, IDs: func(object v1.Object) []string { return ids(object.(T)) }}
}

// References is the table of all references. To add a noun, add its lines here.
var References = []Reference{
	reference(v1.KindToken, "user", v1.KindUser, func(o *v1.Token) []string { return one(o.Status.UserID) }),
	reference(v1.KindProject, "member", v1.KindUser, func(o *v1.Project) []string { return o.Status.MemberIDs }),
	reference(v1.KindVM, "flavor", v1.KindFlavor, func(o *v1.VM) []string { return one(o.Status.FlavorID) }),
	reference(v1.KindVM, "group", v1.KindPlacementGroup, func(o *v1.VM) []string { return one(o.Status.GroupID) }),
	reference(v1.KindVolume, "image", v1.KindImage, func(o *v1.Volume) []string { return one(o.Status.ImageID) }),
	reference(v1.KindVolume, "host", v1.KindHost, func(o *v1.Volume) []string { return one(o.Status.Host) }),
	reference(v1.KindVolume, "vm", v1.KindVM, func(o *v1.Volume) []string { return one(o.Status.VM) }),
	reference(v1.KindSnapshot, "volume", v1.KindVolume, func(o *v1.Snapshot) []string { return one(o.Status.VolumeID) }),
	reference(v1.KindInstance, "vm", v1.KindVM, func(o *v1.Instance) []string { return one(o.Spec.VM) }),
	reference(v1.KindInstance, "host", v1.KindHost, func(o *v1.Instance) []string { return one(o.Spec.Host) }),
	reference(v1.KindAttachment, "volume", v1.KindVolume, func(o *v1.Attachment) []string { return one(o.Spec.Volume) }),
	reference(v1.KindAttachment, "instance", v1.KindInstance, func(o *v1.Attachment) []string { return one(o.Spec.Instance) }),
	reference(v1.KindAttachment, "vm", v1.KindVM, func(o *v1.Attachment) []string { return one(o.Spec.VM) }),
	reference(v1.KindTask, "operation", v1.KindOperation, func(o *v1.Task) []string { return one(o.Spec.Operation) }),
	reference(v1.KindTask, "host", v1.KindHost, func(o *v1.Task) []string { return one(o.Spec.Host) }),
}

// lookups are further indexes, by values that are no references.
var lookups = map[v1.Kind]map[string]func(v1.Object) []string{
	v1.KindToken:   {"hash": func(o v1.Object) []string { return one(o.(*v1.Token).Hash) }},
	v1.KindReceipt: {"key": func(o v1.Object) []string { return one(ReceiptKey(o.(*v1.Receipt).User, o.(*v1.Receipt).Key)) }},
	v1.KindVM:      {"mac": func(o v1.Object) []string { return one(o.(*v1.VM).Status.MAC) }},
	v1.KindOperation: {
		"target": func(o v1.Object) []string { return one(o.(*v1.Operation).Spec.Target.ID) },
		"open": func(o v1.Object) []string {
			if o.(*v1.Operation).Status.State.Finished() {
				return nil
			}
			return []string{"open"}
		},
	},
}

// ReceiptKey is the value of the index "key" of receipts.
func ReceiptKey(user, key string) string { return user + "/" + key }

// keys is an index over the strings that a function gives for an object.
type keys struct{ of func(any) []string }

func (k keys) FromObject(object any) (bool, [][]byte, error) {
	texts := k.of(object)
	values := make([][]byte, len(texts))
	for i, text := range texts {
		values[i] = []byte(text + "\x00")
	}
	return len(values) > 0, values, nil
}

func (k keys) FromArgs(args ...any) ([]byte, error) {
	text, ok := args[0].(string)
	if len(args) != 1 || !ok {
		return nil, fmt.Errorf("an index takes one string")
	}
	return []byte(text + "\x00"), nil
}

// key is keys for exactly one string, as the index "id" must be.
type key struct{ of func(any) string }

func (k key) FromObject(object any) (bool, []byte, error) {
	return true, []byte(k.of(object) + "\x00"), nil
}

func (k key) FromArgs(args ...any) ([]byte, error) { return keys{}.FromArgs(args...) }

// PrefixFromArgs lets a list begin in the middle (cursors).
func (k key) PrefixFromArgs(args ...any) ([]byte, error) {
	text, ok := args[0].(string)
	if len(args) != 1 || !ok {
		return nil, fmt.Errorf("an index takes one string")
	}
	return []byte(text), nil
}

func nameKey(project, name string) string { return project + "/" + name }

func table(name string, id func(any) string) *memdb.TableSchema {
	return &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{
		"id": {Name: "id", Unique: true, Indexer: key{id}},
	}}
}

func schema() *memdb.DBSchema {
	tables := map[string]*memdb.TableSchema{}
	for _, definition := range v1.Kinds {
		nouns := table(string(definition.Kind), func(object any) string { return object.(v1.Object).ObjectMeta().ID })
		add := func(name string, of func(v1.Object) []string) {
			nouns.Indexes[name] = &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: keys{func(object any) []string { return of(object.(v1.Object)) }}}
		}
		if definition.Named {
			add("name", func(o v1.Object) []string { return one(nameKey(o.ObjectMeta().Project, o.ObjectMeta().Name)) })
		}
		if definition.Scoped {
			add("project", func(o v1.Object) []string { return one(o.ObjectMeta().Project) })
		}
		for _, reference := range References {
			if reference.From == definition.Kind {
				add(reference.Name, reference.IDs)
			}
		}
		for name, of := range lookups[definition.Kind] {
			add(name, of)
		}
		tables[nouns.Name] = nouns
	}
	for _, name := range []string{tableHostUsage, tableProjectUsage, tableGeneration, tableApplied} {
		tables[name] = table(name, func(object any) string { return object.(*row).ID })
	}
	tables[tableEvent] = table(tableEvent, func(object any) string { return object.(*eventRow).position })
	return &memdb.DBSchema{Tables: tables}
}

// position orders events: eight bytes of the log index and two of the place in the entry.
func position(index uint64, place uint16) string {
	var bytes [10]byte
	binary.BigEndian.PutUint64(bytes[:8], index)
	binary.BigEndian.PutUint16(bytes[8:], place)
	return fmt.Sprintf("%x", bytes)
}
