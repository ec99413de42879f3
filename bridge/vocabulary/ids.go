package vocabulary

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
)

// ID is an id as a client sent it. Text is its text, for room names and look-ups (7 and "7" are the
// same); JSON is how it was written, for payloads.
type ID struct {
	Text string
	JSON json.RawMessage
}

// maxID bounds an id's text, in bytes: longer ones are no ids.
const maxID = 256

func (v *Vocabulary) compileIDs() (err error) {
	conversation, tenant := v.opts.ConversationNoun, v.opts.TenantNoun
	var errConversation, errTenant error
	v.conversationIDs, errConversation = selectors("ids.conversation", v.opts.ConversationIDs,
		places(append([]string{conversation}, synonyms...), "room", "conversation"))
	v.tenantIDs, errTenant = selectors("ids.tenant", v.opts.TenantIDs, places(append([]string{tenant}, tenantNouns...)))
	if err = errors.Join(errConversation, errTenant); err != nil {
		return err
	}
	if v.state, err = parseSelectors([]string{"$0.isTyping", "$0.is_typing", "$0.typing", "$1"}); err != nil {
		return err
	}
	if v.status, err = parseSelectors([]string{"$0.status", "$0.state", "$0.presence", "$0.isOnline", "$0.is_online",
		"$1", "$0"}); err != nil {
		return err
	}
	if v.texts, err = parseSelectors([]string{"$0.content", "$0.text", "$0.body", "$0.message", "$0.message.content",
		"$0.message.text", "$0.message.body", "$1"}); err != nil {
		return err
	}
	own := append([]string{v.opts.ConversationRoom}, v.opts.ConversationParse...)
	if v.conversationForms, err = v.forms("rooms.conversation", own, conversation+":{id}", conversation+"_{id}",
		"conversation:{id}", "conversation_{id}", "conv:{id}", "chat:{id}"); err != nil {
		return err
	}
	own = append([]string{v.opts.TenantRoom}, v.opts.TenantParse...)
	v.tenantForms, err = v.forms(
		"rooms.tenant",
		own,
		tenant+":{id}",
		tenant+"_{id}",
		"tenant:{id}",
		"tenant_{id}",
		"org:{id}",
		"org_{id}",
	)
	return err
}

// selectors reads those configured; where there are none it returns the usual ones.
func selectors(key string, configured []string, usual []selector) ([]selector, error) {
	if len(configured) == 0 {
		return usual, nil
	}
	list, err := parseSelectors(configured)
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %s: %w", key, err)
	}
	return list, nil
}

// form is a room's name around its id.
type form struct{ before, after string }

func (v *Vocabulary) forms(key string, configured []string, usual ...string) ([]form, error) {
	var list []form
	for i, template := range dedupe(append(configured, usual...)...) {
		before, after, found := strings.Cut(v.nouns.Replace(template), "{id}")
		if !found || before+after == "" && i > 0 {
			return nil, fmt.Errorf("vocabulary: %s: %q: want {id} and something around it", key, template)
		}
		if before+after != "" {
			list = append(list, form{before, after})
		}
	}
	return list, nil
}

// cut takes an id out of a room's name.
func (f form) cut(name string) (string, bool) {
	id, ok := strings.CutPrefix(name, f.before)
	if ok {
		id, ok = strings.CutSuffix(id, f.after)
	}
	return id, ok && id != ""
}

