package bridge

import (
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/realtimeshare"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/bridge/webhook"
)

// tellTyping tells a conversation who types in it.
func (b *Bridge) tellTyping(s typing.Change) {
	b.sawTyping(s)
	who, event := s.Who, vocabulary.TypingStopped
	if s.Typing {
		event = vocabulary.TypingStarted
	}
	o := about(who, event, vocabulary.Extra{Name: "conversationId", Value: s.Conversation.JSON}, vocabulary.String("userId", who.UserID), vocabulary.String("userName", who.Name),
		vocabulary.Bool("isTyping", s.Typing))
	o.Conversation = s.Conversation
	own := []string{emit.UserRoom(who.UserID)}
	b.emit(emit.Audience{Conversation: []string{emit.RoomName(b.cfg().Rooms.Conversation, s.Conversation.Text)}, User: own, Sender: own}, o)
	if b.sharer != nil && s.Local {
		b.sharer.Typed(s.Conversation.Text, realtimeshare.User{ID: who.UserID, Name: who.Name}, s.Typing)
	}
}

// tellPresence tells a tenant who came, who went, and how those are who are there.
func (b *Bridge) tellPresence(a attended) {
	b.sawPresence(a)
	who := a.who
	seen := a.lastSeen()
	own := []string{emit.UserRoom(who.UserID)}
	to := emit.Audience{Tenant: []string{emit.RoomName(b.cfg().Rooms.Tenant, a.tenant)}, User: own, Sender: own}
	user, name, last := vocabulary.String("userId", who.UserID), vocabulary.String("userName", who.Name), vocabulary.String("lastSeen", seen)
	var told []*vocabulary.Occasion
	switch {
	case a.came:
		b.webhooks.ReportOnce(webhook.UserOnline, a.tenant+"/"+who.UserID, object("userId", who.UserID, b.words().TenantKey(), a.tenant))
		told = append(told, about(who, vocabulary.UserOnline, user, name))
	case a.went:
		b.webhooks.ReportOnce(webhook.UserOffline, a.tenant+"/"+who.UserID, object("userId", who.UserID, b.words().TenantKey(), a.tenant, "lastSeen", seen))
		told = append(told, about(who, vocabulary.UserOffline, user, name, last))
	}
	told = append(told, about(who, vocabulary.PresenceUpdate, user, name, vocabulary.String("status", a.state), vocabulary.Bool("isOnline", !a.went), last))
	for _, o := range told {
		o.Tenant = vocabulary.NewID(a.tenant)
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
	o := about(who, vocabulary.MessagesRead, vocabulary.Extra{Name: "conversationId", Value: conversation.JSON}, vocabulary.String("userId", who.UserID),
		vocabulary.String("readBy", who.UserID), vocabulary.Extra{Name: "messageIds", Value: messages})
	o.Conversation = conversation
	to.Conversation, to.User = []string{emit.RoomName(b.cfg().Rooms.Conversation, conversation.Text)}, []string{emit.UserRoom(who.UserID)}
	b.emit(to, o)
}

// lastSeen is when one who went was seen last, "" of one who is there.
func (a attended) lastSeen() string {
	if !a.went {
		return ""
	}
	return a.at.UTC().Format(time.RFC3339Nano)
}

// maxSnapshot bounds the users in one list of how they are, of some 150 bytes each, so that it fits what may wait for a client. Those who are online come first.
const maxSnapshot = 1000

// presenceList writes a snapshot as a list of objects.
func presenceList(all []attended) json.RawMessage {
	list := []byte{'['}
	for i, a := range all[:min(len(all), maxSnapshot)] {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, object("userId", a.who.UserID, "userName", a.who.Name, "status", a.state, "isOnline", !a.went, "lastSeen", a.lastSeen())...)
	}
	return append(list, ']')
}
