package phoenix

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// leftovers fails the test when the client holds on to anything beyond a connection
// at rest.
func leftovers(t *testing.T, c *Client) {
	t.Helper()
	c.call(context.Background(), func() {
		if n := len(c.channels); n != 0 {
			t.Errorf("%d channels left", n)
		}
		if n := len(c.joinLine); n != 0 {
			t.Errorf("%d channels in line to join", n)
		}
		alarms := len(c.agenda.queue)
		if cn := c.link.conn; cn != nil {
			if n := len(cn.pending); n != 0 {
				t.Errorf("%d pushes wait for replies", n)
			}
			if cn.joins != 0 {
				t.Errorf("%d joins counted as unanswered", cn.joins)
			}
			alarms -= 3 // heartbeat, pulse, unused connection
		}
		if alarms > 0 {
			t.Errorf("%d alarms left", alarms)
		}
	})
}

func TestTenThousandJoinsAndLeavesLeaveNothing(t *testing.T) {
	const workers = 50
	cycles := 200
	if testing.Short() {
		cycles = 20
	}
	p := newProject(t, phxserver.Options{})
	o := quick()
	o.JoinsInFlight = workers
	o.SendQueue = 4 * workers
	c := p.client(t, o)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range cycles {
				ch, err := c.Channel(fmt.Sprintf("room-%d", w), ChannelOptions{
					Changes: messages[:i%2], Queue: 8, Presence: PresenceOptions{Enabled: i%3 == 0},
					Token: func(context.Context) (string, error) { return "user", nil },
				})
				if err != nil {
					t.Error(err)
					return
				}
				if err := ch.Subscribe(context.Background()); err != nil {
					t.Error(err)
				}
				// Some leave while joining, some when live.
				if i%4 != 0 {
					if err := ch.Wait(context.Background(), StageLive); err != nil {
						t.Error(err)
					}
				}
				if err := ch.Leave(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	leftovers(t, c)
	// The connection's two goroutines here, and what the server has for it.
	settled(t, before+8)
}

// settled waits until no more than n goroutines run.
func settled(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for runtime.NumGoroutine() > n {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, want at most %d\n%s", runtime.NumGoroutine(), n, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

func TestAThousandReconnectsLeaveNothing(t *testing.T) {
	cycles := 1000
	if testing.Short() {
		cycles = 100
	}
	p := newProject(t, phxserver.Options{})
	o := quick()
	o.Backoff.Min, o.Backoff.Max = time.Nanosecond, time.Nanosecond
	o.JoinsInFlight = 10
	c := p.client(t, o)
	before := runtime.NumGoroutine()
	var channels []*Channel
	for i := range 3 {
		ch, err := c.Channel(fmt.Sprintf("room-%d", i), ChannelOptions{Changes: messages, Presence: PresenceOptions{Enabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Subscribe(t.Context()); err != nil {
			t.Fatal(err)
		}
		channels = append(channels, ch)
	}
	for range cycles {
		for _, ch := range channels {
			until[*Live](t, ch)
		}
		p.cut()
	}
	for _, ch := range channels {
		until[*Live](t, ch)
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	}
	leftovers(t, c)
	settled(t, before+8)
}

func TestLeaveDuringABackOffLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *script, o Options) {
		c := s.client(o)
		ch := s.channel(c, ChannelOptions{Changes: messages, MaxSilence: time.Hour, Presence: PresenceOptions{Enabled: true},
			Token: func(context.Context) (string, error) { return jwt("me", time.Hour), nil }})
		p := s.accept()
		join := live(t, p, ch)
		for range presenceCalls + 1 { // the last waits for its time
			go ch.Track(context.Background(), struct{}{})
			synctest.Wait()
			if len(p.in) > 0 {
				p.reply(<-p.in, "ok", `{}`)
			}
		}
		p.system(join, "system", "error", "Too many messages per second")
		p.closes(join)
		until[*Retrying](t, ch)
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		leftovers(t, c)
		if until[*Closed](t, ch).Err != nil {
			t.Error("Closed with an error after Leave")
		}
	})
}
