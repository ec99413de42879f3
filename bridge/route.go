package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// router turns changes into events for rooms. A message's events go to its conversation and to the
// tenant of that. A row that moved is deleted where it was, with nothing but its key, and new where
// it is (route_move.go). The feed's goroutine alone uses it, but for messages, which clients'
// events look things up in.
type router struct {
	tables   config.Tables
	rooms    config.Rooms
	words    func() *vocabulary.Vocabulary
	tenants  *tenants
	messages *lru.Cache[string, message]
	emit     func(emit.Audience, *vocabulary.Occasion)
	at       feed.Place // of the change that is being routed, and how many events it has had
	events   uint64
	resync   func(since time.Time, reason string)
	waiting  *waiting
	found    []need // tenants that were asked for, for the change that is being routed
	// moved is called when a conversation has another tenant, or may have, or is no more. What it
	// returns takes out of the room who may not stay; for access.MoveLater it waits for nothing.
	moved    func(conversation string, how access.Move) (settle func(context.Context))
	occupied func(conversation string) bool  // somebody is in its room
	wrote    func(conversation, user string) // a message of the user's came
	holds    holds
	tellings *tellings
	log      zerolog.Logger
}

// message is what is remembered of one: a DELETE carries the key only, and an UPDATE no former
// status. Its tenant is known where the row itself tells it.
type message struct {
	conversation string
	status       string
	tenant       string
}

func newRouter(current func() *config.Config, words func() *vocabulary.Vocabulary, t *tenants, log zerolog.Logger,
	emit func(emit.Audience, *vocabulary.Occasion), resync func(time.Time, string)) (*router, error) {
	cfg := current()
	messages, err := lru.New[string, message](cfg.Rooms.MessageCacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.message_cache_size: %w", err)
	}
	told, err := newTellings(cfg)
	if err != nil {
		return nil, err
	}
	r := &router{
		tables:   cfg.Tables,
		rooms:    cfg.Rooms,
		words:    words,
		tenants:  t,
		messages: messages,
		emit:     emit,
		resync:   resync,
		holds:    newHolds(cfg),
		tellings: told,
		log:      log,
		wrote:    func(string, string) {},
	}
	r.moved = func(string, access.Move) func(context.Context) { return func(context.Context) {} }
	r.occupied = func(string) bool { return false }
	r.waiting = newWaiting(r)
	return r, nil
}

// route sends the events of one change. It waits for nothing: waiting has seen to it that what the
// change needs is known.
func (r *router) route(ctx context.Context, c feed.Change) {
	r.at, r.events = c.Place, 0
	switch c.Table {
	case r.tables.Messages.Name:
		r.routeMessage(c)
	case r.tables.Conversations.Name:
		r.routeConversation(ctx, c)
	case r.tables.Notifications.Name:
		r.routeNotification(c)
	}
}

// learn notes where a message is whose events were sent before its row came.
func (r *router) learn(c feed.Change) {
	t := r.tables.Messages
	where := message{c.Row.Text(t.Conversation), c.Row.Text(t.Status), c.Row.Text(t.Tenant)}
	r.messages.Add(c.Row.Text(t.ID), where)
}

