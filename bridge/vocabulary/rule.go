package vocabulary

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
)

// rule is one compiled config.OutRule: under which name an event is sent, to whom, and with what.
type rule struct {
	name         node
	literal      string // the name, where it has no variables
	to           Audience
	exceptSender bool
	when         []condition
	shape        int // in Shapes()
	pick         []string
	omit         []string
	rename       map[string]string
	add          []member
	payload      *node // nil: the shaped payload itself
	maps         []replacement
	args         []node // nil: the payload alone
	whole        bool   // the shaped payload is as its shape makes it, so that others share it
	shapes       bool   // it is sent, or part of what is sent
}

// condition holds where a column, or a field of the payload, has one of some values, as texts; null
// is "null".
type condition struct {
	variable *variable
	values   []string
}

// replacement replaces values at a path of the payload.
type replacement struct {
	path  []string
	table map[string]json.RawMessage
}

// compileOutbound compiles the presets and what the configuration puts in their place.
func (v *Vocabulary) compileOutbound() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(v.opts.Out)) {
		if !slices.Contains(Events(), name) {
			errs = append(
				errs,
				fmt.Errorf("vocabulary: out.%s: no such event: there are %s", name, strings.Join(Events(), ", ")),
			)
		}
	}
	for e := range eventCount {
		own, configured := v.opts.Out[e.String()]
		for _, s := range Styles() {
			from := own
			if !configured {
				from = preset(s, e)
			}
			for i, r := range from {
				compiled, err := v.compileRule(e, r)
				if err != nil && s == Styles()[0] { // each style would say it again
					errs = append(errs, fmt.Errorf("vocabulary: out.%s[%d]%s: %w", e, i, line(r.Line), err))
				}
				v.rules[s][e] = append(v.rules[s][e], compiled)
			}
		}
		v.shared[e] = configured
	}
	return errors.Join(errs...)
}

func line(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (line %d)", n)
}

func (v *Vocabulary) compileRule(e Event, from config.OutRule) (rule, error) {
	about := events[e]
	s := scope{row: about.row, user: about.user}
	r := rule{
		to:           about.to,
		exceptSender: about.exceptSender,
		shape:        slices.Index(Shapes(), v.opts.Shape),
		pick:         from.Pick,
		omit:         slices.Clone(from.Omit),
		rename:       from.Rename,
	}
	var err error
	if from.Event == "" {
		return r, fmt.Errorf("event: there is no name")
	}
	if slices.Contains(reserved, from.Event) {
		return r, fmt.Errorf("event: %s belongs to Socket.IO itself", from.Event)
	}
	if r.name, err = s.compileText(v.nouns.Replace(from.Event)); err != nil {
		return r, fmt.Errorf("event: %w", err)
	}
	if r.name.is == isLiteral {
		r.literal = r.name.text(nil)
	}
	if len(from.To) > 0 {
		if r.to, err = audience(about, from.To); err != nil {
			return r, fmt.Errorf("to: %w", err)
		}
	}
	switch from.Except {
	case "":
	case "sender":
		r.exceptSender = true
	case "nobody":
		r.exceptSender = false
	default:
		return r, fmt.Errorf("except: %q: want sender or nobody", from.Except)
	}
	if from.Shape != "" {
		if r.shape = slices.Index(Shapes(), Shape(from.Shape)); r.shape < 0 {
			return r, fmt.Errorf("shape: no shape %q: want one of %v", from.Shape, Shapes())
		}
	}
	s.payload = true
	if r.when, err = s.conditions(from.When); err != nil {
		return r, fmt.Errorf("when: %w", err)
	}
	s.payload = false
	if len(from.Add) > 0 {
		added, err := s.compile(from.Add)
		if err != nil {
			return r, fmt.Errorf("add: %w", err)
		}
		if added.is != isObject {
			return r, fmt.Errorf("add: want names and values")
		}
		r.add = added.members
		for _, m := range r.add {
			r.omit = append(r.omit, m.key)
		}
	}
	s.payload = true
	if len(from.Payload) > 0 {
		payload, err := s.compile(from.Payload)
		if err != nil {
			return r, fmt.Errorf("payload: %w", err)
		}
		r.payload = &payload
	}
	r.compileMaps(from.Map)
	for i, raw := range from.Args {
		arg, err := s.compile(raw)
		if err != nil {
			return r, fmt.Errorf("args[%d]: %w", i, err)
		}
		r.args = append(r.args, arg)
	}
	if len(from.Args) > 0 && len(from.Payload) > 0 {
		return r, fmt.Errorf("args: they stand in place of payload; give one of the two")
	}
	r.shapes = r.payload == nil && r.args == nil || r.payload != nil && r.payload.hasPayload() ||
		slices.ContainsFunc(r.args, func(n node) bool { return n.hasPayload() })
	r.whole = len(r.pick)+len(r.omit)+len(r.rename)+len(r.add) == 0
	return r, nil
}

