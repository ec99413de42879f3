package bridge

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// Bounds of what one join with since brings. A browser that missed more gets the oldest of it, and
// is told that this isn't all.
const (
	maxSince = 5000
	// maxAsked bounds the messages that are looked up since the client names them without a time.
	maxAsked = 100
	// sinceSkew is how far ahead of the database's clock a time may be that a client names. One
	// further ahead was not read from a clock that the database's times can be compared with.
	sinceSkew = 5 * time.Second
)

// errOver: a later join of the same socket goes on with it.
var errOver = errors.New("the connection was lost and another has taken over")

// errUnsettled: what the right rests on changed again and again while it was asked about.
var errUnsettled = errors.New("the right to the room changes too fast to be decided")

// What a join with since did not bring, as the client is told. Empty: it brought everything.
const (
	nothingMissing = ""
	// missingPoint: since names no time, and no message that is in the conversation now.
	missingPoint = "bad_since"
	// missingRows: more was missed than one join brings.
	missingRows = "since_too_far"
	// missingAnswer: Supabase could not be asked.
	missingAnswer = "unavailable"
	// missingEdits: the table has no time of change, so that no read finds which rows have changed.
	missingEdits = "no_update_time"
)

// messagesTable is the messages table as the feed sees it.
func messagesTable(cfg *config.Config) feed.Table {
	t := cfg.Tables.Messages
	return feed.Table{Name: t.Name, Key: t.ID, Updated: t.Updated, Created: t.Created}
}

// wholeRoom is the room of the sockets that entered a conversation with since, so that nothing of
// it is missing. The name can't be that of another room.
func wholeRoom(conversation string) string { return "\x00whole:" + conversation }

// enterSince enters a conversation's room with everything that came after since; missing says why
// that is not all. Where the socket is there in this way already, the answer having been lost, all
// that came since is with it or on its way.
//
// Rows are read with the service key, and are handed over only if the rules, asked after the read,
// let the user in: the answer by which the room was entered may be a remembered one. Reading with
// the user's own token instead would serve the rule rls alone.
func (c *client) enterSince(
	ctx context.Context, conversation string, since []vocabulary.Since,
) (missing string, from time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.b.cfg().Supabase.RequestTimeout)
	defer cancel()
	defer context.AfterFunc(c.b.upstream.over, cancel)()
	router, between := c.b.router, c.b.upstream.feed.Do
	room, whole := emit.RoomName(router.rooms.Conversation, conversation), wholeRoom(conversation)
	point := c.b.pointOf(ctx, conversation, since)
	if err := ctx.Err(); err != nil {
		return "", point.from, err
	}
	if point.from.IsZero() {
		c.join(room)
		return point.missing(false), point.from, nil
	}
	var x *hold
	var tenant string
	if err := between(ctx, func() {
		// The emitter of another server may have taken it out of either room.
		if !c.socket.In(whole) || !c.socket.In(room) || c.stays.wholeFrom(whole).After(point.from) {
			x = router.holds.put(conversation, c.socket.ID(), c.stays, router.tellings.count.Load(), c.tellElsewhere)
			tenant = router.tenants.recall(conversation)
		}
	}); err != nil || x == nil {
		return point.missing(true), point.from, err
	}
	missed, missing := c.b.missedSince(ctx, c, conversation, tenant, point)
	shows := slices.ContainsFunc(missed, func(m missedRow) bool { return !m.seen })
	for try := 1; ; try++ {
		if err = ctx.Err(); err == nil && shows {
			err = c.askFresh(ctx, conversation)
		}
		again := false
		settled := between(c.b.upstream.over, func() { // not ctx: the hold must be settled even where the socket is gone
			_, may := c.conversations.get(conversation)
			switch {
			case x.over, err == nil && c.socket.Context().Err() != nil:
				err = errOver // nobody would look after the right to a room that a lost connection enters
			case err == nil && !may: // the rechecker has taken it out
				err = access.ErrRefused
			case err == nil && shows && c.b.authorizer.ChangedSince(roomOf(conversation), c.asked):
				if again = try < maxFreshTries; again {
					return
				}
				err = errUnsettled
			}
			if err != nil {
				x.giveUp()
				router.holds.end(conversation, x)
				return
			}
			if x.broken {
				missing = missingRows
			}
			router.release(c, conversation, x, missed, missing == nothingMissing)
			if missing == nothingMissing {
				c.stays.beWhole(whole, point.from)
			}
		})
		if !again || settled != nil {
			return missing, point.from, errors.Join(err, settled)
		}
	}
}

// maxFreshTries bounds how often a join asks about its room, which moves each time.
const maxFreshTries = 3

func roomOf(conversation string) access.Room {
	return access.Room{Kind: access.ConversationRoom, ID: conversation}
}

// askFresh asks anew whether the client may be in a conversation.
func (c *client) askFresh(ctx context.Context, conversation string) error {
	open, epoch, err := c.b.authorizer.AskFresh(ctx, c.who, access.ConversationRoom, []string{conversation})
	if err == nil && !open[conversation] {
		err = access.ErrRefused
	}
	c.asked = epoch
	return err
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

// release sends what a hold is for, and lets the socket into the room. whole is set where nothing
// is missing.
func (r *router) release(c *client, conversation string, x *hold, missed []missedRow, whole bool) {
	for _, m := range missed {
		if !m.seen && !r.tellings.reached(c, x, m.key, m.at) {
			c.say(m.told)
		}
		r.messages.ContainsOrAdd(m.key, m.message) // what the feed has told since the read is newer
	}
	r.holds.release(conversation, x, missed)
	room := emit.RoomName(r.rooms.Conversation, conversation)
	for _, k := range x.kept {
		if r.holds.has(x, k.change) || !slices.Contains(k.rooms, room) { // or the room hears of it in another way
			continue
		}
		for _, o := range k.told {
			c.say(o)
		}
	}
	x.kept = nil
	c.passing.Lock()
	defer c.passing.Unlock()
	if len(c.next) > 0 { // as in join: another connection has taken over
		return
	}
	c.socket.Join(room)
	if whole {
		c.socket.Join(wholeRoom(conversation))
	}
	c.stays.begin(room, x.began) // what was told there since has been kept, and is with it now
}
