package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/phoenix"
)

// database is the Reader of these tests: rows with the text of their version, and failures to
// order. The mutex guards all fields.
type database struct {
	mu    sync.Mutex
	rows  map[string]string // key → version
	born  map[string]string
	err   error
	delay time.Duration
	pages int
	most  int    // rows that fit an answer; 0: any
	lacks string // a column that isn't there
	gets  []string

	maxRows int // of one answer; 0: any
	newest  int // times that the greatest time was asked for
}

func stamp(t time.Time) string { return row.Timestamp(t) }

func record(key, created, updated string) json.RawMessage {
	if updated == "" {
		return json.RawMessage(fmt.Sprintf(`{"id":%q,"created_at":%q,"updated_at":null,"body":"b"}`, key, created))
	}
	return json.RawMessage(fmt.Sprintf(`{"id":%q,"created_at":%q,"updated_at":%q,"body":"b"}`, key, created, updated))
}

// put commits a row now, and gives the change that Realtime would send.
func (d *database) put(key string) *phoenix.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := stamp(time.Now())
	return d.commit(key, cmp.Or(d.born[key], now), now)
}

// set commits a row with any times.
func (d *database) set(key, created, updated string) *phoenix.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commit(key, created, updated)
}

func (d *database) commit(key, created, updated string) *phoenix.Change {
	action := phoenix.Update
	if d.born[key] == "" {
		action = phoenix.Insert
	}
	d.born[key], d.rows[key] = created, updated
	c := &phoenix.Change{Type: action, Schema: "public", Table: "messages", CommitTime: time.Now(), Record: record(key, created, updated)}
	for _, name := range []string{"id", "created_at", "updated_at", "body"} {
		c.Columns = append(c.Columns, phoenix.Column{Name: name, Type: "text"})
	}
	return c
}

func (d *database) fail(err error, delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.delay = err, delay
}

// asked tells how many pages were asked for.
func (d *database) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pages
}

// answer waits as ordered and gives the failure ordered.
func (d *database) answer(ctx context.Context) error {
	d.mu.Lock()
	delay, err := d.delay, d.err
	d.mu.Unlock()
	select {
	case <-time.After(delay):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *database) Rows(ctx context.Context, p supabase.Page) ([]json.RawMessage, bool, error) {
	if err := d.answer(ctx); err != nil {
		return nil, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pages++
	if p.Column == d.lacks {
		return nil, false, &supabase.Error{Status: 400, Code: "42703", Class: supabase.ClassPermanent}
	}
	if d.most > 0 && p.Limit > d.most {
		return nil, false, fmt.Errorf("rows: %w", supabase.ErrTooLong)
	}
	keys := d.strand(p)
	keys = slices.DeleteFunc(keys, func(key string) bool {
		at := when(d.value(p, key))
		if p.AfterKey != "" {
			after := when(p.AfterValue)
			return at.Before(after) || at.Equal(after) && key <= p.AfterKey
		}
		return at.Before(when(p.From))
	})
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(when(d.value(p, a)).Compare(when(d.value(p, b))), cmp.Compare(a, b))
	})
	limit := p.Limit
	if d.maxRows > 0 {
		limit = min(limit, d.maxRows)
	}
	var out []json.RawMessage
	for _, key := range keys[:min(len(keys), limit)] {
		out = append(out, record(key, d.born[key], d.rows[key]))
	}
	return out, len(out) < len(keys), nil
}

