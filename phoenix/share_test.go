package phoenix

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// second makes and subscribes another channel of the script's topic.
func (s *script) second(first *Channel, o ChannelOptions) *Channel {
	s.t.Helper()
	ch, err := first.c.Channel(first.Topic(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ch.Subscribe(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return ch
}

func TestTwoChannelsOfOneTopicShareItsSubscription(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		opts := ChannelOptions{Changes: messages, Presence: PresenceOptions{Enabled: true}}
		a := s.channel(s.client(o), opts)
		p := s.accept()
		join := live(t, p, a)
		p.send(wire.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: "presence_state", Payload: []byte(`{"x":{"metas":[{"phx_ref":"1"}]}}`)})
		want[*PresenceState](t, a)
		// The second one comes late, is told what is so by now, and no join goes out.
		opts.Queue = 8
		b := s.second(a, opts)
		if want[*Joined](t, b).Again {
			t.Error("a first Joined says Again")
		}
		if st := want[*PresenceState](t, b); entries(st.Present) != "x/1{}" || entries(st.Joins) != "x/1{}" {
			t.Errorf("told of %+v", st)
		}
		want[*Live](t, b)
		if err := b.Wait(t.Context(), StageLive); err != nil {
			t.Error(err)
		}
		// Each has a stream of its own: both get the change, one that is slow loses for itself.
		for i := range 20 {
			p.insert(join.Topic, fmt.Sprintf(`{"id": %d}`, i), 100)
		}
		synctest.Wait()
		if got := len(drain(t, a)); got != 20 {
			t.Errorf("the first got %d changes, want 20", got)
		}
		if got := fmt.Sprint(drain(t, b)); got != "[0 1 2 3 4 5 6 7]" {
			t.Errorf("the slow second got %s", got)
		}
		p.insert(join.Topic, `{"id": 20}`, 100)
		synctest.Wait()
		if got := fmt.Sprint(drain(t, b)); got != "[gap(overflow, 12 lost) Live 20]" {
			t.Errorf("then %s", got)
		}
		if got := fmt.Sprint(drain(t, a)); got != "[20]" {
			t.Errorf("the first then %s", got)
		}
		// An outage concerns both.
		p.ws.NetConn().Close()
		p = s.accept()
		join = p.acceptJoin()
		p.subscribed(join)
		synctest.Wait()
		for _, ch := range []*Channel{a, b} {
			until[*Lost](t, ch)
			if !until[*Joined](t, ch).Again {
				t.Error("the second Joined doesn't say Again")
			}
			want[*Gap](t, ch)
			want[*Live](t, ch)
		}
		// One leaves: the other goes on, and the server hears nothing of it.
		if err := a.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := until[*Closed](t, a); c.Err != nil {
			t.Errorf("closed by %v", c.Err)
		}
		if err := a.Send(t.Context(), "x", 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Send after Leave: %v", err)
		}
		if err := a.Subscribe(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Subscribe after Leave: %v", err)
		}
		if st := a.Status(); st.Stage != StageClosed {
			t.Errorf("the one that left is %s", st.Stage)
		}
		p.insert(join.Topic, `{"id": 21}`, 100)
		until[*Change](t, b)
		select {
		case m := <-p.in:
			t.Errorf("client sent %s", m.Event)
		default:
		}
		// The last one ends the subscription.
		left := make(chan error, 1)
		go func() { left <- b.Leave(context.Background()) }()
		p.reply(p.expect(wire.EventLeave), "ok", `{}`)
		if err := <-left; err != nil {
			t.Error(err)
		}
		until[*Closed](t, b)
	})
}

func TestAChannelThatIsTooSlowLeavesTheOthersAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		a := s.channel(s.client(o), ChannelOptions{Changes: messages})
		p := s.accept()
		join := live(t, p, a)
		b := s.second(a, ChannelOptions{Changes: messages, Queue: 8, Overflow: OverflowFail})
		until[*Live](t, b)
		for i := range 20 {
			p.insert(join.Topic, fmt.Sprintf(`{"id": %d}`, i), 100)
		}
		synctest.Wait()
		if c := until[*Closed](t, b); !errors.Is(c.Err, ErrOverflow) {
			t.Errorf("closed by %v", c.Err)
		}
		if got := len(drain(t, a)); got != 20 {
			t.Errorf("the other got %d of 20", got)
		}
	})
}

func TestTopicIsSharedOnlyWhereItIsTheSame(t *testing.T) {
	s := newScript(t, V2)
	c := s.client(quick())
	token := func(context.Context) (string, error) { return "a", nil }
	first := ChannelOptions{Changes: messages, Broadcast: BroadcastOptions{Self: true}}
	if _, err := c.Channel("room", first); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Channel("room", first); err != nil {
		t.Errorf("equal options: %v", err)
	}
	for name, change := range map[string]func(*ChannelOptions){
		"other rows":      func(o *ChannelOptions) { o.Changes = []Binding{{Table: "users"}} },
		"no rows":         func(o *ChannelOptions) { o.Changes = nil },
		"other broadcast": func(o *ChannelOptions) { o.Broadcast.Self = false },
		"private":         func(o *ChannelOptions) { o.Private = true },
		"presence":        func(o *ChannelOptions) { o.Presence.Enabled = true },
		"a token":         func(o *ChannelOptions) { o.Token = token },
	} {
		o := first
		if change(&o); true {
			if _, err := c.Channel("room", o); !errors.Is(err, ErrTopicInUse) {
				t.Errorf("%s: %v, want ErrTopicInUse", name, err)
			}
		}
	}
	// Functions can't be compared: channels with a token are shared by name only.
	tokened, err := c.Channel("own", ChannelOptions{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Channel("own", ChannelOptions{Token: token}); !errors.Is(err, ErrTopicInUse) {
		t.Errorf("the same token function: %v", err)
	}
	shared, err := tokened.Share(0, OverflowDropOld)
	if err != nil {
		t.Fatal(err)
	}
	if err := tokened.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := shared.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := s.accept()
	if m := p.acceptJoin(); string(m.Topic) != "realtime:own" {
		t.Errorf("joined %s", m.Topic)
	}
	until[*Live](t, shared)
	if _, err := tokened.Share(0, OverflowDropOld); !errors.Is(err, ErrClosed) {
		t.Errorf("Share after Leave: %v", err)
	}
	for range maxHolds - 1 {
		if _, err = shared.Share(8, OverflowDropNew); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = shared.Share(8, OverflowDropNew); !errors.Is(err, ErrTooManyChannels) {
		t.Errorf("one too many: %v", err)
	}
}

func TestWhatAChannelTrackedEndsWithIt(t *testing.T) {
	s := newScript(t, V2)
	o := ChannelOptions{Presence: PresenceOptions{Enabled: true}}
	a := s.channel(s.client(quick()), o)
	p := s.accept()
	p.acceptJoin()
	b := s.second(a, o)
	done := make(chan error, 1)
	go func() { done <- a.Track(context.Background(), struct{}{}) }()
	p.reply(p.expect(wire.EventPresence), "ok", `{}`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := b.Leave(t.Context()); err != nil { // which tracked nothing
		t.Fatal(err)
	}
	c := s.second(a, o)
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := p.expect(wire.EventPresence); string(m.Payload) != `{"type":"presence","event":"untrack"}` {
		t.Errorf("client sent %s", m.Payload)
	}
	until[*Live](t, c)
}
