package bridge

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// client is one socket. Its events are handled one after another, so only what is noted below is
// touched by others.
type client struct {
	b      *Bridge
	socket *socketio.Socket
	key    string // of this connection: a recovered socket has the id of the one before
	who    *auth.Identity

	identity atomic.Pointer[auth.Identity] // who, for others to read
	deadline *time.Timer                   // of a client that has yet to authenticate

	asked uint64      // epoch of the last question whether it may enter a room
	lost  atomic.Bool // it has lost the right to be in a room

	goodbye atomic.Bool // the client said that it goes, and didn't just lose its connection

	left atomic.Pointer[uint64] // once it is gone: the epoch up to which its rights are known

	address    *ratelimit.Meter                // what its address has; immutable
	user       atomic.Pointer[ratelimit.Meter] // what its user has; nil for nobody in particular
	buckets    ratelimit.Buckets
	complaints *rate.Limiter // of limits exceeded, that were not asked for

	passing sync.Mutex     // guards next, and losing a right against being taken over
	next    []*client      // that recovery put in this one's place: one, or several that came at once
	checked access.Checked // when its rights were asked about last

	attending sync.Mutex // guards home, and presence against losing it
	home      home

	conversations entered
	tenants       entered
	stays         *stays
	expiry        *auth.Expiry
	status        word // its own word for how the user is; "" until it said one

	style   atomic.Uint32 // the vocabulary.Style it hears; whoever tells it something reads it
	settled atomic.Bool   // it has shown its style
	speaker speaker
	intent  vocabulary.Intent // of the event that is being handled
	about   place             // and where it takes place, as far as it is known
}

// entered holds the rooms of one kind that a socket is in: ids as the client writes them and as the
// row spells them, each with the latter. The mutex guards it: a connection that takes over from a
// lost one reads that one's.
type entered struct {
	mu    sync.Mutex
	by    map[string]string
	rooms int
	count func(n int) // told how many there are more or less; nil once nobody counts them
}

func (in *entered) add(asSent, asStored string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.by == nil {
		in.by = make(map[string]string)
	}
	if _, there := in.by[asStored]; !there {
		in.tally(1)
	}
	in.by[asStored] = asStored
	if len(in.by) < spellings*(in.rooms+1) {
		in.by[asSent] = asStored
	}
}

// spellings bounds the ways of writing an id that are remembered, for each room there is: a UUID
// has millions.
const spellings = 4

func (in *entered) tally(n int) {
	in.rooms += n
	if in.count != nil {
		in.count(n)
	}
}

// size is how many rooms there are.
func (in *entered) size() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.rooms
}

// close has nobody count them any more.
func (in *entered) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.count != nil {
		in.count(-in.rooms)
		in.count = nil
	}
}

// get gives a room's id as stored.
func (in *entered) get(id string) (asStored string, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	asStored, ok = in.by[id]
	return asStored, ok
}

// remove forgets a room under all its spellings; false where it is not there.
func (in *entered) remove(asStored string) (removed bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, removed = in.by[asStored]; removed {
		in.tally(-1)
	}
	maps.DeleteFunc(in.by, func(_, stored string) bool { return stored == asStored })
	return removed
}

// among gives those of the rooms that it holds.
func (in *entered) among(rooms map[string]struct{}) []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var held []string
	for id := range rooms {
		if in.by[id] == id {
			held = append(held, id)
		}
	}
	return held
}

// all gives each room once.
func (in *entered) all() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var rooms []string
	for spelling, stored := range in.by {
		if spelling == stored {
			rooms = append(rooms, stored)
		}
	}
	return rooms
}

// failure is what a client is told when something it asked for did not happen. Code is for programs
// and stays; message is for people.
type failure struct{ code, message string }

