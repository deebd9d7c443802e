package v1

import (
	"encoding/base64"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Power is what a user wants of a virtual machine.
type Power string

const (
	PowerRunning Power = "Running"
	PowerStopped Power = "Stopped"
)

// RestartPolicy says what happens when a guest stops without being asked to.
type RestartPolicy string

const (
	RestartOnFailure RestartPolicy = "on-failure" // after a crash or a reboot of the host; not when the guest shut itself down
	RestartAlways    RestartPolicy = "always"
	RestartNever     RestartPolicy = "never"
)

// VMPhase is where a virtual machine stands, for people.
type VMPhase string

const (
	VMCreating VMPhase = "Creating"
	VMStarting VMPhase = "Starting"
	VMRunning  VMPhase = "Running"
	VMPaused   VMPhase = "Paused" // stopped in the middle by an I/O error
	VMStopping VMPhase = "Stopping"
	VMStopped  VMPhase = "Stopped"
	VMCrashed  VMPhase = "Crashed" // ended by itself and not (yet) started again
	VMUnknown  VMPhase = "Unknown" // its host is silent
	VMDeleting VMPhase = "Deleting"
)

// VM is what the user wants: a machine that lives long. Each of its runs on a host is an Instance.
type VM struct {
	Meta
	Spec   VMSpec   `json:"spec"`
	Status VMStatus `json:"status"`
}

// VMSpec is what the user wants. Image, DiskGiB, UserData, SSHKeys and PlacementGroup cannot change.
type VMSpec struct {
	Flavor         string        `json:"flavor" doc:"Name or id of the flavor"`
	Image          string        `json:"image" doc:"Name or id of the image that the root disk begins as"`
	DiskGiB        int64         `json:"diskGiB,omitempty" doc:"Size of the root disk in GiB; the flavor's when left out" minimum:"0" maximum:"65536"`
	DiskThrottle   Throttle      `json:"diskThrottle,omitzero" doc:"Upper limits of the root disk's speed"`
	Power          Power         `json:"power,omitempty" doc:"Running or Stopped; Running when left out" enum:"Running,Stopped"`
	RestartPolicy  RestartPolicy `json:"restartPolicy,omitempty" doc:"What happens when the guest stops by itself; on-failure when left out" enum:"on-failure,always,never"`
	PlacementGroup string        `json:"placementGroup,omitempty" doc:"Name or id of the placement group"`
	UserData       string        `json:"userData,omitempty" doc:"cloud-init user-data, at most 64 KiB of text; shown only to members, and never in lists"`
	SSHKeys        []string      `json:"sshKeys,omitempty" doc:"SSH public keys for the guest's first user" maxItems:"32"`
	SecurityLevel  int           `json:"securityLevel,omitempty" doc:"Level of the information system, 1 to 5; it runs only on hosts of at least this level; 1 when left out" minimum:"0" maximum:"5"`
}

// VMStatus is what is known of a virtual machine. The first group is decided by the controller and stored; the second is computed.
type VMStatus struct {
	FlavorID string `json:"flavorId" doc:"Id of the flavor"`
	ImageID  string `json:"imageId" doc:"Id of the image"`
	GroupID  string `json:"groupId,omitempty" doc:"Id of the placement group"`
	VCPUs    int    `json:"vcpus" doc:"Virtual CPUs"`
	// MemoryMiB and VCPUs are the flavor's, copied so that the quota can be charged from the object alone.
	MemoryMiB  int64  `json:"memoryMiB" doc:"Memory in MiB"`
	RootVolume string `json:"rootVolume" doc:"Id of the root disk"`
	MAC        string `json:"mac" doc:"MAC address of its network card"`
	// Instance is the present or last incarnation; "" when it has never been started.
	Instance  string `json:"instance,omitempty" doc:"Id of its present or last incarnation"`
	Operation string `json:"operation,omitempty" doc:"Operation that works on it"`

	Phase    VMPhase `json:"phase" doc:"Where it stands (computed)"`
	Host     string  `json:"host,omitempty" doc:"Id of the host it is on (computed)"`
	HostName string  `json:"hostName,omitempty" doc:"Name of the host it is on (computed; shown to platform users)"`
	Message  string  `json:"message,omitempty" doc:"Why it stands there (computed)"`
}

// RunningWanted says whether the user wants the machine to run.
func (o *VM) RunningWanted() bool { return o.Spec.Power != PowerStopped && !o.Deleting() }

// Policy is the restart policy with its default.
func (o *VM) Policy() RestartPolicy {
	if o.Spec.RestartPolicy == "" {
		return RestartOnFailure
	}
	return o.Spec.RestartPolicy
}

// Level is the security level with its default.
func (o *VM) Level() int { return max(1, o.Spec.SecurityLevel) }

func (*VM) ObjectKind() Kind { return KindVM }

var sshKeyPattern = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) ([A-Za-z0-9+/]+={0,3})( .*)?$`)

// Validate implements Object.
func (o *VM) Validate() error {
	var c checker
	c.meta(&o.Meta, KindVM)
	c.reference("spec.flavor", o.Spec.Flavor, true)
	c.reference("spec.image", o.Spec.Image, true)
	c.reference("spec.placementGroup", o.Spec.PlacementGroup, false)
	c.between("spec.diskGiB", o.Spec.DiskGiB, 0, MaxVolumeGiB)
	c.throttle("spec.diskThrottle", o.Spec.DiskThrottle)
	c.between("spec.securityLevel", int64(o.Spec.SecurityLevel), 0, 5)
	c.between("status.vcpus", int64(o.Status.VCPUs), 0, MaxVCPUs) // the quota is charged by them
	c.between("status.memoryMiB", o.Status.MemoryMiB, 0, MaxMemoryMiB)
	if o.Spec.Power != "" {
		oneOf(&c, "spec.power", o.Spec.Power, PowerRunning, PowerStopped)
	}
	if o.Spec.RestartPolicy != "" {
		oneOf(&c, "spec.restartPolicy", o.Spec.RestartPolicy, RestartOnFailure, RestartAlways, RestartNever)
	}
	if len(o.Spec.UserData) > MaxUserDataBytes {
		c.fail("spec.userData", "has %d bytes; %d are allowed", len(o.Spec.UserData), MaxUserDataBytes)
	}
	if !utf8.ValidString(o.Spec.UserData) || strings.ContainsRune(o.Spec.UserData, 0) {
		c.fail("spec.userData", "must be text (UTF-8 without NUL)")
	}
	if len(o.Spec.SSHKeys) > MaxSSHKeys {
		c.fail("spec.sshKeys", "has %d entries; %d are allowed", len(o.Spec.SSHKeys), MaxSSHKeys)
	}
	for _, key := range o.Spec.SSHKeys {
		parts := sshKeyPattern.FindStringSubmatch(key)
		if len(key) > 4096 || !isPlain(key) || parts == nil {
			c.fail("spec.sshKeys", "holds a line that is no SSH public key")
		} else if _, err := base64.StdEncoding.DecodeString(parts[3]); err != nil {
			c.fail("spec.sshKeys", "holds a key that is cut off or garbled")
		}
	}
	return c.err()
}

// Clone copies the object.
func (o *VM) Clone() *VM {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.SSHKeys = cloneSlice(o.Spec.SSHKeys)
	return &copied
}
