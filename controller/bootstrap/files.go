package bootstrap

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

// Names in the configuration's folder.
const (
	ControllerFile        = "controller.yaml"
	AgentFile             = "agent.yaml"
	CAFile                = "ca.pem"         // the authority's certificate, for everybody
	AuthorityDir          = "ca"             // the authority with its key, for root alone
	ControllerCertificate = "controller.pem" // certificate and key of this member
	APICertificate        = "api.pem"        // what browsers and the CLI see
	HostCertificate       = "host.pem"       // the agent's
	FirstFile             = "first.json"     // what the cloud begins with
)

// Controller is controller.yaml. cmd/coloa-controller reads it, and refuses keys that are not here.
type Controller struct {
	ID             string `json:"id"`
	Cluster        string `json:"cluster"`
	DataFolder     string `json:"data-folder"`
	LogStore       string `json:"log-store"`
	Authority      string `json:"authority"`
	Certificate    string `json:"certificate"`
	First          string `json:"first"`
	APIListen      string `json:"api-listen"`
	APICertificate string `json:"api-certificate"`
	APIEndpoint    string `json:"api-endpoint"` // URL under which people reach the API
	HostsListen    string `json:"hosts-listen"`
	HostsAdvertise string `json:"hosts-advertise"`
	RaftListen     string `json:"raft-listen"`
	RaftAdvertise  string `json:"raft-advertise"`
	LogLevel       string `json:"log-level"`  // debug, info, warn or error
	LogFormat      string `json:"log-format"` // text or json
	// As Go writes durations ("2s"); the controller's defaults when left out.
	HeartbeatEvery string `json:"heartbeat-every,omitempty"`
	SilentAfter    string `json:"silent-after,omitempty"`
}

// agent is agent.yaml as cmd/coloa-agent reads it, the part that differs from its defaults.
type agent struct {
	Controllers []string `json:"controllers"`
	Authority   string   `json:"authority"`
	Certificate string   `json:"certificate"`
	DataFolder  string   `json:"data-folder"`
	PoolFolder  string   `json:"pool-folder"`
	HostName    string   `json:"host-name"`
	Listen      string   `json:"listen"`
	Advertise   string   `json:"advertise"`
}

func controllerConfiguration(options Options, cluster string) Controller {
	in := func(name string) string { return filepath.Join(options.ConfigDir, name) }
	return Controller{
		ID: controllerID(options.HostName), Cluster: cluster, DataFolder: filepath.Join(options.DataDir, "controller"), LogStore: "wal",
		Authority: in(CAFile), Certificate: in(ControllerCertificate), First: in(FirstFile),
		APIListen: options.listenAt(portAPI), APICertificate: in(APICertificate), APIEndpoint: "https://" + options.reachedAt(portAPI),
		HostsListen: options.listenAt(portHosts), HostsAdvertise: options.reachedAt(portHosts),
		RaftListen: options.listenAt(portControllers), RaftAdvertise: options.reachedAt(portControllers),
		LogLevel: "info", LogFormat: "text",
	}
}

func agentConfiguration(options Options) agent {
	return agent{
		Controllers: []string{options.reachedAt(portHosts)},
		Authority:   filepath.Join(options.ConfigDir, CAFile), Certificate: filepath.Join(options.ConfigDir, HostCertificate),
		DataFolder: filepath.Join(options.DataDir, "agent"), PoolFolder: filepath.Join(options.DataDir, "pool"),
		HostName: options.HostName, Listen: options.listenAt(portAgent), Advertise: options.reachedAt(portAgent),
	}
}

const (
	controllerHead = "# The controller's configuration. Environment variables COLOA_CONTROLLER_... and flags override it: coloa-controller --help.\n"
	agentHead      = "# The agent's configuration. Environment variables COLOA_AGENT_... and flags override it: coloa-agent --help.\n"
)

func writeConfigurations(stage string, options Options, cluster string) error {
	if err := writeYAML(filepath.Join(stage, ControllerFile), controllerHead, controllerConfiguration(options, cluster)); err != nil {
		return err
	}
	return writeYAML(filepath.Join(stage, AgentFile), agentHead, agentConfiguration(options))
}

func writeYAML(path, head string, value any) error {
	text, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	return writeFile(path, append([]byte(head), text...), 0o644)
}

func readController(configDir string) (Controller, error) {
	text, err := os.ReadFile(filepath.Join(configDir, ControllerFile))
	if err != nil {
		return Controller{}, fmt.Errorf("read the controller's configuration: %w", err)
	}
	var configuration Controller
	if err := yaml.UnmarshalStrict(text, &configuration); err != nil {
		return Controller{}, fmt.Errorf("read %s: %w", filepath.Join(configDir, ControllerFile), err)
	}
	return configuration, nil
}

// writeFile replaces a file whole or not at all, and durably.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes names in a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	return folder.Sync()
}

// lock keeps two runs apart. It locks the folder itself, so that no lock file stays behind.
func lock(folder string) (unlock func(), err error) {
	file, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", folder, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("another run is making a cloud on this server (%s is locked: %w); wait until it has ended", folder, err)
	}
	return func() { _ = file.Close() }, nil
}
