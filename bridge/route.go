package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// router turns changes into events for rooms. A message's events go to its conversation and to the tenant of that; a row that moved goes to where it
// was and to where it is. The feed's goroutine alone uses it, but for messages, which clients' events look things up in.
type router struct {
	tables   config.Tables
	rooms    config.Rooms
	words    func() *vocabulary.Vocabulary
	tenants  *tenants
	messages *lru.Cache[string, message]
	emit     func(reach, *vocabulary.Occasion)
	at       feed.Place // of the change that is being routed, and how many events it has had
	events   uint64
	resync   func(since time.Time, reason string)
	moved    func(ctx context.Context, conversation string, certain bool) // it has another tenant, or may have, or is no more
	wrote    func(conversation, user string)                              // a message of the user's came
	holds    holds
	tellings *tellings
	log      zerolog.Logger
}

// message is what is remembered of one: a DELETE carries the key only, and an UPDATE no former status.
type message struct {
	conversation string
	status       string
}

func newRouter(current func() *config.Config, words func() *vocabulary.Vocabulary, t *tenants, log zerolog.Logger,
	emit func(reach, *vocabulary.Occasion), resync func(time.Time, string)) (*router, error) {
	cfg := current()
	messages, err := lru.New[string, message](cfg.Rooms.MessageCacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.message_cache_size: %w", err)
	}
	told, err := newTellings(cfg)
	if err != nil {
		return nil, err
	}
	return &router{tables: cfg.Tables, rooms: cfg.Rooms, words: words, tenants: t, messages: messages, emit: emit, resync: resync, holds: newHolds(cfg),
		tellings: told, log: log, moved: func(context.Context, string, bool) {}, wrote: func(string, string) {}}, nil
}

// route sends the events of one change. It asks Supabase for a conversation's tenant where that is not known yet, so ctx bounds it.
func (r *router) route(ctx context.Context, c feed.Change) {
	r.at, r.events = c.Place, 0
	switch c.Table {
	case r.tables.Messages.Name:
		r.routeMessage(ctx, c)
	case r.tables.Conversations.Name:
		r.routeConversation(ctx, c)
	case r.tables.Notifications.Name:
		r.routeNotification(c)
	}
}

func (r *router) routeMessage(ctx context.Context, c feed.Change) {
	t := r.tables.Messages
	row, old := c.Row, c.Old
	id := cmp.Or(row.Text(t.ID), old.Text(t.ID))
	if id == "" {
		r.log.Warn().Str("table", c.Table).Str("action", string(c.Action)).Msg("a change without the row's key reaches nobody")
		return
	}
	known, _ := r.messages.Peek(id)
	before := message{conversation: cmp.Or(old.Text(t.Conversation), known.conversation), status: cmp.Or(old.Text(t.Status), known.status)}
	now := message{conversation: cmp.Or(row.Text(t.Conversation), before.conversation), status: cmp.Or(row.Text(t.Status), before.status)}

	tenant := cmp.Or(row.Text(t.Tenant), old.Text(t.Tenant))
	if tenant == "" {
		var err error
		if tenant, err = r.tenants.of(ctx, now.conversation); err != nil {
			r.log.Warn().Err(err).Str("conversation", now.conversation).Msg("a message goes to its conversation's room only")
		}
	}
	to := r.reachOf(now.conversation, tenant)
	conversations := []string{now.conversation}
	if before.conversation != "" && before.conversation != now.conversation {
		conversations = append(conversations, before.conversation)
		left := r.reachOf(before.conversation, r.tenants.recall(before.conversation))
		to.conversation, to.tenant = append(to.conversation, left.conversation...), append(to.tenant, left.tenant...)
	}
	rooms := to.rooms(vocabulary.ToConversation | vocabulary.ToTenant)
	place := place{idOf(now.conversation, t.Conversation, row, old), idOf(tenant, t.Tenant, row, old)}

	var told []outgoing
	switch c.Action {
	case feed.Insert:
		r.messages.Add(id, now)
		if sender := row.Text(t.Sender); sender != "" {
			r.wrote(now.conversation, sender)
		}
		told = r.tell(told, vocabulary.MessageCreated, c.Row, "message", place)
	case feed.Update:
		r.messages.Add(id, now)
		told = r.tell(told, vocabulary.MessageUpdated, c.Row, "message", place)
		if before.status != "" && before.status != now.status {
			told = append(told, r.messageStatus(idOf(id, t.ID, row, old), before, now, row, place, c.Commit))
		}
	case feed.Delete:
		r.messages.Remove(id)
		if len(rooms) == 0 {
			r.resync(c.Commit, "the room of a deleted message is not known any more")
			return
		}
		told = r.tell(told, vocabulary.MessageDeleted, c.Old, "message", place, vocabulary.Extra{Name: "messageId", Value: idOf(id, t.ID, old).JSON})
	}
	to.except = r.holds.take(c, conversations, rooms, told)
	r.tellings.passage.Lock()
	defer r.tellings.passage.Unlock()
	if len(told) > 0 && c.Action != feed.Delete {
		_, at := r.holds.table.State(row)
		r.tellings.note(id, at, told[0].Event, to)
	}
	r.emitAll(to, told)
}

