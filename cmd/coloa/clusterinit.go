package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/coloa-cloud/coloa/cmd/internal/ctl"
	"github.com/coloa-cloud/coloa/controller/bootstrap"
)

// clusterInit makes a new cloud on this machine. The command line does not know how: it works without the controller's packages.
func clusterInit(_ context.Context, options ctl.ClusterInitOptions) (ctl.ClusterInitResult, error) {
	config, err := filepath.Abs(options.Directory)
	if err != nil {
		return ctl.ClusterInitResult{}, err
	}
	data, err := filepath.Abs(options.Data)
	if err != nil {
		return ctl.ClusterInitResult{}, err
	}
	made, err := bootstrap.Init(bootstrap.Options{Name: options.Name, ConfigDir: config, DataDir: data, Address: options.Address})
	if err != nil {
		return ctl.ClusterInitResult{}, err
	}
	return ctl.ClusterInitResult{
		ID: made.Cluster, Name: made.Name, Endpoint: made.Endpoint, CAFile: made.CAFile, Token: made.Token, ExpiresAt: made.TokenExpires, Files: made.Files,
	}, nil
}

// clusterRecover lets an administrator into the cloud of this machine again.
func clusterRecover(_ context.Context, options ctl.ClusterRecoverOptions) (ctl.ClusterInitResult, error) {
	config, err := filepath.Abs(options.Directory)
	if err != nil {
		return ctl.ClusterInitResult{}, err
	}
	made, err := bootstrap.Recover(config, options.User, time.Now())
	if err != nil {
		return ctl.ClusterInitResult{}, err
	}
	return ctl.ClusterInitResult{
		ID: made.Cluster, User: made.Admin, Endpoint: made.Endpoint, CAFile: made.CAFile, Token: made.Token, ExpiresAt: made.TokenExpires, Files: made.Files,
	}, nil
}