// compileMaps puts tables where they belong: into the payload's template, else to be looked up in
// what is sent.
func (r *rule) compileMaps(tables map[string]map[string]json.RawMessage) {
	for path, table := range tables {
		steps := strings.Split(path, ".")
		if r.payload != nil {
			if n := r.payload.at(steps); n != nil {
				n.table = table
				continue
			}
		}
		r.maps = append(r.maps, replacement{steps, table})
	}
	slices.SortFunc(r.maps, func(a, b replacement) int { return slices.Compare(a.path, b.path) })
}

func (s scope) conditions(when map[string][]string) ([]condition, error) {
	var conditions []condition
	for name, values := range when {
		text := name
		if root, _, _ := strings.Cut(name, "."); !slices.Contains(
			[]string{"row", "payload", "conversation", "tenant", "user"},
			root,
		) {
			text = "payload." + name
		}
		v, err := s.variable(text)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, condition{v, values})
	}
	return conditions, nil
}

// reserved are the names that Socket.IO keeps for itself.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

var audiences = map[string]Audience{
	"conversation": ToConversation,
	"tenant":       ToTenant,
	"user":         ToUser,
	"socket":       ToSocket,
	"all":          ToAll,
}

func audience(about event, names []string) (Audience, error) {
	var to Audience
	for _, name := range names {
		a, ok := audiences[name]
		switch {
		case !ok:
			return 0, fmt.Errorf("%q: want conversation, tenant, user, socket or all", name)
		case about.to1 && a != ToSocket:
			return 0, fmt.Errorf("%s: %s goes to one socket", name, about.name)
		case !about.to1 && a == ToSocket:
			return 0, fmt.Errorf("socket: no single socket is meant by %s", about.name)
		case a == ToUser && !about.user:
			return 0, fmt.Errorf("user: %s is about no user", about.name)
		case a == ToConversation && about.to == ToTenant:
			return 0, fmt.Errorf("conversation: %s is about none", about.name)
		case a == ToTenant && about.user && about.to&ToTenant == 0:
			return 0, fmt.Errorf("tenant: of %s none is known", about.name)
		}
		to |= a
	}
	return to, nil
}

// holds tells whether a rule applies.
func (r *rule) holds(f *filling) bool {
	for _, c := range r.when {
		value := f.value(c.variable)
		text := row.Text(value)
		if len(value) == 0 || string(value) == "null" {
			text = "null"
		}
		if !slices.Contains(c.values, text) {
			return false
		}
	}
	return true
}

// change picks, leaves out, renames and adds fields of a shaped payload. What is no object stays as
// it is.
func (r *rule) change(shaped json.RawMessage, f *filling) json.RawMessage {
	object, err := row.Parse(shaped)
	if err != nil {
		return shaped
	}
	buf := append(make([]byte, 0, len(shaped)+64), '{')
	for _, c := range object.Columns {
		if len(r.pick) > 0 && !slices.Contains(r.pick, c.Name) || slices.Contains(r.omit, c.Name) {
			continue
		}
		name := c.Name
		if other, ok := r.rename[name]; ok {
			name = other
		}
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = append(appendQuoted(buf, name), ':')
		buf = append(buf, c.Value...)
	}
	for i := range r.add {
		if len(buf) > 1 {
			buf = append(buf, ',')
		}
		buf = append(buf, r.add[i].name...)
		buf = r.add[i].node.write(buf, f)
	}
	return append(buf, '}')
}

// replaceAt puts what a table has in place of the value at a path.
func replaceAt(raw json.RawMessage, path []string, table map[string]json.RawMessage) json.RawMessage {
	if len(path) == 0 {
		return translate(table, raw)
	}
	object, err := row.Parse(raw)
	if err != nil || !object.Has(path[0]) {
		return raw
	}
	buf := append(make([]byte, 0, len(raw)+16), '{')
	for i, c := range object.Columns {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(appendQuoted(buf, c.Name), ':')
		if c.Name == path[0] {
			buf = append(buf, replaceAt(c.Value, path[1:], table)...)
		} else {
			buf = append(buf, c.Value...)
		}
	}
	return append(buf, '}')
}
