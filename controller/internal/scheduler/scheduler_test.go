package scheduler

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// host makes a candidate that takes anything of up to 16 CPUs, 32 GiB of memory and 100 GiB of storage.
func host(id string, change ...func(*Candidate)) Candidate {
	c := fleetOf(server{cpus: 4, memoryGiB: 32, storageTiB: 1})(1)[0]
	c.Host.ID, c.Host.Name = id, "name-of-"+id
	c.Limit.StorageGiB = 100
	for _, f := range change {
		f(&c)
	}
	return c
}

func used(vcpus, memoryMiB, storageGiB int64) func(*Candidate) {
	return func(c *Candidate) { c.Used = v1.Usage{VCPUs: vcpus, MemoryMiB: memoryMiB, StorageGiB: storageGiB} }
}

func phase(phase v1.HostPhase) func(*Candidate) {
	return func(c *Candidate) { c.Host.Status.Phase = phase }
}

func unschedulable(c *Candidate) { c.Host.Spec.Schedulable = false }

func leaving(c *Candidate) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	c.Host.DeletedAt = &at
}

func level(level int) func(*Candidate) {
	return func(c *Candidate) { c.Host.Spec.SecurityLevel = level }
}

func noPool(c *Candidate) { c.Host.Status.Inventory.Pools = nil }

var small = v1.Usage{VCPUs: 2, MemoryMiB: 4096, StorageGiB: 20}

// scenes are requests with the host that must be chosen; what is said of each lies in testdata.
var scenes = []struct {
	name       string
	candidates []Candidate
	request    Request
	want       string // id of the host, "" for none
}{
	{"no hosts", nil, Request{Want: small}, ""},
	{"one host", []Candidate{host("a")}, Request{Want: small, Driver: "local", Level: 3}, "a"},
	{"exactly full", []Candidate{host("a", used(14, 28<<10, 80))}, Request{Want: small}, "a"},
	{"one unit too much of virtual CPUs", []Candidate{host("a", used(15, 0, 0))}, Request{Want: small}, ""},
	{"one unit too much of memory", []Candidate{host("a", used(0, 28<<10+1, 0))}, Request{Want: small}, ""},
	{"one unit too much of storage", []Candidate{host("a", used(0, 0, 81))}, Request{Want: small}, ""},
	{"wants no storage of an overfull pool", []Candidate{host("a", used(0, 0, 500))}, Request{Want: v1.Usage{VCPUs: 1, MemoryMiB: 1024}}, "a"},
	{"silent", []Candidate{host("a", phase(v1.HostSilent)), host("b")}, Request{Want: small}, "b"},
	{"never seen", []Candidate{host("a", phase(""))}, Request{Want: small}, ""},
	{"maintenance", []Candidate{host("a", unschedulable), host("b", phase(v1.HostMaintenance)), host("c", leaving)}, Request{Want: small}, ""},
	{"pinned", []Candidate{host("a"), host("b"), host("c")}, Request{Want: small, Pinned: "b"}, "b"},
	{"pinned to a full host", []Candidate{host("a"), host("b", used(16, 0, 0)), host("c")}, Request{Want: small, Pinned: "b"}, ""},
	{"pinned to a host that is gone", []Candidate{host("a"), host("c")}, Request{Want: small, Pinned: "b"}, ""},
	{"no pool", []Candidate{host("a", noPool), host("b")}, Request{Want: small, Driver: "local"}, "b"},
	{"foreign driver", []Candidate{host("a"), host("b")}, Request{Want: small, Driver: "mem"}, ""},
	{"no driver asked for", []Candidate{host("a", noPool)}, Request{Want: v1.Usage{VCPUs: 1, MemoryMiB: 1024}}, "a"},
	{"security level", []Candidate{host("a", level(1)), host("b", level(3)), host("c", level(5))}, Request{Want: small, Level: 4}, "c"},
	{"security level left out", []Candidate{host("a", level(1))}, Request{Want: small}, "a"},
	{"hard group", []Candidate{host("a", used(8, 0, 0)), host("b")}, Request{Want: small, Policy: v1.AntiAffinityHard, Peers: map[string]int{"a": 1}}, "b"},
	{"hard group is everywhere", []Candidate{host("a"), host("b")}, Request{Want: small, Policy: v1.AntiAffinityHard, Peers: map[string]int{"a": 1, "b": 2}}, ""},
	{"soft group before packing", []Candidate{host("a", used(8, 0, 0)), host("b")}, Request{Want: small, Policy: v1.AntiAffinitySoft, Peers: map[string]int{"a": 1}}, "b"},
	{"soft group is everywhere", []Candidate{host("a"), host("b"), host("c")}, Request{Want: small, Policy: v1.AntiAffinitySoft, Peers: map[string]int{"a": 2, "b": 1, "c": 2}}, "b"},
	{"peers without a policy do not count", []Candidate{host("a"), host("b")}, Request{Want: small, Peers: map[string]int{"a": 5}}, "a"},
	{"packs", []Candidate{host("a"), host("b", used(8, 8<<10, 10)), host("c", used(2, 2<<10, 2))}, Request{Want: small}, "b"},
	{"packs by the scarcest resource", []Candidate{host("a", used(4, 20<<10, 0)), host("b", used(8, 10<<10, 0))}, Request{Want: small}, "a"},
	{"equal in the scarcest resource", []Candidate{host("a", used(8, 0, 0)), host("b", used(8, 8<<10, 0))}, Request{Want: small}, "b"},
	{"equal", []Candidate{host("c"), host("a"), host("b")}, Request{Want: small}, "a"},
	{"every filter", []Candidate{
		host("a", phase(v1.HostSilent)), host("b", phase(v1.HostSilent)), host("c", unschedulable), host("d", noPool), host("e", noPool), host("f", level(1)),
		host("g"), host("h", used(16, 0, 0)), host("i", used(0, 32<<10, 0)), host("j", used(0, 31<<10, 0)), host("k", used(0, 0, 100)), host("l", used(0, 0, 90)),
	}, Request{Want: small, Driver: "local", Level: 3, Policy: v1.AntiAffinityHard, Peers: map[string]int{"g": 1}, Index: 412}, ""},
}