var (
	failBadRequest  = failure{"bad_request", "the event's arguments don't name what it is about"}
	failForbidden   = failure{"forbidden", "you are not allowed to enter this room"}
	failNotJoined   = failure{"not_joined", "join the room first"}
	failUnavailable = failure{"unavailable", "Supabase could not be asked now; try again"}
	failTooMany     = failure{"too_many_rooms", "too many rooms are entered; leave some"}
	failUnknown     = failure{"unknown_event", "the server does not know this event"}
	failNoWrite     = failure{
		"not_supported",
		"messages are written through Supabase, not over this socket: sending.enabled is off",
	}
	failInternal = failure{"internal", "the server failed to handle this event"}
	failPending  = failure{"unauthorized", "authenticate first"}
)

// dispatch carries out one event of a client.
func (c *client) dispatch(e *socketio.Event) {
	defer func() {
		if defect := recover(); defect != nil {
			c.fail(e, failInternal)
			c.b.panicked(c.socket, "event", defect)
		}
	}()
	intent := c.b.words().Intent(e.Name)
	if intent == vocabulary.JoinConversation && c.b.words().NamesTenantRoom(e.Args) {
		intent = vocabulary.JoinTenant
	}
	c.intent, c.about = intent, place{}
	c.listen(e.Name)
	c.b.metrics.received.WithLabelValues(intent.String()).Inc()
	if !c.permit(e) {
		return
	}
	if c.who.Pending && intent != vocabulary.RenewToken && intent != vocabulary.Heartbeat {
		c.fail(e, failPending)
		return
	}
	switch intent {
	case vocabulary.JoinConversation:
		if user, ok := c.b.words().NamesUserRoom(e.Args); ok {
			c.joinUser(e, user)
			return
		}
		c.joinConversation(e)
	case vocabulary.LeaveConversation:
		c.leaveConversation(e)
	case vocabulary.JoinTenant, vocabulary.JoinOwnTenant:
		c.joinTenant(e)
	case vocabulary.LeaveTenant:
		c.leaveTenant(e)
	case vocabulary.StartTyping:
		c.typing(e, true)
	case vocabulary.StopTyping:
		c.typing(e, false)
	case vocabulary.Typing:
		c.typing(e, c.b.words().TypingState(e.Args, &c.speaker))
	case vocabulary.ListOnline:
		c.listOnline(e)
	case vocabulary.ListPresence:
		c.listPresence(e)
	case vocabulary.SetStatus:
		c.setStatus(e)
	case vocabulary.MarkRead:
		c.markRead(e)
	case vocabulary.RenewToken:
		c.takeToken(e)
	case vocabulary.Heartbeat:
		c.succeed(e)
	case vocabulary.SendMessage:
		c.sendMessage(e)
	default:
		c.b.unknown.note(e.Name)
		c.fail(e, failUnknown)
	}
}

// enter asks whether the client may be in a room and gives the id as stored.
func (c *client) enter(e *socketio.Event, kind access.RoomKind, id string, rooms *entered) (asStored string, ok bool) {
	if _, there := rooms.get(id); !there && !c.hasRoom() {
		c.fail(e, failTooMany)
		return "", false
	}
	result := func(r string) {
		c.b.metrics.joins.WithLabelValues(kind.String(), r).Inc()
		c.sawRoom(tail.Join, kind, cmp.Or(asStored, id), r)
	}
	if err := c.b.upstream.primed(c.socket.Context(), c.b.cfg().Supabase.RequestTimeout); err != nil {
		result(failUnavailable.code)
		c.fail(e, failUnavailable)
		return "", false
	}
	c.b.cluster.AwaitJoined(c.socket.Context())
	log := c.b.log.Info().Str("socket", c.socket.ID()).Str("user", c.who.UserID).Stringer("room", kind).Str("id", id)
	var err error
	c.asked = c.b.authorizer.Epoch()
	asStored, err = c.b.authorizer.MayEnter(c.socket.Context(), c.who, kind, id)
	switch {
	case errors.Is(err, access.ErrRefused):
		log.Msg("join refused")
		result(failForbidden.code)
		c.fail(e, failForbidden)
		return "", false
	case err != nil:
		log.Err(err).Msg("join could not be decided")
		result(failUnavailable.code)
		c.fail(e, failUnavailable)
		return "", false
	}
	rooms.add(id, asStored)
	log.Msg("joined")
	result("ok")
	return asStored, true
}