// when is where a time is in the order of PostgreSQL.
func when(text string) time.Time {
	if text == "infinity" {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return row.Time(text)
}

// strand gives the keys of the rows that a page is of.
func (d *database) strand(p supabase.Page) []string {
	var keys []string
	for key, version := range d.rows {
		if d.value(p, key) != "" && (p.WhereNull == "" || version == "") {
			keys = append(keys, key)
		}
	}
	return keys
}

// value is what a row has in the column that a page is ordered by.
func (d *database) value(p supabase.Page, key string) string {
	if p.Column == "created_at" {
		return d.born[key]
	}
	return d.rows[key]
}

func (d *database) Newest(ctx context.Context, p supabase.Page) (string, error) {
	if err := d.answer(ctx); err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest++
	if p.Column == d.lacks {
		return "", &supabase.Error{Status: 400, Code: "42703", Class: supabase.ClassPermanent}
	}
	var newest string
	for _, key := range d.strand(p) {
		at := d.value(p, key)
		if !when(at).After(time.Now()) && (newest == "" || when(at).After(when(newest))) {
			newest = at
		}
	}
	return newest, nil
}

func (d *database) Row(ctx context.Context, _, _, id string) (json.RawMessage, bool, error) {
	if err := d.answer(ctx); err != nil {
		return nil, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gets = append(d.gets, id)
	version, ok := d.rows[id]
	return record(id, d.born[id], version), ok, nil
}

// bench is a feed between a database, a channel and what comes out. The mutex guards told, resyncs,
// states and rejoins.
type bench struct {
	t      *testing.T
	db     *database
	events chan phoenix.Event
	feed   *Feed
	begin  func() // makes and runs a feed; stop ends it
	stop   func()

	mu        sync.Mutex
	told      []string // "INSERT a", "UPDATE a found", …
	resyncs   []string
	states    []State
	rejoins   int
	lacking   []string
	ambiguous []string
	differs   []Place
	again     []string
}

func (b *bench) NoColumn(table, column string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lacking = append(b.lacking, table+"."+column)
}

func (b *bench) NotUnique(table, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ambiguous = append(b.ambiguous, table+"."+key)
}

func (b *bench) Again(_ context.Context, c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = append(b.again, c.Row.Text("id"))
}

func (b *bench) Differs(p Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.differs = append(b.differs, p)
}

func (b *bench) Events() <-chan phoenix.Event { return b.events }

func (b *bench) Rejoin(context.Context, string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejoins++
	return nil
}

func (b *bench) Change(_ context.Context, c Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := string(c.Action) + " " + cmp.Or(c.Row.Text("id"), c.Old.Text("id"))
	if c.Found {
		line += " found"
	}
	b.told = append(b.told, line)
}

func (b *bench) Resync(_ time.Time, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resyncs = append(b.resyncs, reason)
}

func (b *bench) State(r Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states = append(b.states, r.State)
}

// run runs a test with a feed in a bubble whose clock stands still while anything has something to
// do.
func run(t *testing.T, change func(*Options), test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, db: &database{rows: map[string]string{}, born: map[string]string{}}, events: make(chan phoenix.Event, 4096)}
		opts := Options{Tables: []Table{{Name: "messages", Key: "id", Updated: "updated_at", Created: "created_at"}}, Reader: b.db, Channel: b, Sink: b}
		if change != nil {
			change(&opts)
		}
		b.begin = func() {
			b.feed = New(opts)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			b.stop = func() { stop(); <-done }
			go func() { defer close(done); b.feed.Run(ctx) }()
		}
		b.db.put("old")
		time.Sleep(time.Second)
		b.begin()
		test(b)
		b.stop()
	})
}

func (b *bench) hear(events ...phoenix.Event) {
	for _, e := range events {
		b.events <- e
	}
	synctest.Wait()
}

// goLive brings the feed to where all is well.
func (b *bench) goLive() {
	b.t.Helper()
	b.hear(&phoenix.Joined{}, &phoenix.Live{})
	b.state(Live)
}

func (b *bench) state(want State) {
	b.t.Helper()
	synctest.Wait()
	if got := b.feed.Report(); got.State != want {
		b.t.Errorf("the feed is %+v, want %s", got, want)
	}
}

// expect compares, and forgets, what has been told.
func (b *bench) expect(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.told, want) {
		b.t.Errorf("told %q, want %q", b.told, want)
	}
	b.told = nil
}

// seen runs a check of what has come out.
func (b *bench) seen(check func()) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	check()
}

func TestTheStartBringsNoFlood(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.expect()
		b.hear(b.db.put("a"))
		b.expect("INSERT a")
		time.Sleep(5 * time.Minute)
		b.expect()
		b.state(Live)
	})
}

func TestRowsOfAGapAreFoundOnceAndDeletesAreAskedToBeResynced(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.hear(b.db.put("a"))
		b.hear(&phoenix.Lost{Err: errors.New("cut")}, &phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		b.state(CatchingUp)
		time.Sleep(time.Second)
		b.db.put("a")
		b.db.put("old")
		b.db.put("b")
		b.hear(&phoenix.Joined{Again: true})
		b.expect("INSERT a", "UPDATE a found", "INSERT b found", "UPDATE old found")
		missed := b.db.put("c") // between the join and the subscription
		b.hear(&phoenix.Live{})
		b.expect("INSERT c found")
		b.hear(missed)
		b.expect()
		b.state(Live)
		b.seen(func() {
			if !slices.Equal(b.resyncs, []string{"reconnect"}) {
				b.t.Errorf("resyncs %q, want one for the reconnect", b.resyncs)
			}
		})
	})
}

