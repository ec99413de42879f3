package bridge

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/config"
)

// reload hands the bridge a configuration that differs from the one in effect.
func (w *world) reload(change func(*config.Config)) ([]string, error) {
	w.t.Helper()
	next := *w.bridge.cfg()
	change(&next)
	return w.bridge.Reload(&next)
}

func TestAReloadTakesEffectForConnectionsThatStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Vocabulary.Dialect = "fixed" })
	ana, ben := w.as(anaID), w.as(benID)
	ana.must("join_conversation", bakery)
	ben.must("join_conversation", bakery)
	changed, err := w.reload(func(cfg *config.Config) {
		cfg.Vocabulary.ConversationNoun = "ticket"
		cfg.Vocabulary.ResyncEvent = "read_anew"
		cfg.Typing.Timeout = 10 * time.Millisecond
		cfg.Auth.RefuseMessage = "who are you?"
		cfg.Supabase.Feed.Interval = time.Second
	})
	if want := "supabase.feed.interval vocabulary.conversation_noun vocabulary.resync_event auth.refuse_message typing.timeout"; err != nil || strings.Join(changed, " ") != want {
		t.Fatalf("changed %q (%v), want %s", changed, err, want)
	}
	if o := ana.try("join_ticket", bakery); !o.Success {
		t.Errorf("an event by its new name: %+v", o)
	}
	ana.must("typing_start", bakery)
	for _, want := range []bool{true, false} { // it ends by the new time, long before the old
		if got := ben.event("user_typing"); got["isTyping"] != want {
			t.Errorf("user_typing %v, want %t", got, want)
		}
	}
	if b, refusal := open(t, w.address, nil); b != nil || refusal != "who are you?" {
		t.Errorf("refused with %q", refusal)
	}
	w.bridge.resync.request(time.Now(), "test")
	ana.event("read_anew")
}

func TestAReloadThatCannotBeLeavesEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	before := w.bridge.settings.Load()
	_, err := w.reload(func(cfg *config.Config) {
		cfg.Listen, cfg.Webhooks.Outbox.Path, cfg.Supabase.URL = ":1", "/elsewhere", "http://127.0.0.1:1"
		cfg.Typing.Timeout = time.Hour
	})
	for _, key := range []string{"listen: ", "webhooks.outbox.path: ", "supabase.url: "} {
		if err == nil || !strings.Contains(err.Error(), key+"can't change while the daemon runs") {
			t.Errorf("%v does not name %s", err, key)
		}
	}
	if err == nil || strings.Contains(err.Error(), "typing") {
		t.Errorf("%v names what could change", err)
	}
	if _, err := w.reload(func(cfg *config.Config) { cfg.Vocabulary.IDs.Conversation = []string{"nothing like a selector"} }); err == nil {
		t.Error("a vocabulary that can't be compiled was taken")
	}
	if w.bridge.settings.Load() != before {
		t.Error("the settings changed")
	}
}

func TestAReloadChangesWhichPagesMayConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if got := originAnswer(t, w.address, "https://app.example.com"); got != "" {
		t.Errorf("before: Access-Control-Allow-Origin %q", got)
	}
	if _, err := w.reload(func(cfg *config.Config) { cfg.SocketIO.CORS.Origins = []string{"https://app.example.com"} }); err != nil {
		t.Fatal(err)
	}
	if got := originAnswer(t, w.address, "https://app.example.com"); got != "https://app.example.com" {
		t.Errorf("after: Access-Control-Allow-Origin %q", got)
	}
}

// originAnswer is what a page of an origin is told when it begins to poll.
func originAnswer(t *testing.T, address, origin string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/socket.io/?EIO=4&transport=polling", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", origin)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.Header.Get("Access-Control-Allow-Origin")
}
