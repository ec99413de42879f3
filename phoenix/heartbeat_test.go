package phoenix

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestHeartbeatKeepsItsClockWhateverArrives(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		var beats []time.Duration
		start := time.Now()
		o.Hooks.Heartbeat = func(rtt time.Duration) { beats = append(beats, time.Since(start)) }
		ch := s.channel(s.client(o), ChannelOptions{Changes: messages})
		p := s.accept()
		join := live(t, p, ch)
		go func() {
			for m := range p.in {
				p.reply(m, "ok", `{}`)
			}
		}()
		for range 20 { // a busy stream for 100 s
			pass(5 * time.Second)
			p.insert(join.Topic, `{"id": 1}`, 100)
			want[*Change](t, ch)
		}
		synctest.Wait()
		if len(beats) != 4 && len(beats) != 3 {
			t.Fatalf("heartbeats at %v, want one every 25 s", beats)
		}
		for i, at := range beats {
			if at.Round(time.Second) != time.Duration(i+1)*25*time.Second {
				t.Errorf("heartbeat %d answered at %v", i, at)
			}
		}
	})
}

func TestUnansweredHeartbeatReconnects(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		took := after(func() {
			if l := want[*Lost](t, ch); !errors.Is(l.Err, errHeartbeat) {
				t.Errorf("lost by %v", l.Err)
			}
		})
		if took != 35*time.Second {
			t.Errorf("dead after %v, want 25 s + 10 s", took)
		}
		s.accept().acceptJoin()
	})
}

// A refused join is answered after 5 s and holds up everything else on the socket:
// four of them in a row make a heartbeat wait for longer than its timeout.
func TestJoinsThatBlockTheSocketDoNotKillTheHeartbeat(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		o.Backoff = Backoff{Min: time.Hour, Max: time.Hour, SlowMax: time.Hour}
		o.JoinTimeout = 12 * time.Second
		o.HeartbeatInterval = 2 * time.Second
		o.HeartbeatTimeout = 3 * time.Second
		var lost error
		o.Hooks.Disconnected = func(err error, _ time.Duration) { lost = err }
		c := s.client(o)
		for _, name := range []string{"a", "b", "c", "d"} {
			ch, err := c.Channel(name, ChannelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := ch.Subscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p := s.accept()
		// The server: one thing at a time, 5 s for each join.
		joins := 0
		for joins < 4 {
			m := p.nextAny()
			if m.Event == wire.EventJoin {
				joins++
				pass(5 * time.Second)
				p.reply(m, "error", `{"reason":"UnknownErrorOnChannel: x"}`)
				continue
			}
			p.reply(m, "ok", `{}`)
		}
		go func() {
			for m := range p.in {
				p.reply(m, "ok", `{}`)
			}
		}()
		pass(time.Minute)
		synctest.Wait()
		if lost != nil {
			t.Errorf("connection given up: %v", lost)
		}
	})
}

func TestJoinsIntoADeadConnectionDoNotKeepItAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		o.HeartbeatInterval = 5 * time.Second
		o.HeartbeatTimeout = 3 * time.Second
		c := s.client(o)
		for i := range 20 {
			ch, err := c.Channel(fmt.Sprint(i), ChannelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := ch.Subscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		p := s.accept() // says nothing, ever
		took := after(func() {
			for range p.in {
			}
		})
		if took != 15*time.Second {
			t.Errorf("given up after %v, want after the first join's 15 s", took)
		}
	})
}

func TestHeartbeatOfAnEarlierConnectionCannotEndALaterOne(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		beat := p.nextAny() // never answered
		if beat.Event != wire.EventHeartbeat {
			t.Fatalf("got %s", beat.Event)
		}
		pass(9 * time.Second)
		p.ws.NetConn().Close() // one second before the verdict
		until[*Lost](t, ch)
		p = s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		p.reply(beat, "ok", `{}`) // an answer to nothing
		pass(20 * time.Second)
		synctest.Wait()
		select {
		case ev := <-ch.Events():
			t.Errorf("%T %+v on the new connection", ev, ev)
		default:
		}
	})
}

// jumpClock is the system's clock with a wall time that can jump.
type jumpClock struct {
	systemClock
	mu   sync.Mutex
	jump time.Duration
}

func (c *jumpClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.jump)
}

func (c *jumpClock) leap(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jump += d
}

func TestClockJumpTestsTheConnectionAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		clock := &jumpClock{}
		o.Clock = clock
		o.HeartbeatInterval = time.Hour
		ch := s.channel(s.client(o), ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		pass(time.Minute)
		synctest.Wait()
		if len(p.in) != 0 {
			t.Fatalf("client sent %s without need", (<-p.in).Event)
		}
		clock.leap(20 * time.Minute) // the machine slept
		took := after(func() {
			if m := p.nextAny(); m.Event != wire.EventHeartbeat {
				t.Errorf("got %s", m.Event)
			}
		})
		if took > pulseInterval {
			t.Errorf("tested the connection after %v", took)
		}
		// Nobody answers: the peer went away meanwhile.
		if l := want[*Lost](t, ch); !errors.Is(l.Err, errHeartbeat) {
			t.Errorf("lost by %v", l.Err)
		}
	})
}

func TestQuotaAtTheHandshakeWaitsHalfOfTheLongestWaitAtLeast(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		refused := 0
		s.refuse = func(w http.ResponseWriter) bool {
			refused++
			if refused > 1 {
				return false
			}
			w.WriteHeader(http.StatusTooManyRequests)
			w.Write([]byte(`{"error":"Too many connected users"}`))
			return true
		}
		ch := s.channel(s.client(o), ChannelOptions{})
		// Half of Backoff.Max, and half of the other half.
		if took := after(func() { s.accept() }); took != 22500*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
		if r := want[*Retrying](t, ch); ClassOf(r.Err) != Slow || r.Delay < 15*time.Second {
			t.Errorf("retrying %+v", r)
		}
	})
}

func TestSilentFeedRejoinsWhileHeartbeatsGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{Changes: messages, MaxSilence: 2 * time.Minute})
		p := s.accept()
		join := live(t, p, ch)
		go func() {
			for m := range p.in {
				switch m.Event {
				case wire.EventJoin:
					p.replyJoin(m)
					p.subscribed(m)
				default:
					p.reply(m, "ok", `{}`)
				}
			}
		}()
		pass(90 * time.Second)
		p.insert(join.Topic, `{"id": 1}`, 100)
		change := want[*Change](t, ch)
		pass(119 * time.Second)
		synctest.Wait()
		if len(ch.Events()) != 0 {
			t.Fatalf("%T before two minutes of silence", <-ch.Events())
		}
		want[*Lost](t, ch)
		want[*Joined](t, ch)
		if g := want[*Gap](t, ch); g.Reason != GapSilence || !g.Since.Equal(change.Received) {
			t.Errorf("gap %+v, want since %v", g, change.Received)
		}
		want[*Live](t, ch)
	})
}