func (c *client) joinConversation(e *socketio.Event) {
	id, ok := c.b.words().ConversationID(c.intent, e.Args, &c.speaker)
	if !ok {
		c.fail(e, failBadRequest)
		return
	}
	t := c.b.cfg().Tables.Messages
	since, asked := vocabulary.SinceOf(e.Args, vocabulary.SinceColumns{ID: t.ID, Updated: t.Updated, Created: t.Created})
	_, there := c.conversations.get(id.Text)
	asStored, ok := c.enter(e, access.ConversationRoom, id.Text, &c.conversations)
	if !ok {
		return
	}
	var missing string
	var from time.Time
	if !asked {
		c.join(emit.RoomName(c.b.cfg().Rooms.Conversation, asStored))
	} else {
		var err error
		if missing, from, err = c.enterSince(c.socket.Context(), asStored, since); err != nil {
			c.failSince(e, asStored, there, err)
			return
		}
	}
	if !c.confirm(
		e,
		access.Room{Kind: access.ConversationRoom, ID: asStored},
		&c.conversations,
		c.b.cfg().Rooms.Conversation,
	) {
		return
	}
	name := idPayload(id, asStored)
	c.about.conversation = vocabulary.ID{Text: asStored, JSON: name}
	if !asked {
		c.succeed(e, "conversationId", name)
	} else {
		c.succeed(e, "conversationId", name, "complete", missing == nothingMissing, "reason", missing)
	}
	c.tellConversation(vocabulary.Joined)
	if missing != nothingMissing && since != nil { // null asks for nothing
		c.tellMissing(asStored, from, missing)
	}
}

// join puts the socket into a room in which messages are told.
func (c *client) join(room string) {
	told := c.b.router.tellings
	told.passage.RLock()
	defer told.passage.RUnlock()
	c.passing.Lock()
	defer c.passing.Unlock()
	if len(c.next) > 0 { // the socket that took over would be in the room, and its client would not know
		return
	}
	c.socket.Join(room)
	c.stays.begin(room, told.count.Load())
}

// leave takes it out of rooms.
func (c *client) leave(rooms ...string) {
	told := c.b.router.tellings
	told.passage.RLock()
	defer told.passage.RUnlock()
	c.socket.Leave(rooms...)
	for _, room := range rooms {
		c.stays.end(room)
	}
}

// failSince tells why a join with since did not succeed: the user may not be in the room, or nobody
// can say now.
func (c *client) failSince(e *socketio.Event, asStored string, there bool, err error) {
	refused := errors.Is(err, access.ErrRefused)
	if refused || !there {
		c.conversations.remove(asStored)
	}
	if refused {
		c.leave(emit.RoomName(c.b.cfg().Rooms.Conversation, asStored), wholeRoom(asStored))
		c.types(vocabulary.NewID(asStored), c.who, false)
		c.sawRoom(tail.Join, access.ConversationRoom, asStored, failForbidden.code)
		c.fail(e, failForbidden)
		return
	}
	c.b.log.Warn().Err(err).Str("socket", c.socket.ID()).Msg("a join with since could not be carried out")
	c.fail(e, failUnavailable)
}

// tellMissing asks the client to read a conversation anew, since a join did not bring all it asked
// for.
func (c *client) tellMissing(conversation string, from time.Time, missing string) {
	c.b.log.Info().Str("socket", c.socket.ID()).Str("id", conversation).Str("reason", missing).
		Msg("a join with since was not complete; the browser is asked to resync")
	name := c.b.cfg().Vocabulary.ResyncEvent
	if name == "" {
		return
	}
	since := ""
	if !from.IsZero() {
		since = from.UTC().Format(time.RFC3339Nano)
	}
	// To a socket that is going already, nothing.
	_ = c.socket.Emit(name, object("since", since, "reason", missing, "conversationId", conversation))
}

