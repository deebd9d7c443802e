package scheduler

import (
	"testing"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// BenchmarkPlace is one decision over 1,000 hosts, a third of them silent, a third full.
func BenchmarkPlace(b *testing.B) {
	candidates := fleetOf(server{cpus: 64, memoryGiB: 512, storageTiB: 8})(1000)
	peers := map[string]int{}
	for i := range candidates {
		switch i % 3 {
		case 0:
			candidates[i].Host.Status.Phase = v1.HostSilent
		case 1:
			candidates[i].Used.MemoryMiB = candidates[i].Limit.MemoryMiB - int64(i)
		default:
			candidates[i].Used.VCPUs = int64(i % 200)
			peers[candidates[i].Host.ID] = i % 2
		}
	}
	for _, scene := range []struct {
		name    string
		request Request
	}{
		{"plain", Request{Want: small, Driver: v1.DriverLocal, Level: 3}},
		{"soft group", Request{Want: small, Driver: v1.DriverLocal, Level: 3, Policy: v1.AntiAffinitySoft, Peers: peers}},
		{"nowhere", Request{Want: v1.Usage{VCPUs: 1, MemoryMiB: 1 << 30}, Driver: v1.DriverLocal}},
	} {
		b.Run(scene.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Place(candidates, scene.request)
			}
		})
	}
}
