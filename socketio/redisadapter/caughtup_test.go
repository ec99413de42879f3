package redisadapter_test

import (
	"context"
	"testing"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// slowHost is a server that takes no message before it is let.
type slowHost struct {
	host
	busy, let chan struct{}
}

func (h *slowHost) Deliver(m *socketio.NodeMessage) {
	select {
	case h.busy <- struct{}{}:
	default:
	}
	<-h.let
	h.host.Deliver(m)
}

// slowNode is node for such a server.
func slowNode(t *testing.T, r running, o redisadapter.Options) (*slowHost, *redisadapter.Adapter) {
	t.Helper()
	client := r.Hasty()
	a, err := redisadapter.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	h := &slowHost{host: host{name: "slow"}, busy: make(chan struct{}, 1), let: make(chan struct{})}
	if err := a.Start(h); err != nil {
		t.Fatal(err)
	}
	a.Open("/")
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return h, a
}

func TestANodeHasCaughtUpOnceItHasTakenWhatWasPublishedBefore(t *testing.T) {
	for mode, o := range map[string]redisadapter.Options{
		"pubsub": {}, "sharded": {Mode: redisadapter.Sharded, Static: true}, "cluster": {Mode: redisadapter.Sharded, Static: true}, "streams": {Mode: redisadapter.Streams},
	} {
		t.Run(mode, func(t *testing.T) {
			var r running
			if mode == "cluster" {
				r = redistest.StartCluster(t, 1)
			} else {
				r = redistest.Start(t)
			}
			_, a := node(t, r, "a", o)
			h, slow := slowNode(t, r, o)
			eventually.True(t, "both listen", func() bool { return a.Stats().Up && slow.Stats().Up })
			if err := slow.CaughtUp(t.Context()); err != nil {
				t.Fatalf("with nothing to take: %v", err)
			}
			for i := range 3 {
				if err := a.Publish(event(`["x",%d]`, i)); err != nil {
					t.Fatal(err)
				}
			}
			eventually.True(t, "they are published", func() bool { return a.Stats().Sent == 3 })
			<-h.busy
			const askers = 5
			taken := make(chan int)
			for range askers {
				go func() {
					if err := slow.CaughtUp(t.Context()); err != nil {
						t.Error(err)
					}
					taken <- len(h.args())
				}()
			}
			close(h.let)
			for range askers {
				if n := <-taken; n != 3 {
					t.Errorf("%d of 3 messages were taken when it had caught up", n)
				}
			}
		})
	}
}

func TestNobodyWaitsForARedisThatIsAwayOrGoes(t *testing.T) {
	r := redistest.Start(t)
	_, a := node(t, r, "a", redisadapter.Options{})
	h, slow := slowNode(t, r, redisadapter.Options{})
	eventually.True(t, "both listen", func() bool { return a.Stats().Up && slow.Stats().Up })
	if err := a.Publish(event(`["x"]`)); err != nil {
		t.Fatal(err)
	}
	<-h.busy
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.CaughtUp(ended); err == nil {
		t.Error("it has caught up while it takes a message")
	}
	waits := make(chan error)
	go func() { waits <- slow.CaughtUp(t.Context()) }()
	r.Kill()
	close(h.let)
	if err := <-waits; err != nil {
		t.Errorf("when Redis goes: %v", err)
	}
	eventually.True(t, "it notices", func() bool { return !slow.Stats().Up })
	if err := slow.CaughtUp(t.Context()); err != nil {
		t.Errorf("without Redis: %v", err)
	}
}
