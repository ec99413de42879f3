package bridge

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// peers counts the other nodes that a node knows.
func peers(b *Bridge) int { return b.cluster.Status().Peers }

func leads(b *Bridge) bool { return b.cluster.Status().Leads }

func TestServersThatAreNoBridgesAreToldToResync(t *testing.T) {
	t.Parallel()
	r := redistest.Start(t)
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Cluster.Redis, cfg.Cluster.Lease = config.Secret(r.URL()), 500*time.Millisecond
	})
	browser := w.as(anaID)
	if w.scraped("supabridge_cluster_relays") != "0" {
		t.Error("it relays though there is nobody")
	}

	client := r.Client()
	adapter, err := redisadapter.New(client, redisadapter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := socketio.Open(socketio.Options{Adapter: adapter})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(other)
	t.Cleanup(func() {
		other.Close()
		server.Close()
		_ = client.Close()
	})
	outside := knocking(t, server.URL)
	_ = outside.WriteMessage(websocket.TextMessage, []byte("40")) // the answer shows it
	_ = outside.SetReadDeadline(time.Now().Add(patience))

	w.counts("supabridge_cluster_relays", "1") // there is a server that is no bridge
	w.bridge.resync.request(time.Now(), "a test")
	for {
		_, packet, err := outside.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(packet), "a test") {
			break
		}
	}
	resync := config.Default().Vocabulary.ResyncEvent
	browser.event(resync)
	browser.sync()
	if browser.heard(resync) {
		t.Error("a browser of the bridge was told twice")
	}
}
