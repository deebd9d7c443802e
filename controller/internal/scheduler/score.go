package scheduler

import v1 "github.com/coloa-cloud/coloa/api/v1"

// score orders the hosts that can take a request; the lowest is chosen.
type score struct {
	peers    int     // members of a soft group that run there already
	scarcest float64 // part of the scarcest resource that would be left, 0 to 1
	rest     float64 // sum of what would be left of all resources
	id       string
}

// before says whether s is better than other. Fields are compared in their order; the id makes the order total, so that the same question
// has the same answer whatever the order of the candidates.
func (s *score) before(other *score) bool {
	switch {
	case s.peers != other.peers:
		return s.peers < other.peers
	case s.scarcest != other.scarcest:
		return s.scarcest < other.scarcest
	case s.rest != other.rest:
		return s.rest < other.rest
	}
	return s.id < other.id
}

// scoreOf packs (best fit): the best host is the one that would be left with the least of its scarcest resource, so that the room that is left
// over stays in one piece somewhere else.
func scoreOf(candidate *Candidate, request *Request) score {
	s := score{id: candidate.Host.ID, scarcest: 1}
	if request.Policy == v1.AntiAffinitySoft {
		s.peers = request.Peers[candidate.Host.ID]
	}
	limit, left := candidate.Limit, candidate.Limit.Minus(candidate.Used).Minus(request.Want)
	for _, resource := range [...]struct{ limit, left int64 }{
		{limit.VCPUs, left.VCPUs}, {limit.MemoryMiB, left.MemoryMiB}, {limit.StorageGiB, left.StorageGiB},
	} {
		if resource.limit > 0 { // a host without a pool of its own is not full of storage
			part := float64(resource.left) / float64(resource.limit)
			s.scarcest, s.rest = min(s.scarcest, part), s.rest+part
		}
	}
	return s
}
