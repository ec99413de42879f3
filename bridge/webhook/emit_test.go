package webhook_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

// emitting configures that messages are sent before the application stores them, with nothing
// durable.
func emitting(t *testing.T) func(*config.Config) {
	return twilioModes(t, func(c *config.Config) { c.Webhooks.Outbox.Path = "" }, "emit")
}

// inserted is the change that the row of a message makes.
func inserted(t *testing.T, sid string) feed.Change {
	t.Helper()
	r, err := row.Parse([]byte(`{"id":"m1","conversation_id":"` + bakery + `","external_message_id":"` + sid + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	return feed.Change{Table: "messages", Action: feed.Insert, Row: r}
}

func TestAMessageIsEmittedOnceAndItsRowRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emitting(t))
	for range 3 {
		if code, _ := w.twilioPosts(hooktest.Inbound("SM1", "hello")); code != 200 {
			t.Fatalf("answered %d", code)
		}
	}
	<-w.changes.doing
	emitted := w.changes.emits()
	if len(emitted) != 1 || emitted[0].Text("content") != "hello" || emitted[0].Text("conversation_id") != bakery {
		t.Fatalf("emitted %v, want the message once", emitted)
	}
	for i, want := range []bool{true, false} {
		if got := w.hooks.Recognise(inserted(t, "SM1")); got != want {
			t.Errorf("row %d: recognised %t, want %t", i, got, want)
		}
	}
	if w.hooks.Recognise(inserted(t, "SM2")) {
		t.Error("a row that no webhook came of is recognised")
	}
}

func TestAMessageWhoseRowCameFirstIsNotEmitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emitting(t))
	reached, open := make(chan struct{}), make(chan struct{})
	w.front.hold.Store(&hold{reached: reached, open: open, fits: func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/conversations")
	}})
	w.twilioPosts(hooktest.Inbound("SM1", "hello"))
	<-reached
	if w.hooks.Recognise(inserted(t, "SM1")) {
		t.Error("the row is recognised before its message was emitted")
	}
	close(open)
	<-w.changes.doing
	if emitted := w.changes.emits(); len(emitted) != 0 {
		t.Errorf("emitted %v, want nothing", emitted)
	}
}
