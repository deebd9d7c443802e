package ctl

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Built is the version that the Go linker knows: a tag, or the commit.
func Built() string {
	info, known := debug.ReadBuildInfo()
	if !known {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return "devel-" + setting.Value[:12]
		}
	}
	return "devel"
}

func (a *app) version() *cobra.Command {
	return a.command(verb{key: "version", name: "version", run: func(context.Context, []string) error {
		if a.forPeople() {
			return a.write("coloa " + a.program.Version + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n")
		}
		data := map[string]string{"version": a.program.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		return a.print(result{data: data, names: []string{a.program.Version}, sheet: func() *sheet {
			return &sheet{columns: []heading{{key: "version"}, {key: "go"}, {key: "platform"}}, rows: [][]cell{{{machine: data["version"]}, {machine: data["go"]}, {machine: data["platform"]}}}}
		}})
	}})
}
