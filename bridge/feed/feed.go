// Package feed turns Supabase Realtime, which delivers at most once, into one stream of changes in
// which no committed state of a row is lost and none comes twice.
//
//	f := feed.New(feed.Options{Tables: tables, Reader: rest, Channel: channel, Sink: sink})
//	f.Run(ctx)
//
// Realtime sends nothing of what commits while its socket is down, while a channel is joined but
// not subscribed, while its worker is away, and beyond its limits; of most of that it says nothing.
// So the feed reads rows through PostgREST, by a cursor column of each table and with an overlap
// for transactions that commit late: from "now" when it starts, whenever Realtime says or shows
// that something may be missing, and on a timer. What it reads and what it hears is merged by key
// and version (merge.go). While Realtime can't be had it polls by the same cursor.
//
// The alternatives were dropped for these reasons: a replication slot of our own needs a direct
// database connection, which hosted projects and pools don't give lightly; broadcasts from the
// database are capped at 25 replayed messages; asking for every row's sequence number needs a
// migration that a team must not have to make before it starts.
//
// Run starts goroutines beside its own for the requests that are under way, and has waited for them
// when it returns. Everything else belongs to Run's goroutine; others reach it by Do and Report.
package feed

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/phoenix"
)

// Defaults of Options.
const (
	DefaultOverlap   = 30 * time.Second
	DefaultInterval  = time.Minute
	DefaultPollAfter = 10 * time.Second
	DefaultPollMin   = time.Second
	DefaultPollMax   = 15 * time.Second
	DefaultWindow    = 100_000
	DefaultStall     = 5 * time.Second
)

// Times that are not worth a knob.
const (
	retryMin   = time.Second      // the first wait after a read failed
	retryMax   = 30 * time.Second // the longest
	settleWait = 2 * time.Second  // until a doubt is settled by a read
	rereadWait = 5 * time.Second  // the most that reading one incomplete row may take
)

// Reader reads rows; *supabase.Client is one.
type Reader interface {
	Rows(ctx context.Context, p supabase.Page) (rows []json.RawMessage, more bool, err error)
	Newest(ctx context.Context, p supabase.Page) (string, error)
	Row(ctx context.Context, table, key, id string) (row json.RawMessage, found bool, err error)
}

// Channel brings the live changes; *phoenix.Channel is one. Its events must begin with the feed.
type Channel interface {
	Events() <-chan phoenix.Event
	Rejoin(ctx context.Context, reason string) error
}

// Sink takes what comes out, on Run's goroutine and in order.
type Sink interface {
	// Change is one change. ctx ends with the feed.
	Change(ctx context.Context, c Change)
	// Resync tells that deletes may have been missed since an instant: no read can find them.
	Resync(since time.Time, reason string)
	// State tells how the feed stands; it is called when that changes.
	State(Report)
	// Again is a change for other nodes that this one leads: whoever is here has it.
	Again(ctx context.Context, c Change)
	// Differs tells that the leader has passed something on that this feed does not, or has passed on
	// differently: what is at a place of the leader's, or, where that is zero, what is not known.
	Differs(Place)
	// NotUnique tells that one answer had two rows of a table with the same key: they are taken for
	// one another.
	NotUnique(table, key string)
	// NoColumn tells that a table lacks a cursor column it was said to have; the feed goes on without.
	NoColumn(table, column string)
}

// Lane brings live changes as broadcasts from the database; *phoenix.Channel is one. Its events
// must begin with the feed.
type Lane interface {
	Events() <-chan phoenix.Event
}

// Options of a Feed. Reader, Channel, Sink and Tables are required; zero durations and counts mean
// the defaults.
type Options struct {
	Tables  []Table
	Reader  Reader
	Channel Channel
	Sink    Sink

	// Fast is a second way by which the same changes come, sooner; nil where there is none. Whichever
	// brings a change first passes it on. FastSure says that it brings the changes of every table;
	// without, it is trusted to be alone only once it has brought one of each.
	Fast     Lane
	FastSure bool
	// Bus brings what the feed of another node passes on, which leads this one; nil where there is
	// none. See bus.go.
	Bus <-chan BusEvent

	Pace
	// Window is how many rows of each table are remembered. It should hold those that change within
	// Interval and Overlap; of more, and of those dated ahead, a few numbers each are kept (seen.go).
	Window int
}

