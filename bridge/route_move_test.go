package bridge

import (
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// A secret is in what a row holds after it moved: nobody may get it where the row was.
const secret = "edited after the move"

// keeps fails where something that was told in one of some rooms holds the secret.
func (r *route) keeps(sent []emission, rooms ...string) {
	r.t.Helper()
	for _, e := range sent {
		for _, room := range rooms {
			if strings.Contains(" "+e.rooms+" ", " "+room+" ") && e.payload["content"] == secret {
				r.t.Errorf("%s got %v with the new content", room, e.event)
			}
		}
	}
}

func TestAMessageThatMovesIsDeletedWhereItWasAndNewWhereItIs(t *testing.T) {
	const at = `"status":"READ","content":"` + secret + `"`
	before := map[string]any{"id": "m1", "messageId": "m1", "conversationId": "c1", "distributorId": "d1", "content": nil, "status": nil}
	for _, c := range []struct {
		name, row, old string
		known          bool // it was told of before
		want           []emission
	}{
		{"to another tenant's, as memory has it", `{"id":"m1","conversation_id":"c2",` + at + `}`, `{"id":"m1"}`, true, []emission{
			{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", before},
			{vocabulary.MessageCreated, "conversation:c2 tenant:d2", map[string]any{"conversationId": "c2", "content": secret}}}},
		{"to another tenant's, as the old row has it", `{"id":"m1","conversation_id":"c2",` + at + `}`, `{"id":"m1","conversation_id":"c1","status":"SENT","content":"old"}`, false, []emission{
			{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", before},
			{vocabulary.MessageCreated, "conversation:c2 tenant:d2", nil}}},
		{"to another conversation of its tenant", `{"id":"m1","conversation_id":"c3",` + at + `}`, `{"id":"m1"}`, true, []emission{
			{vocabulary.MessageDeleted, "conversation:c1", before},
			{vocabulary.MessageCreated, "conversation:c3", nil},
			{vocabulary.MessageUpdated, "tenant:d1", map[string]any{"conversationId": "c3", "content": secret}},
			{vocabulary.MessageStatus, "tenant:d1", map[string]any{"previousStatus": "SENT", "status": "READ"}}}},
		{"out of every conversation", `{"id":"m1","conversation_id":null,` + at + `}`, `{"id":"m1"}`, true, []emission{
			{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", before}}},
		{"twice, the first time unseen", `{"id":"m1","conversation_id":"c2",` + at + `}`, `{"id":"m1","conversation_id":"c3","status":"SENT"}`, true, []emission{
			{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", before},
			{vocabulary.MessageDeleted, "conversation:c3 tenant:d1", map[string]any{"conversationId": "c3", "content": nil}},
			{vocabulary.MessageCreated, "conversation:c2 tenant:d2", nil}}},
		{"from nobody knows where", `{"id":"m1","conversation_id":"c2",` + at + `}`, `{"id":"m1"}`, false, []emission{
			{vocabulary.MessageUpdated, "conversation:c2 tenant:d2", nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRoute(t, map[string]string{"c1": "d1", "c2": "d2", "c3": "d1"})
			if c.known {
				r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1","status":"SENT","content":"old"}`, "")
			}
			sent := r.change("messages", "UPDATE", c.row, c.old)
			r.expect(sent, c.want...)
			r.keeps(sent, "conversation:c1")
			if got := r.change("messages", "DELETE", "", `{"id":"m1"}`); c.name != "out of every conversation" && (len(got) != 1 || strings.Contains(got[0].rooms, "c1")) {
				t.Errorf("its delete went to %+v, want its last rooms alone", got)
			}
		})
	}
}

func TestAMessageWhoseOwnTenantChangesIsDeletedInTheOldOne(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.tables.Messages.Tenant = "tenant_id"
	r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1","tenant_id":"d1","content":"old"}`, "")
	r.expect(r.change("messages", "UPDATE", `{"id":"m1","conversation_id":"c1","tenant_id":"d2","content":"`+secret+`"}`, `{"id":"m1"}`),
		emission{vocabulary.MessageDeleted, "tenant:d1", map[string]any{"id": "m1", "content": nil, "distributorId": "d1"}},
		emission{vocabulary.MessageCreated, "tenant:d2", nil},
		emission{vocabulary.MessageUpdated, "conversation:c1", map[string]any{"content": secret}})
}

func TestAnInsertOfAKnownKeyIsAnotherRow(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1", "c2": "d2"})
	r.change("messages", "INSERT", `{"id":1,"conversation_id":"c1","status":"SENT","content":"old"}`, "")
	sent := r.change("messages", "INSERT", `{"id":1,"conversation_id":"c2","status":"READ","content":"`+secret+`"}`, "")
	r.keeps(sent, "conversation:c1", "tenant:d1")
	r.expect(sent, emission{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", map[string]any{"id": 1.0, "messageId": 1.0, "conversationId": "c1", "status": nil}},
		emission{vocabulary.MessageCreated, "conversation:c2 tenant:d2", map[string]any{"content": secret}})
	// The feed has passed on another row with that key, in this very room.
	r.expect(r.take(feed.Change{Table: "messages", Action: feed.Insert, Row: parsed(t, `{"id":1,"conversation_id":"c2","content":"third"}`), Replaces: true}),
		emission{vocabulary.MessageDeleted, "conversation:c2 tenant:d2", map[string]any{"id": 1.0, "content": nil}},
		emission{vocabulary.MessageCreated, "conversation:c2 tenant:d2", map[string]any{"content": "third"}})
}

func TestADeleteOfARowThatMovedUnseenReachesWhereItWasToo(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1", "c2": "d2"})
	r.change("messages", "INSERT", `{"id":"m1","conversation_id":"c1","content":"old"}`, "")
	sent := r.change("messages", "DELETE", "", `{"id":"m1","conversation_id":"c2","content":"`+secret+`"}`)
	r.keeps(sent, "conversation:c1", "tenant:d1")
	r.expect(sent, emission{vocabulary.MessageDeleted, "conversation:c2 tenant:d2", map[string]any{"content": secret}},
		emission{vocabulary.MessageDeleted, "conversation:c1 tenant:d1", map[string]any{"messageId": "m1", "conversationId": "c1", "content": nil}})
}

func TestAConversationThatMovesIsDeletedForItsOldTenant(t *testing.T) {
	t.Parallel()
	for name, old := range map[string]string{"as memory has it": `{"id":"c1"}`, "as the old row has it": `{"id":"c1","distributor_id":"d1","title":"old"}`} {
		t.Run(name, func(t *testing.T) {
			r := newRoute(t, nil)
			if name == "as memory has it" {
				r.change("conversations", "INSERT", `{"id":"c1","distributor_id":"d1","title":"old"}`, "")
			}
			r.expect(r.change("conversations", "UPDATE", `{"id":"c1","distributor_id":"d2","content":"`+secret+`"}`, old),
				emission{vocabulary.ConversationDeleted, "tenant:d1", map[string]any{"id": "c1", "conversationId": "c1", "distributorId": "d1", "title": nil, "content": nil}},
				emission{vocabulary.ConversationCreated, "tenant:d2", map[string]any{"content": secret}},
				emission{vocabulary.ConversationUpdated, "conversation:c1", map[string]any{"content": secret}})
			// A row that has taken its key since.
			r.expect(r.change("conversations", "INSERT", `{"id":"c1","distributor_id":"d3"}`, ""),
				emission{vocabulary.ConversationDeleted, "conversation:c1 tenant:d2", map[string]any{"id": "c1", "content": nil}},
				emission{vocabulary.ConversationCreated, "conversation:c1 tenant:d3", nil})
		})
	}
}

func TestANotificationThatChangesItsUserIsNewToTheOther(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.tables.Notifications.Name, r.tables.Notifications.ID, r.tables.Notifications.User = "notifications", "id", "user_id"
	var to []string
	next := r.emit
	r.emit = func(where emit.Audience, o *vocabulary.Occasion) { to = append(to, where.User...); next(where, o) }
	r.expect(r.change("notifications", "UPDATE", `{"id":"n1","user_id":"u2","content":"`+secret+`"}`, `{"id":"n1","user_id":"u1"}`),
		emission{vocabulary.Notification, "", nil})
	if len(to) != 1 || to[0] != emit.UserRoom("u2") {
		t.Errorf("it went to %q, want u2 alone", to)
	}
}