func (c *client) leaveConversation(e *socketio.Event) {
	id, ok := c.b.words().ConversationID(c.intent, e.Args, &c.speaker)
	if !ok {
		c.fail(e, failBadRequest)
		return
	}
	if joined, ok := c.conversations.get(id.Text); ok {
		c.conversations.remove(joined)
		c.sawRoom(tail.Leave, access.ConversationRoom, joined, "ok")
		c.types(vocabulary.NewID(joined), c.who, false)
		c.leave(emit.RoomName(c.b.cfg().Rooms.Conversation, joined), wholeRoom(joined))
	}
	c.about.conversation = id
	c.succeed(e, "conversationId", id.JSON)
	c.tellConversation(vocabulary.Left)
}

// tellConversation tells the client that it has entered or left one.
func (c *client) tellConversation(event vocabulary.Event) {
	o := c.occasion(
		event,
		vocabulary.Extra{Name: "conversationId", Value: c.about.conversation.JSON},
		vocabulary.Bool("success", true),
	)
	o.Conversation = c.about.conversation
	c.say(o)
	c.b.moved()
}

func (c *client) joinTenant(e *socketio.Event) {
	id, ok := c.tenantOf(e)
	if !ok {
		c.fail(e, failBadRequest)
		return
	}
	asStored, ok := c.enter(e, access.TenantRoom, id.Text, &c.tenants)
	if !ok {
		return
	}
	c.join(emit.RoomName(c.b.cfg().Rooms.Tenant, asStored))
	c.about.tenant = vocabulary.ID{Text: asStored, JSON: idPayload(id, asStored)}
	appears := c.appear(asStored)
	if !c.confirm(e, access.Room{Kind: access.TenantRoom, ID: asStored}, &c.tenants, c.b.cfg().Rooms.Tenant) {
		c.loseTenant(asStored)
		return
	}
	if claimed := c.who.Tenant; claimed != "" && (claimed == id.Text || claimed == asStored) {
		c.OpenTenant(claimed, asStored) // so that leaving the room again does not end its presence
	}
	c.succeed(e, c.b.words().TenantKey(), c.about.tenant.JSON)
	if appears {
		c.tellOnline(asStored)
	}
}

func (c *client) leaveTenant(e *socketio.Event) {
	id, ok := c.tenantOf(e)
	if !ok {
		c.fail(e, failBadRequest)
		return
	}
	if joined, ok := c.tenants.get(id.Text); ok {
		c.tenants.remove(joined)
		c.sawRoom(tail.Leave, access.TenantRoom, joined, "ok")
		c.leave(emit.RoomName(c.b.cfg().Rooms.Tenant, joined))
		c.vanish(joined)
	}
	c.about.tenant = id
	c.succeed(e, c.b.words().TenantKey(), id.JSON)
}

// tenantOf is the tenant an event names, else the one that the token names.
func (c *client) tenantOf(e *socketio.Event) (vocabulary.ID, bool) {
	if id, ok := c.b.words().TenantID(c.intent, e.Args, &c.speaker); ok {
		return id, true
	}
	return vocabulary.NewID(c.who.Tenant), c.who.Tenant != ""
}

// joined gives the conversation an event is about, as stored, where the socket is in its room; else
// it says what is wrong. An event that names none is about the one of the messages it names, or the
// only one the socket is in.
func (c *client) joined(e *socketio.Event) (string, bool) {
	id, ok := c.b.words().ConversationID(c.intent, e.Args, &c.speaker)
	if !ok {
		id = vocabulary.NewID(c.impliedConversation(e))
	}
	if id.Text == "" {
		c.fail(e, failBadRequest)
		return "", false
	}
	asStored, ok := c.conversations.get(id.Text)
	if !ok {
		c.fail(e, failNotJoined)
	}
	c.about.conversation = id
	return asStored, ok
}

// impliedConversation is the conversation of an event that names none, "" where that can't be told.
func (c *client) impliedConversation(e *socketio.Event) string {
	if id, ok := vocabulary.MessageID(e.Args); ok {
		if known, ok := c.b.router.messages.Peek(id); ok {
			return known.conversation
		}
	}
	if in := c.conversations.all(); len(in) == 1 {
		return in[0]
	}
	return ""
}

