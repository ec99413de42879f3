package feed

import (
	"hash/maphash"
	"time"
)

// A read finds every row again whose time is within the overlap of its cursor, or ahead of the
// database's clock. Where more rows changed there than Options.Window holds, the entries that would
// be forgotten shrink to a few numbers each, so that the next read does not take the rows for news.

// seenPerWindow is how many shrunk entries there may be, in windows. One takes some 60 bytes.
const seenPerWindow = 10

// seen is an entry that was shrunk: enough to know the row again in the state passed on last.
type seen struct {
	mark, version uint64
	at            time.Time
}

var seenSeed = maphash.MakeSeed()

func hash(text string) uint64 { return maphash.String(seenSeed, text) }

// digest is equal for versions that are the same.
func (v version) digest() uint64 {
	if v.at.IsZero() {
		return hash(v.text)
	}
	return uint64(v.at.UnixMicro())
}

// findable reports whether the next read would find a row of a version again.
func (m *merger) findable(v version) bool {
	return v.text != "" && (v.at.IsZero() || m.from.IsZero() || !v.at.Before(m.from))
}

// shrink keeps what is needed of an entry that is forgotten.
func (m *merger) shrink(e *entry) {
	if e.deleted || !m.findable(e.version) {
		return
	}
	if len(m.seen) >= seenPerWindow*m.limit {
		if e.version.at.After(m.lapsed) {
			m.lapsed = e.version.at
		}
		m.overrun = true
		return
	}
	if m.seen == nil {
		m.seen = make(map[uint64]seen)
	}
	m.seen[hash(e.key)] = seen{e.states.last().mark, e.version.digest(), e.version.at}
}

// recalls reports whether a row that a read found, and that has no entry, was passed on in this
// state.
func (m *merger) recalls(key string, v version) bool {
	if s, ok := m.seen[hash(key)]; ok {
		return s.version == v.digest()
	}
	return !v.at.IsZero() && !v.at.After(m.lapsed)
}

// recall gives the shrunk entry of a key, and forgets it: the row gets a whole one.
func (m *merger) recall(key string) (s seen, ok bool) {
	if len(m.seen) == 0 {
		return s, false
	}
	k := hash(key)
	s, ok = m.seen[k]
	delete(m.seen, k)
	return s, ok
}

// reach notes where the next read begins, and forgets what it won't find.
func (m *merger) reach(from time.Time) {
	if from.Equal(m.from) {
		return
	}
	m.from = from
	for k, s := range m.seen {
		if !m.findable(version{text: "?", at: s.at}) {
			delete(m.seen, k)
		}
	}
	if m.lapsed.Before(from) {
		m.lapsed = time.Time{}
	}
}

// overran reports, and forgets, whether more rows changed within the reach of a read than can be
// remembered: some that were missed can't be told from those that were passed on.
func (m *merger) overran() bool {
	was := m.overrun
	m.overrun = false
	return was
}