func TestAFeedThatWasLateToBeLiveAsksForDeletesToBeResynced(t *testing.T) {
	for after, want := range map[time.Duration][]string{50 * time.Millisecond: nil, 5 * time.Second: {"start"}} {
		run(t, nil, func(b *bench) {
			time.Sleep(after)
			b.goLive()
			b.state(Live)
			b.seen(func() {
				if !slices.Equal(b.resyncs, want) {
					b.t.Errorf("live after %v: resyncs %q, want %q", after, b.resyncs, want)
				}
			})
		})
	}
}

func TestALateCommitIsFoundByTheOverlap(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		late := time.Now()
		time.Sleep(20 * time.Second)
		b.hear(b.db.put("a"))
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect}, &phoenix.Joined{}, &phoenix.Live{})
		b.expect("INSERT a")
		b.db.mu.Lock()
		b.db.rows["late"], b.db.born["late"] = stamp(late), stamp(late) // its transaction began 20 s ago
		b.db.mu.Unlock()
		b.hear(&phoenix.Live{})
		b.expect("INSERT late found")
	})
}

func TestWithoutRealtimeTheFeedPollsAndComesBack(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.hear(&phoenix.Retrying{Err: errors.New("refused")})
		time.Sleep(9 * time.Second)
		b.state(CatchingUp)
		time.Sleep(2 * time.Second)
		b.state(Polling)
		for _, key := range []string{"a", "b", "c"} {
			b.db.put(key)
			time.Sleep(1500 * time.Millisecond)
			b.expect("INSERT " + key + " found")
		}
		pages := b.db.asked()
		time.Sleep(10 * time.Minute)
		if n := b.db.asked() - pages; n < 10*60/16 || n > 10*60/16+20 {
			b.t.Errorf("%d reads in ten quiet minutes, want about one in 15 s", n)
		}
		b.goLive()
		b.hear(b.db.put("d"))
		b.expect("INSERT d")
		b.seen(func() {
			if !slices.Equal(b.states, []State{CatchingUp, Polling, CatchingUp, Live}) {
				b.t.Errorf("states %v", b.states)
			}
		})
	})
}

func TestWithNeitherTheFeedIsDownAndRecovers(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.db.fail(&supabase.Error{Status: 503, Class: supabase.ClassRetry}, 0)
		b.hear(&phoenix.Lost{Err: errors.New("cut")})
		time.Sleep(time.Minute)
		b.state(Down)
		b.db.put("a")
		b.db.fail(nil, 0)
		time.Sleep(31 * time.Second)
		b.state(Polling)
		b.expect("INSERT a found")
	})
}

func TestALiveFeedStaysLiveWhenAReadFails(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.db.fail(&supabase.Error{Status: 500, Class: supabase.ClassRetry}, 0)
		time.Sleep(3 * time.Minute)
		b.state(Live)
		b.hear(b.db.put("a"))
		b.expect("INSERT a")
		if b.feed.Stats().Failures == 0 {
			b.t.Error("no failure was counted")
		}
	})
}

func TestASilentFeedIsFoundOutAndJoinedAnew(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		time.Sleep(time.Second)
		b.db.put("a") // and Realtime says nothing
		time.Sleep(2 * time.Minute)
		b.expect("INSERT a found")
		b.seen(func() {
			if b.rejoins != 1 || b.feed.Stats().Stalls != 1 {
				b.t.Errorf("%d rejoins, %d stalls, want one each", b.rejoins, b.feed.Stats().Stalls)
			}
		})
	})
}

func TestAChangeInFlightIsNoStall(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		time.Sleep(59 * time.Second)
		c := b.db.put("a")
		time.Sleep(time.Second + time.Millisecond) // the timer's read is faster than Realtime
		b.expect()
		b.hear(c)
		b.expect("INSERT a")
		b.seen(func() {
			if b.rejoins != 0 {
				b.t.Error("the channel was joined anew for nothing")
			}
		})
	})
}

func TestAnIncompleteRowIsReadBeforeItIsPassedOn(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		toast := b.db.put("a")
		toast.Record = json.RawMessage(`{"id":"a","created_at":"x","updated_at":"y"}`) // body did not change and is large
		tooLarge := b.db.put("b")
		tooLarge.Record, tooLarge.Errors = json.RawMessage(`{"id":"b"}`), []string{"Error 413: Payload Too Large"}
		b.hear(toast)
		b.expect("INSERT a")
		b.hear(tooLarge)
		b.expect("INSERT b")
		b.db.mu.Lock()
		if !slices.Equal(b.db.gets, []string{"a", "b"}) {
			b.t.Errorf("read %q by key, want a and b", b.db.gets)
		}
		b.db.mu.Unlock()
		nameless := b.db.put("c")
		nameless.Record, nameless.Columns, nameless.Errors = json.RawMessage(`{}`), nil, []string{"Error 401: Unauthorized"}
		b.hear(nameless)
		time.Sleep(settleWait + time.Millisecond)
		b.expect("INSERT c found")
	})
}

