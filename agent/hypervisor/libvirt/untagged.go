//go:build !libvirt_dlopen

package libvirt

import (
	"context"
	"fmt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

// Hypervisor cannot be had in this build.
type Hypervisor struct{ hypervisor.Hypervisor }

// Open says how to build a program that can do it.
func Open(context.Context, Options) (*Hypervisor, error) {
	return nil, fmt.Errorf("%w: this program was built without it; build with -tags libvirt_dlopen and CGO_ENABLED=1 (make build does)", ErrNoLibrary)
}
