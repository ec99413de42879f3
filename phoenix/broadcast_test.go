package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestSendUsesTheVersionsOwnFrame(t *testing.T) {
	bothVersions(t, func(t *testing.T, v Version) {
		s := newScript(t, v)
		ch := s.channel(s.client(quick()), ChannelOptions{})
		p := s.accept()
		join := p.acceptJoin()
		until[*Live](t, ch)
		if err := ch.Send(t.Context(), "typing", json.RawMessage(`{"n": 1.00}`)); err != nil {
			t.Fatal(err)
		}
		m := p.expect(wire.EventBroadcast)
		if m.JoinRef != join.JoinRef {
			t.Errorf("join_ref %s, want %s", m.JoinRef, join.JoinRef)
		}
		got := string(m.Payload)
		want := `{"event":"typing","payload":{"n": 1.00},"type":"broadcast"}`
		if v == V2 {
			got, want = m.UserEvent+" "+got, `typing {"n": 1.00}`
		}
		if got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		long := strings.Repeat("e", 300)
		if err := ch.Send(t.Context(), long, true); err != nil {
			t.Fatal(err)
		}
		if m := p.expect(wire.EventBroadcast); m.Kind != wire.Text || !strings.Contains(string(m.Payload), long) {
			t.Errorf("event name of 300 bytes sent as %+v", m)
		}
		err := ch.SendBinary(t.Context(), "raw", []byte{1, 2})
		if v == V1 {
			if !errors.Is(err, ErrBinaryUnsupported) {
				t.Errorf("binary in V1: %v", err)
			}
			return
		}
		if m := p.expect(wire.EventBroadcast); err != nil || !m.Binary || string(m.Payload) != "\x01\x02" {
			t.Errorf("binary: %+v, %v", m, err)
		}
	})
}

func TestSendAckWaitsForTheAnswer(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	ch := s.channel(s.client(o), ChannelOptions{Broadcast: BroadcastOptions{Ack: true}})
	p := s.accept()
	p.acceptJoin()
	until[*Live](t, ch)
	send := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { done <- ch.SendAck(ctx, "e", 1) }()
		return done
	}
	for _, tt := range []struct {
		status, response string
		want             error
	}{
		{"ok", `{}`, nil},
		{"error", `"payload_size_exceeded"`, ErrPayloadTooLarge},
		{"error", `{"reason":"no"}`, &Error{}},
	} {
		done := send(t.Context())
		p.reply(p.expect(wire.EventBroadcast), tt.status, tt.response)
		err := <-done
		var e *Error
		if tt.want == nil && err != nil || tt.want != nil && (!errors.As(err, &e) || e.Op != OpPush || e.Class != Permanent) {
			t.Errorf("%s %s: %v", tt.status, tt.response, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := <-send(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
	p.expect(wire.EventBroadcast)
	done := send(t.Context())
	p.expect(wire.EventBroadcast)
	p.ws.NetConn().Close()
	if err := <-done; !errors.Is(err, ErrDisconnected) {
		t.Errorf("connection lost: %v", err)
	}
	plain := s.channel2(t, ch.c, "plain")
	if err := plain.SendAck(t.Context(), "e", 1); !errors.Is(err, ErrNoAck) {
		t.Errorf("channel without acks: %v", err)
	}
}

func (s *script) channel2(t *testing.T, c *Client, name string) *Channel {
	t.Helper()
	ch, err := c.Channel(name, ChannelOptions{PushQueue: -1})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func TestSendBeforeTheJoinWaitsForItWithinBounds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{PushQueue: 1})
		p := s.accept()
		join := p.expect(wire.EventJoin)
		done := make(chan error, 1)
		go func() { done <- ch.Send(context.Background(), "first", 1) }()
		synctest.Wait()
		if err := ch.Send(t.Context(), "second", 2); !errors.Is(err, ErrQueueFull) {
			t.Errorf("second send: %v", err)
		}
		p.replyJoin(join)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if m := p.expect(wire.EventBroadcast); m.UserEvent != "first" {
			t.Errorf("sent %q", m.UserEvent)
		}
		impatient := s.channel2(t, c, "impatient")
		if err := impatient.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := impatient.Send(t.Context(), "e", 1); !errors.Is(err, ErrNotJoined) {
			t.Errorf("without a queue: %v", err)
		}
	})
}

