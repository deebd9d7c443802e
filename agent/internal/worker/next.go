package worker

import (
	"fmt"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/internal/ledger"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Sight is what is seen of an Instance's machine at one moment.
type Sight struct {
	Presence Presence
	Reason   hypervisor.StopReason // why it is Off
	BootID   string                // of the host, now
}

// Presence says whether there is a machine, and whether it runs.
type Presence string

const (
	Absent  Presence = "Absent" // the hypervisor does not know it
	Off     Presence = "Off"
	Running Presence = "Running"
	Paused  Presence = "Paused"
)

// See makes a Sight of what the hypervisor says; observation nil: it knows no such machine.
func See(observation *hypervisor.Observation, bootID string) Sight {
	sight := Sight{Presence: Absent, BootID: bootID}
	if observation == nil {
		return sight
	}
	switch observation.State {
	case hypervisor.StateRunning:
		sight.Presence = Running
	case hypervisor.StatePaused:
		sight.Presence = Paused
	default:
		sight.Presence, sight.Reason = Off, observation.Reason
	}
	return sight
}

func (s Sight) active() bool { return s.Presence == Running || s.Presence == Paused }

// Step is one thing to do.
type Step string

const (
	StepNone    Step = "None"    // nothing, until something changes
	StepMark    Step = "Mark"    // only the journal is written; look again at once
	StepPrepare Step = "Prepare" // make seed and machine
	StepStart   Step = "Start"
	StepResume  Step = "Resume"
	StepAsk     Step = "Ask" // press the power button; again after a while
	StepKill    Step = "Kill"
	StepRemove  Step = "Remove" // remove machine and seed; then it is Stopped
	StepForget  Step = "Forget" // strike it out of the ledger
)

// Transition is what comes next for an Instance. Journal and Seen are written first, then Step is done.
type Transition struct {
	Step    Step
	Journal ledger.Journal
	Seen    *v1.InstanceObserved // nil: nothing to say
}

// wish is what the controllers want, in one word.
type wish int

const (
	wishLeave wish = iota // the set left it out, and never said Stopped: whatever it does, let it
	wishHold
	wishRun
	wishStop
	wishKill
)

func wishOf(record ledger.Instance) wish {
	assignment := record.Assignment
	switch {
	case assignment.Over, assignment.Desired.State == v1.DesiredStopped && assignment.Desired.Force:
		return wishKill
	case assignment.Desired.State == v1.DesiredStopped:
		return wishStop
	case record.Absent:
		return wishLeave
	case assignment.Desired.State == v1.DesiredRunning:
		return wishRun
	}
	return wishHold
}

// Texts that people see.
const (
	messagePaused   = "the guest is paused, most likely because its storage failed or is full; it is continued as soon as that works"
	messageLost     = "this host has no record of what it did with this instance, so it does not start it (again)"
	messageOutside  = "it was ended on the host by something else than the cloud"
	messageVanished = "its machine is gone from the hypervisor"
	messageNever    = "it was never started"
)

// Next decides, from what is wanted, what has been done and what is seen, the one thing to do. It is pure. Its promises: an Instance is
// started only when it is certain that it never ran; one that has run and does not run is over; nothing is stopped unless Stopped is said.
func Next(record ledger.Instance, sight Sight) Transition {
	journal := record.Journal
	switch journal.Phase {
	case ledger.PhaseNone:
		return untouched(record, sight)
	case ledger.PhaseDefining:
		return defining(record, sight)
	case ledger.PhaseStarting:
		return starting(record, sight)
	case ledger.PhaseStarted:
		return started(record, sight)
	case ledger.PhaseStopping:
		return stopping(record, sight)
	case ledger.PhaseRemoving:
		return Transition{Step: StepRemove, Journal: journal}
	case ledger.PhaseStopped:
		return stopped(record, sight)
	}
	// A phase of a newer agent: hands off.
	return Transition{Step: StepNone, Journal: journal}
}

func untouched(record ledger.Instance, sight Sight) Transition {
	wanted := wishOf(record)
	switch {
	case sight.active():
		return adopt(record, sight)
	case wanted == wishStop || wanted == wishKill:
		return over(record, v1.StoppedRequested, messageNever)
	case sight.Presence == Off, record.Assignment.Reported > 0:
		// The machine is older than the ledger: whether it ever ran, nobody can say.
		return over(record, v1.StoppedUnknown, messageLost)
	case wanted == wishRun:
		return prepare()
	}
	return rest(record, v1.InstancePending, "")
}

func defining(record ledger.Instance, sight Sight) Transition {
	wanted := wishOf(record)
	switch {
	case sight.active():
		return adopt(record, sight)
	case sight.Presence == Off && sight.Reason != hypervisor.ReasonNone:
		return ended(record, sight)
	case wanted == wishStop || wanted == wishKill:
		return over(record, v1.StoppedRequested, messageNever)
	case wanted != wishRun:
		return Transition{Step: StepNone, Journal: record.Journal}
	case sight.Presence == Absent:
		return prepare()
	}
	return start(sight)
}

func starting(record ledger.Instance, sight Sight) Transition {
	wanted := wishOf(record)
	neverRan := sight.Presence == Off && sight.Reason == hypervisor.ReasonNone
	switch {
	case sight.active():
		return adopt(record, sight)
	case record.Journal.BootID != sight.BootID:
		return over(record, v1.StoppedHostBoot, "")
	case !neverRan:
		return ended(record, sight)
	case wanted == wishStop || wanted == wishKill:
		return over(record, v1.StoppedRequested, messageNever)
	case wanted == wishRun:
		return start(sight)
	}
	return Transition{Step: StepNone, Journal: record.Journal}
}

func started(record ledger.Instance, sight Sight) Transition {
	if !sight.active() {
		return ended(record, sight)
	}
	switch wishOf(record) {
	case wishKill:
		return stop(record, StepKill)
	case wishStop:
		if sight.Presence == Paused {
			// It does not hear the power button while it is paused.
			return Transition{Step: StepResume, Journal: record.Journal, Seen: observed(v1.InstancePaused, messagePaused)}
		}
		return stop(record, StepAsk)
	case wishLeave:
		return show(record, sight)
	}
	if sight.Presence == Paused {
		return Transition{Step: StepResume, Journal: record.Journal, Seen: observed(v1.InstancePaused, messagePaused)}
	}
	return show(record, sight)
}

func stopping(record ledger.Instance, sight Sight) Transition {
	switch {
	case !sight.active():
		return over(record, v1.StoppedRequested, "")
	case wishOf(record) == wishKill:
		return stop(record, StepKill)
	case sight.Presence == Paused:
		return Transition{Step: StepResume, Journal: record.Journal, Seen: observed(v1.InstancePaused, messagePaused)}
	}
	return stop(record, StepAsk)
}

func stopped(record ledger.Instance, sight Sight) Transition {
	switch {
	case sight.Presence != Absent:
		// A start that came through late, or somebody's hand. It must not run: another Instance may have its disks by now.
		return Transition{Step: StepRemove, Journal: record.Journal}
	case record.Absent && record.Settled():
		return Transition{Step: StepForget, Journal: record.Journal}
	}
	return Transition{Step: StepNone, Journal: record.Journal, Seen: stoppedObservation(record.Journal)}
}

// ---- the transitions ----

func rest(record ledger.Instance, state v1.InstanceState, message string) Transition {
	return Transition{Step: StepNone, Journal: record.Journal, Seen: observed(state, message)}
}

func show(record ledger.Instance, sight Sight) Transition {
	if sight.Presence == Paused {
		return rest(record, v1.InstancePaused, messagePaused)
	}
	return rest(record, v1.InstanceRunning, "")
}

func prepare() Transition {
	return Transition{Step: StepPrepare, Journal: ledger.Journal{Phase: ledger.PhaseDefining}}
}

func start(sight Sight) Transition {
	return Transition{Step: StepStart, Journal: ledger.Journal{Phase: ledger.PhaseStarting, BootID: sight.BootID}}
}

// adopt records that it runs, whoever started it, and looks again: what is wanted is decided then.
func adopt(record ledger.Instance, sight Sight) Transition {
	return Transition{Step: StepMark, Journal: ledger.Journal{Phase: ledger.PhaseStarted, BootID: sight.BootID}, Seen: show(record, sight).Seen}
}

func stop(record ledger.Instance, step Step) Transition {
	journal := record.Journal
	journal.Phase = ledger.PhaseStopping
	return Transition{Step: step, Journal: journal, Seen: observed(v1.InstanceRunning, "")}
}

// over records the end and its reason before anything is removed, since the hypervisor forgets the reason with the machine.
func over(record ledger.Instance, reason v1.StopReason, message string) Transition {
	journal := record.Journal
	journal.Phase, journal.Reason, journal.Message = ledger.PhaseRemoving, reason, message
	return Transition{Step: StepMark, Journal: journal}
}

// ended is over, for what the hypervisor says of a machine that has run, or may have.
func ended(record ledger.Instance, sight Sight) Transition {
	switch {
	case record.Journal.BootID != "" && record.Journal.BootID != sight.BootID:
		return over(record, v1.StoppedHostBoot, "")
	case sight.Presence == Absent:
		return over(record, v1.StoppedUnknown, messageVanished)
	}
	switch sight.Reason {
	case hypervisor.ReasonShutdown:
		return over(record, v1.StoppedByGuest, "")
	case hypervisor.ReasonCrashed:
		return over(record, v1.StoppedCrashed, "")
	case hypervisor.ReasonKilled:
		return over(record, v1.StoppedUnknown, messageOutside)
	}
	return over(record, v1.StoppedUnknown, fmt.Sprintf("nobody remembers how it ended (journal %s)", record.Journal.Phase))
}

// failed is over for an Instance that never ran.
func failed(record ledger.Instance, cause error) Transition {
	return over(record, v1.StoppedNoStart, clip(cause.Error()))
}

func observed(state v1.InstanceState, message string) *v1.InstanceObserved {
	return &v1.InstanceObserved{State: state, Message: message}
}

func stoppedObservation(journal ledger.Journal) *v1.InstanceObserved {
	return &v1.InstanceObserved{State: v1.InstanceStopped, Reason: journal.Reason, Message: journal.Message}
}
