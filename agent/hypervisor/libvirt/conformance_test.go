//go:build libvirt_dlopen

package libvirt_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	system "libvirt.org/go/libvirt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/conformance"
	"github.com/coloa-cloud/coloa/agent/hypervisor/libvirt"
)

// open needs the real libvirtd, and fails without it: a promise that is not tested is not kept.
func open(t testing.TB, options libvirt.Options) *libvirt.Hypervisor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	host, err := libvirt.Open(ctx, options)
	require.NoError(t, err, "this test needs libvirtd on this machine; as root: deploy/hostservices/ensure-libvirtd")
	return host
}

// openFolder returns a folder that guests (the user libvirt-qemu) can enter, which those of t.TempDir are not.
func openFolder(t testing.TB) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "coloa-libvirt-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(directory)) })
	require.NoError(t, os.Chmod(directory, 0o755))
	return directory
}

// typeTo types one byte on the guest's serial port.
func typeTo(key byte) func(testing.TB, hypervisor.Hypervisor, string) {
	return func(t testing.TB, host hypervisor.Hypervisor, id string) {
		console, err := host.Console(t.Context(), id)
		require.NoError(t, err)
		_, err = console.Write([]byte{key})
		require.NoError(t, err)
		// The guest's end closes it; closing at once could overtake the byte.
		buffer := make([]byte, 64)
		for err == nil {
			_, err = console.Read(buffer)
		}
		require.NoError(t, console.Close())
	}
}

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Setup{
		Open: func(t testing.TB, cluster string) hypervisor.Hypervisor {
			return open(t, libvirt.Options{Cluster: cluster})
		},
		Directory: openFolder,
		Greeting:  conformance.GuestGreeting,
		PowerOff:  typeTo(conformance.TypePowerOff),
		Panic:     typeTo(conformance.TypePanic),
		Pause: func(t testing.TB, _ hypervisor.Hypervisor, id string) {
			connection, err := system.NewConnect("qemu:///system")
			require.NoError(t, err)
			defer func() { _, _ = connection.Close() }()
			domain, err := connection.LookupDomainByUUIDString(id)
			require.NoError(t, err)
			defer func() { _ = domain.Free() }()
			require.NoError(t, domain.Suspend())
		},
		EndProcess: func(t testing.TB, host hypervisor.Hypervisor, id string) {
			seen, err := host.Get(t.Context(), id)
			require.NoError(t, err)
			require.Positive(t, seen.PID)
			require.NoError(t, syscall.Kill(seen.PID, syscall.SIGKILL))
		},
		DiskSize: func(t testing.TB, _, path string) int64 {
			info, err := os.Stat(path)
			require.NoError(t, err)
			return info.Size()
		},
		Patience: 30 * time.Second,
	})
}
