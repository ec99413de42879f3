package feed

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// twoLanes is a bench with a fast lane that brings every table's changes.
func twoLanes(t *testing.T, test func(b *bench, fast testLane)) {
	var fast testLane
	run(t, func(o *Options) { fast = make(testLane, 4096); o.Fast, o.FastSure = fast, true }, func(b *bench) {
		b.goLive()
		fast <- &phoenix.Live{}
		synctest.Wait()
		time.Sleep(DefaultStall + 2*time.Second)
		test(b, fast)
	})
}

// told gives, and forgets, how many changes have been told.
func (b *bench) count() (n int) {
	b.seen(func() { n, b.told = len(b.told), nil })
	return n
}

func TestAfterAStallTheFeedPollsAndIsNotLiveUntilAChangeComes(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.hear(b.db.put("a"))
		b.expect("INSERT a")
		time.Sleep(2 * DefaultInterval)
		b.state(Live)
		b.db.put("lost") // replication has died: Realtime answers everything and brings nothing
		time.Sleep(DefaultInterval + 3*DefaultStall)
		b.expect("INSERT lost found")
		b.state(Polling)
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: "stalled"}, &phoenix.Joined{Again: true}, &phoenix.Live{})
		b.state(Polling) // a join that is answered proves nothing
		for i := range 20 {
			b.db.put(fmt.Sprintf("m%02d", i))
			time.Sleep(DefaultPollMax)
			b.expect(fmt.Sprintf("INSERT m%02d found", i))
			b.state(Polling)
		}
		time.Sleep(time.Hour) // nothing is written: nothing is proven
		b.state(Polling)
		b.hear(b.db.put("proof"))
		b.expect("INSERT proof")
		b.state(Live)
		b.seen(func() {
			if !slices.Equal(b.resyncs, []string{"stalled"}) {
				t.Errorf("resyncs %q, want one for the stall: deletes may be missing", b.resyncs)
			}
			if s := b.feed.Stats(); s.Stalls != 1 {
				t.Errorf("%d stalls, want 1", s.Stalls)
			}
		})
	})
}

// The row that shows a stall is found soon where rows came often before it.
func TestASilenceThatIsLongForTheTrafficIsLookedInto(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		for i := range 90 {
			b.hear(b.db.put(fmt.Sprintf("m%02d", i)))
			time.Sleep(500 * time.Millisecond)
		}
		b.count()
		begun := time.Now()
		for b.feed.Report().State == Live {
			b.db.put("lost") // again and again: its version is never old
			time.Sleep(500 * time.Millisecond)
			synctest.Wait()
			if time.Since(begun) > DefaultInterval {
				break
			}
		}
		if took := time.Since(begun); took > silenceMin+DefaultStall+2*time.Second {
			t.Errorf("the stall was found after %s, want about %s", took, silenceMin+DefaultStall)
		}
	})
}

func TestASubscriptionThatBroughtNothingYetIsLookedInto(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		time.Sleep(2 * time.Second)
		b.db.put("lost")
		time.Sleep(unprovenWait + 2*time.Second)
		b.expect("INSERT lost found")
		b.state(Polling)
	})
}

func TestAFeedThatLosesAShareIsReadUntilItBringsEverything(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		n, late := 0, 0
		write := func(rows int, share int) {
			for range rows {
				n++
				c := b.db.put(fmt.Sprintf("m%04d", n))
				if share == 0 || n%share != 0 {
					b.hear(c)
				}
				time.Sleep(time.Second)
			}
		}
		write(100, 0)
		if got := b.count(); got != 100 {
			t.Fatalf("%d rows told of 100", got)
		}
		b.state(Live)
		write(300, 3)
		late = 300 - b.count()
		if late > 2 {
			t.Errorf("while every third change is lost %d rows are not told within seconds", late)
		}
		if s := b.feed.Report().State; s == Live {
			t.Error("the feed says that it is live though a third of the changes is lost")
		}
		write(30, 0)
		if s := b.feed.Report().State; s == Live {
			t.Error("the feed is live again as soon as one change came")
		}
		write(5*60, 0)
		b.state(Live)
		time.Sleep(DefaultInterval)
		if got := b.count() - late; got != 330 {
			t.Errorf("%d rows told of 330", got)
		}
	})
}

