package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/app"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Heartbeats are told of every sign of life; the host monitor of the leader takes them.
type Heartbeats interface {
	Beat(host string, heartbeat hostv1.Heartbeat)
}

// Files give the uploaded bytes of images.
type Files interface {
	Open(id string) (*os.File, error)
}

// Dispatcher serves hosts.
type Dispatcher struct {
	Cluster string
	Store   *state.Store
	Node    *raftnode.Node
	// Propose writes an entry (leader only).
	Propose    func(context.Context, *state.Txn) error
	Heartbeats Heartbeats
	Files      Files
	// Controllers returns where all controllers serve hosts.
	Controllers    func() []hostv1.Controller
	HeartbeatEvery time.Duration
	Logger         *slog.Logger

	reports reportQueue
}

// Identify finds the host that a request comes from.
type Identify func(*http.Request) (host string, err error)

// Handler serves the host protocol. identify must take the host from the client certificate, or, for requests that another controller forwards, from what that controller found.
func (d *Dispatcher) Handler(identify Identify) http.Handler {
	mux := http.NewServeMux()
	serve := func(pattern string, onLeader bool, handle func(w http.ResponseWriter, r *http.Request, host string)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			host, err := identify(r)
			if err != nil || !v1.IsID(host) {
				app.WriteProblem(w, v1.NewProblem(v1.CodeUnauthenticated, "the certificate names no host of this cloud"))
				return
			}
			if onLeader && !d.Node.IsLeader() {
				if raftnode.PeerID(r) != "" { // two members that each take the other for the leader would pass it on for ever
					app.WriteProblem(w, notLeading())
					return
				}
				r.Header.Set(HeaderHost, host)
				app.Forward(d.Node, w, r)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, hostv1.MaxBody)
			handle(w, r, host)
		})
	}
	serve("POST "+hostv1.PathRegister, true, d.register)
	serve("POST "+hostv1.PathHeartbeat, true, d.heartbeat)
	serve("POST "+hostv1.PathStatus, true, d.status)
	serve("GET "+hostv1.PathAssignments, false, d.assignments)
	serve("GET "+hostv1.PathImages+"{id}", false, d.image)
	return mux
}

// HeaderHost carries the host that a forwarding controller found. It is believed only on the controllers' own port.
const HeaderHost = "Coloa-Host"

// FromPeer identifies requests that another controller forwards.
func FromPeer(r *http.Request) (string, error) {
	if raftnode.PeerID(r) == "" {
		return "", errors.New("not from a controller")
	}
	return r.Header.Get(HeaderHost), nil
}

func (d *Dispatcher) register(w http.ResponseWriter, r *http.Request, host string) {
	var request hostv1.RegisterRequest
	if !decode(w, r, &request) {
		return
	}
	if problem := checkAddress(request.Address); problem != nil {
		app.WriteProblem(w, problem)
		return
	}
	for range 8 {
		snapshot := d.Store.Snapshot()
		txn := state.NewTxn(time.Now(), "host "+host)
		registered := registration(snapshot, host, request, txn.Time)
		if snapshot.Host(host) == nil {
			txn.Create(registered, "registered")
		} else {
			txn.Update(registered, "registered again")
		}
		err := d.Propose(r.Context(), txn)
		if errors.Is(err, state.ErrConflict) {
			continue
		}
		if err != nil {
			app.WriteProblem(w, v1.AsProblem(err))
			return
		}
		stored := d.Store.Snapshot().Host(host)
		if stored == nil {
			break // forgotten at once
		}
		d.Heartbeats.Beat(host, hostv1.Heartbeat{Epoch: stored.Status.Epoch})
		answer(w, hostv1.RegisterResponse{Cluster: d.Cluster, Epoch: stored.Status.Epoch, HeartbeatEvery: d.HeartbeatEvery, Controllers: d.Controllers()})
		return
	}
	app.WriteProblem(w, v1.NewProblem(v1.CodeConflict, "the host is being changed too quickly").WithNext("Try again."))
}

// registration is what a host becomes when it registers: a new epoch, what it found of itself, and for a host seen for the first time our defaults.
func registration(s *state.Snapshot, id string, request hostv1.RegisterRequest, now time.Time) *v1.Host {
	var host *v1.Host
	if known := s.Host(id); known != nil {
		host = known.Clone()
	} else {
		name, _, _ := strings.Cut(strings.ToLower(request.Name), ".") // some hosts call themselves by their whole DNS name
		if !v1.IsName(name) {
			name = "host"
		}
		if s.ByName(v1.KindHost, "", name) != nil {
			tail := "-" + v1.Short(id)
			name = name[:min(len(name), v1.MaxNameLength-len(tail))] + tail
		}
		host = &v1.Host{
			Meta: v1.Meta{ID: id, Name: name},
			Spec: v1.HostSpec{Schedulable: true, SecurityLevel: 1, CPUOvercommit: 4, StorageOvercommit: 2, ReservedMemoryMiB: reserved(request.Inventory.MemoryMiB)},
		}
	}
	if host.Status.Phase != v1.HostReady {
		host.Status.Phase, host.Status.Since = v1.HostReady, now
	}
	host.Status.Epoch = 0 // the entry's own index (state.apply)
	host.Status.BootID, host.Status.Address, host.Status.Version = request.BootID, request.Address, request.Version
	host.Status.Inventory = request.Inventory
	return host
}

