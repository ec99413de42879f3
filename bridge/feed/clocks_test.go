package feed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/supabase"
)

// apart is a database whose clock is apart from this machine's.
type apart struct {
	*database
	by time.Duration
}

func (d *apart) Newest(_ context.Context, p supabase.Page) (newest string, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range d.strand(p) {
		at := d.value(p, key)
		if !when(at).After(time.Now().Add(d.by)) && (newest == "" || when(at).After(when(newest))) {
			newest = at
		}
	}
	return newest, nil
}

func TestARealtimeThatLosesAFewLosesNothingWhicheverClockIsWrong(t *testing.T) {
	const rows = 300
	for _, by := range []time.Duration{-30 * time.Minute, -3 * time.Minute, 0, 3 * time.Minute} {
		for _, share := range []int{100, 7} {
			t.Run(fmt.Sprintf("the database's ahead by %s, one of %d lost", by, share), func(t *testing.T) {
				run(t, func(o *Options) { o.Reader = &apart{o.Reader.(*database), by} }, func(b *bench) {
					b.goLive()
					for i := range rows {
						now := stamp(time.Now().Add(by))
						c := b.db.set(fmt.Sprintf("m%03d", i), now, now)
						c.CommitTime = time.Now().Add(by)
						time.Sleep(100 * time.Millisecond) // on its way
						if i%share != share-1 {
							b.hear(c)
						}
						time.Sleep(900 * time.Millisecond)
					}
					time.Sleep(3 * DefaultInterval)
					b.seen(func() {
						got := slices.Clone(b.told)
						slices.Sort(got)
						if len(got) != rows || len(slices.Compact(got)) != rows {
							t.Errorf("%d told of %d rows, want each once", len(got), rows)
						}
						// A clock that is far behind takes as long until that shows what was committed since Realtime
						// is joined.
						if s := b.feed.Stats(); s.Stalls == 0 && by > -rows*time.Second {
							t.Error("nothing was held against Realtime")
						}
					})
				})
			})
		}
	}
}
