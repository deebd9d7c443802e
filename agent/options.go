package agent

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/identity"
	"github.com/coloa-cloud/coloa/agent/internal/link"
	"github.com/coloa-cloud/coloa/storage"
)

// Options of New. Nothing in it is read from the environment: the program coloa-agent does that, and the testbed makes its own.
type Options struct {
	Cluster  string // id of the cloud: from the certificate
	HostID   string // id of this host: from the certificate
	HostName string // for people
	Address  string // host:port under which controllers reach Handler
	Version  string // of the program
	BootID   string // differs after each boot of the host

	// Controllers are addresses (host:port of their host port) to begin with; more are learned.
	Controllers []string
	// Transport carries requests to controllers: NewTransport, or a direct way in a process of tests.
	Transport http.RoundTripper

	Hypervisor hypervisor.Hypervisor     // the caller closes it after Run
	Drivers    map[string]storage.Driver // by name, as in a volume's specification; the caller closes them after Run

	// DataFolder is where ledger, seeds and serial logs are kept; absolute. "" is allowed on simulated hosts, which then keep no logs.
	DataFolder string
	// Simulated keeps the ledger in memory and makes no cloud-init seeds, so that hundreds of hosts fit into a process.
	Simulated bool

	Logger *slog.Logger // nil: slog.Default()
}

func (o *Options) check() error {
	switch {
	case o.Cluster == "" || o.HostID == "":
		return errors.New("agent: Options.Cluster and HostID must be given")
	case o.BootID == "":
		return errors.New("agent: Options.BootID must be given: without it a reboot of the host could not be noticed")
	case o.Hypervisor == nil || o.Transport == nil:
		return errors.New("agent: Options.Hypervisor and Transport must be given")
	case len(o.Controllers) == 0:
		return errors.New("agent: give the address of at least one controller")
	case !o.Simulated && !filepath.IsAbs(o.DataFolder), o.DataFolder != "" && !filepath.IsAbs(o.DataFolder):
		return errors.New("agent: Options.DataFolder must be an absolute path")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.HostName == "" {
		o.HostName = o.HostID
	}
	return nil
}

// NewTransport is the real way to the controllers: HTTP/2 with this TLS configuration (Identity.Client).
func NewTransport(config *tls.Config) http.RoundTripper { return link.NewTransport(config) }

// Identity is this host's certificate with the authority that it trusts, see OpenIdentity.
type Identity = identity.Identity

// IdentityFiles are the paths of its PEM files.
type IdentityFiles = identity.Files

// OpenIdentity reads the files. They are read again when they change.
func OpenIdentity(files IdentityFiles) (*Identity, error) { return identity.Open(files) }
