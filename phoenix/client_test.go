package phoenix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestEqualBindingsAreSentOnceAndBothNamed(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: []Binding{
		{Schema: "public", Table: "messages"},
		{Event: Insert, Schema: "public", Table: "messages"},
		{Event: "*", Schema: "public", Table: "messages"},
		{Event: "delete", Schema: "public", Table: "messages"},
	}})
	p := s.accept()
	join := p.acceptJoin()
	if n := strings.Count(string(join.Payload), `"table":"messages"`); n != 3 {
		t.Errorf("%d bindings sent in %s", n, join.Payload)
	}
	p.subscribed(join)
	until[*Live](t, ch)
	p.insert(join.Topic, `{"id": 1}`, 102, 101, 100, 100)
	if c := want[*Change](t, ch); !slices.Equal(c.Bindings, []int{0, 1, 2}) {
		t.Errorf("bindings %v, want 0, 1 and 2", c.Bindings)
	}
	// The ids of a DELETE binding alone don't bring an INSERT; nor do unknown ones.
	p.insert(join.Topic, `{"id": 2}`, 102)
	p.insert(join.Topic, `{"id": 3}`, 999)
	p.insert(join.Topic, `{"id": 4}`, 101)
	if c := want[*Change](t, ch); string(c.Record) != `{"id": 4}` {
		t.Errorf("got %s", c.Record)
	}
}

func TestBindingsThatCannotBeAreRefused(t *testing.T) {
	c, err := NewClient("http://127.0.0.1", Options{APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, b := range []Binding{
		{Event: "TRUNCATE", Table: "t"}, {}, {Event: All, Filter: "a=eq.1"},
		{Table: "*", Select: []string{"id"}}, {Schema: "*", Table: "t", Select: []string{"id"}}, {Schema: "public", Select: []string{"id"}},
	} {
		if _, err := c.Channel("x", ChannelOptions{Changes: []Binding{b}}); err == nil {
			t.Errorf("binding %+v accepted", b)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 247)} {
		if _, err := c.Channel(name, ChannelOptions{}); err == nil {
			t.Errorf("channel name of %d bytes accepted", len(name))
		}
	}
}

func TestAHundredChannelsAreTheLimit(t *testing.T) {
	p := newProject(t, phxserver.Options{})
	c := p.client(t, quick())
	var channels []*Channel
	for i := range defaultMaxChannels {
		ch, err := c.Channel(fmt.Sprint(i), ChannelOptions{Queue: 8})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
		channels = append(channels, ch)
	}
	if _, err := c.Channel("one more", ChannelOptions{}); !errors.Is(err, ErrTooManyChannels) {
		t.Errorf("channel 101: %v", err)
	}
	for _, ch := range channels {
		if err := ch.Wait(t.Context(), StageLive); err != nil {
			t.Fatal(err)
		}
	}
	if err := channels[0].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Channel("one more", ChannelOptions{}); err != nil {
		t.Errorf("after a leave: %v", err)
	}
}

func TestTheServersChannelLimitAsksForAnotherSocket(t *testing.T) {
	p := newProject(t, phxserver.Options{Limits: phxserver.Limits{Channels: 1}})
	c := p.client(t, quick())
	first, _ := c.Channel("a", ChannelOptions{})
	second, _ := c.Channel("b", ChannelOptions{})
	if err := first.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(t.Context(), StageLive); err != nil {
		t.Fatal(err)
	}
	if err := second.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := want[*Retrying](t, second); ClassOf(r.Err) != OtherSocket {
		t.Errorf("retrying for %v (%s)", r.Err, ClassOf(r.Err))
	}
}

func TestUnusedConnectionIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		go ch.Leave(context.Background())
		p.reply(p.expect(wire.EventLeave), "ok", `{}`)
		took := after(func() {
			for m := range p.in { // heartbeats, until the close frame
				p.reply(m, "ok", `{}`)
			}
		})
		if took != 50*time.Second || p.code != websocket.CloseNormalClosure {
			t.Errorf("closed with %d after %v", p.code, took)
		}
		// The next channel connects again.
		s.channel(c, ChannelOptions{})
		s.accept().acceptJoin()
	})
}

func TestCloseWithAServerThatIsSilentEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		took := after(func() {
			if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close: %v", err)
			}
		})
		if took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		want[*Closed](t, ch)
		if _, err := c.Channel("late", ChannelOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("Channel on a closed client: %v", err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if st := ch.Status(); st.Stage != StageClosed {
			t.Errorf("stage %s", st.Stage)
		}
		if err := ch.Send(t.Context(), "e", 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Send on a closed client: %v", err)
		}
	})
}

func TestCloseWhileConnectingIsPrompt(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		s.refuse = func(w http.ResponseWriter) bool {
			pass(time.Minute)
			w.WriteHeader(500)
			return true
		}
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{})
		synctest.Wait()
		if took := after(func() { c.Close(t.Context()) }); took != 0 {
			t.Errorf("Close took %v", took)
		}
		want[*Closed](t, ch)
	})
}

func TestFrameOverTheReadLimitCostsTheConnectionNotTheClient(t *testing.T) {
	s := newScript(t, V2)
	o := quick()
	o.ReadLimit = 4096
	ch := s.channel(s.client(o), ChannelOptions{})
	p := s.accept()
	join := p.acceptJoin()
	until[*Live](t, ch)
	p.send(wire.Message{Topic: join.Topic, Event: wire.EventBroadcast, Payload: []byte(`"` + strings.Repeat("x", 5000) + `"`)})
	if l := want[*Lost](t, ch); !errors.Is(l.Err, websocket.ErrReadLimit) {
		t.Errorf("lost by %v", l.Err)
	}
	s.accept().acceptJoin()
	until[*Gap](t, ch)
}

func TestJoinsArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		for i := range 10 {
			ch, err := c.Channel(fmt.Sprint(i), ChannelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := ch.Subscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p := s.accept()
		first, second := p.expect(wire.EventJoin), p.expect(wire.EventJoin)
		pass(time.Second)
		synctest.Wait()
		if len(p.in) != 0 {
			t.Error("more than two joins without an answer")
		}
		p.replyJoin(first)
		p.replyJoin(second)
		took := after(func() {
			for range 8 {
				p.acceptJoin()
			}
		})
		if took != 7*50*time.Millisecond {
			t.Errorf("8 joins took %v, want 50 ms between them", took)
		}
	})
}

func TestManyGoroutinesUseOneClient(t *testing.T) {
	p := newProject(t, phxserver.Options{})
	c := p.client(t, quick())
	var wg sync.WaitGroup
	for i := range 8 {
		ch, err := c.Channel(fmt.Sprint(i%4, i), ChannelOptions{
			Changes: messages, Broadcast: BroadcastOptions{Ack: true, Self: true}, Presence: PresenceOptions{Enabled: true, Key: fmt.Sprint(i)},
			Token: func(context.Context) (string, error) { return "user", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range ch.Events() {
			}
		})
		for range 4 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				for n := range 20 {
					if err := ch.SendAck(ctx, "e", n); err != nil && !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					ch.Present()
					ch.Status()
				}
				if err := ch.Track(ctx, map[string]int{"n": 1}); err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := ch.Wait(t.Context(), StageLive); err != nil {
				t.Error(err)
			}
			p.commit("1", "x")
			ch.Rejoin(t.Context(), "test")
			if err := ch.Wait(t.Context(), StageLive); err != nil {
				t.Error(err)
			}
			ch.Leave(context.Background())
		})
	}
	wg.Wait()
}

func TestAgainstAWholeServer(t *testing.T) {
	for _, versions := range [][2]Version{{V1, V1}, {V1, V2}, {V2, V2}} {
		t.Run(fmt.Sprint(versions[0], "-", versions[1]), func(t *testing.T) {
			p := newProject(t, phxserver.Options{})
			var channels [2]*Channel
			for i := range channels {
				o := quick()
				o.Version = versions[i]
				ch, err := p.client(t, o).Channel("room", ChannelOptions{
					Changes: messages, Private: true, Broadcast: BroadcastOptions{Ack: true}, Presence: PresenceOptions{Enabled: true, Key: fmt.Sprint("user", i)},
					Token: func(context.Context) (string, error) { return "authenticated", nil },
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := ch.Subscribe(t.Context()); err != nil {
					t.Fatal(err)
				}
				until[*Live](t, ch)
				channels[i] = ch
			}
			a, b := channels[0], channels[1]
			p.commit("9007199254740993", "hello")
			for _, ch := range channels {
				c := until[*Change](t, ch)
				row, err := DecodeRow[struct {
					ID   int64
					Body string
				}](c.Record)
				if err != nil || row.ID != 9007199254740993 || row.Body != "hello" || c.Type != Insert {
					t.Errorf("row %+v, %v", row, err)
				}
			}
			if err := a.SendAck(t.Context(), "typing", map[string]bool{"on": true}); err != nil {
				t.Fatal(err)
			}
			if m := until[*BroadcastMessage](t, b); m.Event != "typing" || strings.ReplaceAll(string(m.Payload), " ", "") != `{"on":true}` {
				t.Errorf("got %s %s", m.Event, m.Payload)
			}
			if err := a.Track(t.Context(), map[string]string{"name": "A"}); err != nil {
				t.Fatal(err)
			}
			if d := until[*PresenceDiff](t, b); len(d.Joins) != 1 || d.Joins[0].Key != "user0" || strings.ReplaceAll(string(d.Joins[0].Meta), " ", "") != `{"name":"A"}` {
				t.Errorf("presence %+v", d)
			}
			// An outage: what commits meanwhile is not delivered, and the Gap says so.
			before := time.Now()
			p.cut()
			for _, ch := range channels {
				if g := until[*Gap](t, ch); g.Since.After(time.Now()) || g.Since.Before(before.Add(-patience)) || g.Reason != GapReconnect {
					t.Errorf("gap %+v", g)
				}
				until[*Live](t, ch)
			}
			p.commit("2", "again")
			until[*Change](t, b)
		})
	}
}

func TestPrivateChannelRefusedByPolicy(t *testing.T) {
	p := newProject(t, phxserver.Options{})
	o := quick()
	o.Backoff.SlowMax = time.Hour
	ch, err := p.client(t, o).Channel("room", ChannelOptions{Private: true, Token: func(context.Context) (string, error) { return "stranger", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := ch.Wait(t.Context(), StageLive); !errors.As(err, &e) || e.Class != Permanent || e.Code != "Unauthorized" {
		t.Errorf("Wait: %v", err)
	}
}

func TestErrorsNeverShowTheKey(t *testing.T) {
	const secret = "s3cr3t-key"
	for _, base := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1"} {
		o := quick()
		o.APIKey = secret
		c, err := NewClient(base, o)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := c.Channel("room", ChannelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := want[*Retrying](t, ch)
		if strings.Contains(r.Err.Error(), secret) {
			t.Errorf("error %v", r.Err)
		}
		if err := c.Publish(t.Context(), "", Publication{Topic: "t", Event: "e", Payload: 1}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
		c.Close(t.Context())
	}
}
