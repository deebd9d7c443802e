package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

const (
	defaultConfigFile = "/etc/coloa/agent.yaml"
	environmentPrefix = "COLOA_AGENT_"
	bootIDFile        = "/proc/sys/kernel/random/boot_id"
)

// config is the agent's configuration. The file, the environment (COLOA_AGENT_DATA_FOLDER) and the flags (--data-folder) use the same names.
type config struct {
	Controllers []string `koanf:"controllers"`
	Certificate string   `koanf:"certificate"`
	Key         string   `koanf:"key"`
	Authority   string   `koanf:"authority"`
	DataFolder  string   `koanf:"data-folder"`
	Listen      string   `koanf:"listen"`
	Advertise   string   `koanf:"advertise"`
	LibvirtURI  string   `koanf:"libvirt-uri"`
	PoolFolder  string   `koanf:"pool-folder"`
	HostName    string   `koanf:"host-name"`
	BootID      string   `koanf:"boot-id"`
	LogLevel    string   `koanf:"log-level"`
}

// addFlags declares every setting, with its default.
func addFlags(flags *pflag.FlagSet) {
	flags.StringSlice("controllers", nil, "addresses of controllers, host:port of their host port (8444)")
	flags.String("certificate", "/etc/coloa/pki/host.pem", "PEM file with this host's certificate")
	flags.String("key", "", "PEM file with its key; the certificate's file when left out")
	flags.String("authority", "/etc/coloa/pki/ca.pem", "PEM file with the cluster's authority")
	flags.String("data-folder", "/var/lib/coloa/agent", "folder for ledger, cloud-init seeds and serial logs")
	flags.String("listen", ":8446", "address to serve controllers on")
	flags.String("advertise", "", "host:port under which controllers reach this agent; made from the host name and the port when left out")
	flags.String("libvirt-uri", "qemu:///system", "libvirt on this host")
	flags.String("pool-folder", "/var/lib/coloa/pool", "folder of the local storage pool")
	flags.String("host-name", "", "name of this host, for people; the system's when left out")
	flags.String("boot-id", "", "identifier of this boot; the kernel's when left out")
	flags.String("log-level", "info", "debug, info, warn or error")
}

// loadConfig reads file, environment and flags, the later ones over the earlier ones. A name that is not a setting is an error, so that a typing
// mistake does not leave a default in force.
func loadConfig(path string, pathGiven bool, flags *pflag.FlagSet, environment []string) (config, error) {
	known := []string{}
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "config" && flag.Name != "help" {
			known = append(known, flag.Name)
		}
	})
	all := koanf.New("/") // no name has a slash: the names are flat
	if _, err := os.Stat(path); err == nil || pathGiven {
		if err := all.Load(file.Provider(path), yaml.Parser()); err != nil {
			return config{}, fmt.Errorf("configuration file %s: %w", path, err)
		}
	}
	if err := onlyKnown(all, known, path); err != nil {
		return config{}, err
	}
	fromEnvironment := koanf.New("/")
	err := fromEnvironment.Load(env.Provider("/", env.Opt{
		Prefix:      environmentPrefix,
		EnvironFunc: func() []string { return environment },
		TransformFunc: func(key, value string) (string, any) {
			name := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(key, environmentPrefix)), "_", "-")
			if name == "controllers" {
				return name, strings.Split(value, ",")
			}
			return name, value
		},
	}), nil)
	if err != nil {
		return config{}, fmt.Errorf("environment: %w", err)
	}
	if err := onlyKnown(fromEnvironment, append(known, "config"), "the environment ("+environmentPrefix+"…)"); err != nil {
		return config{}, err
	}
	if err := all.Merge(fromEnvironment); err != nil {
		return config{}, err
	}
	all.Delete("config")
	// Flags that were given win; defaults fill what nobody has set.
	if err := all.Load(posflag.Provider(flags, "/", all), nil); err != nil {
		return config{}, fmt.Errorf("flags: %w", err)
	}
	var result config
	if err := all.UnmarshalWithConf("", &result, koanf.UnmarshalConf{Tag: "koanf"}); err != nil {
		return config{}, fmt.Errorf("configuration: %w", err)
	}
	return result, result.complete()
}

func onlyKnown(from *koanf.Koanf, known []string, where string) error {
	for _, key := range from.Keys() {
		if !slices.Contains(known, key) {
			return fmt.Errorf("%s: unknown setting %q; there are: %s", where, key, strings.Join(known, ", "))
		}
	}
	return nil
}

// complete checks the settings and fills in what the system knows.
func (c *config) complete() error {
	if len(c.Controllers) == 0 {
		return errors.New("no controllers: give at least one address (--controllers, or controllers: in the configuration file)")
	}
	for _, address := range c.Controllers {
		if err := checkAddress(address, false); err != nil {
			return fmt.Errorf("controllers: %w", err)
		}
	}
	if err := checkAddress(c.Listen, true); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for name, path := range map[string]string{"data-folder": c.DataFolder, "pool-folder": c.PoolFolder} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s: %q is not an absolute path", name, path)
		}
	}
	if _, err := c.level(); err != nil {
		return err
	}
	if c.HostName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("host-name: the system does not say it: %w", err)
		}
		c.HostName = name
	}
	if c.Advertise == "" {
		_, port, _ := net.SplitHostPort(c.Listen) // checked above
		c.Advertise = net.JoinHostPort(c.HostName, port)
	}
	if err := checkAddress(c.Advertise, false); err != nil {
		return fmt.Errorf("advertise: %w", err)
	}
	if c.BootID == "" {
		text, err := os.ReadFile(bootIDFile)
		if err != nil {
			return fmt.Errorf("boot-id: %w", err)
		}
		c.BootID = string(bytes.TrimSpace(text))
	}
	return nil
}

func checkAddress(address string, anyHost bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port: %w", address, err)
	}
	if host == "" && !anyHost {
		return fmt.Errorf("%q does not name a host", address)
	}
	if strings.ContainsAny(host, "/@?#") {
		return fmt.Errorf("%q is not host:port", address)
	}
	if number, err := net.LookupPort("tcp", port); err != nil || number == 0 && !anyHost {
		return fmt.Errorf("%q has no valid port", address)
	}
	return nil
}

func (c *config) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, fmt.Errorf("log-level: %q is not debug, info, warn or error", c.LogLevel)
	}
	return level, nil
}
