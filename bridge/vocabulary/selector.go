package vocabulary

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
)

// Speaker is what is known of a client beside an event's arguments. Selectors that name these
// places ask it.
type Speaker interface {
	// Auth gives the object the client connected with, nil if none.
	Auth() json.RawMessage
	// Query, Header and Cookie give what the connecting request had under a name, "" if nothing.
	Query(name string) string
	Header(name string) string
	Cookie(name string) string
	// Claims gives the claims of the client's token as an object, nil if there is no verified one.
	Claims() json.RawMessage
}

// understanding is what the configuration says of one intent.
type understanding struct {
	ids   []selector // nil: those of the vocabulary
	state []selector // nil: the usual ones
	texts []selector // likewise, of a message that is sent
	ack   *node      // nil: the usual one
}

// selector is a place where a value may stand.
type selector struct {
	from    string // "$", auth, query, header, cookie, claims, or "" for a literal
	index   int
	path    []string
	literal json.RawMessage
	alike   bool // the field may be spelled otherwise, see alike; only an id in it counts
}

// maxIndex bounds the argument that a selector may name.
const maxIndex = 15

func parseSelector(text string) (selector, error) {
	steps := strings.Split(text, ".")
	if slices.Contains(steps, "") {
		return selector{}, fmt.Errorf("selector %q: a name is missing", text)
	}
	switch head, rest := steps[0], steps[1:]; {
	case strings.HasPrefix(head, "$"):
		index, err := strconv.Atoi(head[1:])
		if err != nil || index < 0 || index > maxIndex {
			return selector{}, fmt.Errorf("selector %q: want $0 to $%d, for an argument's place", text, maxIndex)
		}
		return selector{from: "$", index: index, path: rest}, nil
	case head == "auth" || head == "claims":
		if len(rest) == 0 {
			return selector{}, fmt.Errorf("selector %q: want the name of a field after it", text)
		}
		return selector{from: head, path: rest}, nil
	case head == "query" || head == "header" || head == "cookie":
		if len(rest) == 0 {
			return selector{}, fmt.Errorf("selector %q: want a name after it", text)
		}
		return selector{from: head, path: []string{strings.Join(rest, ".")}}, nil
	case text == "true" || text == "false":
		return selector{literal: json.RawMessage(text)}, nil
	}
	return selector{}, fmt.Errorf(
		"selector %q: want $0, $1.field, auth.field, claims.field, query.name, header.name, cookie.name, true or false",
		text,
	)
}

func parseSelectors(texts []string) ([]selector, error) {
	list := make([]selector, 0, len(texts))
	for _, text := range texts {
		s, err := parseSelector(text)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// compileUnderstanding compiles what the configuration says of an intent beside its names.
func (v *Vocabulary) compileUnderstanding(intent Intent, in config.InRule) (err error) {
	u := &understanding{}
	if len(in.ID) > 0 {
		if u.ids, err = parseSelectors(in.ID); err != nil {
			return fmt.Errorf("id: %w", err)
		}
	}
	if len(in.State) > 0 {
		if intent != Typing && intent != SetStatus {
			return fmt.Errorf("state: only typing and set_status have one")
		}
		if u.state, err = parseSelectors(in.State); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	if len(in.Text) > 0 {
		if intent != SendMessage {
			return fmt.Errorf("text: only send_message has one")
		}
		if u.texts, err = parseSelectors(in.Text); err != nil {
			return fmt.Errorf("text: %w", err)
		}
	}
	if len(in.Ack) > 0 {
		ack, err := scope{user: true}.compile(in.Ack)
		if err != nil {
			return fmt.Errorf("ack: %w", err)
		}
		u.ack = &ack
	}
	v.understanding[intent] = u
	return nil
}

// looking finds values in one event. Each argument that is an object is taken apart once.
type looking struct {
	args []json.RawMessage
	from Speaker
	at   int // of the argument taken apart
	row  row.Row
	done bool
}

// find gives the value at a place; nil where there is none.
func (l *looking) find(s *selector) json.RawMessage {
	switch s.from {
	case "":
		return s.literal
	case "$":
		return l.argument(s)
	}
	if l.from == nil {
		return nil
	}
	switch s.from {
	case "auth":
		return inside(l.from.Auth(), s.path)
	case "claims":
		return inside(l.from.Claims(), s.path)
	}
	var text string
	switch s.from {
	case "query":
		text = l.from.Query(s.path[0])
	case "header":
		text = l.from.Header(s.path[0])
	case "cookie":
		text = l.from.Cookie(s.path[0])
	}
	if text == "" {
		return nil
	}
	return appendQuoted(nil, text)
}

func (l *looking) argument(s *selector) json.RawMessage {
	if s.index >= len(l.args) {
		return nil
	}
	raw := l.args[s.index]
	if len(s.path) == 0 {
		return raw
	}
	if !l.open(s.index) {
		return nil
	}
	if s.alike {
		for _, c := range l.row.Columns {
			if !alike(c.Name, s.path[0]) {
				continue
			}
			if _, ok := scalarID(c.Value); ok {
				return c.Value
			}
		}
		return nil
	}
	return inside(l.row.Get(s.path[0]), s.path[1:])
}

// open takes an argument apart. It returns false where that is no object.
func (l *looking) open(index int) bool {
	if index >= len(l.args) {
		return false
	}
	raw := l.args[index]
	if len(raw) == 0 || raw[0] != '{' {
		return false
	}
	if !l.done || l.at != index {
		var err error
		if l.row, err = row.Parse(raw); err != nil {
			l.row = row.Row{}
		}
		l.at, l.done = index, true
	}
	return true
}