// emitAll sends the events of the change that is being routed.
func (r *router) emitAll(to reach, told []outgoing) {
	for _, o := range told {
		to.origin = fromRow
		to.at, to.nth = r.at, r.events
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
	id := cmp.Or(row.Text(t.ID), old.Text(t.ID))
	if id == "" {
		r.log.Warn().Str("table", c.Table).Str("action", string(c.Action)).Msg("a change without the row's key reaches nobody")
		return
	}
	before := cmp.Or(old.Text(t.Tenant), r.tenants.recall(id))
	tenant := cmp.Or(row.Text(t.Tenant), before)
	to := r.reachOf(id, tenant)
	if before != "" && before != tenant {
		to.tenant = append(to.tenant, roomName(r.rooms.Tenant, before))
	}
	place := place{idOf(id, t.ID, row, old), idOf(tenant, t.Tenant, row, old)}
	var told []outgoing
	if c.Action == feed.Delete || c.Action == feed.Update && before != row.Text(t.Tenant) {
		r.moved(ctx, id, c.Action == feed.Update && before != "")
	}
	switch c.Action {
	case feed.Insert:
		r.tenants.learn(id, tenant)
		told = r.tell(nil, vocabulary.ConversationCreated, c.Row, "conversation", place)
	case feed.Update:
		r.tenants.learn(id, tenant)
		told = r.tell(nil, vocabulary.ConversationUpdated, c.Row, "conversation", place)
	case feed.Delete:
		r.tenants.forget(id)
		told = r.tell(nil, vocabulary.ConversationDeleted, c.Old, "conversation", place)
	}
	r.emitAll(to, told)
}

// tell adds the event of a row.
func (r *router) tell(told []outgoing, event vocabulary.Event, record row.Row, nested string, in place, more ...vocabulary.Extra) []outgoing {
	if len(record.Record) == 0 {
		r.log.Error().Stringer("event", event).Msg("a change can't be sent: it has no row")
		return told
	}
	return append(told, rowEvent(r.words(), event, record, nested, in, more...))
}

// rowEvent is an event about a row.
func rowEvent(words *vocabulary.Vocabulary, event vocabulary.Event, record row.Row, nested string, in place, more ...vocabulary.Extra) outgoing {
	fields := append([]vocabulary.Extra{{Name: "conversationId", Value: in.conversation.JSON}, {Name: words.TenantKey(), Value: in.tenant.JSON}}, more...)
	return &vocabulary.Occasion{Event: event, Row: record, Nested: nested, Fields: fields, Conversation: in.conversation, Tenant: in.tenant}
}

// reachOf names the rooms of a conversation and of its tenant, as far as they are known.
func (r *router) reachOf(conversation, tenant string) reach {
	var to reach
	if conversation != "" {
		to.conversation = []string{roomName(r.rooms.Conversation, conversation)}
	}
	if tenant != "" {
		to.tenant = []string{roomName(r.rooms.Tenant, tenant)}
	}
	return to
}

// roomName fills a room's template in.
func roomName(room config.Room, id string) string {
	return strings.Replace(room.Name, "{id}", id, 1)
}

// messageStatus tells a change of status in the fields that frontends look for.
func (r *router) messageStatus(id vocabulary.ID, before, now message, row row.Row, in place, commit time.Time) outgoing {
	t := r.tables.Messages
	timestamp := cmp.Or(row.Text(t.Updated), row.Text(t.Created), commit.UTC().Format(time.RFC3339Nano))
	return &vocabulary.Occasion{Event: vocabulary.MessageStatus, Row: row, Conversation: in.conversation, Tenant: in.tenant, Fields: []vocabulary.Extra{
		{Name: "messageId", Value: id.JSON}, {Name: "id", Value: id.JSON}, {Name: "conversationId", Value: in.conversation.JSON},
		vocabulary.String("status", now.status), vocabulary.String("previousStatus", before.status), vocabulary.String("timestamp", timestamp)}}
}

// object writes a JSON object of names and values in turn. Empty strings and nil are left out; json.RawMessage stands as it is.
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
