package libvirt

import (
	"fmt"
	"slices"
	"strings"
)

// canVirtualise reads /proc/cpuinfo: has the CPU Intel's (vmx) or AMD's (svm) virtualisation?
func canVirtualise(cpuinfo string) bool {
	flags := strings.Fields(firstField(cpuinfo, "flags"))
	return slices.Contains(flags, "vmx") || slices.Contains(flags, "svm")
}

// modelName reads /proc/cpuinfo: "AMD EPYC 7B13".
func modelName(cpuinfo string) string { return firstField(cpuinfo, "model name") }

func firstField(cpuinfo, name string) string {
	for line := range strings.Lines(cpuinfo) {
		key, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// version spells libvirt's packed number: 7002019 is 7.2.19.
func version(packed uint32) string {
	return fmt.Sprintf("%d.%d.%d", packed/1_000_000, packed/1_000%1_000, packed%1_000)
}
