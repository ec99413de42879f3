package webhook_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

func TestTheIdempotencyTokenDecidesWhatIsARepetition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.twilioPosts(hooktest.Inbound("SM1", "a"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(hooktest.Inbound("SM2", "b"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(hooktest.Inbound("SM1", "a"), twilio.IdempotencyHeader, "t2") // taken, and stored once for all that
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
			values := hooktest.Status(sid, s)
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
	if dead := w.hooks.Outbox().Stats().Dead; dead != 0 {
		t.Errorf("%d dead letters", dead)
	}
}

func TestStatusWaitsForItsMessageAndHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.twilioPosts(hooktest.Status("SM9", "read"))
	w.twilioPosts(hooktest.Inbound("SM10", "meanwhile"))
	w.eventually("the message is stored, and the status alone waits", func() bool {
		return len(w.rest("GET", "messages?external_message_id=eq.SM10", "")) == 1 && w.hooks.Outbox().Stats().Waiting == 1
	})
	w.rest("POST", "messages", fmt.Sprintf(`{"conversation_id":%q,"content":"x","external_message_id":"SM9","status":"SENT"}`, bakery))
	w.delivered()
	if got := w.rest("GET", "messages?external_message_id=eq.SM9", "")[0]["status"]; got != "READ" {
		t.Errorf("the status is %v", got)
	}
}

func TestWebhooksWaitWhileSupabaseIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.front.fault.Store(&fault{})
	const posts = 200
	for i := range posts {
		began := time.Now()
		if code, _ := w.twilioPosts(hooktest.Inbound(fmt.Sprintf("SM%d", i), "x")); code != 200 {
			t.Fatalf("webhook %d: %d", i, code)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("webhook %d was answered after %s", i, took)
		}
	}
	w.front.fault.Store(nil)
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
		"JSON, no hash":      {`{}`, []string{"Content-Type", "application/json", twilio.SignatureHeader, twilio.Sign(hooktest.AuthToken, hooktest.Base+"/webhooks/twilio", nil)}, 403},
		"a broken escape":    {"MessageSid=%zz", append(form, twilio.SignatureHeader, "AAAA"), 400},
		"too long":           {"Body=" + strings.Repeat("x", 3000), append(form, twilio.SignatureHeader, "AAAA"), 413},
		"too long, unsigned": {"Body=" + strings.Repeat("x", 3000), form, 403},
	} {
		if code, _ := w.post("/webhooks/twilio", c.body, c.header...); code != c.want {
			t.Errorf("%s: %d, want %d", name, code, c.want)
		}
	}
	if s := w.hooks.Outbox().Stats(); s.Waiting+s.Dead != 0 {
		t.Errorf("something was kept: %+v", s)
	}
}

func TestFullOutboxAnswers503(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Outbox.MaxSize = 1500 }, "store"))
	w.front.fault.Store(&fault{})
	code, body := 200, ""
	for i := 0; code == 200 && i < 100; i++ {
		code, body = w.twilioPosts(hooktest.Inbound(fmt.Sprintf("SM%d", i), strings.Repeat("x", 100)))
	}
	if code != 503 || !strings.Contains(body, "outbox is full") {
		t.Errorf("%d %s", code, body)
	}
	w.front.fault.Store(nil)
	w.delivered()
	if code, _ := w.twilioPosts(hooktest.Inbound("SM999", "again")); code != 200 {
		t.Errorf("after there is room again: %d", code)
	}
}

func TestEachPathTakesWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.Paths = []string{"/in", "/hooks/status"} }, "store"))
	form := hooktest.Inbound("SM1", "x").Encode()
	for path, want := range map[string]int{"/in": 200, "/hooks/status": 200, "/webhooks/twilio": 404} {
		if code, _ := w.post(path, form, hooktest.Header(t, hooktest.AuthToken, path, form)...); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if code, _ := w.post("/in", form, hooktest.Header(t, hooktest.AuthToken, "/hooks/status", form)...); code != 403 {
		t.Errorf("signed for another path: %d, want 403", code)
	}
}

func TestPoisonIsADeadLetterWithItsReasonAndStoredWhenRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "created_at?={CreatedAt}")
	}, "store"))
	poison := hooktest.Inbound("SM1", "poison")
	poison.Set("CreatedAt", "no time at all")
	w.twilioPosts(poison)
	w.twilioPosts(hooktest.Inbound("SM2", "after it"))
	w.delivered()
	items, err := w.hooks.Outbox().List(true, 0, 0)
	if err != nil || len(items) != 1 || items[0].Attempts != 1 || !strings.Contains(items[0].Reason, "HTTP 400") {
		t.Fatalf("dead letters %+v (%v)", items, err)
	}
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,SM2)", ""); len(rows) != 1 || rows[0]["external_message_id"] != "SM2" {
		t.Errorf("stored %v: what came after a poison must not wait for it", rows)
	}
	if err := w.hooks.Outbox().Retry(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	w.delivered()
	if dead := w.hooks.Outbox().Stats().Dead; dead != 1 {
		t.Errorf("%d dead letters after a retry that can't help, want 1", dead)
	}
}

func TestFloodOfForgeriesIsCountedAndNotLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	form := hooktest.Inbound("SM1", "x").Encode()
	for range 100 {
		if code, _ := w.post("/webhooks/twilio", form, hooktest.Header(t, "not the token", "/webhooks/twilio", form)...); code != 403 {
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
