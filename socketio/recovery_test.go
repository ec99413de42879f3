package socketio_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// recovering serves a server with recovery, whose clients join rooms by an event.
func recovering(t *testing.T, r socketio.Recovery) (*socketio.Server, string) {
	t.Helper()
	r.Enabled = true
	io, url := serve(t, socketio.Options{Recovery: r})
	io.On("join", func(e *socketio.Event) {
		var room string
		if e.Decode(0, &room) == nil {
			e.Socket.Join(room)
		}
	})
	syncable(io)
	return io, url
}

// offsetOf returns the offset that an event carries.
func offsetOf(t *testing.T, message string) string {
	t.Helper()
	var args []json.RawMessage
	var offset string
	if err := json.Unmarshal([]byte(strings.TrimPrefix(message, "42")), &args); err != nil || len(args) == 0 {
		t.Fatalf("%s: %v", message, err)
	}
	if err := json.Unmarshal(args[len(args)-1], &offset); err != nil {
		t.Fatalf("%s: %v", message, err)
	}
	return offset
}

// news reads an event and returns its first value.
func (c *client) news() (value, message string) {
	c.t.Helper()
	m := c.read()
	var args []json.RawMessage
	if err := json.Unmarshal([]byte(strings.TrimPrefix(m, "42")), &args); err != nil || len(args) < 3 {
		c.t.Fatalf("got %s", m)
	}
	return string(args[1]), m
}

func claim(pid, offset string) string {
	if offset == "" {
		return fmt.Sprintf(`{"pid":%q}`, pid)
	}
	return fmt.Sprintf(`{"pid":%q,"offset":%q}`, pid, offset)
}

func TestReturningClientGetsWhatItMissedInOrder(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{})
	seen := make(chan *socketio.Socket, 4)
	io.OnConnection(func(s *socketio.Socket) { seen <- s })
	c, sid, pid := connect(t, url, "")
	s := receive(t, "socket", seen)
	s.SetData("mine")
	c.send(`42["join","a"]`)
	c.sync()
	_ = io.To("a").Emit("news", 1)
	_, m := c.news()
	_ = c.ws.Close()
	waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	_ = io.To("a").Emit("news", 2)
	_ = io.To("b").Emit("news", 99)
	_ = io.To("a", sid).Emit("news", 3)
	_ = io.Emit("news", 4)
	_ = io.To("a").Except(sid).Emit("news", 99)
	_ = io.Volatile().Emit("news", 99)
	_ = io.To(sid).Emit("news", 5)
	if err := s.Emit("news", 6); err != nil {
		t.Errorf("emit to a client that may come back: %v", err)
	}
	d := dial(t, url, "40"+claim(pid, offsetOf(t, m)))
	// First: what comes before it a client counts as received only after it.
	if sid2, pid2 := d.welcome(); sid2 != sid || pid2 != pid {
		t.Errorf("came back as %s %s, was %s %s", sid2, pid2, sid, pid)
	}
	for _, want := range []string{"2", "3", "4", "5", "6"} {
		if got, _ := d.news(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	s2 := receive(t, "recovered socket", seen)
	if !s2.Recovered() || s2.Data() != "mine" || !s2.In("a") || s2.ID() != sid {
		t.Errorf("recovered %v, data %v, rooms %v", s2.Recovered(), s2.Data(), s2.Rooms())
	}
	_ = io.To("a").Emit("news", 7)
	if got, _ := d.news(); got != "7" {
		t.Errorf("after the return: %s", got)
	}
	if err := s.Emit("news", 8); err != nil { // by the old socket
		t.Error(err)
	}
	if got, _ := d.news(); got != "8" {
		t.Errorf("by the old socket: %s", got)
	}
}

func TestReturningClientTakesTheOldConnectionsPlace(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{})
	ends := make(chan string, 4)
	io.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(reason string) { ends <- reason }) })
	c, sid, pid := connect(t, url, "")
	c.send(`42["join","a"]`)
	c.sync()
	_ = io.To("a").Emit("news", 1) // lost on its way, for all the client knows
	for range 3 {
		d := dial(t, url, "40"+claim(pid, ""))
		if sid2, _ := d.welcome(); sid2 != sid {
			t.Fatalf("came back as %s, was %s", sid2, sid)
		}
		if got, _ := d.news(); got != "1" {
			t.Errorf("got %s", got)
		}
		if reason := receive(t, "end of the old socket", ends); reason != socketio.ReasonTransportClose {
			t.Errorf("old socket ended by %s", reason)
		}
		d.sync()
		if n := io.SocketsCount(); n != 1 {
			t.Errorf("%d sockets", n)
		}
	}
}

