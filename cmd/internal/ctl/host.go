package ctl

import (
	"github.com/spf13/cobra"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

func (a *app) hosts() *cobra.Command {
	n := noun[v1.Host, *v1.Host]{app: a, key: "host", columns: []column[v1.Host]{
		phaseColumn(func(o *v1.Host) string { return string(o.Status.Phase) }),
		shareColumn("vcpus", always, func(o *v1.Host) (int64, int64) { return o.Status.Usage.VCPUs, o.Status.Limit.VCPUs }),
		shareColumn("memory-mib", always, func(o *v1.Host) (int64, int64) { return o.Status.Usage.MemoryMiB, o.Status.Limit.MemoryMiB }),
		shareColumn("storage-gib", ifRoom, func(o *v1.Host) (int64, int64) { return o.Status.Usage.StorageGiB, o.Status.Limit.StorageGiB }),
		yesNo("schedulable", wideOnly, func(o *v1.Host) bool { return o.Spec.Schedulable }),
		textColumn("security-level", wideOnly, func(o *v1.Host) string { return number(int64(o.Spec.SecurityLevel)) }),
		yesNo("acceleration", wideOnly, func(o *v1.Host) bool { return o.Status.Inventory.Acceleration }),
		textColumn("agent-version", wideOnly, func(o *v1.Host) string { return o.Status.Version }),
		{key: "since", level: detailOnly, value: func(o *v1.Host) string { return stamp(o.Status.Since) }, human: func(a *app, o *v1.Host) string { return a.moment(o.Status.Since) }},
		textColumn("cpu-overcommit", detailOnly, func(o *v1.Host) string { return ratio(o.Spec.CPUOvercommit) }),
		textColumn("storage-overcommit", detailOnly, func(o *v1.Host) string { return ratio(o.Spec.StorageOvercommit) }),
		{key: "reserved-memory", level: detailOnly, value: func(o *v1.Host) string { return number(o.Spec.ReservedMemoryMiB) }, human: func(_ *app, o *v1.Host) string { return memoryText(o.Spec.ReservedMemoryMiB) }},
		textColumn("cpus", detailOnly, func(o *v1.Host) string { return number(int64(o.Status.Inventory.CPUs)) }),
		textColumn("cpu-model", detailOnly, func(o *v1.Host) string { return o.Status.Inventory.CPUModel }),
		{key: "memory", level: detailOnly, value: func(o *v1.Host) string { return number(o.Status.Inventory.MemoryMiB) }, human: func(_ *app, o *v1.Host) string { return memoryText(o.Status.Inventory.MemoryMiB) }},
		textColumn("hypervisor", detailOnly, func(o *v1.Host) string { return o.Status.Inventory.Hypervisor }),
		textColumn("address", detailOnly, func(o *v1.Host) string { return o.Status.Address }),
		textColumn("epoch", detailOnly, func(o *v1.Host) string { return number(int64(o.Status.Epoch)) }),
	}}
	group := a.group("host", "host", "hosts")
	group.AddCommand(n.list(), n.show(), n.update(func(s *specFlags) {
		s.boolean("schedulable", "schedulable")
		s.integer("security-level", "securityLevel")
		s.float("cpu-overcommit", "cpuOvercommit")
		s.float("storage-overcommit", "storageOvercommit")
		s.size("reserved-memory", "reservedMemoryMiB", mebibyte)
	}), n.delete())
	return group
}

// shareColumn shows what is given out of what can be.
func shareColumn(key string, level level, amounts func(*v1.Host) (used, limit int64)) column[v1.Host] {
	return column[v1.Host]{
		key: key, level: level,
		value: func(o *v1.Host) string { used, _ := amounts(o); return number(used) },
		human: func(_ *app, o *v1.Host) string { used, limit := amounts(o); return number(used) + "/" + number(limit) },
	}
}
