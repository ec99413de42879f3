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
		"joinChatBox": JoinConversation, "join chat": JoinConversation,
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
		if got := compile(t, Options{Preset: preset}).Names(TypingStopped); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", preset, got, want)
		}
	}
}

func TestEveryEventHasANameInEveryPreset(t *testing.T) {
	for _, preset := range Presets() {
		v := compile(t, Options{Preset: preset})
		for e := range eventCount {
			if len(v.Names(e)) == 0 {
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
		id, ok := v.ConversationID(raws(t, test.args))
		if !ok || id.Text != test.text || string(id.JSON) != test.json {
			t.Errorf("ConversationID(%s) = %q %s %v, want %q %s", test.args, id.Text, id.JSON, ok, test.text, test.json)
		}
	}
	for _, args := range [][]string{nil, {`null`}, {`true`}, {`""`}, {`{}`}, {`{"conversationId":null}`}, {`{"conversationId":{"a":1}}`}, {`[1]`}} {
		if id, ok := v.ConversationID(raws(t, args...)); ok {
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
	if id, ok := v.TenantID(raws(t, `"distributor_5"`)); !ok || id.Text != "5" {
		t.Errorf("TenantID = %q %v, want 5", id.Text, ok)
	}
}

func TestTypingState(t *testing.T) {
	for _, test := range []struct {
		args []string
		want bool
	}{
		{nil, true}, {[]string{`"c"`}, true}, {[]string{`"c"`, `true`}, true}, {[]string{`"c"`, `false`}, false},
		{[]string{`{"isTyping":false}`}, false}, {[]string{`{"is_typing":true}`}, true}, {[]string{`{"typing":false}`}, false},
	} {
		if got := TypingState(raws(t, test.args...)); got != test.want {
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
		got, err := compile(t, Options{Shape: shape}).Shape(parsed(t, record), "message", extras...)
		if err != nil || string(got) != want {
			t.Errorf("%s:\n got %s (%v)\nwant %s", shape, got, err, want)
		}
	}
}

func TestAColumnOfTheSameNameIsNotOverwritten(t *testing.T) {
	got, err := compile(t, Options{}).Shape(parsed(t, `{"message":"the text","distributorId":"own"}`), "message", String("distributorId", "other"))
	if want := `{"message":"the text","distributorId":"own"}`; err != nil || string(got) != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
}

func TestWithoutARowThereIsNoPayload(t *testing.T) {
	for _, shape := range Shapes() {
		if got, err := compile(t, Options{Shape: shape}).Shape(row.Row{}, "message"); err == nil {
			t.Errorf("%s: %s, want an error", shape, got)
		}
	}
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
		for _, find := range []func([]json.RawMessage) (ID, bool){v.ConversationID, v.TenantID} {
			if id, ok := find(args); ok && (id.Text == "" || len(id.Text) > maxID) {
				t.Errorf("%q gave the id %q", arg, id.Text)
			}
		}
		TypingState(args)
		v.NamesTenantRoom(args)
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
			if got, err := v.Shape(r, "message", String("conversationId", "c")); err != nil || !json.Valid(got) {
				t.Errorf("%s of %s is not JSON: %s (%v)", shape, record, got, err)
			}
		}
	})
}
