package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// hostileNames break a path, a line, a shell, a document or a reader's trust.
var hostileNames = map[string]string{
	"empty": "", "slash": "a/b", "dots": "../../etc/passwd", "dot": ".", "newline": "a\nb", "last newline": "a\n", "carriage return": "a\r", "NUL": "a\x00b", "tab": "a\tb",
	"10,000 characters": strings.Repeat("a", 10_000), "64 characters": strings.Repeat("a", 64), "space": "a b", "spaces": "   ", "XML": "<a>&b;</a>", "CDATA": "]]>", "quote": `a"b'c`,
	"YAML": "{a: b}", "YAML tag": "!!python/object", "comment": "a#b", "colon": "a: b", "shell": "$(reboot)", "backtick": "`id`", "semicolon": "a;b", "option": "-rf", "long option": "--help",
	"last hyphen": "a-", "upper case": "Web", "RTL override": "a\u202eb", "RTL mark": "a\u200fb", "isolate": "\u2066a", "zero width": "a\u200bb", "BOM": "\ufeffa", "line separator": "a\u2028b",
	"not UTF-8": "a\xff", "Cyrillic look-alike": "аdmin", "Vietnamese": "hà-nội", "full width": "ａ", "emoji": "a😀", "percent": "a%2fb", "format": "%s%n", "backslash": `a\b`, "wildcard": "a*",
}

// invalid says that the error is a problem that a client understands, about the field.
func invalid(t *testing.T, err error, field, about string) {
	t.Helper()
	var problem *Problem
	require.True(t, errors.As(err, &problem), "%s: must be refused", about)
	require.Equal(t, CodeInvalid, problem.Code, about)
	require.NotEmpty(t, problem.Next)
	require.Less(t, len(problem.Error()), 4096, "a refusal does not repeat what is endless")
	require.True(t, utf8.ValidString(problem.Error()), about)
	for _, wrong := range problem.Errors {
		if wrong.Field == field {
			return
		}
	}
	require.Failf(t, "another field", "%s: %s is wrong, but %v is said", about, field, problem.Errors)
}

func TestHostileNames(t *testing.T) {
	for _, definition := range Kinds {
		if definition.Kind == KindReceipt {
			continue // has no name
		}
		for about, name := range hostileNames {
			object := example(t, definition.Kind)
			object.ObjectMeta().Name = name
			invalid(t, object.Validate(), "name", fmt.Sprintf("%s %s", definition.Kind, about))
		}
	}
	for about, name := range hostileNames {
		require.Error(t, CheckName(name), about)
		require.False(t, IsName(name), about)
		require.False(t, IsID(name), about)
	}
	for _, name := range []string{"a", "0", "web-1", "a--b", strings.Repeat("a", 63), "xn--hanoi"} {
		require.NoError(t, CheckName(name))
		require.True(t, IsName(name))
	}
}

func TestHostileIDs(t *testing.T) {
	for _, definition := range Kinds {
		for about, id := range hostileNames {
			object := example(t, definition.Kind)
			object.ObjectMeta().ID = id
			invalid(t, object.Validate(), "id", fmt.Sprintf("%s %s", definition.Kind, about))
		}
		for _, id := range []string{strings.ToUpper(testID(1)), testID(1) + "\n", " " + testID(1), "{" + testID(1) + "}", strings.ReplaceAll(testID(1), "-", "")} {
			object := example(t, definition.Kind)
			object.ObjectMeta().ID = id
			invalid(t, object.Validate(), "id", fmt.Sprintf("%s %q", definition.Kind, id))
		}
	}
}