// TestPlace holds the choice of each scene, and what is said of it to the golden files.
func TestPlace(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			position, explanation := Place(scene.candidates, scene.request)
			got := ""
			if position >= 0 {
				got = scene.candidates[position].Host.ID
			}
			require.Equal(t, scene.want, got)
			require.Equal(t, got, explanation.Host)
			require.Equal(t, got != "", explanation.Placed)
			require.Equal(t, scene.request.Index, explanation.StateIndex)
			golden(t, strings.ReplaceAll(scene.name, " ", "-"), describe(explanation))
		})
	}
}

// describe writes all that a person is told.
func describe(explanation v1.Placement) string {
	var text strings.Builder
	fmt.Fprintf(&text, "placed: %v\nconsidered: %d\n", explanation.Placed, explanation.Considered)
	for _, result := range explanation.Filters {
		fmt.Fprintf(&text, "%-15s %2d  %s\n", result.Filter, result.Refused, result.Reason)
	}
	if problem := Problem(explanation); problem != nil {
		fmt.Fprintf(&text, "\n%s %d\n%s\nnext: %s\nparams: %v\n", problem.Code, problem.Status, problem.Detail, problem.Next, problem.Params)
	}
	return text.String()
}

func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update to write it")
	require.Equal(t, string(want), text)
}

// TestFiltersStandInATable: names are unique and lower-case (they are part of the API), and each filter has its words.
func TestFiltersStandInATable(t *testing.T) {
	seen := map[string]bool{}
	for _, filter := range filters {
		require.Regexp(t, `^[a-z]+(-[a-z]+)*$`, filter.name)
		require.False(t, seen[filter.name], filter.name)
		seen[filter.name] = true
		require.NotEmpty(t, filter.one)
		require.NotEmpty(t, filter.many)
		require.Regexp(t, `^[A-Z].*\.$`, filter.next)
	}
}

// TestProblemNamesNobody: a tenant learns numbers, never which host or whose machine.
func TestProblemNamesNobody(t *testing.T) {
	for _, scene := range scenes {
		_, explanation := Place(scene.candidates, scene.request)
		problem := Problem(explanation)
		if explanation.Placed {
			require.Nil(t, problem)
			continue
		}
		require.Equal(t, v1.CodeNoCapacity, problem.Code)
		require.NotContains(t, problem.Error()+fmt.Sprint(problem.Params, explanation.Filters), "name-of-")
		require.Empty(t, explanation.Host)
	}
}

func TestReasons(t *testing.T) {
	f := filters[filterCount-2]
	for _, line := range []struct {
		refused, asked, considered int
		want                       string
	}{
		{1, 1, 1, "the only host has not enough memory left"},
		{1, 2, 2, "1 of 2 hosts has not enough memory left"},
		{2, 2, 2, "both hosts have not enough memory left"},
		{2, 2, 3, "both other hosts have not enough memory left"},
		{20, 20, 20, "all 20 hosts have not enough memory left"},
		{12, 20, 20, "12 of 20 hosts have not enough memory left"},
		{12, 15, 20, "12 of 15 other hosts have not enough memory left"},
		{15, 15, 20, "all 15 other hosts have not enough memory left"},
		{1, 15, 20, "1 of 15 other hosts has not enough memory left"},
		{1, 1, 20, "the only other host has not enough memory left"},
	} {
		require.Equal(t, line.want, f.reason(line.refused, line.asked, line.considered))
	}
}
