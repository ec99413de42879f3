package engineio_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/supabridge/supabridge/socketio/engineio"
)

var churn = flag.Int("churn", 2000, "connections that the test of churn opens and cuts off")

// clientFrame is a short websocket text frame of a client, masked with zeros.
func clientFrame(text string) string {
	return string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text
}

// stage is a point at which a client is cut off.
type stage struct {
	name  string
	sends func(sid string) string // on a connection of its own, beside the session sid
	waits bool                    // for the server's first bytes
}

func stages() []stage {
	upgrade := func(extra string) string {
		return "GET /engine.io/?EIO=4&transport=websocket" + extra + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	}
	then := func(frames string) func(string) string { return func(string) string { return upgrade("") + frames } }
	ping := "\x89\x80\x00\x00\x00\x00"
	return []stage{
		{"mid-request", func(string) string { return upgrade("")[:60] }, false},
		{"after the handshake", then(""), true},
		{"mid-frame", then("\x81\x85\x00"), true},
		{"mid-packet", then("\x81\x85\x00\x00\x00\x004h"), true},
		{"mid-message", then("\x01" + clientFrame("4h")[1:]), true},
		{"after a ping", then(ping), false},
		{"after a message", then(clientFrame("4hello")), true},
		{"after an invalid packet", then(clientFrame("x")), true},
		{"before the probe", func(sid string) string { return upgrade("&sid=" + sid) }, true},
		{"mid-upgrade", func(sid string) string { return upgrade("&sid="+sid) + clientFrame("2probe") }, true},
		{"after the upgrade", func(sid string) string {
			return upgrade("&sid="+sid) + clientFrame("2probe") + clientFrame("5") + clientFrame("4hello")
		}, true},
		{"mid-poll", func(sid string) string {
			return "GET /engine.io/?EIO=4&transport=polling&sid=" + sid + " HTTP/1.1\r\nHost: x\r\n\r\n"
		}, false},
		{"mid-post", func(sid string) string {
			return "POST /engine.io/?EIO=4&transport=polling&sid=" + sid + " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n4h"
		}, false},
	}
}

// Clients are cut off at every stage: with a reset, with an end that looks like any other, or
// without a word, so that only the heartbeat tells; and each leaves a long-polling session behind.
// Nothing must be left of them in the server.
func TestNothingIsLeftAfterChurn(t *testing.T) {
	var mu sync.Mutex
	var seen []weak.Pointer[engineio.Conn]
	ends := make(chan string, 2*(*churn)+1)
	h := serve(t, engineio.Options{
		PingInterval: 200 * time.Millisecond, PingTimeout: 200 * time.Millisecond, UpgradeTimeout: time.Hour,
		Accept: func(c *engineio.Conn) engineio.Handler {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, weak.Make(c))
			return &echo{c, ends}
		},
	})
	h.open(t) // starts what the server keeps while it runs
	http.DefaultClient.CloseIdleConnections()
	waitUntil(t, "the first connection is gone", func() bool { return h.engine.Count() == 0 })
	descriptorsBefore, goroutinesBefore := descriptors(t), runtime.NumGoroutine()

	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	visitor := &http.Client{Transport: transport}
	silent := make(chan net.Conn, 256) // clients that have gone without a word
	var workers sync.WaitGroup
	for worker := range 32 {
		workers.Go(func() {
			for i := worker; i < *churn; i += 32 {
				if err := visit(h, visitor, i, silent); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	for len(silent) > 0 {
		nc := <-silent
		t.Cleanup(func() { _ = nc.Close() })
	}
	transport.CloseIdleConnections()
	waitUntil(t, "nothing is kept", func() bool {
		conns, links, deadlines := h.engine.Leftovers()
		return h.engine.Count() == 0 && conns == 0 && links == 0 && deadlines == 0
	})
	// No timer, queue or pool refers to a connection. Those of half a request have not become any.
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < *churn {
		t.Errorf("%d connections in %d visits", len(seen), *churn)
	}
	n := len(seen)
	waitUntil(t, "every connection's end was told once", func() bool { return len(ends) == n })
	waitUntil(t, "the connections are let go of", func() bool {
		runtime.GC()
		for len(seen) > 0 && seen[len(seen)-1].Value() == nil {
			seen = seen[:len(seen)-1]
		}
		return len(seen) == 0
	})
	h.CloseClientConnections() // half requests
	waitUntil(t, "descriptors are closed", func() bool { return descriptors(t) <= descriptorsBefore+256 })
	waitUntil(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutinesBefore+8 }) // idle workers
}

// visit opens a long-polling session, goes to a stage on another connection, and is cut off there.
func visit(h *harness, visitor *http.Client, i int, silent chan net.Conn) error {
	resp, err := visitor.Get(h.query("&transport=polling"))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	var opened struct{ SID string }
	if err := json.Unmarshal(body[1:], &opened); err != nil {
		return fmt.Errorf("handshake answered %q: %w", body, err)
	}
	nc, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		return err
	}
	all := stages()
	s := all[i%len(all)]
	if _, err := io.WriteString(nc, s.sends(opened.SID)); err != nil {
		return fmt.Errorf("%s: %w", s.name, errors.Join(err, nc.Close()))
	}
	round := i / len(all)
	if s.waits && round%2 == 0 {
		if err := nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := nc.Read(make([]byte, 512)); err != nil {
			return fmt.Errorf("%s: %w", s.name, errors.Join(err, nc.Close()))
		}
	}
	switch round % 3 {
	case 0:
		return nc.Close()
	case 1:
		return errors.Join(nc.(*net.TCPConn).SetLinger(0), nc.Close()) // a reset
	}
	for {
		select {
		case silent <- nc:
			return nil
		case oldest := <-silent:
			_ = oldest.Close() // the server may have closed it first
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