func (r *router) routeMessage(c feed.Change) {
	t := r.tables.Messages
	row, old := c.Row, c.Old
	id := cmp.Or(row.Text(t.ID), old.Text(t.ID))
	if id == "" {
		r.log.Warn().
			Str("table", c.Table).
			Str("action", string(c.Action)).
			Msg("a change without the row's key reaches nobody")
		return
	}
	known, _ := r.messages.Peek(id)
	now, left := r.spots(c, known)
	now.tenant = r.tenantOf(now)
	before := message{status: cmp.Or(old.Text(t.Status), known.status)}
	after := message{now.conversation, cmp.Or(row.Text(t.Status), before.status), r.ownTenant(c, known)}
	in := place{idOf(now.conversation, t.Conversation, row, old), idOf(now.tenant, t.Tenant, row, old)}

	var notices []notice
	switch c.Action {
	case feed.Insert:
		r.messages.Add(id, after)
		if sender := row.Text(t.Sender); sender != "" {
			r.wrote(now.conversation, sender)
		}
		for _, s := range left {
			s.tenant = r.tenantOf(s)
			notices = append(notices, r.messageLeft(c, s, r.reachOf(s.conversation, s.tenant)))
		}
		notices = append(notices, notice{c, []string{now.conversation}, r.reachOf(now.conversation, now.tenant),
			r.tell(nil, vocabulary.MessageCreated, c.Row, "message", in)})
	case feed.Update:
		r.messages.Add(id, after)
		told := r.tell(nil, vocabulary.MessageUpdated, c.Row, "message", in)
		if before.status != "" && before.status != after.status {
			told = append(told, r.messageStatus(idOf(id, t.ID, row, old), before, after, row, in, c.Commit))
		}
		notices = r.messageUpdated(c, now, left, in, told)
	case feed.Delete:
		r.messages.Remove(id)
		to := r.reachOf(now.conversation, now.tenant)
		if len(to.Conversation)+len(to.Tenant) == 0 {
			r.resync(c.Commit, "the room of a deleted message is not known any more")
			return
		}
		told := r.tell(
			nil,
			vocabulary.MessageDeleted,
			c.Old,
			"message",
			in,
			vocabulary.Extra{Name: "messageId", Value: idOf(id, t.ID, old).JSON},
		)
		notices = append(notices, notice{c, []string{now.conversation}, to, told})
		for _, s := range left {
			s.tenant = r.tenantOf(s)
			gone := r.reachOf(s.conversation, s.tenant).Without(to)
			notices = append(notices, r.messageLeft(c, s, gone))
		}
	}
	r.send(id, notices)
}

// notice is what is told of a change to some of those whom it concerns.
type notice struct {
	change        feed.Change // as it is to them: a DELETE where the row has left
	conversations []string    // in which a socket may be reading what it missed
	to            emit.Audience
	told          []outgoing
}

// send tells of a message, but not those who get it later or have read it already.
func (r *router) send(id string, notices []notice) {
	for i := range notices {
		n := &notices[i]
		kept := r.holds.take(n.change, n.conversations, n.to.Rooms(vocabulary.ToConversation|vocabulary.ToTenant), n.told)
		n.to.Except = append(slices.Clip(n.to.Except), kept...)
	}
	r.tellings.passage.Lock()
	defer r.tellings.passage.Unlock()
	for _, n := range notices {
		switch {
		case len(n.told) == 0:
		case n.change.Action == feed.Delete:
			r.tellings.noteGone(id, n.to)
		default:
			_, at := r.holds.table.State(n.change.Row)
			r.tellings.note(id, at, n.told[0].Event, n.to)
		}
		r.emitAll(n.to, n.told)
	}
}

// emitAll sends the events of the change that is being routed.
func (r *router) emitAll(to emit.Audience, told []outgoing) {
	for _, o := range told {
		to.Row = true
		to.Place, to.Nth = r.at, r.events
		r.events++
		r.emit(to, o)
	}
}

// outgoing is an event, ready to be said.
type outgoing = *vocabulary.Occasion

// place is the conversation and the tenant that a row belongs to, as the row spells them.
type place struct{ conversation, tenant vocabulary.ID }

// idOf is an id as the first row that has it in a column spells it.
func idOf(text, column string, rows ...row.Row) vocabulary.ID {
	for _, r := range rows {
		if r.Text(column) == text {
			return vocabulary.IDOf(r, column, text)
		}
	}
	return vocabulary.IDOf(row.Row{}, column, text)
}

