package bridge

import (
	"cmp"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// What follows shows those who watch by supabridge tail what happens. It costs nothing while nobody
// does.

func (b *Bridge) sawChange(c feed.Change) {
	b.tap.Show(tail.Change, func() tail.Sight {
		t := b.cfg().Tables
		s := tail.Sight{Text: string(c.Action), Table: c.Table, Detail: "read", Body: c.Row.Record}
		if c.Action == feed.Delete {
			s.Body = c.Old.Record
		}
		if !c.Found {
			s.Detail = "live"
			if !c.Commit.IsZero() {
				s.Detail += " after " + max(0, time.Since(c.Commit)).Round(time.Millisecond).String()
			}
		}
		switch either := func(column string) string { return cmp.Or(c.Row.Text(column), c.Old.Text(column)) }; c.Table {
		case t.Messages.Name:
			s.ID, s.Conversation, s.Tenant = either(t.Messages.ID), either(t.Messages.Conversation), either(t.Messages.Tenant)
			if s.Conversation != "" && s.Tenant == "" {
				s.Tenant = b.router.tenants.recall(s.Conversation)
			}
		case t.Conversations.Name:
			s.ID, s.Conversation, s.Tenant = either(
				t.Conversations.ID,
			), either(
				t.Conversations.ID,
			), either(
				t.Conversations.Tenant,
			)
		case t.Notifications.Name:
			s.ID, s.Conversation, s.Tenant, s.User = either(
				t.Notifications.ID,
			), either(
				t.Notifications.Conversation,
			), either(
				t.Notifications.Tenant,
			), either(
				t.Notifications.User,
			)
		}
		return s
	})
}

func (b *Bridge) sawFeed(r feed.Report) {
	b.tap.Show(tail.Feed, func() tail.Sight { return tail.Sight{Text: string(r.State), Detail: r.Reason} })
}

func (b *Bridge) sawTyping(s typing.Change) {
	b.tap.Show(tail.Typing, func() tail.Sight {
		event := vocabulary.TypingStopped
		if s.Typing {
			event = vocabulary.TypingStarted
		}
		return tail.Sight{Text: event.String(), Conversation: s.Conversation.Text, User: s.Who.UserID, Tenant: s.Who.Tenant}
	})
}

func (b *Bridge) sawPresence(p presence.Change) {
	b.tap.Show(tail.Presence, func() tail.Sight { return tail.Sight{Text: p.State, Tenant: p.Tenant, User: p.Who.UserID} })
}

func (b *Bridge) sawRefusal(address, reason string) {
	b.tap.Show(tail.Refuse, func() tail.Sight { return tail.Sight{Text: reason, Detail: address} })
}

// saw shows what a client does. text and detail say more.
func (c *client) saw(kind tail.Kind, text, detail string) {
	c.b.tap.Show(kind, func() tail.Sight {
		return tail.Sight{Text: text, Detail: detail, User: c.who.UserID, Tenant: c.who.Tenant, Socket: c.socket.ID()}
	})
}

// sawRoom shows how a client's entering or leaving a room ended.
func (c *client) sawRoom(kind tail.Kind, room access.RoomKind, id, result string) {
	c.b.tap.Show(kind, func() tail.Sight {
		s := tail.Sight{
			Text:         result,
			Detail:       room.String(),
			User:         c.who.UserID,
			Socket:       c.socket.ID(),
			Conversation: id,
			Tenant:       c.who.Tenant,
		}
		if room == access.TenantRoom {
			s.Conversation, s.Tenant = "", id
		}
		return s
	})
}
