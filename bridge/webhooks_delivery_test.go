package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// twilioHeader gives the header of a form that Twilio posts to a path, signed with a token.
func twilioHeader(t *testing.T, token, path, form string) []string {
	t.Helper()
	params, err := twilio.ParseForm([]byte(form))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"Content-Type", "application/x-www-form-urlencoded", twilio.SignatureHeader, twilio.Sign(token, hookBase+path, params)}
}

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

func TestEachPathTakesWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.Paths = []string{"/in", "/hooks/status"} }, "store"))
	form := inbound("SM1", "x").Encode()
	for path, want := range map[string]int{"/in": 200, "/hooks/status": 200, "/webhooks/twilio": 404} {
		if code, _ := w.post(path, form, twilioHeader(t, authToken, path, form)...); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if code, _ := w.post("/in", form, twilioHeader(t, authToken, "/hooks/status", form)...); code != 403 {
		t.Errorf("signed for another path: %d, want 403", code)
	}
}

func TestForwardedIsSignedWithTheTokenThatTwilioSignedWith(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	const subaccount = "the auth token of a sub-account"
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.AuthTokens = authToken + ", " + subaccount
		c.Webhooks.Twilio.ForwardURL = a.URL + "/api/twilio"
	}, "forward"))
	for i, token := range []string{authToken, subaccount} {
		form := url.Values{"MessageSid": {fmt.Sprint("SM", i)}, "From": {"+1555"}, "Body": {token}}.Encode()
		header := append(twilioHeader(t, token, "/webhooks/twilio", form), "Authorization", "Basic dHdpbGlvOmFwcA==", "X-Home-Region", "us1")
		if code, _ := w.post("/webhooks/twilio", form, header...); code != 200 {
			t.Fatalf("token %d: %d", i, code)
		}
	}
	a.await(t, 2)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, token := range []string{authToken, subaccount} {
		params, err := twilio.ParseForm([]byte(a.bodies[i]))
		if err != nil {
			t.Fatal(err)
		}
		if want := twilio.Sign(token, a.URL+"/api/twilio", params); a.heads[i].Get(twilio.SignatureHeader) != want {
			t.Errorf("what token %d signed is signed anew with another", i)
		}
		if a.heads[i].Get("Authorization") != "Basic dHdpbGlvOmFwcA==" || a.heads[i].Get("X-Home-Region") != "us1" {
			t.Errorf("header %v", a.heads[i])
		}
	}
	items, err := w.bridge.webhooks.box.List(false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if kept := fmt.Sprint(items); strings.Contains(kept, subaccount) {
		t.Error("the outbox has a token in it")
	}
}

func TestPoisonIsADeadLetterWithItsReasonAndStoredWhenRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "created_at?={CreatedAt}")
	}, "store"))
	poison := inbound("SM1", "poison")
	poison.Set("CreatedAt", "no time at all")
	w.twilioPosts(poison)
	w.twilioPosts(inbound("SM2", "after it"))
	w.delivered()
	items, err := w.bridge.webhooks.box.List(true, 0, 0)
	if err != nil || len(items) != 1 || items[0].Attempts != 1 || !strings.Contains(items[0].Reason, "HTTP 400") {
		t.Fatalf("dead letters %+v (%v)", items, err)
	}
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,SM2)", ""); len(rows) != 1 || rows[0]["external_message_id"] != "SM2" {
		t.Errorf("stored %v: what came after a poison must not wait for it", rows)
	}
	if err := w.bridge.webhooks.box.Retry(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	w.delivered()
	if dead := w.bridge.webhooks.box.Stats().Dead; dead != 1 {
		t.Errorf("%d dead letters after a retry that can't help, want 1", dead)
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
	a := newApp(t)
	a.mu.Lock()
	a.fail = 2
	a.mu.Unlock()
	w := newWorld(t, func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: a.URL + "/hook", Secret: ourSecret, Events: []string{"user_online", "user_offline"}}
		c.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
		c.Presence.Grace = time.Millisecond
	})
	w.joined().conn.Close()
	a.await(t, 2)
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make(map[string]bool)
	for i, want := range []string{"user_online", "user_offline"} {
		var told struct {
			ID, Type string
			Data     map[string]any
		}
		if err := json.Unmarshal([]byte(a.bodies[i]), &told); err != nil {
			t.Fatal(err)
		}
		if told.Type != want || told.ID == "" || ids[told.ID] || !strings.Contains(a.bodies[i], anaID) {
			t.Errorf("webhook %d is %s, want %s with an id of its own", i, a.bodies[i], want)
		}
		ids[told.ID] = true
		if err := publish.Authenticate(http.Header{publish.SignatureHeader: a.heads[i][publish.SignatureHeader]}, []byte(a.bodies[i]), []byte(ourSecret), time.Minute, time.Now()); err != nil {
			t.Errorf("the signature: %v", err)
		}
	}
}

func TestFloodOfForgeriesIsCountedAndNotLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	form := inbound("SM1", "x").Encode()
	for range 100 {
		if code, _ := w.post("/webhooks/twilio", form, twilioHeader(t, "not the token", "/webhooks/twilio", form)...); code != 403 {
			t.Fatalf("answered %d", code)
		}
	}
	if lines := strings.Count(w.log.String(), "webhook refused"); lines < 1 || lines > 20 {
		t.Errorf("%d lines for 100 forgeries", lines)
	}
	if want := `supabridge_webhooks_total{result="refused",source="twilio"} 100`; !strings.Contains(w.scrape(), want) {
		t.Errorf("the metrics lack %s", want)
	}
}
