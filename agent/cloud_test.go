package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	clusterID = "cluster-1"
	hostID    = "host-1"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// cloud plays the controllers of one host: two addresses over one state, as honest or as bad as a test wants. It is also the way there
// (an http.RoundTripper), without sockets, so that it lives in virtual time.
type cloud struct {
	mutex      sync.Mutex
	changed    chan struct{} // closed and replaced with each change
	cluster    string
	epoch      uint64
	generation uint64
	instances  map[string]*hostv1.Assignment
	seen       map[string]v1.InstanceObserved
	tasks      map[string]hostv1.Task
	outcomes   map[string]v1.TaskStatus
	images     map[string][]byte
	history    [][]byte // all sets that were ever served
	registered []hostv1.RegisterRequest
	heartbeats int
	requests   map[string]int // by address

	// What goes wrong. All may be nil.
	down   func(address string) bool                        // nobody answers
	spoil  func(path string) (status int)                   // the answer is this status; 0: no
	lose   func(path string) bool                           // the request has its effect, its answer is lost
	behind func(address string, set []byte) (served []byte) // another set is served instead
}

func newCloud() *cloud {
	return &cloud{
		changed: make(chan struct{}), cluster: clusterID, epoch: 10, generation: 10, instances: map[string]*hostv1.Assignment{}, seen: map[string]v1.InstanceObserved{},
		tasks: map[string]hostv1.Task{}, outcomes: map[string]v1.TaskStatus{}, images: map[string][]byte{}, requests: map[string]int{},
	}
}

var addresses = []string{"c1:8444", "c2:8444"}

// RoundTrip answers in the process.
func (c *cloud) RoundTrip(request *http.Request) (*http.Response, error) {
	c.mutex.Lock()
	c.requests[request.URL.Host]++
	down, spoil, lose := c.down, c.spoil, c.lose
	c.mutex.Unlock()
	if down != nil && down(request.URL.Host) {
		return nil, fmt.Errorf("connect to %s: connection refused", request.URL.Host)
	}
	if spoil != nil {
		if status := spoil(request.URL.Path); status != 0 {
			return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("<html>")), Request: request, Header: http.Header{}}, nil
		}
	}
	recorder := httptest.NewRecorder()
	c.ServeHTTP(recorder, request)
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	if lose != nil && lose(request.URL.Path) {
		return nil, io.ErrUnexpectedEOF
	}
	return recorder.Result(), nil
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == hostv1.PathRegister:
		handle(w, r, c.register)
	case r.URL.Path == hostv1.PathHeartbeat:
		handle(w, r, c.heartbeat)
	case r.URL.Path == hostv1.PathStatus:
		handle(w, r, c.status)
	case r.URL.Path == hostv1.PathAssignments:
		c.assignments(w, r)
	case strings.HasPrefix(r.URL.Path, hostv1.PathImages):
		c.mutex.Lock()
		data, ok := c.images[strings.TrimPrefix(r.URL.Path, hostv1.PathImages)]
		c.mutex.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// handle decodes, locks, answers; status 0 means 200.
func handle[In, Out any](w http.ResponseWriter, r *http.Request, do func(In) (Out, int)) {
	var in In
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	out, status := do(in)
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	_ = json.NewEncoder(w).Encode(out) // a recorder takes everything
}

func (c *cloud) register(request hostv1.RegisterRequest) (hostv1.RegisterResponse, int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.registered = append(c.registered, request)
	c.bump()
	c.epoch = c.generation
	return hostv1.RegisterResponse{Cluster: c.cluster, Epoch: c.epoch, HeartbeatEvery: time.Second, Controllers: []hostv1.Controller{{ID: "c1", Address: addresses[0]}, {ID: "c2", Address: addresses[1]}}}, 0
}

func (c *cloud) heartbeat(beat hostv1.Heartbeat) (struct{}, int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.heartbeats++
	if beat.Epoch != c.epoch {
		return struct{}{}, http.StatusConflict
	}
	return struct{}{}, 0
}

