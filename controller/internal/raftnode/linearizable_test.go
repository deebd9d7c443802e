package raftnode_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/coloa-cloud/coloa/controller/internal/raftnode"
)

type registerInput struct {
	write bool
	value string
}

// register is one key: reads see the newest write.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.write {
			return true, in.value
		}
		return output.(string) == state.(string), state
	},
}

// TestReadsAreLinearizable lets clients read and write one key on all members, while the network breaks and the leadership is handed around, and then proves that there is an order of everything
// that happened in which each read saw the newest write.
func TestReadsAreLinearizable(t *testing.T) {
	t.Parallel()
	g := newGroup(t, false)
	g.adjust = func(o *raftnode.Options) {
		o.LogStore = raftnode.LogStoreMemory
		o.HeartbeatTimeout = 100 * time.Millisecond
	}
	g.form(3)
	servers := []*server{g.servers["c1"], g.servers["c2"], g.servers["c3"]}

	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	const length = 3 * time.Second
	var clients sync.WaitGroup
	for client := range 6 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1)) //nolint:gosec // a test's dice
			for i := 0; time.Since(began) < length; i++ {
				s := servers[random.IntN(len(servers))]
				input := registerInput{write: random.IntN(3) == 0, value: fmt.Sprintf("%d-%d", client, i)}
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				call := time.Since(began)
				var output string
				var err error
				if input.write {
					_, _, err = s.Propose(ctx, []byte("x="+input.value))
				} else if err = s.CatchUp(ctx); err == nil {
					output = s.state.get("x")
				}
				cancel()
				done := time.Since(began)
				switch {
				case err == nil:
				case input.write && errors.Is(err, raftnode.ErrOutcomeUnknown):
					done = time.Hour // it may still happen at any time
				default:
					time.Sleep(time.Millisecond)
					continue // a read that failed says nothing; a write that was refused did nothing
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: input, Output: output, Call: int64(call), Return: int64(done)})
				mu.Unlock()
				time.Sleep(time.Duration(random.IntN(4)) * time.Millisecond)
			}
		})
	}
	random := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test's dice
	for time.Since(began) < length {
		victim := servers[random.IntN(3)]
		if id, _, ok := victim.Leader(); ok && random.IntN(2) == 0 {
			victim = g.servers[id]
		}
		switch random.IntN(3) {
		case 0:
			g.network.Isolate(victim.ID())
		case 1:
			g.network.Partition(servers[0].ID(), servers[1+random.IntN(2)].ID())
		case 2:
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			_ = victim.TransferLeadership(ctx, "") // most often not the leader
			cancel()
		}
		time.Sleep(time.Duration(100+random.IntN(200)) * time.Millisecond)
		g.network.Heal()
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
	}
	clients.Wait()
	reads, unknown := 0, 0
	for i, operation := range history {
		if !operation.Input.(registerInput).write {
			reads++
		}
		if operation.Return == int64(time.Hour) {
			unknown++
			history[i].ClientId = 1000 + i // the client went on, its lost write has a life of its own
		}
	}
	t.Logf("%d operations, %d reads, %d writes of unknown outcome", len(history), reads, unknown)
	require.Greater(t, reads, 50)
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register, history, 20*time.Second))
}
