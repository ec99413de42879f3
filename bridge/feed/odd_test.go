package feed

import (
	"fmt"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// settled asks the feed whether it has passed on what was read at an instant.
func (b *bench) settled(instant, version time.Time) (settled bool) {
	b.t.Helper()
	if err := b.feed.Do(b.t.Context(), func() { settled = b.feed.Settled(instant, version) }); err != nil {
		b.t.Error(err)
	}
	return settled
}

func TestNothingIsSettledWhileARowIsLeftToTheLiveFeedWhateverItsTime(t *testing.T) {
	for name, odd := range map[string]string{"infinity": "infinity", "2099": "2099-01-01T00:00:00+00:00", "none odd": ""} {
		for _, both := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				run(t, nil, func(b *bench) {
					b.goLive()
					b.hear(b.db.put("a"))
					time.Sleep(DefaultInterval)
					version := time.Now()
					if odd != "" {
						b.db.set("odd", odd, odd)
						version = version.AddDate(100, 0, 0)
					}
					if both || odd == "" {
						b.db.put("late")
					}
					time.Sleep(time.Millisecond)
					joined := time.Now() // who joined has read all that; none of it has come
					time.Sleep(time.Second)
					b.must(b.feed.Do(b.t.Context(), b.feed.want))
					time.Sleep(DefaultStall)
					b.seen(func() { b.told = nil })
					b.hear(b.db.put("b"))
					b.expect("INSERT b")
					if b.settled(joined, version) {
						t.Error("all is said to have been passed on while a row is left to the live feed")
					}
				})
			})
		}
	}
}

// Realtime being ahead of this machine's clock tells nothing of what was committed by an instant.
func TestWhatIsSettledGoesByTheDatabasesClock(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		ahead := func(key string) {
			c := b.db.put(key)
			c.CommitTime = time.Now().Add(3 * time.Minute)
			b.hear(c)
		}
		ahead("a")
		read := time.Now()
		time.Sleep(DefaultInterval + time.Second)
		read2 := time.Now()
		time.Sleep(time.Millisecond)
		b.must(b.feed.Do(b.t.Context(), b.feed.want))
		time.Sleep(time.Millisecond)
		ahead("b")
		if !b.settled(read, read) {
			t.Error("not settled once Realtime brings what was committed later")
		}
		if b.settled(read2, read2) {
			t.Error("settled by a change of the same moment, since the database's clock is ahead")
		}
	})
}

func TestARowDatedAheadAmongThoseReadDoesNotKeepThemFromBeingSettled(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.hear(b.db.put("a"))
		read := time.Now()
		version := read.AddDate(70, 0, 0)
		settled := false
		way := []*phoenix.Change{b.db.put("b")}
		for i := 0; time.Since(read) < 2*longestWay; i++ { // some are always on their way: each pass leaves some
			time.Sleep(700 * time.Millisecond)
			way = append(way, b.db.put(fmt.Sprintf("m%04d", i)))
			b.hear(way[0])
			way = way[1:]
			settled = b.settled(read, version)
		}
		if !settled {
			t.Error("never settled under load")
		}
	})
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
	}
}
