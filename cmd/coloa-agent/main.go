// Command coloa-agent runs on every host: it does what the controllers decide. This package reads the configuration, opens the parts
// and shuts them down; what they do is in the package agent.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when the program is built: -ldflags "-X main.version=v1.2.3".
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "coloa-agent:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var path string
	root := &cobra.Command{
		Use:   "coloa-agent",
		Short: "Run virtual machines on this host, as the controllers decide",
		Long: "Run virtual machines on this host, as the controllers decide.\n\nEvery setting can be given in the configuration file, in the environment\n" +
			"(" + environmentPrefix + "DATA_FOLDER for --data-folder) and as a flag; the later one wins.\nStopping the agent stops no virtual machine.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed("config")
			if fromEnvironment := os.Getenv(environmentPrefix + "CONFIG"); fromEnvironment != "" && !given {
				path, given = fromEnvironment, true
			}
			settings, err := loadConfig(path, given, cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return run(cmd.Context(), settings)
		},
	}
	root.Flags().StringVar(&path, "config", defaultConfigFile, "configuration file (YAML)")
	addFlags(root.Flags())
	root.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), programVersion()) },
	})
	return root
}

// programVersion is what the build set, or else what Go noted of the source.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "devel-" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "devel"
}
