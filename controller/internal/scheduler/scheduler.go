package scheduler

import v1 "github.com/coloa-cloud/coloa/api/v1"

// Candidate is a host that may be chosen.
type Candidate struct {
	Host  *v1.Host
	Limit v1.Usage // what the host can give out (Host.Limits)
	Used  v1.Usage // what is given out, proposals in flight included
}

// Request says what is to be placed.
type Request struct {
	Want   v1.Usage // what it takes of its host; a resource of which it wants nothing is not looked at
	Driver string   // storage driver that the host must have a pool of; "" asks for none
	Level  int      // security level of the information system, 1 to 5; less counts as 1
	Pinned string   // id of the host that holds its local volume; "" when it may go anywhere
	Policy v1.PlacementPolicy
	Peers  map[string]int // host id -> live members of its placement group there
	Index  uint64         // log index of the state that the candidates were read at
}

// Place returns the position of the chosen candidate, or -1 when none can take the request, and what each filter refused. The order of the
// candidates does not matter. The explanation names the chosen host alone, so that it can be shown to tenants once Host is taken out.
func Place(candidates []Candidate, request Request) (position int, explanation v1.Placement) {
	var refused [filterCount]int
	position = -1
	var best score
	for i := range candidates {
		candidate := &candidates[i]
		if by := refusedBy(candidate, &request); by >= 0 {
			refused[by]++
			continue
		}
		if s := scoreOf(candidate, &request); position < 0 || s.before(&best) {
			position, best = i, s
		}
	}
	explanation = v1.Placement{Placed: position >= 0, Considered: len(candidates), Filters: explain(len(candidates), &refused), StateIndex: request.Index}
	if position >= 0 {
		explanation.Host = candidates[position].Host.ID
	}
	return position, explanation
}