// TestHostileReferences: what names another object is a name or an id, and nothing else.
func TestHostileReferences(t *testing.T) {
	for field, set := range map[string]func(string) Object{
		"spec.flavor":         func(s string) Object { o := example(t, KindVM).(*VM); o.Spec.Flavor = s; return o },
		"spec.image":          func(s string) Object { o := example(t, KindVM).(*VM); o.Spec.Image = s; return o },
		"spec.placementGroup": func(s string) Object { o := example(t, KindVM).(*VM); o.Spec.PlacementGroup = s; return o },
		"spec.volume":         func(s string) Object { o := example(t, KindSnapshot).(*Snapshot); o.Spec.Volume = s; return o },
		"spec.host":           func(s string) Object { o := example(t, KindTask).(*Task); o.Spec.Host = s; return o },
		"spec.members.user": func(s string) Object {
			o := example(t, KindProject).(*Project)
			o.Spec.Members = []Member{{User: s, Role: RoleReader}}
			return o
		},
	} {
		for about, text := range hostileNames {
			if text == "" && field == "spec.placementGroup" {
				continue // may be left out
			}
			invalid(t, set(text).Validate(), field, field+" "+about)
		}
		require.NoError(t, set("good-name").Validate())
		require.NoError(t, set(testID(1)).Validate())
	}
	user := example(t, KindUser).(*User)
	user.Name = "nguyen.van_a@bo-noi-vu.gov.vn"
	require.NoError(t, user.Validate())
}

// TestHostileText: titles and labels may hold any script, but nothing that breaks a line or deceives a reader.
func TestHostileText(t *testing.T) {
	bad := map[string]string{
		"newline": "a\nb", "NUL": "a\x00", "escape": "a\x1b[31m", "C1": "a\u0085", "RTL override": "a\u202eb", "RTL mark": "\u200f", "isolate": "\u2067", "Arabic mark": "\u061c",
		"BOM": "\ufeff", "line separator": "\u2028", "paragraph separator": "\u2029", "not UTF-8": "\xff\xfe", "half a rune": "ộ"[:2], "10,000 characters": strings.Repeat("x", 10_000),
	}
	good := []string{"", "Bộ Nội vụ, Hà Nội", "<b>&amp;</b>", "{a: b} # 'x' \"y\"", "行政 عربى", strings.Repeat("x", 1024)}
	for field, set := range map[string]func(string) Object{
		"spec.title": func(s string) Object { o := example(t, KindProject).(*Project); o.Spec.Title = s; return o },
		"spec.email": func(s string) Object { o := example(t, KindUser).(*User); o.Spec.Email = s; return o },
		"status": func(s string) Object {
			o := example(t, KindHost).(*Host)
			o.Status.Inventory.CPUModel = s
			return o
		},
	} {
		for about, text := range bad {
			invalid(t, set(text).Validate(), field, about)
		}
		for _, text := range good {
			require.NoError(t, set(text).Validate(), text)
		}
	}
	for _, kind := range []Kind{KindProject, KindVM, KindHost, KindOperation, KindUser} {
		for about, text := range bad {
			object := example(t, kind)
			object.ObjectMeta().Labels = map[string]string{"key": text}
			invalid(t, object.Validate(), "labels", about)
			object.ObjectMeta().Labels = map[string]string{text: "value"}
			invalid(t, object.Validate(), "labels", about)
		}
		object := example(t, kind)
		object.ObjectMeta().Labels = map[string]string{}
		for i := range MaxLabels + 1 {
			object.ObjectMeta().Labels[fmt.Sprintf("key-%d", i)] = "Hà Nội"
		}
		invalid(t, object.Validate(), "labels", "too many")
		delete(object.ObjectMeta().Labels, "key-0")
		require.NoError(t, object.Validate())
	}
}

