package bridge

import (
	"cmp"
	"time"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// routeNotification tells a row of the notifications table: to the sockets of the user it names and
// nobody else; where it names none to the conversation, else to the tenant. A change of it, such as
// being read in another tab, is told to the same. A delete carries only the key and is not told.
func (r *router) routeNotification(c feed.Change) {
	t, row := r.tables.Notifications, c.Row
	event := vocabulary.Notification
	switch c.Action {
	case feed.Update:
		event = vocabulary.NotificationUpdated
	case feed.Delete:
		return
	}
	user, conversation, tenant := row.Text(t.User), row.Text(t.Conversation), row.Text(t.Tenant)
	var to emit.Audience
	switch {
	case user != "":
		to.User = []string{emit.UserRoom(user)}
	case conversation != "":
		to.Conversation = []string{emit.RoomName(r.rooms.Conversation, conversation)}
	case tenant != "":
		to.Tenant = []string{emit.RoomName(r.rooms.Tenant, tenant)}
	default:
		r.log.Warn().
			Str("table", c.Table).
			Str("id", row.Text(t.ID)).
			Msg("a notification names neither user, conversation nor tenant, and reaches nobody")
		return
	}
	if c.Action == feed.Update && len(c.Old.Columns) > 0 && r.notified(c.Old) != "" &&
		r.notified(c.Old) != r.notified(row) {
		event = vocabulary.Notification // it is new to them; of what they had others hear no more
	}
	in := place{idOf(conversation, t.Conversation, row), idOf(tenant, t.Tenant, row)}
	at := cmp.Or(row.Text(t.Created), c.Commit.UTC().Format(time.RFC3339Nano))
	o := rowEvent(
		r.words(),
		event,
		row,
		"notification",
		in,
		vocabulary.String("userId", user),
		vocabulary.String("timestamp", at),
	)
	o.User = idOf(user, t.User, row)
	r.emitAll(to, []outgoing{o})
}

// notified names whom a notification is for, "" where the row does not say.
func (r *router) notified(n row.Row) string {
	t := r.tables.Notifications
	for _, column := range []string{t.User, t.Conversation, t.Tenant} {
		if id := n.Text(column); id != "" {
			return column + ":" + id
		}
	}
	return ""
}
