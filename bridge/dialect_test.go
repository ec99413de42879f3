package bridge

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/config"
)

func TestEachSocketHearsTheStyleItSpeaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	kebab, colon, silent := w.as(anaID), w.as(benID), w.as(anaID)
	kebab.must("join-conversation", bakery)
	kebab.must("typing_start", bakery) // decides nothing any more
	colon.must("conversation:join", map[string]any{"conversationId": bakery})
	silent.must("join", bakery)

	w.write(bakery, "hello")
	if got := kebab.event("new-message")["content"]; got != "hello" {
		t.Errorf("kebab heard %v", got)
	}
	colon.event("message:new")
	silent.event("new_message")
	for who, names := range map[*browser][]string{kebab: {"new_message", "message:new"}, colon: {"new_message", "new-message"}, silent: {"new-message", "message:new"}} {
		who.sync()
		for _, name := range names {
			if who.heard(name) {
				t.Errorf("a socket of another style heard %s", name)
			}
		}
	}
	for _, want := range []string{`supabridge_dialects_detected_total{style="colon"} 1`, `supabridge_dialects_detected_total{style="kebab"} 1`} {
		if !strings.Contains(w.scrape(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if n := strings.Count(w.log.String(), "dialect detected"); n != 2 {
		t.Errorf("the log tells of %d dialects, want 2", n)
	}
}

func TestAFixedDialectIsHeardByAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Vocabulary.Dialect, cfg.Vocabulary.Preset = "fixed", "camel" })
	b := w.as(anaID)
	b.must("join_conversation", bakery)
	b.event("joinedConversation")
	w.write(bakery, "hello")
	b.event("newMessage")
}

func TestARecoveredSocketKeepsItsStyle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.as(anaID)
	b.must("join-conversation", bakery)
	w.write(bakery, "before")
	b.event("new-message")
	b.conn.Close()
	w.write(bakery, "while away")
	again := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": b.pid, "offset": b.offset})
	for _, want := range []string{"while away", "after"} {
		if want == "after" {
			w.write(bakery, want)
		}
		if got := again.event("new-message")["content"]; got != want {
			t.Errorf("heard %v, want %s", got, want)
		}
	}
}

func TestUnknownEventsAreCountedByNameAndLoggedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.as(anaID)
	for range 3 {
		if o := b.try("open_thread", "x"); o.Code != failUnknown.code {
			t.Errorf("answered %+v", o)
		}
	}
	b.try("\xff\xfe", "x")
	if want := `supabridge_events_unknown_total{event="open_thread"} 3`; !strings.Contains(w.scrape(), want) {
		t.Errorf("the metrics lack %s", want)
	}
	if n := strings.Count(w.log.String(), "open_thread"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
}

func TestRulesOfTheFileAreWhatBrowsersHear(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Vocabulary.Out = config.OutRules{"message.created": {
			{Event: "${tenant.id}-appMessage", To: []string{"tenant"}, Payload: []byte(`{"action":"create","id":"${row.id}"}`)},
			{Event: "thread", To: []string{"conversation"}, Args: jsons(`"${conversation.id}"`, `{"n":1}`)},
		}}
		cfg.Vocabulary.In = config.InRules{"join": {Events: []string{"openThread"}, ID: []string{"auth.thread"}, Ack: []byte(`{"success":true,"ok":true,"conversationId":"thread-${conversation.id}"}`)}}
	})
	b := connect(t, w.address, map[string]string{"token": w.token(anaID), "thread": bakery})
	if got := b.must("openThread").ConversationID; got != "thread-"+bakery {
		t.Errorf("answered %v", got)
	}
	b.must("join_distributor", harbour)
	id := w.write(bakery, "hello")
	if got := b.event(harbour + "-appMessage"); got["id"] != id || got["action"] != "create" {
		t.Errorf("heard %v, want %s", got, id)
	}
	b.await("thread", func(p string) bool { return strings.HasPrefix(p, `2["thread","`+bakery+`",{"n":1}`) })
	b.sync()
	if b.heard("new_message") {
		t.Error("the preset's event came beside that of the rule")
	}
}

// scrape is what Prometheus would read.
func (w *world) scrape() string {
	answer := httptest.NewRecorder()
	w.bridge.OpsHandler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

func jsons(texts ...string) []json.RawMessage {
	all := make([]json.RawMessage, len(texts))
	for i, text := range texts {
		all[i] = json.RawMessage(text)
	}
	return all
}