func TestEachLaneIsCheckedAgainstTheOther(t *testing.T) {
	for _, silent := range []lane{byChanges, byBroadcast} {
		t.Run(fmt.Sprint(silent), func(t *testing.T) {
			twoLanes(t, func(b *bench, fast testLane) {
				bring := func(c *phoenix.Change, lanes ...lane) {
					for _, l := range lanes {
						if l == byChanges {
							b.hear(c)
						} else {
							fast <- broadcast(c)
							synctest.Wait()
						}
					}
				}
				bring(b.db.put("both"), byBroadcast, byChanges)
				b.expect("INSERT both")
				time.Sleep(2 * time.Minute)
				pages := b.db.asked()
				bring(b.db.put("one"), byChanges+byBroadcast-silent)
				b.expect("INSERT one")
				time.Sleep(DefaultStall + 5*time.Second)
				b.state(Live) // by the lane that stands
				b.db.put("lost")
				time.Sleep(DefaultStall + DefaultPollMax)
				b.expect("INSERT lost found")
				if n := b.db.asked() - pages; n < 3 {
					t.Errorf("%d pages were read since a lane fell silent, want reads at the rate of polling", n)
				}
				if s := b.feed.Report().State; s == Live {
					t.Error("the feed is live though neither lane brought a row")
				}
				bring(b.db.put("back"), byBroadcast, byChanges)
				b.expect("INSERT back")
				b.state(Live)
			})
		})
	}
}

func TestAnOfferedRowThatRealtimeDoesNotBringShowsAStall(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.hear(b.db.put("a"))
		b.expect("INSERT a")
		time.Sleep(2 * DefaultInterval)
		c := b.db.put("stored")
		if passed, err := b.feed.Offer(b.t.Context(), "messages", Insert, c.Record); err != nil || !passed {
			t.Fatalf("the offer: %v, passed %v", err, passed)
		}
		time.Sleep(DefaultStall + time.Second)
		b.state(Polling)
		b.expect("INSERT stored found")
	})
}

func TestALaneThatIsBehindIsNotDoubted(t *testing.T) {
	twoLanes(t, func(b *bench, fast testLane) {
		var late []*phoenix.Change
		for i := range 100 { // postgres_changes are half a minute behind: a large transaction
			c := b.db.put(fmt.Sprintf("m%03d", i))
			fast <- broadcast(c)
			if late = append(late, c); i >= 30 {
				b.hear(late[i-30])
			} else { // of the transaction
				big := b.db.set("big", stamp(time.Now().Add(-time.Minute)), stamp(time.Now().Add(-time.Minute)))
				big.CommitTime = time.Now().Add(-time.Minute)
				fast <- broadcast(big)
				b.hear(big)
			}
			time.Sleep(time.Second)
		}
		b.state(Live)
		b.seen(func() {
			if s := b.feed.Stats(); s.Stalls != 0 || b.rejoins != 0 {
				t.Errorf("%d stalls, %d rejoins, want none; postgres_changes %+v, the fast lane %+v", s.Stalls, b.rejoins, b.feed.main.doubt, b.feed.fast.doubt)
			}
		})
	})
}

// At rest a bridge costs Supabase two requests a minute and table: the rows by time of update, and
// those never updated.
func TestRestCostsFewRequests(t *testing.T) {
	for _, traffic := range []time.Duration{0, 20 * time.Second, time.Second, 50 * time.Millisecond} {
		t.Run(traffic.String(), func(t *testing.T) {
			twoLanes(t, func(b *bench, fast testLane) {
				b.db.set("odd", "2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00")
				time.Sleep(5 * time.Minute)
				b.hear(b.db.put("a"))
				fast <- broadcast(b.db.put("a"))
				time.Sleep(5 * time.Minute)
				requests := func() int {
					b.db.mu.Lock()
					defer b.db.mu.Unlock()
					return b.db.pages + b.db.newest + len(b.db.gets)
				}
				before, end := requests(), time.Now().Add(10*time.Minute)
				for i := 0; time.Now().Before(end); i++ {
					if traffic == 0 {
						time.Sleep(time.Minute)
						continue
					}
					c := b.db.put(fmt.Sprintf("m%02d", i%50))
					fast <- broadcast(c)
					b.hear(c)
					time.Sleep(traffic)
				}
				if n := requests() - before; n > 10*4+4 {
					t.Errorf("%d requests in ten minutes, want at most 4 a minute", n)
				} else {
					t.Logf("%d requests in ten minutes", n)
				}
				b.state(Live)
			})
		})
	}
}
