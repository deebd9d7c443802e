package domxml_test

import (
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"
	"pgregory.net/rapid"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/domxml"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	emulated    = domxml.Host{DomainType: "qemu", Emulator: "/usr/bin/qemu-system-x86_64", MachineType: "pc-q35-7.2"}
	accelerated = domxml.Host{DomainType: "kvm", Emulator: "/usr/bin/qemu-system-x86_64", MachineType: "pc-q35-7.2"}
)

func small() hypervisor.Machine {
	return hypervisor.Machine{
		ID: "01938f5e-0000-7000-8000-000000000001", Name: "coloa-01938f5e", Cluster: "01938f5e-0000-7000-8000-0000000000cc",
		VCPUs: 1, MemoryMiB: 16,
	}
}

func large() hypervisor.Machine {
	machine := small()
	machine.Title, machine.VM, machine.Project = "web 1", "01938f5e-0000-7000-8000-000000000002", "01938f5e-0000-7000-8000-000000000003"
	machine.VCPUs, machine.MemoryMiB = 4, 8192
	machine.SerialLog = "/var/log/coloa/serial/01938f5e.log"
	machine.Labels = map[string]string{"tier": "web", "owner": "Bộ Nội vụ"}
	machine.Disks = []hypervisor.Disk{
		{Serial: "01938f5e-0000-7000-8", Path: "/var/lib/coloa/volumes/vol-1.qcow2", Format: "qcow2", Backing: "/var/lib/coloa/images/img-1.qcow2", ReadIOPS: 500, WriteIOPS: 400, ReadBytesPerSec: 1 << 20, WriteBytesPerSec: 1 << 19},
		{Path: "/var/lib/coloa/seeds/1.iso", Format: "raw", CDROM: true},
		{Serial: "data", Path: "/var/lib/coloa/volumes/vol-2.raw", Format: "raw", ReadOnly: true},
	}
	machine.NICs = []hypervisor.NIC{{MAC: "52:54:00:AA:bb:01", Kind: hypervisor.NICUser}, {MAC: "52:54:00:aa:bb:02", Kind: hypervisor.NICUser}}
	return machine
}

const attack = `x'/></disk><hostdev mode='subsystem'/>"&lt;]]><!--` + "\x00\u202e\u200f\r\n\xff"

func hostile() hypervisor.Machine {
	machine := large()
	machine.Title = attack
	machine.Labels = map[string]string{attack: attack}
	machine.Disks = []hypervisor.Disk{{Path: `/a/'/><hostdev mode="x"/>&amp;,file=/etc/shadow`, Format: "qcow2", Backing: `/b/'/><hostdev mode="y"/>`}}
	machine.SerialLog = `/a/"><log file='/etc/passwd'/>`
	return machine
}

func TestGolden(t *testing.T) {
	for name, golden := range map[string]struct {
		machine hypervisor.Machine
		host    domxml.Host
	}{
		"small-emulated":    {small(), emulated},
		"large-accelerated": {large(), accelerated},
		"hostile":           {hostile(), emulated},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := domxml.Build(golden.machine, golden.host)
			require.NoError(t, err)
			path := filepath.Join("testdata", name+".xml")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got+"\n"), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got+"\n", "the guests' hardware has changed; if that is meant, run: go test ./agent/hypervisor/domxml -update")
		})
	}
}

