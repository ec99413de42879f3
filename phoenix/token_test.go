package phoenix

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// jwt is a token of that lifetime from now, with no signature worth the name.
func jwt(name string, life time.Duration) string {
	claims := fmt.Sprintf(`{"sub":%q,"exp":%d}`, name, time.Now().Add(life).Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func tokenOf(t *testing.T, m wire.Message) string {
	t.Helper()
	var p struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		t.Fatal(err)
	}
	return p.Token
}

func TestTokenIsRenewedAtFourFifthsOfItsLife(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		asked := 0
		source := func(context.Context) (string, error) {
			asked++
			return jwt(fmt.Sprint(asked), time.Hour), nil
		}
		ch := s.channel(s.client(o), ChannelOptions{Token: source})
		p := s.accept()
		join := p.acceptJoin()
		until[*Live](t, ch)
		for i := range 2 {
			var m wire.Message
			took := after(func() { m = nextRenewal(p) })
			if took < 47*time.Minute || took > 49*time.Minute {
				t.Errorf("renewal %d after %v, want 48 min", i, took)
			}
			if got := tokenOf(t, m); got == tokenOf(t, join) || got == "" || m.JoinRef != join.JoinRef {
				t.Errorf("renewal sends %+v", m)
			}
			// No answer comes, ever, and none is waited for.
		}
		if asked != 3 {
			t.Errorf("token source asked %d times, want 3", asked)
		}
	})
}

// nextRenewal answers heartbeats until a token comes.
func nextRenewal(p *peer) wire.Message {
	for m := range p.in {
		if m.Event == wire.EventAccessToken {
			return m
		}
		p.reply(m, "ok", `{}`)
	}
	return wire.Message{}
}

func TestRenewalThatFailsIsTriedAgainAndTheUnchangedTokenNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		first := jwt("1", time.Hour)
		answers := []func() (string, error){
			func() (string, error) { return first, nil },
			func() (string, error) { return "", errors.New("auth is down") },
			func() (string, error) { return first, nil },
			func() (string, error) { return jwt("2", time.Hour), nil },
		}
		var renewed []error
		o.Hooks.TokenRenewed = func(_ string, err error) { renewed = append(renewed, err) }
		ch := s.channel(s.client(o), ChannelOptions{Token: func(context.Context) (string, error) {
			f := answers[0]
			answers = answers[1:]
			return f()
		}})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		m := nextRenewal(p)
		if tokenOf(t, m) == first {
			t.Error("unchanged token sent")
		}
		synctest.Wait()
		if len(renewed) != 3 || renewed[0] == nil || renewed[2] != nil {
			t.Errorf("renewals %v", renewed)
		}
	})
}

func TestExpiredAndMissingTokensFailTheJoinLocally(t *testing.T) {
	s := newScript(t, V2)
	answers := make(chan string, 4)
	answers <- jwt("old", 10*time.Second)
	answers <- ""
	answers <- jwt("new", time.Hour)
	ch := s.channel(s.client(quick()), ChannelOptions{Token: func(context.Context) (string, error) { return <-answers, nil }})
	p := s.accept()
	for _, is := range []error{ErrTokenExpired, ErrNoToken} {
		var e *Error
		if r := want[*Retrying](t, ch); !errors.Is(r.Err, is) || !errors.As(r.Err, &e) || e.Op != OpToken || e.Class != Token {
			t.Errorf("retrying for %v, want %v", r.Err, is)
		}
	}
	if tokenOf(t, p.acceptJoin()) == "" {
		t.Error("join without a token")
	}
}

func TestSecondRefusalOfTheSameTokenIsSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		token := "one"
		ch := s.channel(s.client(o), ChannelOptions{Token: func(context.Context) (string, error) { return token, nil }})
		p := s.accept()
		for i, least := range []time.Duration{0, 30 * time.Second} {
			p.reply(p.expect(wire.EventJoin), "error", `{"reason":"JwtSignatureError: Failed to validate JWT signature"}`)
			if r := want[*Retrying](t, ch); r.Delay < least || i == 0 && r.Delay > time.Second {
				t.Errorf("refusal %d waits %v", i, r.Delay)
			}
		}
		token = "two"
		p.reply(p.expect(wire.EventJoin), "error", `{"reason":"InvalidJWTToken: Token has expired 3 seconds ago"}`)
		if r := want[*Retrying](t, ch); r.Delay > 10*time.Second {
			t.Errorf("a fresh token's refusal waits %v", r.Delay)
		}
	})
}

func TestRefusedSignatureOfAFreshTokenIsPermanent(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		n := 0
		ch := s.channel(s.client(o), ChannelOptions{Token: func(context.Context) (string, error) { n++; return fmt.Sprint("token", n), nil }})
		waited := make(chan error, 1)
		go func() { waited <- ch.Wait(context.Background(), StageLive) }()
		p := s.accept()
		for _, want1 := range []Class{Token, Permanent} {
			p.reply(p.expect(wire.EventJoin), "error", `{"reason":"JwtSignatureError: Failed to validate JWT signature"}`)
			if r := want[*Retrying](t, ch); ClassOf(r.Err) != want1 || want1 == Permanent && r.Delay < 2*time.Minute {
				t.Errorf("%v, again in %v; want class %s", r.Err, r.Delay, want1)
			}
		}
		if err := <-waited; ClassOf(err) != Permanent {
			t.Errorf("Wait: %v", err)
		}
		// Once one gets in, the next refusal is a first one again.
		p.acceptJoin()
		until[*Live](t, ch)
		p.ws.NetConn().Close()
		p = s.accept()
		p.reply(p.expect(wire.EventJoin), "error", `{"reason":"JwtSignatureError: Failed to validate JWT signature"}`)
		until[*Lost](t, ch)
		want[*Retrying](t, ch) // of the connection
		if r := want[*Retrying](t, ch); ClassOf(r.Err) != Token {
			t.Errorf("%v after a join", r.Err)
		}
	})
}

