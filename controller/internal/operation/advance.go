package operation

import (
	"time"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// MaxAttempts is how often undoing a step (or doing one of a Forward operation) is tried before somebody must look; and again after each retry.
const MaxAttempts = 5

// Advance says what to write next for an operation, or nil when there is nothing to write, and after which time to ask again at the latest (0: only when something
// changes). It is pure. elapsed tells how long the present step has been waited for.
func Advance(definition Definition, snapshot *state.Snapshot, id string, now time.Time, elapsed time.Duration) (*state.Txn, time.Duration) {
	machine := newMachine(definition, snapshot, id, now, elapsed)
	if machine == nil {
		return nil, 0
	}
	status := &machine.operation.Status
	var wake time.Duration
	var write bool
	switch status.State {
	case v1.OperationRunning:
		if status.CancelRequested && !definition.Forward && !machine.tooLate() {
			status.State, status.Message, write = v1.OperationUndoing, "", true
			break
		}
		write, wake = machine.forward()
	case v1.OperationUndoing:
		write, wake = machine.backward()
	}
	if !write {
		return nil, wake
	}
	return machine.txn.Update(machine.operation, ""), wake
}

// Refused says what to write after the state has refused what Advance wanted (capacity, an invariant): the present step has failed, for that reason. It is pure, and asks no step.
func Refused(definition Definition, snapshot *state.Snapshot, id string, now time.Time, problem *v1.Problem) *state.Txn {
	machine := newMachine(definition, snapshot, id, now, 0)
	if machine == nil {
		return nil
	}
	status := &machine.operation.Status
	switch status.State {
	case v1.OperationRunning:
		status.Current = min(status.Current, len(status.Steps)-1)
		for status.Current < len(status.Steps)-1 && machine.step(status.Current).Do == nil { // it was the next one's wish
			machine.begin(&status.Steps[status.Current])
			machine.closeStep(&status.Steps[status.Current], v1.StepDone)
			status.Current++
		}
		journal := &status.Steps[status.Current]
		machine.begin(journal)
		machine.fail(journal, problem)
	case v1.OperationUndoing:
		status.Current = min(status.Current, len(status.Steps)-1)
		for status.Current > 0 && machine.passedOver(status.Current) {
			status.Current--
		}
		machine.failUndo(&status.Steps[status.Current], problem)
	default:
		return nil
	}
	return machine.txn.Update(machine.operation, "")
}

type machine struct {
	definition Definition
	snapshot   *state.Snapshot
	operation  *v1.Operation // a copy, to be written
	txn        *state.Txn
	now        time.Time
	elapsed    time.Duration
}

func newMachine(definition Definition, snapshot *state.Snapshot, id string, now time.Time, elapsed time.Duration) *machine {
	stored := snapshot.Operation(id)
	if stored == nil {
		return nil
	}
	txn := state.NewTxn(now, stored.Spec.Actor)
	txn.Operation = id
	return &machine{definition: definition, snapshot: snapshot, operation: stored.Clone(), txn: txn, now: txn.Time, elapsed: elapsed}
}

func (m *machine) step(index int) Step {
	name := m.operation.Status.Steps[index].Name
	for _, step := range m.definition.Steps {
		if step.Name == name {
			return step
		}
	}
	return Step{Name: name, Do: func(Context) Verdict {
		return Failed(v1.NewProblem(v1.CodeInternal, "this version does not know the step %q of %s", name, m.operation.Spec.Type), nil)
	}}
}

func (m *machine) context(index int) Context {
	return Context{State: m.snapshot, Operation: m.operation, Step: &m.operation.Status.Steps[index], Index: index, Now: m.now, Elapsed: m.elapsed}
}

// tooLate says whether a cancel must wait for the outcome of the present step.
func (m *machine) tooLate() bool {
	current := m.operation.Status.Current
	if current >= len(m.operation.Status.Steps) || m.operation.Status.Steps[current].State != v1.StepStarted {
		return false
	}
	step := m.step(current)
	return step.TooLate != nil && step.TooLate(m.context(current))
}

// forward does the present step. Steps without a Do are passed over in the same entry.
func (m *machine) forward() (write bool, wake time.Duration) {
	status := &m.operation.Status
	for {
		if status.Current >= len(status.Steps) {
			m.finish(v1.OperationSucceeded, m.definition.Done)
			return true, 0
		}
		journal := &status.Steps[status.Current]
		step := m.step(status.Current)
		write = m.begin(journal) || write
		if step.Do == nil {
			m.closeStep(journal, v1.StepDone)
			status.Current++
			write = true
			continue
		}
		verdict := step.Do(m.context(status.Current))
		if verdict.Changes != nil {
			verdict.Changes(m.txn)
			write = true
		}
		switch verdict.Outcome {
		case Done:
			if verdict.Output != nil {
				journal.Output = marshal(verdict.Output)
			}
			journal.Error = nil // of an attempt before
			m.closeStep(journal, v1.StepDone)
			status.Current++
			status.Message = ""
			if status.Current == len(status.Steps) {
				m.finish(v1.OperationSucceeded, m.definition.Done)
			}
			return true, 0
		case Fail:
			m.fail(journal, verdict.Problem)
			return true, 0
		}
		return m.wait(journal, verdict, write)
	}
}

// fail begins the undoing, or for a Forward operation another attempt.
func (m *machine) fail(journal *v1.StepStatus, problem *v1.Problem) {
	status := &m.operation.Status
	journal.Error, journal.Percent = problem, 0
	if !m.definition.Forward {
		m.closeStep(journal, v1.StepFailed)
		if status.Error == nil {
			status.Error = problem
		}
		status.State, status.Message = v1.OperationUndoing, ""
		return
	}
	journal.Attempts++
	status.Message = "the step " + journal.Name + " failed: " + problem.Error() + "; it is tried again"
	if journal.Attempts%MaxAttempts == 0 {
		status.State, status.Error = v1.OperationNeedsAttention, problem
		status.Message = "gave up after several attempts; retry, or abandon it"
	}
}

// wait keeps what people are shown up to date without writing an entry for every percent.
func (m *machine) wait(journal *v1.StepStatus, verdict Verdict, write bool) (bool, time.Duration) {
	status := &m.operation.Status
	if verdict.Message != status.Message {
		status.Message, write = verdict.Message, true
	}
	if percent := verdict.Percent / 10 * 10; percent > journal.Percent {
		journal.Percent, write = percent, true
	}
	return write, verdict.Wake
}

// backward undoes the last step that was begun. Steps that were never begun, or have nothing to undo, are passed over in the same entry.
func (m *machine) backward() (write bool, wake time.Duration) {
	status := &m.operation.Status
	status.Current = min(status.Current, len(status.Steps)-1)
	for {
		if status.Current < 0 {
			status.Current = 0
			if status.CancelRequested && status.Error == nil {
				status.Error = v1.NewProblem(v1.CodeCancelled, "it was cancelled")
				m.finish(v1.OperationCancelled, m.definition.Undone)
			} else {
				m.finish(v1.OperationFailed, m.definition.Undone)
			}
			return true, 0
		}
		journal := &status.Steps[status.Current]
		if m.passedOver(status.Current) {
			if journal.State != v1.StepPending {
				m.closeStep(journal, v1.StepUndone)
			}
			status.Current--
			write = true
			continue
		}
		if journal.State != v1.StepUndoing {
			journal.State, journal.Percent, write = v1.StepUndoing, 0, true
		}
		verdict := m.step(status.Current).Undo(m.context(status.Current))
		if verdict.Changes != nil {
			verdict.Changes(m.txn)
			write = true
		}
		switch verdict.Outcome {
		case Done:
			m.closeStep(journal, v1.StepUndone)
			status.Current--
			status.Message = ""
			if status.Current >= 0 {
				return true, 0
			}
			continue
		case Fail:
			m.failUndo(journal, verdict.Problem)
			return true, 0
		}
		return m.wait(journal, verdict, write)
	}
}

// passedOver says whether there is nothing to undo of a step.
func (m *machine) passedOver(index int) bool {
	journal := m.operation.Status.Steps[index]
	return journal.State == v1.StepPending || journal.State == v1.StepUndone || m.step(index).Undo == nil
}

// failUndo counts an attempt to undo a step. Why the step itself failed stays in its journal.
func (m *machine) failUndo(journal *v1.StepStatus, problem *v1.Problem) {
	status := &m.operation.Status
	journal.State, journal.Percent = v1.StepUndoing, 0
	journal.Attempts++
	status.Message = "undoing the step " + journal.Name + " failed: " + problem.Error()
	if journal.Attempts%MaxAttempts == 0 {
		status.State = v1.OperationNeedsAttention
		status.Message += "; retry, or abandon it"
	} else {
		status.Message += "; it is tried again"
	}
}

// begin notes that a step has begun.
func (m *machine) begin(journal *v1.StepStatus) (write bool) {
	if journal.State == v1.StepPending {
		journal.State, write = v1.StepStarted, true
	}
	if journal.StartedAt == nil {
		journal.StartedAt, write = &m.now, true
	}
	return write
}

func (m *machine) closeStep(journal *v1.StepStatus, as v1.StepState) {
	journal.State, journal.FinishedAt = as, &m.now
}

func (m *machine) finish(as v1.OperationState, last func(Context, *state.Txn)) {
	status := &m.operation.Status
	status.State, status.FinishedAt, status.Message = as, &m.now, ""
	for _, task := range m.snapshot.TasksOf(m.operation.ID) {
		m.txn.Delete(task, "") // nothing is left with a host
	}
	if last != nil {
		index := min(max(status.Current, 0), len(status.Steps)-1)
		last(m.context(index), m.txn)
	}
}
