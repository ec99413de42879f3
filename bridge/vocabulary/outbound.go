package vocabulary

import (
	"encoding/json"
	"strings"

	"github.com/supabridge/supabridge/config"
)

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
	PresenceSnapshot
	MessagesRead
	Notification
	NotificationUpdated
	TokenExpiring
	Failure
	eventCount
)

// Audience is to whom an event goes: any union of these.
type Audience uint8

// The audiences. What ToConversation and the others mean for one event says who tells it.
const (
	ToConversation Audience = 1 << iota
	ToTenant
	ToUser
	ToSocket
	ToAll
)

// event is what is known of an Event beside its names: how the configuration calls it, whom it goes
// to, and which variables its templates may use.
type event struct {
	name         string
	to           Audience
	exceptSender bool
	row          bool // it is about a row
	user         bool // it is about a user
	to1          bool // it goes to one socket: nobody else can hear it
}

var events = [eventCount]event{
	Joined:              {name: "joined", to: ToSocket, to1: true, user: true},
	Left:                {name: "left", to: ToSocket, to1: true, user: true},
	MessageCreated:      {name: "message.created", to: ToConversation | ToTenant, row: true},
	MessageUpdated:      {name: "message.updated", to: ToConversation | ToTenant, row: true},
	MessageDeleted:      {name: "message.deleted", to: ToConversation | ToTenant, row: true},
	MessageStatus:       {name: "message.status", to: ToConversation | ToTenant, row: true},
	ConversationCreated: {name: "conversation.created", to: ToConversation | ToTenant, row: true},
	ConversationUpdated: {name: "conversation.updated", to: ToConversation | ToTenant, row: true},
	ConversationDeleted: {name: "conversation.deleted", to: ToConversation | ToTenant, row: true},
	TypingStarted:       {name: "typing.start", to: ToConversation, exceptSender: true, user: true},
	TypingStopped:       {name: "typing.stop", to: ToConversation, exceptSender: true, user: true},
	UserOnline:          {name: "user.online", to: ToTenant, user: true},
	UserOffline:         {name: "user.offline", to: ToTenant, user: true},
	PresenceUpdate:      {name: "presence", to: ToTenant, user: true},
	OnlineUsers:         {name: "presence.list", to: ToSocket, to1: true, user: true},
	PresenceSnapshot:    {name: "presence.snapshot", to: ToSocket, to1: true, user: true},
	Notification:        {name: "notification", to: ToUser | ToConversation | ToTenant, row: true, user: true},
	NotificationUpdated: {name: "notification.updated", to: ToUser | ToConversation | ToTenant, row: true, user: true},
	MessagesRead:        {name: "read", to: ToConversation, exceptSender: true, user: true},
	TokenExpiring:       {name: "token.expiring", to: ToSocket, to1: true},
	Failure:             {name: "error", to: ToSocket, to1: true, user: true},
}

// String is the event's name in the configuration.
func (e Event) String() string { return events[e].name }

// Events lists the events by their names in the configuration.
func Events() []string {
	names := make([]string, eventCount)
	for e := range eventCount {
		names[e] = events[e].name
	}
	return names
}

// outbound holds the names of each Event in the styles underscore, colon, kebab and camel. Several
// names are sent in that order, with the same payload. A stop of typing first sends the event with
// isTyping false and then the one whose name says stop: of the client styles known, both orders but
// this one leave some stuck.
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
	TypingStopped: {
		"user_typing user_stopped_typing",
		"typing:update typing:stop",
		"user-typing user-stop-typing",
		"userTyping userStopTyping",
	},
	UserOnline:          {"user_online", "user:online", "user-online", "userOnline"},
	UserOffline:         {"user_offline", "user:offline", "user-offline", "userOffline"},
	PresenceUpdate:      {"presence_update", "presence:update", "presence-update", "presenceUpdate"},
	OnlineUsers:         {"online_users", "presence:online-list", "online-users", "onlineUsers getOnlineUsers"},
	PresenceSnapshot:    {"presence_state", "presence:state", "presence-state", "presenceState"},
	Notification:        {"notification", "notification:new", "notification", "notification"},
	NotificationUpdated: {"notification_updated", "notification:updated", "notification-updated", "notificationUpdated"},
	MessagesRead:        {"messages_read", "message:read", "messages-read", "messagesRead"},
	TokenExpiring:       {"token_expiring", "token:expiring", "token-expiring", "tokenExpiring"},
	Failure:             {"error", "error", "error", "error"},
}

// single is the style with one event for each kind of thing, and an action within. Who is online
// and who has read it does not tell.
var single = map[Event]config.OutRule{
	MessageCreated: inTicket(
		"appMessage",
		`{"action":"create","message":"${payload}","ticket":{"id":"${conversation.id}"}}`,
	),
	MessageUpdated: inTicket(
		"appMessage",
		`{"action":"update","message":"${payload}","ticket":{"id":"${conversation.id}"}}`,
	),
	MessageStatus: inTicket(
		"appMessage",
		`{"action":"update","message":"${payload}","ticket":{"id":"${conversation.id}"}}`,
	),
	MessageDeleted: inTicket(
		"appMessage",
		`{"action":"delete","messageId":"${payload.messageId}","message":"${payload}","ticket":{"id":"${conversation.id}"}}`,
	),
	ConversationCreated: {
		Event:   "ticket",
		Shape:   string(Camel),
		Payload: json.RawMessage(`{"action":"create","ticket":"${payload}"}`),
	},
	ConversationUpdated: {
		Event:   "ticket",
		Shape:   string(Camel),
		Payload: json.RawMessage(`{"action":"update","ticket":"${payload}"}`),
	},
	ConversationDeleted: {
		Event:   "ticket",
		Shape:   string(Camel),
		Payload: json.RawMessage(`{"action":"delete","ticketId":"${conversation.id}"}`),
	},
	TypingStarted: {
		Event:   "presence",
		Payload: json.RawMessage(`{"ticketId":"${conversation.id}","userId":"${user.id}","presence":"composing"}`),
	},
	TypingStopped: {
		Event:   "presence",
		Payload: json.RawMessage(`{"ticketId":"${conversation.id}","userId":"${user.id}","presence":"available"}`),
	},
	TokenExpiring: {Event: "tokenExpiring"},
	Failure:       {Event: "error"},
}

// inTicket is a rule about a message, which names its ticket within.
func inTicket(name, payload string) config.OutRule {
	return config.OutRule{
		Event:   name,
		Shape:   string(Camel),
		Add:     json.RawMessage(`{"ticketId":"${conversation.id}"}`),
		Payload: json.RawMessage(payload),
	}
}

// preset gives the rules of an event in a style.
func preset(s Style, e Event) []config.OutRule {
	switch s {
	case StyleNone:
		return nil
	case StyleWhaticket:
		if r, ok := single[e]; ok {
			return []config.OutRule{r}
		}
		return nil
	}
	var rules []config.OutRule
	for _, name := range strings.Fields(outbound[e][s-StyleUnderscore]) {
		rules = append(rules, config.OutRule{Event: name})
	}
	return rules
}