func TestNobodyElseAndNothingIncompleteIsRecovered(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{MaxPackets: 10})
	syncable(io)
	gone := func() (sid, pid, offset string) {
		c, sid, pid := connect(t, url, "")
		c.send(`42["join","a"]`)
		c.sync()
		_ = io.To("a").Emit("news", 1)
		_, m := c.news()
		_ = c.ws.Close()
		waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
		return sid, pid, offsetOf(t, m)
	}
	refuse := func(what, auth, sid string) {
		t.Helper()
		d := dial(t, url, "40"+auth)
		if got, _ := d.welcome(); got == sid {
			t.Errorf("%s: recovered", what)
		}
		d.send("41")
		waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	}
	sid, pid, offset := gone()
	refuse("the public id", claim(sid, offset), sid)
	refuse("an unknown offset", claim(pid, "nope!"), sid)
	refuse("an offset of the future", claim(pid, "zzzzzz"), sid)
	refuse("a pid that is no string", `{"pid":{"a":1}}`, sid)

	sid, pid, offset = gone()
	for range 11 {
		_ = io.To("a").Emit("news", 2)
	}
	refuse("more than is kept", claim(pid, offset), sid)

	c, sid, pid := connect(t, url, "")
	c.send("41")
	waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	refuse("a client that took leave", claim(pid, ""), sid)
}

// What is dropped from the log because others were busy must not cost an idle client its session.
func TestIdleClientIsRecoveredHoweverOldItsOffset(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{MaxPackets: 10})
	busy, _, _ := connect(t, url, "")
	busy.send(`42["join","busy"]`)
	busy.sync()
	c, sid, pid := connect(t, url, "")
	for i := range 50 {
		_ = io.To("busy").Emit("news", i)
	}
	_ = c.ws.Close()
	d := dial(t, url, "40"+claim(pid, ""))
	if got, _ := d.welcome(); got != sid {
		t.Error("not recovered")
	}
}

func TestMiddlewareIsAskedAgainUnlessSkipped(t *testing.T) {
	for _, skip := range []bool{false, true} {
		io, url := recovering(t, socketio.Recovery{SkipMiddleware: skip})
		io.Use(func(s *socketio.Socket) error {
			if s.Recovered() {
				return errors.New("expired")
			}
			return nil
		})
		c, sid, pid := connect(t, url, "")
		_ = c.ws.Close()
		d := dial(t, url, "40"+claim(pid, ""))
		if skip {
			if got, _ := d.welcome(); got != sid {
				t.Error("not recovered")
			}
			continue
		}
		d.expect(`44{"message":"expired"}`)
	}
}

func TestSessionsExpire(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{MaxDisconnection: 20 * time.Millisecond})
	c, sid, pid := connect(t, url, "")
	c.send(`42["join","a"]`)
	c.sync()
	_ = c.ws.Close()
	expired := time.After(60 * time.Millisecond)
	waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	<-expired
	d := dial(t, url, "40"+claim(pid, ""))
	if got, _ := d.welcome(); got == sid {
		t.Error("recovered after its time")
	}
}

func TestMiddlewareMayDeclineToRecover(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{})
	var stranger atomic.Bool
	seen := make(chan bool, 2)
	io.Use(func(s *socketio.Socket) error {
		if stranger.Load() {
			seen <- s.Recovered()
			s.DeclineRecovery()
		}
		return nil
	})
	io.OnConnection(func(s *socketio.Socket) {
		if stranger.Load() {
			seen <- s.Recovered()
		}
	})
	c, sid, pid := connect(t, url, "")
	c.send(`42["join","a"]`)
	c.sync()
	_ = c.ws.Close()
	waitUntil(t, "the client is away", func() bool { return io.SocketsCount() == 0 })
	if err := io.To("a").Emit("secret"); err != nil {
		t.Fatal(err)
	}
	stranger.Store(true)
	d := dial(t, url, "40"+claim(pid, ""))
	newSID, newPID := d.welcome()
	if newSID == sid || newPID == pid {
		t.Errorf("ids %s and %s were given again", newSID, newPID)
	}
	if !receive(t, "middleware", seen) {
		t.Error("the middleware is not told that the client wants its socket back")
	}
	if receive(t, "connection", seen) {
		t.Error("the socket counts as recovered")
	}
	if rooms := io.Socket(newSID).Rooms(); !slices.Equal(rooms, []string{newSID}) {
		t.Errorf("rooms %v", rooms)
	}
	d.sync() // and nothing after it
}

