package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// startWait is how soon after its start a feed that is live was so for every browser that could
// come.
const startWait = 200 * time.Millisecond

// reading is the state of the feed's reads: one pass over all tables at a time, a page at a time.
// Owned by Run's goroutine, but for the request itself.
type reading struct {
	answers chan answer
	timer   *time.Timer
	cancel  context.CancelFunc // of the request under way; nil while there is none

	wanted   time.Time // when the next pass is due; zero: not before the interval or poll
	start    time.Time // of the feed
	followed bool      // it has been live and whole once

	last    time.Time // when the last pass ended
	backoff time.Duration
	poll    time.Duration

	doubt    bool // the next pass is to take whatever it finds
	passing  bool
	thorough bool // this one does
	stale    bool // something happened after this pass began that it may not have seen
	table    int  // being read
	strand   int  // of its strands
	page     supabase.Page
	limit    int       // of rows on a page; lowered where a page of them is too long
	asking   bool      // for the greatest time that the database's clock has reached, at the end of a strand
	check    bool      // this pass looks again at what the one before left to the live feed
	checkAt  time.Time // when one does that; zero: none
	began    uint64    // the merger's count when the request was sent
	sent     time.Time
	rows     int  // of this pass, that were passed on
	passed   pass // the last one that read everything
	pass     pass // this one
	failing  bool // the last pass failed
}

// pass says what a pass has settled.
type pass struct {
	began time.Time
	left  time.Time // the oldest version that it found and left to the live feed; zero: none
	odd   bool      // it left a row whose version tells nothing of when it was committed
}

type answer struct {
	rows   []json.RawMessage
	more   bool   // there may be rows after these
	newest string // the greatest time that the database's clock has reached; "": none was asked for
	err    error
}

func (r *reading) init() {
	r.start = time.Now()
	r.answers = make(chan answer)
	r.timer = time.NewTimer(time.Hour)
	r.limit = supabase.MaxRows
}

// stop ends the request under way and waits for it.
func (r *reading) stop() {
	r.timer.Stop()
	if r.cancel != nil {
		r.cancel()
		<-r.answers
		r.cancel = nil
	}
}

// want has a pass begin as soon as may be: after the one under way, which may not see everything
// any more, and without waiting for failures to be forgiven.
func (f *Feed) want() {
	f.wantIn(0)
	f.read.stale = f.read.passing
	f.read.backoff = 0
}

func (f *Feed) wantIn(d time.Duration) {
	if at := time.Now().Add(d); f.read.wanted.IsZero() || at.Before(f.read.wanted) {
		f.read.wanted = at
	}
}

// settle has a pass begin soon that takes whatever it finds: there is a doubt about some row.
func (f *Feed) settle() {
	f.read.doubt = true
	f.wantIn(settleWait)
}

// due is when the next pass is to begin.
func (f *Feed) due() time.Time {
	r := &f.read
	at := r.last.Add(f.opts.Interval)
	switch {
	case !r.wanted.IsZero():
		at = r.wanted
	case f.led():
		at = time.Now().Add(f.opts.Interval) // the leader reads
	case f.hurried():
		at = r.last.Add(r.poll)
	case f.live:
		at = f.checkDue(at)
	default:
		if begin := f.away.Add(f.opts.PollAfter); begin.Before(at) {
			at = begin
		}
	}
	if forgiven := r.last.Add(r.backoff); r.failing && at.Before(forgiven) {
		return forgiven
	}
	return at
}

