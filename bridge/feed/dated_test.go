package feed

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// lane is a fast lane that a test brings broadcasts by.
type testLane chan phoenix.Event

func (l testLane) Events() <-chan phoenix.Event { return l }

// broadcast gives a change as the fast lane brings it.
func broadcast(c *phoenix.Change) *phoenix.BroadcastMessage {
	old := c.OldRecord
	if old == nil {
		old = json.RawMessage("null")
	}
	record := c.Record
	if record == nil {
		record = json.RawMessage("null")
	}
	return &phoenix.BroadcastMessage{Event: string(c.Type), Payload: json.RawMessage(fmt.Sprintf(
		`{"operation":%q,"schema":%q,"table":%q,"record":%s,"old_record":%s}`, c.Type, c.Schema, c.Table, record, old))}
}

// times are what a row may have for a time, by the writer's mistake or for a good reason.
func times(now time.Time) map[string]string {
	return map[string]string{
		"two minutes ahead":     stamp(now.Add(2 * time.Minute)),
		"in 2099":               "2099-01-01T00:00:00+00:00",
		"infinity":              "infinity",
		"local time":            now.Add(2 * time.Hour).Format("2006-01-02T15:04:05.999999"),
		"of an import":          "1995-01-01T00:00:00+00:00",
		"before all":            "-infinity",
		"just behind":           stamp(now.Add(-40 * time.Second)),
		"ahead by milliseconds": stamp(now.Add(400 * time.Millisecond)),
	}
}

func TestARowOfAnyTimeSilencesNothing(t *testing.T) {
	for name := range times(time.Time{}) {
		for _, way := range []string{"postgres_changes", "the fast lane", "reads"} {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s by %s, there before %t", name, way, before), func(t *testing.T) {
					var fast testLane
					run(t, func(o *Options) {
						if way == "the fast lane" {
							fast = make(testLane, 64)
							o.Fast, o.FastSure = fast, true
						}
					}, func(b *bench) {
						at := times(time.Now())[name]
						if before { // the feed starts when the row is there
							b.db.set("odd", at, at)
							b.restart()
						}
						bring := func(c *phoenix.Change) {
							switch way {
							case "postgres_changes":
								b.hear(c)
							case "the fast lane":
								fast <- broadcast(c)
								synctest.Wait()
							default:
								time.Sleep(2 * DefaultPollMax)
								synctest.Wait()
							}
						}
						switch way {
						case "postgres_changes":
							b.goLive()
						case "the fast lane":
							fast <- &phoenix.Live{}
							b.state(Live)
						default:
							time.Sleep(DefaultPollAfter + time.Second)
							b.state(Polling)
						}
						time.Sleep(3 * time.Second)
						if odd := "INSERT odd"; !before && way != "reads" {
							bring(b.db.set("odd", at, at))
							b.expect(odd)
						} else if !before { // no read finds a row whose time is long past
							b.db.set("odd", at, at)
						}
						for i := range 5 {
							time.Sleep(time.Second)
							key := fmt.Sprintf("later%d", i)
							bring(b.db.put(key))
							b.seen(func() {
								b.told = slices.DeleteFunc(b.told, func(line string) bool { return !before && line == "INSERT odd found" })
								if len(b.told) != 1 || !strings.HasPrefix(b.told[0], "INSERT "+key) {
									t.Errorf("told %q, want the insert of %s alone", b.told, key)
								}
								b.told = nil
							})
						}
						time.Sleep(5 * time.Minute)
						b.expect()
					})
				})
			}
		}
	}
}

// restart goes on with a feed that knows nothing, on the same database and channel.
func (b *bench) restart() {
	b.stop()
	b.events = make(chan phoenix.Event, 4096)
	b.begin()
}

func TestARowDatedAheadThatRealtimeLosesIsFoundAndToldOnce(t *testing.T) {
	for name, at := range map[string]string{"2099": "2099-01-01T00:00:00+00:00", "infinity": "infinity"} {
		t.Run(name, func(t *testing.T) {
			run(t, nil, func(b *bench) {
				b.goLive()
				b.hear(b.db.put("a"))
				b.expect("INSERT a")
				b.db.set("odd", at, at) // Realtime says nothing of it
				time.Sleep(DefaultInterval + 3*DefaultStall)
				b.expect("INSERT odd found")
				time.Sleep(10 * time.Minute)
				b.expect()
				b.db.set("odd", at, stamp(time.Now())) // nor of this
				time.Sleep(2 * DefaultPollMax)
				b.expect("UPDATE odd found")
			})
		})
	}
}

