package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/coloa-cloud/coloa/controller"
	"github.com/coloa-cloud/coloa/controller/bootstrap"
)

// renewEvery is how often certificates are looked at. A third of their life is left when they are renewed, so nothing depends on a single look.
const renewEvery = 6 * time.Hour

// serve runs the controller until ctx ends. The order of its end is the controller's own; what is here only watches it.
func serve(ctx context.Context, configuration configuration) error {
	logger := newLogger(configuration)
	slog.SetDefault(logger)
	renewCertificates(configuration.Folder, logger)
	credentials, err := configuration.Credentials()
	if err != nil {
		return err
	}
	first, err := readFirst(configuration.First)
	if err != nil {
		return err
	}
	probe, err := newProbe(configuration.APIListen, credentials.Authority)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	made, err := controller.New(controller.Options{
		ID: configuration.ID, Cluster: configuration.Cluster, DataDir: configuration.DataFolder, Version: version, LogStore: configuration.LogStore,
		APIAddress: configuration.APIListen, HostAddress: configuration.HostsListen, HostAdvertise: configuration.HostsAdvertise,
		RaftAddress: configuration.RaftListen, RaftAdvertise: configuration.RaftAdvertise,
		APITLS: credentials.APITLS, HostTLS: credentials.HostTLS, PeerServer: credentials.PeerServer,
		PeerClient: credentials.PeerClient, AgentClient: credentials.AgentClient,
		First: first, HeartbeatEvery: configuration.HeartbeatEvery, SilentAfter: configuration.SilentAfter,
		Logger: logger, Registry: registry,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return made.Run(ctx) })
	group.Go(func() error {
		every(ctx, renewEvery, func() { renewCertificates(configuration.Folder, logger) })
		return nil
	})
	group.Go(func() error {
		watch(ctx, probe, logger, func() { forgetFirst(configuration.First, logger) })
		return nil
	})
	return group.Wait()
}

func newLogger(configuration configuration) *slog.Logger {
	options := &slog.HandlerOptions{Level: configuration.Level}
	if configuration.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// renewCertificates never stops a controller: an old certificate is better than none.
func renewCertificates(folder string, logger *slog.Logger) {
	renewed, err := bootstrap.RenewCertificates(folder, time.Now())
	for _, name := range renewed {
		logger.Info("certificate renewed", "file", name)
	}
	if err != nil {
		logger.Error("a certificate could not be renewed", "error", err)
	}
}

// readFirst returns nil when there is no such file: then this member does not found a cloud.
func readFirst(path string) (*controller.First, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // see above
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // see above
	}
	var first controller.First
	if err == nil {
		err = json.Unmarshal(text, &first)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the cloud begins with: %w", err)
	}
	return &first, nil
}

// forgetFirst removes what the cloud began with, once it has begun: if this member's data is lost one day, it must not found a second cloud of
// the same name beside the first.
func forgetFirst(path string, logger *slog.Logger) {
	if path == "" {
		return
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logger.Warn("the file that the cloud began with could not be removed", "error", err)
	}
}

func every(ctx context.Context, pause time.Duration, do func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}
