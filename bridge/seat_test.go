package bridge

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

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

func TestHandshakesAtTheSameTimeAreCountedTogether(t *testing.T) {
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
		var mu sync.Mutex
		admitted, refused := 0, 0
		var all sync.WaitGroup
		start := make(chan struct{})
		for _, conn := range conns {
			all.Go(func() {
				<-start
				_ = conn.WriteMessage(websocket.TextMessage, enter) // the answer shows it
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_, packet, err := conn.ReadMessage()
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case strings.HasPrefix(string(packet), "40"):
					admitted++
				case strings.HasPrefix(string(packet), "44") && strings.Contains(string(packet), "too_many_connections"):
					refused++
				}
			})
		}
		close(start)
		all.Wait()
		if admitted != most || refused != handshakes-most {
			t.Errorf("%d admitted and %d refused, want %d and %d", admitted, refused, most, handshakes-most)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		w.becomes("be rid of all", func() bool { return w.bridge.guard.users.Count() == 0 })
	}
}

func TestAHandshakeThatBreaksOffCountsNoMore(t *testing.T) {
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
