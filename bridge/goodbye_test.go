package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/config"
)

// TestWhoSaysGoodbyeIsOfflineSoon has a grace that no test outlasts. Only those whose connection
// was merely lost have it.
func TestWhoSaysGoodbyeIsOfflineSoon(t *testing.T) {
	t.Parallel()
	for name, goodbye := range map[string]func(*browser) error{
		"the page is closed": func(b *browser) error {
			return b.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(patience))
		},
		"the frontend disconnects":    func(b *browser) error { return b.send("41") },
		"the user says to be offline": func(b *browser) error { return b.send(`42["set_status","offline"]`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *config.Config) { c.Presence.Grace = 10 * time.Minute })
			ana := w.as(anaID)
			ana.must("join_distributor", harbour)
			ben, carla := w.as(benID), w.as(carlaID)
			for range 2 {
				ana.event("user_online")
			}
			_ = carla.conn.NetConn().Close() // without a word
			w.until("notice", func(feed.State) bool { return strings.Contains(w.log.String(), `"reason":"transport close"`) })
			if err := goodbye(ben); err != nil {
				t.Fatal(err)
			}
			if gone := ana.event("user_offline"); gone["userId"] != benID {
				t.Errorf("%v is offline, want ben", gone["userId"])
			}
			if ana.heard("user_offline") {
				t.Error("a user whose connection was lost is offline without the grace")
			}
		})
	}
}
