package socketio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
)

// half writes a frame's header, and content that need not be all of it.
func half(t *testing.T, c *client, opcode byte, size int, content []byte) {
	t.Helper()
	header := append(binary.BigEndian.AppendUint64([]byte{0x80 | opcode, 0x80 | 127}, uint64(size)), 0, 0, 0, 0)
	for _, part := range [][]byte{header, content} {
		if _, err := c.ws.NetConn().Write(part); err != nil {
			t.Fatal(err)
		}
	}
}

// until waits until the server holds that much of messages that aren't complete.
func until(t *testing.T, io *socketio.Server, holds func(bytes int, ended int64) bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		n, ended := io.Partial()
		if holds(n, ended) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server holds %d bytes and has ended %d connections", n, ended)
		}
	}
}

func TestBeforeConnectAMessageIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64<<10)
	for name, attack := range map[string]func(*client){
		"a frame":             func(c *client) { half(c.t, c, websocket.TextMessage, 100_000, nil) },
		"a connect":           func(c *client) { c.send(`40{"token":"` + long + `"}`) },
		"a binary event":      func(c *client) { c.send(`451-["x",{"_placeholder":true,"num":0}]`) },
		"bytes":               func(c *client) { c.sendBytes(1, 2, 3) },
		"bytes in text":       func(c *client) { c.send("bAQID") },
		"an ack with bytes":   func(c *client) { c.send(`461-1[{"_placeholder":true,"num":0}]`) },
		"bytes, then refused": func(c *client) { c.send(`40/none,`); c.read(); half(c.t, c, websocket.BinaryMessage, 100_000, nil) },
		"fragments": func(c *client) {
			w, err := c.ws.NextWriter(websocket.TextMessage)
			if err != nil {
				c.t.Fatal(err)
			}
			for range 4 { // the writer flushes each as a fragment
				_, _ = w.Write(bytes.Repeat([]byte("x"), 20_000)) // until the server has closed
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := serve(t, socketio.Options{})
			c := dial(t, url)
			attack(c)
			c.expectEnd()
		})
	}
}

func TestALargeAuthObjectAndLargeEventsAfterItAreTaken(t *testing.T) {
	t.Parallel()
	io, url := serve(t, socketio.Options{})
	got := make(chan any, 1)
	io.On("x", func(e *socketio.Event) { got <- len(e.Bytes(0)) + len(e.Args[0]) })
	c, _, _ := connect(t, url, `{"cookies":"`+strings.Repeat("c", 60<<10)+`"}`)
	c.send(`42["x","` + strings.Repeat("x", 900_000) + `"]`)
	if n := receive(t, "the event", got); n != 900_002 {
		t.Errorf("an event of %v bytes came", n)
	}
	c.send(`451-["x",{"_placeholder":true,"num":0}]`)
	c.sendBytes(make([]byte, 1_000_000)...)
	if n := receive(t, "the event with bytes", got); n != 1_000_000+len(`{"_placeholder":true,"num":0}`) {
		t.Errorf("an event of %v bytes came", n)
	}
}

func TestOtherBoundsBeforeConnect(t *testing.T) {
	t.Parallel()
	_, url := serve(t, socketio.Options{MaxPayloadBeforeConnect: 1 << 20, MaxPayload: 200_000})
	connect(t, url, `{"cookies":"`+strings.Repeat("c", 150_000)+`"}`)

	io, url := serve(t, socketio.Options{MaxPayloadBeforeConnect: 1000})
	let := make(chan struct{})
	io.Use(func(s *socketio.Socket) error { s.Restrict(); return nil })
	syncable(io)
	io.On("let", func(e *socketio.Event) { e.Socket.Unrestrict(); close(let) })
	c, _, _ := connect(t, url, "")
	c.send(`42["x","` + strings.Repeat("x", 900) + `"]`)
	c.send(`42["let"]`)
	<-let
	c.send(`42["x","` + strings.Repeat("x", 9000) + `"]`)
	c.sync()
	d, _, _ := connect(t, url, "")
	_ = d.ws.WriteMessage(websocket.TextMessage, []byte(`42["x","`+strings.Repeat("x", 9000)+`"]`)) // the server may close before it is out
	d.expectEnd()
}

