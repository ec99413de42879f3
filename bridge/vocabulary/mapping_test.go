package vocabulary

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/config"
)

// The survey of frontends, reference to which the mapping was written: what a frontend of each
// style emits and hears.

func TestWhatEveryStyleIsSaidForEachEvent(t *testing.T) {
	for _, test := range []struct {
		event Event
		want  map[Style]string // names in order
	}{
		{Joined, map[Style]string{StyleUnderscore: "joined_conversation", StyleColon: "conversation:joined"}},
		{MessageCreated, map[Style]string{StyleUnderscore: "new_message", StyleColon: "message:new", StyleKebab: "new-message", StyleCamel: "newMessage", StyleWhaticket: "appMessage"}},
		{MessageUpdated, map[Style]string{StyleUnderscore: "message_updated", StyleColon: "message:updated", StyleKebab: "message-updated", StyleCamel: "messageUpdated", StyleWhaticket: "appMessage"}},
		{MessageStatus, map[Style]string{StyleUnderscore: "message_status_update", StyleColon: "message:status", StyleKebab: "message-status-update", StyleCamel: "messageStatus", StyleWhaticket: "appMessage"}},
		{TypingStarted, map[Style]string{StyleUnderscore: "user_typing", StyleColon: "typing:update typing:start", StyleKebab: "user-typing", StyleCamel: "userTyping", StyleWhaticket: "presence"}},
		{TypingStopped, map[Style]string{StyleUnderscore: "user_typing user_stopped_typing", StyleColon: "typing:update typing:stop", StyleKebab: "user-typing user-stop-typing",
			StyleCamel: "userTyping userStopTyping", StyleWhaticket: "presence"}},
		{UserOnline, map[Style]string{StyleUnderscore: "user_online", StyleColon: "user:online", StyleKebab: "user-online", StyleCamel: "userOnline", StyleWhaticket: ""}},
		{PresenceUpdate, map[Style]string{StyleUnderscore: "presence_update", StyleColon: "presence:update"}},
		{OnlineUsers, map[Style]string{StyleUnderscore: "online_users", StyleColon: "presence:online-list", StyleKebab: "online-users", StyleCamel: "onlineUsers getOnlineUsers", StyleWhaticket: ""}},
		{MessagesRead, map[Style]string{StyleUnderscore: "messages_read", StyleColon: "message:read", StyleKebab: "messages-read", StyleCamel: "messagesRead", StyleWhaticket: ""}},
		{Notification, map[Style]string{StyleUnderscore: "notification", StyleColon: "notification:new", StyleKebab: "notification", StyleCamel: "notification", StyleWhaticket: ""}},
		{Failure, map[Style]string{StyleUnderscore: "error", StyleColon: "error", StyleKebab: "error", StyleCamel: "error", StyleWhaticket: "error"}},
	} {
		v := compile(t, Options{})
		for style, want := range test.want {
			var names []string
			for _, u := range v.Say(style, &Occasion{Event: test.event}) {
				names = append(names, u.Name)
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s in %s is said as %q, want %q", test.event, style, got, want)
			}
		}
	}
}

// How a client keeps who is typing, in the ways that frontends were found to do it.
var bookkeeping = map[string]func(typing map[string]bool, name, user string, is any){
	"by the boolean": func(typing map[string]bool, _, user string, is any) {
		if is, ok := is.(bool); ok {
			typing[user] = is
		}
	},
	"added by one name, removed by the other": func(typing map[string]bool, name, user string, _ any) {
		typing[user] = !strings.Contains(strings.ToLower(name), "stop")
	},
	"by the name that says start or stop, other names by their boolean": func(typing map[string]bool, name, user string, is any) {
		switch name := strings.ToLower(name); {
		case strings.Contains(name, "stop"):
			typing[user] = false
		case strings.Contains(name, "start"):
			typing[user] = true
		default:
			typing[user] = is == true
		}
	},
}

func TestNoWayOfKeepingWhoTypesIsLeftStuck(t *testing.T) {
	v := compile(t, Options{})
	for way, keep := range bookkeeping {
		for _, style := range []Style{StyleUnderscore, StyleColon, StyleKebab, StyleCamel} {
			typing := make(map[string]bool)
			hear := func(e Event, on bool) {
				o := &Occasion{Event: e, Fields: []Extra{String("userId", "u"), Bool("isTyping", on)}}
				for _, u := range v.Say(style, o) {
					var payload struct {
						UserID   string `json:"userId"`
						IsTyping any    `json:"isTyping"`
					}
					if err := json.Unmarshal(u.Args[0], &payload); err != nil {
						t.Fatal(err)
					}
					keep(typing, u.Name, payload.UserID, payload.IsTyping)
				}
			}
			hear(TypingStarted, true)
			if !typing["u"] {
				t.Errorf("%s, %s: typing is not seen", way, style)
			}
			hear(TypingStopped, false)
			if typing["u"] {
				t.Errorf("%s, %s: typing is stuck", way, style)
			}
		}
	}
}