// TestHostileNumbers: each size has both ends.
func TestHostileNumbers(t *testing.T) {
	quota := func(set func(*Quota, *int64)) func(int64) Object {
		return func(n int64) Object { o := example(t, KindProject).(*Project); set(&o.Spec.Quota, &n); return o }
	}
	for _, line := range []struct {
		field     string
		set       func(int64) Object
		low, high int64 // the least and the most that is allowed
	}{
		{"spec.vcpus", func(n int64) Object { o := example(t, KindFlavor).(*Flavor); o.Spec.VCPUs = int(n); return o }, 1, 512},
		{"spec.memoryMiB", func(n int64) Object { o := example(t, KindFlavor).(*Flavor); o.Spec.MemoryMiB = n; return o }, 32, 16 << 20},
		{"spec.diskGiB", func(n int64) Object { o := example(t, KindFlavor).(*Flavor); o.Spec.DiskGiB = n; return o }, 1, 64 << 10},
		{"spec.diskGiB", func(n int64) Object { o := example(t, KindVM).(*VM); o.Spec.DiskGiB = n; return o }, 0, 64 << 10},
		{"spec.securityLevel", func(n int64) Object { o := example(t, KindVM).(*VM); o.Spec.SecurityLevel = int(n); return o }, 0, 5},
		{"status.vcpus", func(n int64) Object { o := example(t, KindVM).(*VM); o.Status.VCPUs = int(n); return o }, 0, 512},
		{"status.memoryMiB", func(n int64) Object { o := example(t, KindVM).(*VM); o.Status.MemoryMiB = n; return o }, 0, 16 << 20},
		{"spec.diskThrottle.readIops", func(n int64) Object { o := example(t, KindVM).(*VM); o.Spec.DiskThrottle.ReadIOPS = n; return o }, 0, 1 << 30},
		{"spec.throttle.writeMiBps", func(n int64) Object { o := example(t, KindVolume).(*Volume); o.Spec.Throttle.WriteMiBps = n; return o }, 0, 1 << 20},
		{"spec.sizeGiB", func(n int64) Object { o := example(t, KindVolume).(*Volume); o.Spec.SizeGiB = n; return o }, 1, 64 << 10},
		{"status.sizeGiB", func(n int64) Object { o := example(t, KindVolume).(*Volume); o.Status.SizeGiB = n; return o }, 0, 64 << 10},
		{"spec.vcpus", func(n int64) Object { o := example(t, KindInstance).(*Instance); o.Spec.VCPUs = int(n); return o }, 1, 512},
		{"spec.memoryMiB", func(n int64) Object { o := example(t, KindInstance).(*Instance); o.Spec.MemoryMiB = n; return o }, 32, 16 << 20},
		{"spec.securityLevel", func(n int64) Object { o := example(t, KindHost).(*Host); o.Spec.SecurityLevel = int(n); return o }, 1, 5},
		{"spec.reservedMemoryMiB", func(n int64) Object { o := example(t, KindHost).(*Host); o.Spec.ReservedMemoryMiB = n; return o }, 0, 16 << 20},
		{"status.inventory.cpus", func(n int64) Object { o := example(t, KindHost).(*Host); o.Status.Inventory.CPUs = int(n); return o }, 0, 1 << 16},
		{"status.inventory.memoryMiB", func(n int64) Object { o := example(t, KindHost).(*Host); o.Status.Inventory.MemoryMiB = n; return o }, 0, 1 << 30},
		{"status.inventory.pools", func(n int64) Object {
			o := example(t, KindHost).(*Host)
			o.Status.Inventory.Pools = []Pool{{Driver: DriverLocal, TotalBytes: n}}
			return o
		}, 0, 1 << 56},
		{"status.percent", func(n int64) Object { o := example(t, KindTask).(*Task); o.Status.Percent = int(n); return o }, 0, 100},
		{"spec.quota.vms", quota(func(q *Quota, n *int64) { q.VMs = n }), 0, 1 << 40},
		{"spec.quota.vcpus", quota(func(q *Quota, n *int64) { q.VCPUs = n }), 0, 1 << 40},
		{"spec.quota.memoryMiB", quota(func(q *Quota, n *int64) { q.MemoryMiB = n }), 0, 1 << 40},
		{"spec.quota.volumes", quota(func(q *Quota, n *int64) { q.Volumes = n }), 0, 1 << 40},
		{"spec.quota.storageGiB", quota(func(q *Quota, n *int64) { q.StorageGiB = n }), 0, 1 << 40},
		{"spec.quota.snapshots", quota(func(q *Quota, n *int64) { q.Snapshots = n }), 0, 1 << 40},
		{"spec.quota.images", quota(func(q *Quota, n *int64) { q.Images = n }), 0, 1 << 40},
	} {
		for _, n := range []int64{line.low, line.high} {
			require.NoError(t, line.set(n).Validate(), "%s = %d", line.field, n)
		}
		for _, n := range []int64{line.low - 1, line.high + 1, -1, 1e18, math.MaxInt64, math.MinInt64} {
			if n < line.low || n > line.high {
				invalid(t, line.set(n).Validate(), line.field, fmt.Sprintf("%s = %d", line.field, n))
			}
		}
	}
	for field, set := range map[string]func(float64) Object{
		"spec.cpuOvercommit":     func(n float64) Object { o := example(t, KindHost).(*Host); o.Spec.CPUOvercommit = n; return o },
		"spec.storageOvercommit": func(n float64) Object { o := example(t, KindHost).(*Host); o.Spec.StorageOvercommit = n; return o },
	} {
		for _, n := range []float64{0, -1, 0.09, 64.1, 1e18, math.NaN(), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, math.Copysign(0, -1)} {
			invalid(t, set(n).Validate(), field, fmt.Sprint(n))
		}
		for _, n := range []float64{0.1, 1, 64} {
			require.NoError(t, set(n).Validate())
		}
	}
}

