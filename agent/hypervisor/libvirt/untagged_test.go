//go:build !libvirt_dlopen

package libvirt_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
)

func TestUntaggedBuildSaysWhatIsMissing(t *testing.T) {
	_, err := libvirt.Open(context.Background(), libvirt.Options{Cluster: "cluster-1"})
	require.ErrorIs(t, err, libvirt.ErrNoLibrary)
	require.ErrorContains(t, err, "-tags libvirt_dlopen")
}

func TestConformance(t *testing.T) {
	t.Fatal("this is the conformance with the real libvirt, and was built without it: go test -tags libvirt_dlopen (make test does)")
}