func TestManyRowsComeInPagesAndInOrder(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		var want []string
		for i := range 2500 {
			key := fmt.Sprintf("m%04d", i)
			b.db.put(key) // 2,500 rows of one instant: the key orders them
			want = append(want, "INSERT "+key+" found")
		}
		b.hear(&phoenix.Joined{}, &phoenix.Live{})
		b.expect(want...)
	})
}

func TestAPageThatIsTooLongIsAskedForInParts(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		b.db.mu.Lock()
		b.db.most = 3
		b.db.mu.Unlock()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		var want []string
		for i := range 10 {
			key := fmt.Sprintf("m%d", i)
			b.db.put(key)
			want = append(want, "INSERT "+key+" found")
		}
		b.hear(&phoenix.Joined{}, &phoenix.Live{})
		b.expect(want...)
		b.state(Live)
	})
}

func TestATableWithoutTheCursorColumnIsReadByTheOther(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.db.mu.Lock()
		b.db.lacks = "updated_at"
		b.db.mu.Unlock()
		b.goLive()
		b.hear(&phoenix.Gap{Since: time.Now(), Reason: phoenix.GapReconnect})
		time.Sleep(time.Second)
		b.db.put("a")
		b.hear(&phoenix.Joined{}, &phoenix.Live{})
		b.expect("INSERT a found")
		b.state(Live)
		b.seen(func() {
			if !slices.Equal(b.lacking, []string{"messages.updated_at"}) {
				b.t.Errorf("lacking %q, want messages.updated_at once", b.lacking)
			}
		})
	})
}

func TestAReadUnderWayEndsWithTheFeed(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.db.fail(nil, time.Hour)
		synctest.Wait() // run's stop must not wait for the hour: the bubble's clock would show it
	})
}

func TestDoRunsBetweenChanges(t *testing.T) {
	run(t, nil, func(b *bench) {
		ran := false
		if err := b.feed.Do(b.t.Context(), func() { ran = true }); err != nil || !ran {
			b.t.Errorf("Do: %v, ran %v", err, ran)
		}
		ctx, cancel := context.WithCancel(b.t.Context())
		cancel()
		idle := New(Options{})
		if err := idle.Do(ctx, func() { b.t.Error("a feed that does not run ran it") }); !errors.Is(err, context.Canceled) {
			b.t.Errorf("Do: %v, want the context's end", err)
		}
	})
}

func TestASubscriptionThatBeginsBeforeTheFeedDidRepeatsNothing(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		long := time.Now().Add(-DefaultOverlap - 2*time.Second) // when nobody was subscribed, and before what the first read looked at
		before := &phoenix.Change{Type: phoenix.Update, Schema: "public", Table: "messages", CommitTime: long, Record: record("a", stamp(long), stamp(long))}
		b.hear(before)
		b.expect()
		b.hear(&phoenix.Change{Type: phoenix.Delete, Schema: "public", Table: "messages", CommitTime: long, OldRecord: record("b", stamp(long), stamp(long))})
		b.expect("DELETE b")
		b.hear(b.db.put("a"))
		b.expect("INSERT a")
	})
}

func TestWhatWasReadIsSettledOnceNeitherAReadNorRealtimeCanBringItAnymore(t *testing.T) {
	run(t, nil, func(b *bench) {
		b.goLive()
		read, version := time.Now(), time.Now()
		settled := func(want bool, when string) {
			t.Helper()
			var got bool
			if err := b.feed.Do(b.t.Context(), func() { got = b.feed.Settled(read, version) }); err != nil || got != want {
				t.Errorf("%s: settled %t (%v), want %t", when, got, err, want)
			}
		}
		settled(false, "at once")
		time.Sleep(DefaultInterval + time.Second)
		settled(false, "after a pass alone, for a row may be gone whose change is still on its way")
		b.hear(b.db.put("a"))
		settled(true, "once Realtime brings what was committed later")
		read, version = time.Now(), time.Now()
		b.db.put("b") // Realtime says nothing of it yet
		settled(false, "of a later read")
		time.Sleep(longestWay + time.Second)
		settled(true, "after a long silence")
	})
}
