package phoenix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func entries(list []Presence) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "%s/%s%s ", p.Key, p.Ref, p.Meta)
	}
	return strings.TrimSpace(b.String())
}

func describe(d PresenceDiff) string {
	var updates []string
	for _, u := range d.Updates {
		updates = append(updates, fmt.Sprintf("%s/%s%s→%s%s", u.Key, u.Before.Ref, u.Before.Meta, u.After.Ref, u.After.Meta))
	}
	return fmt.Sprintf("+%s -%s ~%s", entries(d.Joins), entries(d.Leaves), strings.Join(updates, " "))
}

func TestPresenceIsKeptFromStateAndDiffs(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Presence: PresenceOptions{Enabled: true}})
	p := s.accept()
	join := p.acceptJoin()
	until[*Live](t, ch)
	say := func(event, payload string) {
		p.send(wire.Message{Topic: join.Topic, Event: event, Payload: []byte(payload)})
	}
	// A diff before the state waits for it.
	say("presence_diff", `{"joins":{"c":{"metas":[{"phx_ref":"3","x":1}]}},"leaves":{}}`)
	say("presence_state", `{"b":{"metas":[{"phx_ref":"2","n":"b"}]},"a":{"metas":[{"phx_ref":"1","n":"a","phx_ref_prev":"0"},{"n":"a2","phx_ref":"1b"}]}}`)
	st := want[*PresenceState](t, ch)
	if got, want := entries(st.Present), `a/1{"n":"a"} a/1b{"n":"a2"} b/2{"n":"b"} c/3{"x":1}`; got != want {
		t.Errorf("present %s, want %s", got, want)
	}
	for _, tt := range []struct{ diff, want string }{
		// An update: a join that names the ref it follows, and that ref's leave.
		{`{"joins":{"a":{"metas":[{"phx_ref":"4","phx_ref_prev":"1","n":"A"}]}},"leaves":{"a":{"metas":[{"phx_ref":"1","n":"a"}]}}}`, `+ - ~a/1{"n":"a"}→4{"n":"A"}`},
		{`{"joins":{},"leaves":{"a":{"metas":[{"phx_ref":"1b","n":"a2"}]},"b":{"metas":[{"phx_ref":"2"}]}}}`, `+ -a/1b{"n":"a2"} b/2{"n":"b"} ~`},
		{`{"joins":{"__proto__":{"metas":[{"phx_ref":"5"}]}},"leaves":{"nobody":{"metas":[{"phx_ref":"9"}]}}}`, `+__proto__/5{} - ~`},
	} {
		say("presence_diff", tt.diff)
		if got := describe(*want[*PresenceDiff](t, ch)); got != tt.want {
			t.Errorf("diff %s: %s, want %s", tt.diff, got, tt.want)
		}
	}
	// Joins known already and leaves of strangers are no news.
	say("presence_diff", `{"joins":{"a":{"metas":[{"phx_ref":"4","n":"A"}]}},"leaves":{"x":{"metas":[{"phx_ref":"8"}]}}}`)
	if got, want := entries(ch.Present()), `__proto__/5{} a/4{"n":"A"} c/3{"x":1}`; got != want {
		t.Errorf("present %s, want %s", got, want)
	}
	// After a reconnect the new state tells who came and went meanwhile, nobody else.
	p.ws.NetConn().Close()
	p = s.accept()
	join = p.acceptJoin()
	until[*Live](t, ch)
	say("presence_state", `{"a":{"metas":[{"phx_ref":"4","n":"A"}]},"d":{"metas":[{"phx_ref":"6"}]},"c":{"metas":[{"phx_ref":"7","phx_ref_prev":"3","x":2}]}}`)
	st = want[*PresenceState](t, ch)
	if got, want := describe(st.PresenceDiff), `+d/6{} -__proto__/5{} ~c/3{"x":1}→7{"x":2}`; got != want {
		t.Errorf("difference %s, want %s", got, want)
	}
}

// A server that restarted gives everybody new refs.
func TestThoseWhoStayedAreNoNewsAfterAServerRestart(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Presence: PresenceOptions{Enabled: true}})
	p := s.accept()
	for _, tt := range []struct{ state, present, news string }{
		{`{"a":{"metas":[{"phx_ref":"1","n":1},{"phx_ref":"2","n":2}]},"b":{"metas":[{"phx_ref":"3"}]},"c":{"metas":[{"phx_ref":"4","x":1}]}}`,
			`a/1{"n":1} a/2{"n":2} b/3{} c/4{"x":1}`, `+a/1{"n":1} a/2{"n":2} b/3{} c/4{"x":1} - ~`},
		{`{"a":{"metas":[{"phx_ref":"11","n":2},{"phx_ref":"12","n":1}]},"b":{"metas":[{"phx_ref":"13"},{"phx_ref":"14","new":1}]},"c":{"metas":[{"phx_ref":"15","x":2}]}}`,
			`a/11{"n":2} a/12{"n":1} b/13{} b/14{"new":1} c/15{"x":2}`, `+b/14{"new":1} - ~c/4{"x":1}→15{"x":2}`},
		{`{"a":{"metas":[{"phx_ref":"21","n":1}]}}`, `a/21{"n":1}`, `+ -a/11{"n":2} b/13{} b/14{"new":1} c/15{"x":2} ~`},
	} {
		join := p.acceptJoin()
		p.send(wire.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: "presence_state", Payload: []byte(tt.state)})
		st := until[*PresenceState](t, ch)
		if got := entries(st.Present); got != tt.present {
			t.Errorf("present %s, want %s", got, tt.present)
		}
		if got := describe(st.PresenceDiff); got != tt.news {
			t.Errorf("told %s, want %s", got, tt.news)
		}
		p.ws.NetConn().Close()
		p = s.accept()
	}
}

