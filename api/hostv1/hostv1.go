// Package hostv1 holds what agents and controllers say to each other (DESIGN.md, section 6). The agent dials; it proves who it is by its
// client certificate, never by a field. All bodies are JSON over HTTP/2 with mutual TLS on the controllers' port 8444.
//
//	POST /host/v1/register
//	GET  /host/v1/assignments?epoch=E&after=G&wait=50s     200 Assignments | 304 nothing newer than G | 409 the epoch is old: register again
//	POST /host/v1/heartbeat
//	POST /host/v1/status
//	GET  /host/v1/images/{id}                               the uploaded bytes of an image, from the controller that keeps them
//
// Any controller answers; what needs the leader is forwarded. And on the agent's own port 8446, for controllers only:
//
//	GET  /agent/v1/instances/{id}/console                   websocket, binary messages: the serial port
//	GET  /agent/v1/vms/{id}/log?tail=N&follow=1             text: the kept serial output of a VM's instances, oldest first
package hostv1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Paths of the controllers' host port and of the agent's own port.
const (
	PathRegister    = "/host/v1/register"
	PathAssignments = "/host/v1/assignments"
	PathHeartbeat   = "/host/v1/heartbeat"
	PathStatus      = "/host/v1/status"
	PathImages      = "/host/v1/images/"     // + image id
	PathInstances   = "/agent/v1/instances/" // + id + "/console"
	PathVMs         = "/agent/v1/vms/"       // + id + "/log"
)

// Limits of bodies, in bytes. MaxReports bounds one status request; an agent with more sends several.
const (
	MaxBody        = 4 << 20
	MaxReports     = 500
	MaxAssignments = 256 << 20 // a host's complete set: more than 64 KiB of user-data for each machine that fits on a host
)

// RegisterRequest begins a new epoch of the host.
type RegisterRequest struct {
	Name      string       `json:"name"` // the host's name, for people (its host name)
	BootID    string       `json:"bootId"`
	Version   string       `json:"version"`
	Address   string       `json:"address"` // where the agent's port 8446 is reached, host:port
	Inventory v1.Inventory `json:"inventory"`
}

// RegisterResponse accepts the host.
type RegisterResponse struct {
	Cluster        string        `json:"cluster"` // an agent that has served another cluster refuses
	Epoch          uint64        `json:"epoch"`
	HeartbeatEvery time.Duration `json:"heartbeatEvery"` // nanoseconds
	Controllers    []Controller  `json:"controllers"`    // all of them; the agent remembers them
}

// Controller is where a controller serves hosts.
type Controller struct {
	ID      string `json:"id"`
	Address string `json:"address"` // host:port of its host port
}

// Assignments is the host's COMPLETE desired set at a generation. A set is a pure function of the state at its generation, so that
// every controller says the same of the same generation. Sorted by id.
type Assignments struct {
	Cluster    string       `json:"cluster"`
	Host       string       `json:"host"`
	Epoch      uint64       `json:"epoch"`
	Generation uint64       `json:"generation"` // log index of the last entry that concerned this host; only grows
	Digest     string       `json:"digest"`     // Digest() of the set
	Instances  []Assignment `json:"instances"`
	Tasks      []Task       `json:"tasks"` // pending ones only
}

// Assignment is one Instance of the set.
type Assignment struct {
	ID      string             `json:"id"`
	Project string             `json:"project"`
	Spec    v1.InstanceSpec    `json:"spec"`
	Desired v1.InstanceDesired `json:"desired"`
	// Reported is the number of the agent's last report that reached the state; what is newer is to be sent (again).
	Reported uint64 `json:"reported"`
	// Over is true when the state has recorded the Instance as Stopped (or fenced): it must not run, and may be forgotten when it leaves the set.
	Over bool `json:"over,omitempty"`
}

// Task is one pending Task of the set.
type Task struct {
	ID   string      `json:"id"`
	Spec v1.TaskSpec `json:"spec"`
}

// ComputeDigest is the SHA-256 of the set without its digest, hexadecimal.
func (a Assignments) ComputeDigest() string {
	a.Digest = ""
	data, err := json.Marshal(a)
	if err != nil { // plain data always marshals
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Heartbeat says that the agent lives and how far it is. It is kept in the leader's memory only.
type Heartbeat struct {
	Epoch             uint64 `json:"epoch"`
	AppliedGeneration uint64 `json:"appliedGeneration"`
	Digest            string `json:"digest"`
}

// StatusRequest carries what the agent has seen. It may come late, twice, or in another order: Seq decides.
type StatusRequest struct {
	Epoch   uint64   `json:"epoch"`
	Reports []Report `json:"reports"`
}

// Report is the newest observation of one object. Exactly one of Instance and Task is set.
type Report struct {
	ID       string               `json:"id"`
	Instance *v1.InstanceObserved `json:"instance,omitempty"`
	Task     *v1.TaskStatus       `json:"task,omitempty"`
}

// StatusResponse says what became of each report, in the request's order.
type StatusResponse struct {
	Results []ReportResult `json:"results"`
}

// ReportResult is what became of a report.
type ReportResult string

const (
	ReportTaken   ReportResult = "taken"   // recorded, or known already
	ReportUnknown ReportResult = "unknown" // the object does not exist (any more) or is not this host's: forget the report
	ReportRefused ReportResult = "refused" // it would move the object backwards: forget the report
)
