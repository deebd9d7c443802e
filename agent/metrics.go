package agent

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// metrics are read out of the parts when they are asked for, so that nothing has to be counted twice.
func (a *Agent) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "coloa_agent_" + name, Help: help}, value))
	}
	gauge("connected", "1 when the last exchange with a controller worked.", func() float64 {
		if a.link.Connected() {
			return 1
		}
		return 0
	})
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "coloa_agent_refused_sets_total", Help: "Sets that were not believed: stale, foreign, contradictory or damaged.",
	}, func() float64 { return float64(a.link.Refused()) }))
	gauge("orphans", "Machines of this cluster on this host that no controller has given to it.", func() float64 { return float64(a.worker.Orphans()) })
	gauge("working", "Instances that have something to do at this moment.", func() float64 { return float64(a.worker.Active()) })
	gauge("unsent_reports", "Objects whose newest report has not been taken by the controllers.", func() float64 {
		return float64(len(a.ledger.Unsent(1<<20, 1<<30)))
	})
	gauge("pending_tasks", "Tasks without an outcome.", func() float64 { return float64(len(a.ledger.Tasks())) })
	gauge("kept_instances", "Instances that the controllers have left out without stopping them.", func() float64 {
		count := 0
		for _, record := range a.ledger.Instances() {
			if record.Absent {
				count++
			}
		}
		return float64(count)
	})
	for _, state := range []v1.InstanceState{v1.InstancePending, v1.InstanceRunning, v1.InstancePaused, v1.InstanceStopped} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "coloa_agent_instances", Help: "Instances by what is seen of them.", ConstLabels: prometheus.Labels{"state": string(state)},
		}, func() float64 {
			count := 0
			for _, record := range a.ledger.Instances() {
				seen := record.Report.State
				if record.Report.Seq == 0 {
					seen = v1.InstancePending
				}
				if seen == state {
					count++
				}
			}
			return float64(count)
		}))
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
