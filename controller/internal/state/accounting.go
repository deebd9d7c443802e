package state

import (
	"github.com/hashicorp/go-memdb"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// What is given out is derived from the objects, kept beside them so that Apply need not count, and never written to a snapshot: a restore counts anew.

// charge is what one object takes, and from whom.
type charge struct {
	host    string
	usage   v1.Usage
	project string
	used    v1.ProjectUsage
}

func chargeOf(object v1.Object) charge {
	switch o := object.(type) {
	case *v1.Instance:
		return charge{host: o.Spec.Host, usage: o.Usage()}
	case *v1.Volume:
		size := max(o.Spec.SizeGiB, o.Status.SizeGiB)
		return charge{host: o.Status.Host, usage: v1.Usage{StorageGiB: size}, project: o.Project, used: v1.ProjectUsage{Volumes: 1, StorageGiB: size}}
	case *v1.VM:
		return charge{project: o.Project, used: v1.ProjectUsage{VMs: 1, VCPUs: int64(o.Status.VCPUs), MemoryMiB: o.Status.MemoryMiB}}
	case *v1.Snapshot:
		return charge{project: o.Project, used: v1.ProjectUsage{Snapshots: 1}}
	case *v1.Image:
		return charge{project: o.Project, used: v1.ProjectUsage{Images: 1}}
	}
	return charge{}
}

func account(tx *memdb.Txn, changes []Change) {
	for _, change := range changes {
		if change.Old != nil {
			apportion(tx, chargeOf(change.Old), -1)
		}
		if change.New != nil {
			apportion(tx, chargeOf(change.New), 1)
		}
	}
}

func apportion(tx *memdb.Txn, c charge, sign int64) {
	if c.host != "" && !c.usage.IsZero() {
		total := usageRow(tx, tableHostUsage, c.host)
		total.Usage = total.Usage.Plus(v1.Usage{VCPUs: sign * c.usage.VCPUs, MemoryMiB: sign * c.usage.MemoryMiB, StorageGiB: sign * c.usage.StorageGiB})
		put(tx, tableHostUsage, &total)
	}
	if c.project != "" && c.used != (v1.ProjectUsage{}) {
		total := usageRow(tx, tableProjectUsage, c.project)
		t, u := &total.Used, c.used
		t.VMs += sign * u.VMs
		t.VCPUs += sign * u.VCPUs
		t.MemoryMiB += sign * u.MemoryMiB
		t.Volumes += sign * u.Volumes
		t.StorageGiB += sign * u.StorageGiB
		t.Snapshots += sign * u.Snapshots
		t.Images += sign * u.Images
		put(tx, tableProjectUsage, &total)
	}
}

func usageRow(tx *memdb.Txn, table, id string) row {
	if found := first(tx, table, "id", id); found != nil {
		return *found.(*row)
	}
	return row{ID: id}
}

// first reads one object by an index that exists; a wrong index is a mistake of the program.
func first(tx *memdb.Txn, table, index, value string) any {
	found, err := tx.First(table, index, value)
	if err != nil {
		panic(err)
	}
	return found
}
