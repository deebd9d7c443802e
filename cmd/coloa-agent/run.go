package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/coloa-cloud/coloa/agent"
	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
	"github.com/coloa-cloud/coloa/storage"
	"github.com/coloa-cloud/coloa/storage/local"
)

// shutdownWithin bounds the end of consoles and logs that people still look at.
const shutdownWithin = 3 * time.Second

// run opens the parts, serves until ctx ends, and closes them in the opposite order. No guest is touched by either.
func run(ctx context.Context, settings config) (err error) {
	level, err := settings.level()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(log)

	identity, err := agent.OpenIdentity(agent.IdentityFiles{Certificate: settings.Certificate, Key: settings.Key, Authority: settings.Authority})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", settings.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", settings.Listen, err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, unless it never ran

	pool, err := local.Open(settings.PoolFolder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()

	machines, err := libvirt.Open(ctx, libvirt.Options{URI: settings.LibvirtURI, Cluster: identity.Cluster(), Logger: log})
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped while waiting for libvirt
		}
		return err
	}
	defer func() { err = errors.Join(err, machines.Close()) }()

	self, err := agent.New(agent.Options{
		Cluster:     identity.Cluster(),
		HostID:      identity.Host(),
		HostName:    settings.HostName,
		Address:     settings.Advertise,
		Version:     programVersion(),
		BootID:      settings.BootID,
		Controllers: settings.Controllers,
		Transport:   agent.NewTransport(identity.Client()),
		Hypervisor:  machines,
		Drivers:     map[string]storage.Driver{pool.Name(): pool},
		DataFolder:  settings.DataFolder,
		Logger:      log,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	tls := identity.Server()
	tls.NextProtos = []string{"http/1.1"} // websockets need it
	server := &http.Server{
		Handler:           self.Handler(),
		TLSConfig:         tls,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // whoever looks at a console is sent away when we end
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // refused handshakes
	}

	log.Info("agent starts", "version", programVersion(), "host", identity.Host(), "cluster", identity.Cluster(), "listen", listener.Addr())
	group.Go(func() error { return self.Run(ctx) })
	group.Go(func() error {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
		defer cancel()
		if server.Shutdown(ending) != nil {
			return server.Close()
		}
		return nil
	})
	group.Go(func() error { return tellSystemd(ctx, log) })
	err = group.Wait()
	log.Info("agent ends; guests run on")
	return err
}

// tellSystemd says that the agent is ready, keeps its watchdog content, and says when it stops. Without systemd it does nothing.
func tellSystemd(ctx context.Context, log *slog.Logger) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("cannot tell systemd that the agent is ready", "error", err)
	}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("cannot read systemd's watchdog setting", "error", err)
	}
	if every > 0 {
		ticker := time.NewTicker(every / 2)
		defer ticker.Stop()
		for ctx.Err() == nil {
			select {
			case <-ticker.C:
				if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
					log.Warn("cannot reach systemd's watchdog", "error", err)
				}
			case <-ctx.Done():
			}
		}
	}
	<-ctx.Done()
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) // it sees our end anyway
	return nil
}
