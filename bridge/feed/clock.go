package feed

import "time"

// clockTrust is how long one reading of the database's clock is used. Two clocks drift apart by
// less than a tenth of a second in this time.
const clockTrust = 10 * time.Minute

// clockMargin is how far the database's clock may be ahead of what clock.atLeast says: a change
// takes this long from its commit to the feed at most times.
const clockMargin = time.Second

// clock is what the feed knows of the database's clock. It never asks for the time: PostgREST's
// Date header has whole seconds and may be a proxy's. It learns from two things that the database
// itself dates. The time of a commit, which postgres_changes bring, has passed when the change
// arrives. And supabase.Client.Newest gives the greatest time in a table that has passed by the
// database's own clock. Both are lower bounds, which is the safe side: a cursor that is behind
// costs rows read again, one that is ahead loses rows.
//
// Owned by Run's goroutine.
type clock struct {
	db, local time.Time // the database's clock showed at least db when this machine's showed local
}

// saw notes that an instant of the database's clock had passed at an instant of this machine's.
func (c *clock) saw(db, local time.Time) {
	if known := c.atLeast(local); known.IsZero() || db.After(known) {
		c.db, c.local = db, local
	}
}

// atLeast gives an instant that the database's clock had reached at an instant of this machine's;
// the zero time where nothing is known.
func (c *clock) atLeast(local time.Time) time.Time {
	if c.local.IsZero() || local.Sub(c.local).Abs() > clockTrust {
		return time.Time{}
	}
	return c.db.Add(local.Sub(c.local))
}

// estimate gives what the database's clock showed at an instant of this machine's, as near as is
// known: the same, or more where the database is known to be ahead. What it told last may be long
// ago, so that it does not show to be behind.
func (c *clock) estimate(local time.Time) time.Time {
	if known := c.atLeast(local); known.After(local) {
		return known.Add(clockMargin)
	}
	return local
}

// saw is clock.saw, and has Now know.
func (f *Feed) saw(db, local time.Time) {
	f.clock.saw(db, local)
	known := f.clock
	f.known.Store(&known)
}

// Now gives what the database's clock shows, as near as is known. Any goroutine may ask.
func (f *Feed) Now() time.Time {
	now := time.Now()
	if c := f.known.Load(); c != nil {
		return c.estimate(now)
	}
	return now
}

// aheadBy is how far a row's time must be beyond the estimate of the database's clock for the row
// to count as dated ahead without asking the database, which is done now and then all the same.
// Such a row is read again by each pass, and never moves a cursor.
const aheadBy = time.Minute
