package phoenix

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestWaitEndsWithItsContextAndTellsWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		ch := s.channel(s.client(o), ChannelOptions{})
		p := s.accept()
		p.reply(p.expect(wire.EventJoin), "error", `{"reason":"DatabaseLackOfConnections: x"}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ch.Wait(ctx, StageJoined); !errors.Is(err, context.DeadlineExceeded) || ClassOf(err) != Slow {
			t.Errorf("Wait: %v", err)
		}
		done := make(chan error, 1)
		go func() { done <- ch.Wait(context.Background(), StageLive) }()
		synctest.Wait()
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Wait for a channel that is left: %v", err)
		}
	})
}

func TestLeaveThatIsNotAnsweredEndsInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		p := (*peer)(nil)
		for _, tt := range []struct{ limit, want time.Duration }{{2 * time.Second, 2 * time.Second}, {time.Hour, 15 * time.Second}} {
			ch := s.channel(c, ChannelOptions{})
			if p == nil {
				p = s.accept()
			}
			p.acceptJoin()
			until[*Live](t, ch)
			ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
			var err error
			took := after(func() { err = ch.Leave(ctx) })
			cancel()
			p.expect(wire.EventLeave)
			if took != tt.want || (err != nil) != (tt.limit == tt.want) {
				t.Errorf("Leave within %v took %v: %v", tt.limit, took, err)
			}
			want[*Closed](t, ch)
		}
	})
}

// stuckConn is a connection whose writes hang once it is stuck.
type stuckConn struct {
	net.Conn
	stuck  atomic.Bool
	closed chan struct{}
}

func (c *stuckConn) Write(b []byte) (int, error) {
	if c.stuck.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *stuckConn) Close() error {
	err := c.Conn.Close()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return err
}

func TestSendQueueIsBoundedAndAStuckSocketGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		var conns []*stuckConn
		dial := o.Dialer.(*websocket.Dialer).NetDialContext
		o.Dialer = &websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			conns = append(conns, &stuckConn{Conn: c, closed: make(chan struct{})})
			return conns[len(conns)-1], nil
		}}
		o.SendQueue = 2
		ch := s.channel(s.client(o), ChannelOptions{})
		p := s.accept()
		p.acceptJoin()
		until[*Live](t, ch)
		conns[0].stuck.Store(true)
		var errs []error
		for range 4 { // one at the writer, two in the queue
			errs = append(errs, ch.Send(t.Context(), "e", 1))
			synctest.Wait()
		}
		if !slices.Equal(errs, []error{nil, nil, nil, ErrQueueFull}) {
			t.Errorf("sends: %v", errs)
		}
		// The heartbeat finds no room either: the socket is as good as dead.
		if l := want[*Lost](t, ch); !errors.Is(l.Err, ErrQueueFull) {
			t.Errorf("lost by %v", l.Err)
		}
		s.accept().acceptJoin()
		until[*Live](t, ch)
	})
}

func TestAbandonedSendsLeaveNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{Broadcast: BroadcastOptions{Ack: true}, Presence: PresenceOptions{Enabled: true}})
		p := s.accept()
		join := p.expect(wire.EventJoin)
		for _, f := range []func(context.Context) error{
			func(ctx context.Context) error { return ch.SendAck(ctx, "e", 1) },
			func(ctx context.Context) error { return ch.Track(ctx, struct{}{}) },
			func(ctx context.Context) error { return ch.Push(ctx, "own", nil, true) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("before the join: %v", err)
			}
			cancel()
		}
		p.replyJoin(join)
		until[*Live](t, ch)
		// What was given up is not sent, except for the presence that still holds.
		p.reply(p.expect(wire.EventPresence), "ok", `{}`)
		go func() {
			for range p.in { // answers nothing
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ch.Push(ctx, "own", []int{1}, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Push: %v", err)
		}
		synctest.Wait()
		c.call(t.Context(), func() {
			if len(ch.waiting) != 0 || len(c.link.conn.pending) != 0 || len(ch.presence.waiters) != 0 {
				t.Errorf("%d sends wait for the join, %d for replies, %d for presence", len(ch.waiting), len(c.link.conn.pending), len(ch.presence.waiters))
			}
		})
	})
}

func TestLogsTellStagesAndNoSecrets(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		var log bytes.Buffer
		o.APIKey = "KEY-secret"
		o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{Changes: messages, Token: func(context.Context) (string, error) { return "TOKEN-secret", nil }})
		p := s.accept()
		join := live(t, p, ch)
		p.insert(join.Topic, `{"id": "BODY-secret"}`, 100)
		p.insert(join.Topic, `{"id": "BODY-secret"}`, 999)
		p.write(websocket.TextMessage, []byte(`[null,null,"realtime:room","broadcast",{BODY-secret]`))
		p.ws.NetConn().Close()
		until[*Retrying](t, ch)
		p = s.accept()
		p.reply(p.expect(wire.EventJoin), "error", `{"reason":"JwtSignatureError: Failed to validate JWT signature"}`)
		until[*Retrying](t, ch)
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		c.call(t.Context(), func() {
			for _, must := range []string{"realtime connected", "realtime channel live", "realtime disconnected", "JwtSignatureError", "topic=room"} {
				if !strings.Contains(log.String(), must) {
					t.Errorf("log lacks %q", must)
				}
			}
			if strings.Contains(log.String(), "secret") {
				t.Errorf("log tells a secret:\n%s", log.String())
			}
		})
	})
}

func TestErrorsSayWhatWasAttemptedOnWhat(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{joinError("realtime:room", "InvalidJWTToken: Token has expired 5 seconds ago"), "realtime join realtime:room: InvalidJWTToken: Token has expired 5 seconds ago"},
		{&Error{Op: OpConnect, Status: 429, Reason: "Too many connected users", Class: Slow}, "realtime connect: status 429: Too many connected users"},
		{linkError(&websocket.CloseError{Code: 1012, Text: "bye"}), "realtime link: status 1012: bye"},
		{tokenError("realtime:room", errors.New("auth is down")), "realtime token realtime:room: auth is down"},
		{&SystemError{Extension: "system", Message: "Too many messages per second"}, "realtime system: Too many messages per second"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if c := ClassOf(errors.New("x")); c != Retry {
		t.Errorf("class of an ordinary error %s", c)
	}
}

func TestBackoffGrowsWithFullJitterWithinItsBounds(t *testing.T) {
	b := Backoff{}.withDefaults()
	for _, tt := range []struct {
		class     Class
		n         int
		low, high time.Duration
	}{
		{Retry, 0, 0, time.Second}, {Retry, 3, 0, 8 * time.Second}, {Retry, 60, 0, 30 * time.Second}, {Token, 0, 0, time.Second},
		{Slow, 0, 30 * time.Second, time.Minute}, {Slow, 9, 30 * time.Second, 5 * time.Minute}, {OtherSocket, 1, 30 * time.Second, 2 * time.Minute},
		{Permanent, 0, 150 * time.Second, 5 * time.Minute},
	} {
		if low, high := b.delay(tt.class, tt.n, 0), b.delay(tt.class, tt.n, 1); low != tt.low || high != tt.high {
			t.Errorf("%s after %d: %v to %v, want %v to %v", tt.class, tt.n, low, high, tt.low, tt.high)
		}
	}
}
