package vocabulary

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestAnIDIsFoundHoweverItIsSpelled(t *testing.T) {
	t.Parallel()
	v := compile(t, Options{})
	for _, name := range []string{
		"conversationId", "conversation_id", "conversationID", "ConversationId", "ConversationID", "conversationid", "conversation_ID", "CONVERSATION_ID", "conversation-id",
		"Conversation_Id", "convoId", "convoID", "convo_id", "convId", "conv_id", "chatId", "chatID", "chat_id", "chatRoomId", "chatroomid", "chat_room_id", "roomId", "roomID",
		"room_ID", "RoomId", "threadId", "threadID", "thread_id", "dialogId", "ticketID", "room", "Room", "conversation", "Conversation", "id", "ID", "Id",
	} {
		arg := `{"text":"x","` + name + `":"c1"}`
		if id, ok := v.ConversationID(JoinConversation, raws(t, arg), nil); !ok || id.Text != "c1" {
			t.Errorf("ConversationID(%s) = %q %v, want c1", arg, id.Text, ok)
		}
	}
	for _, name := range []string{"tenantId", "tenantID", "TENANT_ID", "organizationID", "organization_Id", "orgID", "org-id", "OrgId", "distributorID", "workspaceid", "companyID", "ID"} {
		arg := `{"` + name + `":7}`
		if id, ok := v.TenantID(JoinTenant, raws(t, arg), nil); !ok || id.Text != "7" {
			t.Errorf("TenantID(%s) = %q %v, want 7", arg, id.Text, ok)
		}
	}
}

// TestWhichIDCounts has several ids in one event: the one that says it is the conversation's
// counts, and never somebody else's.
func TestWhichIDCounts(t *testing.T) {
	t.Parallel()
	v := compile(t, Options{ConversationNoun: "ticket"})
	for arg, want := range map[string]string{
		`{"conversationID":"other","ticketID":"c"}`:                           "c", // the configured noun
		`{"roomId":"other","conversationID":"c"}`:                             "c", // the more telling noun, however it is spelled
		`{"id":"other","convo_ID":"c"}`:                                       "c",
		`{"room":"other","chatID":"c"}`:                                       "c",
		`{"conversationID":"other","conversation_id":"c"}`:                    "c", // the usual spelling of a noun before others
		`{"CONVERSATIONID":"c","ConversationId":"other"}`:                     "c", // the first of two that are equally unusual
		`{"conversationId":null,"conversationID":"c"}`:                        "c", // what is no id is passed over
		`{"conversation":{"id":"other"},"ConversationId":"c"}`:                "c",
		`{"senderId":"u","sender_id":"u","SenderID":"u","chatID":"c"}`:        "c",
		`{"userID":"u","messageID":"m","recipientId":"u","roomID":"c"}`:       "c",
		`{"senderId":"u","userId":"u","fromId":"u","authorID":"u"}`:           "",
		`{"messageId":"m","message_id":"m","clientID":"x","socketId":"s"}`:    "",
		`{"user":{"id":"u"},"sender":{"conversationId":"no"},"tenantId":"t"}`: "",
		`{"_id":"m","channelId":"+4930","groupId":"g","sessionId":"s"}`:       "",
		`{"lastConversationId":"no","conversationIds":["no"],"i_d":"no"}`:     "",
		`{"roomIdentifier":"no","chatIdle":"no","convoy_id":"no"}`:            "",
	} {
		id, _ := v.ConversationID(Typing, raws(t, arg), nil)
		if id.Text != want {
			t.Errorf("ConversationID(%s) = %q, want %q", arg, id.Text, want)
		}
	}
	configured := compile(t, Options{ConversationIDs: []string{"$0.myRoom"}})
	if id, ok := configured.ConversationID(Typing, raws(t, `{"conversationId":"no","MyRoom":"no"}`), nil); ok {
		t.Errorf("beside the configured place %q was found", id.Text)
	}
}

func TestIDsOfMessagesAndUsersHoweverSpelled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"messageIds", "message_ids", "messageIDs", "MessageIds", "message_IDs"} {
		if ids := MessageIDs(raws(t, `{"`+name+`":[1,"b"]}`)); string(ids) != `[1,"b"]` {
			t.Errorf("MessageIDs by %s = %s", name, ids)
		}
	}
	if id, ok := MessageID(raws(t, `{"messageID":"m"}`)); !ok || id != "m" {
		t.Errorf("MessageID = %q %v, want m", id, ok)
	}
	for _, name := range []string{"userIds", "user_ids", "userIDs", "UserIDs"} {
		if users := UserIDs(raws(t, `{"`+name+`":["a",2]}`)); !slices.Equal(users, []string{"a", "2"}) {
			t.Errorf("UserIDs by %s = %q", name, users)
		}
	}
	since, ok := SinceOf([]json.RawMessage{json.RawMessage(`{"since":{"ID":"m","updated_At":"2026-01-02T03:04:05Z"}}`)}, SinceColumns{})
	if !ok || len(since) != 1 || since[0].ID != "m" || since[0].At.Year() != 2026 {
		t.Errorf("SinceOf = %+v", since)
	}
}
