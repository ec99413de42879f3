package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// outbound derives the rules of what the server was heard to send. What the preset says the same
// way needs none.
func (p *profile) outbound() {
	for _, name := range p.r.heard.names {
		understood := false
		for _, args := range p.r.heard.events[name].samples {
			for _, event := range guessEvent(name, args) {
				understood = true
				if !p.saysAlready(event, name, args) {
					p.addRule(event, p.rule(event, name, args))
				}
			}
		}
		if !understood {
			p.remark(
				"The server sends %s (%s), which is nothing the bridge sends by itself; your server can send it by /api/publish.",
				name,
				strings.Join(p.r.heard.events[name].forms, " | "),
			)
		}
	}
}

// addRule adds a rule where it can be understood and is not there yet.
func (p *profile) addRule(event vocabulary.Event, rule config.OutRule) {
	known := p.out[event.String()]
	same := func(other config.OutRule) bool { return marshal(other) == marshal(rule) }
	if slices.ContainsFunc(known, same) {
		return
	}
	for i, other := range known { // a fuller sample of the same event stands for both
		if other.Event == rule.Event {
			if len(marshal(rule)) > len(marshal(other)) {
				known[i] = rule
			}
			return
		}
	}
	if _, err := vocabulary.New(vocabulary.Options{Out: config.OutRules{event.String(): {rule}}}); err != nil {
		p.remark("The server sends %s, for which no rule could be made: %v", rule.Event, err)
		return
	}
	p.out[event.String()] = append(known, rule)
}

func marshal(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic("record: a rule can't be marshaled: " + err.Error())
	}
	return string(text)
}

// saysAlready tells whether the preset sends an event under this name with all the fields that were
// heard.
func (p *profile) saysAlready(event vocabulary.Event, name string, args []json.RawMessage) bool {
	o := &vocabulary.Occasion{Event: event, List: json.RawMessage("[]")}
	if event != vocabulary.OnlineUsers && event != vocabulary.PresenceSnapshot {
		o.List = nil
		for _, field := range usualFields[event] {
			o.Fields = append(o.Fields, vocabulary.String(field, "x"))
		}
	}
	for _, said := range p.words.Say(p.style, o) {
		if said.Name == name && len(args) == 1 {
			return p.hasFields(event, args[0], said.Args[0])
		}
	}
	return false
}

// usualFields are what the bridge sends with events that are about no row.
var usualFields = map[vocabulary.Event][]string{
	vocabulary.TypingStarted:  {"conversationId", "userId", "userName", "isTyping"},
	vocabulary.TypingStopped:  {"conversationId", "userId", "userName", "isTyping"},
	vocabulary.UserOnline:     {"userId", "userName"},
	vocabulary.UserOffline:    {"userId", "userName", "lastSeen"},
	vocabulary.PresenceUpdate: {"userId", "userName", "status", "isOnline", "lastSeen"},
	vocabulary.MessagesRead:   {"conversationId", "userId", "readBy", "messageIds"},
	vocabulary.MessageStatus:  {"messageId", "id", "conversationId", "status", "previousStatus", "timestamp"},
	vocabulary.Joined:         {"conversationId", "success"},
	vocabulary.Left:           {"conversationId", "success"},
	vocabulary.Failure:        {"code", "message", "event"},
}

func (p *profile) hasFields(event vocabulary.Event, heard, said json.RawMessage) bool {
	if heard[0] != said[0] {
		return heard[0] == '{' && usualFields[event] == nil
	}
	if heard[0] != '{' {
		return true
	}
	object, err := row.Parse(heard)
	if err != nil {
		return false
	}
	if fields := usualFields[event]; fields != nil {
		return !slices.ContainsFunc(object.Columns, func(c row.Column) bool { return !slices.Contains(fields, c.Name) })
	}
	r := p.rowRule(
		event,
		config.OutRule{},
		[]json.RawMessage{heard},
	) // of a row superset has all, unless something is renamed or stands elsewhere
	wrapped := r.Payload != nil && object.Has("message") && len(r.Rename) == 0
	return len(r.Rename) == 0 && r.Add == nil && r.Args == nil && (r.Payload == nil || wrapped)
}

