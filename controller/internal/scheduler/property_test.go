package scheduler

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func drawCandidate(t *rapid.T, id string) Candidate {
	h := &v1.Host{Meta: v1.Meta{ID: id}}
	h.Status.Phase = rapid.SampledFrom([]v1.HostPhase{v1.HostReady, v1.HostReady, v1.HostReady, v1.HostSilent}).Draw(t, "phase")
	h.Spec.Schedulable = rapid.IntRange(0, 5).Draw(t, "schedulable") > 0
	h.Spec.SecurityLevel = rapid.IntRange(1, 5).Draw(t, "level")
	if rapid.IntRange(0, 4).Draw(t, "pool") > 0 {
		h.Status.Inventory.Pools = []v1.Pool{{Driver: v1.DriverLocal, TotalBytes: 1 << 40}}
	}
	amount := func(name string) (limit, used int64) {
		limit = rapid.Int64Range(0, 32).Draw(t, name+" limit")
		return limit, rapid.Int64Range(0, 40).Draw(t, name+" used") // hosts may be overfull: overcommit can be lowered
	}
	c := Candidate{Host: h}
	c.Limit.VCPUs, c.Used.VCPUs = amount("vcpus")
	c.Limit.MemoryMiB, c.Used.MemoryMiB = amount("memory")
	c.Limit.StorageGiB, c.Used.StorageGiB = amount("storage")
	return c
}

func drawRequest(t *rapid.T, candidates []Candidate) Request {
	r := Request{
		Want: v1.Usage{
			VCPUs: rapid.Int64Range(0, 8).Draw(t, "vcpus"), MemoryMiB: rapid.Int64Range(0, 8).Draw(t, "memory"), StorageGiB: rapid.Int64Range(0, 8).Draw(t, "storage"),
		},
		Driver: rapid.SampledFrom([]string{"", v1.DriverLocal}).Draw(t, "driver"),
		Level:  rapid.IntRange(0, 5).Draw(t, "wanted level"),
		Policy: rapid.SampledFrom([]v1.PlacementPolicy{"", v1.AntiAffinityHard, v1.AntiAffinitySoft}).Draw(t, "policy"),
		Peers:  map[string]int{},
		Index:  rapid.Uint64().Draw(t, "index"),
	}
	for _, c := range candidates {
		if count := rapid.IntRange(0, 3).Draw(t, "peers"); count > 0 {
			r.Peers[c.Host.ID] = count
		}
	}
	if len(candidates) > 0 && rapid.IntRange(0, 4).Draw(t, "pin") == 0 {
		r.Pinned = rapid.SampledFrom(candidates).Draw(t, "pinned").Host.ID
	}
	return r
}

func drawScene(t *rapid.T) ([]Candidate, Request) {
	candidates := make([]Candidate, rapid.IntRange(0, 12).Draw(t, "hosts"))
	for i := range candidates {
		candidates[i] = drawCandidate(t, fmt.Sprintf("host-%02d", i))
	}
	return candidates, drawRequest(t, candidates)
}

// fits is written anew from the words of the design, without the filters.
func fits(c Candidate, r Request) bool {
	after := c.Used.Plus(r.Want)
	return c.Host.Status.Phase == v1.HostReady && c.Host.Spec.Schedulable &&
		(r.Pinned == "" || r.Pinned == c.Host.ID) &&
		(r.Driver == "" || len(c.Host.Status.Inventory.Pools) > 0) &&
		c.Host.Spec.SecurityLevel >= r.Level &&
		(r.Policy != v1.AntiAffinityHard || r.Peers[c.Host.ID] == 0) &&
		(r.Want.VCPUs == 0 || after.VCPUs <= c.Limit.VCPUs) &&
		(r.Want.MemoryMiB == 0 || after.MemoryMiB <= c.Limit.MemoryMiB) &&
		(r.Want.StorageGiB == 0 || after.StorageGiB <= c.Limit.StorageGiB)
}

// TestPlaceExactlyWhereItFits: a host that violates something is never chosen, and a request that some host can take is placed.
func TestPlaceExactlyWhereItFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, request := drawScene(t)
		position, explanation := Place(candidates, request)
		able := 0
		for _, c := range candidates {
			if fits(c, request) {
				able++
			}
		}
		require.Equal(t, able > 0, position >= 0)
		if position >= 0 {
			require.True(t, fits(candidates[position], request))
		}
		refused := 0
		for _, result := range explanation.Filters {
			refused += result.Refused
			require.Equal(t, result.Refused > 0, result.Reason != "")
		}
		require.Len(t, explanation.Filters, filterCount)
		require.Equal(t, len(candidates), explanation.Considered)
		require.Equal(t, len(candidates)-able, refused, "each host is refused once, or can take the request")
	})
}

// TestSoftGroupsSpreadFirst: no host with fewer members could have taken the request.
func TestSoftGroupsSpreadFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, request := drawScene(t)
		request.Policy = v1.AntiAffinitySoft
		position, _ := Place(candidates, request)
		for _, c := range candidates {
			if position >= 0 && fits(c, request) {
				require.LessOrEqual(t, request.Peers[candidates[position].Host.ID], request.Peers[c.Host.ID])
			}
		}
	})
}

// TestOrderDoesNotMatter: the same question has the same answer whatever the order of the hosts.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, request := drawScene(t)
		_, first := Place(candidates, request)
		_, again := Place(candidates, request)
		_, permuted := Place(rapid.Permutation(candidates).Draw(t, "order"), request)
		require.Equal(t, first, again)
		require.Equal(t, first, permuted)
	})
}

// TestMoreHostsNeverHurt: what could be placed can still be placed when a host is added.
func TestMoreHostsNeverHurt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, request := drawScene(t)
		before, _ := Place(candidates, request)
		added := drawCandidate(t, "host-new")
		request.Peers["host-new"] = rapid.IntRange(0, 2).Draw(t, "peers of the new host")
		after, _ := Place(append(candidates[:len(candidates):len(candidates)], added), request)
		if before >= 0 {
			require.GreaterOrEqual(t, after, 0)
		}
	})
}

// TestPlaceChangesNothing: the candidates are shared with the state.
func TestPlaceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates, request := drawScene(t)
		before := fmt.Sprintf("%+v %+v", candidates, request)
		hosts := make([]v1.Host, len(candidates))
		for i, c := range candidates {
			hosts[i] = *c.Host.Clone()
		}
		Place(candidates, request)
		require.Equal(t, before, fmt.Sprintf("%+v %+v", candidates, request))
		for i, c := range candidates {
			require.Equal(t, hosts[i], *c.Host)
		}
	})
}
