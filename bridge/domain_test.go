package bridge

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// workplace is a stand-in whose messages say who wrote them, and which has notifications; and a
// bridge that knows of both.
func workplace(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	f, err := os.Open("../testdata/seeds/workplace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seed, err := standin.ParseSeed(f)
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOn(t, standin.Options{Seed: seed}, func(c *config.Config) {
		c.Tables.Notifications = config.NotificationsTable{Name: "notifications", ID: "id", User: "user_id", Conversation: "conversation_id", Tenant: "distributor_id",
			Created: "created_at", Updated: "updated_at"}
		c.Sending = config.Sending{Enabled: true, Content: "content", Sender: "sender_id", Fields: []string{"reply_to_message_id"}, Set: []string{"status=SENT", "is_from_customer:=false"}}
		if change != nil {
			change(c)
		}
	})
}

func (w *world) insert(table string, row map[string]any) map[string]any {
	w.t.Helper()
	body, err := json.Marshal(row)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.rest("POST", table, string(body))[0]
}

func TestANotificationReachesTheUserItNamesAndNobodyElse(t *testing.T) {
	t.Parallel()
	w := workplace(t, nil)
	ana, anaToo, ben := w.as(anaID), w.as(anaID), w.as(benID)
	for _, b := range []*browser{ana, anaToo, ben} {
		b.must("join_distributor", harbour)
		b.must("join_conversation", bakery)
	}
	w.insert("notifications", map[string]any{"user_id": anaID, "conversation_id": bakery, "distributor_id": harbour, "title": "An order", "message": "from the bakery", "data": map[string]any{"order": 7}})
	for _, b := range []*browser{ana, anaToo} {
		got := b.event("notification")
		if got["title"] != "An order" || got["message"] != "from the bakery" || got["userId"] != anaID || got["conversationId"] != bakery || got["timestamp"] == nil {
			t.Errorf("notification %v", got)
		}
	}
	w.insert("notifications", map[string]any{"conversation_id": bakery, "title": "to those in the conversation"})
	if got := ben.event("notification"); got["title"] != "to those in the conversation" {
		t.Errorf("ben's first notification is %v, want not ana's", got)
	}
	id := w.insert("notifications", map[string]any{"distributor_id": harbour, "title": "to the tenant"})["id"]
	if got := ben.event("notification"); got["title"] != "to the tenant" {
		t.Errorf("notification %v", got)
	}
	w.rest("PATCH", "notifications?id=eq."+jsonText(t, id), `{"read_at":"2030-01-01T00:00:00Z"}`)
	if got := ben.event("notification_updated"); got["readAt"] == nil {
		t.Errorf("notification_updated %v", got)
	}
}

func jsonText(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAMessageThatIsSentOverTheSocketIsWrittenWithTheUsersOwnRights(t *testing.T) {
	t.Parallel()
	w := workplace(t, nil)
	ana, ben, dora := w.as(anaID), w.as(benID), w.as(doraID)
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
	}
	ana.must("typing_start", bakery)
	ben.event("user_typing")
	var answer struct {
		Success   bool
		MessageID string
		Message   map[string]any
	}
	raw := ana.ask("send_message", map[string]any{"conversationId": bakery, "text": "hello <there>", "status": "READ", "replyToMessageId": "e1000000-0000-4000-8000-000000000001"})
	if err := json.Unmarshal(raw, &answer); err != nil || !answer.Success || answer.MessageID == "" {
		t.Fatalf("ack %s (%v)", raw, err)
	}
	if got := ben.event("user_typing"); got["isTyping"] != false {
		t.Errorf("user_typing %v, want it ended by the message", got)
	}
	for _, b := range []*browser{ana, ben} {
		got := b.event("new_message")
		if got["id"] != answer.MessageID || got["content"] != "hello <there>" || got["sender_id"] != anaID || got["status"] != "SENT" || got["reply_to_message_id"] == nil {
			t.Errorf("new_message %v", got)
		}
	}
	if o := dora.try("send_message", map[string]any{"conversationId": bakery, "text": "from another tenant"}); o.Success || o.Code != "forbidden" {
		t.Errorf("a message into another tenant's conversation: %+v, want forbidden", o)
	}
	if o := ana.try("send_message", map[string]any{"conversationId": bakery}); o.Success || o.Code != "bad_request" {
		t.Errorf("a message without text: %+v, want bad_request", o)
	}
	if o := ana.try("sendMessage", "no-such-id", "text"); o.Success || o.Code != "refused" {
		t.Errorf("a message that the database can't take: %+v, want refused", o)
	}
}

func TestSendingIsRefusedInWordsWhereItIsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if o := w.as(anaID).try("send_message", map[string]any{"conversationId": bakery, "text": "hello"}); o.Success || o.Code != "not_supported" {
		t.Errorf("%+v, want not_supported", o)
	}
}