// TestLimitsNeverOverflow: the largest host that is valid gives out an amount that can be counted.
func TestLimitsNeverOverflow(t *testing.T) {
	host := example(t, KindHost).(*Host)
	host.Spec.CPUOvercommit, host.Spec.StorageOvercommit = 64, 64
	host.Status.Inventory = Inventory{CPUs: 1 << 16, MemoryMiB: 1 << 30}
	for range MaxPools {
		host.Status.Inventory.Pools = append(host.Status.Inventory.Pools, Pool{Driver: DriverLocal, TotalBytes: 1 << 56, FreeBytes: 1 << 56})
	}
	require.NoError(t, host.Validate())
	limits := host.Limits()
	for _, n := range []int64{limits.VCPUs, limits.MemoryMiB, limits.StorageGiB} {
		require.Greater(t, n, int64(0))
		require.Less(t, n, int64(1<<50))
	}
	host.Status.Inventory.Pools = append(host.Status.Inventory.Pools, Pool{Driver: DriverLocal})
	invalid(t, host.Validate(), "status.inventory.pools", "too many")
	host.Spec.ReservedMemoryMiB, host.Status.Inventory.MemoryMiB = 4096, 1024
	require.Zero(t, host.Limits().MemoryMiB, "never less than nothing")
}

func TestMACPrefix(t *testing.T) {
	for _, prefix := range []string{"", "52:54", "52:54:00:", "52-54-00", "52:54:0g", "52:54:00\n", "AA:BB:CC", "01:00:5e", "33:33:00", "</mac>"} {
		o := example(t, KindCluster).(*Cluster)
		o.Spec.MACPrefix = prefix
		invalid(t, o.Validate(), "spec.macPrefix", fmt.Sprintf("%q", prefix))
	}
}

func TestHostileVMs(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChrTTBgtPtrC5NTJc0MZjVWzyYZoGmjeXqVJHnzM"
	for _, line := range []struct {
		field  string
		change func(*VMSpec)
	}{
		{"spec.userData", func(s *VMSpec) { s.UserData = "a\x00b" }},
		{"spec.userData", func(s *VMSpec) { s.UserData = "\xff\xfe" }},
		{"spec.userData", func(s *VMSpec) { s.UserData = strings.Repeat("x", MaxUserDataBytes+1) }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{""} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{"not a key"} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{key + "\n" + key} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{`command="reboot" ` + key} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{key + " a\u202eb"} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{key[:len(key)-3]} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = []string{key + " " + strings.Repeat("x", 5000)} }},
		{"spec.sshKeys", func(s *VMSpec) { s.SSHKeys = make([]string, MaxSSHKeys+1) }},
		{"spec.power", func(s *VMSpec) { s.Power = "running" }},
		{"spec.power", func(s *VMSpec) { s.Power = Power(strings.Repeat("ộ", 10_000)) }},
		{"spec.restartPolicy", func(s *VMSpec) { s.RestartPolicy = "sometimes" }},
	} {
		o := example(t, KindVM).(*VM)
		line.change(&o.Spec)
		invalid(t, o.Validate(), line.field, line.field)
	}
	o := example(t, KindVM).(*VM)
	o.Spec.UserData, o.Spec.SSHKeys = "#!/bin/sh\r\n\techo 'Hà Nội' \x1b\n", []string{key, key + " nguyen@hà-nội"}
	require.NoError(t, o.Validate())
}

