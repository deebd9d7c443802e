package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/httpapi"
	"github.com/coloa-cloud/coloa/cmd/internal/testbed"
)

// newDevCommand is a cloud of simulated hosts on a laptop: no root, no libvirt, nothing kept.
func newDevCommand() *cobra.Command {
	var controllers, hosts, port int
	var verbose bool
	command := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cloud with simulated hosts in this process, to try things out (needs no root, keeps nothing)",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if controllers < 1 || controllers > 5 || hosts < 1 || hosts > 2000 {
				return fmt.Errorf("--controllers may be 1 to 5, --hosts 1 to 2000")
			}
			return dev(command.Context(), command.OutOrStdout(), controllers, hosts, port, verbose)
		},
	}
	command.Flags().IntVar(&controllers, "controllers", 3, "how many controllers")
	command.Flags().IntVar(&hosts, "hosts", 6, "how many simulated hosts")
	command.Flags().IntVar(&port, "port", 18443, "loopback port of the first controller's API; the others follow")
	command.Flags().BoolVar(&verbose, "verbose", false, "show the logs of controllers and agents")
	return command
}

func dev(ctx context.Context, out io.Writer, controllers, hosts, port int, verbose bool) (err error) {
	folder, err := os.MkdirTemp("", "coloa-dev-")
	if err != nil {
		return err
	}
	defer func() {
		if removed := os.RemoveAll(folder); err == nil {
			err = removed
		}
	}()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	if verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cloud, err := testbed.Start(starting, testbed.Options{
		Controllers: controllers, Hosts: hosts, Dir: folder, Port: port, Logger: logger, Limits: httpapi.Limits{RatePerToken: 1000, RatePerAddress: 50},
	})
	if err != nil {
		return err
	}
	defer func() {
		if closed := cloud.Close(); err == nil {
			err = closed
		}
	}()
	authority, err := cloud.CAFile()
	if err != nil {
		return err
	}
	token := filepath.Join(folder, "token") // in a file, because arguments can be seen by everybody on the machine and stay in the shell's history
	if err := os.WriteFile(token, []byte(cloud.Token+"\n"), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, `A cloud of %d controllers and %d simulated hosts runs in this process. Its machines are simulated too.

  log in   bin/coloa login --context dev --endpoint %s --ca-file %s --token-file %s
  look     bin/coloa host list
  end      Ctrl-C (nothing is kept)

`, controllers, hosts, strings.Join(cloud.Endpoints(), ","), authority, token)
	<-ctx.Done()
	return nil
}
