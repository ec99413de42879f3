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

// Change is one row that was inserted, updated or deleted. Row is the new one and Old what is known of the old one, with the bytes that came from
// Supabase. Commit is the time of the commit by the database's clock; zero where a read found the row.
type Change struct {
	Table  string
	Action Action
	Row    row.Row
	Old    row.Row
	Commit time.Time
	// Found marks a change that a read found and the live feed had not brought.
	Found bool
}

// merger makes one stream of the live changes of a table and of the rows that reads find, in which no state of a row comes twice and none that is older
// follows one that is newer.
//
// For each row of late it remembers which state was passed on last, where from, and when. "When" is a count of this merger's own and not a clock: a read
// knows at which count it began, and so which of the states it may not have seen. Rules, for a row as a read found it:
//
//   - passed on, or deleted, after the read began: the read may be older; nothing is done, and a later read settles it;
//   - of the version passed on last: nothing;
//   - else it is another state, committed and never passed on: an UPDATE, or an INSERT where the last was a DELETE;
//   - not remembered: an INSERT where the row was created after everything forgotten, else an UPDATE.
//
// and for a live change:
//
//   - the last state came live too: the server's order holds, and only an exact repetition or an older commit (a new subscription repeats what was
//     committed just before it) is dropped;
//   - the last state was found by a read: dropped where it is that state or of an older version. Where an older version was committed later (two writers
//     waiting for each other), that drops a state; it is noted as a doubt, and the next read passes on what is true.
//
// In a table without an Updated column versions never change; there a live UPDATE after a read is dropped only where its content is the same.
//
// What is remembered is bounded: the oldest entries are forgotten first, and floor tells up to which version. One goroutine uses it.
type merger struct {
	table Table
	limit int

	count   uint64
	entries map[string]*list.Element // of *entry, by key
	age     *list.List               // front: touched last
	floor   time.Time                // rows created up to here may have been passed on and forgotten
	doubt   bool
}

type entry struct {
	key     string
	version version
	digest  uint64 // of a row that a read found
	count   uint64 // when it was passed on
	found   bool   // by a read
	deleted bool
	commit  time.Time // of the last live change
	repeats []uint64  // digests of the live changes of that commit, the newest maxRepeats
}

// maxRepeats bounds how many changes of one row in one transaction are recognised when they are repeated.
const maxRepeats = 8

func newMerger(table Table, limit int) *merger {
	return &merger{table: table, limit: limit, entries: make(map[string]*list.Element), age: list.New()}
}

// begin gives the count at which a read begins.
func (m *merger) begin() uint64 { return m.count }

// known remembers a row that need not be told, for it was there before the feed began.
func (m *merger) known(r row.Row) {
	if key := r.Text(m.table.Key); key != "" {
		m.touch(key, func(e *entry) { e.version, e.digest, e.found, e.deleted = m.table.version(r), r.Digest(), true, false })
	}
}

// live takes a change from the live feed and gives it back as it is to be passed on; false where it is not.
func (m *merger) live(c Change) (Change, bool) {
	if c.Action == Delete {
		return m.liveDelete(c)
	}
	key, v := c.Row.Text(m.table.Key), m.table.version(c.Row)
	if key == "" {
		return c, true
	}
	mark := c.Row.Digest()
	e := m.entry(key)
	switch {
	case e == nil:
		if c.Action == Update && m.unheard(c.Row) {
			c.Action = Insert // its INSERT was missed, and nobody can update what they never had
		}
	case e.found && !e.deleted:
		if !m.newer(v, e, c.Action, mark) {
			return c, false
		}
	case e.repeated(c.Commit, mark):
		return c, false
	case e.deleted:
		c.Action = Insert
	}
	m.touch(key, func(e *entry) {
		e.note(c.Commit, mark)
		e.version, e.found, e.deleted = v, false, false
	})
	return c, true
}

// newer tells whether a live change is of a later state than the one a read found.
func (m *merger) newer(v version, e *entry, action Action, mark uint64) bool {
	if mark == e.digest {
		return false
	}
	if m.table.Updated == "" {
		return action == Update
	}
	if v.text == e.version.text {
		return action == Update // whoever wrote it does not keep the version, or wrote twice in one transaction
	}
	if !v.at.After(e.version.at) {
		m.doubt = true
		return false
	}
	return true
}

func (m *merger) liveDelete(c Change) (Change, bool) {
	key := c.Old.Text(m.table.Key)
	if key == "" {
		return c, true
	}
	const mark = 0 // a delete is repeated by its commit alone
	if e := m.entry(key); e != nil && (e.repeated(c.Commit, mark) || e.found && !e.deleted && e.version.at.After(c.Commit)) {
		return c, false // a row that a read found and that is younger than this delete is another of the same key
	}
	m.touch(key, func(e *entry) {
		e.note(c.Commit, mark)
		e.version, e.found, e.deleted = version{at: e.version.at}, false, true
	})
	return c, true
}

// repeated tells whether a live change was passed on before: of an earlier commit than the last, or of the same and equal to one of its changes.
func (e *entry) repeated(commit time.Time, mark uint64) bool {
	if commit.IsZero() || e.commit.IsZero() {
		return false
	}
	return commit.Before(e.commit) || commit.Equal(e.commit) && slices.Contains(e.repeats, mark)
}

func (e *entry) note(commit time.Time, mark uint64) {
	if !commit.Equal(e.commit) {
		e.commit, e.repeats = commit, e.repeats[:0]
	}
	if len(e.repeats) == maxRepeats {
		e.repeats = append(e.repeats[:0], e.repeats[1:]...)
	}
	e.repeats = append(e.repeats, mark)
}

// read takes a row that a read found, which began at count began, and gives the change it amounts to; false where there is none.
func (m *merger) read(r row.Row, began uint64) (Change, bool) {
	key, v := r.Text(m.table.Key), m.table.version(r)
	if key == "" {
		return Change{}, false
	}
	action := Update
	e := m.entry(key)
	switch {
	case e == nil:
		if m.unheard(r) {
			action = Insert
		}
	case e.count > began:
		return Change{}, false
	case e.deleted:
		action = Insert
	case e.version.text == v.text:
		return Change{}, false
	}
	m.touch(key, func(e *entry) { e.version, e.digest, e.found, e.deleted = v, r.Digest(), true, false })
	return Change{Table: m.table.Name, Action: action, Row: r, Found: true}, true
}

// unheard tells whether a row that is not remembered was never passed on.
func (m *merger) unheard(r row.Row) bool { return m.table.Born(r).After(m.floor) }

// settled tells, and forgets, whether a live change was dropped that only a later read can settle.
func (m *merger) settled() bool {
	doubt := m.doubt
	m.doubt = false
	return !doubt
}

func (m *merger) entry(key string) *entry {
	if at, ok := m.entries[key]; ok {
		return at.Value.(*entry)
	}
	return nil
}

// touch changes a row's entry, makes it the youngest, and forgets the oldest beyond the limit.
func (m *merger) touch(key string, change func(*entry)) {
	m.count++
	at, ok := m.entries[key]
	if ok {
		m.age.MoveToFront(at)
	} else {
		at = m.age.PushFront(&entry{key: key})
		m.entries[key] = at
	}
	e := at.Value.(*entry)
	e.count = m.count
	change(e)
	for m.age.Len() > m.limit {
		oldest := m.age.Remove(m.age.Back()).(*entry)
		delete(m.entries, oldest.key)
		if oldest.version.at.After(m.floor) {
			m.floor = oldest.version.at
		}
	}
}
