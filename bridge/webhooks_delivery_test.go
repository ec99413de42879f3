package bridge

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestStoredMessageReachesBrowsersBeforeRealtimeBringsIt(t *testing.T) {
	t.Parallel()
	var never standin.Options
	never.Realtime.Timing.Poll = time.Hour // Realtime brings nothing in the time of this test
	w := newWorldOn(t, never, twilioModes(t, func(c *config.Config) { c.Supabase.Feed.Interval = time.Hour }, "store"))
	ana := w.joined()
	w.twilioPosts(inbound("SM1", "ahead of Realtime"))
	if got := ana.event("new_message"); got["content"] != "ahead of Realtime" {
		t.Errorf("new_message %v", got)
	}
	w.twilioPosts(status("SM1", "read"))
	if got := ana.event("message_updated"); got["status"] != "READ" {
		t.Errorf("message_updated %v", got)
	}
}

func TestDatabaseWebhookBringsUpdatesAndDeletes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Webhooks.Supabase.Secret = ourSecret })
	ana := w.joined()
	id := w.write(bakery, "first")
	ana.event("new_message")
	row := w.rest("GET", "messages?id=eq."+id, "")[0]
	w.inject(phxserver.Fault{Action: phxserver.Refuse, Status: 503})
	w.inject(phxserver.Fault{Action: phxserver.Cut})
	w.awaitNot(feed.Live) // Realtime brings nothing now, and a delete without a version of its own can be believed
	hook := func(kind string, record, old map[string]any) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"type": kind, "table": "messages", "schema": "public", "record": record, "old_record": old})
		if err != nil {
			t.Fatal(err)
		}
		if code, answer := w.post("/webhooks/supabase", string(body), "Authorization", "Bearer "+ourSecret); code != 200 || !strings.Contains(answer, "true") {
			t.Errorf("%s: %d %s", kind, code, answer)
		}
	}
	changed := map[string]any{}
	for name, value := range row {
		changed[name] = value
	}
	changed["status"], changed["updated_at"] = "READ", time.Now().UTC().Add(time.Second).Format(time.RFC3339Nano)
	hook("UPDATE", changed, row)
	if got := ana.event("message_updated"); got["status"] != "READ" {
		t.Errorf("message_updated %v", got)
	}
	hook("DELETE", nil, changed)
	if got := ana.event("message_deleted"); got["id"] != id {
		t.Errorf("message_deleted %v", got)
	}
	if code, answer := w.post("/webhooks/supabase", `{"type":"INSERT","table":"secrets","schema":"public","record":{"id":1}}`, "Authorization", "Bearer "+ourSecret); code != 422 || !strings.Contains(answer, "not followed") {
		t.Errorf("a table that is not followed: %d %s", code, answer)
	}
}

func TestOneSocketIsDisconnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Publish.Secret = ourSecret })
	ana, other := w.joined(), w.as(anaID)
	code, answer := w.post("/api/disconnect", `{"socket":"`+ana.sid+`"}`, "Authorization", "Bearer "+ourSecret)
	if code != 200 || strings.TrimSpace(answer) != `{"reached":1}` {
		t.Errorf("%d %s", code, answer)
	}
	for range ana.packets { // until it is closed
	}
	other.sync()
}

func TestRepeatedKeyPublishesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Publish.Secret = ourSecret })
	ana := w.joined()
	body := `{"event":"invoice","rooms":["conversation:` + bakery + `","conversation:elsewhere"],"data":{"n":1},"idempotency_key":"k1"}`
	for _, want := range []string{`{"reached":1}`, `{"reached":1,"duplicate":true}`} {
		if code, answer := w.post("/api/publish", body, publish.SignatureHeader, publish.Sign([]byte(ourSecret), time.Now(), []byte(body))); code != 202 || strings.TrimSpace(answer) != want {
			t.Errorf("%d %s, want %s", code, answer, want)
		}
	}
	ana.event("invoice")
	w.once(ana, "invoice")
}

func TestApplicationIsToldAgainUntilItAnswersAndWhoWentOffline(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	a.Mu.Lock()
	a.Fail = 2
	a.Mu.Unlock()
	w := newWorld(t, func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: a.URL + "/hook", Secret: ourSecret, Events: []string{"user_online", "user_offline"}}
		c.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
		c.Presence.Grace = time.Millisecond
	})
	w.joined().conn.Close()
	a.Await(t, 2)
	a.Mu.Lock()
	defer a.Mu.Unlock()
	ids := make(map[string]bool)
	for i, want := range []string{"user_online", "user_offline"} {
		var told struct {
			ID, Type string
			Data     map[string]any
		}
		if err := json.Unmarshal([]byte(a.Bodies[i]), &told); err != nil {
			t.Fatal(err)
		}
		if told.Type != want || told.ID == "" || ids[told.ID] || !strings.Contains(a.Bodies[i], anaID) {
			t.Errorf("webhook %d is %s, want %s with an id of its own", i, a.Bodies[i], want)
		}
		ids[told.ID] = true
		if err := publish.Authenticate(http.Header{publish.SignatureHeader: a.Heads[i][publish.SignatureHeader]}, []byte(a.Bodies[i]), []byte(ourSecret), time.Minute, time.Now()); err != nil {
			t.Errorf("the signature: %v", err)
		}
	}
}
