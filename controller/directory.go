package controller

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// directory knows where all members serve hosts: agents are told at their registration. Each member asks the others for theirs, since Raft knows only its own addresses. What was once learned
// is kept while its member is down: agents need it when the member is back.
type directory struct {
	node  *raftnode.Node
	own   string
	mu    sync.Mutex
	known map[string]string // by id
	asked time.Time         // when list last asked
}

const (
	pathHosts     = "/controller/v1/hosts" // between controllers: hostv1.Controller
	askAgain      = time.Minute
	askUnknown    = time.Second
	askWithin     = time.Second
	maxHostAnswer = 4 << 10
)

func newDirectory(node *raftnode.Node, own string) *directory {
	return &directory{node: node, own: own, known: map[string]string{}}
}

// serve answers another controller.
func (d *directory) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(hostv1.Controller{ID: d.node.ID(), Address: d.own}) // the other one has gone
}

// list returns the members whose host port is known. It asks at once those that are not, at most once a second.
func (d *directory) list() []hostv1.Controller {
	list, complete := d.look()
	if complete {
		return list
	}
	d.mu.Lock()
	early := time.Since(d.asked) < askUnknown
	if !early {
		d.asked = time.Now()
	}
	d.mu.Unlock()
	if !early {
		ctx, cancel := context.WithTimeout(context.Background(), askWithin)
		defer cancel()
		d.ask(ctx, false)
		list, _ = d.look()
	}
	return list
}

func (d *directory) look() (list []hostv1.Controller, complete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	members := d.node.Members()
	for _, member := range members {
		if member.ID == d.node.ID() {
			list = append(list, hostv1.Controller{ID: member.ID, Address: d.own})
		} else if address := d.known[member.ID]; address != "" {
			list = append(list, hostv1.Controller{ID: member.ID, Address: address})
		}
	}
	return list, len(list) == len(members)
}

// run asks the others until ctx ends: often those that are unknown, now and then all.
func (d *directory) run(ctx context.Context) {
	ticker := time.NewTicker(askUnknown)
	defer ticker.Stop()
	var askedAll time.Time
	for {
		all := time.Since(askedAll) > askAgain
		if all {
			askedAll = time.Now()
		}
		d.ask(ctx, all)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (d *directory) ask(ctx context.Context, all bool) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var asking sync.WaitGroup
	for _, member := range d.node.Members() {
		d.mu.Lock()
		known := d.known[member.ID] != ""
		d.mu.Unlock()
		if member.ID == d.node.ID() || (known && !all) {
			continue
		}
		asking.Go(func() {
			if address := d.askOne(ctx, member.ID); address != "" {
				d.mu.Lock()
				d.known[member.ID] = address
				d.mu.Unlock()
			}
		})
	}
	asking.Wait()
}

// askOne returns "" when the member does not answer: it is asked again.
func (d *directory) askOne(ctx context.Context, id string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, raftnode.PeerURL(id)+pathHosts, nil)
	if err != nil {
		return ""
	}
	response, err := d.node.PeerClient().Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var answer hostv1.Controller
	if response.StatusCode != http.StatusOK || json.NewDecoder(io.LimitReader(response.Body, maxHostAnswer)).Decode(&answer) != nil || answer.ID != id {
		return ""
	}
	return answer.Address
}
