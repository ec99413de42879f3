package vocabulary

import (
	"encoding/json"
	"strings"
	"unicode"
)

// Status reads how a user says to be from a SetStatus event: the event's name says it, or `status`, `state` or `presence` of the first argument, or that
// argument, or the second, as a word of letters of at most 32 bytes. A boolean there means online
// or offline. ok is false where nothing says it.
func (v *Vocabulary) Status(event string, args []json.RawMessage, from Speaker) (word string, ok bool) {
	for word, names := range statusNames {
		for name := range strings.FieldsSeq(names) {
			if name == event {
				return word, true
			}
		}
	}
	l := looking{args: args, from: from}
	places := v.status
	if u := v.understanding[SetStatus]; u != nil && u.state != nil {
		places = u.state
	}
	for i := range places {
		raw := l.find(&places[i])
		switch string(raw) {
		case "true":
			return "online", true
		case "false":
			return "offline", true
		}
		if len(raw) == 0 || raw[0] != '"' {
			continue
		}
		if id, ok := scalarID(raw); ok && isWord(id.Text) {
			return strings.ToLower(id.Text), true
		}
	}
	return "", false
}

// maxWord bounds a status, in bytes.
const maxWord = 32

// isWord tells a status from an id that stands where one could.
func isWord(text string) bool {
	return len(text) <= maxWord &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !strings.ContainsRune(" _-", r) })
}

// MessageText reads the text of a SendMessage event: `content`, `text`, `body` or `message` of the first argument, or of a message within it, or the second
// argument, or where the configuration says. ok is false where there is none, or it is empty.
func (v *Vocabulary) MessageText(args []json.RawMessage, from Speaker) (text string, ok bool) {
	l := looking{args: args, from: from}
	places := v.texts
	if u := v.understanding[SendMessage]; u != nil && u.texts != nil {
		places = u.texts
	}
	for i := range places {
		raw := l.find(&places[i])
		if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil && text != "" {
			return text, true
		}
	}
	return "", false
}

// SentField gives a column's value of a SendMessage event, under the column's name or that in
// camelCase, in the first argument or the message within it.
func (v *Vocabulary) SentField(args []json.RawMessage, column string) (json.RawMessage, bool) {
	if len(args) == 0 {
		return nil, false
	}
	for _, path := range [][]string{{column}, {v.camel(column)}, {"message", column}, {"message", v.camel(column)}} {
		if raw := inside(args[0], path); raw != nil {
			return raw, true
		}
	}
	return nil, false
}
