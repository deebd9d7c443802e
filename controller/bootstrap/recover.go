package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Recover writes what lets an administrator into a cloud that nobody can enter any more: a one-time token for the user, which the controller takes
// in when it is started next, if it leads. The user is made a platform administrator, and made at all, when needed. Whoever may write the
// configuration (root) may do this. It returns a problem with CodeConflict when there is no cloud here, or when it has not begun.
func Recover(configDir, user string, now time.Time) (Result, error) {
	setDefault(&configDir, DefaultConfigDir)
	setDefault(&user, DefaultAdmin)
	if err := (&v1.User{Meta: v1.Meta{ID: "00000000-0000-7000-8000-000000000000", Name: user}}).Validate(); err != nil {
		return Result{}, err
	}
	switch exists, err := configured(configDir); {
	case err != nil:
		return Result{}, err
	case !exists:
		return Result{}, v1.NewProblem(v1.CodeConflict, "there is no cloud in %s", configDir).
			WithNext("Run the command on a controller's server; name another folder with --dir.")
	}
	unlock, err := lock(filepath.Dir(configDir))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	configuration, err := readController(configDir)
	if err != nil {
		return Result{}, err
	}
	path := configuration.First
	if path == "" {
		return Result{}, v1.NewProblem(v1.CodeConflict, "%s says nothing under first; nothing was changed", filepath.Join(configDir, ControllerFile)).
			WithNext("Add the line  first: %s  and run the command again.", filepath.Join(configDir, FirstFile))
	}
	// The founding file may not be replaced while it is needed: a recovery founds no cloud.
	switch founds, err := founding(path); {
	case err != nil:
		return Result{}, err
	case founds && !begun(configuration.DataFolder):
		return Result{}, v1.NewProblem(v1.CodeConflict, "the controller of the cloud in %s has never been started; nothing was changed", configDir).
			WithNext("For a new token run coloa cluster init again, then start the controller.")
	case founds:
		return Result{}, v1.NewProblem(v1.CodeConflict, "the cloud in %s has not begun yet: its controller has not become ready since it was made; nothing was changed", configDir).
			WithNext("Start the controller, wait until it has removed %s, and run the command again.", path)
	case !begun(configuration.DataFolder):
		return Result{}, v1.NewProblem(v1.CodeConflict, "the controller's data (%s) is missing; nothing was changed", configuration.DataFolder).
			WithNext("Bring the data back first: a token alone does not bring back a cloud.")
	}
	token, made, err := newFirst(Options{Admin: user, Now: func() time.Time { return now }}, configuration.Cluster)
	if err != nil {
		return Result{}, err
	}
	made.Recovery = true
	if err := writeFirst(path, made); err != nil {
		return Result{}, err
	}
	return Result{
		Cluster: made.Cluster, Endpoint: configuration.APIEndpoint, CAFile: filepath.Join(configDir, CAFile),
		Admin: made.Admin, Token: token, TokenExpires: made.ExpiresAt, Files: []string{path},
	}, nil
}

// founding says whether the file is there and makes a new cloud.
func founding(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var old first
	if err == nil {
		err = json.Unmarshal(text, &old)
	}
	if err != nil {
		return false, fmt.Errorf("read what the cloud begins with: %w", err)
	}
	return !old.Recovery, nil
}
