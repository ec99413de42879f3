package bridge

import (
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// A project that allows private channels only brings its changes, with the fast lane and without, and at the first attempt: a refused join
// holds the whole connection up for 5 s.
func TestAPrivateOnlyProjectIsLive(t *testing.T) {
	for _, lane := range []string{"auto", "on", "off"} {
		t.Run(lane, func(t *testing.T) {
			t.Parallel()
			options := standin.Options{Realtime: standin.RealtimeOptions{Options: phxserver.Options{PrivateOnly: true}}}
			options.Realtime.Timing.JoinError = phxserver.RealTiming().JoinError
			w := newWorldOn(t, options, func(c *config.Config) { c.Supabase.FastLane = lane })
			b := w.as(anaID)
			b.must("join_conversation", bakery)
			id := w.write(bakery, "hello")
			if got := b.event("new_message"); got["id"] != id {
				t.Errorf("got %v, want the message %s", got, id)
			}
			if log := w.log.String(); strings.Contains(log, "PrivateOnly") {
				t.Errorf("a join was refused:\n%s", log)
			}
		})
	}
}
