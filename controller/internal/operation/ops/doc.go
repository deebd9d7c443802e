// Package ops holds the operations, one file each: the steps that carry it out, and a function that puts the operation and whatever it works on into one
// log entry (Add…). Everything here is pure: from a snapshot to changes. Who may ask, and where something is placed, is decided before (package app, package scheduler).
package ops

import (
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
)

// Definitions returns all operations by type.
func Definitions() map[v1.OperationType]operation.Definition {
	table := map[v1.OperationType]operation.Definition{}
	for _, definition := range []operation.Definition{
		imageImport(), imageDelete(),
		volumeCreate(), volumeResize(), volumeDelete(),
		snapshotCreate(), snapshotRestore(), snapshotDelete(),
		vmCreate(), vmStart(), vmStop(), vmReboot(), vmResize(), vmDelete(),
	} {
		table[definition.Type] = definition
	}
	return table
}
