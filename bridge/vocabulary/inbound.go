package vocabulary

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	// JoinOwnTenant is for names whose arguments name no tenant: the token does.
	JoinOwnTenant
	// StartTyping and StopTyping name their state; Typing carries it as a boolean (absent means
	// started).
	StartTyping
	StopTyping
	Typing
	ListOnline
	// ListPresence asks for more than the ids: how everybody is, and when those who went were last
	// seen.
	ListPresence
	// SetStatus says how the user is: away, busy, online again.
	SetStatus
	MarkRead
	// RenewToken brings a token: a new one, or the first of a client that connected without.
	RenewToken
	// Heartbeat is an application's own keep-alive: answered, and nothing else.
	Heartbeat
	// SendMessage asks the bridge to write a row.
	SendMessage
	intentCount
)

var intentNames = [intentCount]string{
	"none",
	"join",
	"leave",
	"join_tenant",
	"leave_tenant",
	"join_own_tenant",
	"typing_start",
	"typing_stop",
	"typing",
	"list_online",
	"list_presence",
	"set_status",
	"mark_read",
	"renew_token",
	"heartbeat",
	"send_message",
}

// String is the intent's name in the configuration.
func (i Intent) String() string { return intentNames[i] }

// Intents lists the intents by their names in the configuration.
func Intents() []string { return intentNames[1:] }

// claim is what an incoming name means.
type claim struct {
	intent     Intent
	configured bool
}

// fixedNames are the names without a noun that was configured, of all families at once.
var fixedNames = map[Intent]string{
	JoinConversation: "join join_room join-room joinRoom room:join join:room join_chat join-chat joinChat chat:join join:chat join_conversation join-conversation " +
		"joinConversation conversation:join join:conversation joinChatBox",
	LeaveConversation: "leave leave_room leave-room leaveRoom room:leave leave:room leave_chat leave-chat leaveChat chat:leave leave:chat leave_conversation " +
		"leave-conversation leaveConversation conversation:leave leave:conversation leaveChatBox",
	JoinOwnTenant: "joinNotification joinTickets",
	StartTyping:   "typing_start typing:start typing-start typingStart start_typing start-typing startTyping",
	StopTyping:    "typing_stop typing:stop typing-stop typingStop stop_typing stop-typing stopTyping",
	Typing:        "typing",
	ListOnline:    "get_online_users get-online-users getOnlineUsers presence:list presence:get",
	ListPresence:  "get_presence get-presence getPresence presence:state presence:snapshot get_user_status get-user-status getUserStatus get_last_seen get-last-seen getLastSeen",
	SetStatus: "set_status set-status setStatus status:set update_status update-status updateStatus status:update change_status change-status changeStatus status:change " +
		"set_presence set-presence setPresence presence:set presence_update presence-update presenceUpdate presence:update update_presence update-presence updatePresence " +
		"user_status user-status userStatus user:status",
	MarkRead: "mark_read mark-read markRead mark_as_read mark-as-read markAsRead mark_messages_read mark-messages-read markMessagesRead message:read messages:read " +
		"message_read messages_read conversation:read read_messages",
	RenewToken: "access_token token:refresh refresh_token authenticate",
	// A list of tickets that is left says nothing of the other lists, which need the same room. A
	// frontend that tells who it is tells nothing: the token does, and a user's sockets are in their
	// own room without asking.
	Heartbeat: "heartbeat ping keepalive keep_alive keep-alive keepAlive presence:heartbeat leaveTickets leaveNotification " +
		"setup register register_user register-user registerUser user:register user_join user-join userJoin user:join join_user join-user joinUser join:user " +
		"join_user_room join-user-room joinUserRoom add_user add-user addUser",
	SendMessage: "send_message send-message sendMessage message:send chat:send",
}

// statusNames say in themselves how the user is.
var statusNames = map[string]string{
	"online":  "online user_online user-online userOnline user:online presence:online go_online go-online goOnline",
	"away":    "away user_away user-away userAway user:away presence:away go_away go-away goAway user_idle user-idle userIdle user:idle presence:idle",
	"busy":    "busy user_busy user-busy userBusy user:busy presence:busy",
	"offline": "user_offline user-offline userOffline user:offline presence:offline go_offline go-offline goOffline",
}

