package socketio_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/socketio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on which the tests' clients connect.
func serve(t *testing.T, o socketio.Options) (*socketio.Server, string) {
	t.Helper()
	io := socketio.NewServer(o)
	return io, listen(t, io)
}

// listen lets clients reach the server, and returns the URL for websockets.
func listen(t testing.TB, io *socketio.Server) string {
	h := httptest.NewServer(io)
	t.Cleanup(func() {
		io.Close()
		h.Close()
	})
	return strings.Replace(h.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
}

// client speaks the protocol by hand.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

// dial opens a connection and sends the packets given, usually a Connect.
func dial(t *testing.T, url string, packets ...string) *client {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	c := &client{t, ws}
	c.read() // open
	for _, p := range packets {
		c.send(p)
	}
	return c
}

// connect opens a connection to the main namespace and returns the ids it was given.
func connect(t *testing.T, url, auth string) (c *client, sid, pid string) {
	t.Helper()
	c = dial(t, url, "40"+auth)
	sid, pid = c.welcome()
	return c, sid, pid
}

func (c *client) welcome() (sid, pid string) {
	c.t.Helper()
	var v struct{ SID, PID string }
	if m := c.read(); !strings.HasPrefix(m, "40") || json.Unmarshal([]byte(m[2:]), &v) != nil {
		c.t.Fatalf("got %s, want a connect packet", m)
	}
	return v.SID, v.PID
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) sendBytes(b ...byte) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next message that is not a ping.
func (c *client) read() string {
	c.t.Helper()
	m, err := c.tryRead()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) tryRead() (string, error) {
	if err := c.ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	for {
		_, b, err := c.ws.ReadMessage()
		if err != nil {
			return "", err
		}
		if string(b) != "2" {
			return string(b), nil
		}
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte("3")); err != nil {
			return "", err
		}
	}
}

