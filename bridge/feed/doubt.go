package feed

import (
	"cmp"
	"context"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// Realtime can be joined, answer heartbeats, confirm subscriptions, and still bring nothing (its
// replication died, its poller can't start) or only a part (its rate limit drops changes without a
// word). So a lane is believed only while nothing speaks against it. Against it speaks a change
// that came by another way, and that this lane did not bring within Stall: the other lane brought
// it, a read found it, or it was offered. From then on the feed reads as fast as it polls, and does
// not say that it is live unless the other lane stands. A lane that brought nothing is believed
// again when something comes by it; one that brought a part, when it brought everything for a
// while.
//
// At rest this costs no request. Between two reads a silence that is long for the traffic before
// it, and a subscription by which nothing has come yet, make one more read each.

// Bounds of doubt.
const (
	cleanMin    = time.Minute      // a lane that lost changes is believed after as long without a loss
	cleanMax    = 15 * time.Minute // the most; each relapse doubles it
	relapse     = 30 * time.Minute // a doubt that begins within this time of the last one's end is a relapse
	rejoinEvery = time.Minute      // a lane that brings nothing is joined anew, at most so often
	maxAwaited  = 1024             // changes of which it is looked at whether each lane brings them, at one time
	largeRow    = 128 << 10        // bytes of a row that may not fit a broadcast
)

// doubt is what speaks against a lane. The zero doubt is none.
type doubt struct {
	on       bool
	silent   bool          // nothing came by the lane, or has not come since
	lossAt   time.Time     // when the last change was missed
	heard    bool          // something has come since
	clean    time.Duration // how long no change may be missed
	over     time.Time     // when the last doubt ended
	rejoined time.Time
}

// believed reports whether nothing speaks against the lane.
func (l *lineState) believed() bool { return !l.doubt.on }

// line gives the state of postgres_changes or of the fast lane.
func (f *Feed) line(by lane) *lineState {
	if by == byBroadcast {
		return &f.fast
	}
	return &f.main
}

// hurried reports whether reads are made at the rate of polling.
func (f *Feed) hurried() bool {
	return f.polling() || f.main.live && !f.main.believed() || f.fast.live && !f.fast.believed()
}

// await is a change that came by one way and is to come by others.
type await struct {
	table *tableFeed
	key   string
	seq   uint64
	at    time.Time // when it came
	due   time.Time // when it is looked at
	lanes [lanes]bool
}

// awaited are the changes that are to come by a lane, in the order in which they are looked at.
type awaited struct {
	list    []*await
	seq     uint64
	reached uint64 // the youngest that the fast lane brought or went past
}

// wait is how long a lane may take to bring a change that came by another.
func (f *Feed) wait() time.Duration { return f.opts.Stall + f.lastLag }

// expect notes that the other lanes are to bring a change too.
func (f *Feed) expect(t *tableFeed, c Change, by lane) {
	if by == byBroadcast { // it was ahead of the other
		f.awaited.reached = f.awaited.seq
	}
	key := keyOf(t, c)
	if key == "" || by == byBus || c.Again || len(t.awaited) >= maxAwaited || t.awaited[key] != nil {
		return
	}
	a := &await{table: t, key: key, at: time.Now()}
	var any bool
	for _, l := range []lane{byChanges, byBroadcast} {
		if l != by && f.brings(l, t, c, by, a.at) {
			a.lanes[l], any = true, true
		}
	}
	if !any {
		return
	}
	f.awaited.seq++
	a.seq, a.due = f.awaited.seq, a.at.Add(f.wait())
	if t.awaited == nil {
		t.awaited = make(map[string]*await)
	}
	t.awaited[key] = a
	f.awaited.list = append(f.awaited.list, a)
}

// brings reports whether a change was surely committed since a lane brings changes, so that the
// lane brings it.
func (f *Feed) brings(l lane, t *tableFeed, c Change, by lane, now time.Time) bool {
	line := f.line(l)
	if !line.live || l == byBroadcast && (!t.fast && !f.opts.FastSure || len(c.Row.Record)+len(c.Old.Record) > largeRow) {
		return false
	}
	if by != byNone { // it was committed just now
		return now.Sub(line.since) > f.opts.Stall
	}
	return f.committedSince(t.version(c.Row), line.since)
}

// committedSince reports whether a version tells that its row was committed after an instant of
// this machine's clock.
func (f *Feed) committedSince(v version, instant time.Time) bool {
	return v.at.After(f.clock.estimate(instant)) && !f.datedAhead(v.at)
}

// datedAhead reports whether an instant is ahead of the database's clock.
func (f *Feed) datedAhead(at time.Time) bool {
	return at.After(f.clock.estimate(time.Now()).Add(clockSkew))
}

// keyOf gives the key of a change's row.
func keyOf(t *tableFeed, c Change) string { return cmp.Or(c.Row.Text(t.Key), c.Old.Text(t.Key)) }

// arrived notes that a lane brought a change.
func (f *Feed) arrived(t *tableFeed, c Change, by lane) {
	line := f.line(by)
	line.heard = time.Now()
	f.rhythm.heard(line.heard)
	key := keyOf(t, c)
	delete(t.left, key)
	delete(t.leaving, key)
	if a := t.awaited[key]; a != nil {
		if a.lanes[by] {
			a.lanes[by] = false
			if by == byBroadcast {
				f.awaited.reached = max(f.awaited.reached, a.seq)
			}
		}
		if a.lanes == [lanes]bool{} {
			delete(t.awaited, key)
		}
	}
	if d := &line.doubt; d.on {
		d.heard = true
		if d.silent {
			f.believe(by)
		}
	}
}

// settleAwaited looks at the changes that have had time to come by each lane.
func (f *Feed) settleAwaited() {
	var again []*await
	now, missed := time.Now(), false
	for len(f.awaited.list) > 0 && !f.awaited.list[0].due.After(now) {
		a := f.awaited.list[0]
		f.awaited.list[0] = nil
		f.awaited.list = f.awaited.list[1:]
		if a.table.awaited[a.key] != a {
			continue // it came
		}
		var behind bool
		for _, l := range []lane{byChanges, byBroadcast} {
			line := f.line(l)
			switch {
			case !a.lanes[l]:
			case !line.live || line.since.After(a.at): // interrupted: that is known, and read
				a.lanes[l] = false
			case now.Sub(line.heard) > f.opts.Stall, f.wentPast(l, a), now.Sub(a.at) > longestWay:
				a.lanes[l], missed = false, true
				f.misses(l)
			default: // it brings what was committed before, as after a large transaction
				behind = true
			}
		}
		if behind {
			a.due = now.Add(f.opts.Stall)
			again = append(again, a)
		} else {
			delete(a.table.awaited, a.key)
		}
	}
	f.awaited.list = append(f.awaited.list, again...)
	if missed {
		f.report()
	}
}

// wentPast reports whether a lane, which keeps the order of commits, has brought something younger
// than an awaited change. Broadcasts don't tell their commit.
func (f *Feed) wentPast(l lane, a *await) bool {
	if l == byBroadcast {
		return a.seq < f.awaited.reached
	}
	return f.heardCommit.After(f.clock.estimate(a.at).Add(f.opts.Stall))
}

// nextAwaited is when settleAwaited has something to do; zero: nothing is awaited.
func (f *Feed) nextAwaited() time.Time {
	if len(f.awaited.list) == 0 {
		return time.Time{}
	}
	return f.awaited.list[0].due
}

// overlooked notes that a read found a row which the lanes must have brought by then, and none did.
func (f *Feed) overlooked(t *tableFeed, v version) {
	for _, l := range []lane{byChanges, byBroadcast} {
		line := f.line(l)
		if line.live && (l == byChanges || t.fast || f.opts.FastSure) &&
			(v.at.IsZero() || f.datedAhead(v.at) || f.committedSince(v, line.since)) {
			f.misses(l)
		}
	}
}

// Reasons of a state that come from a doubt.
const (
	reasonSilent = "Realtime is joined and brings no changes"
	reasonLosing = "Realtime loses changes"
)

// misses notes that a lane did not bring a change that it had to bring.
func (f *Feed) misses(by lane) {
	line, now := f.line(by), time.Now()
	d := &line.doubt
	silent := now.Sub(line.heard) > f.opts.Stall
	d.lossAt, d.heard = now, false
	if !d.on {
		d.on, d.silent = true, silent
		if !d.over.IsZero() && now.Sub(d.over) < relapse {
			d.clean = min(2*d.clean, cleanMax)
		} else {
			d.clean = cleanMin
		}
		f.stats.stalls.Add(1)
		f.distrust(by)
	}
	if by == byChanges && d.silent && silent && now.Sub(d.rejoined) >= rejoinEvery {
		d.rejoined = now
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = f.opts.Channel.Rejoin(ctx, "stalled") // a channel that is closing or joining anyway
	}
}

// distrust has the feed go on without a lane that is doubted from now on.
func (f *Feed) distrust(by lane) {
	line := f.line(by)
	since, reason := line.since, reasonSilent
	if line.heard.After(since) {
		since = line.heard
	}
	if !line.doubt.silent { // and when the first was lost is not known
		since, reason = f.read.passed.began, reasonLosing
	}
	if !f.stands(by) {
		if !since.IsZero() && f.gap == nil {
			f.gap = &phoenix.Gap{Since: since, Reason: "stalled"}
		}
		f.ebbs(reason)
	}
	f.read.poll = f.opts.PollMin
	f.wantIn(f.opts.PollMin)
}

// believe ends a doubt.
func (f *Feed) believe(by lane) {
	line := f.line(by)
	line.doubt.on, line.doubt.over = false, time.Now()
	if line.live && (by != byBroadcast || f.fastStands()) {
		f.flows(by)
	}
	f.want()
}

// relieve ends the doubts of lanes that have brought everything for long enough.
func (f *Feed) relieve() {
	for _, l := range []lane{byChanges, byBroadcast} {
		if d := &f.line(l).doubt; d.on && d.heard && time.Since(d.lossAt) >= d.clean {
			f.believe(l)
		}
	}
}

// rhythm is how often changes come, by whichever lane.
type rhythm struct {
	last time.Time
	gap  time.Duration // between two changes, of late
	// Of a subscription by which nothing has come yet: the next read, and the time from that to the
	// one after.
	probe time.Time
	wait  time.Duration
}

// Bounds of rhythm.
const (
	unprovenWait = 10 * time.Second // the first read after a subscription; the time doubles with each
	silenceMin   = 10 * time.Second // the shortest silence that is looked at
	silenceGaps  = 10               // how many gaps a silence is longer than those before
)

func (r *rhythm) heard(at time.Time) {
	if !r.last.IsZero() {
		r.gap += (at.Sub(r.last) - r.gap) / 8
	}
	r.last, r.probe = at, time.Time{}
}

func (r *rhythm) joined() {
	r.probe, r.wait = time.Now().Add(unprovenWait), 2*unprovenWait
}

// read notes that a pass which began at an instant has ended.
func (r *rhythm) read(began time.Time, interval time.Duration) {
	switch {
	case r.probe.IsZero() || began.Before(r.probe):
	case r.wait < interval:
		r.probe, r.wait = began.Add(r.wait), 2*r.wait
	default:
		r.probe = time.Time{}
	}
}

// checkDue is when a live feed reads: at the latest at an instant, sooner where changes have ceased
// or none has come yet, and where something was left to the live feed.
func (f *Feed) checkDue(at time.Time) time.Time {
	r := &f.read
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if !f.rhythm.probe.IsZero() {
		sooner(f.rhythm.probe)
	}
	if last := f.rhythm.last; !last.IsZero() {
		if check := last.Add(max(silenceMin, silenceGaps*f.rhythm.gap)); check.After(r.last) {
			sooner(check)
		}
	}
	if !r.checkAt.IsZero() {
		sooner(r.checkAt)
	}
	return at
}

// lookAgain has rows that a pass left to the live feed looked at once more, as soon as that can
// tell something. It happens once between two of the regular passes, for under load each pass
// leaves some.
func (f *Feed) lookAgain() {
	if r := &f.read; f.live && f.whole && !r.check && r.checkAt.IsZero() && (r.pass.odd || !r.pass.left.IsZero()) {
		r.checkAt = r.last.Add(f.wait() + clockMargin)
	}
}
