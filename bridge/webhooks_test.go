package bridge

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

const (
	authToken = hooktest.AuthToken
	ourSecret = "a secret of this test, long enough"
	hookBase  = hooktest.Base
)

var inbound, status = hooktest.Inbound, hooktest.Status

// twilioModes configures Twilio's webhooks.
func twilioModes(t *testing.T, change func(*config.Config), modes ...string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	return func(c *config.Config) {
		c.Webhooks.Twilio.AuthTokens = authToken
		c.Webhooks.Twilio.PublicURLs = []string{hookBase}
		c.Webhooks.Twilio.Modes = modes
		c.Webhooks.Outbox.Path = path
		if change != nil {
			change(c)
		}
	}
}

// twilioPosts posts a webhook as Twilio does and gives the answer.
func (w *world) twilioPosts(values url.Values, header ...string) (code int, body string) {
	w.t.Helper()
	form := values.Encode()
	params, err := twilio.ParseForm([]byte(form))
	if err != nil {
		w.t.Fatal(err)
	}
	header = append([]string{"Content-Type", "application/x-www-form-urlencoded", twilio.SignatureHeader, twilio.Sign(authToken, hookBase+"/webhooks/twilio", params)}, header...)
	return w.post("/webhooks/twilio", form, header...)
}

func (w *world) post(path, body string, header ...string) (code int, answer string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.address+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// delivered waits until the outbox is empty.
func (w *world) delivered() {
	w.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for w.bridge.webhooks.Outbox().Stats().Waiting > 0 {
		select {
		case <-tick.C:
		case <-timeout.C:
			w.t.Fatalf("the outbox is not delivered: %+v; log:\n%s", w.bridge.webhooks.Outbox().Stats(), w.log)
		}
	}
}

// once tells that no further event of a name has come by the time a row written now has.
func (w *world) once(b *browser, event string) {
	w.t.Helper()
	id := w.write(bakery, "marker")
	b.await("the marker", func(p string) bool { return strings.HasPrefix(p, `2["new_message"`) && strings.Contains(p, id) })
	if b.heard(event) {
		w.t.Errorf("%s came again; held: %q", event, b.held)
	}
}

func TestTwilioMessageIsStoredOnceAndReachesBrowsersOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	for range 3 {
		if code, body := w.twilioPosts(inbound("SM1", "hello")); code != 200 || body != `<?xml version="1.0" encoding="UTF-8"?><Response/>` {
			t.Fatalf("answer %d %s", code, body)
		}
	}
	got := ana.event("new_message")
	if got["content"] != "hello" || got["external_message_id"] != "SM1" || got["is_from_customer"] != true || got["conversation_id"] != bakery {
		t.Errorf("new_message %v", got)
	}
	photo := inbound("MM2", "")
	for name, value := range map[string]string{"NumMedia": "1", "MediaUrl0": "https://api.twilio.com/m", "MediaContentType0": "image/jpeg"} {
		photo.Set(name, value)
	}
	w.twilioPosts(photo)
	if got := ana.event("new_message"); got["content"] != "" || !strings.Contains(fmt.Sprint(got["attachments"]), "image/jpeg") {
		t.Errorf("a photo without a caption: %v", got)
	}
	w.once(ana, "new_message")
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,MM2)", ""); len(rows) != 2 {
		t.Errorf("%d rows, want 2", len(rows))
	}
	if log := w.log.String(); strings.Contains(log, "hello") || strings.Contains(log, authToken) || strings.Contains(log, "api.twilio.com") {
		t.Errorf("the log has a body, a token or a media URL:\n%s", log)
	}
}

func (w *world) joined() *browser {
	w.t.Helper()
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	return ana
}

func TestConversationIsMadeForAnUnknownCustomer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		s := &c.Webhooks.Twilio.Store
		s.Lookups = []string{"distributor = distributors.id where phone={ToNumber}"}
		s.ConversationFind = []string{"customer_phone={FromNumber}", "distributor_id={distributor}"}
		s.ConversationCreate = []string{"customer_name?={ProfileName}"}
	}, "store"))
	ana := w.as(anaID)
	ana.must("join_distributor", harbour)
	for i := range 5 {
		values := inbound(fmt.Sprintf("SM%d", i), fmt.Sprint("text ", i))
		values.Set("From", "whatsapp:+15559999")
		values.Set("ProfileName", "Nova Café")
		w.twilioPosts(values)
	}
	for i := range 5 {
		if got := ana.event("new_message"); got["content"] != fmt.Sprint("text ", i) || got["distributorId"] != harbour {
			t.Errorf("message %d is %v", i, got)
		}
	}
	if rows := w.rest("GET", "conversations?customer_phone=eq.%2B15559999", ""); len(rows) != 1 || rows[0]["customer_name"] != "Nova Café" {
		t.Errorf("conversations %v", rows)
	}
}

