package engineio_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio/engineio"
)

func TestClientThatDoesNotAnswerPingsIsGone(t *testing.T) {
	h := serve(t, engineio.Options{PingInterval: 30 * time.Millisecond, PingTimeout: 30 * time.Millisecond})
	ws := h.dial(t, "")
	read(t, ws)
	for range 3 {
		want(t, "ping", read(t, ws), "2")
		write(t, ws, "3")
	}
	want(t, "ping", read(t, ws), "2")
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonPingTimeout)
}

func TestClientThatDoesNotReadIsClosedAndOthersDoNotNotice(t *testing.T) {
	h := serve(t, engineio.Options{MaxQueueBytes: 256 << 10})
	slow := h.dial(t, "")
	read(t, slow)
	c := receive(t, "connection", h.conns)
	healthy := h.dial(t, "")
	read(t, healthy)
	d := receive(t, "second connection", h.conns)
	m := engineio.NewBinary(bytes.Repeat([]byte{1}, 64<<10))
	var err error
	for n := 0; err == nil && n < 1000; n++ {
		err = c.Send(m)
		if derr := d.Send(engineio.NewText([]byte("tick"))); derr != nil {
			t.Fatal(derr)
		}
		want(t, "healthy client", read(t, healthy), "4tick")
	}
	if !errors.Is(err, engineio.ErrQueueFull) {
		t.Fatalf("got %v", err)
	}
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonQueueFull)
	if err := c.Send(m); !errors.Is(err, engineio.ErrClosed) {
		t.Errorf("send after the end: %v", err)
	}
}

