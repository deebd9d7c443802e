package ctl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/coloa-cloud/coloa/api/client"
)

// configuration is the file of the user: clouds, and how to enter them. It holds secrets: nobody else may read it.
type configuration struct {
	Current  string              `json:"current,omitempty"`
	Contexts map[string]*setting `json:"contexts,omitempty"`
}

// setting is one context: a cloud, a user and a project.
type setting struct {
	Endpoints []string `json:"endpoints"`
	CA        string   `json:"ca,omitempty"` // PEM text, so that it survives the file that it came from
	Token     string   `json:"token,omitempty"`
	User      string   `json:"user,omitempty"`
	Project   string   `json:"project,omitempty"`
}

// settings are what one run works with: flags before environment before context.
type settings struct {
	context   string
	endpoints []string
	ca        string
	caFile    string
	token     string
	project   string
}

const maxConfiguration = 1 << 20

func (a *app) configurationPath() (string, error) {
	if path := a.env("COLOA_CONFIG"); path != "" {
		return path, nil
	}
	if base := a.env("XDG_CONFIG_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "coloa", "config.yaml"), nil
	}
	if home := a.env("HOME"); home != "" {
		return filepath.Join(home, ".config", "coloa", "config.yaml"), nil
	}
	return "", a.failure("error.config.home")
}

// configuration reads the file; a missing one is empty.
func (a *app) configuration() (*configuration, error) {
	path, err := a.configurationPath()
	if err != nil {
		return nil, err
	}
	config := &configuration{Contexts: map[string]*setting{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config, nil
	}
	if err == nil && info.Size() > maxConfiguration {
		err = fs.ErrInvalid
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err == nil {
		err = yaml.UnmarshalStrict(text, config)
	}
	if err != nil {
		return nil, a.failure("error.config.read", "File", path, "Cause", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		a.notice(a.T("config.open", "File", path))
	}
	for name, context := range config.Contexts {
		if context == nil {
			delete(config.Contexts, name)
		}
	}
	return config, nil
}

// save writes the file whole or not at all.
func (a *app) save(config *configuration) error {
	path, err := a.configurationPath()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(config)
	if err == nil {
		err = writeSecret(path, text)
	}
	if err != nil {
		return a.failure("error.config.write", "File", path, "Cause", err)
	}
	return nil
}

func writeSecret(path string, text []byte) error {
	// A link, for example into a kept collection of dot files, stays a link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".config-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// settings resolves flags, environment and context, once.
func (a *app) settings() (*settings, error) {
	if a.settled != nil {
		return a.settled, nil
	}
	config, err := a.configuration()
	if err != nil {
		return nil, err
	}
	s := &settings{context: first(a.flags.context, a.env("COLOA_CONTEXT"))}
	named := s.context != ""
	s.context = first(s.context, config.Current)
	chosen := config.Contexts[s.context]
	if chosen == nil && named {
		return nil, a.wrong(exitNotFound, "error.context.unknown", []any{"Context", s.context})
	}
	if chosen == nil {
		chosen = &setting{}
	}
	s.endpoints, s.ca, s.project = chosen.Endpoints, chosen.CA, first(a.flags.project, a.env("COLOA_PROJECT"), chosen.Project)
	s.caFile = a.env("COLOA_CACERT")
	s.token = first(a.env("COLOA_TOKEN"), chosen.Token)
	if given := splitList(first(a.flags.endpoint, a.env("COLOA_ENDPOINT"))); len(given) > 0 {
		// A context's token goes only to who proves to belong to the context's cloud.
		elsewhere := slices.ContainsFunc(given, func(endpoint string) bool { return !slices.Contains(chosen.Endpoints, endpoint) })
		if a.env("COLOA_TOKEN") == "" && elsewhere && (chosen.CA == "" || s.caFile != "") {
			s.token = ""
		}
		s.endpoints = given
	}
	a.settled = s
	return s, nil
}

// client makes the client of this run.
func (a *app) client() (*client.Client, error) {
	if a.asked != nil {
		return a.asked, nil
	}
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	if len(s.endpoints) == 0 {
		return nil, a.failure("error.no-endpoint")
	}
	if s.token == "" {
		return nil, a.wrong(exitDenied, "error.no-token", nil)
	}
	a.asked, err = a.connect(s)
	return a.asked, err
}

func (a *app) connect(s *settings) (*client.Client, error) {
	options := client.Options{
		Endpoints: s.endpoints, Token: s.token, CAFile: s.caFile, Project: s.project,
		UserAgent: "coloa/" + a.program.Version, RetryFor: retryFor, OnRetry: a.showRetry,
	}
	if s.caFile == "" {
		options.CAPEM = []byte(s.ca)
	}
	return client.New(options)
}

// project is the project that new things are made in.
func (a *app) project() (string, error) {
	s, err := a.settings()
	if err == nil && s.project == "" {
		return "", a.usage("error.no-project")
	}
	if err != nil {
		return "", err
	}
	return s.project, nil
}

func first(candidates ...string) string {
	for _, candidate := range candidates {
		if candidate != "" {
			return candidate
		}
	}
	return ""
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