// tutorialNames belong to the old tutorial style, whose names contain spaces.
var tutorialNames = map[string]Intent{
	"join chat": JoinConversation, "join room": JoinConversation, "leave chat": LeaveConversation,
	"stop typing": StopTyping, "new message": SendMessage,
}

// tenantNouns are the words for a tenant that are always understood beside the configured one.
var tenantNouns = []string{
	"tenant",
	"organization",
	"organisation",
	"org",
	"distributor",
	"company",
	"workspace",
	"business",
	"agency",
	"branch",
}

func (v *Vocabulary) compileInbound() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(v.opts.In)) {
		in := v.opts.In[name]
		intent := Intent(slices.Index(intentNames[:], name))
		if !slices.Contains(Intents(), name) {
			errs = append(
				errs,
				fmt.Errorf("vocabulary: in.%s%s: no such intent: there are %s", name, line(in.Line), strings.Join(Intents(), ", ")),
			)
			continue
		}
		for _, event := range in.Events {
			event = v.nouns.Replace(event)
			if other, taken := v.inbound[event]; taken && other.intent != intent {
				errs = append(
					errs,
					fmt.Errorf(
						"vocabulary: in.%s%s: event %q would mean both %s and %s",
						name,
						line(in.Line),
						event,
						other.intent,
						intent,
					),
				)
				continue
			}
			v.inbound[event] = claim{intent, true}
		}
		if err := v.compileUnderstanding(intent, in); err != nil {
			errs = append(errs, fmt.Errorf("vocabulary: in.%s%s: %w", name, line(in.Line), err))
		}
	}
	if len(errs) > 0 { // what they took by mistake may be what the presets claim
		return errors.Join(errs...)
	}
	for intent, names := range fixedNames {
		for _, name := range strings.Fields(names) {
			if err := v.claim(name, intent); err != nil {
				return err
			}
		}
	}
	for _, names := range statusNames {
		for _, name := range strings.Fields(names) {
			if err := v.claim(name, SetStatus); err != nil {
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

// upperNoun is camelNoun with a capital in front.
func upperNoun(noun string) string {
	noun = camelNoun(noun)
	return strings.ToUpper(noun[:1]) + noun[1:]
}

// claimNoun claims the join and leave names of a noun in every style.
func (v *Vocabulary) claimNoun(noun string, join, leave Intent) error {
	for verb, intent := range map[string]Intent{"join": join, "leave": leave} {
		for _, name := range []string{verb + "_" + noun, verb + "-" + noun, verb + upperNoun(noun), noun + ":" + verb,
			verb + ":" + noun} {
			if err := v.claim(name, intent); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim gives a name its meaning, if its style is accepted. What the configuration says of a name
// stands.
func (v *Vocabulary) claim(name string, intent Intent) error {
	if !v.accepts(name, intent) {
		return nil
	}
	other, taken := v.inbound[name]
	if taken && !other.configured && other.intent != intent {
		return fmt.Errorf("vocabulary: event %q would mean both %s and %s", name, other.intent, intent)
	}
	if !taken {
		v.inbound[name] = claim{intent: intent}
	}
	return nil
}

// accepts tells whether a name is of an accepted preset. What every style has, and what the bridge
// itself asks for, always is.
func (v *Vocabulary) accepts(name string, intent Intent) bool {
	if slices.Contains(v.opts.Accept, All) || intent == RenewToken || intent == Heartbeat {
		return true
	}
	if strings.Contains(name, " ") {
		return slices.Contains(v.opts.Accept, Tutorial)
	}
	style := styleOf(name)
	return style == StyleNone || slices.Contains(v.opts.Accept, style.String())
}

// Ack gives the answer that is configured for an intent that succeeded; false where none is.
func (v *Vocabulary) Ack(intent Intent, o *Occasion) ([]json.RawMessage, bool) {
	u := v.understanding[intent]
	if u == nil || u.ack == nil {
		return nil, false
	}
	return []json.RawMessage{u.ack.write(nil, &filling{o: o})}, true
}
