package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// ready gives the answer of /readyz.
func (w *world) ready() (code int, r feed.Report) {
	w.t.Helper()
	answer := httptest.NewRecorder()
	w.bridge.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil {
		w.t.Fatal(err)
	}
	return answer.Code, r
}

func TestARowDatedAheadSilencesNobody(t *testing.T) {
	for name, at := range map[string]string{
		"two minutes": time.Now().Add(2 * time.Minute).UTC().Format(time.RFC3339Nano), "2099": "2099-01-01T00:00:00Z", "infinity": "infinity",
	} {
		for _, column := range []string{"updated_at", "created_at"} {
			t.Run(name+" "+column, func(t *testing.T) {
				t.Parallel()
				w := unready(t, nil)
				w.inside(func(tx *standin.Tx) error {
					_, err := tx.Insert("messages", map[string]any{"conversation_id": bakery, "content": "odd", column: at})
					return err
				})
				w.run()
				w.await(feed.Live)
				ana := w.as(anaID)
				ana.must("join_conversation", bakery)
				for i := range 5 {
					content := fmt.Sprint("later ", i)
					w.write(bakery, content)
					if got := ana.event("new_message"); got["content"] != content {
						t.Errorf("new_message %v, want %s", got["content"], content)
					}
				}
			})
		}
	}
}

func TestARealtimeThatFallsSilentIsNotCalledLiveAndRowsAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Supabase.Feed.Interval, cfg.Supabase.Feed.Stall = time.Second, time.Second
		cfg.Supabase.Polling.Min, cfg.Supabase.Polling.Max = 50*time.Millisecond, 200*time.Millisecond
	})
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	write := func(content string) {
		t.Helper()
		w.write(bakery, content)
		if got := ana.event("new_message"); got["content"] != content {
			t.Errorf("new_message %v, want %s", got["content"], content)
		}
	}
	write("before")
	silence := w.inject(phxserver.Fault{Action: phxserver.Stall})
	write("first lost")
	w.await(feed.Polling)
	for i := range 5 {
		write(fmt.Sprint("lost ", i))
		if code, r := w.ready(); code != http.StatusServiceUnavailable || r.State == feed.Live {
			t.Errorf("/readyz says %d %+v while Realtime brings nothing", code, r)
		}
	}
	silence.Stop()
	write("proof")
	w.await(feed.Live)
	if code, r := w.ready(); code != http.StatusOK {
		t.Errorf("/readyz says %d %+v after Realtime brought a change", code, r)
	}
	if ana.sync(); ana.heard("new_message") {
		t.Errorf("a row came twice: %q", ana.held)
	}
}

func TestRowsThatRealtimesRateLimitDropsAreRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Supabase.Feed.Interval, cfg.Supabase.Feed.Stall = time.Second, time.Second
		cfg.Supabase.Polling.Min, cfg.Supabase.Polling.Max = 50*time.Millisecond, 200*time.Millisecond
	})
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	w.inject(phxserver.Fault{Action: phxserver.Drop, Event: "postgres_changes", Direction: "out", Share: 0.4})
	want := map[string]bool{}
	for range 30 {
		want[w.write(bakery, "x")] = true
	}
	for len(want) > 0 {
		id, _ := ana.event("new_message")["id"].(string)
		if !want[id] {
			t.Fatalf("new_message %s came twice", id)
		}
		delete(want, id)
	}
}
