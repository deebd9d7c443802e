package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// SnapshotSchema is the version of the stream's form; Upgrade brings older objects forward.
const SnapshotSchema = 1

// header begins the stream.
type header struct {
	Schema int    `json:"schema"`
	Index  uint64 `json:"index"`
}

// record of the stream: exactly one part is set.
type line struct {
	Kind       v1.Kind         `json:"kind,omitempty"`
	Object     json.RawMessage `json:"object,omitempty"`
	Event      *v1.Event       `json:"event,omitempty"`
	Place      uint16          `json:"place,omitempty"`
	Host       string          `json:"host,omitempty"`
	Generation uint64          `json:"generation,omitempty"`
	End        bool            `json:"end,omitempty"`
}

// Write streams the snapshot: a header, then one JSON line each for objects (in the order of the table of kinds), events and host generations, then an end mark.
func (s *Snapshot) Write(w io.Writer) error {
	buffer := bufio.NewWriterSize(w, 1<<16)
	encoder := json.NewEncoder(buffer)
	if err := encoder.Encode(header{SnapshotSchema, s.Index()}); err != nil {
		return err
	}
	for _, definition := range v1.Kinds {
		for _, object := range s.List(definition.Kind) {
			data, err := json.Marshal(object)
			if err != nil {
				return err
			}
			if err := encoder.Encode(line{Kind: definition.Kind, Object: data}); err != nil {
				return err
			}
		}
	}
	events, err := s.tx.Get(tableEvent, "id")
	if err != nil {
		return err
	}
	for found := events.Next(); found != nil; found = events.Next() {
		event := found.(*eventRow).event
		if err := encoder.Encode(line{Event: event, Place: placeOf(event)}); err != nil {
			return err
		}
	}
	generations, err := s.tx.Get(tableGeneration, "id")
	if err != nil {
		return err
	}
	for found := generations.Next(); found != nil; found = generations.Next() {
		generation := found.(*row)
		if err := encoder.Encode(line{Host: generation.ID, Generation: generation.Index}); err != nil {
			return err
		}
	}
	if err := encoder.Encode(line{End: true}); err != nil {
		return err
	}
	return buffer.Flush()
}

func placeOf(event *v1.Event) uint16 {
	var index uint64
	var place uint16
	if _, err := fmt.Sscanf(event.ID, "%d-%d", &index, &place); err != nil {
		return 0
	}
	return place
}

// Hash is the SHA-256 of the stream: equal on all controllers at the same index.
func (s *Snapshot) Hash() (string, error) {
	digest := sha256.New()
	if err := s.Write(digest); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// Restore replaces the whole state with a stream. On an error the state stays as it was.
func (s *Store) Restore(r io.Reader) error {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		return err
	}
	tx := db.Txn(true)
	if err := restore(tx, r); err != nil {
		tx.Abort()
		return fmt.Errorf("restoring the state: %w", err)
	}
	tx.Commit()
	s.mu.Lock()
	abandoned := s.abandon
	s.db, s.abandon = db, make(chan struct{})
	s.mu.Unlock()
	close(abandoned)
	s.broadcast(nil, true)
	return nil
}

func restore(tx *memdb.Txn, r io.Reader) error {
	decoder := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var head header
	if err := decoder.Decode(&head); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if head.Schema < 1 || head.Schema > SnapshotSchema {
		return fmt.Errorf("the snapshot has schema %d; this program knows schemas 1 to %d", head.Schema, SnapshotSchema)
	}
	events := 0
	for {
		var next line
		if err := decoder.Decode(&next); err != nil {
			return fmt.Errorf("the snapshot is cut off: %w", err)
		}
		switch {
		case next.End:
			put(tx, tableApplied, &row{ID: "log", Index: head.Index})
			put(tx, tableApplied, &row{ID: "events", Index: uint64(events)})
			return nil
		case next.Event != nil:
			put(tx, tableEvent, &eventRow{position(next.Event.Index, next.Place), next.Event})
			events++
		case next.Host != "":
			put(tx, tableGeneration, &row{ID: next.Host, Index: next.Generation})
		default:
			object, err := upgrade(head.Schema, next.Kind, next.Object)
			if err != nil {
				return err
			}
			if id := object.ObjectMeta().ID; id == "" || first(tx, string(next.Kind), "id", id) != nil { // it would be charged twice
				return fmt.Errorf("the snapshot holds the %s %q twice, or without an id", next.Kind, id)
			}
			if err := tx.Insert(string(next.Kind), object); err != nil {
				return err
			}
			apportion(tx, chargeOf(object), 1)
		}
	}
}
