package feed

import (
	"cmp"
	"time"
)

// Pace says how often a feed reads and how far back. Zero durations mean the defaults.
type Pace struct {
	// Overlap is how far behind the cursor each read begins: the longest that a transaction is
	// expected to take from its first statement to its commit. Longer costs rows read again.
	Overlap time.Duration
	// Interval is the time between reads while all is well.
	Interval time.Duration
	// Stall is how long a lane may take to bring a change before that is held against it (doubt.go).
	Stall time.Duration
	// PollAfter is how long Realtime may be away before the feed polls, PollMin and PollMax how often
	// it then does: often while rows come.
	PollAfter, PollMin, PollMax time.Duration
}

func (p Pace) withDefaults() Pace {
	return Pace{
		Overlap: cmp.Or(
			p.Overlap,
			DefaultOverlap,
		), Interval: cmp.Or(p.Interval, DefaultInterval), Stall: cmp.Or(p.Stall, DefaultStall),
		PollAfter: cmp.Or(
			p.PollAfter,
			DefaultPollAfter,
		), PollMin: cmp.Or(p.PollMin, DefaultPollMin), PollMax: cmp.Or(p.PollMax, DefaultPollMax),
	}
}

// SetPace changes the pace of a feed that runs, or will; it does not wait for that. One goroutine
// at a time may call it.
func (f *Feed) SetPace(p Pace) {
	select {
	case <-f.paces: // one that came to nothing
	default:
	}
	f.paces <- p.withDefaults()
}
