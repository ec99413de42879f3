package bridge

import (
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/realtimeshare"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/bridge/webhook"
)

// tellTyping tells a conversation who types in it.
func (b *Bridge) tellTyping(s typing.Change) {
	defer b.survive(nil, "typing")
	b.sawTyping(s)
	who, event := s.Who, vocabulary.TypingStopped
	if s.Typing {
		event = vocabulary.TypingStarted
	}
	o := about(
		who,
		event,
		vocabulary.Extra{Name: "conversationId", Value: s.Conversation.JSON},
		vocabulary.String("userId", who.UserID),
		vocabulary.String("userName", who.Name),
		vocabulary.Bool("isTyping", s.Typing),
	)
	o.Conversation = s.Conversation
	own := []string{emit.UserRoom(who.UserID)}
	b.emit(
		emit.Audience{
			Conversation: []string{emit.RoomName(b.cfg().Rooms.Conversation, s.Conversation.Text)},
			User:         own,
			Sender:       own,
		},
		o,
	)
	if b.sharer != nil && s.Local {
		b.sharer.Typed(s.Conversation.Text, realtimeshare.User{ID: who.UserID, Name: who.Name}, s.Typing)
	}
}

// tellPresence tells a tenant who came, who went, and how those are who are there.
func (b *Bridge) tellPresence(p presence.Change) {
	defer b.survive(nil, "presence")
	b.sawPresence(p)
	who := p.Who
	seen := lastSeen(p)
	own := []string{emit.UserRoom(who.UserID)}
	to := emit.Audience{Tenant: []string{emit.RoomName(b.cfg().Rooms.Tenant, p.Tenant)}, User: own, Sender: own}
	user, name, last := vocabulary.String(
		"userId",
		who.UserID,
	), vocabulary.String(
		"userName",
		who.Name,
	), vocabulary.String(
		"lastSeen",
		seen,
	)
	var told []*vocabulary.Occasion
	switch {
	case p.Came:
		b.webhooks.ReportOnce(
			webhook.UserOnline,
			p.Tenant+"/"+who.UserID,
			object("userId", who.UserID, b.words().TenantKey(), p.Tenant),
		)
		told = append(told, about(who, vocabulary.UserOnline, user, name))
	case p.Went:
		b.webhooks.ReportOnce(
			webhook.UserOffline,
			p.Tenant+"/"+who.UserID,
			object("userId", who.UserID, b.words().TenantKey(), p.Tenant, "lastSeen", seen),
		)
		told = append(told, about(who, vocabulary.UserOffline, user, name, last))
	}
	told = append(
		told,
		about(
			who,
			vocabulary.PresenceUpdate,
			user,
			name,
			vocabulary.String("status", p.State),
			vocabulary.Bool("isOnline", !p.Went),
			last,
		),
	)
	for _, o := range told {
		o.Tenant = vocabulary.NewID(p.Tenant)
		b.emit(to, o)
	}
	b.moved()
}

// moved tells that somebody came or went, and that Realtime may have to know.
func (b *Bridge) moved() {
	if b.sharer != nil {
		b.sharer.Nudge()
	}
}

// tellRead tells a conversation what a user has read; to holds what is not known from that.
func (b *Bridge) tellRead(conversation vocabulary.ID, who *auth.Identity, messages json.RawMessage, to emit.Audience) {
	o := about(
		who,
		vocabulary.MessagesRead,
		vocabulary.Extra{Name: "conversationId", Value: conversation.JSON},
		vocabulary.String("userId", who.UserID),
		vocabulary.String("readBy", who.UserID),
		vocabulary.Extra{Name: "messageIds", Value: messages},
	)
	o.Conversation = conversation
	to.Conversation, to.User = []string{
		emit.RoomName(b.cfg().Rooms.Conversation, conversation.Text),
	}, []string{
		emit.UserRoom(who.UserID),
	}
	b.emit(to, o)
}

// lastSeen is when a user who went was seen last, "" of one who is there.
func lastSeen(p presence.Change) string {
	if !p.Went {
		return ""
	}
	return p.LastSeen.UTC().Format(time.RFC3339Nano)
}

// maxSnapshot bounds the users in one list of how they are, of some 150 bytes each, so that it fits
// what may wait for a client. Those who are online come first.
const maxSnapshot = 1000

// presenceList writes a snapshot as a list of objects.
func presenceList(all []presence.Change) json.RawMessage {
	list := []byte{'['}
	for i, p := range all[:min(len(all), maxSnapshot)] {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(
			list,
			object(
				"userId",
				p.Who.UserID,
				"userName",
				p.Who.Name,
				"status",
				p.State,
				"isOnline",
				!p.Went,
				"lastSeen",
				lastSeen(p),
			)...)
	}
	return append(list, ']')
}
