package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/coloa-cloud/coloa/controller/bootstrap"
)

const (
	environmentPrefix = "COLOA_CONTROLLER_"
	configFlag        = "config"
	separator         = "/" // of nested keys; there are none, names are flat
)

// configuration is what the controller was told, checked.
type configuration struct {
	bootstrap.Controller
	Folder                      string // of the configuration file
	HeartbeatEvery, SilentAfter time.Duration
	Level                       slog.Level
}

// about says what each key means; a test makes sure that every key is here. These are all keys there are.
var about = map[string]string{
	"id":              "id of this member, as in its certificate",
	"cluster":         "id of the cloud, as in its certificates",
	"data-folder":     "folder of this member alone",
	"log-store":       "how the Raft log is kept: wal or boltdb; never change it on an existing member",
	"authority":       "file with the certificate of the cloud's authority",
	"certificate":     "file with this member's certificate and key",
	"first":           "file that says what a new cloud begins with; used once, on the server that founds it",
	"heartbeat-every": "how often agents report",
	"silent-after":    "when a host counts as silent",
	"api-listen":      "where to listen for people, host:port",
	"api-certificate": "file with the certificate and key that people see",
	"api-endpoint":    "URL under which people reach the API",
	"hosts-listen":    "where to listen for agents, host:port",
	"hosts-advertise": "where agents reach this member, host:port",
	"raft-listen":     "where to listen for other controllers, host:port",
	"raft-advertise":  "where other controllers reach this member, host:port",
	"log-level":       "debug, info, warn or error",
	"log-format":      "text or json",
}

// defaults are what holds when nobody says otherwise.
var defaults = bootstrap.Controller{
	LogStore: "wal", HeartbeatEvery: "2s", SilentAfter: "10s", LogLevel: "info", LogFormat: "text",
	APIListen: ":8443", HostsListen: ":8444", RaftListen: ":8445",
}

func variableName(key string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

func addFlags(flags *pflag.FlagSet) {
	flags.String(configFlag, filepath.Join(bootstrap.DefaultConfigDir, bootstrap.ControllerFile), "configuration file (variable "+environmentPrefix+"CONFIG)")
	for key, text := range about {
		flags.String(key, "", text)
	}
}

// load reads defaults < file < environment < flags. Unknown keys are errors in all of them.
func load(flags *pflag.FlagSet, environment []string) (configuration, error) {
	k := koanf.New(separator)
	if err := k.Load(structs.Provider(defaults, "json"), nil); err != nil {
		return configuration{}, fmt.Errorf("load the defaults: %w", err)
	}
	path, err := configPath(flags, environment)
	if err != nil {
		return configuration{}, err
	}
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return configuration{}, fmt.Errorf("there is no configuration %s: make a cloud with coloa cluster init, or name another file with --config", path)
		}
		return configuration{}, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	if unknown := unknownKeys(k); len(unknown) > 0 {
		return configuration{}, fmt.Errorf("the configuration %s has unknown keys: %s; known are %s", path, strings.Join(unknown, ", "), strings.Join(knownKeys(), ", "))
	}
	if err := loadEnvironment(k, environment); err != nil {
		return configuration{}, err
	}
	provider := posflag.ProviderWithFlag(flags, separator, k, func(flag *pflag.Flag) (string, any) {
		if flag.Changed && flag.Name != configFlag {
			return flag.Name, flag.Value.String()
		}
		return "", nil
	})
	if err := k.Load(provider, nil); err != nil {
		return configuration{}, fmt.Errorf("read the flags: %w", err)
	}
	var raw bootstrap.Controller
	if err := k.UnmarshalWithConf("", &raw, koanf.UnmarshalConf{Tag: "json"}); err != nil {
		return configuration{}, fmt.Errorf("read the configuration %s: %w", path, err)
	}
	return check(raw, path)
}

func configPath(flags *pflag.FlagSet, environment []string) (string, error) {
	path, err := flags.GetString(configFlag)
	if err != nil {
		return "", err
	}
	if !flags.Changed(configFlag) {
		for _, entry := range environment {
			if value, ok := strings.CutPrefix(entry, environmentPrefix+"CONFIG="); ok && value != "" {
				path = value
			}
		}
	}
	return filepath.Abs(path)
}

func loadEnvironment(k *koanf.Koanf, environment []string) error {
	byVariable := map[string]string{}
	for key := range about {
		byVariable[variableName(key)] = key
	}
	var unknown []string
	provider := env.Provider(separator, env.Opt{
		Prefix:      environmentPrefix,
		EnvironFunc: func() []string { return environment },
		TransformFunc: func(name, value string) (string, any) {
			if key, known := byVariable[name]; known {
				return key, value
			}
			if name != environmentPrefix+"CONFIG" {
				unknown = append(unknown, name)
			}
			return "", nil
		},
	})
	if err := k.Load(provider, nil); err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("unknown environment variables: %s", strings.Join(unknown, ", "))
	}
	return nil
}

func unknownKeys(k *koanf.Koanf) []string {
	var unknown []string
	for _, key := range k.Keys() {
		if _, known := about[key]; !known {
			unknown = append(unknown, key)
		}
	}
	return unknown
}

func knownKeys() []string {
	var keys []string
	for key := range about {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func check(raw bootstrap.Controller, path string) (configuration, error) {
	made := configuration{Controller: raw, Folder: filepath.Dir(path)}
	for _, required := range []struct{ key, value string }{
		{"id", raw.ID}, {"cluster", raw.Cluster}, {"data-folder", raw.DataFolder}, {"authority", raw.Authority}, {"certificate", raw.Certificate},
		{"api-listen", raw.APIListen}, {"api-certificate", raw.APICertificate}, {"hosts-listen", raw.HostsListen}, {"hosts-advertise", raw.HostsAdvertise},
		{"raft-listen", raw.RaftListen}, {"raft-advertise", raw.RaftAdvertise},
	} {
		if required.value == "" {
			return configuration{}, fmt.Errorf("the configuration lacks %s (%s): set it in %s", required.key, about[required.key], path)
		}
	}
	for _, duration := range []struct {
		key, value string
		into       *time.Duration
	}{{"heartbeat-every", raw.HeartbeatEvery, &made.HeartbeatEvery}, {"silent-after", raw.SilentAfter, &made.SilentAfter}} {
		parsed, err := time.ParseDuration(duration.value)
		if err != nil || parsed <= 0 {
			return configuration{}, fmt.Errorf("%s %q is not a duration like 2s or 1m30s", duration.key, duration.value)
		}
		*duration.into = parsed
	}
	if made.SilentAfter < 2*made.HeartbeatEvery {
		return configuration{}, fmt.Errorf("silent-after %s must be at least twice heartbeat-every %s, or one lost report makes a host silent", made.SilentAfter, made.HeartbeatEvery)
	}
	if raw.LogStore != "wal" && raw.LogStore != "boltdb" {
		return configuration{}, fmt.Errorf("log-store %q is neither wal nor boltdb", raw.LogStore)
	}
	if err := made.Level.UnmarshalText([]byte(raw.LogLevel)); err != nil {
		return configuration{}, fmt.Errorf("log-level %q is not one of debug, info, warn, error", raw.LogLevel)
	}
	if raw.LogFormat != "text" && raw.LogFormat != "json" {
		return configuration{}, fmt.Errorf("log-format %q is neither text nor json", raw.LogFormat)
	}
	return made, nil
}
