package dispatch

import (
	"regexp"
	"strings"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Take puts what a host's reports say into an entry, and says what became of each. It is pure. A report that is late (its number is not higher than the recorded one, or than that of another report
// in the entry), from an old epoch, about what is not the host's, or that would move an object backwards changes nothing.
func Take(s *state.Snapshot, txn *state.Txn, host string, epoch uint64, reports []hostv1.Report) []hostv1.ReportResult {
	results := make([]hostv1.ReportResult, len(reports))
	known := s.Host(host)
	for i, report := range reports {
		switch {
		case known == nil || known.Status.Epoch != epoch:
			results[i] = hostv1.ReportRefused
		case report.Instance != nil && report.Task == nil:
			results[i] = takeInstance(s, txn, host, report.ID, *report.Instance)
		case report.Task != nil && report.Instance == nil:
			results[i] = takeTask(s, txn, host, report.ID, *report.Task)
		default:
			results[i] = hostv1.ReportRefused
		}
	}
	return results
}

// latest is an object as the entry would leave it: the same object may be reported twice before anything is written.
func latest[T v1.Object](txn *state.Txn, stored T) T {
	for _, op := range txn.Ops {
		if object, ok := op.Object.(T); ok && op.Kind == stored.ObjectKind() && op.ID == stored.ObjectMeta().ID {
			return object
		}
	}
	return stored
}

var rank = map[v1.InstanceState]int{v1.InstancePending: 0, v1.InstanceRunning: 1, v1.InstancePaused: 1, v1.InstanceStopped: 2}

var reasons = map[v1.StopReason]bool{
	v1.StoppedRequested: true, v1.StoppedByGuest: true, v1.StoppedCrashed: true, v1.StoppedHostBoot: true, v1.StoppedNoStart: true, v1.StoppedUnknown: true,
}

func takeInstance(s *state.Snapshot, txn *state.Txn, host, id string, observed v1.InstanceObserved) hostv1.ReportResult {
	instance := s.Instance(id)
	if instance == nil || instance.Spec.Host != host {
		return hostv1.ReportUnknown
	}
	instance = latest(txn, instance)
	if observed.Seq <= instance.Observed.Seq {
		return hostv1.ReportTaken // known already, or older
	}
	place, valid := rank[observed.State]
	if !valid || place < rank[instance.Observed.State] {
		return hostv1.ReportRefused
	}
	// That it has stopped must reach the state whatever else the report says; the rest is cut to size.
	observed.Message = cut(observed.Message)
	switch {
	case observed.State != v1.InstanceStopped:
		observed.Reason = ""
	case !reasons[observed.Reason]:
		observed.Reason = v1.StoppedUnknown
	}
	taken := instance.Clone()
	taken.Observed = observed
	if taken.Validate() != nil {
		return hostv1.ReportRefused
	}
	txn.Update(taken, "")
	return hostv1.ReportTaken
}

func takeTask(s *state.Snapshot, txn *state.Txn, host, id string, status v1.TaskStatus) hostv1.ReportResult {
	task := s.Task(id)
	if task == nil || task.Spec.Host != host {
		return hostv1.ReportUnknown
	}
	task = latest(txn, task)
	if status.Seq <= task.Status.Seq {
		return hostv1.ReportTaken
	}
	if task.Status.State != v1.TaskPending {
		return hostv1.ReportRefused
	}
	status.Error = small(status.Error)
	if len(status.Output) > maxOutput {
		status.Output = nil
		if status.State == v1.TaskDone { // the step cannot go on without it
			status.State, status.Error = v1.TaskFailed, v1.NewProblem(v1.CodeHostFailed, "the host's answer is too large to be kept")
		}
	}
	taken := task.Clone()
	taken.Status = status
	if taken.Validate() != nil {
		return hostv1.ReportRefused
	}
	txn.Update(taken, "")
	return hostv1.ReportTaken
}

// Bounds of what a host can make the state keep, in bytes.
const (
	maxMessage = v1.MaxTextLength
	maxOutput  = 1 << 16
)

// cut bounds a host's words, which are for people.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage-len("…")], "") + "…"
}

var codeForm = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// small bounds a host's problem.
func small(problem *v1.Problem) *v1.Problem {
	if problem == nil {
		return nil
	}
	code := problem.Code
	if !codeForm.MatchString(string(code)) {
		code = v1.CodeHostFailed
	}
	bounded := v1.NewProblem(code, "%s", cut(problem.Detail)).WithField(cut(problem.Field)).WithNext("%s", cut(problem.Next))
	for name, value := range problem.Params {
		if len(name) <= 64 && len(value) <= maxMessage && len(problem.Params) <= 16 {
			bounded.With(name, value)
		}
	}
	return bounded
}
