package bridge

import (
	"strings"
	"testing"
	"testing/synctest"
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

// TestTheGraceOfAGoodbye says when others are told, to the second.
func TestTheGraceOfAGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h) // with a grace of 10 s
		p.enter("d1", "s1", ana)
		p.depart("d1", "s1", ana)
		time.Sleep(goodbyeGrace - time.Nanosecond)
		p.enter("d1", "s2", ana) // the page has been loaded anew
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1")

		p.depart("d1", "s2", ana)
		time.Sleep(goodbyeGrace)
		h.expect(t, "offline ana in d1")

		// Of two tabs one was lost, and may come back although the other was closed.
		p.enter("d1", "s3", ana)
		p.enter("d1", "s4", ana)
		p.leave("d1", "s3", ana)
		time.Sleep(time.Second)
		p.depart("d1", "s4", ana)
		time.Sleep(9*time.Second - time.Nanosecond)
		h.expect(t, "online ana in d1")
		time.Sleep(time.Nanosecond)
		h.expect(t, "offline ana in d1")

		// The other way round: what was closed is not waited for longer than for what was lost.
		p.enter("d1", "s5", ana)
		p.enter("d1", "s6", ana)
		p.depart("d1", "s5", ana)
		time.Sleep(time.Minute)
		p.depart("d1", "s6", ana)
		time.Sleep(goodbyeGrace)
		h.expect(t, "online ana in d1", "offline ana in d1")
		p.close()
	})
}