func TestAttachmentsOfAPacketAreBoundedTogether(t *testing.T) {
	t.Parallel()
	io, url := serve(t, socketio.Options{})
	io.On("x", func(*socketio.Event) { t.Error("it came") })
	c, _, _ := connect(t, url, "")
	c.send(`453-["x",{"_placeholder":true,"num":0}]`)
	c.sendBytes(make([]byte, 600_000)...)
	c.sendBytes(make([]byte, 600_000)...)
	c.expectEnd()
	if n, _ := io.Partial(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestHalvesAreCountedAndEndWithTheirConnections(t *testing.T) {
	t.Parallel()
	io, url := serve(t, socketio.Options{})
	syncable(io)
	framed, _, _ := connect(t, url, "")
	half(t, framed, websocket.TextMessage, 500_000, make([]byte, 300_000))
	attached, _, _ := connect(t, url, "")
	attached.send(`452-["x",{"_placeholder":true,"num":0}]`)
	attached.sendBytes(make([]byte, 200_000)...)
	until(t, io, func(n int, _ int64) bool { return n >= 500_000 && n < 1_000_000 })
	_ = framed.ws.Close()
	attached.sendBytes(1)
	until(t, io, func(n int, ended int64) bool { return n == 0 && ended == 0 })
	attached.sync()
}

// TestHalvesAreTimed has clients answer every ping and yet never complete what they began.
func TestHalvesAreTimed(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*client){
		"attachments that never come": func(c *client) { c.send(`451-["x",{"_placeholder":true,"num":0}]`) },
		"a fragment": func(c *client) {
			if _, err := c.ws.NetConn().Write([]byte{0x01, 0x81, 0, 0, 0, 0, '4'}); err != nil {
				c.t.Fatal(err)
			}
		},
	} {
		for _, protocol := range []string{"4", "3"} {
			t.Run(name+" of version "+protocol, func(t *testing.T) {
				t.Parallel()
				closed := make(chan any, 1)
				_, url := serve(t, socketio.Options{PingInterval: 100 * time.Millisecond, PingTimeout: 200 * time.Millisecond, AllowEIO3: true,
					Hooks: socketio.Hooks{Closed: func(_ socketio.ConnectionInfo, reason string, _ error) { closed <- reason }}})
				c := dial(t, strings.Replace(url, "EIO=4", "EIO="+protocol, 1))
				if protocol == "4" {
					c.send("40")
				}
				c.welcome3()
				begin(c)
				pong := "3"
				if protocol == "3" {
					pong = "2"
				}
				stop := make(chan struct{})
				var answered = make(chan struct{})
				go func() { // a client whose heart beats
					defer close(answered)
					tick := time.NewTicker(50 * time.Millisecond)
					defer tick.Stop()
					for {
						select {
						case <-stop:
							return
						case <-tick.C:
							_ = c.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second)) // until it is closed
							if !strings.HasPrefix(name, "a fragment") {
								_ = c.ws.WriteMessage(websocket.TextMessage, []byte(pong))
							}
						}
					}
				}()
				reason := receive(t, "the connection's end", closed)
				close(stop)
				<-answered
				if reason != "incomplete message" && !(strings.HasPrefix(name, "a fragment") && reason == "ping timeout") {
					t.Errorf("it ended with %v", reason)
				}
			})
		}
	}
}

// welcome3 reads the connect packet, which in version 3 has no content.
func (c *client) welcome3() {
	c.t.Helper()
	if m := c.read(); !strings.HasPrefix(m, "40") {
		c.t.Fatalf("got %s, want a connect packet", m)
	}
}

// TestABudgetIsPaidByThoseWhoExceedIt has strangers fill the budget while a client that is let in
// sends a large message slowly.
func TestABudgetIsPaidByThoseWhoExceedIt(t *testing.T) {
	t.Parallel()
	const budget = 4_000_000
	io, url := serve(t, socketio.Options{MaxPartial: budget})
	got := make(chan any, 1)
	io.On("x", func(e *socketio.Event) { got <- len(e.Args[0]) })
	c, _, _ := connect(t, url, "")
	begin, end := `42["x","`, `"]`
	half(t, c, websocket.TextMessage, 700_000, []byte(begin+strings.Repeat("x", 400_000))) // the oldest of all
	until(t, io, func(n int, _ int64) bool { return n >= 400_000 })

	strangers := make([]*client, 60)
	for i := range strangers {
		strangers[i] = dial(t, url)
		half(t, strangers[i], websocket.TextMessage, 60_000, make([]byte, 59_000))
	}
	until(t, io, func(n int, ended int64) bool { return n <= budget/4+700_000 && ended >= 20 })
	if _, ended := io.Partial(); ended == int64(len(strangers)) {
		t.Error("it ended all of them")
	}
	strangers[0].expectEnd() // the oldest of them

	// One more who behaves is served, and who was slow is not its victim.
	connect(t, url, `{"token":"`+strings.Repeat("t", 30_000)+`"}`)
	if _, err := c.ws.NetConn().Write([]byte(strings.Repeat("x", 700_000-400_000-len(begin)-len(end)) + end)); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, "the slow message", got); n != 700_000-len(begin)-len(end)+2 {
		t.Errorf("%v bytes came", n)
	}
	for _, s := range strangers {
		_ = s.ws.Close()
	}
	until(t, io, func(n int, _ int64) bool { return n == 0 })
}

