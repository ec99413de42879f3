package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/config"
)

func later(cfg *config.Config) { cfg.Auth.Credentials = []string{"auth.token", "event"} }

func TestASocketThatHasYetToAuthenticateMayDoAndHearNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, later)
	waiting, ana := connect(t, w.address, nil), w.as(anaID)
	for _, event := range []string{"join_conversation", "join_distributor", "typing_start", "mark_read", "get_online_users", "open_sesame"} {
		if o := waiting.try(event, bakery); o.Success || o.Code != "unauthorized" {
			t.Errorf("%s: %+v, want it refused", event, o)
		}
	}
	ana.must("join_conversation", bakery)
	w.bridge.emitter.Everybody("to_everybody", object("a", "b"))
	ana.event("to_everybody")
	waiting.sync()
	for _, event := range []string{"to_everybody", "bridge_status"} {
		if waiting.heard(event) {
			t.Errorf("it heard %s", event)
		}
	}
	if o := waiting.try("authenticate", map[string]string{"token": "forged"}); o.Success || o.Code != "unauthorized" {
		t.Errorf("a forged token: %+v", o)
	}
	if got := waiting.event("unauthorized"); got["message"] != "Authentication error" || got["code"] != "unauthorized" {
		t.Errorf("unauthorized %v", got)
	}
	waiting.must("authenticate", map[string]string{"token": w.token(anaID)})
	if got := waiting.event("authenticated"); got["userId"] != anaID {
		t.Errorf("authenticated %v", got)
	}
	waiting.event("bridge_status")
	waiting.must("join_conversation", bakery)
	w.write(bakery, "hello")
	waiting.event("new_message")
	if o := waiting.try("authenticate", w.token(benID)); o.Success {
		t.Errorf("another user's token afterwards: %+v, want it refused", o)
	}
}

func TestWhoeverDoesNotAuthenticateInTimeIsDisconnected(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) {
		later(cfg)
		cfg.Auth.AuthenticateWithin = 50 * time.Millisecond
		cfg.Auth.RefuseMessages = []string{"no_token=Authentication required"}
	})
	late := connect(t, w.address, nil)
	if got := late.event("unauthorized"); got["message"] != "Authentication required" || got["code"] != "no_token" {
		t.Errorf("unauthorized %v", got)
	}
	late.await("its disconnection", func(p string) bool { return p == "1" })
	if b, refusal := open(t, w.address, map[string]string{"token": "forged"}); b != nil || refusal != "Authentication error" {
		t.Errorf("a token that is there and no good: refusal %q", refusal)
	}
}

func TestATokenIsRenewedByTheEventsThatFrontendsUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	for _, test := range []struct {
		event   string
		arg     any
		hears   string
		refused string
	}{
		{"access_token", map[string]string{"access_token": w.token(anaID)}, "", ""},
		{"token:refresh", map[string]string{"token": w.token(anaID)}, "token:refresh:success", "token:refresh:error"},
		{"refresh_token", "Bearer " + w.token(anaID), "", ""},
		{"authenticate", w.token(anaID), "authenticated", "unauthorized"},
	} {
		ana.must(test.event, test.arg)
		if test.hears != "" {
			ana.event(test.hears)
			ana.emit(test.event, "forged")
			ana.event(test.refused)
		}
	}
	ana.sync()
	if ana.heard("error") {
		t.Error("an error event came beside the one that the frontend listens to")
	}
	ana.emit("access_token", "forged")
	if got := ana.event("error"); got["code"] != "unauthorized" || got["event"] != "access_token" {
		t.Errorf("error %v", got)
	}
	expired := sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{"sub": anaID, "exp": time.Now().Add(-time.Minute).Unix()}))
	if o := ana.try("access_token", expired); o.Code != "token_expired" {
		t.Errorf("an expired token: %+v", o)
	}
	if strings.Contains(w.log.String(), expired) {
		t.Error("a token is in the log")
	}
}
