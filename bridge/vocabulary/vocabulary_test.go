package vocabulary

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/supabridge/supabridge/bridge/row"
)

func compile(t *testing.T, opts Options) *Vocabulary {
	t.Helper()
	v, err := New(opts)
	if err != nil {
		t.Fatalf("New(%+v): %v", opts, err)
	}
	return v
}

func raws(t *testing.T, args ...string) []json.RawMessage {
	t.Helper()
	out := make([]json.RawMessage, len(args))
	for i, a := range args {
		if !json.Valid([]byte(a)) {
			t.Fatalf("the test's argument %s is not JSON", a)
		}
		out[i] = json.RawMessage(a)
	}
	return out
}

func TestEveryStyleOfNameIsUnderstoodAtOnce(t *testing.T) {
	v := compile(t, Options{TenantNoun: "distributor"})
	for name, want := range map[string]Intent{
		"join_conversation": JoinConversation, "conversation:join": JoinConversation, "join:conversation": JoinConversation, "join-conversation": JoinConversation,
		"joinConversation": JoinConversation, "join_room": JoinConversation, "join": JoinConversation, "join_chat": JoinConversation, "room:join": JoinConversation,
		"joinChatBox": JoinConversation, "joinNotification": JoinOwnTenant, "joinTickets": JoinOwnTenant, "join chat": JoinConversation,
		"leave_conversation": LeaveConversation, "leave-room": LeaveConversation,
		"join_distributor": JoinTenant, "distributor:join": JoinTenant, "joinOrganization": JoinTenant, "join-tenant": JoinTenant, "join_company": JoinTenant,
		"leave_distributor": LeaveTenant,
		"typing_start":      StartTyping, "typing:start": StartTyping, "typing-start": StartTyping, "startTyping": StartTyping,
		"typing_stop": StopTyping, "stop typing": StopTyping, "stopTyping": StopTyping, "typing": Typing,
		"get_online_users": ListOnline, "getOnlineUsers": ListOnline,
		"mark_read": MarkRead, "mark_as_read": MarkRead, "message:read": MarkRead, "mark_messages_read": MarkRead,
		"access_token": RenewToken, "token:refresh": RenewToken, "heartbeat": Heartbeat, "send_message": SendMessage,
		"open_thread": None, "": None,
	} {
		if got := v.Intent(name); got != want {
			t.Errorf("Intent(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestANounWidensTheNames(t *testing.T) {
	plain := compile(t, Options{})
	if got := plain.Intent("join_ticket"); got != None {
		t.Errorf("without the noun, join_ticket means %v, want none", got)
	}
	v := compile(t, Options{ConversationNoun: "ticket", TenantNoun: "empresa"})
	for name, want := range map[string]Intent{"join_ticket": JoinConversation, "ticket:join": JoinConversation, "leaveTicket": LeaveConversation, "joinEmpresa": JoinTenant} {
		if got := v.Intent(name); got != want {
			t.Errorf("Intent(%q) = %v, want %v", name, got, want)
		}
	}
	if got := v.TenantKey(); got != "empresaId" {
		t.Errorf("TenantKey() = %q, want empresaId", got)
	}
}

func TestANameThatWouldMeanTwoThingsIsRefused(t *testing.T) {
	for _, opts := range []Options{
		{ConversationNoun: "company"},
		{TenantNoun: "room"},
		{Preset: "shouting"},
		{Shape: "round"},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("New(%+v) gave no error", opts)
		}
	}
}

func TestTypingThatEndedIsToldInTheOrderThatLeavesNoStyleStuck(t *testing.T) {
	for preset, want := range map[string][]string{
		"underscore": {"user_typing", "user_stopped_typing"},
		"colon":      {"typing:update", "typing:stop"},
		"kebab":      {"user-typing", "user-stop-typing"},
		"camel":      {"userTyping", "userStopTyping"},
	} {
		if got := names(compile(t, Options{Preset: preset}), TypingStopped); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", preset, got, want)
		}
	}
}

// names are those under which the preset sends an event.
func names(v *Vocabulary, e Event) []string {
	var names []string
	for _, u := range v.Say(v.Preset(), &Occasion{Event: e, Row: row.Row{Record: json.RawMessage("{}")}}) {
		names = append(names, u.Name)
	}
	return names
}

func TestEveryEventHasANameInEveryPresetWithOneNameForEach(t *testing.T) {
	for _, preset := range []string{"underscore", "colon", "kebab", "camel"} {
		v := compile(t, Options{Preset: preset})
		for e := range eventCount {
			if len(names(v, e)) == 0 {
				t.Errorf("%s: event %d has no name", preset, e)
			}
		}
	}
}

func TestConversationIDIsFoundWhereverAFrontendPutsIt(t *testing.T) {
	v := compile(t, Options{ConversationNoun: "ticket", ConversationRoom: "conversation:{id}"})
	for _, test := range []struct{ args, text, json string }{
		{`"42"`, "42", `"42"`},
		{`42`, "42", `42`},
		{`{"conversationId":"a-b"}`, "a-b", `"a-b"`},
		{`{"conversation_id":7}`, "7", `7`},
		{`{"roomId":"r"}`, "r", `"r"`},
		{`{"ticketId":9,"id":1}`, "9", `9`},
		{`{"id":"x"}`, "x", `"x"`},
		{`"conversation_42"`, "42", `"42"`},
		{`"conversation:42"`, "42", `"42"`},
		{`{"room":"chat:abc"}`, "abc", `"abc"`},
	} {
		id, ok := v.ConversationID(JoinConversation, raws(t, test.args), nil)
		if !ok || id.Text != test.text || string(id.JSON) != test.json {
			t.Errorf("ConversationID(%s) = %q %s %v, want %q %s", test.args, id.Text, id.JSON, ok, test.text, test.json)
		}
	}
	for _, args := range [][]string{nil, {`null`}, {`true`}, {`""`}, {`{}`}, {`{"conversationId":null}`}, {`{"conversationId":{"a":1}}`}, {`[1]`}} {
		if id, ok := v.ConversationID(JoinConversation, raws(t, args...), nil); ok {
			t.Errorf("ConversationID(%v) = %q, want none", args, id.Text)
		}
	}
}

func TestAJoinOfATenantsRoomByNameIsSeen(t *testing.T) {
	v := compile(t, Options{TenantNoun: "distributor", TenantRoom: "tenant:{id}"})
	for args, want := range map[string]bool{`"tenant:5"`: true, `"distributor_5"`: true, `"org_5"`: true, `"5"`: false, `{"id":"tenant:5"}`: false, `7`: false} {
		if got := v.NamesTenantRoom(raws(t, args)); got != want {
			t.Errorf("NamesTenantRoom(%s) = %v, want %v", args, got, want)
		}
	}
	if id, ok := v.TenantID(JoinTenant, raws(t, `"distributor_5"`), nil); !ok || id.Text != "5" {
		t.Errorf("TenantID = %q %v, want 5", id.Text, ok)
	}
}

func TestTypingState(t *testing.T) {
	v := compile(t, Options{})
	for _, test := range []struct {
		args []string
		want bool
	}{
		{nil, true}, {[]string{`"c"`}, true}, {[]string{`"c"`, `true`}, true}, {[]string{`"c"`, `false`}, false},
		{[]string{`{"isTyping":false}`}, false}, {[]string{`{"is_typing":true}`}, true}, {[]string{`{"typing":false}`}, false},
	} {
		if got := v.TypingState(raws(t, test.args...), nil); got != test.want {
			t.Errorf("TypingState(%v) = %v, want %v", test.args, got, test.want)
		}
	}
}

func TestShapes(t *testing.T) {
	const record = `{"id":9223372036854775807,"conversation_id":"c","is_from_customer":true,"external_metadata":{"a_b":1}}`
	extras := []Extra{String("conversationId", "c"), String("distributorId", "d"), String("absent", "")}
	for shape, want := range map[Shape]string{
		Row:     record,
		Camel:   `{"id":9223372036854775807,"conversationId":"c","isFromCustomer":true,"externalMetadata":{"a_b":1},"distributorId":"d"}`,
		Snake:   `{"id":9223372036854775807,"conversation_id":"c","is_from_customer":true,"external_metadata":{"a_b":1},"distributor_id":"d"}`,
		Wrapped: `{"conversationId":"c","distributorId":"d","message":{"id":9223372036854775807,"conversationId":"c","isFromCustomer":true,"externalMetadata":{"a_b":1}}}`,
		Superset: `{"id":9223372036854775807,"conversation_id":"c","is_from_customer":true,"external_metadata":{"a_b":1},"conversationId":"c","isFromCustomer":true,` +
			`"externalMetadata":{"a_b":1},"distributorId":"d","message":{"id":9223372036854775807,"conversationId":"c","isFromCustomer":true,"externalMetadata":{"a_b":1}}}`,
	} {
		if got := payload(t, Options{Shape: shape}, record, extras...); got != want {
			t.Errorf("%s:\n got %s\nwant %s", shape, got, want)
		}
	}
}

func TestAColumnOfTheSameNameIsNotOverwritten(t *testing.T) {
	got := payload(t, Options{}, `{"message":"the text","distributorId":"own"}`, String("distributorId", "other"))
	if want := `{"message":"the text","distributorId":"own"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// payload is what a new message is sent with.
func payload(t *testing.T, opts Options, record string, fields ...Extra) string {
	t.Helper()
	v := compile(t, opts)
	said := v.Say(v.Preset(), &Occasion{Event: MessageCreated, Row: parsed(t, record), Nested: "message", Fields: fields})
	if len(said) != 1 || len(said[0].Args) != 1 {
		t.Fatalf("a new message is said as %+v, want one event with one argument", said)
	}
	return string(said[0].Args[0])
}

func parsed(t *testing.T, record string) row.Row {
	t.Helper()
	r, err := row.Parse(json.RawMessage(record))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func FuzzArguments(f *testing.F) {
	for _, seed := range []string{`"42"`, `7`, `{"conversationId":"a"}`, `{"room":"chat:1"}`, `null`, `{`, `[[]]`} {
		f.Add([]byte(seed))
	}
	v, err := New(Options{ConversationRoom: "conversation:{id}", TenantRoom: "tenant:{id}"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, arg []byte) {
		args := []json.RawMessage{arg}
		for _, find := range []func(Intent, []json.RawMessage, Speaker) (ID, bool){v.ConversationID, v.TenantID} {
			if id, ok := find(JoinConversation, args, nil); ok && (id.Text == "" || len(id.Text) > maxID) {
				t.Errorf("%q gave the id %q", arg, id.Text)
			}
		}
		v.TypingState(args, nil)
		v.NamesTenantRoom(args)
		v.NamesUserRoom(args)
		if word, ok := v.Status("set_status", args, nil); ok && (word == "" || len(word) > 2*maxWord) {
			t.Errorf("%q gave the status %q", arg, word)
		}
		if ids := MessageIDs(args); ids != nil && json.Valid(arg) && !json.Valid(ids) {
			t.Errorf("%q gave the ids %s", arg, ids)
		}
		MessageID(args)
		UserIDs(args)
		v.MessageText(args, nil)
		v.SentField(args, "reply_to_id")
	})
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(`{"id":1,"conversation_id":"c","message":null}`))
	f.Add([]byte(`{"a":{"b":[1,"\u2028"]},"a":2}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		r, err := row.Parse(record)
		if err != nil {
			return
		}
		for _, shape := range Shapes() {
			v, err := New(Options{Shape: shape})
			if err != nil {
				t.Fatal(err)
			}
			o := &Occasion{Event: MessageCreated, Row: r, Nested: "message", Fields: []Extra{String("conversationId", "c")}}
			for _, s := range Styles() {
				for _, u := range v.Say(s, o) {
					if !json.Valid(u.Args[0]) {
						t.Errorf("%s of %s is not JSON: %s", shape, record, u.Args[0])
					}
				}
			}
		}
	})
}