func TestHostileOthers(t *testing.T) {
	for _, line := range []struct {
		field  string
		object func() Object
	}{
		{"spec.format", func() Object { o := example(t, KindImage).(*Image); o.Spec.Format = "vmdk"; return o }},
		{"spec.format", func() Object { o := example(t, KindImage).(*Image); o.Spec.Format = ""; return o }},
		{"spec.sha256", func() Object { o := example(t, KindImage).(*Image); o.Spec.SHA256 = strings.Repeat("A", 64); return o }},
		{"spec.policy", func() Object { o := example(t, KindPlacementGroup).(*PlacementGroup); o.Spec.Policy = ""; return o }},
		{"spec.platformRole", func() Object { o := example(t, KindUser).(*User); o.Spec.PlatformRole = RoleProjectAdmin; return o }},
		{"spec.members.role", func() Object {
			o := example(t, KindProject).(*Project)
			o.Spec.Members = []Member{{User: "a", Role: RolePlatformAdmin}}
			return o
		}},
		{"spec.members", func() Object {
			o := example(t, KindProject).(*Project)
			o.Spec.Members = []Member{{"a", RoleReader}, {"a", RoleProjectAdmin}}
			return o
		}},
		{"spec.members", func() Object {
			o := example(t, KindProject).(*Project)
			for i := range MaxProjectMembers + 1 {
				o.Spec.Members = append(o.Spec.Members, Member{fmt.Sprintf("user-%d", i), RoleReader})
			}
			return o
		}},
		{"hash", func() Object { o := example(t, KindToken).(*Token); o.Hash = "plain text"; return o }},
		{"status.userId", func() Object { o := example(t, KindToken).(*Token); o.Status.UserID = ""; return o }},
		{"spec.expiresAt", func() Object { o := example(t, KindToken).(*Token); o.Spec.ExpiresAt = nil; return o }},
		{"Idempotency-Key", func() Object { o := example(t, KindReceipt).(*Receipt); o.Key = "a\nb"; return o }},
		{"Idempotency-Key", func() Object { o := example(t, KindReceipt).(*Receipt); o.Key = strings.Repeat("x", 256); return o }},
		{"status.output", func() Object {
			o := example(t, KindTask).(*Task)
			o.Status.Output = json.RawMessage(`"` + strings.Repeat("x", 1<<16) + `"`)
			return o
		}},
		{"spec.args", func() Object {
			o := example(t, KindOperation).(*Operation)
			o.Spec.Args = json.RawMessage(`"` + strings.Repeat("x", 1<<18) + `"`)
			return o
		}},
		{"observed.state", func() Object { o := example(t, KindInstance).(*Instance); o.Observed.State = ""; return o }},
		{"desired.state", func() Object { o := example(t, KindInstance).(*Instance); o.Desired.State = "Gone"; return o }},
		{"observed.message", func() Object {
			o := example(t, KindInstance).(*Instance)
			o.Observed.Message = strings.Repeat("x", 1<<16)
			return o
		}},
	} {
		invalid(t, line.object().Validate(), line.field, line.field)
	}
	for length, good := range map[int]bool{0: false, 11: false, 12: true, 256: true, 257: false, 10_000: false} {
		require.Equal(t, good, CheckPassword(strings.Repeat("x", length)) == nil, "%d", length)
	}
}

// FuzzValidate: whatever JSON brings, Validate answers, and the object can be written again.
func FuzzValidate(f *testing.F) {
	for i, definition := range Kinds {
		data, err := json.Marshal(filled(definition))
		require.NoError(f, err)
		f.Add(i, data)
	}
	f.Add(0, []byte("null"))
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		if kind < 0 {
			kind = -(kind + 1)
		}
		object := Kinds[kind%len(Kinds)].New()
		if json.Unmarshal(data, object) != nil {
			return
		}
		if err := object.Validate(); err != nil {
			require.True(t, utf8.ValidString(err.Error()))
		}
		_, err := json.Marshal(object)
		require.NoError(t, err)
	})
}