func TestAMessageFromElsewhereEndsItsWritersTyping(t *testing.T) {
	t.Parallel()
	w := workplace(t, func(c *config.Config) { c.Typing.Timeout = time.Minute })
	ana, ben := w.as(anaID), w.as(benID)
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
	}
	ana.must("typing_start", bakery)
	ben.event("user_typing")
	w.insert("messages", map[string]any{"conversation_id": bakery, "content": "by HTTP", "sender_id": anaID})
	if got := ben.event("user_typing"); got["isTyping"] != false || got["userId"] != anaID {
		t.Errorf("user_typing %v, want ana's ended", got)
	}
}

func TestHowUsersAreIsToldWithinTheirTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Presence.Grace = time.Millisecond })
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_distributor")
	dora.must("join_distributor")
	ben := w.as(benID)
	ben.must("user_away")
	awaitStatus(t, ana, benID, "away")
	ben.must("presence_update", map[string]any{"status": "Busy"})
	awaitStatus(t, ana, benID, "busy")
	ben.must("update_status", benID, "online")
	awaitStatus(t, ana, benID, "online")
	ben.conn.Close()
	awaitStatus(t, ana, benID, "offline")

	var all []map[string]any
	raw := ana.ask("get_presence")
	if err := json.Unmarshal(raw, &all); err != nil || len(all) != 2 || all[0]["userId"] != anaID || all[0]["status"] != "online" ||
		all[1]["userId"] != benID || all[1]["isOnline"] != false || all[1]["lastSeen"] == nil || all[1]["userName"] != "Ben Okafor" {
		t.Errorf("presence %s (%v), want ana online and ben seen last", raw, err)
	}
	for _, arg := range []any{map[string]any{"userId": benID}, benID} {
		raw = ana.ask("get_user_status", arg)
		if err := json.Unmarshal(raw, &all); err != nil || len(all) != 1 || all[0]["userId"] != benID {
			t.Errorf("presence of %v %s (%v)", arg, raw, err)
		}
	}
	carla := w.as("a1000000-0000-4000-8000-000000000003")
	carla.must("join_distributor")
	carla.await("the snapshot on joining", func(p string) bool { return len(p) > 16 && p[:17] == `2["presence_state` })
	dora.sync()
	if dora.heard("presence_update") && awaitStatusOf(dora) != doraID {
		t.Error("another tenant's presence was heard")
	}
}

func awaitStatus(t *testing.T, b *browser, user, status string) {
	t.Helper()
	for range 20 {
		if got := b.event("presence_update"); got["userId"] == user && got["status"] == status {
			return
		}
	}
	t.Fatalf("%s is not told to be %s", user, status)
}

func awaitStatusOf(b *browser) any { return b.event("presence_update")["userId"] }

func TestAnEventThatNamesNoConversationIsAboutTheOneOfItsMessageOrTheOnlyOneJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, ben := w.as(anaID), w.as(benID)
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
	}
	ana.must("typing")
	if got := ben.event("user_typing"); got["conversationId"] != bakery {
		t.Errorf("user_typing %v", got)
	}
	ben.must("join_conversation", "c1000000-0000-4000-8000-000000000002")
	if o := ben.try("typing"); o.Code != "bad_request" {
		t.Errorf("typing in one of two conversations: %+v, want bad_request", o)
	}
	id := w.write(bakery, "to be read")
	ben.event("new_message")
	ben.must("message:read", map[string]any{"messageId": id})
	if got := ana.event("messages_read"); got["conversationId"] != bakery || got["readBy"] != benID {
		t.Errorf("messages_read %v", got)
	}
}

func TestANumberThatAClientSendsAsAnIDStaysOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Auth.InsecureDev = true })
	ana, ben := connect(t, w.address, map[string]any{"userId": "ana"}), connect(t, w.address, map[string]any{"userId": "ben"})
	ana.must("join_conversation", 42)
	ben.must("join_conversation", "42")
	ana.must("typing_start", map[string]any{"conversationId": 42})
	if got := ben.event("user_typing"); got["conversationId"] != 42.0 {
		t.Errorf("user_typing %v, want the number", got)
	}
	ana.conn.Close()
	if got := ben.event("user_typing"); got["conversationId"] != 42.0 || got["isTyping"] != false {
		t.Errorf("user_typing %v, want the number", got)
	}
}

func TestAUsersRoomIsTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join", "user_"+anaID)
	if o := ana.try("join", "user_"+benID); o.Code != "forbidden" {
		t.Errorf("a join of another user's room: %+v, want forbidden", o)
	}
}
