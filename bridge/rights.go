package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// What follows is a client's part in losing a right: it is the [access.Session] that the rechecker
// sees.

// Identity is who the client is now.
func (c *client) Identity() *auth.Identity { return c.identity.Load() }

// Rooms lists the conversations that the client is in, or the tenants in which it counts as
// present.
func (c *client) Rooms(kind access.RoomKind, among map[string]struct{}) []string {
	switch {
	case kind == access.ConversationRoom && among != nil:
		return c.conversations.among(among)
	case kind == access.ConversationRoom:
		return c.conversations.all()
	}
	tenants := c.presentIn()
	if among != nil {
		tenants = slices.DeleteFunc(tenants, func(id string) bool { _, is := among[id]; return !is })
	}
	return tenants
}

// Checked is when its rights were asked about last.
func (c *client) Checked() *access.Checked { return &c.checked }

// failLost is sent to a client that was taken out of a room.
var failLost = failure{"access_lost", "you may not be in this room any more"}

// takeOver puts the client in the place of one whose connection was lost. A right that is revoked
// from that one is revoked from this one from now on. It reports false where that one lost a right
// while this one came.
func (c *client) takeOver(before *client) bool {
	before.passing.Lock()
	defer before.passing.Unlock()
	c.resume(before)
	before.next = append(before.next, c)
	c.b.rechecker.TakeOver(c, before)
	return !before.lost.Load()
}

// Current gives the clients that stand in this one's place by now: itself, unless recovery put
// others there.
func (c *client) Current() []access.Session {
	c.passing.Lock()
	next := c.next
	c.passing.Unlock()
	if len(next) == 0 {
		return []access.Session{c}
	}
	var all []access.Session
	for _, n := range next {
		all = append(all, n.Current()...)
	}
	return all
}

// Evict takes the client out of a room that it may not be in any more, or the one that recovery put
// in its place. It reports whether it was there. It runs on the goroutine of the rechecker or of
// the feed, beside the client's own events: a join that is under way finds in confirm that the room
// was lost.
func (c *client) Evict(r access.Room, reason string) bool {
	template := c.b.cfg().Rooms.Conversation
	if r.Kind == access.TenantRoom {
		template = c.b.cfg().Rooms.Tenant
	}
	next, joined := c.giveUp(r)
	if len(next) > 0 {
		was := false
		for _, n := range next {
			was = n.Evict(r, reason) || was
		}
		if joined && !was { // the socket in its place may be in the room without knowing
			c.leave(emit.RoomName(template, r.ID), wholeRoom(r.ID))
		}
		return was || joined
	}
	if joined {
		c.leave(emit.RoomName(template, r.ID), wholeRoom(r.ID))
	}
	was := joined
	if r.Kind == access.TenantRoom { // after it has left the room, or it would hear itself go
		was = c.loseTenant(r.ID) || joined
	}
	if !joined {
		return was // a tenant that it had not joined told it nothing, so it need not be told that this ends
	}
	who := c.identity.Load()
	o := about(who, vocabulary.Failure,
		vocabulary.String("code", failLost.code), vocabulary.String("message", failLost.message))
	if r.Kind == access.ConversationRoom {
		c.types(vocabulary.NewID(r.ID), who, false)
		o.Conversation = vocabulary.NewID(r.ID)
		o.Fields = append(o.Fields, vocabulary.String("conversationId", r.ID))
	} else {
		o.Tenant = vocabulary.NewID(r.ID)
		o.Fields = append(o.Fields, vocabulary.String(c.b.words().TenantKey(), r.ID))
	}
	c.b.log.Info().Str("socket", c.socket.ID()).Str("user", who.UserID).Stringer("room", r.Kind).Str("id", r.ID).
		Str("reason", reason).Msg("right lost")
	c.say(o)
	return true
}

// giveUp takes a room from the client. It gives those that recovery has put in its place, from
// which it is to be taken too.
func (c *client) giveUp(r access.Room) (next []*client, joined bool) {
	c.passing.Lock()
	defer c.passing.Unlock()
	rooms := &c.conversations
	if r.Kind == access.TenantRoom {
		rooms = &c.tenants
	}
	if _, joined = rooms.get(r.ID); joined {
		c.lost.Store(true)
		joined = rooms.remove(r.ID)
	}
	return c.next, joined
}

// confirm reports whether a room that was just entered is still the client's, else it takes the
// client out of it and answers so. A right may be lost while the room is entered. Where what the
// answer rested on has changed since it was given, the rechecker may have looked before the client
// was there, so it is asked again.
func (c *client) confirm(e *socketio.Event, r access.Room, rooms *entered, template config.Room) bool {
	_, still := rooms.get(r.ID)
	if still && c.b.authorizer.ChangedSince(r, c.asked) {
		c.asked = c.b.authorizer.Epoch()
		_, err := c.b.authorizer.MayEnter(c.socket.Context(), c.who, r.Kind, r.ID)
		still = !errors.Is(err, access.ErrRefused)
		if err != nil && still || c.b.authorizer.ChangedSince(r, c.asked) {
			c.b.rechecker.Recheck(c)
		}
	}
	if !still {
		rooms.remove(r.ID)
		c.leave(emit.RoomName(template, r.ID), wholeRoom(r.ID))
		c.fail(e, failForbidden)
	}
	return still
}

// mayResume reports whether a client that is back may have the rooms it had, and what was sent
// there meanwhile.
func (c *client) mayResume() bool {
	if c.lost.Load() {
		return false
	}
	left := c.left.Load()
	return left == nil || !c.changedSince(*left)
}

// changedSince reports whether answers about a conversation it is in were withdrawn since an epoch.
func (c *client) changedSince(epoch uint64) bool {
	return slices.ContainsFunc(c.conversations.all(), func(id string) bool {
		return c.b.authorizer.ChangedSince(access.Room{Kind: access.ConversationRoom, ID: id}, epoch)
	})
}

// recoverWait bounds how long a client that comes back waits for its rights to be asked about.
const recoverWait = 3 * time.Second

// mayComeBack reports whether a user who comes back to this client's socket may be in all of its
// rooms, by answers asked for now. What was sent there meanwhile is handed over only then; else the
// socket is a new one, and enters its rooms anew.
func (c *client) mayComeBack(ctx context.Context, who *auth.Identity) bool {
	b := c.b
	ctx, cancel := context.WithTimeout(ctx, recoverWait)
	defer cancel()
	var asked sync.WaitGroup
	var may [2]bool
	for kind, ids := range [...][]string{
		access.ConversationRoom: c.conversations.all(), access.TenantRoom: c.tenants.all(),
	} {
		if may[kind] = len(ids) == 0; may[kind] {
			continue
		}
		asked.Go(func() {
			open, epoch, err := b.authorizer.AskFresh(ctx, who, access.RoomKind(kind), ids)
			may[kind] = err == nil
			for _, id := range ids {
				room := access.Room{Kind: access.RoomKind(kind), ID: id}
				may[kind] = may[kind] && open[id] && !b.authorizer.ChangedSince(room, epoch)
			}
		})
	}
	asked.Wait()
	// What was noticed meanwhile counts too.
	return may[access.ConversationRoom] && may[access.TenantRoom] && c.mayResume()
}
