package feed

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

func (b *bench) offer(action Action, record json.RawMessage, want bool) {
	b.t.Helper()
	passed, err := b.feed.Offer(b.t.Context(), "messages", action, record)
	if err != nil || passed != want {
		b.t.Errorf("offer of %s: passed %t (%v), want %t", record, passed, err, want)
	}
}

func TestAnOfferedRowIsPassedOnAndItsLiveCopyDropped(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		live := b.db.put("a")
		b.offer(Insert, live.Record, true)
		b.offer(Insert, live.Record, false)
		b.expect("INSERT a found")
		b.hear(live)
		b.expect()
		time.Sleep(time.Second)
		next := b.db.put("a")
		b.hear(next)
		b.offer(Update, next.Record, false)
		b.offer(Update, live.Record, false) // older than what was passed on
		b.expect("UPDATE a")
		time.Sleep(5 * time.Minute)
		b.expect()
	})
}

func TestAnOfferedDeletePassesOnlyWhileRealtimeIsAway(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		a := b.db.put("a")
		b.hear(a)
		b.offer(Delete, a.Record, false)
		b.expect("INSERT a")
		b.hear(&phoenix.Lost{Err: errors.New("cut")})
		b.offer(Delete, a.Record, true)
		b.offer(Delete, a.Record, false)
		b.offer(Update, a.Record, false)
		b.expect("DELETE a found")
	})
}

func TestOffersOfOtherTablesAndWithoutAKeyAreRefused(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		if _, err := b.feed.Offer(b.t.Context(), "orders", Insert, nil); !errors.Is(err, ErrNoTable) {
			b.t.Errorf("offer of another table: %v", err)
		}
		b.offer(Insert, json.RawMessage(`{"body":"x"}`), false)
		b.offer(Insert, json.RawMessage(`[]`), false)
		synctest.Wait()
		b.expect()
	})
}
