package state

import v1 "github.com/coloa-cloud/coloa/api/v1"

// upgrade reads an object as an older schema wrote it and brings it forward. There is one schema so far; each later one adds a case here
// and keeps a snapshot of the release before it in testdata.
func upgrade(_ int, kind v1.Kind, data []byte) (v1.Object, error) { return decodeObject(kind, data) }
