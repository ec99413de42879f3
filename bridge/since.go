package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// maxSince bounds the rows that one join with since brings. A browser that missed more reads the conversation as it does at first.
const maxSince = 5000

var (
	// errTooFar: more than maxSince rows were missed.
	errTooFar = errors.New("too many rows were missed")
	// errOver: a later join of the same socket goes on with it.
	errOver = errors.New("the connection was lost and another has taken over")
	// errBadSince: since is neither a time nor a message of the conversation.
	errBadSince = errors.New("since is neither a time nor a message of this conversation")
)

// A join with `since` leaves no hole between the rows read from Supabase and those that come live, and brings none twice: first a hold is put on the
// conversation for the socket, and what the feed brings is kept there, even where another room would bring it at once; then the rows are read; then, between
// two changes of the feed, the socket gets the rows, then what was kept and is not among them, and enters the room. The hold
// stays until the feed has passed on all that was read: a row may be long on its way through it.
//
// A connection may be lost in the middle of that. Both the events and the room are the socket's whichever connection it has, so what was settled before is
// there for a client that is recovered; what was not, the client asks for again, and what was kept meanwhile goes over to the hold of that second join.
// The feed's goroutine alone uses it.
type hold struct {
	socket    string
	capturing bool
	over      bool // a later join of the socket has taken it over
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

// maxKept bounds the changes kept while rows are read. A hold that would keep more is broken, and its join fails.
const maxKept = 10_000

// holds are the holds by conversation. The feed's goroutine alone uses it.
type holds struct {
	table feed.Table
	by    map[string][]*hold
	swept time.Time

	settled func(instant, version time.Time) bool // see feed.Feed.Settled
}

func newHolds(cfg *config.Config) holds {
	return holds{table: messagesTable(cfg), by: make(map[string][]*hold)}
}

// messagesTable is the messages table as the feed sees it.
func messagesTable(cfg *config.Config) feed.Table {
	t := cfg.Tables.Messages
	return feed.Table{Name: t.Name, Key: t.ID, Updated: t.Updated, Created: t.Created}
}

// put begins to keep a conversation's changes for a socket. It takes over what an unfinished join of it has kept: the connection was lost meanwhile.
func (h *holds) put(conversation, socket string, elsewhere func(keptChange)) *hold {
	x := &hold{socket: socket, capturing: true, elsewhere: elsewhere}
	h.sweep()
	for _, before := range slices.Clone(h.by[conversation]) {
		if before.socket != socket || !before.capturing || before.broken {
			continue
		}
		x.kept, before.kept, before.over = before.kept, nil, true
		h.remove(conversation, before)
	}
	h.by[conversation] = append(h.by[conversation], x)
	return x
}

// over tells whether nothing that a hold's socket was read comes through the feed any more.
func (h *holds) over(x *hold) bool { return !x.capturing && h.settled(x.done, x.newest) }

// sweepPause is the least time between two looks for holds that are over, of conversations where nothing happens.
const sweepPause = time.Minute

func (h *holds) sweep() {
	if time.Since(h.swept) < sweepPause {
		return
	}
	h.swept = time.Now()
	for conversation, list := range h.by {
		for _, x := range slices.Clone(list) {
			if h.over(x) {
				h.remove(conversation, x)
			}
		}
	}
}

// remove ends a hold.
func (h *holds) remove(conversation string, x *hold) {
	h.by[conversation] = slices.DeleteFunc(h.by[conversation], func(other *hold) bool { return other == x })
	if len(h.by[conversation]) == 0 {
		delete(h.by, conversation)
	}
}

// take keeps a change for the sockets that are still reading, and names those that must not get it: for they will get it later, or have read it already.
func (h *holds) take(conversation string, c feed.Change, rooms []string, told []outgoing) (except []string) {
	for _, x := range slices.Clone(h.by[conversation]) {
		switch {
		case x.broken:
		case x.capturing && len(x.kept) == maxKept:
			x.broken = true
			x.giveUp()
		case x.capturing:
			x.kept = append(x.kept, keptChange{c, rooms, told})
			except = append(except, x.socket)
		case h.over(x):
			h.remove(conversation, x)
		case x.has(h.table, c):
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
func (x *hold) has(table feed.Table, c feed.Change) bool {
	if c.Action == feed.Delete || table.Updated == "" && c.Action != feed.Insert {
		return false
	}
	key, at := table.State(c.Row)
	read, ok := x.read[key]
	return ok && !at.IsZero() && !at.After(read)
}

// wholeRoom is the room of the sockets that entered a conversation with since, so that nothing of it is missing. The name can't be that of another room.
func wholeRoom(conversation string) string { return "\x00whole:" + conversation }

// enterSince enters a conversation's room with everything that came after since. Where the socket is there in this way, the answer having been lost, all that
// came since is with it or on its way.
func (c *client) enterSince(ctx context.Context, conversation string, since []vocabulary.Since) error {
	ctx, cancel := context.WithTimeout(ctx, 2*c.b.cfg().Supabase.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(c.b.upstream.over, cancel)()
	router, between := c.b.router, c.b.upstream.feed.Do
	var x *hold
	var tenant string
	if err := between(ctx, func() {
		if !c.socket.In(wholeRoom(conversation)) {
			x, tenant = router.holds.put(conversation, c.socket.ID(), c.tellElsewhere), router.tenants.recall(conversation)
		}
	}); err != nil || x == nil {
		return err
	}
	missed, err := c.b.missedSince(ctx, conversation, tenant, since)
	settled := between(c.b.upstream.over, func() { // not ctx: the hold must be settled even where the socket is gone
		switch {
		case x.over:
			err = errOver
		case err == nil && x.broken:
			err = errTooFar
		}
		if err != nil {
			x.giveUp()
			router.holds.remove(conversation, x)
			return
		}
		router.release(c, conversation, x, missed)
	})
	return errors.Join(err, settled)
}

// tellElsewhere tells of a change that is for a room the socket is in.
func (c *client) tellElsewhere(k keptChange) {
	if !slices.ContainsFunc(k.rooms, c.socket.In) {
		return
	}
	for _, o := range k.told {
		c.say(o)
	}
}

// release sends what a hold is for, and lets the socket into the room.
func (r *router) release(c *client, conversation string, x *hold, missed []missedRow) {
	x.read = make(map[string]time.Time, len(missed))
	kept := make(map[string]time.Time, len(x.kept)) // told nowhere yet
	for _, k := range x.kept {
		key, at := r.holds.table.State(k.change.Row)
		kept[key] = at
	}
	for _, m := range missed {
		if !m.seen && (kept[m.key].Equal(m.at) || !r.tellings.reached(c, m.key, m.at)) {
			c.say(m.told)
		}
		x.read[m.key] = m.at
		if m.at.After(x.newest) {
			x.newest = m.at
		}
		r.messages.Add(m.key, m.message)
	}
	for _, k := range x.kept {
		if x.has(r.holds.table, k.change) {
			continue
		}
		for _, o := range k.told {
			c.say(o)
		}
	}
	x.capturing, x.kept, x.done = false, nil, time.Now()
	room := roomName(r.rooms.Conversation, conversation)
	c.socket.Join(room, wholeRoom(conversation))
	c.stays.begin(room, r.tellings.count.Load())
}

// missedRow is a row that was read for a client, ready to be sent.
type missedRow struct {
	key     string
	seen    bool      // the client named it: it is not sent, now or when it comes through the feed
	at      time.Time // of its version
	message message
	told    outgoing
}

// missedSince reads the messages of a conversation that changed after the oldest of those that a client names, in order. One that it names is told as an
// update, or not at all where it is the same; one created before the oldest as an update too.
//
// One message is enough where the client has seen all that came before it. That need not be so: while Supabase is in trouble newer rows come live before
// older ones are found by a read, and a bridge that is killed between the two does not know of it afterwards. A client that names all it has seen of late
// gets those too, and none twice.
func (b *Bridge) missedSince(ctx context.Context, conversation, tenant string, since []vocabulary.Since) ([]missedRow, error) {
	from, err := b.oldest(ctx, conversation, since)
	if err != nil {
		return nil, err
	}
	rows, err := b.rowsSince(ctx, conversation, from)
	if err != nil {
		return nil, err
	}
	table := b.router.holds.table
	seen := make(map[string]time.Time, len(since))
	for _, s := range since {
		if at := row.Time(s.At); !at.IsZero() {
			seen[s.ID] = at
		}
	}
	missed := make([]missedRow, 0, len(rows))
	for _, r := range rows {
		key, at := table.State(r)
		before, known := seen[key]
		event := vocabulary.MessageCreated
		if created := table.Born(r); known || !created.IsZero() && created.Before(from) {
			event = vocabulary.MessageUpdated
		}
		t := b.cfg().Tables.Messages
		told := rowEvent(b.words(), event, r, "message", place{idOf(conversation, t.Conversation, r), idOf(tenant, t.Tenant, r)})
		m := missedRow{key: key, at: at, seen: known && at.Equal(before), told: told}
		m.message = message{conversation, r.Text(t.Status)}
		missed = append(missed, m)
	}
	return missed, nil
}

// oldest gives the time that a read has to begin with. Of one message that is named without a time it is the creation: when the client saw it last nobody
// knows. In a list all have times.
func (b *Bridge) oldest(ctx context.Context, conversation string, since []vocabulary.Since) (time.Time, error) {
	var from time.Time
	for _, s := range since {
		at := row.Time(s.At)
		if at.IsZero() && len(since) == 1 && s.ID != "" {
			t := b.cfg().Tables.Messages
			record, found, err := b.rows.Row(ctx, t.Name, t.ID, s.ID)
			if err != nil {
				return from, err
			}
			if found {
				last, err := row.Parse(record)
				if err != nil {
					return from, err
				}
				if last.Text(t.Conversation) == conversation {
					at = b.router.holds.table.Born(last)
				}
			}
		}
		if at.IsZero() {
			return from, errBadSince
		}
		if from.IsZero() || at.Before(from) {
			from = at
		}
	}
	if from.IsZero() {
		return from, errBadSince
	}
	return from, nil
}

// rowsSince reads the messages of a conversation from a time on, in order. The time is included, since other rows of one transaction share it.
func (b *Bridge) rowsSince(ctx context.Context, conversation string, from time.Time) ([]row.Row, error) {
	t := b.cfg().Tables.Messages
	page := supabase.Page{Table: t.Name, Column: cmp.Or(t.Updated, t.Created), Key: t.ID, Where: t.Conversation, Equals: conversation}
	if page.Column == "" {
		return nil, fmt.Errorf("tables.messages has neither updated nor created")
	}
	page.From = row.Timestamp(from)
	var rows []row.Row
	for {
		more, err := b.rows.Rows(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, record := range more {
			r, err := row.Parse(record)
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
		if len(rows) > maxSince {
			return nil, errTooFar
		}
		if len(more) < supabase.MaxRows {
			return rows, nil
		}
		last := rows[len(rows)-1]
		page.AfterValue, page.AfterKey = last.Text(page.Column), last.Text(t.ID)
	}
}