func (r *router) routeConversation(ctx context.Context, c feed.Change) {
	t := r.tables.Conversations
	row, old := c.Row, c.Old
	id := r.conversationOf(c)
	if id == "" {
		r.log.Warn().
			Str("table", c.Table).
			Str("action", string(c.Action)).
			Msg("a change without the row's key reaches nobody")
		return
	}
	left, certain := r.tenantsLeft(c)
	tenant := r.tenantNow(c)
	in := place{idOf(id, t.ID, row, old), idOf(tenant, t.Tenant, row, old)}
	switch {
	case certain: // who may not stay has been taken out of the room
	case c.Action == feed.Delete, r.mayHaveMoved(c):
		r.moved(id, access.MoveLater)(ctx)
	}
	for _, was := range left {
		to := r.reachOf("", was)
		if c.Action == feed.Insert { // another row had the key
			to = r.reachOf(id, was)
		}
		r.emitAll(
			to,
			r.tell(
				nil,
				vocabulary.ConversationDeleted,
				keyOf(t.ID, row, old),
				"conversation",
				place{in.conversation, idOf(was, t.Tenant, old)},
			),
		)
	}
	switch c.Action {
	case feed.Insert:
		r.tenants.learn(id, tenant)
		r.emitAll(r.reachOf(id, tenant), r.tell(nil, vocabulary.ConversationCreated, c.Row, "conversation", in))
	case feed.Update:
		r.tenants.learn(id, tenant)
		told := r.tell(nil, vocabulary.ConversationUpdated, c.Row, "conversation", in)
		if len(left) == 0 {
			r.emitAll(r.reachOf(id, tenant), told)
			return
		}
		r.emitAll(r.reachOf("", tenant), r.tell(nil, vocabulary.ConversationCreated, c.Row, "conversation", in))
		r.emitAll(r.reachOf(id, ""), told)
	case feed.Delete:
		r.tenants.forget(id)
		to := r.reachOf(id, tenant)
		if len(left) > 0 { // it moved unseen: those in its room may be of where it was
			to.Conversation = nil
			r.emitAll(r.reachOf(id, ""), r.tell(nil, vocabulary.ConversationDeleted, keyOf(t.ID, old), "conversation", in))
		}
		r.emitAll(to, r.tell(nil, vocabulary.ConversationDeleted, c.Old, "conversation", in))
	}
}

// tell adds the event of a row.
func (r *router) tell(
	told []outgoing,
	event vocabulary.Event,
	record row.Row,
	nested string,
	in place,
	more ...vocabulary.Extra,
) []outgoing {
	if len(record.Record) == 0 {
		r.log.Error().Stringer("event", event).Msg("a change can't be sent: it has no row")
		return told
	}
	return append(told, rowEvent(r.words(), event, record, nested, in, more...))
}

// rowEvent is an event about a row.
func rowEvent(
	words *vocabulary.Vocabulary,
	event vocabulary.Event,
	record row.Row,
	nested string,
	in place,
	more ...vocabulary.Extra,
) outgoing {
	fields := append(
		[]vocabulary.Extra{
			{Name: "conversationId", Value: in.conversation.JSON},
			{Name: words.TenantKey(), Value: in.tenant.JSON},
		},
		more...)
	return &vocabulary.Occasion{
		Event:        event,
		Row:          record,
		Nested:       nested,
		Fields:       fields,
		Conversation: in.conversation,
		Tenant:       in.tenant,
	}
}

// reachOf names the rooms of a conversation and of its tenant, as far as they are known.
func (r *router) reachOf(conversation, tenant string) emit.Audience {
	var to emit.Audience
	if conversation != "" {
		to.Conversation = []string{emit.RoomName(r.rooms.Conversation, conversation)}
	}
	if tenant != "" {
		to.Tenant = []string{emit.RoomName(r.rooms.Tenant, tenant)}
	}
	return to
}

// messageStatus tells a change of status in the fields that frontends look for.
func (r *router) messageStatus(
	id vocabulary.ID,
	before, now message,
	row row.Row,
	in place,
	commit time.Time,
) outgoing {
	t := r.tables.Messages
	timestamp := cmp.Or(row.Text(t.Updated), row.Text(t.Created), commit.UTC().Format(time.RFC3339Nano))
	return &vocabulary.Occasion{
		Event:        vocabulary.MessageStatus,
		Row:          row,
		Conversation: in.conversation,
		Tenant:       in.tenant,
		Fields: []vocabulary.Extra{
			{
				Name:  "messageId",
				Value: id.JSON,
			}, {Name: "id", Value: id.JSON}, {Name: "conversationId", Value: in.conversation.JSON},
			vocabulary.String(
				"status",
				now.status,
			), vocabulary.String("previousStatus", before.status), vocabulary.String("timestamp", timestamp)},
	}
}

// object writes a JSON object of names and values in turn. Empty strings and nil are left out;
// json.RawMessage stands as it is.
func object(pairs ...any) json.RawMessage {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i < len(pairs); i += 2 {
		value := pairs[i+1]
		if raw, isRaw := value.(json.RawMessage); value == nil || value == "" || isRaw && len(raw) == 0 {
			continue
		}
		name, err := json.Marshal(pairs[i])
		if err != nil {
			panic("bridge: a payload's name can't be marshaled: " + err.Error())
		}
		text, err := json.Marshal(value)
		if err != nil {
			panic("bridge: a payload's value can't be marshaled: " + err.Error())
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(text)
	}
	b.WriteByte('}')
	return json.RawMessage(b.String())
}