func TestInvalid(t *testing.T) {
	disk := func(change func(*hypervisor.Disk)) func(*hypervisor.Machine) {
		return func(machine *hypervisor.Machine) { change(&machine.Disks[0]) }
	}
	for name, bad := range map[string]struct {
		field  string
		change func(*hypervisor.Machine)
	}{
		"no id":               {"ID", func(m *hypervisor.Machine) { m.ID = "" }},
		"id in upper case":    {"ID", func(m *hypervisor.Machine) { m.ID = strings.ToUpper(m.ID) }},
		"nil id":              {"ID", func(m *hypervisor.Machine) { m.ID = "00000000-0000-0000-0000-000000000000" }},
		"name with a slash":   {"Name", func(m *hypervisor.Machine) { m.Name = "../../etc" }},
		"name with a newline": {"Name", func(m *hypervisor.Machine) { m.Name = "a\n" }},
		"name like an option": {"Name", func(m *hypervisor.Machine) { m.Name = "-name" }},
		"name too long":       {"Name", func(m *hypervisor.Machine) { m.Name = strings.Repeat("a", 65) }},
		"no cluster":          {"Cluster", func(m *hypervisor.Machine) { m.Cluster = "" }},
		"vm of XML":           {"VM", func(m *hypervisor.Machine) { m.VM = "<a/>" }},
		"project of XML":      {"Project", func(m *hypervisor.Machine) { m.Project = "<a/>" }},
		"no vCPU":             {"VCPUs", func(m *hypervisor.Machine) { m.VCPUs = 0 }},
		"513 vCPUs":           {"VCPUs", func(m *hypervisor.Machine) { m.VCPUs = 513 }},
		"15 MiB":              {"MemoryMiB", func(m *hypervisor.Machine) { m.MemoryMiB = 15 }},
		"10^18 MiB":           {"MemoryMiB", func(m *hypervisor.Machine) { m.MemoryMiB = 1e18 }},
		"many disks":          {"Disks", func(m *hypervisor.Machine) { m.Disks = make([]hypervisor.Disk, 33) }},
		"many NICs":           {"NICs", func(m *hypervisor.Machine) { m.NICs = make([]hypervisor.NIC, 17) }},
		"many labels": {"Labels", func(m *hypervisor.Machine) {
			for i := range 65 {
				m.Labels[fmt.Sprint(i)] = ""
			}
		}},
		"relative log":        {"SerialLog", func(m *hypervisor.Machine) { m.SerialLog = "log" }},
		"log with a NUL":      {"SerialLog", func(m *hypervisor.Machine) { m.SerialLog = "/a\x00b" }},
		"relative disk":       {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "a.img" })},
		"disk by a detour":    {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "/a/../etc/shadow" })},
		"disk with a NUL":     {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "/a\x00" })},
		"disk right to left":  {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "/a\u202egmi.x" })},
		"disk not UTF-8":      {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "/a\xff" })},
		"disk path too long":  {"Disks[0].Path", disk(func(d *hypervisor.Disk) { d.Path = "/" + strings.Repeat("a", 5000) })},
		"the same disk twice": {"Disks[2].Path", func(m *hypervisor.Machine) { m.Disks[2].Path = m.Disks[0].Path }},
		"probed format":       {"Disks[0].Format", disk(func(d *hypervisor.Disk) { d.Format = "" })},
		"vmdk":                {"Disks[0].Format", disk(func(d *hypervisor.Disk) { d.Format = "vmdk" })},
		"qcow2 seed":          {"Disks[1].Format", func(m *hypervisor.Machine) { m.Disks[1].Format = "qcow2" }},
		"long serial":         {"Disks[0].Serial", disk(func(d *hypervisor.Disk) { d.Serial = strings.Repeat("1", 21) })},
		"serial of XML":       {"Disks[0].Serial", disk(func(d *hypervisor.Disk) { d.Serial = "<a/>" })},
		"negative limit":      {"Disks[0].ReadIOPS", disk(func(d *hypervisor.Disk) { d.ReadIOPS = -1 })},
		"10^18 bytes":         {"Disks[0].WriteBytesPerSec", disk(func(d *hypervisor.Disk) { d.WriteBytesPerSec = 1e18 })},
		"unknown NIC":         {"NICs[0].Kind", func(m *hypervisor.Machine) { m.NICs[0].Kind = "bridge" }},
		"bad MAC":             {"NICs[0].MAC", func(m *hypervisor.Machine) { m.NICs[0].MAC = "52:54:00:11:22" }},
		"multicast MAC":       {"NICs[0].MAC", func(m *hypervisor.Machine) { m.NICs[0].MAC = "01:00:5e:11:22:33" }},
		"MAC given twice":     {"NICs[1].MAC", func(m *hypervisor.Machine) { m.NICs[1].MAC = strings.ToLower(m.NICs[0].MAC) }},
	} {
		t.Run(name, func(t *testing.T) {
			machine := large()
			bad.change(&machine)
			got, err := domxml.Build(machine, emulated)
			require.ErrorIs(t, err, hypervisor.ErrInvalid)
			require.ErrorContains(t, err, ": "+bad.field+" ")
			require.Empty(t, got)
		})
	}
	for _, host := range []domxml.Host{{}, {DomainType: "xen", Emulator: "/a", MachineType: "b"}, {DomainType: "kvm"}} {
		_, err := domxml.Build(small(), host)
		require.ErrorIs(t, err, hypervisor.ErrInvalid)
	}
}

func TestParseOwner(t *testing.T) {
	// As libvirt answers: without the namespace.
	owner, err := domxml.ParseOwner("<machine>\n  <cluster>c1</cluster>\n  <vm>v1</vm>\n  <label key=\"a\">b</label>\n</machine>\n")
	require.NoError(t, err)
	require.Equal(t, "c1", owner.Cluster)
	require.Equal(t, "v1", owner.VM)
	require.Equal(t, []domxml.Label{{Key: "a", Value: "b"}}, owner.Labels)
	for _, bad := range []string{"", "<other><cluster>c1</cluster></other>", "<machine>", "c1"} {
		_, err := domxml.ParseOwner(bad)
		require.Error(t, err, bad)
	}
}

