// Package controller is one member of the Raft group that decides everything and does nothing. This package only wires: what it is made of
// lives in internal/, a folder a room. bootstrap makes the files of a new cloud.
package controller

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coloa-cloud/coloa/api/httpapi"
	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// Options say what a Controller is made of.
type Options struct {
	ID      string // this member, a DNS label, as in its certificate
	Cluster string // id of the cloud
	DataDir string // belongs to this member alone
	Version string
	// LogStore is "wal" (default), "boltdb", or "memory" (simulations).
	LogStore string

	// Where to listen, host:port; empty serves nothing there (testbed: use the handlers).
	APIAddress, HostAddress string
	// RaftAddress is where to listen for the other members, RaftAdvertise where they reach this one.
	RaftAddress, RaftAdvertise string
	// HostAdvertise is where agents reach this member's host port.
	HostAdvertise string

	// APITLS serves people, HostTLS agents. PeerServer and PeerClient are for the other members (see raftnode.Options), AgentClient dials the agents' own port.
	APITLS, HostTLS, PeerServer *tls.Config
	PeerClient                  func(id string) *tls.Config
	AgentClient                 func(host string) *tls.Config
	// AgentTransport replaces AgentClient (testbed).
	AgentTransport func(host string) http.RoundTripper
	// Fabric replaces RaftAddress and the peers' TLS (testbed).
	Fabric raftnode.Fabric

	// First is what a new cloud begins with, or what lets an administrator into one that exists. Only one member has it, and it is used once.
	First *First

	// Limits bound what clients of the API can take.
	Limits httpapi.Limits
	// Tuning; zero means the default.
	HeartbeatEvery time.Duration // how often agents report (2 s)
	SilentAfter    time.Duration // when a host counts as silent (10 s)
	Raft           RaftTimes

	Logger   *slog.Logger
	Registry *prometheus.Registry
}

// RaftTimes are the times of the Raft group; zero means the default.
type RaftTimes struct{ Heartbeat, Election, Lease time.Duration }

// First is what a new cloud begins with.
type First struct {
	Cluster   string    `json:"cluster"` // id
	Name      string    `json:"name"`
	Admin     string    `json:"admin"`     // name of the first user, a platform administrator
	TokenHash string    `json:"tokenHash"` // SHA-256 of the one-time token, hexadecimal
	ExpiresAt time.Time `json:"expiresAt"` // of that token
	Created   time.Time `json:"created"`
	// Recovery lets the user Admin into a cloud that exists (`coloa cluster recover`); it never founds one.
	Recovery bool `json:"recovery,omitempty"`
}