func dedupe(words ...string) []string {
	seen, out := make(map[string]bool), words[:0:0]
	for _, w := range words {
		if w != "" && !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

// ConversationID finds the conversation's id in an event: in the first argument itself, or in a
// field of it, or where the configuration says. A whole room name is taken for the id within it.
// from may be nil.
func (v *Vocabulary) ConversationID(intent Intent, args []json.RawMessage, from Speaker) (ID, bool) {
	return v.find(intent, looking{args: args, from: from}, v.conversationIDs, v.conversationForms)
}

// TenantID finds the tenant's id likewise.
func (v *Vocabulary) TenantID(intent Intent, args []json.RawMessage, from Speaker) (ID, bool) {
	if intent == JoinOwnTenant && (v.understanding[intent] == nil || v.understanding[intent].ids == nil) {
		return ID{}, false
	}
	return v.find(intent, looking{args: args, from: from}, v.tenantIDs, v.tenantForms)
}

func (v *Vocabulary) find(intent Intent, l looking, places []selector, forms []form) (ID, bool) {
	if u := v.understanding[intent]; u != nil && u.ids != nil {
		places = u.ids
	}
	for i := range places {
		id, ok := scalarID(l.find(&places[i]))
		if !ok {
			continue
		}
		for _, f := range forms {
			if within, ok := f.cut(id.Text); ok {
				return NewID(within), true
			}
		}
		return id, true
	}
	return ID{}, false
}

// NamesTenantRoom reports whether the first argument is the name of a tenant's room, as clients
// with one`join` for everything send it.
func (v *Vocabulary) NamesTenantRoom(args []json.RawMessage) bool {
	if len(args) == 0 {
		return false
	}
	id, ok := scalarID(args[0])
	return ok && slices.ContainsFunc(v.tenantForms, func(f form) bool {
		_, is := f.cut(id.Text)
		return is
	})
}

// userForms are the names of a user's own room, as clients send them that join it.
var userForms = []form{{before: "user:"}, {before: "user_"}, {before: "user-"}, {before: "users:"}}

// NamesUserRoom gives the user whose room the first argument names.
func (v *Vocabulary) NamesUserRoom(args []json.RawMessage) (user string, ok bool) {
	if len(args) == 0 {
		return "", false
	}
	id, ok := scalarID(args[0])
	if !ok {
		return "", false
	}
	for _, f := range userForms {
		if user, ok := f.cut(id.Text); ok {
			return user, true
		}
	}
	return "", false
}

// TypingState reads the boolean of a Typing event: `isTyping`, `is_typing` or `typing` of the first argument, or the second argument, or where the
// configuration says. Absent means true.
func (v *Vocabulary) TypingState(args []json.RawMessage, from Speaker) bool {
	places := v.state
	if u := v.understanding[Typing]; u != nil && u.state != nil {
		places = u.state
	}
	l := looking{args: args, from: from}
	for i := range places {
		switch string(l.find(&places[i])) {
		case "false", "0", `"false"`:
			return false
		case "":
		default:
			return true
		}
	}
	return true
}

// Field gives a field of the first argument, where that is an object that has it.
func Field(args []json.RawMessage, key string) (json.RawMessage, bool) {
	if len(args) == 0 {
		return nil, false
	}
	raw := inside(args[0], []string{key})
	return raw, raw != nil
}

// scalarID reads a string or a number.
func scalarID(raw json.RawMessage) (ID, bool) {
	if len(raw) == 0 {
		return ID{}, false
	}
	if c := raw[0]; c == '-' || c >= '0' && c <= '9' {
		return ID{Text: string(raw), JSON: raw}, len(raw) <= maxID
	}
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil || text == "" || len(text) > maxID {
		return ID{}, false
	}
	return ID{Text: text, JSON: raw}, true
}

// NewID makes the ID of a text.
func NewID(text string) ID { return ID{Text: text, JSON: appendQuoted(nil, text)} }

// IDOf makes the ID of a text as a row has it in a column: a number stays one.
func IDOf(r row.Row, column, text string) ID {
	if text == "" {
		return ID{}
	}
	if raw := r.Get(column); len(raw) > 0 && row.Text(raw) == text {
		return ID{Text: text, JSON: raw}
	}
	return NewID(text)
}

// MessageIDs gives the ids of the messages that an event names in its first argument, as a list;
// nil where it names none.
func MessageIDs(args []json.RawMessage) json.RawMessage {
	for _, raw := range fieldsAlike(args, "messageIds", "messageId") {
		if len(raw) > 0 && raw[0] == '[' {
			return raw
		}
		if id, ok := scalarID(raw); ok {
			return append(append(json.RawMessage{'['}, id.JSON...), ']')
		}
	}
	return nil
}

// MessageID gives the first of them.
func MessageID(args []json.RawMessage) (string, bool) {
	var list []json.RawMessage
	if json.Unmarshal(MessageIDs(args), &list) != nil || len(list) == 0 {
		return "", false
	}
	id, ok := scalarID(list[0])
	return id.Text, ok
}

// UserIDs finds the users that an event names in its first argument: `userIds` or `userId` there, as a list or alone; at most 1000.
func UserIDs(args []json.RawMessage) []string {
	var users []string
	for _, raw := range fieldsAlike(args, "userIds", "userId") {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			list = []json.RawMessage{raw}
		}
		for _, one := range list[:min(len(list), 1000)] {
			if id, ok := scalarID(one); ok {
				users = append(users, id.Text)
			}
		}
	}
	return users
}

// Positional gives the id that an event's first argument is.
func Positional(args []json.RawMessage) (string, bool) {
	if len(args) == 0 {
		return "", false
	}
	id, ok := scalarID(args[0])
	return id.Text, ok
}
