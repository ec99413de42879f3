package bridge

import (
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/config"
)

// A join with `since` leaves no hole between the rows read from Supabase and those that come live,
// and brings none twice: first a hold is put on the conversation for the socket, and what the feed
// brings is kept there, even where another room would bring it at once; then the rows are read;
// then, between two changes of the feed, the socket gets the rows, then what was kept and is not
// among them, and enters the room. From then on the hold keeps what was read from the socket,
// whatever room would bring it, until the feed has passed it on: a row may be long on its way.
//
// A connection may be lost in the middle of that. Both the events and the room are the socket's
// whichever connection it has, so what was settled before is there for a client that is recovered;
// what was not, the client asks for again, and what was kept meanwhile goes over to the hold of
// that second join. The feed's goroutine alone uses it.
type hold struct {
	socket    string
	stays     *stays // the socket's
	ended     bool   // it is counted there no more
	began     uint64 // how many messages had been told when it was put
	over      bool   // a later join of the socket has taken it over
	kept      []keptChange
	broken    bool                 // more than maxKept came: the join fails
	elsewhere func(keptChange)     // tells the socket of a change in the rooms it is in already
	read      map[string]time.Time // versions of the rows that were read, by key
	done      time.Time            // when they had been
	newest    time.Time            // the youngest of them
}

type keptChange struct {
	change feed.Change
	rooms  []string
	told   []outgoing
}

// maxKept bounds the changes kept while rows are read. A hold that would keep more is broken, and
// its join fails.
const maxKept = 10_000

// maxRead bounds the rows of which is known who has read them, about 100 bytes each. Beyond it
// those of the oldest joins are forgotten: what the feed has yet to pass on of them comes twice.
const maxRead = 1_000_000

// holds are the holds that still keep changes, by conversation, and those that know what was read,
// by the key of each row. The feed's goroutine alone uses it.
type holds struct {
	table   feed.Table
	joining map[string][]*hold
	readers map[string][]*hold
	done    []*hold // those among readers, oldest first; and some that are forgotten
	rows    int     // that readers know of
	swept   time.Time

	settled func(instant, version time.Time) bool // see feed.Feed.Settled
	now     func() time.Time                      // by the database's clock; any goroutine may ask
}

func newHolds(cfg *config.Config) holds {
	return holds{
		table:   messagesTable(cfg),
		joining: make(map[string][]*hold),
		readers: make(map[string][]*hold),
		now:     time.Now,
	}
}

// put begins to keep a conversation's changes for a socket. It takes over what an unfinished join
// of it has kept: the connection was lost meanwhile.
func (h *holds) put(conversation, socket string, at *stays, told uint64, elsewhere func(keptChange)) *hold {
	h.sweep()
	x := &hold{socket: socket, stays: at, began: told, elsewhere: elsewhere}
	at.holds.Add(1)
	for _, before := range slices.Clone(h.joining[conversation]) {
		if before.socket == socket && !before.broken {
			x.kept, x.began, before.kept, before.over = before.kept, before.began, nil, true
			h.end(conversation, before)
		}
	}
	h.joining[conversation] = append(h.joining[conversation], x)
	return x
}

// end ends a hold that keeps changes.
func (h *holds) end(conversation string, x *hold) {
	without(h.joining, conversation, x)
	x.uncount()
}

// uncount has the socket's stays know that nothing is kept from it any more.
func (x *hold) uncount() {
	if !x.ended {
		x.ended = true
		x.stays.holds.Add(-1)
	}
}

// release has a hold know what was read, and keep nothing more.
func (h *holds) release(conversation string, x *hold, rows []missedRow) {
	without(h.joining, conversation, x)
	if len(rows) == 0 {
		x.uncount()
	}
	x.done, x.read = time.Now(), make(map[string]time.Time, len(rows))
	for _, m := range rows {
		x.read[m.key] = m.at
		h.readers[m.key] = append(h.readers[m.key], x)
		if m.at.After(x.newest) {
			x.newest = m.at
		}
	}
	h.done = append(h.done, x)
	for h.rows += len(x.read); h.rows > maxRead; h.done = h.done[1:] {
		h.forget(h.done[0])
	}
}

// forget ends a hold that knows what was read.
func (h *holds) forget(x *hold) {
	for key := range x.read {
		without(h.readers, key, x)
	}
	h.rows -= len(x.read)
	x.read = nil
	x.uncount()
}

func without(by map[string][]*hold, key string, x *hold) {
	by[key] = slices.DeleteFunc(by[key], func(other *hold) bool { return other == x })
	if len(by[key]) == 0 {
		delete(by, key)
	}
}

// sweepPause is the least time between two looks for holds of which the feed has passed on
// everything.
const sweepPause = 10 * time.Second

func (h *holds) sweep() {
	if time.Since(h.swept) < sweepPause {
		return
	}
	h.swept = time.Now()
	h.done = slices.DeleteFunc(h.done, func(x *hold) bool {
		if h.settled(x.done, x.newest) {
			h.forget(x)
		}
		return len(x.read) == 0
	})
}

// take keeps a change for the sockets that are still reading, and names those that must not get it:
// for they will get it later, or have read it already. conversations are where the row is and,
// where it moved, was.
func (h *holds) take(c feed.Change, conversations, rooms []string, told []outgoing) (except []string) {
	h.sweep()
	for _, conversation := range conversations {
		for _, x := range h.joining[conversation] {
			switch {
			case x.broken:
			case len(x.kept) == maxKept:
				x.broken = true
				x.giveUp()
			default:
				x.kept = append(x.kept, keptChange{c, rooms, told})
				except = append(except, x.socket)
			}
		}
	}
	key, _ := h.table.State(c.Row)
	for _, x := range slices.Clone(h.readers[key]) {
		if h.settled(x.done, x.newest) {
			h.forget(x)
		} else if h.has(x, c) {
			except = append(except, x.socket)
		}
	}
	return except
}

// giveUp tells what was kept in the other rooms it was for: the socket does not enter this one.
func (x *hold) giveUp() {
	for _, k := range x.kept {
		x.elsewhere(k)
	}
	x.kept = nil
}

// has tells whether a change is among the rows that were read.
func (h *holds) has(x *hold, c feed.Change) bool {
	if c.Action == feed.Delete || h.table.Updated == "" && c.Action != feed.Insert {
		return false
	}
	key, at := h.table.State(c.Row)
	read, ok := x.read[key]
	return ok && !at.IsZero() && notBefore(read, at, h.now())
}

// keepsDelete tells whether it has kept that a row is gone.
func (x *hold) keepsDelete(table feed.Table, key string) bool {
	return slices.ContainsFunc(x.kept, func(k keptChange) bool {
		return k.change.Action == feed.Delete && k.change.Old.Text(table.Key) == key
	})
}

// keeps tells whether it has kept a version of a row.
func (x *hold) keeps(table feed.Table, key string, version time.Time) bool {
	return slices.ContainsFunc(x.kept, func(k keptChange) bool {
		kept, at := table.State(k.change.Row)
		return kept == key && at.Equal(version)
	})
}