// checkAddress sees to it that we dial what a host says, and nothing else.
func checkAddress(address string) *v1.Problem {
	if parsed, err := url.Parse("https://" + address + "/"); address != "" && (err != nil || parsed.Host != address || parsed.Hostname() == "" || parsed.Port() == "") {
		return v1.NewProblem(v1.CodeInvalid, "address: must be host:port").WithField("address")
	}
	return nil
}

// reserved is what a host keeps for itself: an eighth, and at least half a GiB.
func reserved(memoryMiB int64) int64 { return max(512, memoryMiB/8) }

func (d *Dispatcher) heartbeat(w http.ResponseWriter, r *http.Request, host string) {
	var beat hostv1.Heartbeat
	if !decode(w, r, &beat) {
		return
	}
	known := d.Store.Snapshot().Host(host)
	if known == nil || known.Status.Epoch != beat.Epoch {
		staleEpoch(w)
		return
	}
	d.Heartbeats.Beat(host, beat)
	answer(w, struct{}{})
}

func notLeading() *v1.Problem {
	return v1.NewProblem(v1.CodeUnavailable, "this controller does not lead").WithNext("Try again shortly.")
}

func staleEpoch(w http.ResponseWriter) {
	app.WriteProblem(w, v1.NewProblem(v1.CodeConflict, "the epoch is old").WithNext("Register again."))
}

// maxWait bounds a long poll.
const maxWait = 60 * time.Second

// assignments answers the long poll. Any controller may: a set is a pure function of the state at its generation, and an agent refuses what is older than what it has.
func (d *Dispatcher) assignments(w http.ResponseWriter, r *http.Request, host string) {
	query := r.URL.Query()
	epoch, err1 := strconv.ParseUint(query.Get("epoch"), 10, 64)
	after, err2 := strconv.ParseUint(query.Get("after"), 10, 64)
	wait, err3 := time.ParseDuration(query.Get("wait"))
	if query.Get("wait") == "" {
		wait, err3 = 0, nil
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		app.WriteProblem(w, v1.NewProblem(v1.CodeMalformed, "%v", err))
		return
	}
	timer := time.NewTimer(min(max(wait, 0), maxWait))
	defer timer.Stop()
	for {
		snapshot := d.Store.Snapshot()
		changed := snapshot.WatchGeneration(host)
		known := snapshot.Host(host)
		switch {
		case known != nil && known.Status.Epoch > epoch:
			staleEpoch(w)
			return
		case known == nil && d.Node.IsLeader():
			staleEpoch(w) // forgotten: it must register
			return
		case known != nil && known.Status.Epoch == epoch && snapshot.Generation(host) > after:
			answer(w, AssignmentsOf(snapshot, d.Cluster, host))
			return
		}
		select {
		case <-changed:
		case <-snapshot.Abandoned():
		case <-timer.C:
			w.WriteHeader(http.StatusNotModified)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// AssignmentsOf is a host's complete desired set: a pure function of the state.
func AssignmentsOf(s *state.Snapshot, cluster, host string) hostv1.Assignments {
	set := hostv1.Assignments{Cluster: cluster, Host: host, Generation: s.Generation(host), Instances: []hostv1.Assignment{}, Tasks: []hostv1.Task{}}
	if known := s.Host(host); known != nil {
		set.Epoch = known.Status.Epoch
	}
	for _, instance := range s.InstancesOn(host) {
		assignment := hostv1.Assignment{
			ID: instance.ID, Project: instance.Project, Spec: instance.Spec, Desired: instance.Desired, Reported: instance.Observed.Seq, Over: !instance.Live(),
		}
		if assignment.Over {
			// It never runs again: without what its guest was told (64 KiB of user-data each), the machines that are stopped cannot fill a host's set.
			assignment.Spec.Seed, assignment.Spec.Labels = v1.Seed{}, nil
		}
		set.Instances = append(set.Instances, assignment)
	}
	for _, task := range s.TasksOn(host) {
		if task.Status.State == v1.TaskPending {
			set.Tasks = append(set.Tasks, hostv1.Task{ID: task.ID, Spec: task.Spec})
		}
	}
	set.Digest = set.ComputeDigest()
	return set
}

// image serves the uploaded bytes of an image to a host.
func (d *Dispatcher) image(w http.ResponseWriter, r *http.Request, _ string) {
	id := r.PathValue("id")
	image := d.Store.Snapshot().Image(id)
	if image == nil || image.Status.Keeper != d.Node.ID() {
		app.WriteProblem(w, v1.NewProblem(v1.CodeNotFound, "this controller does not keep the image"))
		return
	}
	file, err := d.Files.Open(id)
	if err != nil {
		app.WriteProblem(w, v1.NewProblem(v1.CodeNotFound, "the image's bytes are not here"))
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, file)
}

func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(r.Body)
	if err := decoder.Decode(into); err != nil {
		app.WriteProblem(w, v1.NewProblem(v1.CodeMalformed, "the body cannot be read: %v", err))
		return false
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		app.WriteProblem(w, v1.NewProblem(v1.CodeMalformed, "the body goes on after its end"))
		return false
	}
	return true
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // nobody puts this into a page, and it would make user-data six times as long
	_ = encoder.Encode(value)    // the host has gone
}