// structure is everything of a domain but the words in it: the names of all elements and attributes, in order.
func structure(t require.TestingT, text string) string {
	var names strings.Builder
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if token == nil {
			require.ErrorContains(t, err, "EOF")
			return names.String()
		}
		switch each := token.(type) {
		case xml.StartElement:
			names.WriteString("<" + each.Name.Local)
			for _, attribute := range each.Attr {
				names.WriteString(" " + attribute.Name.Local)
			}
			names.WriteString(">")
		case xml.EndElement:
			names.WriteString("</>")
		case xml.Comment, xml.ProcInst, xml.Directive:
			require.Fail(t, "the domain holds something that nobody wrote", "%T", token)
		}
	}
}

// requireHarmless builds a machine with these texts in every place that takes one, and compares it with one that holds harmless words.
func requireHarmless(t require.TestingT, title, key, value, path, log string) {
	machine, plain := large(), large()
	machine.Title, machine.Labels = title, map[string]string{key: value}
	plain.Title, plain.Labels = "title", map[string]string{"key": "value"}
	// Only paths that the validation lets through reach the XML.
	machine.Disks[0].Path, machine.SerialLog = "/v/"+path, "/l/"+log
	got, err := domxml.Build(machine, emulated)
	if err != nil {
		require.ErrorIs(t, err, hypervisor.ErrInvalid)
		return
	}
	want, err := domxml.Build(plain, emulated)
	require.NoError(t, err)
	wantStructure := structure(t, want)
	if !strings.Contains(got, "<title>") { // a title of nothing visible is left out
		wantStructure = strings.ReplaceAll(wantStructure, "<title></>", "")
	}
	require.Equal(t, wantStructure, structure(t, got))
	require.True(t, utf8.ValidString(got))

	var parsed libvirtxml.Domain
	require.NoError(t, parsed.Unmarshal(got))
	require.Equal(t, "/v/"+path, parsed.Devices.Disks[0].Source.File.File)
	require.Equal(t, "/l/"+log, parsed.Devices.Serials[0].Log.File)
	require.Len(t, parsed.Devices.Disks, 3)
	require.Empty(t, parsed.Devices.Hostdevs)
	require.NotContains(t, parsed.Title, "\n")
	owner, err := domxml.ParseOwner(parsed.Metadata.XML)
	require.NoError(t, err)
	require.Equal(t, machine.Cluster, owner.Cluster)
	require.Len(t, owner.Labels, 1)
}

func TestStructureNeverDependsOnText(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Just(attack), rapid.StringMatching(`[<>&'"/a=\]\[! -]{0,30}`), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		requireHarmless(t, text.Draw(t, "title"), text.Draw(t, "key"), text.Draw(t, "value"), text.Draw(t, "path"), text.Draw(t, "log"))
	})
}

func FuzzBuild(f *testing.F) {
	f.Add("web 1", "tier", "web", "vol-1", "1.log")
	f.Add(attack, attack, attack, `'/><hostdev/>`, `"><log file='/etc/passwd'/>`)
	f.Add("\x00", "\u202e", "\ufeff", " ", "]]>")
	f.Fuzz(func(t *testing.T, title, key, value, path, log string) {
		requireHarmless(t, title, key, value, path, log)
	})
}

func TestNumbersArriveUnchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		machine := large()
		machine.VCPUs = rapid.IntRange(1, 512).Draw(t, "vcpus")
		machine.MemoryMiB = rapid.Int64Range(16, hypervisor.MaximumMemoryMiB).Draw(t, "memory")
		machine.Disks[0].ReadIOPS = rapid.Int64Range(0, 1e15).Draw(t, "iops")
		machine.Disks = machine.Disks[:rapid.IntRange(0, 3).Draw(t, "disks")]
		for i := range rapid.IntRange(0, 29).Draw(t, "further disks") {
			machine.Disks = append(machine.Disks, hypervisor.Disk{Path: fmt.Sprint("/further/", i), Format: "raw"})
		}
		text, err := domxml.Build(machine, accelerated)
		require.NoError(t, err)
		var parsed libvirtxml.Domain
		require.NoError(t, parsed.Unmarshal(text))
		require.EqualValues(t, machine.VCPUs, parsed.VCPU.Value)
		require.EqualValues(t, machine.MemoryMiB, parsed.Memory.Value)
		require.Equal(t, "MiB", parsed.Memory.Unit)
		require.Len(t, parsed.Devices.Disks, len(machine.Disks))
		names := map[string]bool{}
		for _, disk := range parsed.Devices.Disks {
			names[disk.Target.Dev] = true
		}
		require.Len(t, names, len(machine.Disks), "two disks have the same name")
	})
}
