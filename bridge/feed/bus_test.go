package feed

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// follow runs a test with a feed that is led.
func follow(t *testing.T, test func(b *bench, bus chan<- BusEvent)) {
	var bus chan BusEvent
	run(t, func(o *Options) {
		bus = make(chan BusEvent, 64) // in the bubble
		o.Bus = bus
	}, func(b *bench) {
		bus <- BusLed{Led: true}
		bus <- BusMark{leaderAt(Live)}
		bus <- BusLive{}
		b.state(Live)
		b.db.mu.Lock()
		b.db.pages = 0
		b.db.mu.Unlock()
		test(b, bus)
	})
}

func leaderAt(s State) Mark { return Mark{State: s, Read: time.Now(), Began: time.Now()} }

// byLeader is a change of the database as the leader tells it.
func (b *bench) byLeader(c *phoenix.Change) BusEvent {
	b.t.Helper()
	text, err := json.Marshal(Change{Table: c.Table, Action: Action(c.Type), Row: parse(c.Record), Old: parse(c.OldRecord), Commit: c.CommitTime})
	if err != nil {
		b.t.Fatal(err)
	}
	var got Change
	if err := json.Unmarshal(text, &got); err != nil {
		b.t.Fatal(err)
	}
	return BusChange{got}
}

func TestAFeedThatIsLedReadsNothingAndPassesOnWhatItIsTold(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		bus <- b.byLeader(b.db.put("a"))
		bus <- b.byLeader(b.db.put("a"))
		b.expect("INSERT a", "UPDATE a")
		for range 60 {
			time.Sleep(time.Minute)
			bus <- BusMark{leaderAt(Live)}
		}
		synctest.Wait()
		if n := b.db.asked(); n != 0 {
			t.Errorf("%d pages were read in an hour", n)
		}
		b.state(Live)
	})
}

func TestWhatIsTrueOfTheLeaderIsTrueOfThoseItLeads(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		for _, s := range []State{Polling, Down, CatchingUp, Live} {
			bus <- BusMark{leaderAt(s)}
			b.state(s)
		}
		at := time.Now().Add(time.Hour)
		m := leaderAt(Live)
		m.Began, m.Read = at, at
		bus <- BusMark{m}
		synctest.Wait()
		if got := b.feed.ReadAt(); !got.Equal(at) {
			t.Errorf("read at %v, want %v", got, at)
		}
		bus <- BusResync{time.Now(), "the leader's"}
		b.seen(func() {
			if !slices.Equal(b.resyncs, []string{"the leader's"}) {
				t.Errorf("asked to resync for %q", b.resyncs)
			}
		})
	})
}

func TestWhoTakesTheLeadTellsAgainWhatAnotherMayHaveToldNobody(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		b.db.put("long ago")
		time.Sleep(10 * time.Minute)
		bus <- b.byLeader(b.db.put("told"))
		b.expect("INSERT told")
		since := time.Now()
		time.Sleep(time.Second)
		b.db.put("untold")
		bus <- BusLost{"gone"}
		bus <- BusLed{Led: false, Since: since}
		b.expect("INSERT long ago found", "INSERT untold found") // the first was nobody's either
		b.seen(func() {
			if !slices.Equal(b.again, []string{"told"}) {
				t.Errorf("told again: %q", b.again)
			}
			b.again = nil
		})
		b.goLive()
		bus <- BusLed{Led: false, Since: since} // another led meanwhile
		b.seen(func() {
			if slices.Sort(b.again); !slices.Equal(b.again, []string{"told", "untold"}) {
				t.Errorf("told again: %q", b.again)
			}
			b.again = nil
		})
		time.Sleep(time.Hour) // and reads, as a leader does
		b.seen(func() {
			if len(b.again) > 0 {
				t.Errorf("told again: %q", b.again)
			}
		})
	})
}

func TestWhatIsToldAgainIsPassedOnByThoseWhoDoNotHaveIt(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		again := func(c *phoenix.Change, n uint64) BusEvent {
			e := b.byLeader(c).(BusChange)
			e.Change.Action, e.Change.Again, e.Change.Found, e.Change.Place = Update, true, true, Place{2, n}
			return e
		}
		old := b.db.put("a")
		bus <- b.byLeader(old)
		time.Sleep(time.Second)
		newer := b.db.put("a")
		bus <- b.byLeader(newer)
		b.expect("INSERT a", "UPDATE a")
		bus <- again(old, 1)
		bus <- again(newer, 2)
		untold := b.db.put("b")
		bus <- again(untold, 3)
		bus <- again(untold, 4)
		b.expect("INSERT b found")
		b.seen(func() {
			if want := []Place{{2, 1}, {2, 2}, {2, 4}}; !slices.Equal(b.differs, want) {
				t.Errorf("differs at %v, want %v", b.differs, want)
			}
		})
		if n := b.db.asked(); n != 0 {
			t.Errorf("%d pages were read", n)
		}
	})
}

