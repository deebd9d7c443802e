package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Buckets and the two keys of the first.
const (
	bucketState     = "state"
	bucketInstances = "instances"
	bucketTasks     = "tasks"
	bucketLogs      = "logs"

	keyState = "state"
	keySet   = "set"
)

var buckets = []string{bucketState, bucketInstances, bucketTasks, bucketLogs}

// change is one pair to be written; a nil value removes it.
type change struct {
	bucket, key string
	value       []byte
}

func put(bucket, key string, object any) change {
	value, err := json.Marshal(object)
	if err != nil { // plain data always marshals
		panic(err)
	}
	return change{bucket, key, value}
}

func remove(bucket, key string) change { return change{bucket: bucket, key: key} }

// store is where the ledger lasts. write is all or nothing, and durable when it returns.
type store interface {
	load(each func(bucket, key string, value []byte) error) error
	write(changes []change) error
	close() error
}

// memoryStore keeps nothing: the Ledger's own maps are all there is.
type memoryStore struct{}

func (memoryStore) load(func(bucket, key string, value []byte) error) error { return nil }
func (memoryStore) write([]change) error                                    { return nil }
func (memoryStore) close() error                                            { return nil }

type boltStore struct{ database *bbolt.DB }

func openBolt(path string) (*boltStore, error) {
	database, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("ledger %s: another agent has it open: stop it first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger %s: %w", path, err)
	}
	return &boltStore{database}, nil
}

func (s *boltStore) load(each func(bucket, key string, value []byte) error) error {
	return s.database.View(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			bucket := tx.Bucket([]byte(name))
			if bucket == nil {
				continue
			}
			err := bucket.ForEach(func(key, value []byte) error {
				if err := each(name, string(key), value); err != nil {
					return fmt.Errorf("%s/%s: %w", name, key, err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *boltStore) write(changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	err := s.database.Update(func(tx *bbolt.Tx) error {
		for _, each := range changes {
			bucket, err := tx.CreateBucketIfNotExists([]byte(each.bucket))
			if err != nil {
				return err
			}
			if each.value == nil {
				err = bucket.Delete([]byte(each.key))
			} else {
				err = bucket.Put([]byte(each.key), each.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

func (s *boltStore) close() error { return s.database.Close() }
