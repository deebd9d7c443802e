package ops_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/operation"
	"github.com/coloa-cloud/coloa/controller/internal/operation/optest"
)

// TestMain makes the property shorter by default; -rapid.checks makes it longer.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "80"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// TestAnyOrder: whatever happens in whatever order (the engine looks, hosts hear, work and answer one by one, tasks and starts fail, guests end by themselves, hosts fall silent, leaders crash, somebody
// cancels), once the trouble is over the operation ends, and the world is either as after success or as before.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.IntRange(0, len(scenes)-1).Draw(t, "scene")
		t.Log(scenes[s])
		p := scenes[s].open(t)
		failing := false
		p.eachHost(func(h *optest.Host) {
			h.FailTask = func(spec v1.TaskSpec) *optest.Failure {
				if !failing {
					return nil
				}
				return &optest.Failure{Problem: errTest, After: spec.Type != v1.TaskVolumeResize && rapid.Bool().Draw(t, "after")}
			}
			h.FailStart = func(v1.InstanceSpec) bool { return failing }
			h.Twice = rapid.Bool().Draw(t, "twice")
		})
		for range rapid.IntRange(0, 60).Draw(t, "moves") {
			failing = rapid.IntRange(0, 5).Draw(t, "failing") == 0
			host := p.Hosts[rapid.IntRange(0, len(p.Hosts)-1).Draw(t, "host")]
			switch rapid.IntRange(0, 12).Draw(t, "what") {
			case 0, 1, 2, 3:
				if wrote, wake := p.Advance(p.id); !wrote && wake > 0 && rapid.Bool().Draw(t, "wait") {
					p.Now = p.Now.Add(wake)
				}
			case 4, 5:
				if !host.Silent {
					p.Sync(host)
				}
			case 6, 7, 8, 9:
				if moves := host.Moves(); len(moves) > 0 {
					host.Move(rapid.SampledFrom(moves).Draw(t, "move"))
				}
			case 10:
				p.Crash()
			case 11:
				if p.scene.of != v1.OpImageDelete { // it leaves out silent hosts (TestImageDeleteLosesAHostMidway)
					p.SetSilent(host, !host.Silent)
				}
			case 12:
				if rapid.IntRange(0, 3).Draw(t, "cancel") == 0 {
					_ = p.Steer(p.id, operation.ActionCancel) //nolint:errcheck // it may well be too late
				}
			}
		}
		failing = false
		p.eachHost(func(h *optest.Host) {
			if h.Silent {
				p.SetSilent(h, false)
			}
		})
		p.Run(p.id)
		if p.status().State == v1.OperationNeedsAttention {
			require.NoError(t, p.Steer(p.id, operation.ActionRetry))
			p.Run(p.id)
		}
		p.ended(v1.OperationSucceeded, v1.OperationFailed, v1.OperationCancelled)
	})
}

// TestManyAtOnce: operations on different objects do not disturb each other, in any order.
func TestManyAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		running(w)
		blank(w)
		w.newImage()
		open := []string{w.resizeVM(w.largeSize(3)), w.createSnapshot(), w.importImage()}
		fails := rapid.SampledFrom([]v1.TaskType{"", v1.TaskSnapshotCreate, v1.TaskImageImport}).Draw(t, "fails")
		w.one.FailTask = func(spec v1.TaskSpec) *optest.Failure {
			if spec.Type == fails {
				return &optest.Failure{Problem: errTest}
			}
			return nil
		}
		for range rapid.IntRange(0, 40).Draw(t, "moves") {
			w.Advance(rapid.SampledFrom(open).Draw(t, "operation"))
			w.Sync(w.one)
			if moves := w.one.Moves(); len(moves) > 0 && rapid.Bool().Draw(t, "work") {
				w.one.Move(rapid.SampledFrom(moves).Draw(t, "move"))
			}
		}
		for _, id := range open {
			w.Run(id)
		}
		for i, taskType := range []v1.TaskType{"-", v1.TaskSnapshotCreate, v1.TaskImageImport} {
			want := v1.OperationSucceeded
			if taskType == fails {
				want = v1.OperationFailed
			}
			require.Equal(t, want, w.Status(open[i]).State, fmt.Sprint(w.Status(open[i])))
		}
		w.running(2)
		require.Empty(t, w.Store.Snapshot().List(v1.KindTask))
	})
}
