package vocabulary

import (
	"encoding/json"
	"strings"
)

// ID is an id as a client sent it. Text is its text, for room names and look-ups (7 and "7" are the same); JSON is how it was written, for payloads.
type ID struct {
	Text string
	JSON json.RawMessage
}

// maxID bounds an id's text, in bytes: longer ones are no ids.
const maxID = 256

func (v *Vocabulary) compileIDs() {
	conversation, tenant := v.opts.ConversationNoun, v.opts.TenantNoun
	v.conversationKeys = dedupe(camelNoun(conversation)+"Id", conversation+"_id", "conversationId", "conversation_id", "roomId", "room_id", "chatId", "chat_id",
		"threadId", "thread_id", "ticketId", "ticket_id", "room", "conversation", "id")
	keys := []string{camelNoun(tenant) + "Id", tenant + "_id"}
	for _, noun := range tenantNouns {
		keys = append(keys, noun+"Id", noun+"_id")
	}
	v.tenantKeys = dedupe(append(keys, "id")...)
	v.conversationPre = dedupe(prefix(v.opts.ConversationRoom), conversation+":", conversation+"_", "conversation:", "conversation_", "conv:", "chat:")
	v.tenantPre = dedupe(prefix(v.opts.TenantRoom), tenant+":", tenant+"_", "tenant:", "tenant_", "org:", "org_")
}

// prefix gives what stands before {id} in a room template that ends with it.
func prefix(template string) string {
	before, after, found := strings.Cut(template, "{id}")
	if !found || after != "" {
		return ""
	}
	return before
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

// ConversationID finds the conversation's id in an event's arguments: the first argument itself, or a field of it. A whole room name is taken for
// the id within it.
func (v *Vocabulary) ConversationID(args []json.RawMessage) (ID, bool) {
	return find(args, v.conversationKeys, v.conversationPre)
}

// TenantID finds the tenant's id likewise.
func (v *Vocabulary) TenantID(args []json.RawMessage) (ID, bool) {
	return find(args, v.tenantKeys, v.tenantPre)
}

// NamesTenantRoom reports whether the first argument is the name of a tenant's room, as clients with one `join` for everything send it.
func (v *Vocabulary) NamesTenantRoom(args []json.RawMessage) bool {
	if len(args) == 0 {
		return false
	}
	id, ok := scalarID(args[0])
	if !ok {
		return false
	}
	for _, p := range v.tenantPre {
		if strings.HasPrefix(id.Text, p) {
			return true
		}
	}
	return false
}

// Since is what a client that joins has seen last: a time, a message, or both.
type Since struct{ At, ID string }

// SinceOf finds `since` in the first or second argument: a time, a message's id, a message as it was received, with its id and times, or a list of such
// messages. Text is tried as a time by the caller; both fields hold it.
func SinceOf(args []json.RawMessage) ([]Since, bool) {
	for i := range min(2, len(args)) {
		raw, ok := Field(args[i:], "since")
		if !ok {
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil || list == nil {
			list = []json.RawMessage{raw}
		}
		all := make([]Since, 0, len(list))
		for _, one := range list {
			all = append(all, sinceOf(one))
		}
		return all, true
	}
	return nil, false
}

func sinceOf(raw json.RawMessage) (s Since) {
	if id, ok := scalarID(raw); ok {
		return Since{id.Text, id.Text}
	}
	s.ID, _ = sinceField(raw, "id", "messageId", "message_id")
	s.At, _ = sinceField(raw, "updated_at", "updatedAt", "created_at", "createdAt", "timestamp")
	return s
}

func sinceField(message json.RawMessage, names ...string) (string, bool) {
	for _, name := range names {
		raw, _ := Field([]json.RawMessage{message}, name)
		if id, ok := scalarID(raw); ok {
			return id.Text, true
		}
	}
	return "", false
}

// TypingState reads the boolean of a Typing event: `isTyping`, `is_typing` or `typing` of the first argument, or the second argument. Absent means true.
func TypingState(args []json.RawMessage) bool {
	for _, key := range []string{"isTyping", "is_typing", "typing"} {
		if raw, ok := Field(args, key); ok {
			return string(raw) != "false"
		}
	}
	return len(args) < 2 || string(args[1]) != "false"
}

// Field gives a field of the first argument, where that is an object that has it.
func Field(args []json.RawMessage, key string) (json.RawMessage, bool) {
	if len(args) == 0 || len(args[0]) == 0 || args[0][0] != '{' {
		return nil, false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(args[0], &object) != nil {
		return nil, false
	}
	raw, ok := object[key]
	return raw, ok
}

func find(args []json.RawMessage, keys, prefixes []string) (ID, bool) {
	if len(args) == 0 {
		return ID{}, false
	}
	id, ok := scalarID(args[0])
	if !ok {
		var object map[string]json.RawMessage
		if len(args[0]) == 0 || args[0][0] != '{' || json.Unmarshal(args[0], &object) != nil {
			return ID{}, false
		}
		for _, key := range keys {
			if id, ok = scalarID(object[key]); ok {
				break
			}
		}
	}
	if !ok {
		return ID{}, false
	}
	for _, p := range prefixes {
		if rest, cut := strings.CutPrefix(id.Text, p); cut && rest != "" {
			return NewID(rest), true
		}
	}
	return id, true
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
func NewID(text string) ID {
	raw, _ := json.Marshal(text) // a string can always be marshaled
	return ID{Text: text, JSON: raw}
}