// The client comes back by itself and is recovered: to it the network has failed.
func TestClosingTheConnectionTakesNoLeave(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{})
	ends := make(chan string, 1)
	io.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(reason string) { ends <- reason }) })
	io.On("cut", func(e *socketio.Event) {
		_ = e.Socket.Emit("last")
		e.Socket.CloseConnection()
	})
	c, sid, pid := connect(t, url, "")
	c.send(`42["cut"]`)
	if m := c.read(); !strings.HasPrefix(m, `42["last"`) {
		t.Errorf("got %s", m)
	}
	c.expectEnd() // without a disconnect packet
	_ = c.ws.Close()
	if reason := receive(t, "end", ends); reason != socketio.ReasonForcedClose {
		t.Errorf("reason %q", reason)
	}
	d := dial(t, url, "40"+claim(pid, ""))
	if got, _ := d.welcome(); got != sid {
		t.Error("not recovered")
	}
	if m := d.read(); !strings.HasPrefix(m, `42["last"`) {
		t.Errorf("got %s, want what it has not claimed to have", m)
	}
}

func TestALostSocketEntersAndLeavesRoomsUntilItCannotComeBack(t *testing.T) {
	io, url := recovering(t, socketio.Recovery{})
	seen := make(chan *socketio.Socket, 4)
	io.OnConnection(func(s *socketio.Socket) { seen <- s })
	c, _, pid := connect(t, url, "")
	s := receive(t, "socket", seen)
	s.Join("left")
	_ = c.ws.Close()
	waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	s.Join("entered", "entered")
	s.Leave("left")
	if !s.In("entered") || s.In("left") {
		t.Errorf("while it is away: in the room it entered %t, in the one it left %t", s.In("entered"), s.In("left"))
	}
	_ = io.To("left").Emit("news", 99)
	_ = io.To("entered").Emit("news", 1)
	d := dial(t, url, "40"+claim(pid, ""))
	d.welcome()
	if got, _ := d.news(); got != "1" {
		t.Errorf("got %s, want what was sent to the room entered", got)
	}
	s.Join("later") // by the old socket
	again := receive(t, "recovered socket", seen)
	if !again.In("entered") || again.In("left") || !again.In("later") || !s.In("later") {
		t.Errorf("back in %v", again.Rooms())
	}
	again.Disconnect(true)
	waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
	s.Join("never")
	if s.In("never") || s.In("entered") || len(io.Rooms()) != 0 {
		t.Errorf("a socket that can't come back is in rooms: %v", io.Rooms())
	}
}

// By polling, what was missed comes before the welcome, as from Node, where all is sure to be in one
// answer; else the welcome comes first.
func TestWhatWasMissedIsNeverSplitFromAWelcomeBehindIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		size  int
		first string
	}{"little": {10, `42["news"`}, "much": {4000, `40{"sid"`}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			io, url := recovering(t, socketio.Recovery{})
			c, _, pid := connect(t, url, "")
			c.send(`42["join","a"]`)
			c.sync()
			_ = io.To("a").Emit("news", 0)
			_, m := c.news()
			_ = c.ws.Close()
			waitUntil(t, "it is gone", func() bool { return io.SocketsCount() == 0 })
			for n := range 20 {
				_ = io.To("a").Emit("news", n+1, strings.Repeat("x", test.size))
			}
			p := open(t, url)
			p.post("40" + claim(pid, offsetOf(t, m)))
			body, _ := p.get()
			if packets := strings.Split(body, "\x1e"); !strings.HasPrefix(packets[0], test.first) || len(packets) != 21 {
				t.Errorf("%d packets, the first is %.20q, want 21 and %q", len(packets), packets[0], test.first)
			}
		})
	}
}