func TestFullPushQueueCanDropItsOldest(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{PushQueue: 2, PushDropOld: true})
		p := s.accept()
		join := p.expect(wire.EventJoin)
		sent := make([]chan error, 3)
		for i := range sent {
			sent[i] = make(chan error, 1)
			go func() { sent[i] <- ch.Send(context.Background(), fmt.Sprint(i), i) }()
			synctest.Wait()
		}
		if err := <-sent[0]; !errors.Is(err, ErrQueueFull) {
			t.Errorf("the oldest: %v", err)
		}
		p.replyJoin(join)
		for _, event := range []string{"1", "2"} {
			if m := p.expect(wire.EventBroadcast); m.UserEvent != event {
				t.Errorf("sent %q, want %q", m.UserEvent, event)
			}
		}
		for _, c := range sent[1:] {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestBroadcastsAreReceivedInEveryForm(t *testing.T) {
	s := newScript(t, V2)
	var dropped []error
	o := quick()
	o.Hooks.FrameDropped = func(err error) { dropped = append(dropped, err) }
	c := s.client(o)
	ch := s.channel(c, ChannelOptions{})
	p := s.accept()
	join := p.acceptJoin()
	until[*Live](t, ch)
	text := func(payload string) wire.Message {
		return wire.Message{Topic: join.Topic, Event: wire.EventBroadcast, Payload: []byte(payload)}
	}
	for _, tt := range []struct {
		m    wire.Message
		want BroadcastMessage
	}{
		{text(`{"event":"e","payload":{"a": 1},"type":"broadcast"}`), BroadcastMessage{Event: "e", Payload: []byte(`{"a": 1}`), Raw: json.RawMessage(`{"event":"e","payload":{"a": 1},"type":"broadcast"}`)}},
		{text(`{"event":"e","meta":{"id":"8","replayed":true},"payload":1}`), BroadcastMessage{Event: "e", Payload: []byte(`1`), ID: "8", Replayed: true, Meta: json.RawMessage(`{"id":"8","replayed":true}`), Raw: json.RawMessage(`{"event":"e","meta":{"id":"8","replayed":true},"payload":1}`)}},
		{text(`"anything"`), BroadcastMessage{Raw: json.RawMessage(`"anything"`)}},
		{text(`null`), BroadcastMessage{Raw: json.RawMessage(`null`)}},
		{wire.Message{Kind: wire.UserBroadcast, Topic: join.Topic, UserEvent: "db", Payload: []byte(`{"id": 1}`), Metadata: []byte(`{"id":"9"}`)}, BroadcastMessage{Event: "db", Payload: []byte(`{"id": 1}`), ID: "9", Meta: json.RawMessage(`{"id":"9"}`)}},
		{wire.Message{Kind: wire.UserBroadcast, Topic: join.Topic, UserEvent: "img", Payload: []byte{0x89}, Binary: true}, BroadcastMessage{Event: "img", Payload: []byte{0x89}, Binary: true}},
		{wire.Message{Kind: wire.Broadcast, Topic: join.Topic, Event: "broadcast", Payload: []byte("raw"), Binary: true}, BroadcastMessage{Payload: []byte("raw"), Binary: true}},
	} {
		p.send(tt.m)
		got := want[*BroadcastMessage](t, ch)
		if got.Event != tt.want.Event || string(got.Payload) != string(tt.want.Payload) || got.Binary != tt.want.Binary || got.ID != tt.want.ID ||
			got.Replayed != tt.want.Replayed || string(got.Meta) != string(tt.want.Meta) || string(got.Raw) != string(tt.want.Raw) {
			t.Errorf("got %+v, want %+v", got, tt.want)
		}
	}
	// What is not what it says, and frames of unknown kinds, are dropped; the rest goes on.
	p.send(wire.Message{Kind: wire.UserBroadcast, Topic: join.Topic, UserEvent: "bad", Payload: []byte(`{nope`)})
	p.write(websocket.BinaryMessage, []byte{9, 1, 2})
	p.write(websocket.TextMessage, []byte(`[null,null,"realtime:room","broadcast",{nope]`))
	p.send(text(`{"event":"last"}`))
	if got := want[*BroadcastMessage](t, ch); got.Event != "last" {
		t.Errorf("got %+v", got)
	}
	c.call(t.Context(), func() {
		if len(dropped) != 3 {
			t.Errorf("dropped %v, want 3 frames", dropped)
		}
	})
}

func TestReplayAsksAgainOnlyForWhatMayBeMissing(t *testing.T) {
	s := newScript(t, V2)
	start := time.Now().Add(-time.Hour)
	ch := s.channel(s.client(quick()), ChannelOptions{Private: true, Broadcast: BroadcastOptions{Replay: &Replay{Since: start, Limit: 10}}})
	replayOf := func(join wire.Message) joinReplay {
		var sent joinPayload
		if err := json.Unmarshal(join.Payload, &sent); err != nil || sent.Config.Broadcast.Replay == nil {
			t.Fatalf("join %s: %v", join.Payload, err)
		}
		return *sent.Config.Broadcast.Replay
	}
	p := s.accept()
	join := p.acceptJoin()
	if r := replayOf(join); r.Since != start.UnixMilli() || r.Limit != 10 {
		t.Errorf("first join asks for %+v", r)
	}
	until[*Live](t, ch)
	stored := wire.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: wire.EventBroadcast, Payload: []byte(`{"event":"e","meta":{"id":"1","replayed":true},"payload":{}}`)}
	p.send(stored)
	want[*BroadcastMessage](t, ch)
	p.ws.NetConn().Close()
	p = s.accept()
	join = p.acceptJoin()
	if r := replayOf(join); time.Since(time.UnixMilli(r.Since)) > 2*replayOverlap {
		t.Errorf("rejoin asks for replay since %v", time.UnixMilli(r.Since))
	}
	until[*Live](t, ch)
	stored.JoinRef = join.JoinRef
	p.send(stored)
	p.send(wire.Message{Topic: join.Topic, Event: wire.EventBroadcast, Payload: []byte(`{"event":"new"}`)})
	if got := want[*BroadcastMessage](t, ch); got.Event != "new" {
		t.Errorf("message delivered twice: %+v", got)
	}
	if _, err := ch.c.Channel("public", ChannelOptions{Broadcast: BroadcastOptions{Replay: &Replay{Since: start}}}); err == nil {
		t.Error("replay on a public channel accepted")
	}
}

func TestBroadcastPayloadDecodes(t *testing.T) {
	m := &BroadcastMessage{Event: "e", Payload: []byte(`{"n": 9007199254740993}`)}
	var got map[string]any
	if err := m.Decode(&got); err != nil || got["n"] != json.Number("9007199254740993") {
		t.Errorf("%v, %v", got, err)
	}
	m.Binary = true
	if err := m.Decode(&got); err == nil {
		t.Error("binary payload decoded")
	}
}
