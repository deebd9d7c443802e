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
	stored := snapshot.Operation(id)
	if stored == nil {
		return nil, 0
	}
	operation := stored.Clone()
	status := &operation.Status
	txn := state.NewTxn(now, operation.Spec.Actor)
	txn.Operation = operation.ID
	machine := &machine{definition: definition, snapshot: snapshot, operation: operation, txn: txn, now: txn.Time, elapsed: elapsed}

	var wake time.Duration
	var write bool
	switch status.State {
	case v1.OperationRunning:
		if status.CancelRequested && !definition.Forward {
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
	txn.Update(operation, "")
	return txn, wake
}

type machine struct {
	definition Definition
	snapshot   *state.Snapshot
	operation  *v1.Operation
	txn        *state.Txn
	now        time.Time
	elapsed    time.Duration
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
		if journal.State == v1.StepPending {
			journal.State, journal.StartedAt, write = v1.StepStarted, &m.now, true
		}
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
	journal.Error = problem
	if !m.definition.Forward {
		m.closeStep(journal, v1.StepFailed)
		if status.Error == nil {
			status.Error = problem
		}
		status.State, status.Message = v1.OperationUndoing, ""
		return
	}
	journal.Attempts++
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
		step := m.step(status.Current)
		if journal.State == v1.StepPending || journal.State == v1.StepUndone || step.Undo == nil {
			if journal.State != v1.StepPending {
				m.closeStep(journal, v1.StepUndone)
			}
			status.Current--
			write = true
			continue
		}
		if journal.State != v1.StepUndoing {
			journal.State, write = v1.StepUndoing, true
		}
		verdict := step.Undo(m.context(status.Current))
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
			journal.Attempts++
			journal.Error = verdict.Problem
			if journal.Attempts%MaxAttempts == 0 {
				status.State = v1.OperationNeedsAttention
				status.Message = "undoing the step " + journal.Name + " failed: " + verdict.Problem.Error() + "; retry, or abandon it"
			}
			return true, 0
		}
		return m.wait(journal, verdict, write)
	}
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