// rule writes a heard event as a rule.
func (p *profile) rule(event vocabulary.Event, name string, args []json.RawMessage) config.OutRule {
	r := config.OutRule{Event: name}
	switch event {
	case vocabulary.MessageCreated,
		vocabulary.MessageUpdated,
		vocabulary.ConversationCreated,
		vocabulary.ConversationUpdated,
		vocabulary.Notification:
		return p.rowRule(event, r, args)
	case vocabulary.OnlineUsers:
		return r
	}
	filled := make([]json.RawMessage, len(args))
	for i, arg := range args {
		filled[i] = p.template(event, name, "", arg)
	}
	switch len(args) {
	case 0:
	case 1:
		r.Payload = filled[0]
		if filled[0][0] != '{' {
			r.Payload, r.Args = nil, filled
		}
	default:
		r.Args = filled
	}
	return r
}

// Fields under which frontends have what the usual columns hold.
var (
	textFields = []string{"content", "text", "body", "message", "msg"}
	timeFields = []string{"created_at", "createdAt", "timestamp", "time", "sentAt", "sent_at", "date"}
	wrapFields = []string{"message", "msg", "data", "payload", "conversation", "ticket", "notification"}
)

// rowRule writes an event that carries a row. Which column a field is cannot be seen on the wire,
// only guessed for the usual ones.
func (p *profile) rowRule(event vocabulary.Event, r config.OutRule, args []json.RawMessage) config.OutRule {
	at := slices.IndexFunc(args, func(arg json.RawMessage) bool { return len(arg) > 0 && arg[0] == '{' })
	if at < 0 {
		return r
	}
	object, err := row.Parse(args[at])
	if err != nil {
		return r
	}
	inner, key := object, ""
	for _, c := range object.Columns {
		if nested, err := row.Parse(c.Value); err == nil && slices.Contains(wrapFields, c.Name) && nested.Has("id") {
			inner, key = nested, c.Name
			break
		}
	}
	r.Shape = string(shapeOf(inner))
	if event == vocabulary.MessageCreated || event == vocabulary.MessageUpdated {
		r.Rename = renames(inner, r.Shape)
		added := make(map[string]string)
		for _, c := range inner.Columns {
			if p.conversations[row.Text(c.Value)] && c.Name != "conversationId" && c.Name != "conversation_id" &&
				c.Name != "id" {
				added[c.Name] = "${conversation.id}"
			}
		}
		if len(added) > 0 {
			r.Add = json.RawMessage(marshal(added))
		}
	}
	if key == "" && len(args) == 1 {
		return r
	}
	payload := json.RawMessage(`"${payload}"`)
	if key != "" {
		var fields []string
		for _, c := range object.Columns {
			value := payload
			if c.Name != key {
				value = p.template(event, r.Event, c.Name, c.Value)
			}
			if string(value) != "null" {
				fields = append(fields, marshal(c.Name)+":"+string(value))
			}
		}
		payload = json.RawMessage("{" + strings.Join(fields, ",") + "}")
	}
	if len(args) == 1 {
		r.Payload = payload
		return r
	}
	for i, arg := range args {
		if i == at {
			r.Args = append(r.Args, payload)
		} else {
			r.Args = append(r.Args, p.template(event, r.Event, "", arg))
		}
	}
	return r
}

// shapeOf tells in which case the fields are.
func shapeOf(r row.Row) vocabulary.Shape {
	var snakes, camels bool
	for _, c := range r.Columns {
		snakes = snakes || strings.Contains(c.Name, "_")
		camels = camels || strings.ToLower(c.Name) != c.Name
	}
	switch {
	case snakes && !camels:
		return vocabulary.Snake
	case camels && !snakes:
		return vocabulary.Camel
	}
	return vocabulary.Superset
}

