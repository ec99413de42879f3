package vocabulary

// Event is something the bridge tells its clients.
type Event uint8

// The events the bridge sends.
const (
	Joined Event = iota
	Left
	MessageCreated
	MessageUpdated
	MessageDeleted
	MessageStatus
	ConversationCreated
	ConversationUpdated
	ConversationDeleted
	TypingStarted
	TypingStopped
	UserOnline
	UserOffline
	PresenceUpdate
	OnlineUsers
	MessagesRead
	TokenExpiring
	Failure
	eventCount
)

// outbound holds the names of each Event in the order of Presets. Several names are sent in that order, with the same payload. A stop of typing first
// sends the event with isTyping false and then the one whose name says stop: of the client styles known, both orders but this one leave some stuck.
var outbound = [eventCount][4]string{
	Joined:              {"joined_conversation", "conversation:joined", "joined-conversation", "joinedConversation"},
	Left:                {"left_conversation", "conversation:left", "left-conversation", "leftConversation"},
	MessageCreated:      {"new_message", "message:new", "new-message", "newMessage"},
	MessageUpdated:      {"message_updated", "message:updated", "message-updated", "messageUpdated"},
	MessageDeleted:      {"message_deleted", "message:deleted", "message-deleted", "messageDeleted"},
	MessageStatus:       {"message_status_update", "message:status", "message-status-update", "messageStatus"},
	ConversationCreated: {"new_conversation", "conversation:new", "new-conversation", "newConversation"},
	ConversationUpdated: {"conversation_updated", "conversation:updated", "conversation-updated", "conversationUpdated"},
	ConversationDeleted: {"conversation_deleted", "conversation:deleted", "conversation-deleted", "conversationDeleted"},
	TypingStarted:       {"user_typing", "typing:update typing:start", "user-typing", "userTyping"},
	TypingStopped:       {"user_typing user_stopped_typing", "typing:update typing:stop", "user-typing user-stop-typing", "userTyping userStopTyping"},
	UserOnline:          {"user_online", "user:online", "user-online", "userOnline"},
	UserOffline:         {"user_offline", "user:offline", "user-offline", "userOffline"},
	PresenceUpdate:      {"presence_update", "presence:update", "presence-update", "presenceUpdate"},
	OnlineUsers:         {"online_users", "presence:online-list", "online-users", "onlineUsers"},
	MessagesRead:        {"messages_read", "message:read", "messages-read", "messagesRead"},
	TokenExpiring:       {"token_expiring", "token:expiring", "token-expiring", "tokenExpiring"},
	Failure:             {"error", "error", "error", "error"},
}
