package vocabulary

import (
	"encoding/json"
	"slices"
)

// Frontends spell the name of an id in many ways: conversationId, conversation_id, ConversationID,
// conversation-ID. A spelling stands for all of them: names are alike where they have the same
// letters and digits, whatever the case of the letters and whatever underscores and hyphens are
// between them. So senderId is never taken for an id of a conversation: its letters differ.

// synonyms are the nouns that frontends use for a conversation beside the configured one, in the
// order in which their ids count. channel, group and session aren't among them: they often are
// something else, such as the telephone number that received a message.
var synonyms = []string{"conversation", "convo", "conv", "room", "chat", "chat_room", "thread", "dialog", "ticket"}

// idsOf returns the places of a noun's id in the first argument: the usual spellings first, then
// any.
func idsOf(noun string) []selector {
	camel := camelNoun(noun) + "Id"
	return []selector{
		{from: "$", path: []string{camel}},
		{from: "$", path: []string{noun + "_id"}},
		{from: "$", path: []string{camel}, alike: true},
	}
}

// places returns where the id of any of the nouns may stand, in the order in which they count: the
// first argument itself, an id by its noun, what the further names say, and last a field with the
// plain name id, which may be the id of anything.
func places(nouns []string, further ...string) []selector {
	list := []selector{{from: "$"}}
	for _, noun := range dedupe(nouns...) {
		list = append(list, idsOf(noun)...)
	}
	for _, name := range further {
		list = append(list, selector{from: "$", path: []string{name}},
			selector{from: "$", path: []string{name}, alike: true})
	}
	for _, name := range []string{"id", "ID", "Id"} {
		list = append(list, selector{from: "$", path: []string{name}})
	}
	return list
}

// alike reports whether two names are spellings of one.
func alike(a, b string) bool {
	i, j := 0, 0
	for {
		for i < len(a) && (a[i] == '_' || a[i] == '-') {
			i++
		}
		for j < len(b) && (b[j] == '_' || b[j] == '-') {
			j++
		}
		if i == len(a) || j == len(b) {
			return i == len(a) && j == len(b)
		}
		if lower(a[i]) != lower(b[j]) {
			return false
		}
		i, j = i+1, j+1
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// fieldsAlike returns the values of the first argument whose names are spellings of one of the
// names: by the names' order, and under each name by the order in which they were sent.
func fieldsAlike(args []json.RawMessage, names ...string) []json.RawMessage {
	l := looking{args: args}
	if !l.open(0) {
		return nil
	}
	var values []json.RawMessage
	for _, name := range names {
		for _, c := range l.row.Columns {
			if alike(c.Name, name) && len(c.Value) > 0 {
				values = append(values, c.Value)
			}
		}
	}
	return slices.Clip(values)
}
