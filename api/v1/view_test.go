package v1

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// combination is all that the phase of a virtual machine depends on.
type combination struct {
	deleting  bool
	operation OperationType // "" for none at work
	observed  InstanceState // "" for a machine that was never started
	desired   DesiredState
	reason    StopReason
	fenced    bool
	host      HostPhase
}

func (c combination) phase() (VMPhase, string) {
	vm := &VM{}
	if c.deleting {
		at := time.Unix(1, 0)
		vm.DeletedAt = &at
	}
	related := Related{Host: &Host{Meta: Meta{Name: "h1"}, Status: HostStatus{Phase: c.host}}}
	if c.operation != "" {
		related.Operation = &Operation{Spec: OperationSpec{Type: c.operation}, Status: OperationStatus{State: OperationRunning, Message: "working"}}
	}
	if c.observed != "" {
		related.Instance = &Instance{Desired: InstanceDesired{State: c.desired}, Observed: InstanceObserved{State: c.observed, Reason: c.reason, Message: "seen"}}
		if c.fenced {
			related.Instance.Fence = &FenceProof{By: "operator"}
		}
	}
	return vmPhase(vm, related)
}

type phaseRule struct {
	rule    string
	holds   func(combination) bool
	phase   VMPhase
	message string // "*" is what the operation says, if there is one
}

// phaseRules are the same decision as a list of rules; the first that fits counts.
var phaseRules = []phaseRule{
	{"a deletion was asked for", func(c combination) bool { return c.deleting }, VMDeleting, "*"},
	{"it is being created and does not run yet", func(c combination) bool {
		return c.operation == OpVMCreate && (c.observed == "" || c.observed == InstancePending)
	}, VMCreating, "*"},
	{"it was never started", func(c combination) bool { return c.observed == "" }, VMStopped, "*"},
	{"it may run on a host that does not answer", func(c combination) bool {
		return c.observed != InstanceStopped && !c.fenced && c.host == HostSilent
	}, VMUnknown, "its host does not answer; the machine may well run"},
	{"its instance was fenced", func(c combination) bool { return c.fenced }, VMStopped, "its host was fenced"},
	{"it is paused", func(c combination) bool { return c.observed == InstancePaused }, VMPaused, "seen"},
	{"it is to stop", func(c combination) bool {
		return c.observed != InstanceStopped && c.desired == DesiredStopped
	}, VMStopping, "*"},
	{"it is to start", func(c combination) bool { return c.observed == InstancePending }, VMStarting, "*"},
	{"it runs", func(c combination) bool { return c.observed == InstanceRunning }, VMRunning, ""},
	{"it was stopped on request", func(c combination) bool { return c.reason == StoppedRequested }, VMStopped, ""},
	{"the guest ended", func(c combination) bool { return c.reason == StoppedByGuest }, VMStopped, "the guest shut itself down"},
	{"its host restarted", func(c combination) bool { return c.reason == StoppedHostBoot }, VMCrashed, "its host restarted"},
	{"anything else is a crash", func(combination) bool { return true }, VMCrashed, "seen"},
}

// TestVMPhases covers each combination of what the phase depends on.
func TestVMPhases(t *testing.T) {
	used, combinations := map[string]int{}, 0
	for _, deleting := range []bool{false, true} {
		for _, operation := range []OperationType{"", OpVMCreate, OpVMStart, OpVMStop, OpVMReboot, OpVMResize, OpVMDelete} {
			for _, observed := range []InstanceState{"", InstancePending, InstanceRunning, InstancePaused, InstanceStopped} {
				for _, desired := range []DesiredState{DesiredHold, DesiredRunning, DesiredStopped} {
					for _, reason := range []StopReason{"", StoppedRequested, StoppedByGuest, StoppedCrashed, StoppedHostBoot, StoppedNoStart, StoppedUnknown} {
						for _, fenced := range []bool{false, true} {
							for _, host := range []HostPhase{HostReady, HostSilent, HostMaintenance} {
								c := combination{deleting, operation, observed, desired, reason, fenced, host}
								combinations++
								i := slices.IndexFunc(phaseRules, func(rule phaseRule) bool { return rule.holds(c) })
								rule := phaseRules[i]
								used[rule.rule]++
								want := rule.message
								if want == "*" {
									want = map[bool]string{true: "working"}[operation != ""]
								}
								phase, message := c.phase()
								require.Equal(t, fmt.Sprint(rule.phase, ": ", want), fmt.Sprint(phase, ": ", message), "%+v: %s", c, rule.rule)
							}
						}
					}
				}
			}
		}
	}
	for _, rule := range phaseRules {
		require.Positive(t, used[rule.rule], "no combination comes to: %s", rule.rule)
	}
	t.Logf("%d combinations", combinations)
}

