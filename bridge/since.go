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

// messagesTable is the messages table as the feed sees it.
func messagesTable(cfg *config.Config) feed.Table {
	t := cfg.Tables.Messages
	return feed.Table{Name: t.Name, Key: t.ID, Updated: t.Updated, Created: t.Created}
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
		if !c.socket.In(wholeRoom(conversation)) || !c.socket.In(roomName(router.rooms.Conversation, conversation)) { // the emitter of another server may take it out
			x, tenant = router.holds.put(conversation, c.socket.ID(), c.stays, router.tellings.count.Load(), c.tellElsewhere), router.tenants.recall(conversation)
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
			router.holds.end(conversation, x)
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
	for _, m := range missed {
		if !m.seen && !r.tellings.reached(c, x, m.key, m.at) {
			c.say(m.told)
		}
		r.messages.Add(m.key, m.message)
	}
	r.holds.release(conversation, x, missed)
	for _, k := range x.kept {
		if x.has(r.holds.table, k.change) {
			continue
		}
		for _, o := range k.told {
			c.say(o)
		}
	}
	x.kept = nil
	room := roomName(r.rooms.Conversation, conversation)
	c.socket.Join(room, wholeRoom(conversation))
	c.stays.begin(room, x.began) // what was told there since has been kept, and is with it now
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
		m.message = message{conversation, r.Text(t.Status), r.Text(t.Tenant)}
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