func (c *client) expect(messages ...string) {
	c.t.Helper()
	for _, want := range messages {
		if got := c.read(); got != want {
			c.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func (c *client) expectEnd() {
	c.t.Helper()
	if m, err := c.tryRead(); err == nil {
		c.t.Fatalf("got %s, want the connection's end", m)
	}
}

// sync makes sure that everything sent to the server before has been handled.
func (c *client) sync() {
	c.t.Helper()
	c.send(`42999["sync"]`)
	c.expect(`43999[]`)
}

// syncable has a server answer sync.
func syncable(io *socketio.Server) { io.On("sync", func(e *socketio.Event) { e.Ack() }) }

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func waitUntil(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !f() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// record collects what handlers see.
type record[T any] struct {
	mu   sync.Mutex
	list []T
}

func (r *record[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, v)
}

func (r *record[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func TestHandshakeShowsWhatTheClientSaid(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	got := make(chan *socketio.Handshake, 1)
	io.OnConnection(func(s *socketio.Socket) { got <- s.Handshake() })
	connect(t, url+"&token=abc&x=1&x=2", `{"user":"ü"}`)
	h := receive(t, "handshake", got)
	if string(h.Auth) != `{"user":"ü"}` || h.Query["token"] != "abc" || h.Query["x"] != "1" ||
		h.Header.Get("Connection") != "Upgrade" || !strings.HasPrefix(h.URL, "/socket.io/?") || h.RemoteAddr == "" || h.Secure {
		t.Errorf("got %+v", h)
	}
	connect(t, url, "")
	if h = receive(t, "second handshake", got); string(h.Auth) != "{}" {
		t.Errorf("auth of a client that gave none: %s", h.Auth)
	}
}

func TestMiddlewareRefusesWithMessageAndData(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	io.Use(func(s *socketio.Socket) error {
		if s.Handshake().Query["data"] != "" {
			return &socketio.ConnectError{Message: "no", Data: map[string]any{"code": 7}}
		}
		return nil
	})
	io.Use(func(s *socketio.Socket) error { return fmt.Errorf("second %s", "<says no>") })
	io.OnConnection(func(*socketio.Socket) { t.Error("connected") })
	dial(t, url+"&data=1", "40").expect(`44{"message":"no","data":{"code":7}}`)
	dial(t, url, "40").expect(`44{"message":"second <says no>"}`)
}

func TestUnknownNamespaceIsRefused(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	io.Of("/chat").OnConnection(func(s *socketio.Socket) { _ = s.Emit("hi") })
	c := dial(t, url, "40/random", "40/chat,")
	c.expect(`44/random,{"message":"Invalid namespace"}`)
	if m := c.read(); !strings.HasPrefix(m, `40/chat,{"sid":"`) {
		t.Fatalf("got %s", m)
	}
	c.expect(`42/chat,["hi"]`)
}

func TestConnectionsThatBreakTheProtocolAreClosed(t *testing.T) {
	_, url := serve(t, socketio.Options{MaxAttachments: 2})
	for _, packets := range [][]string{
		{"4abc"}, {`42["x"]`}, {"40", "40"}, {"40", "42{}"}, {"40", `42abc["x"]`}, {"40", `42["disconnect"]`}, {"40", `44{"message":"x"}`},
		{"40", `453-["x"]`}, {"40", `451-["x",{"_placeholder":true,"num":0}]`, `42["y"]`},
	} {
		c := dial(t, url, packets...)
		for {
			m, err := c.tryRead()
			if err != nil {
				break
			}
			if !strings.HasPrefix(m, "40") {
				t.Errorf("%q: answered %s", packets, m)
			}
		}
	}
}

func TestConnectionWithoutNamespaceIsClosedAfterConnectTimeout(t *testing.T) {
	_, url := serve(t, socketio.Options{ConnectTimeout: 20 * time.Millisecond})
	dial(t, url).expectEnd()
}

func TestEventsAndAcksGoBothWays(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	io.OnConnection(func(s *socketio.Socket) {
		s.On("sum", func(e *socketio.Event) {
			var a, b int
			if e.Decode(0, &a) != nil || e.Decode(1, &b) != nil || !e.WantsAck() {
				t.Errorf("got %s", e.Args)
			}
			if !e.Ack(a+b, "ok", nil, []string{"<x>"}) || e.Ack("again") {
				t.Error("want one ack, and only one")
			}
		})
		s.On("no ack", func(e *socketio.Event) {
			if e.Ack("unasked") {
				t.Error("acknowledged without being asked")
			}
			_ = s.Emit("done", json.RawMessage(`{"raw" : 1}`), struct {
				A string `json:"a"`
			}{"<&>"}, 1.5, true)
		})
	})
	c, _, _ := connect(t, url, "")
	c.send(`4212["sum",1,2]`)
	c.expect(`4312[3,"ok",null,["<x>"]]`)
	c.send(`42["no ack"]`)
	c.expect(`42["done",{"raw" : 1},{"a":"<&>"},1.5,true]`)
}

func TestHandlerMayWaitForTheClientsAck(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	io.On("ask me", func(e *socketio.Event) {
		args, err := e.Socket.EmitWithAck(t.Context(), "question", 42)
		if err != nil || len(args) != 1 || string(args[0]) != `"answer"` {
			t.Errorf("got %s, %v", args, err)
		}
		e.Ack("thanks")
	})
	c, _, _ := connect(t, url, "")
	c.send(`421["ask me"]`)
	c.expect(`420["question",42]`)
	c.send(`430["answer"]`)
	c.expect(`431["thanks"]`)
}

func TestWaitingForAnAckEndsWithTheContextOrTheClient(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	sockets := make(chan *socketio.Socket, 1)
	io.OnConnection(func(s *socketio.Socket) { sockets <- s })
	c, _, _ := connect(t, url, "")
	s := receive(t, "socket", sockets)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.EmitWithAck(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	got := make(chan error, 2)
	go func() {
		_, err := s.EmitWithAck(t.Context(), "y")
		got <- err
	}()
	if _, err := s.EmitFunc(func(_ *socketio.Reply, err error) { got <- err }, "z"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.read()
	}
	_ = c.ws.Close()
	for range 2 {
		if err := receive(t, "end of the wait", got); !errors.Is(err, socketio.ErrDisconnected) {
			t.Errorf("got %v", err)
		}
	}
	if err := s.Emit("late"); !errors.Is(err, socketio.ErrDisconnected) {
		t.Errorf("emit to a client that has gone: %v", err)
	}
	if err := s.Emit("connect"); !errors.Is(err, socketio.ErrReservedEvent) {
		t.Errorf("reserved name: %v", err)
	}
	if err := s.Emit("x", func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestBytesTravelAsAttachments(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	io.On("echo", func(e *socketio.Event) { _ = e.Socket.Emit("echoed", e.Values()...) })
	io.On("decode", func(e *socketio.Event) {
		var v struct{ File []byte }
		if err := e.Decode(1, &v); err != nil || !bytes.Equal(v.File, []byte{4, 5}) || !bytes.Equal(e.Bytes(0), []byte{1, 2, 3}) || e.Bytes(1) != nil {
			t.Errorf("got %v %v, %v", v, e.Bytes(0), err)
		}
		e.Ack([]byte{9}, map[string]any{"b": []any{[]byte{8}, 1}, "a": 2})
	})
	c, _, _ := connect(t, url, "")
	text := `["echoed",{"_placeholder":true,"num":0},{"k":[{"_placeholder":true,"num":1}]},"x"]`
	c.send(`452-` + strings.Replace(text, "echoed", "echo", 1))
	c.sendBytes(1, 2, 3)
	c.sendBytes()
	c.expect(`452-`+text, "\x01\x02\x03", "")
	c.send(`452-5["decode",{"_placeholder":true,"num":0},{"file":{"_placeholder":true,"num":1}}]`)
	c.sendBytes(1, 2, 3)
	c.sendBytes(4, 5)
	c.expect(`462-5[{"_placeholder":true,"num":0},{"a":2,"b":[{"_placeholder":true,"num":1},1]}]`, "\x09", "\x08")
}

func TestOrderOfHandlers(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	var log record[string]
	note := func(s string) func(*socketio.Event) {
		return func(e *socketio.Event) { log.add(s + " " + e.Name) }
	}
	io.OnAny(note("any of namespace"))
	io.On("x", note("namespace"))
	io.OnConnection(func(s *socketio.Socket) {
		s.Use(func(e *socketio.Event) error {
			if e.Name == "forbidden" {
				return errors.New("no")
			}
			return nil
		})
		s.On("x", note("first"))
		s.On("x", note("second"))
		s.OnAny(note("any"))
	})
	syncable(io)
	c, _, _ := connect(t, url, "")
	c.send(`42["forbidden"]`)
	c.send(`42["x"]`)
	c.sync()
	want := []string{"any of namespace x", "any x", "namespace x", "first x", "second x", "any of namespace sync", "any sync"}
	if got := log.all(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHandlerThatBlocksHoldsUpOnlyItsOwnClient(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	release := make(chan struct{})
	var handled record[int]
	io.On("block", func(e *socketio.Event) { <-release })
	io.On("n", func(e *socketio.Event) {
		var n int
		_ = e.Decode(0, &n)
		handled.add(n)
	})
	syncable(io)
	for range 20 {
		b, _, _ := connect(t, url, "")
		b.send(`42["block"]`)
	}
	c, _, _ := connect(t, url, "")
	c.sync()
	close(release)
	for i := range 100 {
		c.send(fmt.Sprintf(`42["n",%d]`, i))
	}
	c.sync()
	if got := handled.all(); len(got) != 100 || !slices.IsSorted(got) {
		t.Errorf("handled in the order %v", got)
	}
}

func TestClientThatSendsFasterThanItsHandlerWorksIsHeldUpNotDropped(t *testing.T) {
	io, url := serve(t, socketio.Options{MaxBacklog: 4})
	release := make(chan struct{})
	var n atomic.Int64
	io.On("n", func(*socketio.Event) {
		<-release
		n.Add(1)
	})
	syncable(io)
	c, _, _ := connect(t, url, "")
	for range 200 {
		c.send(`42["n"]`)
	}
	close(release)
	c.sync()
	if n.Load() != 200 {
		t.Errorf("%d of 200 handled", n.Load())
	}
}

func TestBroadcastReachesEachSocketOnceAndNoOther(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	syncable(io)
	io.On("join", func(e *socketio.Event) {
		var rooms []string
		_ = e.Decode(0, &rooms)
		e.Socket.Join(rooms...)
	})
	io.On("leave", func(e *socketio.Event) { e.Socket.Leave("a") })
	var clients [4]*client
	var ids [4]string
	for i, rooms := range []string{`["a"]`, `["a","b"]`, `["b","c"]`, `[]`} {
		clients[i], ids[i], _ = connect(t, url, "")
		clients[i].send(`42["join",` + rooms + `]`)
		clients[i].sync()
	}
	self := io.Socket(ids[1])
	for _, tc := range []struct {
		name   string
		target *socketio.Target
		want   []int
	}{
		{"a room", io.To("a"), []int{0, 1}},
		{"a union", io.To("a", "b"), []int{0, 1, 2}},
		{"a room named twice", io.To("a").To("a"), []int{0, 1}},
		{"an exception", io.To("a", "b").Except("c"), []int{0, 1}},
		{"everybody", io.To(), []int{0, 1, 2, 3}},
		{"everybody but", io.Except("a", ids[3]), []int{2}},
		{"a socket's id and its room", io.To(ids[0], "a", ids[0]), []int{0, 1}},
		{"the others of a room", self.To("a", "b"), []int{0, 2}},
		{"all others", self.Broadcast(), []int{0, 2, 3}},
		{"nobody", io.To("empty"), nil},
	} {
		if err := tc.target.Emit("news", tc.name); err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			if slices.Contains(tc.want, i) {
				if got := c.read(); got != `42["news","`+tc.name+`"]` {
					t.Errorf("%s: client %d got %s", tc.name, i, got)
				}
			}
			c.sync() // nothing else has come
		}
	}
	clients[1].send(`42["leave"]`)
	clients[1].sync()
	if got := io.Rooms(); got["a"] != 1 || got["b"] != 2 || got["c"] != 1 || len(got) != 3 {
		t.Errorf("rooms %v", got)
	}
	io.To("b").Join("d")
	io.To("c").Leave("b")
	if got := io.To("d").Sockets(); len(got) != 2 || !self.In("d") || self.In("c") || !slices.Equal(self.Rooms(), []string{ids[1], "b", "d"}) {
		t.Errorf("%d in d; rooms of one: %v", len(got), self.Rooms())
	}
	io.To("d").Disconnect(true)
	clients[1].expect("41")
	clients[1].expectEnd()
	clients[2].expect("41")
	waitUntil(t, "they are gone", func() bool { return io.SocketsCount() == 2 && len(io.Rooms()) == 1 })
}

func TestDisconnectHasAReasonAndEndsTheContext(t *testing.T) {
	io, url := serve(t, socketio.Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond})
	type end struct {
		reason string
		rooms  int
	}
	ends := make(chan end, 1)
	io.OnConnection(func(s *socketio.Socket) {
		s.Join("room")
		s.OnDisconnect(func(reason string) {
			<-s.Context().Done()
			ends <- end{reason, len(s.Rooms())}
		})
		s.On("leave", func(*socketio.Event) { s.Disconnect(false) })
		s.On("close", func(*socketio.Event) { s.Disconnect(true) })
		s.On("wait", func(*socketio.Event) { <-s.Context().Done() })
	})
	for _, tc := range []struct {
		do     func(c *client)
		reason string
	}{
		{func(c *client) { c.send("41") }, socketio.ReasonClientDisconnect},
		{func(c *client) { c.send(`42["leave"]`) }, socketio.ReasonServerDisconnect},
		{func(c *client) { c.send(`42["close"]`) }, socketio.ReasonServerDisconnect},
		{func(c *client) { _ = c.ws.Close() }, socketio.ReasonTransportClose},
		{func(c *client) { c.send(`42["wait"]`); c.send("41") }, socketio.ReasonClientDisconnect},
		{func(c *client) { c.send(`42["wait"]`); _ = c.ws.Close() }, socketio.ReasonTransportClose},
		{func(c *client) { c.send("4x") }, socketio.ReasonParseError},
		{func(c *client) {}, socketio.ReasonPingTimeout}, // answers no ping
	} {
		c, _, _ := connect(t, url, "")
		tc.do(c)
		if e := receive(t, tc.reason, ends); e.reason != tc.reason || e.rooms != 0 {
			t.Errorf("got %+v, want %s", e, tc.reason)
		}
		_ = c.ws.Close()
	}
	waitUntil(t, "rooms are gone", func() bool { return len(io.Rooms()) == 0 && io.SocketsCount() == 0 })
}

func TestHooksTellWhatHappens(t *testing.T) {
	events := make(chan string, 16)
	io, url := serve(t, socketio.Options{MaxQueueBytes: 64 << 10, Hooks: socketio.Hooks{
		Opened:    func(c socketio.ConnectionInfo) { events <- "opened " + string(c.Transport) },
		Closed:    func(_ socketio.ConnectionInfo, reason string, _ error) { events <- "closed " + reason },
		QueueFull: func(socketio.ConnectionInfo) { events <- "queue full" },
	}})
	connect(t, url, "")
	want := func(s string) {
		t.Helper()
		if got := receive(t, s, events); got != s {
			t.Errorf("got %q, want %q", got, s)
		}
	}
	want("opened websocket")
	payload := bytes.Repeat([]byte{1}, 32<<10)
	for io.SocketsCount() > 0 { // the client doesn't read
		_ = io.Emit("flood", payload)
	}
	want("queue full")
	want("closed queue full")
}

func TestVolatileEventsAreDroppedWhenTheClientDoesNotRead(t *testing.T) {
	io, url := serve(t, socketio.Options{MaxQueueBytes: 64 << 10})
	c, sid, _ := connect(t, url, "")
	payload := bytes.Repeat([]byte{1}, 32<<10)
	for range 2000 {
		_ = io.Volatile().Emit("flood", payload)
	}
	if io.Socket(sid) == nil {
		t.Fatal("the client was disconnected")
	}
	if m := c.read(); !strings.HasPrefix(m, "451-") {
		t.Errorf("got %.40q", m)
	}
}

func TestShutdownLeavesNobodyConnected(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	c, _, _ := connect(t, url, "")
	_ = io.Emit("bye")
	done := make(chan error, 1)
	go func() { done <- io.Shutdown(t.Context()) }()
	c.expect(`42["bye"]`)
	c.expectEnd()
	_ = c.ws.Close()
	if err := receive(t, "shutdown", done); err != nil {
		t.Error(err)
	}
}