func TestAnUpdateOfARowThatWasCreatedAheadIsNoInsert(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		c := b.db.set("odd", "2099-01-01T00:00:00+00:00", stamp(time.Now().Add(-time.Hour)))
		c.Type, c.Record = phoenix.Update, record("odd", "2099-01-01T00:00:00+00:00", stamp(time.Now()))
		b.hear(c)
		b.expect("UPDATE odd")
	})
}

func TestADeleteOfARowDatedAheadIsToldWhicheverLaneIsBehind(t *testing.T) {
	var fast testLane
	run(t, func(o *Options) { fast = make(testLane, 64); o.Fast, o.FastSure = fast, true }, func(b *bench) {
		b.goLive()
		fast <- &phoenix.Live{}
		c := b.db.put("odd")
		b.hear(c)
		fast <- broadcast(c)
		b.expect("INSERT odd")
		c = b.db.set("odd", stamp(time.Now()), "2099-01-01T00:00:00+00:00")
		fast <- broadcast(c)
		b.expect("UPDATE odd")
		b.db.mu.Lock()
		delete(b.db.rows, "odd")
		b.db.mu.Unlock()
		// The fast lane loses the DELETE, and postgres_changes lost the UPDATE.
		b.hear(&phoenix.Change{Type: phoenix.Delete, Schema: "public", Table: "messages", CommitTime: time.Now(), OldRecord: json.RawMessage(`{"id":"odd"}`)})
		b.expect("DELETE odd")
	})
}

func TestRowsThatWereNeverUpdatedAreToldOnceAndOnlyWhenTheyAreNew(t *testing.T) {
	run(t, nil, func(b *bench) {
		born := time.Now()
		for i := range 300 { // never updated, and created over a long time since the last update
			b.db.set(fmt.Sprintf("m%03d", i), stamp(born.Add(time.Duration(i)*time.Second)), "")
		}
		time.Sleep(10 * time.Minute)
		b.seen(func() { b.told = nil })
		b.restart()
		b.goLive()
		c := b.db.set("new", stamp(time.Now()), "")
		b.hear(c)
		b.expect("INSERT new")
		time.Sleep(10 * time.Minute)
		b.expect()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		created := stamp(time.Now())
		b.db.set("missed", created, "")
		b.hear(&phoenix.Joined{Again: true}, &phoenix.Live{})
		b.expect("INSERT missed found")
		time.Sleep(time.Second)
		b.db.set("missed", created, stamp(time.Now())) // Realtime loses its first update
		time.Sleep(DefaultInterval + 3*DefaultStall)
		b.expect("UPDATE missed found")
		time.Sleep(10 * time.Minute)
		b.expect()
	})
}

func TestTheFirstRowWithoutATimeOfUpdateIsFoundWhileTheFeedPolls(t *testing.T) {
	run(t, nil, func(b *bench) {
		time.Sleep(DefaultPollAfter + DefaultInterval)
		b.state(Polling)
		b.db.set("null", stamp(time.Now()), "")
		time.Sleep(DefaultInterval + DefaultPollMax)
		b.expect("INSERT null found")
	})
}

func TestMoreRowsThanTheWindowHoldsAreToldOnce(t *testing.T) {
	const rows = 50
	run(t, func(o *Options) { o.Window = 10 }, func(b *bench) {
		b.goLive()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		for i := range rows {
			b.db.put(fmt.Sprintf("m%02d", i))
		}
		b.hear(&phoenix.Joined{Again: true}, &phoenix.Live{})
		b.seen(func() {
			if len(b.told) != rows {
				t.Errorf("%d told of %d rows", len(b.told), rows)
			}
			b.told = nil
		})
		time.Sleep(10 * time.Minute)
		b.expect()
		// Each of them is still known for what it is.
		b.hear(b.db.put("m00"))
		b.expect("UPDATE m00")
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		b.db.put("m01")
		b.hear(&phoenix.Joined{Again: true}, &phoenix.Live{})
		b.expect("UPDATE m01 found")
		time.Sleep(10 * time.Minute)
		b.expect()
	})
}