func (c *cloud) status(request hostv1.StatusRequest) (hostv1.StatusResponse, int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if request.Epoch != c.epoch {
		return hostv1.StatusResponse{}, http.StatusConflict
	}
	var response hostv1.StatusResponse
	for _, report := range request.Reports {
		response.Results = append(response.Results, c.take(report))
	}
	return response, 0
}

func (c *cloud) take(report hostv1.Report) hostv1.ReportResult {
	switch {
	case report.Instance != nil:
		assignment := c.instances[report.ID]
		if assignment == nil {
			return hostv1.ReportUnknown
		}
		known := c.seen[report.ID]
		if report.Instance.Seq <= known.Seq {
			return hostv1.ReportTaken
		}
		if known.State == v1.InstanceStopped && report.Instance.State != v1.InstanceStopped {
			return hostv1.ReportRefused
		}
		c.seen[report.ID] = *report.Instance
		assignment.Reported = report.Instance.Seq
		if report.Instance.State == v1.InstanceStopped {
			assignment.Over = true
		}
		c.bump()
	case report.Task != nil:
		if _, ok := c.tasks[report.ID]; !ok {
			return hostv1.ReportUnknown
		}
		if report.Task.Seq <= c.outcomes[report.ID].Seq {
			return hostv1.ReportTaken
		}
		c.outcomes[report.ID] = *report.Task
		if report.Task.State != v1.TaskPending {
			delete(c.tasks, report.ID)
		}
		c.bump()
	}
	return hostv1.ReportTaken
}

func (c *cloud) assignments(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	epoch, _ := strconv.ParseUint(query.Get("epoch"), 10, 64)
	after, _ := strconv.ParseUint(query.Get("after"), 10, 64)
	wait, err := time.ParseDuration(query.Get("wait"))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		c.mutex.Lock()
		changed, stale, newer, set, behind := c.changed, epoch != c.epoch, c.generation > after, c.set(), c.behind
		c.mutex.Unlock()
		if stale {
			w.WriteHeader(http.StatusConflict)
			return
		}
		if behind != nil {
			if other := behind(r.URL.Host, set); other != nil {
				_, _ = w.Write(other) // a recorder takes everything
				return
			}
		}
		if newer {
			_, _ = w.Write(set) // a recorder takes everything
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// set needs the lock.
func (c *cloud) set() []byte {
	set := hostv1.Assignments{Cluster: c.cluster, Host: hostID, Epoch: c.epoch, Generation: c.generation}
	for _, each := range c.instances {
		set.Instances = append(set.Instances, *each)
	}
	for _, each := range c.tasks {
		set.Tasks = append(set.Tasks, each)
	}
	slices.SortFunc(set.Instances, func(a, b hostv1.Assignment) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(set.Tasks, func(a, b hostv1.Task) int { return strings.Compare(a.ID, b.ID) })
	return encode(set)
}

func encode(set hostv1.Assignments) []byte {
	set.Digest = set.ComputeDigest()
	body, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return body
}

// bump needs the lock.
func (c *cloud) bump() {
	c.history = append(c.history, c.set())
	c.generation++
	close(c.changed)
	c.changed = make(chan struct{})
}

// ---- what a test does ----

func (c *cloud) change(change func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	change()
	c.bump()
}

func (c *cloud) desire(id string, desired v1.DesiredState, force bool) {
	c.change(func() { c.instances[id].Desired = v1.InstanceDesired{State: desired, Force: force} })
}

func (c *cloud) give(assignment hostv1.Assignment) string {
	c.change(func() { c.instances[assignment.ID] = &assignment })
	return assignment.ID
}

func (c *cloud) observed(id string) v1.InstanceObserved {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.seen[id]
}

func (c *cloud) order(taskType v1.TaskType, args any) string {
	encoded, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	id := newID()
	c.change(func() {
		c.tasks[id] = hostv1.Task{ID: id, Spec: v1.TaskSpec{Host: hostID, Type: taskType, Args: encoded}}
	})
	return id
}

func (c *cloud) outcome(id string) v1.TaskStatus {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.outcomes[id]
}

func (c *cloud) locked(do func()) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	do()
}

var _ http.RoundTripper = (*cloud)(nil)

// cut is a context that a test ends, with a way to wait for what runs under it.
type cut struct {
	cancel context.CancelFunc
	ended  chan error
}