func TestCloseSendsWhatIsPending(t *testing.T) {
	h := serve(t, engineio.Options{})
	ws := h.dial(t, "")
	read(t, ws)
	c := receive(t, "connection", h.conns)
	big := bytes.Repeat([]byte{1}, 900<<10)
	if err := c.Send(engineio.NewBinary(big), engineio.NewText([]byte("last"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	want(t, "size", len(read(t, ws)), len(big))
	want(t, "last", read(t, ws), "4last")
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNoStatusReceived) {
		t.Errorf("end: %v", err)
	}
	sid := h.open(t)
	c = receive(t, "second connection", h.conns)
	if err := c.Send(engineio.NewText([]byte("bye"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	// Apart: the client library would act on the end first, and take the farewell of a namespace for a
	// failure of the network.
	_, body := h.poll(t, sid)
	want(t, "what was pending", body, "4bye")
	_, body = h.poll(t, sid)
	want(t, "end", body, "1")
}

func TestShutdownDrainsAndRefusesNewConnections(t *testing.T) {
	h := serve(t, engineio.Options{})
	ws := h.dial(t, "")
	read(t, ws)
	sid := h.open(t)
	h.engine.Drain()
	if status, _ := h.do(t, "GET", h.query("&transport=polling"), ""); status != 503 {
		t.Errorf("new connection while draining: %d", status)
	}
	if status, _ := h.do(t, "GET", h.query("&transport=polling&sid=of-another-node"), ""); status != 503 {
		t.Errorf("another node's connection while draining: %d", status)
	}
	h.post(t, sid, "4still served")
	done := make(chan error, 1)
	go func() { done <- h.engine.Shutdown(t.Context(), 10*time.Millisecond) }()
	_, body := h.poll(t, sid)
	if !strings.HasPrefix(body, "4still served") {
		t.Errorf("poll: %q", body)
	}
	if !strings.HasSuffix(body, "1") {
		if _, body = h.poll(t, sid); body != "1" {
			t.Errorf("next poll: %q", body)
		}
	}
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("websocket lives")
	}
	_ = ws.Close()
	if err := receive(t, "shutdown", done); err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOffWhenTimeIsUp(t *testing.T) {
	h := serve(t, engineio.Options{})
	h.open(t) // nobody polls
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := h.engine.Shutdown(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	want(t, "connections", h.engine.Count(), 0)
}

// The whole time that a closing connection has is ten seconds, and the context has no end.
func TestShutdownWaitsOnlyBrieflyForClientsThatDoNotPoll(t *testing.T) {
	h := serve(t, engineio.Options{})
	sid := h.open(t)
	receive(t, "connection", h.conns).Close() // before the shutdown
	h.open(t)
	silent := receive(t, "second connection", h.conns)
	if err := silent.Send(engineio.NewText([]byte("never fetched"))); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	polling := receive(t, "third connection", h.conns)
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- h.engine.Shutdown(t.Context(), 0) }()
	waitUntil(t, "the connections are closing", func() bool {
		return errors.Is(polling.Send(), engineio.ErrClosed) && errors.Is(silent.Send(), engineio.ErrClosed)
	})
	_, body := h.poll(t, polling.ID())
	want(t, "end of the client that polls", body, "1")
	if err := receive(t, "shutdown", done); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d < 500*time.Millisecond || d > 5*time.Second {
		t.Errorf("shutdown took %v", d)
	}
	if status, _ := h.poll(t, sid); status != 503 {
		t.Errorf("poll after the end: %d", status)
	}
}

func TestUpgradeLeavesNoTimer(t *testing.T) {
	h := serve(t, engineio.Options{UpgradeTimeout: time.Hour})
	conns := make([]weak.Pointer[engineio.Conn], 0, 2)
	for _, last := range []string{"5", "4neither probe nor upgrade"} {
		sid := h.open(t)
		conns = append(conns, weak.Make(receive(t, "connection", h.conns)))
		ws := h.dial(t, "&sid="+sid)
		write(t, ws, "2probe")
		want(t, "probe", read(t, ws), "3probe")
		write(t, ws, last)
		if last == "5" {
			write(t, ws, "1")
		} else {
			h.post(t, sid, "1")
			h.poll(t, sid) // its last
		}
		receive(t, "end", h.closed)
		_ = ws.Close()
	}
	for _, c := range conns {
		waitUntil(t, "connection is let go of", func() bool { runtime.GC(); return c.Value() == nil })
	}
}

// With TLS in the process there is no readiness to be had: each websocket has a goroutine, and
// everything else is the same.
func TestWebSocketsOverTLS(t *testing.T) {
	h := serve(t, engineio.Options{PingInterval: 50 * time.Millisecond, PingTimeout: 10 * time.Second, MaxQueueBytes: 256 << 10})
	tls := httptest.NewTLSServer(h.engine)
	t.Cleanup(tls.Close)
	d := websocket.Dialer{TLSClientConfig: tls.Client().Transport.(*http.Transport).TLSClientConfig}
	dial := func() *websocket.Conn {
		ws, resp, err := d.DialContext(t.Context(), strings.Replace(tls.URL, "http", "ws", 1)+"/engine.io/?EIO=4&transport=websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		t.Cleanup(func() { _ = ws.Close() })
		return ws
	}
	ws := dial()
	read(t, ws)
	c := receive(t, "connection", h.conns)
	want(t, "ping", read(t, ws), "2")
	write(t, ws, "3")
	for _, n := range []int{1, 300, 70_000} {
		text := "4" + strings.Repeat("x", n)
		write(t, ws, text)
		got := read(t, ws)
		for got == "2" {
			write(t, ws, "3")
			got = read(t, ws)
		}
		if got != text {
			t.Fatalf("%d bytes: %d came back", n, len(got))
		}
	}
	c.Close()
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			break
		}
	}
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonForcedClose)

	slow := dial()
	read(t, slow)
	c = receive(t, "second connection", h.conns)
	m := engineio.NewBinary(bytes.Repeat([]byte{1}, 64<<10))
	var err error
	for n := 0; err == nil && n < 10_000; n++ {
		err = c.Send(m)
	}
	if !errors.Is(err, engineio.ErrQueueFull) {
		t.Fatalf("got %v", err)
	}
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonQueueFull)

	dead := dial()
	read(t, dead)
	receive(t, "third connection", h.conns)
	_ = dead.NetConn().Close()
	want(t, "reason", receive(t, "end", h.closed), engineio.ReasonTransportClose)
	waitUntil(t, "all connections are gone", func() bool { return len(h.engine.Connections()) == 0 })
}
