package feed

import (
	"container/list"
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
)

// Action is what happened to a row.
type Action string

// The actions.
const (
	Insert   Action = "INSERT"
	Update   Action = "UPDATE"
	Delete   Action = "DELETE"
	Truncate Action = "TRUNCATE"
)

// Change is one row that was inserted, updated or deleted. Row is the new one and Old what is known
// of the old one, with the bytes that came from Supabase. Commit is the time of the commit by the
// database's clock; zero where a read found the row or the fast lane brought it.
type Change struct {
	Table  string
	Action Action
	Row    row.Row
	Old    row.Row
	Commit time.Time
	// Found marks a change that a read found and the live feed had not brought.
	Found bool
	// Again marks a row that one who takes the lead had already: those it leads may not.
	Again bool
	// Replaces marks an INSERT of a key under which another row was passed on: that one is gone, and
	// its DELETE did not come.
	Replaces bool
	// Place is where it is in what the leader passes on, where it came by the bus; else zero. See
	// bus.go.
	Place Place

	heard time.Time // when a broadcast arrived, which does not tell its commit; by this machine's clock
}

// merger makes one stream of what both lanes bring live and of the rows that reads find, in which
// no state of a row comes twice and none that is older follows one that is newer.
//
// For each row of late it keeps the states passed on last, oldest first, and how far into them each
// lane has come (lane.go). A lane keeps its own order, loses some, and brings most of what the
// other brings, earlier or later. So for a live change:
//
//   - among the states that the lane has not come to yet: it is the copy of that one; the lane has
//     come there, and nothing is done;
//   - nothing was passed on beyond what the lane has come to: it is new, whatever its version says,
//     for a lane's order is that of the commits;
//   - the fast lane brings the row before the change too: where that is the state passed on last,
//     it is new as well;
//   - else others are ahead and did not bring it. It is new where its version is younger than that
//     of the state passed on last. An older one they lost, and it is dropped; where that is wrong,
//     since an older version was committed later (two writers waiting for each other), the next
//     read passes on what is true. Of the same version (one transaction, or nobody keeps the
//     version) its row is read by the key at once;
//   - a DELETE is new unless its commit, or the version it deleted, is older than the row passed on
//     last;
//   - an INSERT of a row that is there is an UPDATE to whoever has it, unless it was created at
//     another time: then it is another row under the same key, and the DELETE of the one before did
//     not come. An UPDATE of one that is not there is an INSERT.
//
// What a lane shows to have gone past it is kept like a state passed on, so that a late copy of it
// is known: the row before a change by the fast lane where another was passed on last, and a DELETE
// before an INSERT. Commit times, which postgres_changes alone gives, tell what a new subscription
// repeats: it begins with what was committed just before it.
//
// For a row as a read found it, which knows at which count of changes it began and so which of the
// states it may not have seen:
//
//   - passed on, or deleted, after the read began: the read may be older; nothing is done, and a
//     later read settles it;
//   - of the version passed on last: nothing, but where there is a doubt its content counts;
//   - else it is another state, committed and never passed on: an UPDATE, or an INSERT where the
//     last was a DELETE;
//   - not remembered: an INSERT where the row was created after everything forgotten, else an
//     UPDATE.
//
// What is remembered is bounded: the oldest entries are forgotten first, and floor tells up to
// which version. One goroutine uses it.
type merger struct {
	table Table
	limit int

	count   uint64
	entries map[string]*list.Element // of *entry, by key
	age     *list.List               // front: touched last
	floor   time.Time                // rows created up to here may have been passed on and forgotten
	start   time.Time                // what was committed up to here was there before the feed; zero until it is primed
	lanes   [lanes]bool              // those that have brought something
	doubt   bool                     // a live change was dropped, or a DELETE passed on, that a read must settle
	tail    [lanes][maxTail]string   // keys of what each lane brought last, by turns
	turn    [lanes]int
	unsure  bool // the row of the last live change must be read by its key

	from time.Time // where the next read begins; zero: with everything
	// what is left of entries that were forgotten and that reads find again, by hash of the key
	seen    map[uint64]seen
	lapsed  time.Time            // not all of what was passed on with versions up to here is known any more
	overrun bool                 // that has happened since overran was asked
	ahead   func(time.Time) bool // reports whether an instant is ahead of the database's clock; nil: none is
}

type entry struct {
	key     string
	version version   // of the state passed on last; after a DELETE the instant only
	born    time.Time // when the row was created that was passed on last
	count   uint64    // when it was passed on
	deleted bool
	doubt   bool      // a live change was dropped that may be younger
	states  history   // what was passed on, and how far the lanes have come
	commit  time.Time // of the last change by postgres_changes
	repeats []uint64  // digests of its changes of that commit, the newest maxRepeats
}

