package bridge

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// Whoever may read a row where it is need not be whoever could where it was. So nobody is told of
// what a row holds in a room that it has left:
//
//   - a message that moved to another conversation: the old conversation's room gets
//     message_deleted with the key alone, then the new one's new_message. The room of a tenant that
//     has both conversations gets message_updated, and message_status_update where the status
//     changed; where the tenants differ, the old one's gets message_deleted and the new one's
//     new_message;
//   - a conversation that moved to another tenant: the old tenant's room gets conversation_deleted
//     with the key alone, the new one's new_conversation, and the conversation's own room
//     conversation_updated, once those are out of it who may not stay;
//   - an INSERT under a key that another row had: the rooms of that row get the delete of its key
//     first. Where it was is known from the change itself (the fast lane and replica identity full
//     bring the old row) and from what is remembered. Where neither tells, its old rooms hear
//     nothing.
//
// A socket that is in several of these rooms gets what each of them gets, deletes first; but of the
// row itself what the room of its conversation gets alone.

// spot is where a message is: in a conversation, and in a tenant of its own where the row says so.
type spot struct{ conversation, tenant string }

// spots gives where a change's message is now, or was last where it is deleted, and where else it
// was. known is what is remembered of the message.
func (r *router) spots(c feed.Change, known message) (now spot, left []spot) {
	t := r.tables.Messages
	remembered, old := spot{known.conversation, known.tenant}, spot{c.Old.Text(t.Conversation), c.Old.Text(t.Tenant)}
	switch {
	case c.Action == feed.Delete && old.conversation != "":
		now = old
	case c.Action == feed.Delete, !c.Row.Has(t.Conversation):
		now = spot{cmp.Or(old.conversation, known.conversation), r.ownTenant(c, known)}
	default:
		now = spot{c.Row.Text(t.Conversation), r.ownTenant(c, known)} // it may be null: then the message is nowhere
	}
	for _, s := range []spot{remembered, old} {
		differs := s.conversation != now.conversation || s.tenant != "" && s.tenant != now.tenant
		if s.conversation != "" && (differs || c.Replaces) && !slices.Contains(left, s) {
			left = append(left, s)
		}
	}
	return now, left
}

// ownTenant gives the tenant that a message's row names itself, as far as it does.
func (r *router) ownTenant(c feed.Change, known message) string {
	t := r.tables.Messages
	if t.Tenant == "" || c.Row.Has(t.Tenant) {
		return c.Row.Text(t.Tenant)
	}
	return cmp.Or(c.Old.Text(t.Tenant), known.tenant)
}

// tenantOf gives the tenant of a spot, "" where it has none or it could not be asked for.
func (r *router) tenantOf(s spot) string {
	if s.tenant != "" || s.conversation == "" {
		return s.tenant
	}
	if tenant := r.tenants.recall(s.conversation); tenant != "" {
		return tenant
	}
	for _, n := range r.found {
		if n.conversation == s.conversation {
			return n.tenant
		}
	}
	return ""
}

// tenantsFor gives the tenants of the conversations that a message's change is about, as far as
// they are known and the row does not tell them.
func (r *router) tenantsFor(c feed.Change) map[string]string {
	t := r.tables.Messages
	if c.Table != t.Name {
		return nil
	}
	known, _ := r.messages.Peek(cmp.Or(c.Row.Text(t.ID), c.Old.Text(t.ID)))
	now, left := r.spots(c, known)
	var tenants map[string]string
	for _, s := range append([]spot{now}, left...) {
		if tenant := r.tenantOf(s); s.tenant == "" && tenant != "" {
			if tenants == nil {
				tenants = make(map[string]string, 1)
			}
			tenants[s.conversation] = tenant
		}
	}
	return tenants
}

// messageUpdated splits what is told of an update up among those whom it concerns.
func (r *router) messageUpdated(c feed.Change, now spot, left []spot, in place, told []outgoing) []notice {
	to := r.reachOf(now.conversation, now.tenant)
	var notices []notice
	stayed, entered := to, emit.Audience{}
	for _, s := range left {
		s.tenant = r.tenantOf(s)
		was := r.reachOf(s.conversation, s.tenant)
		notices = append(notices, r.messageLeft(c, s, was.Without(to)))
		if s.conversation != now.conversation {
			entered.Conversation, stayed.Conversation = to.Conversation, nil
		}
		if s.tenant != now.tenant {
			entered.Tenant, stayed.Tenant = to.Tenant, nil
		}
	}
	here := []string{now.conversation}
	if len(entered.Conversation)+len(entered.Tenant) > 0 {
		notices = append(notices, notice{c, here, entered, r.tell(nil, vocabulary.MessageCreated, c.Row, "message", in)})
	}
	if len(stayed.Conversation)+len(stayed.Tenant) > 0 {
		notices = append(notices, notice{c, here, stayed, told})
	}
	if r.conversationHears() {
		for i := range notices {
			if n := &notices[i]; n.change.Action != feed.Delete && len(n.to.Conversation) == 0 {
				n.to.Except = to.Conversation
			}
		}
	}
	return notices
}

