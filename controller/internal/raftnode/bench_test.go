package raftnode_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

// BenchmarkPropose measures committed entries: real files with fsync, real TLS, 64 proposers.
func BenchmarkPropose(b *testing.B) {
	for _, kind := range []string{raftnode.LogStoreWAL, raftnode.LogStoreBoltDB} {
		for _, size := range []int{1, 3} {
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) {
				g := newGroup(b, true)
				g.adjust = func(o *raftnode.Options) { o.LogStore = kind; o.Logger = slog.New(slog.DiscardHandler) }
				leader := g.form(size)
				var number atomic.Int64
				b.SetParallelism(64 / 2)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						_, _, err := leader.Propose(context.Background(), fmt.Appendf(nil, "k%d=%0200d", number.Add(1)%1000, 7))
						require.NoError(b, err)
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

// BenchmarkReadIndex measures linearizable reads on a follower: ask the leader, wait, read.
func BenchmarkReadIndex(b *testing.B) {
	g := newGroup(b, true)
	g.adjust = func(o *raftnode.Options) { o.Logger = slog.New(slog.DiscardHandler) }
	leader := g.form(3)
	leader.set(b, "a", "1")
	follower := g.follower(leader)
	for name, s := range map[string]*server{"leader": leader, "follower": follower} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(64 / 2)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					require.NoError(b, s.CatchUp(context.Background()))
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}
