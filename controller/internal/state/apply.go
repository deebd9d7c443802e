package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Change is what an op did to one object. Old is nil for a new object, New for a deleted one.
type Change struct {
	Kind     v1.Kind
	ID       string
	Old, New v1.Object
	Note     string
}

// Apply carries out an entry. It returns a problem (wrapping ErrConflict when a guard did not hold) and changes nothing but the applied
// index, or it writes everything. It must be called with growing indexes, by one goroutine.
func (s *Store) Apply(index uint64, txn *Txn) error {
	s.mu.RLock()
	tx := s.db.Txn(true)
	s.mu.RUnlock()
	changes, err := apply(tx, index, txn)
	if err != nil {
		tx.Abort()
		s.markApplied(index)
		return err
	}
	put(tx, tableApplied, &row{ID: "log", Index: index})
	tx.Commit()
	s.publish(changes)
	return nil
}

// Check says what Apply would say of an entry now, and changes nothing.
func (s *Store) Check(txn *Txn) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx := s.db.Txn(true)
	defer tx.Abort()
	_, err := apply(tx, (&Snapshot{tx: tx}).Index()+1, txn)
	return err
}

// markApplied moves the applied index on for an entry that changed nothing: readers wait for it.
func (s *Store) markApplied(index uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	tx := s.db.Txn(true)
	put(tx, tableApplied, &row{ID: "log", Index: index})
	tx.Commit()
}

func apply(tx *memdb.Txn, index uint64, txn *Txn) ([]Change, error) {
	snapshot := &Snapshot{tx: tx}
	for _, guard := range txn.Guards {
		if _, err := v1.Define(guard.Kind); err != nil { // the tables are asked for known kinds only
			return nil, v1.NewProblem(v1.CodeInternal, "%v", err)
		}
		version := uint64(0)
		if object := snapshot.Get(guard.Kind, guard.ID); object != nil {
			version = object.ObjectMeta().Version
		}
		if version != guard.Version {
			return nil, conflict(guard, version)
		}
	}
	changes := make([]Change, 0, len(txn.Ops))
	written := make(map[v1.Link]struct{}, len(txn.Ops))
	for _, op := range txn.Ops {
		// The invariants compare before and after: an object that is written twice could take a way round them.
		if _, twice := written[v1.Link{Kind: op.Kind, ID: op.ID}]; twice {
			return nil, v1.NewProblem(v1.CodeInternal, "an entry writes %s %s twice", op.Kind, op.ID)
		}
		written[v1.Link{Kind: op.Kind, ID: op.ID}] = struct{}{}
		definition, err := v1.Define(op.Kind)
		if err != nil {
			return nil, v1.NewProblem(v1.CodeInternal, "%v", err)
		}
		old := snapshot.Get(op.Kind, op.ID)
		change := Change{Kind: op.Kind, ID: op.ID, Old: old, Note: op.Note}
		if op.Object == nil {
			if old == nil {
				continue
			}
			if err := tx.Delete(string(op.Kind), old); err != nil {
				return nil, internal(err)
			}
			changes = append(changes, change)
			continue
		}
		object := op.Object
		meta := object.ObjectMeta()
		if object.ObjectKind() != definition.Kind || meta.ID != op.ID {
			return nil, v1.NewProblem(v1.CodeInternal, "an op on %s %s carries another object", op.Kind, op.ID)
		}
		meta.Version, meta.UpdatedAt = index, txn.Time
		if old == nil {
			meta.CreatedAt = txn.Time
		} else {
			meta.CreatedAt = old.ObjectMeta().CreatedAt
		}
		if host, ok := object.(*v1.Host); ok && host.Status.Epoch == 0 {
			host.Status.Epoch = index // a registration: it is the entry itself that begins the epoch
		}
		if err := object.Validate(); err != nil {
			return nil, err
		}
		if err := tx.Insert(string(op.Kind), object); err != nil {
			return nil, internal(err)
		}
		change.New = object
		changes = append(changes, change)
	}
	account(tx, changes)
	for _, invariant := range invariants {
		if err := invariant(snapshot, changes); err != nil {
			return nil, err
		}
	}
	concern(tx, index, changes)
	record(tx, index, txn, changes)
	return changes, nil
}

func conflict(guard Guard, version uint64) error {
	problem := v1.NewProblem(v1.CodeConflict, "%s %s was changed by somebody else in the meantime", guard.Kind, guard.ID).
		WithNext("Read it again and repeat the request.")
	if version == 0 {
		problem.Detail = fmt.Sprintf("%s %s is gone", guard.Kind, guard.ID)
	}
	return conflictError{problem}
}

// conflictError is a problem that is also ErrConflict.
type conflictError struct{ problem *v1.Problem }

func (e conflictError) Error() string   { return e.problem.Error() }
func (e conflictError) Unwrap() []error { return []error{ErrConflict, e.problem} }

func internal(err error) error { return v1.NewProblem(v1.CodeInternal, "state: %v", err) }

// put writes a row whose table and type are constants of the program: it cannot fail.
func put(tx *memdb.Txn, table string, object any) {
	if err := tx.Insert(table, object); err != nil {
		panic(err)
	}
}

// concern moves the generation of every host that an entry says something to: Instances and Tasks are all that its set is made of.
func concern(tx *memdb.Txn, index uint64, changes []Change) {
	for _, change := range changes {
		for _, object := range []v1.Object{change.Old, change.New} {
			switch o := object.(type) {
			case *v1.Instance:
				put(tx, tableGeneration, &row{ID: o.Spec.Host, Index: index})
			case *v1.Task:
				put(tx, tableGeneration, &row{ID: o.Spec.Host, Index: index})
			case *v1.Host: // a new epoch
				put(tx, tableGeneration, &row{ID: o.ID, Index: index})
			}
		}
	}
}
