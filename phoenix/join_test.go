package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func bothVersions(t *testing.T, f func(t *testing.T, v Version)) {
	for _, v := range []Version{V1, V2} {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}

func TestChannelIsJoinedThenLiveThenDelivers(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		c := s.client(quick())
		ch := s.channel(c, ChannelOptions{Changes: messages})
		p := s.accept()
		if q := <-s.queries; q.Get("vsn") != v.String() || q.Get("apikey") != "key" {
			t.Errorf("handshake query %v", q)
		}
		join := p.acceptJoin()
		wantPayload := `{"config":{"broadcast":{"ack":false,"self":false},"presence":{"key":"","enabled":false},"postgres_changes":[{"event":"*","schema":"public","table":"messages"}],"private":false}}`
		if string(join.Payload) != wantPayload || join.Topic != "realtime:room" || join.Ref != join.JoinRef {
			t.Errorf("join %+v\npayload %s\nwant    %s", join, join.Payload, wantPayload)
		}
		if j := want[*Joined](t, ch); j.Again {
			t.Error("first Joined says Again")
		}
		if st := ch.Status(); st.Stage != StageJoined {
			t.Errorf("stage %s before the server said it is subscribed", st.Stage)
		}
		p.subscribed(join)
		want[*Live](t, ch)
		p.insert("realtime:room", `{"id": 9223372036854775807, "amount": 10.50}`, 100)
		got := want[*Change](t, ch)
		if got.Type != Insert || got.Schema != "public" || got.Table != "messages" || string(got.Record) != `{"id": 9223372036854775807, "amount": 10.50}` ||
			got.OldRecord != nil || len(got.Bindings) != 1 || got.Bindings[0] != 0 || got.Columns[0] != (Column{"id", "int8"}) ||
			!got.CommitTime.Equal(time.Date(2026, 11, 22, 22, 54, 4, 222e6, time.UTC)) || got.Errors != nil {
			t.Errorf("change %+v", got)
		}
		p.answerLeaves()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if closed := want[*Closed](t, ch); closed.Err != nil {
			t.Errorf("Closed with %v", closed.Err)
		}
		if _, open := <-ch.Events(); open {
			t.Error("events go on after Closed")
		}
		for range p.in { // until the client's close frame
		}
		if p.code != websocket.CloseNormalClosure {
			t.Errorf("client closed with %d, want 1000", p.code)
		}
	})
}

func TestRejoinSendsTheWholeConfigWithARenewedToken(t *testing.T) {
	s := newScript(t, V2)
	var asked atomic.Int32
	ch := s.channel(s.client(quick()), ChannelOptions{
		Changes: messages, Broadcast: BroadcastOptions{Self: true, Ack: true}, Presence: PresenceOptions{Enabled: true, Key: "me"}, Private: true,
		Token: func(context.Context) (string, error) { return fmt.Sprintf("token-%d", asked.Add(1)), nil },
	})
	var payloads []string
	for i := range 3 {
		p := s.accept()
		join := live(t, p, ch)
		var got joinPayload
		if err := json.Unmarshal(join.Payload, &got); err != nil {
			t.Fatal(err)
		}
		if wantToken := fmt.Sprintf("token-%d", i+1); got.AccessToken != wantToken {
			t.Errorf("join %d has token %q, want %q", i, got.AccessToken, wantToken)
		}
		got.AccessToken = ""
		config, _ := json.Marshal(got)
		payloads = append(payloads, string(config))
		if i > 0 && payloads[i] != payloads[0] {
			t.Errorf("join %d sends\n%s\nthe first\n%s", i, payloads[i], payloads[0])
		}
		if i < 2 {
			p.ws.Close()
			until[*Lost](t, ch)
			until[*Retrying](t, ch)
		}
	}
}

func TestReconnectMarksTheGapBeforeLive(t *testing.T) {
	for _, code := range []int{0, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseServiceRestart, websocket.CloseInternalServerErr} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := newScript(t, V2)
			ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
			p := s.accept()
			before := time.Now()
			live(t, p, ch)
			after := time.Now()
			if code == 0 {
				p.ws.NetConn().Close()
			} else {
				p.closeWith(code)
			}
			want[*Lost](t, ch)
			want[*Retrying](t, ch)
			p = s.accept()
			join := p.acceptJoin()
			if j := want[*Joined](t, ch); !j.Again {
				t.Error("Joined after a reconnect lacks Again")
			}
			p.subscribed(join)
			gap := want[*Gap](t, ch)
			if gap.Reason != GapReconnect || gap.Since.Before(before) || gap.Since.After(after) {
				t.Errorf("gap %+v, want since the last frame (%v to %v)", gap, before, after)
			}
			if l := want[*Live](t, ch); !l.Since.Equal(gap.Since) {
				t.Errorf("live since %v, want %v as the gap", l.Since, gap.Since)
			}
		})
	}
}

func TestRefusedJoinIsClassifiedAndTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		reason, code string
		class        Class
	}{
		{"InvalidJWTToken: Token has expired 3652 seconds ago", "InvalidJWTToken", Token},
		{"Unauthorized: You do not have permissions to read from this Channel topic: x", "Unauthorized", Permanent},
		{"ChannelRateLimitReached: Too many channels", "ChannelRateLimitReached", OtherSocket},
		{"ClientJoinRateLimitReached: Too many joins per second", "ClientJoinRateLimitReached", Slow},
		{"UnableToReplayMessages: Realtime was unable to replay messages", "UnableToReplayMessages", Retry},
		{"UnableToReplayMessages: Replay params are not valid", "UnableToReplayMessages", Permanent},
		{"InitializingProjectConnection: Connecting to the project database", "InitializingProjectConnection", Retry},
		{"UnknownErrorOnChannel: {}", "UnknownErrorOnChannel", Retry},
		{"unmatched topic", "", Permanent},
		{"join crashed", "", Retry},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			s := newScript(t, V2)
			ch := s.channel(s.client(quick()), ChannelOptions{Token: func(context.Context) (string, error) { return "t", nil }})
			p := s.accept()
			m := p.expect(wire.EventJoin)
			reason, _ := json.Marshal(map[string]string{"reason": tt.reason})
			p.reply(m, "error", string(reason))
			var e *Error
			if r := want[*Retrying](t, ch); !errors.As(r.Err, &e) || e.Op != OpJoin || e.Class != tt.class || e.Code != tt.code || e.Topic != "realtime:room" {
				t.Errorf("got %+v", r.Err)
			}
			again := p.acceptJoin()
			if again.JoinRef == m.JoinRef {
				t.Error("second attempt reuses the join_ref")
			}
			want[*Joined](t, ch)
			want[*Live](t, ch)
		})
	}
}

func TestWaitReturnsThePermanentRefusal(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	o.Backoff.SlowMax = time.Hour
	ch := s.channel(s.client(o), ChannelOptions{})
	p := s.accept()
	p.reply(p.expect(wire.EventJoin), "error", `{"reason":"PrivateOnly: This project only allows private channels"}`)
	if err := ch.Wait(t.Context(), StageLive); ClassOf(err) != Permanent {
		t.Errorf("Wait: %v", err)
	}
}

func TestHandshakeStatusDecidesTheClass(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		class  Class
	}{
		{401, `{"error":"API key is missing"}`, Permanent},
		{403, ``, Permanent},
		{404, `{"error":"Tenant not found"}`, Permanent},
		{429, `{"error":"Too many connected users"}`, Slow},
		{500, `{"error":"Error connecting to Realtime"}`, Retry},
		{503, `<html>`, Retry},
	} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			s := newScript(t, V2)
			refused := false
			s.refuse = func(w http.ResponseWriter) bool {
				if refused {
					return false
				}
				refused = true
				w.WriteHeader(tt.status)
				w.Write([]byte(tt.body))
				return true
			}
			ch := s.channel(s.client(quick()), ChannelOptions{})
			var e *Error
			if r := want[*Retrying](t, ch); !errors.As(r.Err, &e) || e.Op != OpConnect || e.Status != tt.status || e.Class != tt.class {
				t.Errorf("got %+v", r.Err)
			}
			s.accept().acceptJoin()
			want[*Joined](t, ch)
		})
	}
}

func TestLateCloseOfTheOldJoinDoesNotEndTheNewOne(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
		p := s.accept()
		first := live(t, p, ch)
		if err := ch.Rejoin(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		p.expect(wire.EventLeave)
		second := p.acceptJoin()
		p.closes(first)
		p.send(wire.Message{JoinRef: first.JoinRef, Ref: first.JoinRef, Topic: first.Topic, Event: wire.EventError, Payload: []byte(`{}`)})
		p.subscribed(second)
		want[*Lost](t, ch)
		want[*Joined](t, ch)
		want[*Gap](t, ch)
		want[*Live](t, ch)
		p.insert(second.Topic, `{"id": 1}`, 100)
		want[*Change](t, ch)
	})
}

