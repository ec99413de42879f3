package feed

import (
	"cmp"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// strand is one order in which a table's rows are read: by Updated, or by Created. A table with
// both columns has two, since the rows without a value in Updated, which were never updated, are in
// the order of Created alone.
type strand struct {
	column string
	null   string // a column that has no value in the rows of this strand; "": any
	primed bool
	// cursor is how far completed reads have come: the greatest time that they saw and that the
	// database's clock had reached. A row dated ahead never moves it.
	cursor version
	// left is the oldest time of a row that the last completed read left to the live feed; zero:
	// none. The next read begins there at the latest, for nobody else looks whether the row was
	// brought.
	left time.Time
	// Of the read under way: the greatest time that the database's clock is known to have reached,
	// the greatest that it may have reached, and the oldest left.
	sure, maybe version
	leaving     time.Time
	readAt      time.Time // when the last read ended
	askedAt     time.Time // when the database was asked what its clock had reached
}

// name is what the strand's cursor is called among those of all tables.
func (s *strand) name(table string) string {
	if s.null != "" {
		return table + ":" + s.column
	}
	return table
}

// strands gives the orders in which a table is read.
func (t Table) strands() []*strand {
	switch {
	case t.Updated != "" && t.Created != "":
		return []*strand{{column: t.Updated}, {column: t.Created, null: t.Updated}}
	case t.Updated != "" || t.Created != "":
		return []*strand{{column: cmp.Or(t.Updated, t.Created)}}
	}
	return nil
}

// from is where a read begins: the cursor less the overlap, or what was left before that.
func (s *strand) from(overlap time.Duration) time.Time {
	if s.cursor.at.IsZero() {
		return time.Time{}
	}
	from := s.cursor.at.Add(-overlap)
	if !s.left.IsZero() && s.left.Before(from) {
		return s.left
	}
	return from
}

// page is the first page of a read.
func (s *strand) page(t Table, overlap time.Duration, limit int) supabase.Page {
	p := supabase.Page{Table: t.Name, Column: s.column, WhereNull: s.null, Key: t.Key, Limit: limit, From: s.cursor.text}
	if from := s.from(overlap); !from.IsZero() {
		p.From = row.Timestamp(from)
	}
	return p
}

// begin forgets what a read before, which failed, has seen.
func (s *strand) begin() { s.sure, s.maybe, s.leaving = version{}, version{}, time.Time{} }

// saw notes the time of a row that a read found.
func (s *strand) saw(v version, c *clock, now time.Time) {
	switch {
	case v.at.IsZero(): // infinity
	case v.at.After(c.estimate(now).Add(aheadBy)) && now.Sub(s.askedAt) < clockTrust: // dated ahead
	case !v.at.After(c.atLeast(now)):
		s.sure = later(s.sure, v)
	default:
		s.maybe = later(s.maybe, v)
	}
}

// unsure reports whether a time beyond the cursor was seen of which only the database can say
// whether its clock had reached it.
func (s *strand) unsure() bool { return s.maybe.at.After(s.sure.at) && s.maybe.at.After(s.cursor.at) }

// passed notes that the database's clock had reached an instant.
func (s *strand) passed(v version) {
	s.askedAt = time.Now()
	if v.at.Before(s.maybe.at) {
		s.sure = later(s.sure, v)
	} else {
		s.sure = later(s.sure, s.maybe)
	}
	s.maybe = version{}
}

// end moves the cursor on at the end of a read that saw everything.
func (s *strand) end() {
	s.cursor = later(s.cursor, s.sure)
	s.left, s.primed, s.readAt = s.leaving, true, time.Now()
	s.begin()
}

// leave notes that a row is left to the live feed.
func (s *strand) leave(at time.Time) {
	if !at.IsZero() && (s.leaving.IsZero() || at.Before(s.leaving)) {
		s.leaving = at
	}
}

func later(a, b version) version {
	if b.at.After(a.at) {
		return b
	}
	return a
}
