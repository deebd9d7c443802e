package dispatch

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

func seen(n int, seq uint64, at v1.InstanceState, reason v1.StopReason) hostv1.Report {
	return hostv1.Report{ID: instanceID(n), Instance: &v1.InstanceObserved{Seq: seq, State: at, Reason: reason}}
}

func did(n int, seq uint64, at v1.TaskState, percent int) hostv1.Report {
	return hostv1.Report{ID: taskID(n), Task: &v1.TaskStatus{Seq: seq, State: at, Percent: percent}}
}

const taken, unknown, refused = hostv1.ReportTaken, hostv1.ReportUnknown, hostv1.ReportRefused

// TestTake: what becomes of one request's reports, and what the state says afterwards of instance 1 and task 1, which both had number 5.
func TestTake(t *testing.T) {
	const running, paused, stopped, pending = v1.InstanceRunning, v1.InstancePaused, v1.InstanceStopped, v1.InstancePending
	huge := strings.Repeat("x", 3<<20)
	for _, line := range []struct {
		name    string
		epoch   uint64 // 0: the present one
		host    int    // 0: host 1
		reports []hostv1.Report
		results []hostv1.ReportResult
		seq     uint64 // of instance 1 afterwards
		state   v1.InstanceState
		taskSeq uint64
		task    v1.TaskState
	}{
		{name: "nothing", reports: nil, results: []hostv1.ReportResult{}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "newer", reports: []hostv1.Report{seen(1, 6, stopped, v1.StoppedCrashed), did(1, 9, v1.TaskDone, 100)}, results: []hostv1.ReportResult{taken, taken}, seq: 6, state: stopped, taskSeq: 9, task: v1.TaskDone},
		{name: "repeated", reports: []hostv1.Report{seen(1, 5, running, ""), did(1, 5, v1.TaskPending, 0)}, results: []hostv1.ReportResult{taken, taken}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "late", reports: []hostv1.Report{seen(1, 4, pending, ""), did(1, 4, v1.TaskDone, 0)}, results: []hostv1.ReportResult{taken, taken}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "number nought", reports: []hostv1.Report{seen(1, 0, stopped, ""), did(1, 0, v1.TaskDone, 0)}, results: []hostv1.ReportResult{taken, taken}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "repeated within the request", reports: []hostv1.Report{seen(1, 6, stopped, ""), seen(1, 6, stopped, "")}, results: []hostv1.ReportResult{taken, taken}, seq: 6, state: stopped, taskSeq: 5, task: v1.TaskPending},
		{name: "in order within the request", reports: []hostv1.Report{seen(1, 6, paused, ""), seen(1, 7, running, ""), seen(1, 8, stopped, ""), did(1, 6, v1.TaskPending, 50), did(1, 7, v1.TaskDone, 100)},
			results: []hostv1.ReportResult{taken, taken, taken, taken, taken}, seq: 8, state: stopped, taskSeq: 7, task: v1.TaskDone},
		{name: "reordered within the request", reports: []hostv1.Report{seen(1, 8, stopped, ""), seen(1, 7, running, ""), did(1, 7, v1.TaskDone, 100), did(1, 6, v1.TaskPending, 50)},
			results: []hostv1.ReportResult{taken, taken, taken, taken}, seq: 8, state: stopped, taskSeq: 7, task: v1.TaskDone},
		{name: "backwards within the request", reports: []hostv1.Report{seen(1, 8, stopped, ""), seen(1, 9, running, ""), did(1, 7, v1.TaskDone, 100), did(1, 8, v1.TaskPending, 0)},
			results: []hostv1.ReportResult{taken, refused, taken, refused}, seq: 8, state: stopped, taskSeq: 7, task: v1.TaskDone},
		{name: "backwards", reports: []hostv1.Report{seen(1, 6, pending, "")}, results: []hostv1.ReportResult{refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "sideways", reports: []hostv1.Report{seen(1, 6, paused, "")}, results: []hostv1.ReportResult{taken}, seq: 6, state: paused, taskSeq: 5, task: v1.TaskPending},
		{name: "unknown states", reports: []hostv1.Report{seen(1, 6, "Melted", ""), seen(1, 7, "", ""), did(1, 6, "Melted", 0), did(1, 7, "", 0), did(1, 8, v1.TaskPending, 101), did(1, 9, v1.TaskPending, -1)},
			results: []hostv1.ReportResult{refused, refused, refused, refused, refused, refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "of another host", host: 2, reports: []hostv1.Report{seen(1, 6, stopped, ""), did(1, 6, v1.TaskDone, 0)}, results: []hostv1.ReportResult{unknown, unknown}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "of a host that is not known", host: 9, reports: []hostv1.Report{seen(1, 6, stopped, "")}, results: []hostv1.ReportResult{refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "of an old epoch", epoch: 1, reports: []hostv1.Report{seen(1, 6, stopped, ""), did(1, 6, v1.TaskDone, 0)}, results: []hostv1.ReportResult{refused, refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "of a future epoch", epoch: 99, reports: []hostv1.Report{seen(1, 6, stopped, "")}, results: []hostv1.ReportResult{refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "of unknown objects", reports: []hostv1.Report{seen(77, 6, stopped, ""), did(77, 6, v1.TaskDone, 0), {ID: "", Instance: &v1.InstanceObserved{}}, {ID: huge, Task: &v1.TaskStatus{}}, {ID: taskID(1), Instance: &v1.InstanceObserved{Seq: 9, State: stopped}}},
			results: []hostv1.ReportResult{unknown, unknown, unknown, unknown, unknown}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "both, and neither", reports: []hostv1.Report{{ID: instanceID(1), Instance: &v1.InstanceObserved{Seq: 6, State: stopped}, Task: &v1.TaskStatus{Seq: 6, State: v1.TaskDone}}, {ID: instanceID(1)}},
			results: []hostv1.ReportResult{refused, refused}, seq: 5, state: running, taskSeq: 5, task: v1.TaskPending},
		{name: "the last number there is", reports: []hostv1.Report{seen(1, math.MaxUint64, stopped, "")}, results: []hostv1.ReportResult{taken}, seq: math.MaxUint64, state: stopped, taskSeq: 5, task: v1.TaskPending},
		{name: "huge words", reports: []hostv1.Report{
			{ID: instanceID(1), Instance: &v1.InstanceObserved{Seq: 6, State: stopped, Reason: v1.StopReason(huge), Message: huge}},
			{ID: taskID(1), Task: &v1.TaskStatus{Seq: 6, State: v1.TaskFailed, Error: &v1.Problem{Code: v1.Code(huge), Detail: huge, Field: huge, Next: huge, Title: huge, Type: huge, Params: map[string]string{"x": huge, huge: "x"}, Errors: []v1.FieldError{{Field: huge, Detail: huge}}}}},
		}, results: []hostv1.ReportResult{taken, taken}, seq: 6, state: stopped, taskSeq: 6, task: v1.TaskFailed},
		{name: "huge output", reports: []hostv1.Report{{ID: taskID(1), Task: &v1.TaskStatus{Seq: 6, State: v1.TaskDone, Output: json.RawMessage(`"` + huge + `"`)}}},
			results: []hostv1.ReportResult{taken}, seq: 5, state: running, taskSeq: 6, task: v1.TaskFailed},
		{name: "huge output on the way", reports: []hostv1.Report{{ID: taskID(1), Task: &v1.TaskStatus{Seq: 6, State: v1.TaskPending, Output: json.RawMessage(`"` + huge + `"`)}}},
			results: []hostv1.ReportResult{taken}, seq: 5, state: running, taskSeq: 6, task: v1.TaskPending},
	} {
		t.Run(line.name, func(t *testing.T) {
			w := base(newWorld(t))
			s := w.store.Snapshot()
			host, epoch := max(1, line.host), line.epoch
			if epoch == 0 {
				if known := s.Host(hostID(host)); known != nil {
					epoch = known.Status.Epoch
				}
			}
			before, err := s.Hash()
			require.NoError(t, err)
			txn := state.NewTxn(begun, "agent")
			require.Equal(t, line.results, Take(s, txn, hostID(host), epoch, line.reports))
			after, err := s.Hash()
			require.NoError(t, err)
			require.Equal(t, before, after, "taking is pure")
			require.Empty(t, txn.Operation, "an entry holds reports of many hosts and projects")
			if !txn.Empty() {
				data, err := txn.Encode()
				require.NoError(t, err)
				require.Less(t, len(data), 32<<10, "what a host can make us keep is bounded")
				require.NoError(t, w.apply(txn))
			}
			s = w.store.Snapshot()
			require.Equal(t, line.seq, s.Instance(instanceID(1)).Observed.Seq)
			require.Equal(t, line.state, s.Instance(instanceID(1)).Observed.State)
			require.Equal(t, line.taskSeq, s.Task(taskID(1)).Status.Seq)
			require.Equal(t, line.task, s.Task(taskID(1)).Status.State)
			require.EqualValues(t, 5, s.Instance(instanceID(2)).Observed.Seq)
			require.EqualValues(t, 5, s.Task(taskID(2)).Status.Seq)
		})
	}
}

func TestTakenWords(t *testing.T) {
	w := base(newWorld(t))
	s := w.store.Snapshot()
	txn := state.NewTxn(begun, "agent")
	Take(s, txn, hostID(1), s.Host(hostID(1)).Status.Epoch, []hostv1.Report{
		{ID: instanceID(1), Instance: &v1.InstanceObserved{Seq: 6, State: v1.InstanceStopped, Reason: "Boredom", Message: "a\xffb" + strings.Repeat("ạ", 4000)}},
		{ID: taskID(1), Task: &v1.TaskStatus{Seq: 6, State: v1.TaskFailed, Error: &v1.Problem{Detail: "qemu-img: 100% wrong", Next: "Try %s."}}},
	})
	require.NoError(t, w.apply(txn))
	s = w.store.Snapshot()
	observed := s.Instance(instanceID(1)).Observed
	require.Equal(t, v1.StoppedUnknown, observed.Reason)
	require.True(t, strings.HasPrefix(observed.Message, "a?b"))
	require.True(t, strings.HasSuffix(observed.Message, "ạ…"))
	problem := s.Task(taskID(1)).Status.Error
	require.Equal(t, v1.CodeHostFailed, problem.Code)
	require.Equal(t, "qemu-img: 100% wrong", problem.Detail)
	require.Equal(t, "Try %s.", problem.Next)
	require.Equal(t, 500, problem.Status)
}

// TestTakeConverges: whatever is sent, however often and in whatever order, the newest honest report is what the state ends with.
func TestTakeConverges(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := base(newWorld(t))
		epoch := w.store.Snapshot().Host(hostID(1)).Status.Epoch
		// An agent's reports of one instance: numbers grow, states go forward.
		count := rapid.IntRange(1, 8).Draw(r, "count")
		var history []hostv1.Report
		at := v1.InstanceRunning
		for n := range count {
			if at != v1.InstanceStopped {
				at = rapid.SampledFrom([]v1.InstanceState{v1.InstanceRunning, v1.InstancePaused, v1.InstanceStopped}).Draw(r, "state")
			}
			reason := v1.StopReason("")
			if at == v1.InstanceStopped {
				reason = v1.StoppedCrashed
			}
			history = append(history, seen(1, uint64(6+n), at, reason))
		}
		for range rapid.IntRange(0, 12).Draw(r, "requests") {
			var request []hostv1.Report
			for range rapid.IntRange(0, 5).Draw(r, "size") {
				request = append(request, rapid.SampledFrom(history).Draw(r, "report"))
			}
			txn := state.NewTxn(begun, "agent")
			for i, result := range Take(w.store.Snapshot(), txn, hostID(1), epoch, request) {
				if result != taken {
					r.Fatalf("report %d of %v was %s", i, request, result)
				}
			}
			require.NoError(r, w.apply(txn))
		}
		last := history[len(history)-1]
		txn := state.NewTxn(begun, "agent")
		Take(w.store.Snapshot(), txn, hostID(1), epoch, []hostv1.Report{last})
		require.NoError(r, w.apply(txn))
		require.Equal(r, *last.Instance, w.store.Snapshot().Instance(instanceID(1)).Observed)
	})
}
