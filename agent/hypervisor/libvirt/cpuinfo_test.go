package libvirt

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCPUInfo(t *testing.T) {
	const head = "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nbugs\t\t: svm vmx\n"
	for _, test := range []struct {
		flags string
		can   bool
	}{
		{"flags\t\t: fpu vmx sse\n", true},
		{"flags\t\t: fpu svm\n", true},
		{"flags\t\t: fpu sse svm_lock vmxx\n", false},
		{"", false},
	} {
		require.Equal(t, test.can, canVirtualise(head+test.flags), test.flags)
	}
	require.Equal(t, "AMD EPYC 7B13", modelName(head))
	require.Empty(t, modelName(""))
	require.Equal(t, "7.2.19", version(7002019))
	require.Equal(t, "10.0.0", version(10000000))
}
