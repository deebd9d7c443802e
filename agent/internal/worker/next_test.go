package worker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

const (
	boot      = "boot-1"
	otherBoot = "boot-0"
)

var (
	hold  = hostv1.Assignment{Desired: v1.InstanceDesired{State: v1.DesiredHold}}
	run   = hostv1.Assignment{Desired: v1.InstanceDesired{State: v1.DesiredRunning}}
	stop_ = hostv1.Assignment{Desired: v1.InstanceDesired{State: v1.DesiredStopped}}
	force = hostv1.Assignment{Desired: v1.InstanceDesired{State: v1.DesiredStopped, Force: true}}
	over_ = hostv1.Assignment{Desired: v1.InstanceDesired{State: v1.DesiredRunning}, Over: true}

	gone      = Sight{Presence: Absent, BootID: boot}
	fresh     = Sight{Presence: Off, BootID: boot}
	powered   = Sight{Presence: Off, Reason: hypervisor.ReasonShutdown, BootID: boot}
	killed    = Sight{Presence: Off, Reason: hypervisor.ReasonKilled, BootID: boot}
	crashed   = Sight{Presence: Off, Reason: hypervisor.ReasonCrashed, BootID: boot}
	forgotten = Sight{Presence: Off, Reason: hypervisor.ReasonUnknown, BootID: boot}
	running   = Sight{Presence: Running, BootID: boot}
	paused    = Sight{Presence: Paused, BootID: boot}
)

var (
	phases      = []ledger.Phase{ledger.PhaseNone, ledger.PhaseDefining, ledger.PhaseStarting, ledger.PhaseStarted, ledger.PhaseStopping, ledger.PhaseRemoving, ledger.PhaseStopped}
	assignments = map[string]hostv1.Assignment{"hold": hold, "run": run, "stop": stop_, "force": force, "over": over_}
	sights      = []Sight{gone, fresh, powered, killed, crashed, forgotten, running, paused}
)

func record(phase ledger.Phase, assignment hostv1.Assignment) ledger.Instance {
	found := ledger.Instance{Assignment: assignment, Journal: ledger.Journal{Phase: phase}}
	switch phase {
	case ledger.PhaseStarting, ledger.PhaseStarted, ledger.PhaseStopping:
		found.Journal.BootID = boot
	case ledger.PhaseRemoving, ledger.PhaseStopped:
		found.Journal.BootID, found.Journal.Reason = boot, v1.StoppedCrashed
	}
	return found
}

func absent(found ledger.Instance) ledger.Instance { found.Absent = true; return found }

func elsewhen(found ledger.Instance) ledger.Instance { found.Journal.BootID = otherBoot; return found }

func reported(found ledger.Instance) ledger.Instance { found.Assignment.Reported = 7; return found }

