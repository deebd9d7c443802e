package v1

// Cluster is the cloud itself; there is exactly one.
type Cluster struct {
	Meta
	Spec ClusterSpec `json:"spec"`
}

// ClusterSpec is chosen at `coloa cluster init`.
type ClusterSpec struct {
	Title string `json:"title,omitempty" doc:"Name of the cloud for people"`
	// MACPrefix begins every MAC address that the cloud gives, for example "52:54:00".
	MACPrefix string `json:"macPrefix" doc:"First three bytes of the MAC addresses given to virtual machines"`
}

func (*Cluster) ObjectKind() Kind { return KindCluster }

// Validate implements Object.
func (o *Cluster) Validate() error {
	var c checker
	c.meta(&o.Meta, KindCluster)
	c.text("spec.title", o.Spec.Title)
	if !macPrefix.MatchString(o.Spec.MACPrefix) {
		c.fail("spec.macPrefix", "must be three bytes in lower-case hexadecimal, the first one even, for example 52:54:00")
	}
	return c.err()
}

// Clone copies the object.
func (o *Cluster) Clone() *Cluster { copied := *o; copied.Meta = o.Meta.clone(); return &copied }

// ClusterStatus is the answer to "how is the cloud"; it is computed when asked for.
type ClusterStatus struct {
	ID       string         `json:"id" doc:"Identifier of the cloud"`
	Name     string         `json:"name" doc:"Name of the cloud"`
	Healthy  bool           `json:"healthy" doc:"True when nothing needs attention"`
	Problems []string       `json:"problems,omitempty" doc:"What needs attention, a sentence each"`
	Version  string         `json:"version" doc:"Version of the controller that answered"`
	Leader   string         `json:"leader" doc:"Id of the leading controller"`
	Members  []MemberStatus `json:"members" doc:"The controllers"`
	Hosts    []HostSummary  `json:"hosts" doc:"The hosts"`
	Counts   map[Kind]int   `json:"counts" doc:"How many objects of each kind there are"`
}

// MemberStatus is one controller.
type MemberStatus struct {
	ID      string `json:"id" doc:"Id of the controller"`
	Address string `json:"address" doc:"Address of its raft port"`
	Leader  bool   `json:"leader" doc:"It leads"`
	Voter   bool   `json:"voter" doc:"It votes"`
	Applied uint64 `json:"applied,omitempty" doc:"Last log index it has applied, where known"`
}

// HostSummary is one host in few words.
type HostSummary struct {
	ID    string    `json:"id" doc:"Id of the host"`
	Name  string    `json:"name" doc:"Name of the host"`
	Phase HostPhase `json:"phase" doc:"Phase of the host"`
	VMs   int       `json:"vms" doc:"Running virtual machines"`
	Usage Usage     `json:"usage" doc:"What is given out"`
	Limit Usage     `json:"limit" doc:"What can be given out"`
}