func TestEveryCallShapeOfTheSurveyIsUnderstood(t *testing.T) {
	v := compile(t, Options{TenantNoun: "distributor", ConversationRoom: "conversation:{id}", TenantRoom: "tenant:{id}"})
	for _, test := range []struct {
		event  string
		args   []string
		intent Intent
		id     string
	}{
		{"joinConversation", []string{`"c"`}, JoinConversation, "c"},
		{"join-conversation", []string{`{"conversationId":"c","userId":"u"}`}, JoinConversation, "c"},
		{"join_room", []string{`{"room":"c"}`}, JoinConversation, "c"},
		{"join", []string{`"conversation_c"`}, JoinConversation, "c"},
		{"join chat", []string{`"c"`}, JoinConversation, "c"},
		{"chat:join", []string{`{"chatId":7}`}, JoinConversation, "7"},
		{"typing_start", []string{`{"conversationId":"c","userId":"u","userName":"n"}`}, StartTyping, "c"},
		{"typing:stop", []string{`{"conversation_id":"c"}`}, StopTyping, "c"},
		{"typing", []string{`"c"`, `false`}, Typing, "c"},
		{"stop typing", []string{`"c"`}, StopTyping, "c"},
		{"mark_messages_read", []string{`{"conversationId":"c","messageIds":["m"]}`}, MarkRead, "c"},
		{"message:read", []string{`{"messageId":"m","conversationId":"c"}`}, MarkRead, "c"},
		{"send_message", []string{`{"conversationId":"c","content":"x"}`}, SendMessage, "c"},
		{"user_away", []string{`{"userId":"u"}`}, SetStatus, ""},
		{"presence:update", []string{`{"status":"busy"}`}, SetStatus, ""},
		{"get_online_users", nil, ListOnline, ""},
		{"setup", []string{`{"_id":"u"}`}, Heartbeat, ""},
		{"addUser", []string{`"u"`}, Heartbeat, ""},
		{"user:register", []string{`{"userId":"u"}`}, Heartbeat, ""},
		{"token:refresh", []string{`{"token":"t"}`}, RenewToken, ""},
	} {
		if got := v.Intent(test.event); got != test.intent {
			t.Errorf("%s means %s, want %s", test.event, got, test.intent)
		}
		if id, ok := v.ConversationID(test.intent, raws(t, test.args...), nil); test.id != "" && (!ok || id.Text != test.id) {
			t.Errorf("%s %v: conversation %q, want %q", test.event, test.args, id.Text, test.id)
		}
	}
}

func TestAUsersOwnRoomIsRecognised(t *testing.T) {
	v := compile(t, Options{})
	for arg, want := range map[string]string{`"user_42"`: "42", `"user:a-b"`: "a-b", `"user-7"`: "7", `"users"`: "", `"c1"`: "", `{"room":"user_1"}`: "", `7`: ""} {
		if got, _ := v.NamesUserRoom(raws(t, arg)); got != want {
			t.Errorf("NamesUserRoom(%s) = %q, want %q", arg, got, want)
		}
	}
}

func TestHowAUserIsIsReadWhereverItStands(t *testing.T) {
	v := compile(t, Options{In: config.InRules{"set_status": {Events: []string{"mood"}}}})
	for _, test := range []struct {
		event string
		args  []string
		want  string
	}{
		{"user_away", nil, "away"}, {"go-online", []string{`"7f3c"`}, "online"}, {"presence:busy", nil, "busy"},
		{"set_status", []string{`"Away"`}, "away"}, {"update_status", []string{`{"status":"do not disturb"}`}, "do not disturb"},
		{"status:change", []string{`{"isOnline":false}`}, "offline"}, {"updateStatus", []string{`"a1b2-3"`, `"busy"`}, "busy"},
		{"mood", []string{`{"state":"idle"}`}, "idle"}, {"set_status", []string{`"a1000000-0000-4000-8000-000000000001"`}, ""}, {"set_status", []string{`7`}, ""}, {"set_status", nil, ""},
	} {
		if got, _ := v.Status(test.event, raws(t, test.args...), nil); got != test.want {
			t.Errorf("Status(%s %v) = %q, want %q", test.event, test.args, got, test.want)
		}
	}
}

func TestTheTextAndFieldsOfAMessageAreReadWhereverTheyStand(t *testing.T) {
	v := compile(t, Options{})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{`{"content":"a"}`}, "a"}, {[]string{`{"text":"a","id":"x"}`}, "a"}, {[]string{`{"message":"a"}`}, "a"}, {[]string{`{"message":{"body":"a"}}`}, "a"},
		{[]string{`"c"`, `"a"`}, "a"}, {[]string{`{"content":""}`}, ""}, {[]string{`{"content":7}`}, ""}, {nil, ""},
	} {
		if got, _ := v.MessageText(raws(t, test.args...), nil); got != test.want {
			t.Errorf("MessageText(%v) = %q, want %q", test.args, got, test.want)
		}
	}
	for arg, want := range map[string]string{`{"reply_to_id":1}`: "1", `{"replyToId":2}`: "2", `{"message":{"replyToId":3}}`: "3", `{"x":4}`: "", `[]`: ""} {
		if got, _ := v.SentField(raws(t, arg), "reply_to_id"); string(got) != want {
			t.Errorf("SentField(%s) = %s, want %s", arg, got, want)
		}
	}
}