// plan begins a pass that is due, or sets the timer for it.
func (f *Feed) plan(ctx context.Context) {
	r := &f.read
	f.settleAwaited()
	f.rereadFailed()
	next := earliest(f.nextAwaited(), f.nextFailed())
	if r.passing {
		if !next.IsZero() {
			r.timer.Reset(time.Until(next))
		}
		return
	}
	if wait := time.Until(f.due()); wait > 0 {
		if !next.IsZero() {
			wait = min(wait, max(0, time.Until(next)))
		}
		r.timer.Reset(wait)
		return
	}
	r.wanted = time.Time{}
	r.passing, r.stale, r.table, r.strand, r.asking, r.rows, r.page = true, false, 0, 0, false, 0, supabase.Page{}
	if r.check = !r.checkAt.IsZero() && !time.Now().Before(r.checkAt); r.check {
		r.checkAt = time.Time{}
	}
	for _, t := range f.tables {
		t.begin()
	}
	r.thorough, r.doubt, r.pass = r.doubt, false, pass{began: time.Now()}
	f.report()
	f.request(ctx)
}

// oldest is before every row that has a time, as text of a timestamp.
const oldest = "0001-01-01T00:00:00+00:00"

// request sends for the next page, or for the newest time where that is asked for or a strand is
// not primed.
func (f *Feed) request(ctx context.Context) {
	r := &f.read
	t := f.tables[r.table]
	if r.strand >= len(t.strands) {
		f.next(ctx)
		return
	}
	s := t.strands[r.strand]
	if !f.reads(t, s) {
		f.next(ctx)
		return
	}
	if r.page.Table == "" {
		r.page = s.page(t.Table, f.opts.Overlap, r.limit)
	}
	ctx, r.cancel = context.WithCancel(ctx)
	r.began, r.sent = t.merger.begin(), time.Now()
	page := r.page
	if r.asking || !s.primed && s.cursor.text == "" {
		go func() {
			newest, err := f.opts.Reader.Newest(ctx, page)
			r.answers <- answer{newest: cmp.Or(newest, oldest), err: err}
		}()
		return
	}
	go func() {
		rows, more, err := f.opts.Reader.Rows(ctx, page)
		r.answers <- answer{rows: rows, more: more, err: err}
	}()
}

// reads reports whether this pass is to read a strand. One for rows without a value in Updated is
// left out of most passes of polling where no such row was seen yet.
func (f *Feed) reads(t *tableFeed, s *strand) bool {
	return s.null == "" || !s.primed || t.nullable || !f.hurried() || time.Since(s.readAt) >= f.opts.Interval
}

// answered takes a page.
func (f *Feed) answered(ctx context.Context, a answer) {
	r := &f.read
	r.cancel()
	r.cancel = nil
	t := f.tables[r.table]
	switch {
	case errors.Is(a.err, supabase.ErrTooLong) && r.limit > 1:
		r.limit /= 2
		r.page.Limit = r.limit
		f.request(ctx)
		return
	case f.lacksColumn(t, a.err):
		r.page = supabase.Page{}
		f.request(ctx)
		return
	case a.err != nil:
		f.failed(a.err)
		return
	case a.newest != "":
		f.reached(ctx, t, version{a.newest, row.Time(a.newest)})
		return
	}
	if f.ambiguous(t, a.rows) {
		f.failed(errAmbiguous)
		return
	}
	for _, record := range a.rows {
		f.take(ctx, t, record)
	}
	if a.more {
		f.turn(t, a.rows[len(a.rows)-1])
		f.request(ctx)
		return
	}
	if t.strands[r.strand].unsure() {
		r.asking = true
		f.request(ctx)
		return
	}
	f.next(ctx)
}

// reached takes the greatest time of a strand that the database's clock has reached.
func (f *Feed) reached(ctx context.Context, t *tableFeed, v version) {
	r := &f.read
	s := t.strands[r.strand]
	if !v.at.IsZero() && v.text != oldest {
		f.saw(v.at, r.sent)
	}
	if r.asking {
		s.passed(v)
		f.next(ctx)
		return
	}
	if v.at.IsZero() {
		v = version{oldest, row.Time(oldest)}
	}
	s.cursor = v
	if floor := v.at.Add(-f.opts.Overlap); floor.After(t.merger.floor) {
		t.merger.floor, t.merger.start = floor, floor
	}
	r.page = supabase.Page{}
	f.request(ctx)
}

// codeNoColumn is SQLSTATE undefined_column.
const codeNoColumn = "42703"

