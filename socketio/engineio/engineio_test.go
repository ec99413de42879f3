package engineio_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
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
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/socketio/engineio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends every message back and notes how the connection ended.
type echo struct {
	c      *engineio.Conn
	closed chan string
}

func (e *echo) Message(data []byte, binary bool) {
	if binary {
		_ = e.c.Send(engineio.NewBinary(data))
		return
	}
	_ = e.c.Send(engineio.NewText(data))
}
func (*echo) Ready() bool                     { return true }
func (*echo) Work()                           {}
func (e *echo) Closed(reason string, _ error) { e.closed <- reason }

// harness is a server under test, and what it was told.
type harness struct {
	*httptest.Server
	engine *engineio.Server
	conns  chan *engineio.Conn
	closed chan string
}

func serve(t *testing.T, o engineio.Options) *harness {
	t.Helper()
	h := &harness{conns: make(chan *engineio.Conn, 1024), closed: make(chan string, 1024)}
	if o.Accept == nil {
		o.Accept = func(c *engineio.Conn) engineio.Handler {
			h.conns <- c
			return &echo{c, h.closed}
		}
	}
	h.engine = engineio.NewServer(o)
	h.Server = httptest.NewServer(h.engine)
	t.Cleanup(func() {
		h.engine.Close()
		h.Server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return h
}

func (h *harness) query(extra string) string { return h.URL + "/engine.io/?EIO=4" + extra }

func (h *harness) do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// open opens a connection by long-polling and returns its id.
func (h *harness) open(t *testing.T) string {
	t.Helper()
	status, body := h.do(t, "GET", h.query("&transport=polling"), "")
	var v struct{ SID string }
	if status != 200 || json.Unmarshal([]byte(strings.TrimPrefix(body, "0")), &v) != nil || v.SID == "" {
		t.Fatalf("handshake answered %d %q", status, body)
	}
	return v.SID
}

func (h *harness) poll(t *testing.T, sid string) (int, string) {
	t.Helper()
	return h.do(t, "GET", h.query("&transport=polling&sid="+sid), "")
}

func (h *harness) post(t *testing.T, sid, body string) (int, string) {
	t.Helper()
	return h.do(t, "POST", h.query("&transport=polling&sid="+sid), body)
}

// dial opens a websocket; with a sid it is one for an upgrade.
func (h *harness) dial(t *testing.T, extra string) *websocket.Conn {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(h.query("&transport=websocket"+extra), "http", "ws", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	if err := ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return ws
}

func read(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, b, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

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

func TestRequestsThatBreakTheRulesAreRefusedWithACode(t *testing.T) {
	h := serve(t, engineio.Options{Allow: func(r *http.Request) error {
		if r.URL.Query().Has("no") {
			return errors.New("not you")
		}
		return nil
	}})
	for _, tc := range []struct {
		method, query string
		status        int
		answer        string
	}{
		{"GET", "transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "EIO=abc&transport=polling", 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"GET", "EIO=4", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "EIO=4&transport=telepathy", 400, `{"code":0,"message":"Transport unknown"}`},
		{"POST", "EIO=4&transport=polling", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"GET", "EIO=4&transport=websocket", 400, `{"code":3,"message":"Bad request"}`},
		{"GET", "EIO=4&transport=polling&sid=nobody", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", "EIO=4&transport=polling&sid=__proto__", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"GET", "EIO=4&transport=polling&no=1", 403, `{"code":4,"message":"not you"}`},
	} {
		status, body := h.do(t, tc.method, h.URL+"/engine.io/?"+tc.query, "")
		if status != tc.status || body != tc.answer {
			t.Errorf("%s %s: got %d %s, want %d %s", tc.method, tc.query, status, body, tc.status, tc.answer)
		}
	}
	if status, _ := h.do(t, "GET", h.URL+"/elsewhere", ""); status != 404 {
		t.Errorf("path outside the mounts: got %d", status)
	}
}

func TestEveryMountIsServedWithAndWithoutTrailingSlash(t *testing.T) {
	h := serve(t, engineio.Options{Paths: []string{"/socket.io", "api/socket/"}})
	for _, p := range []string{"/socket.io", "/socket.io/", "/api/socket", "/api/socket/"} {
		if status, body := h.do(t, "GET", h.URL+p+"?EIO=4&transport=polling", ""); status != 200 {
			t.Errorf("%s: got %d %s", p, status, body)
		}
	}
	if status, _ := h.do(t, "GET", h.URL+"/socket.io//?EIO=4&transport=polling", ""); status != 404 {
		t.Errorf("double slash: got %d", status)
	}
}

func TestPollingCarriesTextAndBinary(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	status, body := h.post(t, sid, "4hello\x1ebAQIDBA==\x1e4ü")
	want(t, "status", status, 200)
	want(t, "answer", body, "ok")
	_, body = h.poll(t, sid)
	want(t, "echo", body, "4hello\x1ebAQIDBA==\x1e4ü")
}

func TestInvalidPayloadEndsTheSession(t *testing.T) {
	h := serve(t, engineio.Options{})
	for _, body := range []string{"abc", "", "4a\x1e", "b***", "2", "4\xff"} {
		sid := h.open(t)
		if status, _ := h.post(t, sid, body); status != 400 {
			t.Errorf("%q: answered %d", body, status)
		}
		if status, _ := h.poll(t, sid); status != 400 {
			t.Errorf("%q: the session lives on", body)
		}
	}
}

func TestTooLargeBodiesAndMessagesEndTheSession(t *testing.T) {
	h := serve(t, engineio.Options{MaxPayload: 1000})
	sid := h.open(t)
	if status, _ := h.post(t, sid, "4"+strings.Repeat("x", 1000)); status != 413 {
		t.Errorf("body: answered %d", status)
	}
	if status, _ := h.poll(t, sid); status != 400 {
		t.Errorf("poll after it: answered %d", status)
	}
	ws := h.dial(t, "")
	read(t, ws)
	write(t, ws, "4"+strings.Repeat("x", 999))
	want(t, "largest message", len(read(t, ws)), 1000)
	write(t, ws, "4"+strings.Repeat("x", 1000))
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("message over the limit was answered")
	}
}

func TestSecondPollEndsTheSession(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	c := receive(t, "connection", h.conns)
	first := make(chan string, 1)
	go func() {
		_, body := h.poll(t, sid)
		first <- body
	}()
	waitUntil(t, "the first poll waits", func() bool { var b engineio.Batch; return b.SendVolatile(c) })
	status, _ := h.poll(t, sid)
	want(t, "second poll", status, 400)
	want(t, "first poll", receive(t, "answer", first), "1")
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonTransportError)
}

// waitUntil looks again and again until f holds.
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

func TestClientsCloseIsAnsweredWhicheverRequestComesFirst(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	h.post(t, sid, "1")
	status, body := h.poll(t, sid)
	if status != 200 || body != "6" {
		t.Errorf("poll after the close: got %d %q", status, body)
	}
	if status, _ = h.poll(t, sid); status != 400 {
		t.Errorf("poll after that: got %d", status)
	}
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonTransportClose)
}

func TestCancelledPollEndsTheSession(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	c := receive(t, "connection", h.conns)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", h.query("&transport=polling&sid="+sid), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		done <- err
	}()
	waitUntil(t, "the poll waits", func() bool { var b engineio.Batch; return b.SendVolatile(c) })
	cancel()
	receive(t, "cancelled request", done)
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonTransportClose)
	waitUntil(t, "nothing is left", func() bool { return len(h.engine.Connections()) == 0 })
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	text := "4" + strings.Repeat("all work and no play ", 100)
	h.post(t, sid, text)
	req, err := http.NewRequestWithContext(t.Context(), "GET", h.query("&transport=polling&sid="+sid), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "br, gzip;q=0.5")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	want(t, "encoding", resp.Header.Get("Content-Encoding"), "gzip")
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil || string(b) != text {
		t.Fatalf("read %d bytes, %v", len(b), err)
	}
}

func TestPreflightAndOriginsAreAnswered(t *testing.T) {
	h := serve(t, engineio.Options{CORS: engineio.CORS{Origins: []string{"https://app.example.com"}, Credentials: true}})
	ask := func(method, origin string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, h.query("&transport=polling"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Headers", "x-test")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	resp := ask("OPTIONS", "https://app.example.com")
	want(t, "preflight", resp.StatusCode, 204)
	want(t, "origin", resp.Header.Get("Access-Control-Allow-Origin"), "https://app.example.com")
	want(t, "credentials", resp.Header.Get("Access-Control-Allow-Credentials"), "true")
	want(t, "headers", resp.Header.Get("Access-Control-Allow-Headers"), "x-test")
	want(t, "allowed origin", ask("GET", "https://app.example.com").Header.Get("Access-Control-Allow-Origin"), "https://app.example.com")
	want(t, "other origin", ask("GET", "https://evil.example.com").Header.Get("Access-Control-Allow-Origin"), "")
	_, resp, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(h.query("&transport=websocket"), "http", "ws", 1),
		http.Header{"Origin": {"https://evil.example.com"}})
	if err == nil || resp.StatusCode != 403 {
		t.Fatalf("websocket from another origin: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}

func TestWebSocketCarriesTextAndBinary(t *testing.T) {
	h := serve(t, engineio.Options{})
	ws := h.dial(t, "")
	if open := read(t, ws); !strings.Contains(open, `"upgrades":[]`) || !strings.Contains(open, `"maxPayload":1000000`) {
		t.Fatalf("open packet %s", open)
	}
	for _, n := range []int{0, 1, 125, 126, 300, 20_000, 70_000} {
		text := "4" + strings.Repeat("x", n)
		write(t, ws, text)
		if got := read(t, ws); got != text {
			t.Fatalf("%d bytes: %d came back", n, len(got))
		}
		data := bytes.Repeat([]byte{7}, n)
		if err := ws.WriteMessage(websocket.BinaryMessage, data); err != nil {
			t.Fatal(err)
		}
		mt, got, err := ws.ReadMessage()
		if err != nil || mt != websocket.BinaryMessage || !bytes.Equal(got, data) {
			t.Fatalf("%d binary bytes: %d came back, %v", n, len(got), err)
		}
	}
}

func TestFragmentsAndControlFramesAreUnderstood(t *testing.T) {
	h := serve(t, engineio.Options{})
	ws := h.dial(t, "")
	read(t, ws)
	pong := make(chan string, 1)
	ws.SetPongHandler(func(s string) error { pong <- s; return nil })
	if err := ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	nc := ws.NetConn()
	// "4he" and "llo", masked with zeros, the second only later.
	if _, err := nc.Write([]byte{0x01, 0x83, 0, 0, 0, 0, '4', 'h', 'e'}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write([]byte{0x80, 0x83, 0, 0, 0, 0, 'l', 'l', 'o'}); err != nil {
		t.Fatal(err)
	}
	want(t, "message", read(t, ws), "4hello")
	want(t, "pong", receive(t, "pong", pong), "are you there")
}

func TestInvalidTextEndsTheConnection(t *testing.T) {
	h := serve(t, engineio.Options{})
	for _, text := range []string{"abc", "2", "", "4\xff\xfe"} {
		ws := h.dial(t, "")
		read(t, ws)
		write(t, ws, text)
		if _, _, err := ws.ReadMessage(); err == nil {
			t.Errorf("%q: the connection lives on", text)
		}
		receive(t, "end", h.closed)
	}
}

func TestUpgradeKeepsEveryMessageInOrder(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	c := receive(t, "connection", h.conns)
	waiting := make(chan string, 1)
	go func() {
		_, body := h.poll(t, sid)
		waiting <- body
	}()
	waitUntil(t, "the poll waits", func() bool { var b engineio.Batch; return b.SendVolatile(c) })
	ws := h.dial(t, "&sid="+sid)
	write(t, ws, "2probe")
	want(t, "probe", read(t, ws), "3probe")
	want(t, "poll", receive(t, "poll's end", waiting), "6")
	var expect []string
	for i := range 5 {
		m := fmt.Sprintf("4%d", i)
		expect = append(expect, m)
		if err := c.Send(engineio.NewText([]byte(m[1:]))); err != nil {
			t.Fatal(err)
		}
	}
	write(t, ws, "5")
	for _, m := range expect {
		want(t, "message", read(t, ws), m)
	}
	want(t, "transport", c.Transport(), engineio.WebSocket)
	if status, _ := h.poll(t, sid); status != 400 {
		t.Errorf("poll after the upgrade: %d", status)
	}
	second := h.dial(t, "&sid="+sid)
	if _, _, err := second.ReadMessage(); err == nil {
		t.Error("second websocket lives")
	}
	write(t, ws, "4still here")
	want(t, "echo", read(t, ws), "4still here")
}

func TestUpgradeThatIsNotCompletedIsGivenUp(t *testing.T) {
	h := serve(t, engineio.Options{UpgradeTimeout: 30 * time.Millisecond})
	sid := h.open(t)
	ws := h.dial(t, "&sid="+sid)
	write(t, ws, "2probe")
	want(t, "probe", read(t, ws), "3probe")
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Fatal("the websocket lives on")
	}
	h.post(t, sid, "4hello")
	_, body := h.poll(t, sid)
	want(t, "long-polling goes on", body, "4hello")
}

// On a busy machine a poll and its cancellation may be seen only after the poll that the client
// sent next.
func TestCancelledPollThatWasOvertakenEndsTheSession(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	c := receive(t, "connection", h.conns)
	second := make(chan int, 1)
	go func() {
		status, _ := h.poll(t, sid)
		second <- status
	}()
	waitUntil(t, "a poll waits", func() bool { var b engineio.Batch; return b.SendVolatile(c) })
	nc, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(nc, "GET /engine.io/?EIO=4&transport=polling&sid="+sid+" HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = nc.Close()
	want(t, "the poll that waits", receive(t, "answer", second), 400)
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonTransportClose)
}