// maxRepeats bounds how many changes of one row in one transaction are recognised when they are
// repeated.
const maxRepeats = 8

// maxTail bounds the rows of an interrupted transaction that are looked at.
const maxTail = 16

// maxDoubted bounds the rows that are looked at after the bus was interrupted, the youngest.
const maxDoubted = 10_000

func newMerger(table Table, limit int) *merger {
	return &merger{table: table, limit: limit, entries: make(map[string]*list.Element), age: list.New()}
}

// begin gives the count at which a read begins.
func (m *merger) begin() uint64 { return m.count }

// known remembers a row that need not be told, for it was there before the feed began.
func (m *merger) known(r row.Row) {
	key, v := r.Text(m.table.Key), m.table.version(r)
	if key == "" {
		return
	}
	e := m.entry(key)
	if e == nil {
		e = m.make(key)
	}
	m.pass(e, v, state{mark: r.Digest(), at: v.at, found: true}, byNone)
	e.born = m.table.Born(r)
}

// precedes tells whether a change of a row that is not remembered is older than the feed: a
// subscription may begin with what was committed while nobody was subscribed, and whoever came
// since has read it. A DELETE is never taken for older, for no read shows it.
func (m *merger) precedes(c Change) bool {
	if c.Action == Delete || m.start.IsZero() || m.entry(c.Row.Text(m.table.Key)) != nil {
		return false
	}
	at := c.Commit
	if at.IsZero() && c.Found { // by its time, which then tells enough. A broadcast tells no commit and is never repeated
		at = m.table.version(c.Row).at
	}
	return !at.IsZero() && !at.After(m.start)
}

// live takes a change that a lane brought and gives it back as it is to be passed on; false where
// it is not.
func (m *merger) live(c Change, by lane) (Change, bool) {
	r, s := c.Row, state{}
	c.Replaces = false // that is told by what is known here
	var v version
	if c.Action == Delete {
		r, s.mark = c.Old, deleteMark
	} else {
		v = m.table.version(r)
		s = state{mark: r.Digest(), at: v.at}
	}
	key := r.Text(m.table.Key)
	if key == "" {
		return c, true
	}
	m.lanes[by] = true
	m.tail[by][m.turn[by]%maxTail] = key
	m.turn[by]++
	e := m.entry(key)
	if e == nil {
		shrunk, known := m.recall(key)
		e = m.make(key)
		switch {
		case known && c.Action != Delete && shrunk.mark == s.mark: // a copy of what was passed on
			m.pass(e, v, s, by)
			return c, false
		case known && c.Action == Insert:
			c.Action = Update
		case !known && c.Action == Update && m.unheard(c.Row):
			c.Action = Insert // its INSERT was missed, and nobody can update what they never had
		}
	} else if !m.fresh(e, c, s, by) {
		e.note(c, s.mark, by)
		return c, false
	}
	switch known := len(e.states.list) > 0; {
	case c.Action == Delete:
		v = version{at: e.version.at}
		if s.at = goneBy(c, m.table); s.at.Before(v.at) {
			s.at = v.at
		}
	case known && e.deleted:
		c.Action = Insert
	case known && c.Action == Insert:
		e.states.skip(state{mark: deleteMark, at: e.version.at})
		if born := m.table.Born(c.Row); born.IsZero() || e.born.IsZero() || born.Equal(e.born) {
			c.Action = Update
		} else {
			c.Replaces = true
		}
	}
	if before, ok := m.before(c, by); ok && before.mark != e.states.last().mark {
		e.states.skip(before)
	}
	e.note(c, s.mark, by)
	m.pass(e, v, s, by)
	if e.deleted = c.Action == Delete; !e.deleted {
		e.born = m.table.Born(c.Row)
	}
	return c, true
}

// before gives the state that a change by the fast lane says it follows.
func (m *merger) before(c Change, by lane) (state, bool) {
	if by != byBroadcast || len(c.Old.Columns) == 0 {
		return state{}, false
	}
	return state{mark: c.Old.Digest(), at: m.table.version(c.Old).at}, true
}

// deletedAt is up to when a row's versions are taken for older than its DELETE: the commit, which
// is told to the millisecond, or the version deleted.
func deletedAt(c Change, t Table) time.Time {
	if c.Commit.IsZero() {
		return t.version(c.Old).at
	}
	return c.Commit.Add(time.Millisecond)
}

// goneBy is deletedAt for a DELETE that is passed on. The version deleted alone would not do: it
// may be older than one before it, where two writers waited for each other, and that one would
// bring the row back. A row inserted again before the broadcast was heard is settled by a read.
func goneBy(c Change, t Table) time.Time {
	if at := deletedAt(c, t); at.After(c.heard) {
		return at
	}
	return c.heard
}