// lacksColumn gives up a cursor column that the table turns out not to have: Updated first, for
// Created still finds new rows.
func (f *Feed) lacksColumn(t *tableFeed, err error) bool {
	if e, ok := supabase.AsError(err); !ok || e.Code != codeNoColumn || t.Updated == "" && t.Created == "" {
		return false
	}
	column := &t.Updated
	if *column == "" {
		column = &t.Created
	}
	f.opts.Sink.NoColumn(t.Name, *column)
	*column = ""
	t.strands, f.read.strand, f.read.asking = t.Table.strands(), 0, false
	t.merger.table = t.Table
	return true
}

// take passes a row on that a read found, unless it is known or its change can still be on its way.
func (f *Feed) take(ctx context.Context, t *tableFeed, record json.RawMessage) {
	r := parse(record)
	v := t.version(r)
	s := t.strands[f.read.strand]
	s.saw(v, &f.clock, f.read.sent)
	t.look(r)
	if !s.primed {
		t.merger.known(r)
		f.tellAgain(ctx, t, r)
		return
	}
	if t.merger.has(r) {
		f.tellAgain(ctx, t, r)
		return
	}
	key := r.Text(t.Key)
	overdue := f.overdue(t, key, v)
	if f.whole && !f.read.thorough && !overdue {
		f.leave(t, s, key, v)
		return
	}
	doubted := t.merger.doubted(key)
	c, ok := t.merger.read(r, f.read.began)
	if !ok {
		f.leave(t, s, key, v)
		if t.merger.has(r) { // there was a doubt
			f.tellAgain(ctx, t, r)
		}
		return
	}
	f.read.rows++
	f.stats.repaired.Add(1)
	if overdue && !doubted {
		f.overlooked(t, v)
	} else {
		f.expect(t, c, byNone)
	}
	f.opts.Sink.Change(ctx, c)
}

// leave leaves a row that a read found to the live feed, for now.
func (f *Feed) leave(t *tableFeed, s *strand, key string, v version) {
	f.read.pass.leave(v.at, v.at.IsZero() || f.datedAhead(v.at))
	s.leave(v.at)
	if key != "" && len(t.leaving) < maxLeft {
		since := f.read.sent
		if before, ok := t.left[key]; ok {
			since = before
		}
		if t.leaving == nil {
			t.leaving = make(map[string]time.Time)
		}
		t.leaving[key] = since
	}
}

// maxLeft bounds the rows of a table of which it is known when they were left first.
const maxLeft = 10_000

func (p *pass) leave(version time.Time, odd bool) {
	switch {
	case odd:
		p.odd = true
	case p.left.IsZero() || version.Before(p.left):
		p.left = version
	}
}

// Bounds of what Settled goes by.
const (
	clockSkew  = 5 * time.Second // between this machine and the database, at most
	longestWay = 5 * time.Minute // of a change by Realtime, where no other that came tells that it must have come
)

// Settled tells whether every row of up to a version that was committed before an instant, by this
// machine's clock, has been passed on, so that its change is not passed on later: a pass that began
// after that found nothing of it new; and, for a row that was gone by then, Realtime has gone past
// the instant, or had a long time for it. For the Sink, on Run's goroutine.
func (f *Feed) Settled(instant, version time.Time) bool {
	p := f.read.passed
	if f.rereads.waits() {
		return false // something waits that may be older
	}
	then := f.clock.estimate(instant).Add(clockSkew)
	overdue := time.Since(instant) > longestWay
	if overdue && f.datedAhead(version) {
		version = then // else whatever is left later would count as older
	}
	if !p.began.After(instant) || p.odd || !p.left.IsZero() && !p.left.After(version) {
		return false
	}
	return f.heardCommit.After(then) || overdue
}

