package v1

// PlacementPolicy says how a group's members are spread.
type PlacementPolicy string

const (
	AntiAffinityHard PlacementPolicy = "anti-affinity"      // never two members on one host
	AntiAffinitySoft PlacementPolicy = "soft-anti-affinity" // as few members on one host as possible
)

// PlacementGroup keeps virtual machines apart.
type PlacementGroup struct {
	Meta
	Spec PlacementGroupSpec `json:"spec"`
}

// PlacementGroupSpec cannot change once machines rely on it.
type PlacementGroupSpec struct {
	Policy PlacementPolicy `json:"policy" doc:"How the members are spread" enum:"anti-affinity,soft-anti-affinity"`
}

func (*PlacementGroup) ObjectKind() Kind { return KindPlacementGroup }

// Validate implements Object.
func (o *PlacementGroup) Validate() error {
	var c checker
	c.meta(&o.Meta, KindPlacementGroup)
	oneOf(&c, "spec.policy", o.Spec.Policy, AntiAffinityHard, AntiAffinitySoft)
	return c.err()
}

// Clone copies the object.
func (o *PlacementGroup) Clone() *PlacementGroup {
	copied := *o
	copied.Meta = o.Meta.clone()
	return &copied
}