// renames gives the usual columns the names that were heard.
func renames(r row.Row, shape string) map[string]string {
	created := "createdAt"
	if shape == string(vocabulary.Snake) {
		created = "created_at"
	}
	all := make(map[string]string)
	for column, names := range map[string][]string{"content": textFields, created: timeFields} {
		if r.Has(column) {
			continue
		}
		for _, name := range names {
			if value := r.Get(name); len(value) > 0 && (value[0] == '"' || column == created && value[0] != '{') &&
				name != column {
				all[column] = name
				break
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// template writes a value of an event that is about no row: what is known of it, and literally what
// is no more than a word. The rest is null, and remarked on.
func (p *profile) template(event vocabulary.Event, name, key string, value json.RawMessage) json.RawMessage {
	switch value[0] {
	case '{':
		object, err := row.Parse(value)
		if err != nil {
			return json.RawMessage("null")
		}
		var fields []string
		for _, c := range object.Columns {
			fields = append(fields, marshal(c.Name)+":"+string(p.template(event, name, c.Name, c.Value)))
		}
		return json.RawMessage("{" + strings.Join(fields, ",") + "}")
	case 't', 'f':
		return p.boolean(event, key, value)
	case 'n':
		return value
	}
	if variable := p.variable(event, key, value); variable != "" {
		return json.RawMessage(marshal("${" + variable + "}"))
	}
	if text := row.Text(value); value[0] == '"' && len(text) <= 24 && words(text) != nil &&
		!strings.ContainsAny(text, "0123456789@. ") &&
		has(words(key), "type", "kind", "action", "event", "presence", "state") {
		return value
	}
	p.remark("In %s the field %s has no counterpart: it is sent as null.", name, cmp.Or(key, "(an argument)"))
	return json.RawMessage("null")
}

func (p *profile) boolean(event vocabulary.Event, key string, value json.RawMessage) json.RawMessage {
	switch event {
	case vocabulary.TypingStarted:
		return json.RawMessage("true")
	case vocabulary.TypingStopped:
		return json.RawMessage("false")
	case vocabulary.PresenceUpdate:
		if has(words(key), "online", "available", "active") {
			return json.RawMessage(`"${payload.isOnline}"`)
		}
	}
	return value
}

// variable tells what a value stands for; "" where that can't be told.
func (p *profile) variable(event vocabulary.Event, key string, value json.RawMessage) string {
	text, w := row.Text(value), words(key)
	fields := usualFields[event]
	aboutUser := slices.Contains(fields, "userId") || event == vocabulary.Joined || event == vocabulary.Left
	_, isUser := p.r.users[text]
	named := text != "" && slices.Contains(slices.Collect(maps.Values(p.r.users)), text)
	switch {
	case p.conversations[text], has(w, conversationWords...) && !has(w, "name", "title"):
		return "conversation.id"
	case aboutUser && named, aboutUser && has(w, "name", "username"):
		return "user.name"
	case aboutUser && isUser,
		aboutUser && has(w, "user", "sender", "author", "from", "member", "reader", "by", "who", "agent", "operator", "peer"):
		return "user.id"
	case p.r.tenants[text], has(w, tenantWords...):
		return "tenant.id"
	case event == vocabulary.MessageDeleted && has(w, "id", "message"),
		event == vocabulary.MessageStatus && has(w, "id", "message"):
		return "payload.messageId"
	case slices.Contains(fields, "status") && has(w, "status", "state", "presence"):
		return "payload.status"
	case slices.Contains(fields, "lastSeen") && has(w, "seen", "last"):
		return "payload.lastSeen"
	case slices.Contains(fields, "timestamp") && has(w, "timestamp", "at", "time", "date"):
		return "payload.timestamp"
	case slices.Contains(fields, "message") && has(w, "message", "error", "reason"):
		return "payload.message"
	case slices.Contains(fields, key):
		return "payload." + key
	}
	return ""
}

// remark adds a comment to the profile, once.
func (p *profile) remark(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(p.remarks, text) {
		p.remarks = append(p.remarks, text)
	}
}