// Feed is one feed. Make it with New and Run it once.
type Feed struct {
	opts   Options
	tables []*tableFeed
	do     chan func()
	primed chan struct{} // closed once every table is
	paces  chan Pace     // holds one that was set and not taken on yet
	latest atomic.Pointer[Report]
	known  atomic.Pointer[clock] // what clock was last; see Now
	// when a pass last ended well, in nanoseconds since 1970; at first, when the feed was made
	readAt atomic.Int64
	stats  stats

	// Owned by Run's goroutine.
	live        bool      // changes flow, by either lane
	main        lineState // postgres_changes
	fast        lineState // broadcasts from the database
	clock       clock
	awaited     awaited
	rhythm      rhythm
	whole       bool      // and a pass that began after that has read what came before
	liveFrom    time.Time // since when
	away        time.Time // since when they don't; the start of the feed at first
	heardAt     time.Time // when the last change was heard, and the time of its commit by the database's clock
	heardCommit time.Time
	gap         *phoenix.Gap
	lastLag     time.Duration
	reason      string
	read        reading
	rereads     rereads
	lead        leading
}

// tableFeed is what the feed knows of one table.
type tableFeed struct {
	Table
	merger   *merger
	strands  []*strand
	nullable bool // rows without a value in Updated have been seen
	fast     bool // the fast lane has brought a change
	// left says since when rows are left to the live feed, by key; no lane has brought anything of
	// them since. leaving is the same of the read under way.
	left, leaving map[string]time.Time
	awaited       map[string]*await // by key
}

// primed reports whether the first read of the table has ended.
func (t *tableFeed) primed() bool {
	return !slices.ContainsFunc(t.strands, func(s *strand) bool { return !s.primed })
}

// begin forgets what a pass before, which failed, has seen.
func (t *tableFeed) begin() {
	t.leaving = nil
	for _, s := range t.strands {
		s.begin()
	}
}

// end is for the end of a pass that has read the whole table.
func (t *tableFeed) end(overlap time.Duration) {
	t.left, t.leaving = t.leaving, nil
	t.reach(overlap)
}

// reach tells the merger where the next read begins.
func (t *tableFeed) reach(overlap time.Duration) {
	var from time.Time
	for i, s := range t.strands {
		if at := s.from(overlap); i == 0 || at.Before(from) {
			from = at
		}
	}
	t.merger.reach(from)
}

// New makes a feed; Run runs it.
func New(opts Options) *Feed {
	opts.Pace = opts.Pace.withDefaults()
	if opts.Window == 0 {
		opts.Window = DefaultWindow
	}
	f := &Feed{
		opts:   opts,
		do:     make(chan func()),
		primed: make(chan struct{}),
		paces:  make(chan Pace, 1),
		reason: "starting",
	}
	for _, t := range opts.Tables {
		m := newMerger(t, opts.Window)
		m.ahead = f.datedAhead
		f.tables = append(f.tables, &tableFeed{Table: t, merger: m, strands: t.strands()})
	}
	f.readAt.Store(time.Now().UnixNano())
	f.latest.Store(&Report{State: Down, Since: time.Now(), Reason: f.reason})
	return f
}

// Run carries the feed until ctx ends or the channel does. It returns once its request has ended
// too.
func (f *Feed) Run(ctx context.Context) {
	f.away = time.Now()
	f.read.init()
	f.rereads.init()
	defer f.end()
	defer f.read.stop()
	f.want()
	fast, bus := f.fastEvents(), f.opts.Bus
	for events := f.opts.Channel.Events(); ; {
		if len(fast) > 0 && !drain(ctx, fast, f.hearFast) {
			fast = nil
		}
		if len(bus) > 0 && !drain(ctx, bus, f.hearBus) {
			bus = nil
		}
		if len(events) > 0 { // what has been heard goes before what is read: it keeps the order of commits
			if !drain(ctx, events, f.hear) {
				return
			}
		}
		f.plan(ctx)
		select {
		case <-ctx.Done():
			return
		case event, open := <-events:
			if !open {
				return
			}
			f.hear(ctx, event)
		case event, open := <-fast:
			if !open {
				fast = nil
				f.fastLost("the fast lane ended")
				f.report()
				continue
			}
			f.hearFast(ctx, event)
		case event, open := <-bus:
			if !open {
				bus = nil
				f.hearBus(ctx, BusLost{"the bus ended"})
				continue
			}
			f.hearBus(ctx, event)
		case answer := <-f.read.answers:
			f.answered(ctx, answer)
		case answer := <-f.rereads.answers:
			f.rereadAnswered(answer)
		case <-f.read.timer.C:
		case p := <-f.paces:
			f.opts.Pace = p
			f.read.poll = min(max(f.read.poll, p.PollMin), p.PollMax)
		case run := <-f.do:
			run()
		}
	}
}

// drain takes the events that are waiting, but no more than a queue of them at once, so that a
// flood does not shut everything else out. It returns false where the feed, or the lane, is to end.
func drain[E any](ctx context.Context, events <-chan E, hear func(context.Context, E)) bool {
	for range cap(events) {
		select {
		case <-ctx.Done():
			return false
		case event, open := <-events:
			if !open {
				return false
			}
			hear(ctx, event)
		default:
			return true
		}
	}
	return true
}

