package engineio_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio/engineio"
)

func TestResponsesCarryTheHeadersThatWereAskedFor(t *testing.T) {
	h := serve(t, engineio.Options{
		Cookie:         &http.Cookie{Name: "io", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode},
		InitialHeaders: func(h http.Header, r *http.Request) { h.Set("X-First", r.URL.Query().Get("transport")) },
		Headers:        func(h http.Header, r *http.Request) { h.Set("X-Every", r.Method+"\r\nX-Smuggled: 1") },
		Allow: func(r *http.Request) error {
			if r.URL.Query().Has("refuse") {
				return errors.New("not today")
			}
			return nil
		},
	})
	get := func(method, url, body string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	check := func(what string, resp *http.Response, first string, cookie bool, every string) {
		t.Helper()
		want(t, what+": first", resp.Header.Get("X-First"), first)
		want(t, what+": cookies", len(resp.Cookies()) > 0, cookie)
		want(t, what+": every", strings.Fields(resp.Header.Get("X-Every"))[0], every)
		want(t, what+": smuggled", resp.Header.Get("X-Smuggled"), "")
	}
	opening := get("GET", h.query("&transport=polling"), "")
	check("opening", opening, "polling", true, "GET")
	c := receive(t, "connection", h.conns)
	cookie := opening.Cookies()[0]
	if cookie.Name != "io" || cookie.Value != c.ID() || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie of %s: %v", c.ID(), cookie)
	}
	check("data", get("POST", h.query("&transport=polling&sid="+c.ID()), "4x"), "", false, "POST")
	check("poll", get("GET", h.query("&transport=polling&sid="+c.ID()), ""), "", false, "GET")
	check("refusal", get("GET", h.query("&transport=polling&refuse=1"), ""), "", false, "GET")
	for _, dial := range []struct{ what, extra, first string }{{"websocket", "", "websocket"}, {"upgrade", "&sid=" + c.ID(), ""}} {
		ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(h.query("&transport=websocket"+dial.extra), "http", "ws", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = ws.Close()
		check(dial.what, resp, dial.first, dial.first != "", "GET")
	}
}

func TestWebSocketHandshakesThatAreWrongAreRefused(t *testing.T) {
	h := serve(t, engineio.Options{})
	for name, change := range map[string]func(http.Header){
		"key missing":     func(h http.Header) { h.Del("Sec-Websocket-Key") },
		"key too short":   func(h http.Header) { h.Set("Sec-Websocket-Key", "c2hvcnQ=") },
		"key not base64":  func(h http.Header) { h.Set("Sec-Websocket-Key", "!!!!!!!!!!!!!!!!!!!!!!==") },
		"another version": func(h http.Header) { h.Set("Sec-Websocket-Version", "8") },
		"no upgrade":      func(h http.Header) { h.Set("Upgrade", "h2c") },
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", h.query("&transport=websocket"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-Websocket-Version": "13",
			"Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
			req.Header.Set(k, v)
		}
		change(req.Header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%s: answered %d", name, resp.StatusCode)
		}
	}
}

// Half a message is a client's to finish: it must not cost a goroutine for each client that has
// sent one.
func TestHalfAMessageHoldsNoGoroutine(t *testing.T) {
	h := serve(t, engineio.Options{})
	const clients = 50
	frame := []byte{0x81, 0x86, 1, 2, 3, 4, '4' ^ 1, 'h' ^ 2, 'e' ^ 3, 'l' ^ 4, 'l' ^ 1, 'o' ^ 2}
	var all []*websocket.Conn
	var before int
	for i := range clients {
		ws := h.dial(t, "")
		read(t, ws)
		if i == 0 {
			before = runtime.NumGoroutine()
		}
		if _, err := ws.NetConn().Write(frame[:1+i%(len(frame)-1)]); err != nil {
			t.Fatal(err)
		}
		all = append(all, ws)
	}
	// The server has looked at the halves when it answers what came after the last of them.
	last := h.dial(t, "")
	read(t, last)
	write(t, last, "4after")
	want(t, "echo", read(t, last), "4after")
	waitUntil(t, "workers are idle", func() bool { return runtime.GOOS != "linux" || runtime.NumGoroutine() < before+clients/2 })
	for i, ws := range all {
		if _, err := ws.NetConn().Write(frame[1+i%(len(frame)-1):]); err != nil {
			t.Fatal(err)
		}
		want(t, "message", read(t, ws), "4hello")
	}
}

// The clients of a server that ends must not all come back at once.
func TestShutdownClosesInSlices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, over = 200, 10 * time.Second
		var conns []*engineio.Conn
		srv := engineio.NewServer(engineio.Options{Accept: func(c *engineio.Conn) engineio.Handler {
			conns = append(conns, c)
			return &echo{c, make(chan string, 1)}
		}})
		for range clients {
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/engine.io/?EIO=4&transport=polling", nil))
			want(t, "status", w.Code, 200)
			synctest.Wait()
		}
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(context.Background(), over) }()
		var left []int // open connections, each half second
		for range 30 {
			synctest.Wait()
			n := 0
			for _, c := range conns {
				if !errors.Is(c.Send(), engineio.ErrClosed) {
					n++
				}
			}
			left = append(left, n)
			wait(500 * time.Millisecond)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		want(t, "left at the end", left[len(left)-1], 0)
		if !slices.IsSortedFunc(left, func(a, b int) int { return b - a }) {
			t.Errorf("left: %v", left)
		}
		for i := 1; i < len(left); i++ {
			if gone := left[i-1] - left[i]; gone > clients/4 {
				t.Errorf("%d of %d closed within half a second of %v", gone, clients, over)
			}
		}
		if half := left[int(over/time.Second)]; half < clients/8 || half > clients*7/8 {
			t.Errorf("after half the time %d of %d are left", half, clients)
		}
	})
}

// wait lets time go by, in a bubble.
func wait(d time.Duration) { <-time.After(d) }
