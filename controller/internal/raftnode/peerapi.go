package raftnode

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"context"
)

// Messages between controllers, JSON. Unknown fields are ignored, so that members of two versions understand each other during an upgrade.
type (
	indexMessage struct {
		Index uint64 `json:"index"`
	}
	joinMessage struct {
		Address string `json:"address"`
	}
	statusMessage struct {
		ID        string `json:"id"`
		LastIndex uint64 `json:"lastIndex"`
	}
	problemMessage struct {
		Code          string `json:"code"`
		Message       string `json:"message"`
		LeaderID      string `json:"leaderID,omitempty"`
		LeaderAddress string `json:"leaderAddress,omitempty"`
	}
)

// Errors that keep their meaning on the way to another controller.
var codes = map[string]error{
	"not-leader":       ErrNotLeader,
	"outcome-unknown":  ErrOutcomeUnknown,
	"busy":             ErrBusy,
	"shutting-down":    ErrShuttingDown,
	"too-many-members": ErrTooManyMembers,
	"last-member":      ErrLastMember,
}

const maxMessageBytes = 64 << 10

func (n *Node) serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /raft/v1/status", n.answer(func(*http.Request) (any, error) {
		return statusMessage{ID: n.ID(), LastIndex: n.raft.LastIndex()}, nil
	}))
	mux.HandleFunc("GET /raft/v1/read-index", n.answer(func(r *http.Request) (any, error) {
		// Only the leader itself may answer: passing the question on could go in a circle.
		index, err := n.readOnLeader(r.Context())
		return indexMessage{index}, err
	}))
	mux.HandleFunc("POST /raft/v1/join", n.answer(func(r *http.Request) (any, error) {
		var message joinMessage
		if err := decode(r, &message); err != nil {
			return nil, err
		}
		// Who joins, the certificate says; only where it can be reached is its own word.
		return nil, n.AddMember(r.Context(), PeerID(r), message.Address)
	}))
	mux.HandleFunc("POST /raft/v1/members", n.answer(n.fromMember(func(r *http.Request) (any, error) {
		var message Member
		if err := decode(r, &message); err != nil {
			return nil, err
		}
		if n.term.Load() == nil {
			return nil, n.notLeader()
		}
		return nil, n.AddMember(r.Context(), message.ID, message.Address)
	})))
	mux.HandleFunc("DELETE /raft/v1/members/{id}", n.answer(n.fromMember(func(r *http.Request) (any, error) {
		if n.term.Load() == nil {
			return nil, n.notLeader()
		}
		return nil, n.RemoveMember(r.Context(), r.PathValue("id"))
	})))
	mux.HandleFunc("POST /raft/v1/removed", n.answer(n.fromMember(func(*http.Request) (any, error) {
		n.removed()
		return nil, nil
	})))
	mux.Handle("/raft/", http.NotFoundHandler())
	mux.Handle("/", n.options.PeerHandler)

	var protocols http.Protocols
	protocols.SetHTTP1(true) // the fabric in memory
	protocols.SetHTTP2(true)
	n.server = &http.Server{
		Handler:           mux,
		Protocols:         &protocols,
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxMessageBytes,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence},
		BaseContext:       func(net.Listener) context.Context { return n.alive },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := n.server.Serve(listenOn(n.fabric, ProtocolHTTP)); err != nil && n.alive.Err() == nil {
			n.log.Error("the server for other controllers ended", "error", err)
		}
	}()
}

// fromMember admits members of the group only, not every controller that has a certificate.
func (n *Node) fromMember(do func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		if _, ok := n.member(PeerID(r)); !ok {
			return nil, &refusedError{"controller " + PeerID(r) + " is not a member of this group"}
		}
		return do(r)
	}
}

// refusedError is the caller's mistake.
type refusedError struct{ reason string }

func (e *refusedError) Error() string { return e.reason }

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxMessageBytes)).Decode(into); err != nil {
		return &refusedError{"the message cannot be read: " + err.Error()}
	}
	return nil
}

// answer turns a function into a handler. The error's meaning travels as a code.
func (n *Node) answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		content, err := do(r)
		w.Header().Set("Content-Type", "application/json")
		if err == nil {
			if content == nil {
				content = struct{}{}
			}
			_ = json.NewEncoder(w).Encode(content)
			return
		}
		problem, status := problemMessage{Code: "failed", Message: err.Error()}, http.StatusServiceUnavailable
		for code, known := range codes {
			if errors.Is(err, known) {
				problem.Code = code
			}
		}
		var notLeader *NotLeaderError
		if errors.As(err, &notLeader) {
			problem.LeaderID, problem.LeaderAddress = notLeader.LeaderID, notLeader.LeaderAddress
			status = http.StatusMisdirectedRequest
		}
		var refused *refusedError
		if errors.As(err, &refused) {
			problem.Code, status = "refused", http.StatusBadRequest
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(problem)
	}
}
