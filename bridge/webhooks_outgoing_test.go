package bridge

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

// hookListener is the application's server for outgoing webhooks; while it is closed it answers
// 503.
type hookListener struct {
	*httptest.Server
	closed atomic.Bool

	mu   sync.Mutex
	told map[string]int // by type and user
	ids  map[string]bool
}

func newHookListener(t *testing.T) *hookListener {
	t.Helper()
	l := &hookListener{told: make(map[string]int), ids: make(map[string]bool)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var told struct {
			ID, Type string
			Data     struct{ UserID string }
		}
		if err != nil || json.Unmarshal(body, &told) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if l.closed.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.told[told.Type+" "+told.Data.UserID]++
		l.ids[told.ID] = true
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *hookListener) times(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told[what]
}

// toldTo configures webhooks to an application.
func toldTo(t *testing.T, url string, change func(*config.Config)) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	return func(c *config.Config) {
		c.Webhooks.Outgoing = config.Outgoing{URL: url, Secret: ourSecret, Events: []string{webhook.UserOnline, webhook.UserOffline, webhook.MessagesRead}}
		c.Webhooks.Outbox.Path = path
		c.Presence.Grace = time.Millisecond
		if change != nil {
			change(c)
		}
	}
}

func TestOutgoingWebhooksOfAClusterNeedNoWriteToRedis(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"pubsub", "streams"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			l := newHookListener(t)
			cluster := func(c *config.Config) {
				c.Cluster.Redis, c.Cluster.Mode, c.Cluster.Lease = config.Secret(redis.URL()), mode, time.Second
			}
			w := newWorld(t, toldTo(t, l.URL, cluster))
			other := w.node(toldTo(t, l.URL, cluster))
			client := redis.Client()
			defer func() { _ = client.Close() }()
			set := func(maxmemory string) {
				t.Helper()
				w.must(client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
				w.must(client.ConfigSet(t.Context(), "maxmemory", maxmemory).Err())
			}
			both := []*Bridge{w.bridge, other.bridge}
			w.eventually("one leads, and they know each other", func() bool {
				return leads(both[0]) != leads(both[1]) && peers(both[0]) == 1 && peers(both[1]) == 1
			})
			set("1")
			ana := connect(t, w.address, map[string]string{"token": w.token(anaID)})
			ben := connect(t, other.address, map[string]string{"token": w.token(benID)})
			told := func(kind string, users ...string) func() bool {
				return func() bool {
					for _, user := range users {
						if l.times(kind+" "+user) == 0 {
							return false
						}
					}
					return true
				}
			}
			w.eventually("both are told to be online", told(webhook.UserOnline, anaID, benID))
			w.eventually("the metric says that Redis takes no writes", func() bool {
				code, ready := w.get("/readyz")
				return w.scraped("supabridge_cluster_up") == "0" && code == 200 && strings.Contains(ready, `"up":false`) && strings.Contains(ready, "OOM")
			})
			// Long after anybody could lead.
			dora := connect(t, other.address, map[string]string{"token": w.token(doraID)})
			w.eventually("one who comes later is told to be online", told(webhook.UserOnline, doraID))
			for _, b := range []*browser{ana, ben, dora} {
				w.must(b.conn.Close())
			}
			w.eventually("all are told to be offline", told(webhook.UserOffline, anaID, benID, doraID))
			set("0")
			w.eventually("Redis takes writes again", func() bool {
				return w.scraped("supabridge_cluster_up") == "1" && leads(both[0]) != leads(both[1])
			})
		})
	}
}

func (w *world) get(path string) (code int, answer string) {
	w.t.Helper()
	resp, err := http.Get(w.address + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