func TestWhereNotEvenNumbersAreKeptOfAllRowsBrowsersAreAskedToReadAnew(t *testing.T) {
	const rows = 200
	run(t, func(o *Options) { o.Window = 10 }, func(b *bench) { // 10 entries and 100 shrunk ones
		b.goLive()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		for i := range rows {
			b.db.put(fmt.Sprintf("m%03d", i))
		}
		b.hear(&phoenix.Joined{Again: true}, &phoenix.Live{})
		time.Sleep(10 * time.Minute)
		b.seen(func() {
			told := len(b.told)
			slices.Sort(b.told)
			if len(slices.Compact(b.told)) != told || told < 100 || !slices.Contains(b.resyncs, "window") || len(b.resyncs) != 2 {
				t.Errorf("%d told of %d rows, resyncs %q, want none twice and one resync for the window", told, rows, b.resyncs)
			}
			b.told = nil
		})
		b.hear(b.db.put("new"))
		b.expect("INSERT new")
	})
}

func TestARowThatWasLeftToALaggingFeedIsNotPassedByTheCursor(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		time.Sleep(time.Second)
		b.db.put("lost") // Realtime will not bring it
		// Realtime is busy with a large transaction for minutes: what it brings was committed
		// before.
		begun := time.Now().Add(-time.Second)
		for i := range 60 {
			time.Sleep(3 * time.Second)
			b.db.put(fmt.Sprintf("m%02d", i))
			c := b.db.set("big", stamp(begun), stamp(begun.Add(time.Duration(i)*time.Microsecond)))
			c.CommitTime = begun
			b.hear(c)
		}
		b.seen(func() {
			if slices.Contains(b.told, "INSERT lost found") {
				t.Error("the row was not left to the live feed: the test shows nothing")
			}
		})
		time.Sleep(3 * DefaultInterval)
		b.seen(func() {
			if !slices.Contains(b.told, "INSERT lost found") {
				t.Errorf("the row that Realtime lost was never found; told %q", b.told)
			}
		})
	})
}

// An instant has as many texts as there are time zones, and each lane writes its own.
func TestAnotherTextOfTheSameInstantIsNoUpdate(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC)
	texts := []string{
		"2026-03-01T12:00:00.12+00:00", "2026-03-01T14:00:00.12+02:00", "2026-03-01 12:00:00.12+00", "2026-03-01T07:00:00.120000-05:00",
		"2026-03-01 17:30:00.12+05:30", "2026-03-01T12:00:00.12", "2026-03-01T12:00:00.120Z",
	}
	for _, first := range texts {
		for _, second := range texts {
			m := newMerger(Table{Name: "messages", Key: "id", Updated: "updated_at", Created: "created_at"}, 10)
			insert := Change{Table: "messages", Action: Insert, Row: parse(record("a", first, first)), Commit: at}
			if _, ok := m.live(insert, byChanges); !ok {
				t.Fatalf("an insert at %s is no news", first)
			}
			if c, ok := m.read(parse(record("a", second, second)), m.begin()); ok {
				t.Errorf("live %s, read %s: passed on again as %s", first, second, c.Action)
			}
			m.entry("a").doubt = true // the content is to tell
			if c, ok := m.read(parse(record("a", second, second)), m.begin()); ok {
				t.Errorf("live %s, read in doubt %s: passed on again as %s", first, second, c.Action)
			}
			copied := Change{Table: "messages", Action: Insert, Row: parse(record("a", second, second))}
			if c, ok := m.live(copied, byBroadcast); ok || !m.placed() || !m.settled() {
				t.Errorf("live %s, by the other lane %s: passed on again as %s, or doubted", first, second, c.Action)
			}
		}
	}
	if a, b := parse(record("a", "x", texts[0])), parse(record("a", "y", texts[1])); a.Digest() == b.Digest() {
		t.Error("another text that is no time makes no difference")
	}
	if a, b := parse(record("a", "", texts[0])), parse(record("a", "", stamp(at.Add(time.Microsecond)))); a.Digest() == b.Digest() {
		t.Error("a microsecond makes no difference")
	}
}

func TestRepairEndsWhateverTheProjectsMaxRows(t *testing.T) {
	for _, maxRows := range []int{1, 7, 100} {
		run(t, nil, func(b *bench) {
			b.db.mu.Lock()
			b.db.maxRows = maxRows
			b.db.mu.Unlock()
			b.goLive()
			b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
			var want []string
			for i := range 300 {
				key := fmt.Sprintf("m%03d", i)
				b.db.put(key)
				want = append(want, "INSERT "+key+" found")
			}
			b.hear(&phoenix.Joined{Again: true}, &phoenix.Live{})
			b.expect(want...)
			b.state(Live)
		})
	}
}
