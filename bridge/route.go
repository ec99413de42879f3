package bridge

import (
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
// was and to where it is. The feed's goroutine alone uses it.
type router struct {
	tables   config.Tables
	rooms    config.Rooms
	words    *vocabulary.Vocabulary
	tenants  *tenants
	messages *lru.Cache[string, message]
	emit     func(rooms, except []string, event vocabulary.Event, payload json.RawMessage)
	resync   func(since time.Time, reason string)
	holds    holds
	log      zerolog.Logger
}

// message is what is remembered of one: a DELETE carries the key only, and an UPDATE no former status.
type message struct {
	conversation string
	status       string
}

func newRouter(cfg *config.Config, words *vocabulary.Vocabulary, t *tenants, log zerolog.Logger,
	emit func(rooms, except []string, event vocabulary.Event, payload json.RawMessage), resync func(time.Time, string)) (*router, error) {
	messages, err := lru.New[string, message](cfg.Rooms.MessageCacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.message_cache_size: %w", err)
	}
	return &router{tables: cfg.Tables, rooms: cfg.Rooms, words: words, tenants: t, messages: messages, emit: emit, resync: resync, holds: newHolds(cfg), log: log}, nil
}

// route sends the events of one change. It asks Supabase for a conversation's tenant where that is not known yet, so ctx bounds it.
func (r *router) route(ctx context.Context, c feed.Change) {
	switch c.Table {
	case r.tables.Messages.Name:
		r.routeMessage(ctx, c)
	case r.tables.Conversations.Name:
		r.routeConversation(c)
	}
}

func (r *router) routeMessage(ctx context.Context, c feed.Change) {
	t := r.tables.Messages
	row, old := c.Row, c.Old
	id := first(row.Text(t.ID), old.Text(t.ID))
	if id == "" {
		r.log.Warn().Str("table", c.Table).Str("action", string(c.Action)).Msg("a change without the row's key reaches nobody")
		return
	}
	known, _ := r.messages.Peek(id)
	before := message{conversation: first(old.Text(t.Conversation), known.conversation), status: first(old.Text(t.Status), known.status)}
	now := message{conversation: first(row.Text(t.Conversation), before.conversation), status: first(row.Text(t.Status), before.status)}

	tenant := first(row.Text(t.Tenant), old.Text(t.Tenant))
	if tenant == "" {
		var err error
		if tenant, err = r.tenants.of(ctx, now.conversation); err != nil {
			r.log.Warn().Err(err).Str("conversation", now.conversation).Msg("a message goes to its conversation's room only")
		}
	}
	rooms := r.roomsOf(now.conversation, tenant)
	if before.conversation != "" && before.conversation != now.conversation {
		rooms = append(rooms, r.roomsOf(before.conversation, r.tenants.recall(before.conversation))...)
	}
	extras := []vocabulary.Extra{vocabulary.String("conversationId", now.conversation), vocabulary.String(r.words.TenantKey(), tenant)}

	var told []outgoing
	switch c.Action {
	case feed.Insert:
		r.messages.Add(id, now)
		told = r.tell(told, vocabulary.MessageCreated, c.Row, "message", extras)
	case feed.Update:
		r.messages.Add(id, now)
		told = r.tell(told, vocabulary.MessageUpdated, c.Row, "message", extras)
		if before.status != "" && before.status != now.status {
			told = append(told, outgoing{vocabulary.MessageStatus, r.messageStatus(id, before, now, row, c.Commit)})
		}
	case feed.Delete:
		r.messages.Remove(id)
		if len(rooms) == 0 {
			r.resync(c.Commit, "the room of a deleted message is not known any more")
			return
		}
		told = r.tell(told, vocabulary.MessageDeleted, c.Old, "message", append(extras, vocabulary.String("messageId", id)))
	}
	except := r.holds.take(now.conversation, c, rooms, told)
	for _, o := range told {
		r.emit(rooms, except, o.event, o.payload)
	}
}

// outgoing is an event with its payload, ready to be sent.
type outgoing struct {
	event   vocabulary.Event
	payload json.RawMessage
}

func (r *router) routeConversation(c feed.Change) {
	t := r.tables.Conversations
	row, old := c.Row, c.Old
	id := first(row.Text(t.ID), old.Text(t.ID))
	if id == "" {
		r.log.Warn().Str("table", c.Table).Str("action", string(c.Action)).Msg("a change without the row's key reaches nobody")
		return
	}
	before := first(old.Text(t.Tenant), r.tenants.recall(id))
	tenant := first(row.Text(t.Tenant), before)
	rooms := r.roomsOf(id, tenant)
	if before != "" && before != tenant {
		rooms = append(rooms, roomName(r.rooms.Tenant, before))
	}
	extras := []vocabulary.Extra{vocabulary.String("conversationId", id), vocabulary.String(r.words.TenantKey(), tenant)}
	var told []outgoing
	switch c.Action {
	case feed.Insert:
		r.tenants.learn(id, tenant)
		told = r.tell(nil, vocabulary.ConversationCreated, c.Row, "conversation", extras)
	case feed.Update:
		r.tenants.learn(id, tenant)
		told = r.tell(nil, vocabulary.ConversationUpdated, c.Row, "conversation", extras)
	case feed.Delete:
		r.tenants.forget(id)
		told = r.tell(nil, vocabulary.ConversationDeleted, c.Old, "conversation", extras)
	}
	for _, o := range told {
		r.emit(rooms, nil, o.event, o.payload)
	}
}

// tell adds the event of a row.
func (r *router) tell(told []outgoing, event vocabulary.Event, record row.Row, nested string, extras []vocabulary.Extra) []outgoing {
	payload, err := r.words.Shape(record, nested, extras...)
	if err != nil {
		r.log.Error().Err(err).Msg("a change can't be sent")
		return told
	}
	return append(told, outgoing{event, payload})
}

// roomsOf names the rooms of a conversation and of its tenant, as far as they are known.
func (r *router) roomsOf(conversation, tenant string) []string {
	rooms := make([]string, 0, 4)
	if conversation != "" {
		rooms = append(rooms, roomName(r.rooms.Conversation, conversation))
	}
	if tenant != "" {
		rooms = append(rooms, roomName(r.rooms.Tenant, tenant))
	}
	return rooms
}

// roomName fills a room's template in.
func roomName(room config.Room, id string) string {
	return strings.Replace(room.Name, "{id}", id, 1)
}

// messageStatus tells a change of status in the fields that frontends look for.
func (r *router) messageStatus(id string, before, now message, row row.Row, commit time.Time) json.RawMessage {
	t := r.tables.Messages
	timestamp := first(row.Text(t.Updated), row.Text(t.Created), commit.UTC().Format(time.RFC3339Nano))
	return object("messageId", id, "id", id, "conversationId", now.conversation, "status", now.status, "previousStatus", before.status, "timestamp", timestamp)
}

// first gives the first text that is not empty.
func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
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
