package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// flavors is a mixed workload: many small machines, some that take much memory or many CPUs, and a few that want a large part of a host.
var flavors = []struct {
	weight int
	want   v1.Usage
}{
	{30, v1.Usage{VCPUs: 1, MemoryMiB: 2 << 10, StorageGiB: 20}},
	{25, v1.Usage{VCPUs: 2, MemoryMiB: 4 << 10, StorageGiB: 40}},
	{15, v1.Usage{VCPUs: 4, MemoryMiB: 8 << 10, StorageGiB: 80}},
	{10, v1.Usage{VCPUs: 2, MemoryMiB: 16 << 10, StorageGiB: 40}},
	{8, v1.Usage{VCPUs: 16, MemoryMiB: 16 << 10, StorageGiB: 80}},
	{8, v1.Usage{VCPUs: 8, MemoryMiB: 64 << 10, StorageGiB: 160}},
	{4, v1.Usage{VCPUs: 32, MemoryMiB: 128 << 10, StorageGiB: 400}},
}

// workload is an endless sequence of machines in the proportions of flavors, up to the largest one named.
func workload(seed uint64, largest int) func() v1.Usage {
	random := rand.New(rand.NewPCG(seed, 17))
	total := 0
	for _, flavor := range flavors[:largest] {
		total += flavor.weight
	}
	return func() v1.Usage {
		pick := random.IntN(total)
		for _, flavor := range flavors[:largest] {
			if pick -= flavor.weight; pick < 0 {
				return flavor.want
			}
		}
		panic("weights")
	}
}

// placedBeforeRefusal counts the machines that choose places on the hosts before the first one finds no room.
func placedBeforeRefusal(candidates []Candidate, next func() v1.Usage, choose func([]Candidate, Request) int) float64 {
	for placed := 0; ; placed++ {
		want := next()
		position := choose(candidates, Request{Want: want, Driver: v1.DriverLocal})
		if position < 0 {
			return float64(placed)
		}
		candidates[position].Used = candidates[position].Used.Plus(want)
	}
}

func packing(candidates []Candidate, request Request) int {
	position, _ := Place(candidates, request)
	return position
}

// spreading passes the same filters and takes the host with the most free memory, as the default weigher of OpenStack does.
func spreading(candidates []Candidate, request Request) int {
	best := -1
	for i := range candidates {
		if refusedBy(&candidates[i], &request) >= 0 {
			continue
		}
		if best < 0 || candidates[i].Limit.MemoryMiB-candidates[i].Used.MemoryMiB > candidates[best].Limit.MemoryMiB-candidates[best].Used.MemoryMiB {
			best = i
		}
	}
	return best
}

// TestPackingPlacesMore compares packing with spreading over many workloads; the figures are in DESIGN.md.
func TestPackingPlacesMore(t *testing.T) {
	const rounds = 40
	large := fleetOf(server{cpus: 64, memoryGiB: 512, storageTiB: 8})
	small := fleetOf(server{cpus: 32, memoryGiB: 256, storageTiB: 4})
	mixed := fleetOf(server{cpus: 64, memoryGiB: 512, storageTiB: 8}, server{cpus: 32, memoryGiB: 256, storageTiB: 4}, server{cpus: 48, memoryGiB: 192, storageTiB: 8})
	for _, scene := range []struct {
		name    string
		fleet   func(int) []Candidate
		largest int
	}{
		{"512 GiB each, machines up to 64 GiB", large, len(flavors) - 1},
		{"512 GiB each, machines up to 128 GiB", large, len(flavors)},
		{"256 GiB each, machines up to 64 GiB", small, len(flavors) - 1},
		{"256 GiB each, machines up to 128 GiB", small, len(flavors)},
		{"three kinds of hosts, machines up to 128 GiB", mixed, len(flavors)},
	} {
		for _, hosts := range []int{3, 10, 30} {
			var packed, spread float64
			for seed := range uint64(rounds) {
				packed += placedBeforeRefusal(scene.fleet(hosts), workload(seed, scene.largest), packing) / rounds
				spread += placedBeforeRefusal(scene.fleet(hosts), workload(seed, scene.largest), spreading) / rounds
			}
			t.Logf("%d hosts, %s: packing %.0f, spreading %.0f: %+.0f %%", hosts, scene.name, packed, spread, 100*(packed/spread-1))
			require.Greater(t, packed, spread, "%d hosts, %s", hosts, scene.name)
		}
	}
}

type server struct {
	cpus       int
	memoryGiB  int64
	storageTiB int64
}

// fleetOf makes fleets of ready hosts that take the shapes of servers in turn, each thread given out four times.
func fleetOf(servers ...server) func(count int) []Candidate {
	return func(count int) []Candidate {
		candidates := make([]Candidate, count)
		for i := range candidates {
			shape := servers[i%len(servers)]
			host := &v1.Host{Meta: v1.Meta{ID: fmt.Sprintf("00000000-0000-7000-8000-%012x", i), Name: fmt.Sprintf("host-%d", i)}}
			host.Spec = v1.HostSpec{Schedulable: true, SecurityLevel: 3, CPUOvercommit: 4, StorageOvercommit: 1}
			host.Status.Phase = v1.HostReady
			host.Status.Inventory = v1.Inventory{CPUs: shape.cpus, MemoryMiB: shape.memoryGiB << 10, Pools: []v1.Pool{{Driver: v1.DriverLocal, TotalBytes: shape.storageTiB << 40}}}
			candidates[i] = Candidate{Host: host, Limit: host.Limits()}
		}
		return candidates
	}
}
