// Command coloa is the command line of a Coloa cloud. This package only wires.
package main

import (
	"os"

	"github.com/coloa-cloud/coloa/cmd/internal/ctl"
)

// version is set by the linker in releases.
var version string

func main() {
	if version == "" {
		version = ctl.Built()
	}
	os.Exit(ctl.Program{Version: version, ClusterInit: clusterInit, ClusterRecover: clusterRecover}.Main())
}