func TestUnrequestedCloseRejoinsByTheSystemErrorBeforeIt(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages, Token: func(context.Context) (string, error) { return "t", nil }})
		p := s.accept()
		join := live(t, p, ch)
		p.system(join, "system", "error", "Token has expired 0 seconds ago")
		p.closes(join)
		if e := want[*SystemError](t, ch); e.Class != Token {
			t.Errorf("system error %+v", e)
		}
		if l := want[*Lost](t, ch); ClassOf(l.Err) != Token {
			t.Errorf("lost by %v", l.Err)
		}
		want[*Retrying](t, ch)
		join = p.acceptJoin()
		want[*Joined](t, ch)
		p.subscribed(join)
		if g := want[*Gap](t, ch); g.Reason != GapRejoin {
			t.Errorf("gap %+v", g)
		}
		want[*Live](t, ch)
	})
}

func TestCrashedChannelRejoins(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		ch := s.channel(s.client(quick()), ChannelOptions{})
		p := s.accept()
		join := p.acceptJoin()
		want[*Joined](t, ch)
		want[*Live](t, ch)
		p.send(wire.Message{JoinRef: join.JoinRef, Ref: join.JoinRef, Topic: join.Topic, Event: wire.EventError, Payload: []byte(`{"reason":"channel_crash"}`)})
		want[*Lost](t, ch)
		want[*Retrying](t, ch)
		p.acceptJoin()
		want[*Joined](t, ch)
		want[*Gap](t, ch)
		want[*Live](t, ch)
	})
}

func TestJoinWithoutAnswerTimesOutAndIsTakenBack(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	o.JoinTimeout = 20 * time.Millisecond
	ch := s.channel(s.client(o), ChannelOptions{})
	p := s.accept()
	first := p.expect(wire.EventJoin)
	if m := p.expect(wire.EventLeave); m.JoinRef != first.JoinRef {
		t.Errorf("leave has join_ref %s, want %s", m.JoinRef, first.JoinRef)
	}
	want[*Retrying](t, ch)
	second := p.expect(wire.EventJoin)
	p.replyJoin(first) // too late: it counts for nothing
	p.replyJoin(second)
	until[*Joined](t, ch)
	if st := ch.Status(); st.Stage != StageLive {
		t.Errorf("stage %s", st.Stage)
	}
}

func TestMismatchedBindingsRejoin(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
	p := s.accept()
	m := p.expect(wire.EventJoin)
	p.reply(m, "ok", `{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"other"}]}`)
	if r := want[*Retrying](t, ch); !errors.Is(r.Err, errMismatch) || ClassOf(r.Err) != Retry {
		t.Errorf("retrying for %v", r.Err)
	}
	p.expect(wire.EventLeave)
	m = p.expect(wire.EventJoin)
	// Null for absent, another case and a quoted id are no mismatch.
	p.reply(m, "ok", `{"postgres_changes":[{"id":"7","event":"*","schema":"public","table":"messages","filter":null}]}`)
	want[*Joined](t, ch)
	p.subscribed(m)
	want[*Live](t, ch)
	p.insert(m.Topic, `{"id": 1}`, 7)
	want[*Change](t, ch)
}

func TestFeedErrorIsNotLive(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
	p := s.accept()
	join := p.acceptJoin()
	want[*Joined](t, ch)
	p.system(join, "postgres_changes", "error", "{:error, \"Too many database timeouts\"}")
	if e := want[*SystemError](t, ch); e.Class != Retry {
		t.Errorf("%+v", e)
	}
	p.subscribed(join)
	want[*Live](t, ch)
	p.system(join, "postgres_changes", "error", "Unable to subscribe to changes with given parameters. …")
	if e := want[*SystemError](t, ch); e.Class != Permanent {
		t.Errorf("%+v", e)
	}
	// The server doesn't heal it; after the slow back-off the client joins anew.
	want[*Lost](t, ch)
	p.expect(wire.EventLeave)
	join = p.acceptJoin()
	want[*Joined](t, ch)
	p.subscribed(join)
	if g := want[*Gap](t, ch); g.Reason != GapFeedError {
		t.Errorf("%+v", g)
	}
	want[*Live](t, ch)
}

func TestRepeatedSubscribedIsAGap(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
	p := s.accept()
	join := live(t, p, ch)
	p.insert(join.Topic, `{"id": 1}`, 100)
	c := want[*Change](t, ch)
	p.subscribed(join)
	if g := want[*Gap](t, ch); g.Reason != GapResubscribed || !g.Since.Equal(c.Received) {
		t.Errorf("gap %+v, want since the last change %v", g, c.Received)
	}
	want[*Live](t, ch)
}

