package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// Forward answers a request through the leader, over the controllers' own port. A request of which nothing can have reached the leader is answered with CodeUnavailable, any other that broke
// with CodeOutcomeUnknown.
func Forward(node *raftnode.Node, w http.ResponseWriter, r *http.Request) {
	base, ok := waitLeader(node, r)
	if !ok {
		WriteProblem(w, v1.NewProblem(v1.CodeUnavailable, "no controller leads at the moment").WithNext("Try again shortly."))
		return
	}
	leader, err := url.Parse(base)
	if err != nil {
		WriteProblem(w, v1.NewProblem(v1.CodeInternal, "the leader's address is malformed"))
		return
	}
	var sent atomic.Bool
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(leader)
			p.Out.Host = r.Host
			trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
			p.Out = p.Out.WithContext(httptrace.WithClientTrace(p.Out.Context(), trace))
		},
		Transport:     node.PeerTransport(),
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			if !sent.Load() {
				WriteProblem(w, v1.NewProblem(v1.CodeUnavailable, "the leader cannot be reached").WithNext("Try again shortly."))
				return
			}
			WriteProblem(w, v1.NewProblem(v1.CodeOutcomeUnknown, "the leader was lost before it answered; the change may or may not have been made").
				WithNext("Look whether it was made, or send the request again with the same Idempotency-Key."))
		},
	}
	proxy.ServeHTTP(w, r)
}

func waitLeader(node *raftnode.Node, r *http.Request) (string, bool) {
	for range 60 { // an election takes a second or two
		if base, ok := node.LeaderURL(); ok {
			return base, true
		}
		select {
		case <-r.Context().Done():
			return "", false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return "", false
}

// WriteProblem answers with a problem.
func WriteProblem(w http.ResponseWriter, problem *v1.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	if problem.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(problem.Status)
	_ = json.NewEncoder(w).Encode(problem) // the client has gone
}
