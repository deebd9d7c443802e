// Command coloa-controller is one member of the group of controllers. Only wiring lives here: configuration, TLS, logs, signals, the service manager.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build (-ldflags "-X main.version=...").
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return
	}
	fmt.Fprintln(os.Stderr, "coloa-controller:", err)
	stop()
	os.Exit(1) //nolint:gocritic // stop has been called
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "coloa-controller",
		Short:         "One member of the group of controllers of a Coloa cloud",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	run := &cobra.Command{
		Use:   "run",
		Short: "Serve until SIGTERM (also without a command)",
		Long: `Serve until SIGTERM.

The configuration comes from a file, overridden by environment variables, overridden by flags. A key hosts-listen is the variable
COLOA_CONTROLLER_HOSTS_LISTEN and the flag --hosts-listen. Unknown keys are errors. coloa cluster init makes the file.`,
		Args: cobra.NoArgs,
	}
	for _, command := range []*cobra.Command{root, run} {
		addFlags(command.Flags())
		command.RunE = func(command *cobra.Command, _ []string) error {
			configuration, err := load(command.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return serve(command.Context(), configuration)
		}
	}
	root.Long = run.Long
	root.AddCommand(run, newDevCommand(), &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(command.OutOrStdout(), "coloa-controller %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	})
	return root
}