// overdue reports whether the live feed, being whole, must have brought a row or lost it. Either
// its version is older than Stall, on top of what the last live change took (which a difference
// between the clocks is part of); or a read found the row that long ago, whatever its version says.
// While changes go on arriving it must also be behind the last of these: a large transaction takes
// Realtime a while. What is not overdue is left to the next pass.
func (f *Feed) overdue(t *tableFeed, key string, v version) bool {
	wait, sent := f.wait(), f.read.sent
	if !v.at.IsZero() && sent.Sub(v.at) > wait {
		if f.silent() || v.at.Before(f.heardCommit.Add(-f.opts.Stall)) {
			return true
		}
	}
	since, ok := t.left[key] // perhaps in an older version: some rows change all the time
	return ok && sent.Sub(since) > wait && f.goneBy(since)
}

// goneBy reports whether postgres_changes must have brought what was committed before an instant,
// or have lost it.
func (f *Feed) goneBy(instant time.Time) bool {
	return f.silent() || f.heardCommit.After(f.clock.estimate(instant).Add(f.opts.Stall))
}

// silent reports whether no change has been heard for a while.
func (f *Feed) silent() bool { return time.Since(f.heardAt) > f.opts.Stall }

// turn leads on to the page after a row.
func (f *Feed) turn(t *tableFeed, last json.RawMessage) {
	r := parse(last)
	f.read.page.AfterValue, f.read.page.AfterKey = r.Text(f.read.page.Column), r.Text(t.Key)
}

// next leads on to the next strand, to the next table, or to the end of the pass.
func (f *Feed) next(ctx context.Context) {
	r := &f.read
	t := f.tables[r.table]
	if r.strand < len(t.strands) {
		if s := t.strands[r.strand]; r.page.Table != "" { // it was read
			s.end()
		}
	}
	r.page, r.asking = supabase.Page{}, false
	if r.strand++; r.strand < len(t.strands) {
		f.request(ctx)
		return
	}
	t.end(f.opts.Overlap)
	r.strand = 0
	if r.table++; r.table < len(f.tables) {
		f.request(ctx)
		return
	}
	f.passed()
}

// passed ends a pass that read everything.
func (f *Feed) passed() {
	r := &f.read
	select {
	case <-f.primed:
	default:
		close(f.primed)
	}
	before := cmp.Or(r.passed.began, r.start)
	r.passing, r.failing, r.last, r.backoff, r.passed = false, false, time.Now(), 0, r.pass
	f.toldAgain(r.pass.began)
	f.readAt.Store(r.last.UnixNano())
	if r.rows > 0 || r.poll == 0 {
		r.poll = f.opts.PollMin
	} else {
		r.poll = min(r.poll*3/2, f.opts.PollMax)
	}
	f.rhythm.read(r.pass.began, f.opts.Interval)
	for _, t := range f.tables {
		if t.merger.overran() {
			f.opts.Sink.Resync(before.Add(-f.opts.Overlap), "window")
		}
	}
	switch {
	case r.stale:
		f.wantIn(0)
	case f.live && !f.whole:
		f.whole, f.reason = true, ""
		switch late := f.liveFrom.Sub(r.start); {
		case f.gap != nil:
			f.opts.Sink.Resync(f.gap.Since, string(f.gap.Reason))
		case !r.followed && late > startWait: // who came meanwhile was told of no delete
			f.opts.Sink.Resync(r.start, "start")
		}
		f.gap, r.followed = nil, true
	}
	f.relieve()
	f.lookAgain()
	f.report()
}

// failed ends a pass that could not be finished. The next one begins where this one did: what it
// passed on already is known.
func (f *Feed) failed(err error) {
	r := &f.read
	r.passing, r.failing, r.last = false, true, time.Now()
	r.backoff = min(max(retryMin, 2*r.backoff), retryMax)
	if e, ok := supabase.AsError(err); ok {
		if e.Class == supabase.ClassSlow {
			r.backoff = retryMax
		}
		r.backoff = max(r.backoff, e.RetryAfter)
	}
	f.wantIn(0)
	f.stats.failures.Add(1)
	f.reason = err.Error()
	f.report()
}