// reinserted is how much older than the commit of a DELETE the version of a row must be for that
// row to be the one deleted, where an earlier DELETE was passed on too: one that was inserted again
// by the transaction that deleted it is older only by as long as that took.
const reinserted = 5 * time.Second

// fresh tells whether a live change follows the state that was passed on last. It moves the lane on
// where it does not.
func (m *merger) fresh(e *entry, c Change, s state, by lane) bool {
	if by == byChanges && e.repeated(c.Commit, s.mark) {
		return false
	}
	last := e.states.last()
	before, chained := m.before(c, by)
	follows := chained && !e.deleted && before.mark == last.mark
	if c.Action == Delete {
		return follows || m.freshDelete(e, c, by)
	}
	switch {
	case e.states.advance(s.mark, by):
		return false
	case follows, e.states.caughtUp(by) && (!e.deleted || s.at.After(last.at)):
		return true
	case m.table.Updated != "" && !s.at.Equal(last.at) && !e.states.caughtUp(by):
		dated := m.ahead != nil && (m.ahead(s.at) || m.ahead(last.at))
		if s.at.After(last.at) && !dated {
			return true
		}
		e.doubt = true
		if dated || s.at.IsZero() || s.at.Before(m.from) { // no read by time finds it
			m.unsure = true
		} else {
			m.doubt = true
		}
		return false
	case c.Action == Insert && !e.deleted && e.states.onlyFound(by):
		return false
	}
	e.doubt, m.unsure = true, true
	return false
}

// freshDelete is fresh for a DELETE. A row passed on that is younger than the commit is another of
// the same key; that one is younger than the version deleted says less, since an older version may
// have been committed later: its row is read by the key.
func (m *merger) freshDelete(e *entry, c Change, by lane) bool {
	last, bound := e.states.last().at, deletedAt(c, m.table)
	dated := by == byChanges || !c.Commit.IsZero()
	switch {
	case e.states.caughtUp(by) && !e.deleted:
		return true
	case e.deleted: // a copy, or of a row that nobody was told of
		if !e.states.advance(deleteMark, by) {
			if before, ok := m.before(c, by); ok {
				e.states.skip(before)
			}
			e.states.add(state{mark: deleteMark, at: last}, by, m.lanes)
		}
		e.states.age(bound)
		m.count++
		e.count = m.count // a read under way may have seen it
		return false
	case dated && last.After(bound) && e.states.advance(deleteMark, by):
		return false
	case dated && last.After(bound): // another row of the same key, or this one, dated ahead
		m.unsure = true
		return false
	case dated:
		last = last.Add(reinserted)
	}
	if !last.IsZero() && bound.After(last) {
		return true
	}
	e.states.advance(deleteMark, by)
	m.unsure = true
	return false
}

// repeated tells whether a change by postgres_changes was brought before: of an earlier commit than
// the last, or of the same and equal to one of its changes.
func (e *entry) repeated(commit time.Time, mark uint64) bool {
	if commit.IsZero() || e.commit.IsZero() {
		return false
	}
	return commit.Before(e.commit) || commit.Equal(e.commit) && slices.Contains(e.repeats, mark)
}

// note remembers what postgres_changes may repeat.
func (e *entry) note(c Change, mark uint64, by lane) {
	if by != byChanges || c.Commit.Before(e.commit) {
		return
	}
	if !c.Commit.Equal(e.commit) {
		e.commit, e.repeats = c.Commit, e.repeats[:0]
	}
	if len(e.repeats) == maxRepeats {
		e.repeats = append(e.repeats[:0], e.repeats[1:]...)
	}
	e.repeats = append(e.repeats, mark)
}

// read takes a row that a read found, which began at count began, and gives the change it amounts
// to; false where there is none.
func (m *merger) read(r row.Row, began uint64) (Change, bool) {
	key, v, mark := r.Text(m.table.Key), m.table.version(r), r.Digest()
	if key == "" {
		return Change{}, false
	}
	action := Update
	e := m.entry(key)
	known := e != nil
	switch {
	case e == nil && m.recalls(key, v):
		return Change{}, false
	case e == nil:
		_, known := m.recall(key)
		e = m.make(key)
		if !known && m.unheard(r) {
			action = Insert
		}
	case e.count > began:
		return Change{}, false
	case e.deleted:
		action = Insert
	case e.version.same(v) && (!e.doubt || mark == e.states.last().mark):
		e.doubt = false
		return Change{}, false
	}
	m.pass(e, v, state{mark: mark, at: v.at, found: true}, byNone)
	born := m.table.Born(r)
	replaces := action == Update && known && !born.IsZero() && !e.born.IsZero() && !born.Equal(e.born)
	if e.born = born; replaces {
		action = Insert
	}
	return Change{Table: m.table.Name, Action: action, Row: r, Found: true, Replaces: replaces}, true
}