// TestFinishedOperationsDoNotCount: what is over says nothing of the present.
func TestFinishedOperationsDoNotCount(t *testing.T) {
	for _, state := range []OperationState{OperationSucceeded, OperationFailed, OperationCancelled, OperationAbandoned, OperationRunning, OperationUndoing, OperationNeedsAttention} {
		phase, message := vmPhase(&VM{}, Related{Operation: &Operation{Spec: OperationSpec{Type: OpVMCreate}, Status: OperationStatus{State: state, Message: "working"}}})
		if state.Finished() {
			require.Equal(t, VMStopped, phase, state)
			require.Empty(t, message)
		} else {
			require.Equal(t, VMCreating, phase, state)
		}
	}
}

func TestShow(t *testing.T) {
	host := &Host{Meta: Meta{ID: testID(5), Name: "h1"}, Status: HostStatus{Phase: HostReady}}
	instance := &Instance{Spec: InstanceSpec{Host: host.ID}, Desired: InstanceDesired{State: DesiredRunning}, Observed: InstanceObserved{State: InstanceRunning}}
	shown := (&VM{}).Show(Related{Instance: instance, Host: host})
	require.Equal(t, []string{host.ID, "h1", string(VMRunning)}, []string{shown.Status.Host, shown.Status.HostName, string(shown.Status.Phase)})
	require.Equal(t, host.ID, (&VM{}).Show(Related{Instance: instance}).Status.Host)

	instance.Observed.State = InstanceStopped
	require.Empty(t, (&VM{}).Show(Related{Instance: instance, Host: host}).Status.Host, "a stopped machine is nowhere")

	require.Equal(t, HostMaintenance, host.Show(Related{}).Status.Phase, "spec.schedulable is false")
	host.Spec.Schedulable = true
	require.Equal(t, HostReady, host.Show(Related{}).Status.Phase)
	host.Spec.Schedulable, host.Status.Phase = false, HostSilent
	require.Equal(t, HostSilent, host.Show(Related{}).Status.Phase, "silence is the worse news")

	host.Spec.CPUOvercommit, host.Status.Inventory.CPUs = 2, 4
	shownHost := host.Show(Related{HostUsage: Usage{VCPUs: 3}})
	require.Equal(t, int64(3), shownHost.Status.Usage.VCPUs)
	require.Equal(t, int64(8), shownHost.Status.Limit.VCPUs)

	require.Equal(t, int64(2), (&Project{}).Show(Related{Usage: ProjectUsage{VMs: 2}}).Status.Usage.VMs)
	require.Equal(t, "vm", (&Volume{}).Show(Related{AttachedTo: "vm"}).Status.AttachedTo)
	require.Equal(t, "5a8057ab", Short("01890a5d-ac96-774b-bcce-b3025a8057ab"))
	require.Equal(t, "abc", Short("abc"))
}

func TestSmallRules(t *testing.T) {
	vm := &VM{}
	require.True(t, vm.RunningWanted())
	require.Equal(t, RestartOnFailure, vm.Policy())
	require.Equal(t, 1, vm.Level())
	vm.Spec = VMSpec{Power: PowerStopped, RestartPolicy: RestartNever, SecurityLevel: 4}
	require.False(t, vm.RunningWanted())
	require.Equal(t, RestartNever, vm.Policy())
	require.Equal(t, 4, vm.Level())
	at := time.Unix(1, 0)
	vm.Spec.Power, vm.DeletedAt = PowerRunning, &at
	require.False(t, vm.RunningWanted())

	for size, want := range map[int64]int64{0: 0, 1: 1, 1 << 30: 1, 1<<30 + 1: 2, 10 << 30: 10} {
		require.Equal(t, want, (&Image{Status: ImageStatus{VirtualSize: size}}).MinDiskGiB())
	}

	project := &Project{Spec: ProjectSpec{Members: []Member{{"a", RoleReader}, {"b", RoleProjectAdmin}}}, Status: ProjectStatus{MemberIDs: []string{"id-a", "id-b", "id-c"}}}
	require.Equal(t, RoleProjectAdmin, project.RoleOf("id-b"))
	require.Empty(t, project.RoleOf("id-c"), "more ids than members give no role")
	require.Empty(t, project.RoleOf(""))

	token := &Token{}
	require.True(t, token.Expired(at), "a token without an end has ended")
	token.Spec.ExpiresAt = &at
	require.True(t, token.Expired(at))
	require.False(t, token.Expired(at.Add(-1)))

	instance := &Instance{Spec: InstanceSpec{VCPUs: 2, MemoryMiB: 64}}
	require.Equal(t, Usage{VCPUs: 2, MemoryMiB: 64}, instance.Usage())
	instance.Fence = &FenceProof{}
	require.True(t, instance.Usage().IsZero())
	instance.Fence, instance.Observed.State = nil, InstanceStopped
	require.True(t, instance.Usage().IsZero())
}
