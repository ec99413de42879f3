package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// A project that allows private channels only brings its changes, with the fast lane and without,
// and at the first attempt: a refused join holds the whole connection up for 5 s.
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

// In such a project typing and presence are shared on private channels, though the configuration
// says public: pages use private ones there too.
func TestSharingGoesPrivateWhereNothingElseIsAllowed(t *testing.T) {
	t.Parallel()
	options := standin.Options{Realtime: standin.RealtimeOptions{
		Options:  phxserver.Options{PrivateOnly: true},
		Policies: []standin.TopicPolicy{{Topic: "%", Read: true, Write: true}},
	}}
	w := shared(t, options, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	typing, presence := w.privately("typing:"+bakery), w.privately("presence:"+harbour)
	presence.sees("ana", func(now map[string]string) bool { return now[anaID] != "" })
	w.becomes("have gone private", func() bool { return strings.Contains(w.log.String(), "allows private channels only") })
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	heard := make(chan map[string]any, 1)
	go func() { heard <- typing.hears("typing") }()
	for typed := false; !typed; {
		ana.must("typing_start", bakery)
		select {
		case got := <-heard:
			if typed = true; got["userId"] != anaID {
				t.Errorf("typing %v", got)
			}
		case <-tick.C:
			ana.must("typing_stop", bakery) // the channel was being joined anew
		}
	}
	if n := strings.Count(w.log.String(), "allows private channels only"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
}
