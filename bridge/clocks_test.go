package bridge

import (
	"fmt"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// This machine's clock is wrong by minutes: to a browser that is the bridge's trouble.
func TestAJoinWithSinceWhileTheClocksAreApart(t *testing.T) {
	t.Parallel()
	for _, apart := range []time.Duration{3 * time.Minute, -3 * time.Minute} {
		t.Run(fmt.Sprint("the database's is ahead by ", apart), func(t *testing.T) {
			t.Parallel()
			w := newWorldOn(t, standin.Options{Now: func() time.Time { return time.Now().Add(apart) }}, nil)
			ben := w.as(benID)
			ben.must("join_conversation", bakery)
			first := w.write(bakery, "seen")
			ben.event("new_message")
			seen := w.rest("GET", "messages?id=eq."+first, "")[0]
			missed := w.write(bakery, "missed")
			ben.event("new_message")
			for what, since := range map[string]any{"the message": seen, "its time": seen["updated_at"]} {
				ana := w.as(anaID)
				o, ids := ana.join(since)
				if !o.Success || o.Complete == nil || !*o.Complete {
					t.Errorf("since %s: %+v, want it complete", what, o)
				}
				if len(ids) == 0 || ids[len(ids)-1] != missed {
					t.Errorf("since %s: got %v, want %s", what, ids, missed)
				}
			}
		})
	}
}

func TestAnOlderStateIsNotToldAfterTheOneThatWasReadWhicheverClockIsAhead(t *testing.T) {
	t.Parallel()
	h := newHolds(config.Default())
	h.settled = func(time.Time, time.Time) bool { return false }
	at := time.Now().Add(3 * time.Minute)
	h.now = func() time.Time { return at }
	h.release(bakery, h.put(bakery, "a socket", new(stays), 0, nil), []missedRow{{key: "m1", at: at}})
	older := parsed(t, fmt.Sprintf(`{"id":"m1","updated_at":%q}`, at.Add(-time.Second).Format(time.RFC3339Nano)))
	if got := h.take(feed.Change{Action: feed.Insert, Row: older}, []string{bakery}, nil, nil); len(got) != 1 {
		t.Errorf("an older state goes to all but %q, want all but the socket that has read a later one", got)
	}
}