// has tells whether a row as a read found it is the state passed on last, beyond doubt.
func (m *merger) has(r row.Row) bool {
	key := r.Text(m.table.Key)
	e := m.entry(key)
	if e == nil {
		return m.recalls(key, m.table.version(r))
	}
	return !e.deleted && !e.doubt && e.version.same(m.table.version(r))
}

// doubted reports whether a live change of a row was dropped that may be younger than what was
// passed on.
func (m *merger) doubted(key string) bool {
	e := m.entry(key)
	return e != nil && e.doubt
}

// exact is read for the row of a change that came incomplete or can't be placed, read by its key:
// where the version is the same, the content counts.
func (m *merger) exact(r row.Row, c Change, by lane) (Change, bool) {
	key := r.Text(m.table.Key)
	if e := m.entry(key); e != nil {
		e.doubt = true
	}
	found, ok := m.read(r, m.begin())
	if e := m.entry(key); e != nil && len(c.Row.Columns) > 0 {
		e.states.advance(c.Row.Digest(), by)
	}
	return found, ok
}

// changedSince reports whether a state of a row was passed on after a count of changes.
func (m *merger) changedSince(key string, began uint64) bool {
	e := m.entry(key)
	return e != nil && e.count > began
}

// gone is for such a change whose row turns out not to be there: a DELETE is true, and for another
// change its DELETE comes yet.
func (m *merger) gone(c Change, by lane) (Change, bool) {
	e := m.entry(c.Old.Text(m.table.Key))
	if c.Action != Delete || e == nil || e.deleted {
		return c, false
	}
	m.pass(e, version{at: e.version.at}, state{mark: deleteMark, at: goneBy(c, m.table)}, by)
	e.deleted = true
	return c, true
}

// covers tells whether a change that came incomplete is a copy of one passed on whole, by its
// version, and moves the lane on where it is.
func (m *merger) covers(part row.Row, by lane) bool {
	e, v := m.entry(part.Text(m.table.Key)), m.table.version(part)
	return e != nil && m.table.Updated != "" && !v.at.IsZero() && e.states.reach(v.at, by)
}

// cut notes that a lane was interrupted: perhaps within a transaction, of which later changes of
// the rows that it brought last are missing and have the same version.
func (m *merger) cut(by lane) {
	if by == byBus { // what is missing there the leader may have found much later than it was committed
		for at, n := m.age.Front(), 0; at != nil && n < maxDoubted; at, n = at.Next(), n+1 {
			at.Value.(*entry).doubt = true
		}
	}
	for _, key := range m.tail[by] {
		if e := m.entry(key); e != nil {
			e.doubt = true
		}
	}
}

// unheard reports whether a row that is not remembered was never passed on, as far as its creation
// tells. Of a row whose creation is dated ahead it tells nothing: then the row is new where it was
// not updated since.
func (m *merger) unheard(r row.Row) bool {
	born := m.table.Born(r)
	text := r.Text(m.table.Created)
	if text == "infinity" || m.ahead != nil && m.ahead(born) {
		return m.table.version(r).same(version{text, born})
	}
	return born.After(m.floor)
}

// settled tells, and forgets, whether a live change was dropped that only a later read can settle.
func (m *merger) settled() bool {
	doubt := m.doubt
	m.doubt = false
	return !doubt
}

// placed tells, and forgets, whether the last live change was dropped since nothing but its row,
// read by its key, tells whether it was new.
func (m *merger) placed() bool {
	unsure := m.unsure
	m.unsure = false
	return !unsure
}

func (m *merger) entry(key string) *entry {
	if at, ok := m.entries[key]; ok {
		return at.Value.(*entry)
	}
	return nil
}

func (m *merger) make(key string) *entry {
	e := &entry{key: key}
	m.entries[key] = m.age.PushFront(e)
	return e
}

// pass notes a state that is passed on, makes its row's entry the youngest, and forgets the oldest
// beyond the limit.
func (m *merger) pass(e *entry, v version, s state, by lane) {
	m.count++
	m.age.MoveToFront(m.entries[e.key])
	e.count, e.version, e.deleted, e.doubt = m.count, v, false, false
	e.states.add(s, by, m.lanes)
	for m.age.Len() > m.limit {
		oldest := m.age.Remove(m.age.Back()).(*entry)
		delete(m.entries, oldest.key)
		m.shrink(oldest)
		if at := oldest.version.at; at.After(m.floor) && (m.ahead == nil || !m.ahead(at)) {
			m.floor = at
		}
	}
}
