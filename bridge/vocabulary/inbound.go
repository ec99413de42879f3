package vocabulary

import (
	"fmt"
	"strings"
)

// Intent is what a client wants with an event it sends.
type Intent uint8

// The intents a client can have.
const (
	None Intent = iota
	JoinConversation
	LeaveConversation
	JoinTenant
	LeaveTenant
	// StartTyping and StopTyping name their state; Typing carries it as a boolean (absent means started).
	StartTyping
	StopTyping
	Typing
	ListOnline
	MarkRead
	RenewToken
	// Heartbeat is an application's own keep-alive: answered, and nothing else.
	Heartbeat
	// SendMessage asks the bridge to write a row; it is refused in words, since Supabase is where rows are written.
	SendMessage
)

func (i Intent) String() string {
	return [...]string{"none", "join", "leave", "join_tenant", "leave_tenant", "typing_start", "typing_stop", "typing", "list_online", "mark_read", "renew_token",
		"heartbeat", "send_message"}[i]
}

// fixedNames are the names without a noun that was configured, of all families at once.
var fixedNames = map[Intent]string{
	JoinConversation: "join join_room join-room joinRoom room:join join:room join_chat join-chat joinChat chat:join join:chat join_conversation join-conversation " +
		"joinConversation conversation:join join:conversation joinChatBox",
	LeaveConversation: "leave leave_room leave-room leaveRoom room:leave leave:room leave_chat leave-chat leaveChat chat:leave leave:chat leave_conversation " +
		"leave-conversation leaveConversation conversation:leave leave:conversation leaveChatBox",
	JoinTenant:  "joinNotification",
	StartTyping: "typing_start typing:start typing-start typingStart start_typing start-typing startTyping",
	StopTyping:  "typing_stop typing:stop typing-stop typingStop stop_typing stop-typing stopTyping",
	Typing:      "typing",
	ListOnline:  "get_online_users get-online-users getOnlineUsers presence:list presence:get",
	MarkRead: "mark_read mark-read markRead mark_as_read mark-as-read markAsRead mark_messages_read mark-messages-read markMessagesRead message:read messages:read " +
		"message_read messages_read conversation:read read_messages",
	RenewToken:  "access_token token:refresh refresh_token",
	Heartbeat:   "heartbeat ping presence:heartbeat",
	SendMessage: "send_message send-message sendMessage message:send chat:send",
}

// tutorialNames belong to the old tutorial style, whose names contain spaces.
var tutorialNames = map[string]Intent{
	"join chat": JoinConversation, "join room": JoinConversation, "leave chat": LeaveConversation, "stop typing": StopTyping, "new message": SendMessage,
}

// tenantNouns are the words for a tenant that are always understood beside the configured one.
var tenantNouns = []string{"tenant", "organization", "organisation", "org", "distributor", "company", "workspace", "business", "agency", "branch"}

func (v *Vocabulary) compileInbound() error {
	for intent, names := range fixedNames {
		for _, name := range strings.Fields(names) {
			if err := v.claim(name, intent); err != nil {
				return err
			}
		}
	}
	for name, intent := range tutorialNames {
		if err := v.claim(name, intent); err != nil {
			return err
		}
	}
	for _, noun := range append([]string{v.opts.TenantNoun}, tenantNouns...) {
		if err := v.claimNoun(noun, JoinTenant, LeaveTenant); err != nil {
			return err
		}
	}
	return v.claimNoun(v.opts.ConversationNoun, JoinConversation, LeaveConversation)
}

// camelNoun joins the words of a noun, which underscores or hyphens part.
func camelNoun(noun string) string { return camel(strings.ReplaceAll(noun, "-", "_")) }

// claimNoun claims the join and leave names of a noun in every style.
func (v *Vocabulary) claimNoun(noun string, join, leave Intent) error {
	upper := camelNoun(noun)
	upper = strings.ToUpper(upper[:1]) + upper[1:]
	for verb, intent := range map[string]Intent{"join": join, "leave": leave} {
		for _, name := range []string{verb + "_" + noun, verb + "-" + noun, verb + upper, noun + ":" + verb, verb + ":" + noun} {
			if err := v.claim(name, intent); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *Vocabulary) claim(name string, intent Intent) error {
	if other, taken := v.inbound[name]; taken && other != intent {
		return fmt.Errorf("vocabulary: event %q would mean both %s and %s", name, other, intent)
	}
	v.inbound[name] = intent
	return nil
}
