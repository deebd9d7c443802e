package scheduler

import (
	"fmt"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// filter refuses hosts for one reason.
type filter struct {
	name    string
	refuses func(*Candidate, *Request) bool
	one     string // what is said of one refused host, after its number: "is not answering"
	many    string // and of several: "are not answering"
	next    string // what somebody can do about it
}

const (
	filterCount  = 9
	filterPinned = "pinned"
)

// filters in the order in which they are asked. First what no request can change (is the host there, does it take machines at all), then what
// leaves fewest hosts to speak of (the disk lies there or not), then what the request asks of a host by its nature, then what depends on
// its neighbours, and capacity last: so a host is said to be too small only when it would have done otherwise, which is when "ask for
// less" is good advice.
var filters = [filterCount]filter{
	{
		name: "ready",
		refuses: func(c *Candidate, _ *Request) bool {
			return c.Host.Status.Phase == v1.HostSilent || c.Host.Status.Phase == ""
		},
		one: "is not answering", many: "are not answering",
		next: "Wait until the hosts answer again, or ask the operators.",
	},
	{
		name: "schedulable",
		refuses: func(c *Candidate, _ *Request) bool {
			return !c.Host.Spec.Schedulable || c.Host.Status.Phase == v1.HostMaintenance || c.Host.Deleting()
		},
		one: "takes no new virtual machines", many: "take no new virtual machines",
		next: "Wait until the maintenance is over, or ask the operators.",
	},
	{
		name:    filterPinned,
		refuses: func(c *Candidate, r *Request) bool { return r.Pinned != "" && c.Host.ID != r.Pinned },
		one:     "does not hold its local disk", many: "do not hold its local disk",
		next: "A virtual machine with a local disk runs only on the host that holds it: wait until that host can take it, or ask the operators.",
	},
	{
		name:    "storage-driver",
		refuses: func(c *Candidate, r *Request) bool { return r.Driver != "" && !c.Host.HasPool(r.Driver) },
		one:     "has no storage pool of the driver that it asks for", many: "have no storage pool of the driver that it asks for",
		next: "Ask the operators for a host with such a pool.",
	},
	{
		name:    "security-level",
		refuses: func(c *Candidate, r *Request) bool { return c.Host.Spec.SecurityLevel < r.level() },
		one:     "is approved only for lower security levels", many: "are approved only for lower security levels",
		next: "Ask the operators for hosts that are approved for this security level.",
	},
	{
		name: "anti-affinity",
		refuses: func(c *Candidate, r *Request) bool {
			return r.Policy == v1.AntiAffinityHard && r.Peers[c.Host.ID] > 0
		},
		one: "runs another member of the placement group", many: "run another member of the placement group",
		next: "Use a placement group of the policy soft-anti-affinity, or ask the operators for more hosts.",
	},
	{
		name:    "vcpus",
		refuses: func(c *Candidate, r *Request) bool { return lacks(c.Limit.VCPUs, c.Used.VCPUs, r.Want.VCPUs) },
		one:     "has not enough virtual CPUs left", many: "have not enough virtual CPUs left",
		next: "Choose a flavor with fewer virtual CPUs, stop what is not needed, or ask the operators for more hosts.",
	},
	{
		name: "memory",
		refuses: func(c *Candidate, r *Request) bool {
			return lacks(c.Limit.MemoryMiB, c.Used.MemoryMiB, r.Want.MemoryMiB)
		},
		one: "has not enough memory left", many: "have not enough memory left",
		next: "Choose a flavor with less memory, stop what is not needed, or ask the operators for more hosts.",
	},
	{
		name: "storage",
		refuses: func(c *Candidate, r *Request) bool {
			return lacks(c.Limit.StorageGiB, c.Used.StorageGiB, r.Want.StorageGiB)
		},
		one: "has not enough storage left", many: "have not enough storage left",
		next: "Ask for a smaller disk, delete volumes that are not needed, or ask the operators for more storage.",
	},
}

func (r *Request) level() int { return max(1, r.Level) }

// lacks is the same rule as the state's invariant: whoever wants nothing of a resource is not stopped by others who have too much of it.
func lacks(limit, used, want int64) bool { return want > 0 && limit-used < want }

// refusedBy returns the position of the first filter that refuses the host, or -1.
func refusedBy(candidate *Candidate, request *Request) int {
	for i := range filters {
		if filters[i].refuses(candidate, request) {
			return i
		}
	}
	return -1
}

// explain lists all filters in order. Each was asked only of the hosts that those before it had let through, and says so.
func explain(considered int, refused *[filterCount]int) []v1.FilterResult {
	results := make([]v1.FilterResult, filterCount)
	asked := considered
	for i := range filters {
		results[i] = v1.FilterResult{Filter: filters[i].name, Refused: refused[i]}
		if refused[i] > 0 {
			results[i].Reason = filters[i].reason(refused[i], asked, considered)
		}
		asked -= refused[i]
	}
	return results
}

// reason is a sentence without its full stop, for example "12 of 20 hosts have not enough memory left".
func (f *filter) reason(refused, asked, considered int) string {
	other, others := "host", "hosts"
	if asked < considered {
		other, others = "other host", "other hosts"
	}
	switch {
	case asked == 1:
		return "the only " + other + " " + f.one
	case refused == asked && asked == 2:
		return "both " + others + " " + f.many
	case refused == asked:
		return fmt.Sprintf("all %d %s %s", asked, others, f.many)
	case refused == 1:
		return fmt.Sprintf("1 of %d %s %s", asked, others, f.one)
	default:
		return fmt.Sprintf("%d of %d %s %s", refused, asked, others, f.many)
	}
}
