package bootstrap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Defaults of Options.
const (
	DefaultConfigDir = "/etc/coloa"
	DefaultDataDir   = "/var/lib/coloa"
	DefaultName      = "coloa"
	DefaultAdmin     = "admin"
	DefaultPort      = 8443
)

// TokenLifetime is how long the one-time token is good for.
const TokenLifetime = 24 * time.Hour

// Options say what cloud to make. The zero value is good on an ordinary server.
type Options struct {
	Name      string // of the cloud; a DNS label
	ConfigDir string // absolute; comes into being as a whole
	DataDir   string // absolute
	Address   string // IP address or host name by which people, hosts and other controllers reach this server; its primary address when left out. It may end with :port
	HostName  string // of this server; the kernel's when left out
	Admin     string // name of the first user, a platform administrator
	// Port is the API's; the hosts' port is the next one, then the controllers', then the agent's. 8443 when left out. One in Address wins.
	Port int
	// Now is the clock; time.Now when left out.
	Now func() time.Time
}

// withDefaults fills in what was left out, and refuses what makes no sense with a problem that names the field.
func (options Options) withDefaults() (Options, error) {
	setDefault(&options.Name, DefaultName)
	setDefault(&options.ConfigDir, DefaultConfigDir)
	setDefault(&options.DataDir, DefaultDataDir)
	setDefault(&options.Admin, DefaultAdmin)
	if host, port, err := net.SplitHostPort(options.Address); err == nil {
		options.Address = host
		if options.Port, err = strconv.Atoi(port); err != nil {
			options.Port = -1 // refused below
		}
	}
	setDefault(&options.Address, primaryAddress())
	if options.HostName == "" {
		name, err := os.Hostname()
		if err != nil {
			return options, fmt.Errorf("ask the kernel for this server's name: %w", err)
		}
		options.HostName = name
	}
	if options.Port == 0 {
		options.Port = DefaultPort
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	options.Address = strings.Trim(options.Address, "[]") // an IPv6 address as it stands in a URL
	for _, check := range []struct {
		ok           bool
		field, value string
		rule         string
	}{
		{v1.IsName(options.Name), "name", options.Name, "lower-case letters, digits and hyphens, at most 63"},
		{v1.IsName(options.Admin), "admin", options.Admin, "lower-case letters, digits and hyphens, at most 63"},
		{isAddress(options.Address), "address", options.Address, "an IP address that others can dial, or a host name"},
		{isHostName(options.HostName), "hostName", options.HostName, "a host name"},
		{filepath.IsAbs(options.ConfigDir) && filepath.Clean(options.ConfigDir) != "/", "configDir", options.ConfigDir, "the absolute path of a folder"},
		{filepath.IsAbs(options.DataDir) && filepath.Clean(options.DataDir) != "/", "dataDir", options.DataDir, "the absolute path of a folder"},
		{options.Port > 0 && options.Port+lastPort <= 65535, "port", strconv.Itoa(options.Port), fmt.Sprintf("a number from 1 to %d", 65535-lastPort)},
	} {
		if !check.ok {
			return options, v1.NewProblem(v1.CodeInvalid, "%s %q is not %s", check.field, check.value, check.rule).WithField(check.field).WithNext("Correct it and run the command again.")
		}
	}
	options.ConfigDir, options.DataDir = filepath.Clean(options.ConfigDir), filepath.Clean(options.DataDir)
	return options, nil
}

func setDefault(text *string, value string) {
	if *text == "" {
		*text = value
	}
}

// The ports in their order from Options.Port.
const (
	portAPI = iota
	portHosts
	portControllers
	portAgent
	lastPort = portAgent
)

// reachedAt is where others dial a part of this server.
func (options Options) reachedAt(part int) string {
	return net.JoinHostPort(options.Address, strconv.Itoa(options.Port+part))
}

// listenAt is where a part listens: on every address, unless the cloud is for this machine alone.
func (options Options) listenAt(part int) string {
	host := ""
	if address, err := netip.ParseAddr(options.Address); (err == nil && address.IsLoopback()) || options.Address == "localhost" {
		host = options.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(options.Port+part))
}

func isAddress(text string) bool {
	if address, err := netip.ParseAddr(text); err == nil {
		return !address.IsUnspecified() && !address.IsMulticast() && address.Zone() == ""
	}
	return isHostName(text)
}

// isHostName allows what a certificate and a URL can carry without escaping.
func isHostName(text string) bool {
	if len(text) == 0 || len(text) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.ToLower(text), ".") {
		if !v1.IsName(label) {
			return false
		}
	}
	return true
}

// controllerID makes the name of this member of the Raft group from the host's: the first label, which fits the certificate.
func controllerID(hostName string) string {
	label, _, _ := strings.Cut(strings.ToLower(hostName), ".")
	return label
}

// primaryAddress is the address that this server uses towards others. Connecting a UDP socket sends nothing; it only asks the kernel for the route.
func primaryAddress() string {
	for _, elsewhere := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		connection, err := (&net.Dialer{}).DialContext(context.Background(), "udp", elsewhere)
		if err != nil {
			continue
		}
		_ = connection.Close()
		if local, ok := connection.LocalAddr().(*net.UDPAddr); ok && !local.IP.IsLoopback() && !local.IP.IsUnspecified() {
			return local.IP.String()
		}
	}
	return "127.0.0.1"
}
