package bridge

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/config"
)

func TestTailShowsWhatPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Presence.Grace = time.Millisecond })
	ops := httptest.NewServer(w.bridge.OpsHandler())
	ctx, stop := context.WithCancel(context.Background())
	seen, ended := make(chan tail.Sight, 64), make(chan error, 1)
	go func() {
		ended <- tail.Follow(ctx, ops.URL, tail.Filter{}, func(s tail.Sight) error { seen <- s; return nil })
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		ops.Close()
	}()
	shown := func(what string, fits func(tail.Sight) bool) tail.Sight {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case s := <-seen:
				if s.Body != nil {
					t.Errorf("a body was shown: %+v", s)
				}
				if fits(s) {
					return s
				}
			case err := <-ended:
				t.Fatalf("ended with %v", err)
			case <-timeout:
				t.Fatalf("%s was not shown", what)
			}
		}
	}
	kind := func(k tail.Kind, text string) func(tail.Sight) bool {
		return func(s tail.Sight) bool { return s.Kind == k && s.Text == text }
	}
	for { // until somebody watches
		if b, _ := open(t, w.address, nil); b != nil {
			t.Fatal("let in")
		}
		select {
		case s := <-seen:
			if s.Kind != tail.Refuse || s.Text != "no_token" || s.Detail == "" {
				t.Fatalf("shown %+v, want the refusal", s)
			}
		case <-time.After(10 * time.Millisecond):
			continue
		}
		break
	}
	ana := w.as(anaID)
	shown("a connection", func(s tail.Sight) bool { return s.Kind == tail.Connect && s.User == anaID })
	ana.must("join_conversation", bakery)
	shown("a join", func(s tail.Sight) bool {
		return s.Kind == tail.Join && s.Text == "ok" && s.Conversation == bakery && s.User == anaID
	})
	ana.try("join_conversation", "c2000000-0000-4000-8000-000000000001")
	shown("a refused join", kind(tail.Join, "forbidden"))
	id := w.write(bakery, "hello")
	shown("a change", func(s tail.Sight) bool {
		return s.Kind == tail.Change && s.Text == "INSERT" && s.ID == id && s.Conversation == bakery && s.Tenant == harbour && s.Table == "messages"
	})
	ana.must("typing_start", bakery)
	shown("typing", func(s tail.Sight) bool { return s.Kind == tail.Typing && s.Conversation == bakery && s.User == anaID })
	ana.must("leave_conversation", bakery)
	shown("leaving", func(s tail.Sight) bool { return s.Kind == tail.Leave && s.Conversation == bakery })
	ana.conn.Close()
	shown("the end of a connection", func(s tail.Sight) bool { return s.Kind == tail.Disconnect && s.User == anaID })
	shown("presence", kind(tail.Presence, "offline"))
}
