package v1

// Role is what a user may do.
type Role string

const (
	RolePlatformAdmin Role = "platform-admin" // everything, everywhere
	RoleProjectAdmin  Role = "project-admin"  // everything in a project, its members included
	RoleProjectMember Role = "project-member" // creates, changes and deletes resources of a project
	RoleReader        Role = "reader"         // sees, and changes nothing; given for the platform it sees all projects
)

// Project is the place where resources live.
type Project struct {
	Meta
	Spec   ProjectSpec   `json:"spec"`
	Status ProjectStatus `json:"status"`
}

// ProjectSpec is what administrators say of a project.
type ProjectSpec struct {
	Title   string   `json:"title,omitempty" doc:"Name for people" maxLength:"1024"`
	Members []Member `json:"members,omitempty" doc:"Who may do what here" maxItems:"1024"`
	Quota   Quota    `json:"quota,omitzero" doc:"Upper limits; a limit that is left out does not bind"`
}

// Member is a user with a role in a project.
type Member struct {
	User string `json:"user" doc:"Name or id of the user"`
	Role Role   `json:"role" doc:"Role in the project" enum:"project-admin,project-member,reader"`
}

// Quota limits what a project may use. A missing limit does not bind; 0 allows nothing.
type Quota struct {
	VMs        *int64 `json:"vms,omitempty" doc:"Virtual machines" minimum:"0"`
	VCPUs      *int64 `json:"vcpus,omitempty" doc:"Virtual CPUs of all virtual machines, running or not" minimum:"0"`
	MemoryMiB  *int64 `json:"memoryMiB,omitempty" doc:"Memory of all virtual machines in MiB" minimum:"0"`
	Volumes    *int64 `json:"volumes,omitempty" doc:"Volumes" minimum:"0"`
	StorageGiB *int64 `json:"storageGiB,omitempty" doc:"Volumes in GiB" minimum:"0"`
	Snapshots  *int64 `json:"snapshots,omitempty" doc:"Snapshots" minimum:"0"`
	Images     *int64 `json:"images,omitempty" doc:"Images" minimum:"0"`
}

// ProjectStatus is what is known of a project.
type ProjectStatus struct {
	// MemberIDs are the members' ids as resolved when the spec was written, in the spec's order.
	MemberIDs []string     `json:"memberIds,omitempty" doc:"Ids of the members, in the order of spec.members"`
	Usage     ProjectUsage `json:"usage" doc:"What is in use (computed)"`
}

// ProjectUsage is what a project uses, in the units of Quota.
type ProjectUsage struct {
	VMs        int64 `json:"vms" doc:"Virtual machines"`
	VCPUs      int64 `json:"vcpus" doc:"Virtual CPUs"`
	MemoryMiB  int64 `json:"memoryMiB" doc:"Memory in MiB"`
	Volumes    int64 `json:"volumes" doc:"Volumes"`
	StorageGiB int64 `json:"storageGiB" doc:"Volumes in GiB"`
	Snapshots  int64 `json:"snapshots" doc:"Snapshots"`
	Images     int64 `json:"images" doc:"Images"`
}

func (*Project) ObjectKind() Kind { return KindProject }

// Validate implements Object.
func (o *Project) Validate() error {
	var c checker
	c.meta(&o.Meta, KindProject)
	c.text("spec.title", o.Spec.Title)
	if len(o.Spec.Members) > MaxProjectMembers {
		c.fail("spec.members", "has %d entries; %d are allowed", len(o.Spec.Members), MaxProjectMembers)
	}
	seen := map[string]bool{}
	for _, member := range o.Spec.Members {
		c.userReference("spec.members.user", member.User)
		oneOf(&c, "spec.members.role", member.Role, RoleProjectAdmin, RoleProjectMember, RoleReader)
		if seen[member.User] {
			c.fail("spec.members", "names the user %q twice", clip(member.User))
		}
		seen[member.User] = true
	}
	quota := o.Spec.Quota
	for _, limit := range []struct {
		field string
		value *int64
	}{{"vms", quota.VMs}, {"vcpus", quota.VCPUs}, {"memoryMiB", quota.MemoryMiB}, {"volumes", quota.Volumes}, {"storageGiB", quota.StorageGiB}, {"snapshots", quota.Snapshots}, {"images", quota.Images}} {
		if limit.value != nil {
			c.between("spec.quota."+limit.field, *limit.value, 0, 1<<40)
		}
	}
	return c.err()
}

// Clone copies the object.
func (o *Project) Clone() *Project {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.Members = cloneSlice(o.Spec.Members)
	copied.Status.MemberIDs = cloneSlice(o.Status.MemberIDs)
	quota := &copied.Spec.Quota
	for _, limit := range []**int64{&quota.VMs, &quota.VCPUs, &quota.MemoryMiB, &quota.Volumes, &quota.StorageGiB, &quota.Snapshots, &quota.Images} {
		*limit = clonePointer(*limit)
	}
	return &copied
}

// RoleOf returns the user's role in the project, or "".
func (o *Project) RoleOf(userID string) Role {
	for i, id := range o.Status.MemberIDs {
		if id == userID && i < len(o.Spec.Members) {
			return o.Spec.Members[i].Role
		}
	}
	return ""
}