// Primed is closed once the feed knows where each table stands: from then on it misses nothing. Who
// reads rows before that, to go on with what comes from the feed, may miss what was committed
// between the two.
func (f *Feed) Primed() <-chan struct{} { return f.primed }

// Do has fn run between two changes, and returns when it has. It returns ctx's error where the feed
// does not come to it in time.
func (f *Feed) Do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case f.do <- func() { defer close(done); fn() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// hear takes an event of the channel.
func (f *Feed) hear(ctx context.Context, event phoenix.Event) {
	switch e := event.(type) {
	case *phoenix.Change:
		f.heard(ctx, e)
	case *phoenix.Joined:
		f.want()
	case *phoenix.Live:
		f.main.live, f.main.since = true, time.Now()
		f.rhythm.joined()
		if f.main.believed() {
			f.flows(byChanges)
		}
		f.want()
	case *phoenix.Gap:
		f.interrupted(byChanges)
		if !f.covers(e.Since) && f.gap == nil {
			f.gap = e
		}
		f.lost(string(e.Reason))
	case *phoenix.Lost:
		f.lost(e.Err.Error())
	case *phoenix.Retrying:
		f.lost(e.Err.Error())
	case *phoenix.SystemError:
		f.lost(e.Error())
	case *phoenix.Closed:
		if e.Err != nil {
			f.lost(e.Err.Error())
		}
	}
	f.report()
}

// lost notes that postgres_changes are away.
func (f *Feed) lost(reason string) {
	was := f.main.stands()
	f.main.live = false
	if f.stands(byChanges) {
		if was {
			f.want() // the lane that stands may have been behind
		}
		return
	}
	f.ebbs(reason)
}

// flows notes that changes flow by a lane.
func (f *Feed) flows(by lane) {
	if !f.live || !f.stands(by) {
		f.live, f.whole, f.liveFrom = true, false, time.Now()
	}
}

// ebbs notes that they don't.
func (f *Feed) ebbs(reason string) {
	if f.live {
		f.away = time.Now()
	}
	f.live, f.whole, f.reason = false, false, reason
}

// heard passes a live change on.
func (f *Feed) heard(ctx context.Context, e *phoenix.Change) {
	t := f.table(e.Table)
	if t == nil {
		return
	}
	c := Change{
		Table:  e.Table,
		Action: Action(e.Type),
		Row:    parse(e.Record),
		Old:    parse(e.OldRecord),
		Commit: e.CommitTime,
	}
	f.heardAt = time.Now()
	if !c.Commit.IsZero() { // of a table without a key there is none
		f.heardCommit, f.lastLag = c.Commit, max(0, f.heardAt.Sub(c.Commit))
		f.saw(c.Commit, f.heardAt)
	}
	f.arrived(t, c, byChanges)
	part := c.Action != Delete && incomplete(c.Row, e)
	f.queue(ctx, t, c, byChanges, func(j *job) {
		switch {
		case t.merger.precedes(c):
			f.stats.repeats.Add(1)
		case !part:
			f.merge(j)
		case !t.merger.covers(c.Row, byChanges):
			f.reread(j)
		}
	})
}

// merge passes a change on that no lane has brought before; it returns whether it did, as the lane
// brought it.
func (f *Feed) merge(j *job) bool {
	t, c := j.table, j.change
	if c.Action != Delete {
		t.look(c.Row)
	}
	told, ok := t.merger.live(c, j.by)
	if ok {
		f.expect(t, told, j.by)
		f.opts.Sink.Change(j.ctx, told)
	} else {
		f.stats.repeats.Add(1)
	}
	if !t.merger.placed() {
		f.reread(j)
	}
	if !t.merger.settled() {
		f.settle()
	}
	return ok
}

func (f *Feed) table(name string) *tableFeed {
	i := slices.IndexFunc(f.tables, func(t *tableFeed) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return f.tables[i]
}

// look notes whether a row has no value in Updated.
func (t *tableFeed) look(r row.Row) {
	if !t.nullable && t.Updated != "" && r.Text(t.Updated) == "" {
		t.nullable = true
	}
}

// incomplete tells whether a change lacks part of its row: beyond Realtime's size limit, for want
// of rights, or as a large value that did not change.
func incomplete(r row.Row, e *phoenix.Change) bool {
	return len(e.Errors) > 0 ||
		len(r.Columns) < len(e.Columns) &&
			slices.ContainsFunc(e.Columns, func(c phoenix.Column) bool { return !r.Has(c.Name) })
}