func TestNext(t *testing.T) {
	const none, defining, starting, started, stopping, removing, stopped = ledger.PhaseNone, ledger.PhaseDefining, ledger.PhaseStarting,
		ledger.PhaseStarted, ledger.PhaseStopping, ledger.PhaseRemoving, ledger.PhaseStopped
	const pending, runs, pauses, ended = v1.InstancePending, v1.InstanceRunning, v1.InstancePaused, v1.InstanceStopped
	for number, test := range []struct {
		record ledger.Instance
		sight  Sight
		step   Step
		phase  ledger.Phase
		reason v1.StopReason
		seen   v1.InstanceState // "" says nothing
	}{
		// Nothing done yet.
		{record(none, hold), gone, StepNone, none, "", pending},
		{record(none, run), gone, StepPrepare, defining, "", ""},
		{record(none, stop_), gone, StepMark, removing, v1.StoppedRequested, ""},
		{record(none, force), gone, StepMark, removing, v1.StoppedRequested, ""},
		{record(none, over_), gone, StepMark, removing, v1.StoppedRequested, ""},
		{absent(record(none, run)), gone, StepNone, none, "", pending},
		// The ledger was lost.
		{reported(record(none, run)), gone, StepMark, removing, v1.StoppedUnknown, ""},
		{record(none, run), fresh, StepMark, removing, v1.StoppedUnknown, ""},
		{record(none, run), powered, StepMark, removing, v1.StoppedUnknown, ""},
		{reported(record(none, run)), running, StepMark, started, "", runs},
		{reported(record(none, stop_)), running, StepMark, started, "", runs},
		{reported(record(none, run)), paused, StepMark, started, "", pauses},
		// It is being made.
		{record(defining, run), gone, StepPrepare, defining, "", ""},
		{record(defining, run), fresh, StepStart, starting, "", ""},
		{record(defining, run), running, StepMark, started, "", runs},
		{record(defining, run), crashed, StepMark, removing, v1.StoppedCrashed, ""},
		{record(defining, stop_), fresh, StepMark, removing, v1.StoppedRequested, ""},
		{record(defining, over_), gone, StepMark, removing, v1.StoppedRequested, ""},
		{absent(record(defining, run)), fresh, StepNone, defining, "", ""},
		{absent(record(defining, stop_)), fresh, StepMark, removing, v1.StoppedRequested, ""},
		// It may have been started.
		{record(starting, run), fresh, StepStart, starting, "", ""},
		{record(starting, run), running, StepMark, started, "", runs},
		{record(starting, run), paused, StepMark, started, "", pauses},
		{record(starting, run), gone, StepMark, removing, v1.StoppedUnknown, ""},
		{record(starting, run), forgotten, StepMark, removing, v1.StoppedUnknown, ""},
		{record(starting, run), powered, StepMark, removing, v1.StoppedByGuest, ""},
		{record(starting, run), crashed, StepMark, removing, v1.StoppedCrashed, ""},
		{elsewhen(record(starting, run)), fresh, StepMark, removing, v1.StoppedHostBoot, ""},
		{elsewhen(record(starting, run)), gone, StepMark, removing, v1.StoppedHostBoot, ""},
		{elsewhen(record(starting, run)), running, StepMark, started, "", runs},
		{record(starting, stop_), fresh, StepMark, removing, v1.StoppedRequested, ""},
		{record(starting, stop_), running, StepMark, started, "", runs},
		{absent(record(starting, run)), fresh, StepNone, starting, "", ""},
		// It was seen running.
		{record(started, run), running, StepNone, started, "", runs},
		{record(started, run), paused, StepResume, started, "", pauses},
		{record(started, run), powered, StepMark, removing, v1.StoppedByGuest, ""},
		{record(started, run), crashed, StepMark, removing, v1.StoppedCrashed, ""},
		{record(started, run), killed, StepMark, removing, v1.StoppedUnknown, ""},
		{record(started, run), forgotten, StepMark, removing, v1.StoppedUnknown, ""},
		{record(started, run), fresh, StepMark, removing, v1.StoppedUnknown, ""},
		{record(started, run), gone, StepMark, removing, v1.StoppedUnknown, ""},
		{elsewhen(record(started, run)), gone, StepMark, removing, v1.StoppedHostBoot, ""},
		{elsewhen(record(started, run)), forgotten, StepMark, removing, v1.StoppedHostBoot, ""},
		{record(started, stop_), running, StepAsk, stopping, "", runs},
		{record(started, stop_), paused, StepResume, started, "", pauses},
		{record(started, force), running, StepKill, stopping, "", runs},
		{record(started, force), paused, StepKill, stopping, "", runs},
		{record(started, over_), running, StepKill, stopping, "", runs},
		{record(started, stop_), powered, StepMark, removing, v1.StoppedByGuest, ""},
		{absent(record(started, run)), running, StepNone, started, "", runs},
		{absent(record(started, run)), paused, StepNone, started, "", pauses},
		{absent(record(started, stop_)), running, StepAsk, stopping, "", runs},
		{absent(record(started, run)), crashed, StepMark, removing, v1.StoppedCrashed, ""},
		// It was asked to stop.
		{record(stopping, stop_), running, StepAsk, stopping, "", runs},
		{record(stopping, force), running, StepKill, stopping, "", runs},
		{record(stopping, stop_), paused, StepResume, stopping, "", pauses},
		{record(stopping, stop_), powered, StepMark, removing, v1.StoppedRequested, ""},
		{record(stopping, stop_), crashed, StepMark, removing, v1.StoppedRequested, ""},
		{record(stopping, force), killed, StepMark, removing, v1.StoppedRequested, ""},
		{record(stopping, stop_), gone, StepMark, removing, v1.StoppedRequested, ""},
		{elsewhen(record(stopping, stop_)), forgotten, StepMark, removing, v1.StoppedRequested, ""},
		// It is over.
		{record(removing, run), gone, StepRemove, removing, v1.StoppedCrashed, ""},
		{record(removing, run), crashed, StepRemove, removing, v1.StoppedCrashed, ""},
		{record(removing, run), running, StepRemove, removing, v1.StoppedCrashed, ""},
		{record(stopped, run), gone, StepNone, stopped, v1.StoppedCrashed, ended},
		{record(stopped, run), running, StepRemove, stopped, v1.StoppedCrashed, ""},
		{record(stopped, run), fresh, StepRemove, stopped, v1.StoppedCrashed, ""},
		{absent(record(stopped, stop_)), gone, StepForget, stopped, v1.StoppedCrashed, ""},
		{absent(record(stopped, run)), gone, StepNone, stopped, v1.StoppedCrashed, ended}, // the controllers do not know yet
		// A newer agent was here.
		{record("Migrating", stop_), running, StepNone, "Migrating", "", ""},
	} {
		name := fmt.Sprintf("%d: %s absent=%v over=%v %s%+v", number, test.record.Journal.Phase, test.record.Absent, test.record.Assignment.Over,
			test.record.Assignment.Desired.State, test.sight)
		next := Next(test.record, test.sight)
		require.Equal(t, test.step, next.Step, name)
		require.Equal(t, test.phase, next.Journal.Phase, name)
		require.Equal(t, test.reason, next.Journal.Reason, name)
		var seen v1.InstanceState
		if next.Seen != nil {
			seen = next.Seen.State
		}
		require.Equal(t, test.seen, seen, name)
	}
}

