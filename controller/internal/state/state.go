// Package state is the replicated state: the nouns of api/v1 in an in-memory database with many versions, changed by nothing but
// Apply. It is pure: no clock, no chance, no I/O, no goroutine. What an entry does depends on the entry and the state alone, so that every
// controller arrives at the same state. DESIGN.md beside this file tells the story.
package state

import (
	"errors"
	"sync"

	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// ErrConflict: a guard did not hold, since somebody else changed the object first. Read again and decide again.
var ErrConflict = errors.New("somebody else changed it first")

// Store holds the state. The zero value is not usable: call New.
type Store struct {
	mu      sync.RWMutex // guards db and abandon, which Restore replaces
	db      *memdb.MemDB
	abandon chan struct{} // closed when Restore has replaced everything that was read before

	subscribersMu sync.Mutex
	subscribers   map[*Subscription]struct{}
}

// New makes an empty store.
func New() *Store {
	db, err := memdb.NewMemDB(schema())
	if err != nil { // the schema is a constant of the program: TestSchema holds it valid
		panic(err)
	}
	return &Store{db: db, abandon: make(chan struct{}), subscribers: map[*Subscription]struct{}{}}
}

// Snapshot returns the state as of now. It never changes and needs no closing.
func (s *Store) Snapshot() *Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Snapshot{tx: s.db.Txn(false), abandon: s.abandon}
}

// Index is the log index of the last entry that was applied.
func (s *Store) Index() uint64 { return s.Snapshot().Index() }

// row is a line of the tables that hold what is derived from the entries rather than written by them.
type row struct {
	ID    string
	Index uint64
	Usage v1.Usage        // of a host
	Used  v1.ProjectUsage // by a project
}

// Tables beside those of the nouns.
const (
	tableHostUsage    = "host-usage"
	tableProjectUsage = "project-usage"
	tableGeneration   = "host-generation" // log index of the last entry that concerned a host
	tableEvent        = "event"
	tableApplied      = "applied" // one row: the last index
)
