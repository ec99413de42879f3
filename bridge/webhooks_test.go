package bridge

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
)

const (
	authToken = "the auth token of this test"
	ourSecret = "a secret of this test, long enough"
	hookBase  = "https://hooks.example.com"
)

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

// inbound is a message of the bakery's customer.
func inbound(sid, body string) url.Values {
	return url.Values{"MessageSid": {sid}, "SmsStatus": {"received"}, "From": {"whatsapp:+15550111"}, "To": {"whatsapp:+15550100"}, "Body": {body}, "NumMedia": {"0"}, "New": {"x"}}
}

func status(sid, status string) url.Values {
	return url.Values{"MessageSid": {sid}, "MessageStatus": {status}, "From": {"whatsapp:+15550100"}, "To": {"whatsapp:+15550111"}}
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
	for w.bridge.webhooks.box.Stats().Waiting > 0 {
		select {
		case <-tick.C:
		case <-timeout.C:
			w.t.Fatalf("the outbox is not delivered: %+v; log:\n%s", w.bridge.webhooks.box.Stats(), w.log)
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
		if code, body := w.twilioPosts(inbound("SM1", "hello")); code != 200 || body != emptyTwiML {
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

func TestTheIdempotencyTokenDecidesWhatIsARepetition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.twilioPosts(inbound("SM1", "a"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(inbound("SM2", "b"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(inbound("SM1", "a"), twilio.IdempotencyHeader, "t2") // taken, and stored once for all that
	w.delivered()
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,SM2)", ""); len(rows) != 1 {
		t.Errorf("%d rows, want 1", len(rows))
	}
}

func TestStatusesInAnyOrderOnlyGoUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.Statuses = []string{"sent=SENT", "delivered=DELIVERED", "read=READ", "failed=FAILED"}
		c.Webhooks.Twilio.Store.FailureColumns = []string{"ai_extracted_intent?={ErrorCode}"}
	}, "store"))
	row := func(sid string) map[string]any {
		return w.rest("GET", "messages?external_message_id=eq."+sid, "")[0]
	}
	for i, c := range []struct {
		order []string
		want  string
	}{
		{[]string{"read", "sent", "delivered"}, "READ"},
		{[]string{"delivered", "sent"}, "DELIVERED"},
		{[]string{"failed", "sent", "read"}, "FAILED"},
		{[]string{"delivered", "failed"}, "DELIVERED"},
		{[]string{"queued", "sending", "sent"}, "SENT"},
	} {
		sid := fmt.Sprintf("SM%d", i)
		w.rest("POST", "messages", fmt.Sprintf(`{"conversation_id":%q,"content":"x","external_message_id":%q,"status":"PENDING"}`, bakery, sid))
		for _, s := range c.order {
			values := status(sid, s)
			if s == "failed" {
				values.Set("ErrorCode", "63016")
			}
			w.twilioPosts(values)
		}
		w.delivered()
		if got := row(sid); got["status"] != c.want {
			t.Errorf("%q ends as %v, want %s", c.order, got["status"], c.want)
		}
	}
	if got := row("SM2"); got["ai_extracted_intent"] != "63016" {
		t.Errorf("the error code is %v", got["ai_extracted_intent"])
	}
	if dead := w.bridge.webhooks.box.Stats().Dead; dead != 0 {
		t.Errorf("%d dead letters", dead)
	}
}

func TestStatusWaitsForItsMessageAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.twilioPosts(status("SM9", "read"))
	w.twilioPosts(inbound("SM10", "meanwhile"))
	w.once(w.joined(), "nothing")
	w.rest("POST", "messages", fmt.Sprintf(`{"conversation_id":%q,"content":"x","external_message_id":"SM9","status":"SENT"}`, bakery))
	w.delivered()
	if got := w.rest("GET", "messages?external_message_id=eq.SM9", "")[0]["status"]; got != "READ" {
		t.Errorf("the status is %v", got)
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

func TestWebhooksWaitWhileSupabaseIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.upstream.cut()
	const posts = 200
	for i := range posts {
		began := time.Now()
		if code, _ := w.twilioPosts(inbound(fmt.Sprintf("SM%d", i), "x")); code != 200 {
			t.Fatalf("webhook %d: %d", i, code)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("webhook %d was answered after %s", i, took)
		}
	}
	w.upstream.mend()
	w.delivered()
	if rows := w.rest("GET", "messages?external_message_id=like.SM*", ""); len(rows) != posts {
		t.Errorf("%d rows, want %d", len(rows), posts)
	}
}

func TestForgedAndOverlongWebhooksAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.MaxBody = 2048 }, "store"))
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for name, c := range map[string]struct {
		body   string
		header []string
		want   int
	}{
		"unsigned":           {"MessageSid=SM1&Body=x", form, 403},
		"signed by none":     {"MessageSid=SM1&Body=x", append(form, twilio.SignatureHeader, "AAAA"), 403},
		"JSON, no hash":      {`{}`, []string{"Content-Type", "application/json", twilio.SignatureHeader, twilio.Sign(authToken, hookBase+"/webhooks/twilio", nil)}, 403},
		"a broken escape":    {"MessageSid=%zz", append(form, twilio.SignatureHeader, "AAAA"), 400},
		"too long":           {"Body=" + strings.Repeat("x", 3000), append(form, twilio.SignatureHeader, "AAAA"), 413},
		"too long, unsigned": {"Body=" + strings.Repeat("x", 3000), form, 403},
	} {
		if code, _ := w.post("/webhooks/twilio", c.body, c.header...); code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}
	if s := w.bridge.webhooks.box.Stats(); s.Waiting+s.Dead != 0 {
		t.Errorf("something was kept: %+v", s)
	}
}