func TestEmittedMessageIsNotSentAgainWhenTheApplicationStoresIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Outbox.Path = "" // nothing durable
		c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "id={MessageUUID}")
	}, "emit"))
	ana := w.joined()
	w.twilioPosts(inbound("SM1", "at once"))
	w.twilioPosts(inbound("SM1", "at once"))
	got := ana.event("new_message")
	if got["content"] != "at once" || got["conversationId"] != bakery || got["id"] == "" {
		t.Errorf("new_message %v", got)
	}
	row := w.rest("POST", "messages", fmt.Sprintf(`{"conversation_id":%q,"content":"at once","external_message_id":"SM1"}`, bakery))[0]
	w.once(ana, "new_message")
	w.rest("PATCH", "messages?id=eq."+row["id"].(string), `{"status":"READ"}`)
	if got := ana.event("message_updated"); got["status"] != "READ" {
		t.Errorf("message_updated %v", got)
	}
}

func TestDatabaseWebhookBringsAChangeOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Webhooks.Supabase.Secret = ourSecret })
	ana := w.joined()
	id := w.write(bakery, "by Realtime")
	ana.event("new_message")
	hook := func(id, at, secret string) (int, string) {
		record := fmt.Sprintf(`{"id":%q,"conversation_id":%q,"content":"by webhook","status":"SENT","created_at":%q,"updated_at":%q}`, id, bakery, at, at)
		return w.post("/webhooks/supabase", `{"type":"INSERT","table":"messages","schema":"public","record":`+record+`,"old_record":null}`, "Authorization", "Bearer "+secret)
	}
	if code, _ := hook(id, "2020-01-01T00:00:00+00:00", "x"); code != 401 {
		t.Errorf("without the secret: %d", code)
	}
	if code, body := hook(id, "2020-01-01T00:00:00+00:00", ourSecret); code != 200 || !strings.Contains(body, "false") {
		t.Errorf("an older copy: %d %s", code, body)
	}
	if code, body := hook("e9000000-0000-4000-8000-000000000009", time.Now().UTC().Format(time.RFC3339Nano), ourSecret); code != 200 || !strings.Contains(body, "true") {
		t.Errorf("news: %d %s", code, body)
	}
	if got := ana.event("new_message"); got["content"] != "by webhook" {
		t.Errorf("new_message %v", got)
	}
	if code, _ := w.post("/webhooks/supabase", `x`, "Authorization", "Bearer "+ourSecret); code != 400 {
		t.Errorf("what is no webhook: %d", code)
	}
	w.once(ana, "new_message")
}

func TestServerPublishesToRoomsAndUsersAndDisconnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Publish.Secret = ourSecret })
	ana, ben := w.joined(), w.as(benID)
	ben.must("join_conversation", bakery)
	body := `[{"name":"invoice","channel":"conversation:` + bakery + `","data":{"n":1},"socket_id":"` + ben.sid + `"},{"event":"hint","user":"` + benID + `","data":{"n":2}}]`
	code, answer := w.post("/api/publish", body, publish.SignatureHeader, publish.Sign([]byte(ourSecret), time.Now(), []byte(body)))
	if code != 202 || strings.TrimSpace(answer) != `{"reached":2,"results":[1,1]}` {
		t.Errorf("%d %s", code, answer)
	}
	if got := ana.event("invoice"); got["n"] != 1.0 {
		t.Errorf("invoice %v", got)
	}
	if got := ben.event("hint"); got["n"] != 2.0 || ben.heard("invoice") {
		t.Errorf("hint %v; held %q", got, ben.held)
	}
	if code, _ := w.post("/api/publish", body, "Authorization", "Bearer x"); code != 401 {
		t.Errorf("without the secret: %d", code)
	}
	for _, whom := range []string{`{"user":"` + benID + `"}`, `{"tenant":"` + harbour + `"}`} {
		code, answer = w.post("/api/disconnect", whom, "Authorization", "Bearer "+ourSecret)
		if code != 200 || strings.TrimSpace(answer) != `{"reached":1}` {
			t.Errorf("%s: %d %s", whom, code, answer)
		}
		for _, b := range map[bool][]*browser{true: {ben}, false: {ana}}[strings.Contains(whom, "user")] {
			for range b.packets { // until it is closed
			}
		}
	}
}

func TestApplicationIsToldWhoIsOnlineAndWhatWasRead(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	w := newWorld(t, func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: a.URL + "/hook", Secret: ourSecret, Events: []string{"user_online", "room_occupied", "room_vacated", "messages_read"}}
		c.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
	})
	ana := w.joined()
	a.Await(t, 2) // online, and the conversation's room
	ana.must("mark_read", map[string]any{"conversationId": bakery, "messageIds": []string{"m1"}})
	a.Await(t, 1)
	ana.must("leave_conversation", bakery)
	a.Await(t, 1)
	a.Mu.Lock()
	defer a.Mu.Unlock()
	all := strings.Join(a.Bodies, "\n")
	for _, want := range []string{`"type":"user_online"`, `"type":"room_occupied","at"`, `"type":"messages_read"`, `"type":"room_vacated"`, `"room":"conversation:` + bakery, `"m1"`, anaID} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in:\n%s", want, all)
		}
	}
	for i, body := range a.Bodies {
		if err := publish.Authenticate(a.Heads[i], []byte(body), []byte(ourSecret), time.Minute, time.Now()); err != nil {
			t.Errorf("signature of %s: %v", body, err)
		}
	}
}

func TestWithoutConfigurationNoRouteExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, path := range []string{"/webhooks/twilio", "/webhooks/supabase", "/api/publish", "/api/disconnect"} {
		if code, _ := w.post(path, "x"); code != 404 {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
}