func TestFeedNeverConfirmedRejoins(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	o.LiveTimeout = 20 * time.Millisecond
	ch := s.channel(s.client(o), ChannelOptions{Changes: messages})
	p := s.accept()
	p.acceptJoin()
	want[*Joined](t, ch)
	if l := want[*Lost](t, ch); !errors.Is(l.Err, errLiveTimeout) {
		t.Errorf("lost by %v", l.Err)
	}
	p.expect(wire.EventLeave)
	p.expect(wire.EventJoin)
}

func TestUnmatchedTopicRejoins(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		ch := s.channel(s.client(quick()), ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		if err := ch.Send(t.Context(), "typing", map[string]bool{"on": true}); err != nil {
			t.Fatal(err)
		}
		p.reply(p.expect(wire.EventBroadcast), "error", `{"reason":"unmatched topic"}`)
		want[*Lost](t, ch)
		want[*Retrying](t, ch)
		p.acceptJoin()
		want[*Joined](t, ch)
	})
}

func TestLeaveWaitsForTheServerAndFreesTheTopic(t *testing.T) {
	s := newScript(t, V2)
	c := s.client(quick())
	ch := s.channel(c, ChannelOptions{})
	p := s.accept()
	join := p.acceptJoin()
	until[*Live](t, ch)
	done := make(chan error, 1)
	go func() { done <- ch.Leave(context.Background()) }()
	m := p.expect(wire.EventLeave)
	if _, err := c.Channel("room", ChannelOptions{}); !errors.Is(err, ErrTopicInUse) {
		t.Errorf("another channel of the topic that is leaving: %v", err)
	}
	if m.JoinRef != join.JoinRef {
		t.Errorf("leave has join_ref %s, want %s", m.JoinRef, join.JoinRef)
	}
	select {
	case err := <-done:
		t.Fatalf("Leave returned %v before the server answered", err)
	default:
	}
	p.reply(m, "ok", `{}`)
	if err := <-done; err != nil {
		t.Error(err)
	}
	want[*Closed](t, ch)
	if err := ch.Leave(t.Context()); err != nil {
		t.Errorf("leaving twice: %v", err)
	}
	if err := ch.Subscribe(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Subscribe after Leave: %v", err)
	}
	again := s.channel(c, ChannelOptions{})
	p.acceptJoin()
	p.closes(join) // of the first channel, late
	until[*Live](t, again)
	if st := again.Status(); st.Stage != StageLive {
		t.Errorf("stage %s after the close of an earlier channel", st.Stage)
	}
}

func TestNoGapBeforeTheFirstLive(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages})
	p := s.accept()
	p.acceptJoin()
	want[*Joined](t, ch)
	p.ws.NetConn().Close()
	want[*Lost](t, ch)
	want[*Retrying](t, ch)
	p = s.accept()
	p.subscribed(p.acceptJoin())
	want[*Joined](t, ch)
	want[*Live](t, ch)
}

func TestLiveWaitsForReplication(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: messages, Private: true, Broadcast: BroadcastOptions{ReplicationReady: true}})
	p := s.accept()
	join := p.acceptJoin()
	var sent joinPayload
	if err := json.Unmarshal(join.Payload, &sent); err != nil || !sent.Config.Broadcast.ReplicationReady {
		t.Errorf("join %s: %v", join.Payload, err)
	}
	want[*Joined](t, ch)
	p.subscribed(join)
	p.system(join, "system", "ok", "Server says hello")
	p.send(wire.Message{Topic: join.Topic, Event: wire.EventBroadcast, Payload: []byte(`{"event":"early"}`)})
	want[*BroadcastMessage](t, ch) // and not Live
	p.system(join, "system", "ok", "Replication connection established")
	want[*Live](t, ch)
}

func TestRestartingServerIsLeftForAnotherConnection(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{})
	p := s.accept()
	p.reply(p.expect(wire.EventJoin), "error", `{"reason":"RealtimeRestarting: Realtime is restarting, please standby"}`)
	want[*Retrying](t, ch)
	s.accept().acceptJoin()
	until[*Joined](t, ch)
}

func TestJoinTimeoutOfAChannel(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{JoinTimeout: 3 * time.Second})
		s.accept().expect(wire.EventJoin)
		took := after(func() {
			if r := want[*Retrying](t, ch); !errors.Is(r.Err, errJoinTimeout) {
				t.Errorf("retrying for %v", r.Err)
			}
		})
		if took != 3*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}
