package bridge

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

// another is one more node on the project of a world.
func (w *world) another() *world {
	w.t.Helper()
	cfg := *w.bridge.cfg()
	n := &world{t: w.t, project: w.project, upstream: w.upstream, gate: w.gate, log: &lines{}}
	var err error
	if n.bridge, err = New(&cfg, zerolog.New(n.log)); err != nil {
		w.t.Fatal(err)
	}
	port := httptest.NewServer(n.bridge.Handler())
	n.address = port.URL
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.bridge.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		port.Close()
	})
	n.await(feed.Live)
	return n
}

func TestAtNodesThatAreLedNothingOfWhatMovedIsToldWhereItWas(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"pubsub", "streams"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := redistest.Start(t)
			leader := newWorldOn(t, standin.Options{Seed: keysAlone(t)}, func(cfg *config.Config) {
				cfg.Cluster.Redis, cfg.Cluster.Lease = config.Secret(r.URL()), time.Second
				cfg.Cluster.Changes, cfg.Cluster.Mode = "leader", mode
			})
			leader.becomes("lead", func() bool { return leads(leader.bridge) })
			led := leader.another()
			ana, ben, dora := led.as(anaID), led.as(benID), led.as(doraID)
			ana.must("join_conversation", bakery)
			ana.must("join_conversation", cafe)
			ben.must("join_distributor")
			dora.must("join_conversation", lodge)
			dora.must("join_distributor")
			for round := range 3 {
				id := leader.write(bakery, "hello")
				for _, b := range []*browser{ana, ben} {
					if got := b.event("new_message"); got["id"] != id {
						t.Errorf("new_message %v", got)
					}
				}
				leader.rest("PATCH", "messages?id=eq."+id, fmt.Sprintf(`{"conversation_id":%q,"content":%q}`, lodge, secret))
				for _, b := range []*browser{ana, ben} {
					if got := b.event("message_deleted"); got["id"] != id || got["content"] != nil {
						t.Errorf("round %d: message_deleted %v", round, got)
					}
				}
				if got := dora.event("new_message"); got["id"] != id || got["content"] != secret {
					t.Errorf("round %d: new_message %v", round, got)
				}
				leader.rest("DELETE", "messages?id=eq."+id, "")
				if got := dora.event("message_deleted"); got["id"] != id {
					t.Errorf("round %d: message_deleted %v", round, got)
				}
			}
			leader.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`","customer_name":"`+secret+`"}`)
			hidden := leader.write(bakery, secret)
			kept := leader.write(cafe, "meanwhile")
			if got := ana.event("new_message"); got["id"] != kept {
				t.Errorf("new_message %v", got)
			}
			if got := dora.event("new_message"); got["id"] != hidden {
				t.Errorf("new_message %v", got)
			}
			for _, b := range []*browser{ana, ben} {
				b.sync()
				if strings.Contains(fmt.Sprint(b.held), secret) {
					t.Errorf("the old tenant got something of the new one's: %q", b.held)
				}
			}
		})
	}
}
