package state

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// large is a state with many hosts and running machines.
func large(b testing.TB, hosts, vms int) *Store {
	b.Helper()
	store := New()
	txn := NewTxn(epoch, "tester")
	for _, object := range []v1.Object{newCluster(1), newUser(1), newProject(1), newFlavor(1), newImage(1)} {
		txn.Create(object, "")
	}
	for n := range hosts {
		host := newHost(n + 1)
		host.Status.Inventory.CPUs, host.Status.Inventory.MemoryMiB, host.Status.Inventory.Pools[0].TotalBytes = 1<<12, 1<<22, 1<<50
		txn.Create(host, "")
	}
	if err := store.Apply(1, txn); err != nil {
		b.Fatal(err)
	}
	for n := 1; n <= vms; n++ {
		if err := store.Apply(uint64(n+1), createVM(n, n%hosts+1)); err != nil {
			b.Fatal(err)
		}
	}
	return store
}

// createVM is the entry that a request to make a machine becomes: six objects with the host chosen.
func createVM(n, host int) *Txn {
	vm, volume, instance := newVM(n), newVolume(n), newInstance(n, n, host)
	vm.Status.MAC = fmt.Sprintf("52:54:00:%02x:%02x:%02x", n>>16, n>>8&255, n&255)
	volume.Status.Host, volume.Status.VM = instance.Spec.Host, vm.ID
	return NewTxn(epoch, "tester").Unchanged(&v1.Flavor{Meta: v1.Meta{ID: id(v1.KindFlavor, 1), Version: 1}}).
		Create(vm, "").Create(volume, "").Create(instance, "").Create(newAttachment(n, n, n, n), "").Create(newOperation(n, vm), "").Create(newReceipt(n), "")
}

// BenchmarkApplyCreateVM is what a controller does for each machine that is made, beside machines that are there.
func BenchmarkApplyCreateVM(b *testing.B) {
	for _, vms := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("beside %d", vms), func(b *testing.B) {
			store := large(b, 100, vms)
			index, n := store.Index(), vms
			b.ReportAllocs()
			for b.Loop() {
				n++
				index++
				if err := store.Apply(index, createVM(n, n%100+1)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeCreateVM is the reading of the same entry from the log.
func BenchmarkDecodeCreateVM(b *testing.B) {
	data, err := createVM(1, 1).Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeTxn(data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReport is the entry that comes most often: an agent's report of one instance.
func BenchmarkReport(b *testing.B) {
	store := large(b, 100, 10_000)
	index := store.Index()
	b.ReportAllocs()
	for b.Loop() {
		o := store.Snapshot().Instance(id(v1.KindInstance, 1)).Clone()
		o.Observed.Seq++
		index++
		if err := store.Apply(index, NewTxn(epoch, "tester").Update(o, "")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSnapshot25000 writes and restores a state of 25,000 machines.
func BenchmarkSnapshot25000(b *testing.B) {
	store := large(b, 250, 25_000)
	var stream bytes.Buffer
	if err := store.Snapshot().Write(&stream); err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(stream.Len()))
		b.ReportAllocs()
		for b.Loop() {
			if err := store.Snapshot().Write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(stream.Len()))
		b.ReportAllocs()
		for b.Loop() {
			if err := New().Restore(bytes.NewReader(stream.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
