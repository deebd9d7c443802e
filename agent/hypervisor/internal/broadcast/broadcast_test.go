package broadcast_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
	"github.com/coloa-cloud/coloa/agent/hypervisor/internal/broadcast"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEverySubscriberHears(t *testing.T) {
	var hub broadcast.Hub
	hub.Publish(hypervisor.Event{ID: "before"}) // to nobody
	one, two := hub.Subscribe(t.Context()), hub.Subscribe(t.Context())
	hub.Publish(hypervisor.Event{ID: "a"})
	require.Equal(t, "a", (<-one).ID)
	require.Equal(t, "a", (<-two).ID)
	hub.Close()
	_, open := <-one
	require.False(t, open)
	hub.Publish(hypervisor.Event{ID: "after"})
	_, open = <-hub.Subscribe(t.Context())
	require.False(t, open, "a closed hub takes nobody in")
	hub.Close()
}

func TestSlowSubscriberLosesEvents(t *testing.T) {
	var hub broadcast.Hub
	events := hub.Subscribe(t.Context())
	for i := range 10_000 {
		hub.Publish(hypervisor.Event{ID: strconv.Itoa(i)})
	}
	hub.Close()
	count := 0
	for range events {
		count++
	}
	require.Equal(t, 256, count)
}

func TestSubscriptionsComeAndGoWhilePublishing(t *testing.T) {
	var hub broadcast.Hub
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				ctx, cancel := context.WithCancel(context.Background())
				events := hub.Subscribe(ctx)
				hub.Publish(hypervisor.Event{ID: "a"})
				cancel()
				for range events { // until it is closed
				}
			}
		})
	}
	group.Wait()
	hub.Close()
}