// TestAPacketThatWaitsForAConnectIsBounded has a client send while middleware is still deciding on
// it.
func TestWhatWaitsForAConnectIsBounded(t *testing.T) {
	t.Parallel()
	io, url := serve(t, socketio.Options{})
	let := make(chan struct{})
	io.Use(func(*socketio.Socket) error { <-let; return errors.New("no") })
	c := dial(t, url, `40{"x":"`+strings.Repeat("x", 30_000)+`"}`)
	sent := make(chan int, 1)
	go func() {
		n := 0
		packet := []byte(`42["x","` + strings.Repeat("x", 60_000) + `"]`)
		_ = c.ws.SetWriteDeadline(time.Now().Add(2 * time.Second)) // it stands still once the kernel takes no more
		for n < 2000 && c.ws.WriteMessage(websocket.TextMessage, packet) == nil {
			n++
		}
		sent <- n
	}()
	if n := <-sent; n == 2000 {
		t.Error("the server read 120 MB of one that it does not know")
	}
	if n, _ := io.Partial(); n > 300_000 {
		t.Errorf("it holds %d bytes", n)
	}
	close(let)
}

func TestABodyBeforeConnectIsBounded(t *testing.T) {
	t.Parallel()
	io := socketio.NewServer(socketio.Options{AllowEIO3: true})
	io.Use(func(*socketio.Socket) error { return errors.New("no") })
	h := httptest.NewServer(io)
	t.Cleanup(func() {
		io.Close()
		h.Close()
	})
	for _, protocol := range []string{"4", "3"} {
		base := h.URL + "/socket.io/?transport=polling&EIO=" + protocol
		open := func() string {
			_, body := fetch(t, "GET", base, nil)
			_, rest, _ := strings.Cut(body, `"sid":"`)
			sid, _, ok := strings.Cut(rest, `"`)
			if !ok {
				t.Fatalf("no session in %s", body)
			}
			return base + "&sid=" + sid
		}
		if status, _ := fetch(t, "POST", open(), strings.NewReader(strings.Repeat("4", 70_000))); status != http.StatusRequestEntityTooLarge {
			t.Errorf("version %s: a body of 70 kB is answered %d", protocol, status)
		}
		// Half a body ends with its connection.
		address := strings.TrimPrefix(h.URL, "http://")
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		path := strings.TrimPrefix(open(), h.URL)
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n%s", path, strings.Repeat("4", 50_000)); err != nil {
			t.Fatal(err)
		}
		until(t, io, func(n int, _ int64) bool { return n >= 50_000 })
	}
	io.Close()
	until(t, io, func(n int, _ int64) bool { return n == 0 })
}

func fetch(t *testing.T, method, url string, body io.Reader) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestWhatOpensAConnectionIsBounded has strangers open connections with long headers, by both
// transports. One who then enters a namespace holds nothing of the budget any more.
func TestWhatOpensAConnectionIsBounded(t *testing.T) {
	t.Parallel()
	const budget, strangers = 4_000_000, 100
	io, url := serve(t, socketio.Options{MaxPartial: budget})
	long := http.Header{"Cookie": {strings.Repeat("c", 30_000)}}
	polls := strings.Replace(strings.Replace(url, "ws", "http", 1), "websocket", "polling", 1)
	open := map[string]func(){
		"websocket": func() {
			ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, long)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			t.Cleanup(func() { _ = ws.Close() })
		},
		"polling": func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, polls, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = long.Clone()
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		},
	}
	before := int64(0)
	for _, one := range open {
		for range strangers {
			one()
		}
		until(t, io, func(n int, ended int64) bool { return n <= budget/4 && n > budget/5 && ended-before >= strangers/2 })
		_, before = io.Partial()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestWhatOpenedAConnectionCountsUntilItIsTrusted(t *testing.T) {
	t.Parallel()
	io, url := serve(t, socketio.Options{MaxPartial: 4_000_000})
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, http.Header{"Cookie": {strings.Repeat("c", 30_000)}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	c := &client{t, ws}
	c.read()
	until(t, io, func(n int, _ int64) bool { return n > 20_000 })
	c.send("40")
	c.welcome()
	until(t, io, func(n int, _ int64) bool { return n == 0 })
}
