package socketio_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/socketio"
)

// poller is a client that stays with long-polling.
type poller struct {
	t   *testing.T
	url string // with the session
}

func poll(t *testing.T, wsURL string) *poller {
	t.Helper()
	p := open(t, wsURL)
	p.post("40")
	if body, _ := p.get(); !strings.HasPrefix(body, `40{"sid"`) {
		t.Fatalf("connect answered %q", body)
	}
	return p
}

// open makes a session that has yet to connect to a namespace.
func open(t *testing.T, wsURL string) *poller {
	t.Helper()
	p := &poller{t, strings.NewReplacer("ws://", "http://", "transport=websocket", "transport=polling").Replace(wsURL)}
	var opened struct{ SID string }
	body, _ := p.get()
	if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "0")), &opened); err != nil {
		t.Fatalf("handshake %q: %v", body, err)
	}
	p.url += "&sid=" + opened.SID
	return p
}

func (p *poller) do(method, body string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which asks for gzip, and undoes it
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		p.t.Fatalf("%s answered %d %s", method, resp.StatusCode, b)
	}
	return resp
}

func (p *poller) get() (body string, compressed bool) {
	p.t.Helper()
	resp := p.do("GET", "")
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b), resp.Uncompressed
}

func (p *poller) post(body string) {
	p.t.Helper()
	_ = p.do("POST", body).Body.Close()
}

func TestEventsNotWorthCompressingAreNotCompressed(t *testing.T) {
	srv, url := serve(t, socketio.Options{})
	p := poll(t, url)
	text := strings.Repeat("all work and no play ", 100)
	s := srv.To().Sockets()[0]
	for name, c := range map[string]struct {
		emit       func() error
		compressed bool
	}{
		"as ever":               {func() error { return srv.Emit("x", text) }, true},
		"broadcast":             {func() error { return srv.Compress(false).Emit("x", text) }, false},
		"to one":                {func() error { return s.Compress(false).Emit("x", text) }, false},
		"after all":             {func() error { return srv.Compress(false).Compress(true).Emit("x", text) }, true},
		"with one that is":      {func() error { _ = srv.Emit("x", text); return srv.Compress(false).Emit("x", "short") }, true},
		"one that is not, both": {func() error { _ = srv.Compress(false).Emit("x", text); return srv.Compress(false).Emit("x", []byte{1}) }, false},
	} {
		if err := c.emit(); err != nil {
			t.Fatal(err)
		}
		body, compressed := p.get()
		if !strings.Contains(body, text) || compressed != c.compressed {
			t.Errorf("%s: compressed %v, %d bytes", name, compressed, len(body))
		}
	}
}

func TestDisconnectedPollingClientLearnsItBeforeTheEnd(t *testing.T) {
	srv, url := serve(t, socketio.Options{})
	srv.On("close", func(e *socketio.Event) { e.Socket.Disconnect(true) })
	p := poll(t, url)
	p.post(`42["close"]`)
	for _, want := range []string{"41", "1"} {
		if body, _ := p.get(); body != want {
			t.Fatalf("got %q, want %q", body, want)
		}
	}
}
