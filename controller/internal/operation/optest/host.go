package optest

import (
	"fmt"
	"maps"
	"slices"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Host is a simulated host: what is on it, and what it has been told. It keeps the agents' rules: a task is repeated until its outcome is recorded, an Instance lives once, and one that leaves the
// set without having been told to stop is left as it is.
type Host struct {
	ID string

	// What is on it.
	Images   map[string]bool     // "driver/id"
	Volumes  map[string]*Disk    // by id
	Machines map[string]*Machine // by Instance
	Logs     map[string]bool     // VMs of which serial output is kept
	Reboots  int

	// How it behaves.
	Silent    bool // it hears and says nothing
	Deaf      bool // its guests ignore the power button
	Twice     bool // it carries out each task twice, as after a crash, and says everything twice
	FailTask  func(v1.TaskSpec) *Failure
	FailStart func(v1.InstanceSpec) bool
	Output    func(v1.TaskSpec) any // instead of what a task would find out; nil: the usual

	tasks  map[string]*given
	unsent map[string]bool // Instances with something to say
	sent   uint64
	world  *World
}

// Failure of a task, before it has had an effect or after.
type Failure struct {
	Problem *v1.Problem
	After   bool
}

// Disk is a volume's data.
type Disk struct {
	Driver    string
	Bytes     int64
	Image     string
	Content   string
	Snapshots map[string]Copy
}

// Copy is a snapshot's data.
type Copy struct {
	Bytes   int64
	Content string
}

// Machine is what a host knows of an Instance.
type Machine struct {
	Spec    v1.InstanceSpec
	Desired v1.InstanceDesired
	State   v1.InstanceState
	Reason  v1.StopReason
	Told    string // what went wrong
	Absent  bool   // it has left the set
	over    bool   // the set says that it is recorded as over
}

type given struct {
	spec    v1.TaskSpec
	outcome *v1.TaskStatus
}

func (h *Host) lives(m *Machine) bool { return m.State != v1.InstanceStopped }

// open returns the running machine that has a volume open, or nil.
func (h *Host) open(volume string) *Machine {
	for _, machine := range h.Machines {
		for _, disk := range machine.Spec.Disks {
			if disk.Volume == volume && machine.State == v1.InstanceRunning {
				return machine
			}
		}
	}
	return nil
}

// take accepts the complete set as it is now.
func (h *Host) take() (changed bool) {
	s := h.world.Store.Snapshot()
	tasks := map[string]*given{}
	for _, task := range s.TasksOn(h.ID) {
		if task.Status.State != v1.TaskPending {
			continue
		}
		if tasks[task.ID] = h.tasks[task.ID]; tasks[task.ID] == nil {
			tasks[task.ID], changed = &given{spec: task.Spec}, true
		}
	}
	changed = changed || len(tasks) != len(h.tasks)
	h.tasks = tasks
	seen := map[string]bool{}
	for _, instance := range s.InstancesOn(h.ID) {
		seen[instance.ID] = true
		known := h.Machines[instance.ID]
		if known == nil {
			known = &Machine{Spec: instance.Spec, State: v1.InstancePending}
			h.Machines[instance.ID], changed = known, true
		}
		changed = changed || known.Desired != instance.Desired || known.over != !instance.Live()
		known.Desired, known.Absent, known.over = instance.Desired, false, !instance.Live()
	}
	for id, machine := range h.Machines {
		if seen[id] {
			continue
		}
		if !h.lives(machine) {
			delete(h.Machines, id)
			delete(h.unsent, id)
			changed = true
			continue
		}
		changed = changed || !machine.Absent
		machine.Absent = true
	}
	return changed
}

// Moves names everything that the host could do or say now, in a fixed order.
func (h *Host) Moves() (moves []string) {
	if h.Silent {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(h.tasks)) {
		if h.tasks[id].outcome == nil {
			moves = append(moves, "do "+id)
		} else {
			moves = append(moves, "tell "+id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(h.Machines)) {
		machine := h.Machines[id]
		switch {
		case h.unsent[id]:
			moves = append(moves, "show "+id)
		case h.wantsStop(machine):
			moves = append(moves, "stop "+id)
		case machine.State == v1.InstancePending && machine.Desired.State == v1.DesiredRunning && !machine.Absent && !machine.over:
			moves = append(moves, "start "+id)
		}
	}
	return moves
}

func (h *Host) wantsStop(machine *Machine) bool {
	if !h.lives(machine) {
		return false
	}
	return machine.over || machine.Desired.State == v1.DesiredStopped && (machine.Desired.Force || machine.State == v1.InstancePending || !h.Deaf)
}

// Move does one of Moves.
func (h *Host) Move(move string) {
	var verb, id string
	if _, err := fmt.Sscan(move, &verb, &id); err != nil {
		panic(err)
	}
	switch verb {
	case "do":
		h.do(h.tasks[id])
	case "tell":
		h.world.report(h, func() bool { return h.world.taskReport(h, id, *h.tasks[id].outcome) })
	case "show":
		delete(h.unsent, id)
		machine := h.Machines[id]
		h.world.report(h, func() bool { return h.world.instanceReport(h, id, machine) })
	case "start":
		h.start(id)
	case "stop":
		h.Stop(id, v1.StoppedRequested)
	}
}

func (h *Host) nextSeq() uint64 { h.sent++; return h.sent }

func (h *Host) do(task *given) {
	status := v1.TaskStatus{State: v1.TaskDone, Percent: 100}
	var failure *Failure
	if h.FailTask != nil {
		failure = h.FailTask(task.spec)
	}
	if failure == nil || failure.After {
		output, problem := h.carryOut(task.spec)
		if h.Twice {
			_, problem = h.carryOut(task.spec)
		}
		if h.Output != nil {
			if other := h.Output(task.spec); other != nil {
				output = other
			}
		}
		status.Output = encode(output)
		if problem != nil {
			status = v1.TaskStatus{State: v1.TaskFailed, Error: problem}
		}
	}
	if failure != nil {
		status = v1.TaskStatus{State: v1.TaskFailed, Error: failure.Problem}
	}
	status.Seq = h.nextSeq()
	task.outcome = &status
}

func (h *Host) start(id string) {
	machine := h.Machines[id]
	h.unsent[id] = true
	fail := func(why string) {
		machine.State, machine.Reason, machine.Told = v1.InstanceStopped, v1.StoppedNoStart, why
	}
	for _, disk := range machine.Spec.Disks {
		if h.Volumes[disk.Volume] == nil {
			fail("it has no disk")
			return
		}
		if other := h.open(disk.Volume); other != nil {
			h.world.Violated("two machines have the volume %s open", disk.Volume)
		}
	}
	if h.FailStart != nil && h.FailStart(machine.Spec) {
		fail("the hypervisor refused it")
		return
	}
	machine.State = v1.InstanceRunning
	h.Logs[machine.Spec.VM] = true
}

// Stop ends a machine.
func (h *Host) Stop(id string, reason v1.StopReason) {
	machine := h.Machines[id]
	machine.State, machine.Reason, h.unsent[id] = v1.InstanceStopped, reason, true
}