// What has to hold in every combination there is, likely or not.
func TestNextAlways(t *testing.T) {
	order := map[ledger.Phase]int{}
	for i, phase := range phases {
		order[phase] = i
	}
	count := 0
	for _, phase := range phases {
		for wanted, assignment := range assignments {
			for _, sight := range sights {
				for variant := range 8 {
					before := record(phase, assignment)
					if variant&1 != 0 {
						before = absent(before)
					}
					if variant&2 != 0 && before.Journal.BootID != "" {
						before = elsewhen(before)
					}
					if variant&4 != 0 {
						before = reported(before)
					}
					count++
					name := fmt.Sprintf("%+v, wanted %s, seen %+v", before, wanted, sight)
					next := Next(before, sight)
					mayStop := wanted == "stop" || wanted == "force" || wanted == "over"
					never := sight.Presence == Off && sight.Reason == hypervisor.ReasonNone

					require.GreaterOrEqual(t, order[next.Journal.Phase], order[phase], "phases move forward: "+name)
					switch next.Step {
					case StepPrepare:
						require.True(t, wanted == "run" && !before.Absent && sight.Presence == Absent && order[phase] <= order[ledger.PhaseDefining], name)
					case StepStart:
						require.True(t, wanted == "run" && !before.Absent && never, name)
						require.Equal(t, ledger.PhaseStarting, next.Journal.Phase, name)
						require.Equal(t, boot, next.Journal.BootID, name)
						require.True(t, phase == ledger.PhaseDefining || phase == ledger.PhaseStarting && before.Journal.BootID == boot, name)
					case StepAsk:
						require.True(t, mayStop || phase == ledger.PhaseStopping, name)
						require.Equal(t, Running, sight.Presence, name)
					case StepKill:
						require.True(t, wanted == "force" || wanted == "over", name)
						require.True(t, sight.active(), name)
					case StepResume:
						require.Equal(t, Paused, sight.Presence, name)
						require.False(t, before.Absent && !mayStop && phase != ledger.PhaseStopping, name)
					case StepRemove:
						require.True(t, phase == ledger.PhaseRemoving || phase == ledger.PhaseStopped, name)
					case StepForget:
						require.True(t, phase == ledger.PhaseStopped && before.Absent && sight.Presence == Absent, name)
					case StepMark:
						require.NotEqual(t, before.Journal, next.Journal, "a mark that marks nothing would go round in circles: "+name)
					case StepNone:
						if mayStop && sight.active() {
							t.Fatal("nobody stops it: " + name)
						}
						if wanted == "run" && !before.Absent && phase != ledger.PhaseStopped {
							require.True(t, sight.Presence == Running, name)
						}
					}
					if next.Journal.Phase == ledger.PhaseRemoving && phase != ledger.PhaseRemoving {
						require.False(t, sight.active(), "what runs is not over: "+name)
						require.NotEmpty(t, next.Journal.Reason, name)
					}
					if next.Seen != nil {
						require.Equal(t, next.Seen.State == v1.InstanceStopped, phase == ledger.PhaseStopped, name)
						require.Equal(t, next.Seen.State == v1.InstanceStopped, next.Seen.Reason != "", name)
					}
					require.Equal(t, next, Next(before, sight), "it is pure: "+name)
				}
			}
		}
	}
	require.Equal(t, 7*5*8*8, count)
}

func TestSee(t *testing.T) {
	require.Equal(t, gone, See(nil, boot))
	require.Equal(t, running, See(&hypervisor.Observation{State: hypervisor.StateRunning}, boot))
	require.Equal(t, paused, See(&hypervisor.Observation{State: hypervisor.StatePaused}, boot))
	require.Equal(t, crashed, See(&hypervisor.Observation{State: hypervisor.StateDefined, Reason: hypervisor.ReasonCrashed}, boot))
}

func TestClip(t *testing.T) {
	require.Equal(t, "a b  c ? ệ", clip("a\nb\t\x00c \xff ệ"))
	long := clip(string(make([]byte, 100_000)))
	require.LessOrEqual(t, len(long), maximumMessage+4)
}
