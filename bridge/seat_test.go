package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

// knocking opens a connection that has yet to ask to be let in.
func knocking(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(address, "http")+"/socket.io/?EIO=4&transport=websocket", http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, packet, err := conn.ReadMessage(); err != nil || packet[0] != '0' {
		t.Fatalf("handshake: %q, %v", packet, err)
	}
	return conn
}

// knocks asks to be let in, whatever comes of it.
func knocks(t *testing.T, address string, auth any) *websocket.Conn {
	t.Helper()
	text, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	conn := knocking(t, address)
	if err := conn.WriteMessage(websocket.TextMessage, append([]byte("40"), text...)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// refusedFor is how many connections were refused for a reason.
func (w *world) refusedFor(code string) int {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.exposition(), `supabridge_connections_refused_total{code="`+code+`"} `)
	count, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(count) // no line: none yet
	return n
}

func TestHandshakesAtTheSameTimeAreCountedTogether(t *testing.T) {
	t.Parallel()
	const handshakes, most = 100, 10
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Limits.User.Connections = most
		cfg.Cluster.Redis = config.Secret(redistest.Start(t).URL()) // which each handshake asks something: time for others to come
	})
	enter := []byte(fmt.Sprintf(`40{"token":%q}`, w.token(anaID)))
	for range 5 {
		conns := make([]*websocket.Conn, handshakes)
		for i := range conns {
			conns[i] = knocking(t, w.address)
		}
		var admitted atomic.Int32
		refused := 0
		before := w.refusedFor(refusedTooMany)
		var all sync.WaitGroup
		start := make(chan struct{})
		for _, conn := range conns {
			all.Go(func() {
				<-start
				_ = conn.WriteMessage(websocket.TextMessage, enter) // the answer shows it
				if _, packet, err := conn.ReadMessage(); err == nil && strings.HasPrefix(string(packet), "40") {
					admitted.Add(1)
				}
			})
		}
		close(start)
		w.becomes("have answered all", func() bool {
			refused = w.refusedFor(refusedTooMany) - before
			return int(admitted.Load())+refused == handshakes
		})
		if admitted.Load() != most {
			t.Errorf("%d admitted and %d refused, want %d and %d", admitted.Load(), refused, most, handshakes-most)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		all.Wait()
		w.becomes("be rid of all", func() bool { return w.bridge.guard.users.Count() == 0 })
	}
}

func TestAHandshakeThatBreaksOffCountsNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Limits.User.Connections = 100 })
	enter := []byte(fmt.Sprintf(`40{"token":%q}`, w.token(anaID)))
	for range 100 {
		conn := knocking(t, w.address)
		_ = conn.WriteMessage(websocket.TextMessage, enter)
		_ = conn.Close() // before it is let in, or after
	}
	last := w.as(anaID)
	w.becomes("count but the last", func() bool { return !w.bridge.guard.users.Full(anaID, 2) })
	last.conn.Close()
	w.becomes("count nobody", func() bool { return w.bridge.guard.users.Count() == 0 })
}
