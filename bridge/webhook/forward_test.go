package webhook_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

func TestForwardedAsItCameAndSignedAnew(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.ForwardURL = a.URL + "/api/twilio?from=bridge" }, "forward", "store"))
	a.Mu.Lock()
	a.Fail = 1
	a.Mu.Unlock()
	w.twilioPosts(hooktest.Inbound("SM1", "first & foremost +1"), twilio.IdempotencyHeader, "t1")
	w.twilioPosts(hooktest.Inbound("SM2", "second"))
	w.twilioPosts(url.Values{"EventType": {"onConversationAdded"}, "A": {"1", "2"}})
	a.Await(t, 3)
	w.delivered()
	a.Mu.Lock()
	defer a.Mu.Unlock()
	if !slices.Equal(a.Bodies[:1], []string{hooktest.Inbound("SM1", "first & foremost +1").Encode()}) && !strings.Contains(a.Bodies[0], "EventType") {
		t.Errorf("bodies %q", a.Bodies)
	}
	if first := slices.Index(a.Bodies, hooktest.Inbound("SM1", "first & foremost +1").Encode()); first < 0 || slices.Index(a.Bodies, hooktest.Inbound("SM2", "second").Encode()) < first {
		t.Errorf("a conversation's webhooks out of order: %q", a.Bodies)
	}
	for i, body := range a.Bodies {
		params, err := twilio.ParseForm([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if want := twilio.Sign(hooktest.AuthToken, a.URL+a.Paths[i], params); a.Heads[i].Get(twilio.SignatureHeader) != want {
			t.Errorf("signature of %s: %s, want %s", a.Paths[i], a.Heads[i].Get(twilio.SignatureHeader), want)
		}
		if strings.Contains(body, "SM1") && a.Heads[i].Get(twilio.IdempotencyHeader) != "t1" {
			t.Errorf("headers %v", a.Heads[i])
		}
	}
	if rows := w.rest("GET", "messages?external_message_id=in.(SM1,SM2)", ""); len(rows) != 2 {
		t.Errorf("%d rows, want 2: the modes combine", len(rows))
	}
}

func TestForwardedIsSignedWithTheTokenThatTwilioSignedWith(t *testing.T) {
	t.Parallel()
	a := hooktest.NewApp(t)
	const subaccount = "the auth token of a sub-account"
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.AuthTokens = hooktest.AuthToken + ", " + subaccount
		c.Webhooks.Twilio.ForwardURL = a.URL + "/api/twilio"
	}, "forward"))
	for i, token := range []string{hooktest.AuthToken, subaccount} {
		form := url.Values{"MessageSid": {fmt.Sprint("SM", i)}, "From": {"+1555"}, "Body": {token}}.Encode()
		header := append(hooktest.Header(t, token, "/webhooks/twilio", form), "Authorization", "Basic dHdpbGlvOmFwcA==", "X-Home-Region", "us1")
		if code, _ := w.post("/webhooks/twilio", form, header...); code != 200 {
			t.Fatalf("token %d: %d", i, code)
		}
	}
	a.Await(t, 2)
	a.Mu.Lock()
	defer a.Mu.Unlock()
	for i, token := range []string{hooktest.AuthToken, subaccount} {
		params, err := twilio.ParseForm([]byte(a.Bodies[i]))
		if err != nil {
			t.Fatal(err)
		}
		if want := twilio.Sign(token, a.URL+"/api/twilio", params); a.Heads[i].Get(twilio.SignatureHeader) != want {
			t.Errorf("what token %d signed is signed anew with another", i)
		}
		if a.Heads[i].Get("Authorization") != "Basic dHdpbGlvOmFwcA==" || a.Heads[i].Get("X-Home-Region") != "us1" {
			t.Errorf("header %v", a.Heads[i])
		}
	}
	items, err := w.hooks.Outbox().List(false, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if kept := fmt.Sprint(items); strings.Contains(kept, subaccount) {
		t.Error("the outbox has a token in it")
	}
}
