package vocabulary

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
)

// Explain writes, for people, what becomes of an event. One that a client sends: its intent, the
// style it reveals, the ids found and the room. One that the bridge sends, by its name in the
// configuration (message.created), of a row given as the first argument: what goes out in each
// style, and to whom. An unknown event is explained as such and is no error; an error means that w
// failed or that an argument is not JSON.
func (v *Vocabulary) Explain(w io.Writer, name string, args []json.RawMessage) error {
	for _, arg := range args {
		if !json.Valid(arg) {
			return fmt.Errorf("%s is not JSON; a text stands in quotes: '\"42\"'", arg)
		}
	}
	var b strings.Builder
	if e := slices.Index(Events(), name); e >= 0 {
		if err := v.explainOut(&b, Event(e), args); err != nil {
			return err
		}
	} else {
		v.explainIn(&b, name, args)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (v *Vocabulary) explainIn(b *strings.Builder, name string, args []json.RawMessage) {
	intent := v.Intent(name)
	if intent == None {
		fmt.Fprintf(
			b,
			"%s: unknown. To have it understood, name it under vocabulary.in.INTENT.events; intents are %s.\n",
			name,
			strings.Join(Intents(), ", "),
		)
		return
	}
	if intent == JoinConversation && v.NamesTenantRoom(args) {
		intent = JoinTenant
	}
	fmt.Fprintf(b, "intent:       %s\n", intent)
	if style, ok := v.Reveals(name); ok {
		fmt.Fprintf(b, "style:        %s\n", style)
	} else {
		fmt.Fprintf(b, "style:        not revealed by this name; until another does, the socket hears %s\n", v.preset)
	}
	var told []Event
	o := &Occasion{User: NewID("USER"), UserName: NewID("NAME"), Tenant: NewID("TENANT")}
	switch intent {
	case JoinTenant, LeaveTenant, JoinOwnTenant, ListOnline, ListPresence, SetStatus:
		told = map[Intent][]Event{JoinTenant: {OnlineUsers, PresenceSnapshot}, JoinOwnTenant: {OnlineUsers,
			PresenceSnapshot}, SetStatus: {PresenceUpdate}}[intent]
		if intent == SetStatus {
			word, ok := v.Status(name, args, nil)
			if !ok {
				b.WriteString("status:       none found: the event is refused as bad_request\n")
				return
			}
			o.Fields = []Extra{
				String("userId", "USER"),
				String("userName", "NAME"),
				String("status", word),
				Bool("isOnline", true),
			}
		}
		if intent == SetStatus {
			b.WriteString("tenant:       every one where the socket counts\n")
		} else if id, ok := v.TenantID(intent, args, nil); ok {
			o.Tenant = id
			fmt.Fprintf(b, "tenant:       %s\nroom:         %s\n", id.JSON, strings.Replace(v.opts.TenantRoom, "{id}",
				id.Text, 1))
		} else {
			b.WriteString("tenant:       not named; it is the one that the token names\n")
		}
	case RenewToken, Heartbeat:
	default:
		if user, ok := v.NamesUserRoom(args); ok && intent == JoinConversation {
			fmt.Fprintf(
				b,
				"room:         the own one of user %s, whose sockets are in it without asking; others are refused\n",
				user,
			)
			return
		}
		id, ok := v.ConversationID(intent, args, nil)
		if !ok && intent != JoinConversation && intent != LeaveConversation {
			id, ok = NewID("CONVERSATION"), true
			b.WriteString(
				"conversation: none named: it is that of the message that is named, or the only one that the socket is in\n",
			)
		}
		if !ok {
			b.WriteString(
				"conversation: none found: the event is refused as bad_request. vocabulary.ids.conversation says where to look.\n",
			)
			return
		}
		o.Conversation = id
		fmt.Fprintf(
			b,
			"conversation: %s\nroom:         %s\n",
			id.JSON,
			strings.Replace(v.opts.ConversationRoom, "{id}", id.Text, 1),
		)
		if intent == SendMessage {
			if text, ok := v.MessageText(args, nil); ok {
				fmt.Fprintf(
					b,
					"text:         %s\nIt is written with the user's own token where sending.enabled is on, and comes to everybody as message.created.\n",
					text,
				)
			} else {
				b.WriteString("text:         none found: the event is refused as bad_request. vocabulary.in.send_message.text says where to look.\n")
			}
			return
		}
		on := intent == StartTyping || intent == Typing && v.TypingState(args, nil)
		typing := map[bool][]Event{true: {TypingStarted}, false: {TypingStopped}}[on]
		told = map[Intent][]Event{JoinConversation: {Joined}, LeaveConversation: {Left}, StartTyping: typing,
			StopTyping: typing, Typing: typing, MarkRead: {MessagesRead}}[intent]
		o.Fields = []Extra{{"conversationId", id.JSON}, String("userId", "USER"), String("userName", "NAME")}
		if slices.Contains([]Intent{StartTyping, StopTyping, Typing}, intent) {
			o.Fields = append(o.Fields, Bool("isTyping", on))
		}
	}
	if ack, ok := v.Ack(intent, o); ok {
		fmt.Fprintf(b, "answer:       %s\n", ack[0])
	}
	for _, e := range told {
		o.Event = e
		o.List = map[Event]json.RawMessage{OnlineUsers: json.RawMessage(`["USER"]`), PresenceSnapshot: json.RawMessage(`[{"userId":"USER","userName":"NAME","status":"online","isOnline":true}]`)}[e]
		v.explainStyles(b, o)
	}
}

func (v *Vocabulary) explainOut(b *strings.Builder, e Event, args []json.RawMessage) error {
	o := &Occasion{
		Event:        e,
		Conversation: NewID("CONVERSATION"),
		Tenant:       NewID("TENANT"),
		User:         NewID("USER"),
		UserName:     NewID("NAME"),
	}
	record := json.RawMessage("{}")
	if len(args) > 0 {
		record = args[0]
	}
	r, err := row.Parse(record)
	if err != nil {
		return fmt.Errorf("%s: %s is not an object: give the row, or the fields of the payload", e, record)
	}
	if events[e].row {
		o.Row = r
		if id, ok := scalarID(r.Get("conversation_id")); ok {
			o.Conversation = id
		}
		o.Nested = "message"
		if strings.HasPrefix(e.String(), "conversation.") {
			o.Nested = "conversation"
			if id, ok := scalarID(r.Get("id")); ok {
				o.Conversation = id
			}
		}
		if strings.HasPrefix(e.String(), "notification") {
			o.Nested = "notification"
		}
		o.Fields = []Extra{{"conversationId", o.Conversation.JSON}, {v.tenantKey, o.Tenant.JSON}}
		if id := r.Get("id"); e == MessageDeleted || e == MessageStatus {
			o.Fields = append(o.Fields, Extra{"messageId", id})
		}
		if e == MessageStatus {
			o.Nested = ""
			o.Fields = append(o.Fields, Extra{"id", r.Get("id")}, Extra{"status", r.Get("status")})
		}
	} else {
		for _, c := range r.Columns {
			o.Fields = append(o.Fields, Extra(c))
		}
	}
	v.explainStyles(b, o)
	return nil
}

// explainStyles writes what an occasion is in each style.
func (v *Vocabulary) explainStyles(b *strings.Builder, o *Occasion) {
	fmt.Fprintf(b, "%s is sent\n", o.Event)
	for _, style := range Styles() {
		said := v.Say(style, o)
		label := style.String()
		if v.shared[o.Event] {
			label = "every style"
		}
		if len(said) == 0 && style != StyleNone {
			fmt.Fprintf(b, "  %-12s nothing\n", label)
		}
		for _, u := range said {
			fmt.Fprintf(b, "  %-12s %s", label, u.Name)
			for _, arg := range u.Args {
				fmt.Fprintf(b, " %s", arg)
			}
			fmt.Fprintf(b, "  to %s\n", u.audience(o.Event))
		}
		if v.shared[o.Event] {
			return
		}
	}
}

// audience says in words to whom an event goes.
func (u Utterance) audience(e Event) string {
	if all := ToUser | ToConversation | ToTenant; u.To == all && events[e].to == all {
		return "the user that the row names, else the conversation, else the tenant"
	}
	var names []string
	for _, name := range []string{"conversation", "tenant", "user", "socket", "all"} {
		if u.To&audiences[name] != 0 {
			names = append(names, name)
		}
	}
	text := strings.Join(names, "+")
	if u.ExceptSender {
		text += " except the sender"
	}
	return text
}