// conversationHears reports whether the room of a conversation hears of a new message and of an
// updated one in every style: a rule may name another audience.
func (r *router) conversationHears() bool {
	words := r.words()
	for _, style := range vocabulary.Styles() {
		if style == vocabulary.StyleNone && words.Preset() != style {
			continue
		}
		if words.Reaches(
			style,
			vocabulary.MessageCreated,
		)&words.Reaches(
			style,
			vocabulary.MessageUpdated,
		)&vocabulary.ToConversation == 0 {
			return false
		}
	}
	return true
}

// messageLeft tells some of the rooms of a spot that a message is not there any more, and nothing
// of what it holds.
func (r *router) messageLeft(c feed.Change, s spot, to emit.Audience) notice {
	t := r.tables.Messages
	key := keyOf(t.ID, c.Row, c.Old)
	in := place{idOf(s.conversation, t.Conversation, c.Old), idOf(s.tenant, t.Tenant, c.Old)}
	id := idOf(key.Text(t.ID), t.ID, key).JSON
	told := r.tell(nil, vocabulary.MessageDeleted, key, "message", in, vocabulary.Extra{Name: "messageId", Value: id})
	n := notice{change: feed.Change{Table: c.Table, Action: feed.Delete, Old: key, Commit: c.Commit}, to: to, told: told}
	if len(to.Conversation) > 0 {
		n.conversations = []string{s.conversation}
	}
	return n
}

// keyOf makes a row of nothing but the key that one of some rows has.
func keyOf(column string, rows ...row.Row) row.Row {
	for _, r := range rows {
		if value := r.Get(column); value != nil {
			return row.Row{Record: object(column, json.RawMessage(value)), Columns: []row.Column{{Name: column, Value: value}}}
		}
	}
	return row.Row{}
}

// conversationOf gives the key of the conversation that a change of the conversations table is
// about.
func (r *router) conversationOf(c feed.Change) string {
	t := r.tables.Conversations
	return cmp.Or(c.Row.Text(t.ID), c.Old.Text(t.ID))
}

// tenantNow gives the tenant that a conversation has after a change, or had last where it is
// deleted.
func (r *router) tenantNow(c feed.Change) string {
	t := r.tables.Conversations
	if c.Row.Has(t.Tenant) {
		return c.Row.Text(t.Tenant)
	}
	return cmp.Or(c.Old.Text(t.Tenant), r.tenants.recall(r.conversationOf(c)))
}

// tenantsLeft gives the tenants that a conversation had and has no more; certain reports whether
// those in its room must be looked at before anything else is told there.
func (r *router) tenantsLeft(c feed.Change) (left []string, certain bool) {
	t, now := r.tables.Conversations, r.tenantNow(c)
	for _, was := range []string{c.Old.Text(t.Tenant), r.tenants.recall(r.conversationOf(c))} {
		if was != "" && (was != now || c.Replaces) && !slices.Contains(left, was) {
			left = append(left, was)
		}
	}
	return left, len(left) > 0 && c.Action != feed.Delete
}

// moves tells how it has to be asked who may stay in a conversation's room before a change of it is
// told.
func (r *router) moves(c feed.Change) access.Move {
	if c.Table != r.tables.Conversations.Name || r.conversationOf(c) == "" {
		return access.MoveLater
	}
	if _, certain := r.tenantsLeft(c); certain {
		return access.MoveCertain
	}
	if r.mayHaveMoved(c) && r.occupied(r.conversationOf(c)) {
		return access.MovePossible
	}
	return access.MoveLater
}

// mayHaveMoved reports whether nobody knows which tenant a conversation had before an update.
func (r *router) mayHaveMoved(c feed.Change) bool {
	return c.Action == feed.Update && r.tenants.told(r.conversationOf(c)) == "" &&
		!c.Old.Has(r.tables.Conversations.Tenant)
}

func inConversation(id string) string { return "c:" + id }

// plan fills in which queues a change belongs into, and which tenants it needs. last gives what
// will be known of a message once all of it that waits is told.
func (r *router) plan(p *pending, last func(key string) (after message, gone, waits bool)) {
	c := p.change
	switch c.Table {
	case r.tables.Messages.Name:
		t := r.tables.Messages
		id := cmp.Or(c.Row.Text(t.ID), c.Old.Text(t.ID))
		if id == "" {
			return
		}
		key := "m:" + id
		known, gone, waits := last(key)
		if !waits {
			known, _ = r.messages.Peek(id)
		} else if gone {
			known = message{}
		}
		now, left := r.spots(c, known)
		p.keys, p.after, p.gone = append(p.keys, key), message{now.conversation, "", now.tenant}, c.Action == feed.Delete
		for _, s := range append([]spot{now}, left...) {
			if s.conversation == "" {
				continue
			}
			if k := inConversation(s.conversation); !slices.Contains(p.keys, k) {
				p.keys = append(p.keys, k)
				if s.tenant == "" {
					p.needs = append(p.needs, need{conversation: s.conversation})
				}
			}
		}
	case r.tables.Conversations.Name:
		if id := r.conversationOf(c); id != "" {
			p.keys = []string{inConversation(id)}
		}
	case r.tables.Notifications.Name:
		t := r.tables.Notifications
		if id := cmp.Or(c.Row.Text(t.ID), c.Old.Text(t.ID)); id != "" {
			p.keys = []string{"n:" + id}
		}
		if conversation := c.Row.Text(t.Conversation); conversation != "" && c.Row.Text(t.User) == "" {
			p.keys = append(p.keys, inConversation(conversation))
		}
	}
}
