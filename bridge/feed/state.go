package feed

import (
	"sync/atomic"
	"time"
)

// State is how a feed stands.
type State string

// The states.
const (
	// Down: changes can neither be heard nor read.
	Down State = "down"
	// CatchingUp: Realtime is there, or tried; what was missed is being read.
	CatchingUp State = "catching_up"
	// Polling: Realtime can't be had, or it was seen to lose changes; they are read every few seconds.
	Polling State = "polling"
	// Live: changes are passed on as they are committed, and none before them is missing.
	Live State = "live"
)

// Report is a feed's state.
type Report struct {
	State  State         `json:"state"`
	Since  time.Time     `json:"since"`
	Lag    time.Duration `json:"-"` // from the last live change's commit, by the database's clock, to its being passed on
	Reason string        `json:"reason,omitempty"`
}

// Report gives the state; any goroutine may ask.
func (f *Feed) Report() Report { return *f.latest.Load() }

// ReadAt is when a pass of reading last ended well; before the first one, when the feed was made.
// Any goroutine may ask.
func (f *Feed) ReadAt() time.Time { return time.Unix(0, f.readAt.Load()) }

// Queued is how many changes have been heard and wait to be passed on, of both lanes. Any goroutine
// may ask.
func (f *Feed) Queued() int { return len(f.opts.Channel.Events()) + len(f.fastEvents()) }

// Stats counts what the feed did since it began.
type Stats struct {
	Repaired uint64 // changes found by reads that the live feed had not brought
	Repeats  uint64 // live changes dropped since they had been passed on
	Rereads  uint64 // rows read anew since their change came incomplete
	Stalls   uint64 // times a lane was found to be silent or to lose changes
	Failures uint64 // passes of reading that failed
	Fast     uint64 // changes that the fast lane brought
}

type stats struct{ repaired, repeats, rereads, stalls, failures, fast atomic.Uint64 }

// Stats gives the counts; any goroutine may ask.
func (f *Feed) Stats() Stats {
	return Stats{
		f.stats.repaired.Load(),
		f.stats.repeats.Load(),
		f.stats.rereads.Load(),
		f.stats.stalls.Load(),
		f.stats.failures.Load(),
		f.stats.fast.Load(),
	}
}

// polling reports whether the feed polls: Realtime has been away for long enough, or it is there
// and is not believed.
func (f *Feed) polling() bool {
	return !f.live && (time.Since(f.away) >= f.opts.PollAfter || !f.main.believed())
}

// report works the state out, and tells it where it changed.
func (f *Feed) report() {
	r := &f.read
	state := CatchingUp
	switch {
	case f.led():
		state = f.lead.mark.State
	case f.live && f.whole:
		state = Live
	case r.failing && !f.live, r.last.IsZero() && !f.live:
		state = Down
	case f.polling():
		state = Polling
	}
	now := Report{State: state, Since: time.Now(), Lag: f.lastLag, Reason: f.reason}
	if f.led() {
		now.Reason = f.lead.mark.Reason
	}
	was := f.latest.Load()
	if was.State == state {
		now.Since = was.Since
	}
	f.latest.Store(&now)
	if was.State != state {
		f.opts.Sink.State(now)
	}
}