func TestTrackIsAnnouncedAgainAfterARejoin(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Presence: PresenceOptions{Enabled: true, Key: "me"}})
	p := s.accept()
	p.acceptJoin()
	until[*Live](t, ch)
	done := make(chan error, 1)
	go func() { done <- ch.Track(context.Background(), map[string]string{"name": "x"}) }()
	track := `{"type":"presence","event":"track","payload":{"name":"x"}}`
	m := p.expect(wire.EventPresence)
	if string(m.Payload) != track {
		t.Errorf("tracked by %s", m.Payload)
	}
	p.ws.NetConn().Close() // before the answer: Track waits for the rejoin
	p = s.accept()
	p.acceptJoin()
	m = p.expect(wire.EventPresence)
	if string(m.Payload) != track {
		t.Errorf("after the rejoin tracked by %s", m.Payload)
	}
	p.reply(m, "ok", `{}`)
	if err := <-done; err != nil {
		t.Error(err)
	}
	go func() { done <- ch.Untrack(context.Background()) }()
	m = p.expect(wire.EventPresence)
	if string(m.Payload) != `{"type":"presence","event":"untrack"}` {
		t.Errorf("untracked by %s", m.Payload)
	}
	p.reply(m, "error", `{"reason":"no"}`)
	if err := <-done; ClassOf(err) != Permanent {
		t.Errorf("refused untrack: %v", err)
	}
	p.ws.NetConn().Close()
	p = s.accept()
	join := p.acceptJoin()
	until[*Live](t, ch)
	if err := ch.Send(t.Context(), "next", 1); err != nil {
		t.Fatal(err)
	}
	if m := p.next(); m.UserEvent != "next" {
		t.Errorf("after Untrack and a rejoin the client sent %s %s", m.Event, m.Payload)
	}
	for _, bad := range []any{1, nil, []int{}, "x"} {
		if err := ch.Track(t.Context(), bad); err == nil {
			t.Errorf("tracking %v accepted", bad)
		}
	}
	// The channel closes under a call that nobody answers.
	go func() { done <- ch.Track(context.Background(), struct{}{}) }()
	p.expect(wire.EventPresence)
	go ch.Leave(context.Background())
	p.reply(p.expect(wire.EventLeave), "ok", `{}`)
	p.closes(join)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Track on a closed channel: %v", err)
	}
}

func TestTrackStaysWithinTheServersLimitAndSendsTheLatest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{Presence: PresenceOptions{Enabled: true}})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		var calls []time.Time
		var last string
		go func() {
			for m := range p.in {
				if m.Event == wire.EventPresence {
					calls = append(calls, time.Now())
					last = string(m.Payload)
				}
				p.reply(m, "ok", `{}`)
			}
		}()
		done := make(chan error, 100)
		for i := range 100 {
			go func() { done <- ch.Track(context.Background(), map[string]int{"i": i}) }()
			synctest.Wait()
			pass(500 * time.Millisecond)
		}
		for range 100 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if !strings.Contains(last, `"i":99`) {
			t.Errorf("last call %s", last)
		}
		for i := presenceCalls; i < len(calls); i++ {
			if d := calls[i].Sub(calls[i-presenceCalls]); d < 30*time.Second {
				t.Errorf("calls %d to %d within %v", i-presenceCalls, i, d)
			}
		}
		if len(calls) < 10 || len(calls) > 15 {
			t.Errorf("%d calls in 50 s", len(calls))
		}
	})
}

func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"a":{"metas":[{"phx_ref":"1","n":"a"}]}}`), []byte(`{"a":{"metas":[{"phx_ref":"2","phx_ref_prev":"1"}]}}`), []byte(`{"a":{"metas":[{"phx_ref":"1"}]}}`))
	f.Fuzz(func(t *testing.T, state, joins, leaves []byte) {
		var p presence
		if s, err := parsePresences(state); err == nil {
			p.replace(s)
		}
		j, errJ := parsePresences(joins)
		l, errL := parsePresences(leaves)
		if errJ != nil || errL != nil {
			return
		}
		p.apply(rawDiff{j, l})
		if got := len(p.list()); got != p.count {
			t.Fatalf("%d present, counted %d", got, p.count)
		}
	})
}