func (c *client) typing(e *socketio.Event, on bool) {
	id, ok := c.joined(e)
	if !ok {
		return
	}
	if c.b.cfg().Typing.Enabled && c.who.UserID != "" {
		if on {
			c.types(c.spelled(id), c.who, true)
		} else {
			c.types(vocabulary.NewID(id), c.who, false)
		}
	}
	c.succeed(e)
}

// types notes that the user types in a conversation, or stopped, in this socket; stopping without
// having begun is nothing.
func (c *client) types(conversation vocabulary.ID, who *auth.Identity, on bool) {
	if on {
		c.b.typing.Start(conversation, c.key, who, true)
	} else if !c.b.typing.Stop(conversation.Text, c.key, who) {
		return
	}
	c.b.cluster.Typing(conversation, c.key, who, on)
}

// spelled is a conversation's id as the client wrote it: a number stays one, since frontends
// compare it with their own.
func (c *client) spelled(asStored string) vocabulary.ID {
	return vocabulary.ID{Text: asStored, JSON: idPayload(c.about.conversation, asStored)}
}

// markRead tells the others in a conversation that this user has read it. The rows are the
// application's to change.
func (c *client) markRead(e *socketio.Event) {
	id, ok := c.joined(e)
	if !ok {
		return
	}
	as, messages := c.spelled(id), vocabulary.MessageIDs(e.Args)
	c.b.tellRead(as, c.who, messages, emit.Audience{Sender: []string{c.socket.ID()}})
	c.b.cluster.Read(as, c.who, messages)
	c.succeed(e)
}

// gone ends everything that a socket's being there meant. A step that panics keeps none of the
// others from being taken.
func (c *client) gone(reason string) {
	for _, step := range []func(){
		c.stopTimers,
		func() {
			for _, id := range c.conversations.all() {
				c.types(vocabulary.NewID(id), c.who, false)
			}
		},
		func() {
			c.goodbye.Store(reason == socketio.ReasonClientDisconnect || c.socket.WentAway())
			c.vanishAll()
		},
		c.discount,
		func() {
			settled := c.b.rechecker.Settled() // before it is forgotten: what moves later it may have missed
			c.left.Store(&settled)
			c.b.rechecker.Forget(c)
		},
	} {
		c.survive("disconnect", step)
	}
	c.b.log.Info().Str("socket", c.socket.ID()).Str("user", c.who.UserID).Str("reason", reason).Msg("disconnected")
	c.saw(tail.Disconnect, reason, "")
}

func (c *client) stopTimers() {
	c.expiry.Stop()
	if c.deadline != nil {
		c.deadline.Stop()
	}
}

// survive takes a step that may panic.
func (c *client) survive(during string, step func()) {
	defer c.b.survive(c.socket, during)
	step()
}

// succeed acknowledges an event in both styles that clients look for.
// What the configuration has for the intent stands instead.
func (c *client) succeed(e *socketio.Event, pairs ...any) {
	if !e.WantsAck() {
		return
	}
	o := c.occasion(0)
	o.Conversation = c.about.conversation
	if c.about.tenant.Text != "" {
		o.Tenant = c.about.tenant
	}
	if answer, ok := c.b.words().Ack(c.intent, o); ok {
		e.Ack(emit.Values(answer)...)
		return
	}
	e.Ack(object(append([]any{"success", true, "ok", true}, pairs...)...))
}

// fail says why not: in the ack where one is wanted, else as an event, so that nobody waits in
// vain.
func (c *client) fail(e *socketio.Event, f failure) {
	if !e.Ack(object("success", false, "ok", false, "error", f.message, "code", f.code)) {
		c.say(
			c.occasion(
				vocabulary.Failure,
				vocabulary.String("code", f.code),
				vocabulary.String("message", f.message),
				vocabulary.String("event", e.Name),
			),
		)
	}
}

// idPayload is an id as the client wrote it, unless the row spells it otherwise.
func idPayload(id vocabulary.ID, asStored string) json.RawMessage {
	if id.Text == asStored {
		return id.JSON
	}
	return vocabulary.NewID(asStored).JSON
}