func TestEntriesThatAreMissingAreReadAndDeletesAskedToBeResynced(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		b.db.put("missed")
		bus <- BusGap{time.Now(), "trimmed"}
		b.expect("INSERT missed found")
		b.seen(func() {
			if !slices.Equal(b.resyncs, []string{"trimmed"}) {
				t.Errorf("asked to resync for %q", b.resyncs)
			}
		})
		b.state(Live)
	})
}

func TestAFeedTakesTheLeadWhereAnotherLeftIt(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		bus <- b.byLeader(b.db.put("told"))
		b.expect("INSERT told")
		b.db.put("untold")
		time.Sleep(time.Second)
		bus <- BusLost{"gone"}
		led := false
		bus <- BusLed{Led: false}
		bus <- BusDo(func() { led = true })
		b.expect("INSERT untold found")
		if !led {
			t.Error("what was to be done was not")
		}
		b.goLive()
		b.seen(func() {
			if !slices.Equal(b.resyncs, []string{"leader"}) { // deletes between the two
				t.Errorf("asked to resync for %q", b.resyncs)
			}
		})
		b.hear(b.db.put("told"))
		b.expect("UPDATE told")
	})
}

func TestAFeedThatPolledUnderALeaderGoesOnToPollByItself(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		bus <- BusMark{leaderAt(Polling)}
		bus <- BusLost{"gone"}
		bus <- BusLed{Led: false}
		b.state(Polling)
		b.db.put("a")
		time.Sleep(2 * DefaultPollMin)
		b.expect("INSERT a found")
	})
}

func TestNothingComesTwiceWhileAFeedHearsBothRealtimeAndALeader(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		bus <- BusLost{"gone"}
		bus <- BusLed{Led: false}
		b.goLive()
		bus <- BusMark{leaderAt(Live)}
		bus <- BusLive{}
		for _, first := range []bool{true, false} {
			c := b.db.put("a")
			if first {
				b.hear(c)
				bus <- b.byLeader(c)
			} else {
				bus <- b.byLeader(c)
				synctest.Wait()
				b.hear(c)
			}
		}
		b.expect("INSERT a", "UPDATE a")
		bus <- BusLed{Led: true}
		bus <- b.byLeader(b.db.put("a"))
		b.expect("UPDATE a")
		b.state(Live)
	})
}

func TestSettledIsWhatTheLeaderHasSettled(t *testing.T) {
	follow(t, func(b *bench, bus chan<- BusEvent) {
		read := time.Now()
		ask := func() (is bool) {
			if err := b.feed.Do(b.t.Context(), func() { is = b.feed.Settled(read, read) }); err != nil {
				t.Fatal(err)
			}
			return is
		}
		if ask() {
			t.Error("settled before the leader has read")
		}
		time.Sleep(time.Minute)
		m := leaderAt(Live)
		m.Began, m.Heard = read.Add(clockSkew), read.Add(2*clockSkew)
		bus <- BusMark{m}
		if ask() {
			t.Error("settled by a read that may have begun before, by this machine's clock")
		}
		m.Began = read.Add(clockSkew + time.Second)
		bus <- BusMark{m}
		synctest.Wait()
		if !ask() {
			t.Error("not settled though the leader has read since")
		}
	})
}

func FuzzChangeFromTheBus(f *testing.F) {
	for _, text := range []string{
		`{"table":"messages","action":"INSERT","row":{"id":"a"},"commit":"2026-01-01T00:00:00Z"}`, `{"table":"messages","action":"DELETE","old":{"id":1}}`,
		`{"table":"m","action":"UPDATE","row":{"id":1},"old":{"id":1},"found":true,"heard":"2026-01-01T00:00:00Z"}`, `{}`, `{"row":3}`, `[]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Change
		if json.Unmarshal(text, &c) != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("%s was read and can't be written: %v", text, err)
		}
		var d Change
		if err := json.Unmarshal(again, &d); err != nil {
			t.Fatalf("%s was written and can't be read: %v", again, err)
		}
		if d.Table != c.Table || d.Action != c.Action || !d.Commit.Equal(c.Commit) || d.Row.Digest() != c.Row.Digest() || d.Old.Digest() != c.Old.Digest() {
			t.Errorf("%s became %s", text, again)
		}
	})
}

func TestWhatIsNoChangeIsRefused(t *testing.T) {
	for _, text := range []string{`{}`, `{"table":"m","action":"INSERT"}`, `{"table":"m","action":"INSERT","row":[]}`, `{"table":"m","action":"DELETE","row":{"id":1}}`, `{"table":"m","row":{}}`} {
		var c Change
		if err := json.Unmarshal([]byte(text), &c); err == nil {
			t.Errorf("%s was read as %+v", text, c)
		}
	}
	var c Change
	if err := json.Unmarshal([]byte(`{"action":"INSERT","row":{"id":1}}`), &c); !errors.Is(err, errNoChange) {
		t.Errorf("a change of no table: %v", err)
	}
}
