package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

// probe asks the controller about itself, by the same port that people use: so the service manager's watchdog covers the listener too.
type probe struct {
	client *http.Client
	base   string
}

func newProbe(listen string, authority *x509.CertPool) (*probe, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("api.listen: %w", err)
	}
	if address := net.ParseIP(host); host == "" || (address != nil && address.IsUnspecified()) {
		host = "localhost"
	}
	return &probe{
		// The certificate always has the name localhost, whatever the address listened on.
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: authority, ServerName: "localhost", MinVersion: tls.VersionTLS13},
		}},
		base: "https://" + net.JoinHostPort(host, port),
	}, nil
}

func (p *probe) ok(ctx context.Context, path string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, http.NoBody)
	if err != nil {
		return false
	}
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	return response.StatusCode == http.StatusOK
}

// watch tells the service manager, where there is one, when the controller serves and that it lives; onReady runs once, when it can also decide. The two
// are not the same: a member that waits for the others serves, and must not be restarted for waiting.
func watch(ctx context.Context, probe *probe, logger *slog.Logger, onReady func()) {
	notify := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			logger.Warn("the service manager could not be told", "state", state, "error", err)
		}
	}
	defer notify(daemon.SdNotifyStopping)
	if !probe.await(ctx, "/healthz") {
		return
	}
	notify(daemon.SdNotifyReady)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if probe.await(ctx, "/readyz") {
			logger.Info("ready", "version", version)
			onReady()
		}
		return nil
	})
	group.Go(func() error {
		interval, err := daemon.SdWatchdogEnabled(false)
		if err != nil {
			logger.Warn("the watchdog's interval could not be read", "error", err)
		}
		if interval > 0 {
			every(ctx, interval/3, func() {
				if probe.ok(ctx, "/healthz") {
					notify(daemon.SdNotifyWatchdog)
				}
			})
		}
		return nil
	})
	_ = group.Wait() // neither returns an error
}

// await asks until the answer is good; false when ctx ended first.
func (p *probe) await(ctx context.Context, path string) bool {
	for !p.ok(ctx, path) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
	return true
}