func TestFullOutboxAnswers503(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Outbox.MaxSize = 1500 }, "store"))
	w.upstream.cut()
	code, body := 200, ""
	for i := 0; code == 200 && i < 100; i++ {
		code, body = w.twilioPosts(inbound(fmt.Sprintf("SM%d", i), strings.Repeat("x", 100)))
	}
	if code != 503 || !strings.Contains(body, "outbox is full") {
		t.Errorf("%d %s", code, body)
	}
	w.upstream.mend()
	w.delivered()
	if code, _ := w.twilioPosts(inbound("SM999", "again")); code != 200 {
		t.Errorf("after there is room again: %d", code)
	}
}

// app is the application's server: it keeps what is posted to it. The mutex guards all fields.
type app struct {
	*httptest.Server

	mu     sync.Mutex
	fail   int // this many requests are answered 500
	bodies []string
	heads  []http.Header
	paths  []string
	came   chan struct{}
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{came: make(chan struct{}, 1000)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.fail > 0 {
			a.fail--
			w.WriteHeader(500)
			return
		}
		a.bodies, a.heads, a.paths = append(a.bodies, string(body)), append(a.heads, r.Header.Clone()), append(a.paths, r.RequestURI)
		a.came <- struct{}{}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *app) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for range n {
		select {
		case <-a.came:
		case <-timeout.C:
			t.Fatal("the application was not told")
		}
	}
}

func TestForwardedAsItCameAndSignedAnew(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.ForwardURL = a.URL + "/api/twilio?from=bridge" }, "forward", "store"))
	a.mu.Lock()
	a.fail = 1
	a.mu.Unlock()
	w.twilioPosts(inbound("SM1", "first & foremost +1"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(inbound("SM2", "second"))
	w.twilioPosts(url.Values{"EventType": {"onConversationAdded"}, "A": {"1", "2"}})
	a.await(t, 3)
	w.delivered()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.bodies[:1], []string{inbound("SM1", "first & foremost +1").Encode()}) && !strings.Contains(a.bodies[0], "EventType") {
		t.Errorf("bodies %q", a.bodies)
	}
	if first := slices.Index(a.bodies, inbound("SM1", "first & foremost +1").Encode()); first < 0 || slices.Index(a.bodies, inbound("SM2", "second").Encode()) < first {
		t.Errorf("a conversation's webhooks out of order: %q", a.bodies)
	}
	for i, body := range a.bodies {
		params, err := twilio.ParseForm([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if want := twilio.Sign(authToken, a.URL+a.paths[i], params); a.heads[i].Get(twilio.SignatureHeader) != want {
			t.Errorf("signature of %s: %s, want %s", a.paths[i], a.heads[i].Get(twilio.SignatureHeader), want)
		}
		if strings.Contains(body, "SM1") && a.heads[i].Get(twilio.IdempotencyHeader) != "t1" {
			t.Errorf("headers %v", a.heads[i])
		}
	}
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,SM2)", ""); len(rows) != 2 {
		t.Errorf("%d rows, want 2: the modes combine", len(rows))
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
	a := newApp(t)
	w := newWorld(t, func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: a.URL + "/hook", Secret: ourSecret, Events: []string{"user_online", "room_occupied", "room_vacated", "messages_read"}}
		c.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
	})
	ana := w.joined()
	a.await(t, 2) // online, and the conversation's room
	ana.must("mark_read", map[string]any{"conversationId": bakery, "messageIds": []string{"m1"}})
	a.await(t, 1)
	ana.must("leave_conversation", bakery)
	a.await(t, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	all := strings.Join(a.bodies, "\n")
	for _, want := range []string{`"type":"user_online"`, `"type":"room_occupied","at"`, `"type":"messages_read"`, `"type":"room_vacated"`, `"room":"conversation:` + bakery, `"m1"`, anaID} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in:\n%s", want, all)
		}
	}
	for i, body := range a.bodies {
		if err := publish.Authenticate(a.heads[i], []byte(body), []byte(ourSecret), time.Minute, time.Now()); err != nil {
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