func TestRefusalWithoutATokenSourceIsPermanent(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	o.Backoff.SlowMax = time.Hour
	ch := s.channel(s.client(o), ChannelOptions{})
	p := s.accept()
	p.reply(p.expect(wire.EventJoin), "error", `{"reason":"InvalidJWTToken: Token has expired 3652 seconds ago"}`)
	if err := ch.Wait(t.Context(), StageLive); ClassOf(err) != Permanent {
		t.Errorf("Wait: %v", err)
	}
}

func TestJoinWaitsForARenewalInFlight(t *testing.T) {
	s := newScript(t, V2)
	asked, answer := make(chan struct{}, 4), make(chan string, 4)
	ch := s.channel(s.client(quick()), ChannelOptions{Token: func(ctx context.Context) (string, error) {
		asked <- struct{}{}
		select {
		case token := <-answer:
			return token, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}})
	answer <- "first"
	p := s.accept()
	p.acceptJoin()
	until[*Live](t, ch)
	<-asked
	renewed := make(chan error, 1)
	go func() { renewed <- ch.RenewToken(context.Background()) }()
	<-asked
	p.ws.NetConn().Close()
	p = s.accept()
	answer <- "second"
	answer <- "second" // asked again for the join itself
	if m := p.acceptJoin(); tokenOf(t, m) != "second" {
		t.Errorf("joined with %s while a newer token was on its way", m.Payload)
	}
	if err := <-renewed; err != nil {
		t.Error(err)
	}
	until[*Live](t, ch)
}

func TestRenewedTokenIsTriedAtOnceWhereRightsWereRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		token := "stranger"
		ch := s.channel(s.client(o), ChannelOptions{Private: true, Token: func(context.Context) (string, error) { return token, nil }})
		p := s.accept()
		p.reply(p.expect(wire.EventJoin), "error", `{"reason":"Unauthorized: You do not have permissions to read from this Channel topic: room"}`)
		if r := want[*Retrying](t, ch); r.Delay < 2*time.Minute {
			t.Errorf("again in %v", r.Delay)
		}
		if err := ch.RenewToken(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if st := ch.Status(); st.Stage != StageWaiting {
			t.Errorf("%s with the same token, want to wait on", st.Stage)
		}
		token = "member"
		took := after(func() {
			if err := ch.RenewToken(t.Context()); err != nil {
				t.Fatal(err)
			}
			if m := p.acceptJoin(); tokenOf(t, m) != "member" {
				t.Errorf("joined with %s", m.Payload)
			}
		})
		if took > time.Second {
			t.Errorf("tried after %v", took)
		}
		until[*Live](t, ch)
	})
}

func TestRenewTokenTellsTheServer(t *testing.T) {
	s := newScript(t, V2)
	token := make(chan string, 3)
	token <- "a"
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages, Token: func(context.Context) (string, error) { return <-token, nil }})
	p := s.accept()
	join := live(t, p, ch)
	token <- "b"
	if err := ch.RenewToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := p.expect(wire.EventAccessToken); tokenOf(t, m) != "b" {
		t.Errorf("sent %s", m.Payload)
	}
	p.subscribed(join) // as the server says after a new token
	want[*Gap](t, ch)
	want[*Live](t, ch)
	token <- ""
	if err := ch.RenewToken(t.Context()); !errors.Is(err, ErrNoToken) {
		t.Errorf("empty token: %v", err)
	}
}

func TestTokenSourceThatHangsEndsWithTheClient(t *testing.T) {
	s := newScript(t, V2)
	c := s.client(quick())
	asked := make(chan struct{})
	ch := s.channel(c, ChannelOptions{Token: func(ctx context.Context) (string, error) {
		close(asked)
		<-ctx.Done()
		return "", ctx.Err()
	}})
	s.accept()
	<-asked
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	want[*Closed](t, ch)
}

func TestRenewalDelay(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, tt := range []struct{ life, age, want time.Duration }{
		{time.Hour, 0, 48 * time.Minute},
		{time.Hour, 40 * time.Minute, 8 * time.Minute},
		{2 * time.Minute, 0, time.Minute},
		{30 * time.Second, 0, 24 * time.Second},
		{time.Hour, 2 * time.Hour, time.Second},
	} {
		if got := renewalDelay(now.Add(-tt.age), now.Add(tt.life-tt.age), now); got != tt.want {
			t.Errorf("life %v, age %v: %v, want %v", tt.life, tt.age, got, tt.want)
		}
	}
}

func FuzzExpiry(f *testing.F) {
	f.Add("a.eyJleHAiOjF9.b")
	f.Add("sb_secret_x")
	f.Fuzz(func(t *testing.T, token string) { expiry(token) })
}
