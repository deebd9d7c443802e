// Package libvirt runs machines on the real hypervisor, through libvirtd. It holds what needs libvirt's library and nothing else: what a domain
// looks like is decided in domxml, what should run in the agent.
//
// One connection serves everything. Its story: the event loop is process-wide and registered before connecting; a keeper goroutine connects,
// notices that the connection is lost (libvirtd restarted, or hangs and fails the keepalive), and connects again, while calls return
// hypervisor.ErrUnavailable; guests are not touched by any of that. libvirt's calls cannot be cancelled, so each runs on its own goroutine and
// is abandoned when its deadline passes.
//
// The library is opened at run time: build with -tags libvirt_dlopen (the Makefile does). Without the tag the package compiles, and Open fails.
package libvirt

import (
	"errors"
	"log/slog"
	"time"
)

// ErrNoLibrary: this program or this host lacks libvirt's library. Waiting does not help.
var ErrNoLibrary = errors.New("libvirt's library is missing")

// Options of Open.
type Options struct {
	// URI of libvirtd; "" means qemu:///system. It must be on this host: files are opened by their paths.
	URI string
	// Cluster is the cloud's id. Domains without it in their metadata are not touched and not seen.
	Cluster string
	// Logger gets connects, losses and nothing else; nil means slog.Default().
	Logger *slog.Logger
	// CallTimeout bounds calls whose context has no earlier deadline; 0 means a minute.
	CallTimeout time.Duration
	// RunDirectory is where this libvirtd keeps the pid files of its guests; "" means /run/libvirt/qemu.
	RunDirectory string
	// LogDirectory is where this libvirtd logs what each qemu says; "" means /var/log/libvirt/qemu.
	LogDirectory string
}

func (options Options) withDefaults() Options {
	if options.URI == "" {
		options.URI = "qemu:///system"
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.CallTimeout <= 0 {
		options.CallTimeout = time.Minute
	}
	if options.RunDirectory == "" {
		options.RunDirectory = "/run/libvirt/qemu"
	}
	if options.LogDirectory == "" {
		options.LogDirectory = "/var/log/libvirt/qemu"
	}
	return options
}
