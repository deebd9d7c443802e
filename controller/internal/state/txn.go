package state

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// TxnSchema is the version of the entry's form. An entry of a later schema is refused rather than guessed at.
const TxnSchema = 1

// Txn is one log entry: it is applied as a whole or not at all. Whatever is chosen (time, ids, addresses) is chosen by the proposer and carried here.
type Txn struct {
	Schema    int       `json:"schema"`
	Time      time.Time `json:"time"`
	Actor     string    `json:"actor"`
	Operation string    `json:"operation,omitempty"`
	Guards    []Guard   `json:"guards,omitempty"`
	Ops       []Op      `json:"ops,omitempty"`
}

// Guard holds when the object has exactly this version; 0 means that it must not exist.
type Guard struct {
	Kind    v1.Kind `json:"kind"`
	ID      string  `json:"id"`
	Version uint64  `json:"version"`
}

// Op puts a whole object (Object is set) or deletes one.
type Op struct {
	Kind   v1.Kind   `json:"kind"`
	ID     string    `json:"id"`
	Object v1.Object `json:"object,omitempty"`
	Note   string    `json:"note,omitempty"` // what it means, for the event; may be empty
}

// NewTxn begins an entry.
func NewTxn(now time.Time, actor string) *Txn {
	return &Txn{Schema: TxnSchema, Time: now.UTC().Round(0), Actor: actor}
}

// Create puts an object that must not exist.
func (t *Txn) Create(object v1.Object, note string) *Txn {
	t.guard(object, 0)
	return t.put(object, note)
}

// Update puts an object that must still be as it was read (its Version). The same object may be updated again within the entry; the last one counts.
func (t *Txn) Update(object v1.Object, note string) *Txn {
	t.guard(object, object.ObjectMeta().Version)
	return t.put(object, note)
}

// Delete removes an object that must still be as it was read.
func (t *Txn) Delete(object v1.Object, note string) *Txn {
	t.guard(object, object.ObjectMeta().Version)
	t.drop(object.ObjectKind(), object.ObjectMeta().ID)
	t.Ops = append(t.Ops, Op{Kind: object.ObjectKind(), ID: object.ObjectMeta().ID, Note: note})
	return t
}

// Unchanged makes the entry hold only if the object is still as it was read.
func (t *Txn) Unchanged(object v1.Object) *Txn {
	t.guard(object, object.ObjectMeta().Version)
	return t
}

// Empty says whether the entry would change nothing.
func (t *Txn) Empty() bool { return len(t.Ops) == 0 }

func (t *Txn) put(object v1.Object, note string) *Txn {
	kind, id := object.ObjectKind(), object.ObjectMeta().ID
	t.drop(kind, id)
	t.Ops = append(t.Ops, Op{Kind: kind, ID: id, Object: object, Note: note})
	return t
}

func (t *Txn) drop(kind v1.Kind, id string) {
	for i, op := range t.Ops {
		if op.Kind == kind && op.ID == id {
			t.Ops = append(t.Ops[:i:i], t.Ops[i+1:]...)
			return
		}
	}
}

func (t *Txn) guard(object v1.Object, version uint64) {
	kind, id := object.ObjectKind(), object.ObjectMeta().ID
	for _, guard := range t.Guards {
		if guard.Kind == kind && guard.ID == id {
			return // the first one was read first
		}
	}
	t.Guards = append(t.Guards, Guard{kind, id, version})
}

// Encode writes the entry for the log.
func (t *Txn) Encode() ([]byte, error) { return json.Marshal(t) }

// DecodeTxn reads an entry.
func DecodeTxn(data []byte) (*Txn, error) {
	txn := new(Txn)
	if err := json.Unmarshal(data, txn); err != nil {
		return nil, fmt.Errorf("log entry: %w", err)
	}
	if txn.Schema != TxnSchema {
		return nil, fmt.Errorf("log entry of schema %d: this program knows schema %d; run the version that wrote it", txn.Schema, TxnSchema)
	}
	return txn, nil
}

// UnmarshalJSON reads the object as the type of its kind.
func (o *Op) UnmarshalJSON(data []byte) error {
	var raw struct {
		Kind   v1.Kind         `json:"kind"`
		ID     string          `json:"id"`
		Object json.RawMessage `json:"object"`
		Note   string          `json:"note"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*o = Op{Kind: raw.Kind, ID: raw.ID, Note: raw.Note}
	if len(raw.Object) == 0 || string(raw.Object) == "null" {
		return nil
	}
	object, err := decodeObject(raw.Kind, raw.Object)
	o.Object = object
	return err
}

func decodeObject(kind v1.Kind, data []byte) (v1.Object, error) {
	definition, err := v1.Define(kind)
	if err != nil {
		return nil, err
	}
	object := definition.New()
	if err := json.Unmarshal(data, object); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return object, nil
}
