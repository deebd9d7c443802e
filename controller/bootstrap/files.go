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
	ID          string   `json:"id"`
	Cluster     string   `json:"cluster"`
	DataDir     string   `json:"dataDir"`
	LogStore    string   `json:"logStore"`
	Authority   string   `json:"authority"`
	Certificate string   `json:"certificate"`
	First       string   `json:"first"`
	API         API      `json:"api"`
	Hosts       Listener `json:"hosts"`
	Raft        Listener `json:"raft"`
	Log         Log      `json:"log"`
}

// API is the port for people.
type API struct {
	Listen      string `json:"listen"`
	Certificate string `json:"certificate"`
	// Endpoint is the URL under which people reach it.
	Endpoint string `json:"endpoint"`
}

// Listener is a port for our own parts: where it listens, and where it is reached.
type Listener struct {
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"`
}

// Log says how much is logged: debug, info, warn or error; text or json.
type Log struct {
	Level  string `json:"level"`
	Format string `json:"format"`
}

func controllerConfiguration(options Options, cluster string) Controller {
	in := func(name string) string { return filepath.Join(options.ConfigDir, name) }
	return Controller{
		ID: controllerID(options.HostName), Cluster: cluster, DataDir: filepath.Join(options.DataDir, "controller"), LogStore: "wal",
		Authority: in(CAFile), Certificate: in(ControllerCertificate), First: in(FirstFile),
		API:   API{Listen: options.listenAt(portAPI), Certificate: in(APICertificate), Endpoint: "https://" + options.reachedAt(portAPI)},
		Hosts: Listener{Listen: options.listenAt(portHosts), Advertise: options.reachedAt(portHosts)},
		Raft:  Listener{Listen: options.listenAt(portControllers), Advertise: options.reachedAt(portControllers)},
		Log:   Log{Level: "info", Format: "text"},
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
	return writeYAML(filepath.Join(stage, AgentFile), agentHead, agentConfiguration(options, cluster))
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
