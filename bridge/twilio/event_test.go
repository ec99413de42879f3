package twilio

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestWebhooksAreUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		kind   Kind
		sid    string
		status string
		media  int
	}{
		"text":                     {"MessageSid=SM1&SmsStatus=received&Body=hi&NumMedia=0", Message, "SM1", "", 0},
		"photo without a caption":  {"MessageSid=MM1&SmsStatus=received&Body=&NumMedia=2&MediaUrl0=u0&MediaContentType0=image%2Fpng&MediaUrl1=u1", Message, "MM1", "", 2},
		"media counted and absent": {"MessageSid=MM1&Body=&NumMedia=900000000", Message, "MM1", "", 0},
		"status":                   {"MessageSid=SM1&MessageStatus=delivered&SmsStatus=delivered", Status, "SM1", "delivered", 0},
		"status of an old account": {"SmsSid=SM1&SmsStatus=sent", Status, "SM1", "sent", 0},
		"unknown parameters":       {"MessageSid=SM1&Body=x&Tomorrow=1", Message, "SM1", "", 0},
		"a conversation's event":   {"EventType=onMessageAdded&ConversationSid=CH1", Other, "", "", 0},
		"nothing":                  {"", Other, "", "", 0},
	} {
		e := Read(form(t, c.body))
		if e.Kind != c.kind || e.Sid != c.sid || e.Status != c.status || len(e.Media) != c.media {
			t.Errorf("%s: %s %q %q with %d media, want %s %q %q with %d", name, e.Kind, e.Sid, e.Status, len(e.Media), c.kind, c.sid, c.status, c.media)
		}
	}
}

func TestRepetitionsHaveOneKeyAndStatusesTheirOwn(t *testing.T) {
	key := func(token, body string) string { return Read(form(t, body)).DedupeKey(token, []byte(body)) }
	if a, b := key("t1", "MessageSid=SM1&MessageStatus=sent"), key("t1", "MessageSid=SM1&MessageStatus=read"); a != b {
		t.Errorf("one idempotency token, two keys: %s, %s", a, b)
	}
	all := []string{
		key("", "MessageSid=SM1&Body=x"), key("", "MessageSid=SM2&Body=x"),
		key("", "MessageSid=SM1&MessageStatus=sent"), key("", "MessageSid=SM1&MessageStatus=read"),
		key("", "MessageSid=SM1&MessageStatus=failed"), key("", "MessageSid=SM1&MessageStatus=failed&ErrorCode=63016"),
		key("", "EventType=a"), key("", "EventType=b"), key("SM1", ""),
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("two different webhooks share a key: %q", all)
	}
	if a, b := Read(form(t, "From=1&To=2")), Read(form(t, "From=2&To=1")); a.Conversation() != b.Conversation() {
		t.Error("the two directions of a conversation have different keys")
	}
}

func TestStatusesGoUpAndStayAtTheirEnd(t *testing.T) {
	order := []string{"accepted", "queued", "sending", "sent", "delivered", "read"}
	for i, now := range order {
		for j, before := range order {
			if got := Supersedes(now, strings.ToUpper(before)); got != (i > j) {
				t.Errorf("%s after %s: %t", now, before, got)
			}
		}
	}
	for _, end := range []string{"failed", "undelivered", "canceled"} {
		for i, before := range order {
			if got := Supersedes(end, before); got != (i < 4) {
				t.Errorf("%s after %s: %t", end, before, got)
			}
			if Supersedes(before, end) {
				t.Errorf("%s after %s", before, end)
			}
		}
		if Supersedes("failed", end) {
			t.Errorf("failed after %s", end)
		}
	}
	if !Supersedes("sent", "") || !Supersedes("queued", "PENDING") || Supersedes("novel", "sent") {
		t.Error("unknown statuses: anything known follows them and they follow nothing")
	}
}

func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a=%zz", "&&=&", "a=1&a=1", "%E2%82%AC=+", strings.Repeat("a&", 1100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		params, err := ParseForm([]byte(body))
		if err != nil {
			if !errors.Is(err, ErrForm) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B"))
		if err != nil {
			t.Fatalf("%q is accepted, and not by net/url: %v", body, err)
		}
		n := 0
		for _, values := range want {
			n += len(values)
		}
		if n != len(params) {
			t.Fatalf("%q: %d parameters, net/url has %d", body, len(params), n)
		}
		Read(params)
		params.tails()
	})
}
