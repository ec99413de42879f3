package vocabulary

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
)

// rules reads vocabulary.out and vocabulary.in as they stand in a file.
func rules(t testing.TB, yaml string) Options {
	t.Helper()
	cfg, err := config.Load(config.Sources{Environ: []string{
		"SUPABRIDGE_SUPABASE_URL=http://127.0.0.1:1", "SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=a", "SUPABRIDGE_SUPABASE_ANON_KEY=b", "SUPABRIDGE_VOCABULARY_OUT=" + yaml,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return Options{TenantNoun: "distributor", Out: cfg.Vocabulary.Out}
}

// wire is how an occasion goes out, one line for each event.
func wire(v *Vocabulary, s Style, o *Occasion) string {
	var lines []string
	for _, u := range v.Say(s, o) {
		line := u.Name
		for _, arg := range u.Args {
			line += " " + string(arg)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestARuleSendsWhatItSays(t *testing.T) {
	const message = `{"id":7,"status":"READ","direction":"in","body":"hi \"you\"","meta":{"a":{"b":[1]}},"none":null}`
	for _, test := range []struct{ name, rule, want string }{
		{"a lone variable keeps its type", `{event: m, payload: {id: "${row.id}", text: "${row.body}", deep: "${row.meta.a.b}", none: "${row.none}", not: "${row.missing}"}}`,
			`m {"id":7,"text":"hi \"you\"","deep":[1],"none":null,"not":null}`},
		{"variables within a text become text", `{event: "${tenant.id}-appMessage", payload: "m${row.id} of ${conversation.id}"}`, `d1-appMessage "m7 of 42"`},
		{"args are positional", `{event: m, args: ["${conversation.id}", "${row.id}", {a: [true, 1.50]}]}`, `m 42 7 {"a":[true,1.50]}`},
		{"pick, rename and add", `{event: m, shape: row, pick: [id, body], rename: {body: text}, add: {ticketId: "${conversation.id}"}}`, `m {"id":7,"text":"hi \"you\"","ticketId":42}`},
		{"omit", `{event: m, shape: row, omit: [meta, body, none]}`, `m {"id":7,"status":"READ","direction":"in"}`},
		{"add replaces", `{event: m, shape: row, pick: [id], add: {id: "m-${row.id}"}}`, `m {"id":"m-7"}`},
		{"tables of values", `{event: m, shape: row, pick: [direction, none], map: {direction: {in: inbound, out: outbound}, none: {"null": 0}}}`, `m {"direction":"inbound","none":0}`},
		{"a table within a literal tree", `{event: m, payload: {message: {ack: "${row.status}"}}, map: {message.ack: {SENT: 1, READ: 3}}}`, `m {"message":{"ack":3}}`},
		{"a table has nothing for other values", `{event: m, payload: {ack: "${row.direction}"}, map: {ack: {SENT: 1}}}`, `m {"ack":"in"}`},
		{"when holds", `{event: m, when: {status: [SENT, READ], none: null}, payload: 1}`, `m 1`},
		{"when does not hold", `{event: m, when: {status: SENT}, payload: 1}`, ``},
		{"the payload within another", `{event: m, shape: row, pick: [id], payload: {action: create, message: "${payload}"}}`, `m {"action":"create","message":{"id":7}}`},
		{"nouns", `{event: "{tenant}:{Conversation}", payload: 1}`, `distributor:Conversation 1`},
		{"several rules in order", `[{event: a, payload: 1}, {event: b, payload: 2}]`, "a 1\nb 2"},
		{"no rule", `[]`, ``},
	} {
		v := compile(t, rules(t, "{message.created: "+test.rule+"}"))
		for _, style := range Styles() {
			o := &Occasion{Event: MessageCreated, Row: parsed(t, message), Nested: "message", Conversation: ID{"42", json.RawMessage("42")}, Tenant: NewID("d1")}
			if got := wire(v, style, o); got != test.want {
				t.Errorf("%s (%s):\n got %s\nwant %s", test.name, style, got, test.want)
			}
		}
	}
}

func TestARuleThatCantBeUnderstoodIsRefusedByItsKey(t *testing.T) {
	for _, test := range []struct{ out, want string }{
		{`{message.craeted: {event: a}}`, `out.message.craeted: no such event`},
		{`{message.created: [{event: a}, {event: b, payload: {x: "${rwo.id}"}}]}`, `out.message.created[1]: payload: x: no variable ${rwo.id} here: there are conversation.id, tenant.id, row.COLUMN`},
		{`{typing.stop: {event: a, args: ["${row.id}"]}}`, `no variable ${row.id} here`},
		{`{typing.stop: {event: "${user.id"}}`, "${ without }"},
		{`{message.created: {event: a, to: everybody}}`, `to: "everybody": want conversation`},
		{`{message.created: {event: a, to: user}}`, `is about no user`},
		{`{joined: {event: a, to: tenant}}`, `goes to one socket`},
		{`{message.created: {event: a, shape: round}}`, `no shape "round"`},
		{`{message.created: {event: a, except: everybody}}`, `want sender or nobody`},
		{`{message.created: {event: disconnect}}`, `belongs to Socket.IO itself`},
		{`{message.created: {to: tenant}}`, `there is no name`},
		{`{message.created: {event: a, payload: 1, args: [1]}}`, `in place of payload`},
	} {
		_, err := New(rules(t, test.out))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s gave %v, want %q", test.out, err, test.want)
		}
	}
}

func TestTheStyleWithOneEventForAllKindsOfMessagesHasTheActionWithin(t *testing.T) {
	v := compile(t, Options{Preset: "whaticket"})
	o := func(e Event) *Occasion {
		return &Occasion{Event: e, Row: parsed(t, `{"id":7,"from_me":true}`), Nested: "message", Fields: []Extra{String("messageId", "7")}, Conversation: NewID("9"), User: NewID("u")}
	}
	for event, want := range map[Event]string{
		MessageCreated: `appMessage {"action":"create","message":{"id":7,"fromMe":true,"messageId":"7","ticketId":"9"},"ticket":{"id":"9"}}`,
		MessageDeleted: `appMessage {"action":"delete","messageId":"7","message":{"id":7,"fromMe":true,"messageId":"7","ticketId":"9"},"ticket":{"id":"9"}}`,
		TypingStarted:  `presence {"ticketId":"9","userId":"u","presence":"composing"}`,
		OnlineUsers:    ``,
	} {
		if got := wire(v, StyleWhaticket, o(event)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", event, got, want)
		}
	}
}

func TestTheFirstNameWithAStyleRevealsIt(t *testing.T) {
	v := compile(t, Options{TenantNoun: "distributor", In: config.InRules{"join": {Events: []string{"open_thread"}}}})
	for name, want := range map[string]Style{
		"join_conversation": StyleUnderscore, "conversation:join": StyleColon, "join:conversation": StyleColon, "join-conversation": StyleKebab, "joinConversation": StyleCamel,
		"joinChatBox": StyleWhaticket, "startTyping": StyleCamel,
		"typing": StyleNone, "join": StyleNone, "join chat": StyleNone, "heartbeat": StyleNone, "access_token": StyleNone, "open_thread": StyleNone, "no_such_event": StyleNone,
	} {
		if got, ok := v.Reveals(name); got != want || ok != (want != StyleNone) {
			t.Errorf("Reveals(%q) = %v %v, want %v", name, got, ok, want)
		}
	}
}

func TestOnlyAcceptedStylesAreUnderstood(t *testing.T) {
	v := compile(t, Options{Accept: []string{"kebab"}, In: config.InRules{"join": {Events: []string{"open_thread"}}}})
	for name, want := range map[string]Intent{
		"join-conversation": JoinConversation, "join_conversation": None, "joinChatBox": None, "join chat": None, "join": JoinConversation, "open_thread": JoinConversation,
		"access_token": RenewToken, "token:refresh": RenewToken,
	} {
		if got := v.Intent(name); got != want {
			t.Errorf("Intent(%q) = %v, want %v", name, got, want)
		}
	}
}

// visitor is a client that brought things along.
type visitor struct{}

func (visitor) Auth() json.RawMessage   { return json.RawMessage(`{"room":{"id":12}}`) }
func (visitor) Query(n string) string   { return map[string]string{"org": "o1"}[n] }
func (visitor) Header(n string) string  { return map[string]string{"x-org": "o2"}[n] }
func (visitor) Cookie(n string) string  { return map[string]string{"org": "o3"}[n] }
func (visitor) Claims() json.RawMessage { return json.RawMessage(`{"app_metadata":{"org":"o4"}}`) }

func TestSelectorsFindIDsWhereverTheyStand(t *testing.T) {
	for _, test := range []struct{ selector, args, want string }{
		{"$0", `"a"`, "a"}, {"$1.thread.id", `{} {"thread":{"id":5}}`, "5"}, {"$0.x", `{"x":{}}`, ""}, {"$2", `1`, ""},
		{"auth.room.id", ``, "12"}, {"query.org", ``, "o1"}, {"header.x-org", ``, "o2"}, {"cookie.org", ``, "o3"}, {"claims.app_metadata.org", ``, "o4"},
		{"$0", `"room-77-x"`, "77"},
	} {
		v := compile(t, Options{ConversationIDs: []string{test.selector}, ConversationParse: []string{"room-{id}-x"}})
		id, ok := v.ConversationID(JoinConversation, raws(t, strings.Fields(test.args)...), visitor{})
		if id.Text != test.want || ok != (test.want != "") {
			t.Errorf("%s in %q = %q %v, want %q", test.selector, test.args, id.Text, ok, test.want)
		}
	}
	for _, wrong := range []string{"", "$", "$99", "$0..a", "body.x", "auth", "query", "$x"} {
		if _, err := New(Options{TenantIDs: []string{wrong}}); err == nil {
			t.Errorf("the selector %q gave no error", wrong)
		}
	}
}

func TestAnIntentTakesItsIDStateAndAnswerFromItsRule(t *testing.T) {
	v := compile(t, Options{In: config.InRules{
		"typing": {Events: []string{"composing"}, ID: []string{"$1"}, State: []string{"$0.on", "true"}, Ack: json.RawMessage(`{"ok":true,"room":"${conversation.id}","me":"u-${user.id}"}`)},
	}})
	if got := v.Intent("composing"); got != Typing {
		t.Errorf("composing means %v", got)
	}
	args := raws(t, `{"on":false}`, `"c9"`)
	if id, _ := v.ConversationID(Typing, args, nil); id.Text != "c9" || v.TypingState(args, nil) || !v.TypingState(raws(t, `{}`), nil) {
		t.Errorf("id %q, state %v", id.Text, v.TypingState(args, nil))
	}
	ack, ok := v.Ack(Typing, &Occasion{Conversation: NewID("c9"), User: NewID("1")})
	if want := `{"ok":true,"room":"c9","me":"u-1"}`; !ok || string(ack[0]) != want {
		t.Errorf("ack %s, want %s", ack, want)
	}
	for _, in := range []config.InRules{
		{"jion": {}}, {"join": {Events: []string{"typing"}}, "typing": {Events: []string{"typing"}}}, {"join": {State: []string{"$0"}}}, {"join": {Ack: json.RawMessage(`"${row.id}"`)}},
	} {
		if _, err := New(Options{In: in}); err == nil {
			t.Errorf("%+v gave no error", in)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add(`{"a":"${row.id}","b":["x ${user.id} y",null,1e3]}`)
	f.Add(`"${"`)
	f.Add(`"${payload.a.b}"`)
	f.Fuzz(func(t *testing.T, template string) {
		n, err := scope{row: true, user: true, payload: true}.compile(json.RawMessage(template))
		if err != nil {
			return
		}
		o := &Occasion{Row: parsed(t, `{"id":1,"o":{"k":"v"}}`), User: NewID("<&\"")}
		if got := n.write(nil, &filling{o: o}); !json.Valid(got) {
			t.Errorf("%s was filled in as %s, which is not JSON", template, got)
		}
	})
}

func BenchmarkNewMessage(b *testing.B) {
	record := `{"id":"7d1c","conversation_id":"c1","content":"a message of usual length, as people write them","is_from_customer":true,"status":"SENT","created_at":"2026-01-01T00:00:00Z"}`
	r, err := row.Parse(json.RawMessage(record))
	if err != nil {
		b.Fatal(err)
	}
	fields := []Extra{String("conversationId", "c1"), String("distributorId", "d1")}
	b.Run("hard-coded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			payload := map[string]any{"conversationId": "c1", "distributorId": "d1", "message": json.RawMessage(record)}
			if _, err := json.Marshal(payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, opts := range map[string]Options{
		"row": {Shape: Row}, "wrapped": {Shape: Wrapped}, "superset": {Shape: Superset},
		"rule": rules(b, `{message.created: {event: m, payload: {conversationId: "${conversation.id}", distributorId: "${tenant.id}", message: "${row}"}}}`),
	} {
		v, err := New(opts)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				o := Occasion{Event: MessageCreated, Row: r, Nested: "message", Fields: fields, Conversation: NewID("c1"), Tenant: NewID("d1")}
				v.Say(StyleUnderscore, &o)
			}
		})
	}
}
