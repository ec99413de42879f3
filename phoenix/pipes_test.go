package phoenix

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// pipes is a network in memory: what a listener and a dialer need for connections
// inside a synctest bubble, where the time of day is the test's.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble runs f in a synctest bubble with a script reached through pipes.
func inBubble(t *testing.T, f func(t *testing.T, s *script, o Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		s := &script{t: t, version: V2, conns: make(chan *peer, 64), queries: make(chan url.Values, 64)}
		s.http = &httptest.Server{Listener: net, Config: &http.Server{Handler: s}}
		s.http.Start()
		t.Cleanup(s.http.Close)
		o := Options{APIKey: "key", Dialer: &websocket.Dialer{NetDialContext: net.dial}, Jitter: func() float64 { return 0.5 }}
		f(t, s, o)
	})
}

// after reports how long f took by the clock.
func after(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// pass lets d go by on the bubble's clock.
func pass(d time.Duration) { <-time.After(d) }
