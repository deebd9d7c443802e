package scheduler

import (
	"strings"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Problem says why nothing could be placed, in words that any tenant may read: numbers of hosts, no names. It returns nil for a placement
// that succeeded. Params hold "considered" and, for each filter that refused hosts, "refused.<filter>".
func Problem(explanation v1.Placement) *v1.Problem {
	if explanation.Placed {
		return nil
	}
	var reasons []string
	next, pinned := "Ask the operators to add a host.", false
	for _, result := range explanation.Filters {
		if result.Refused == 0 {
			continue
		}
		reasons = append(reasons, result.Reason)
		// The last filter refused the hosts that came closest, so its advice is the shortest way; but no other host helps what is tied to one.
		if advice := adviceOf(result.Filter); !pinned && advice != "" {
			next = advice
		}
		pinned = pinned || result.Filter == filterPinned
	}
	detail := "no host can take the virtual machine: "
	if explanation.Considered == 0 {
		detail += "there are no hosts"
	} else {
		detail += strings.Join(reasons, "; ")
	}
	problem := v1.NewProblem(v1.CodeNoCapacity, "%s", detail).WithNext("%s", next).With("considered", explanation.Considered)
	for _, result := range explanation.Filters {
		if result.Refused > 0 {
			problem.With("refused."+result.Filter, result.Refused)
		}
	}
	return problem
}

func adviceOf(name string) string {
	for i := range filters {
		if filters[i].name == name {
			return filters[i].next
		}
	}
	return ""
}
