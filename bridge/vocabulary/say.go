package vocabulary

import (
	"encoding/json"

	"github.com/supabridge/supabridge/bridge/row"
)

// Occasion is something that happened and is told. Whoever makes it owns it: it keeps payloads that
// were built for it, so only one goroutine at a time may have it said.
type Occasion struct {
	Event Event
	// Row is what it is about; templates take columns from it. With Nested it is the payload too, and
	// Nested what the shapes Superset and Wrapped call it within (`message`, `conversation`).
	Row    row.Row
	Nested string
	// Fields are what the payload has beside the row, or without Nested all of it.
	Fields []Extra
	// List is the payload where that is no object.
	List json.RawMessage
	// What variables stand for; the zero ID where it is not known.
	Conversation, Tenant, User, UserName ID

	built [shapeCount]json.RawMessage
	fits  bool     // fit has been here and left something out
	left  []string // the columns that it left out
}

// Utterance is one event on the wire.
type Utterance struct {
	// Name is the event's name.
	Name string
	// Args are its arguments, JSON each.
	Args []json.RawMessage
	// To is to whom it goes.
	To Audience
	// ExceptSender leaves out whose doing it is.
	ExceptSender bool
}

// Say gives what an occasion is in a style, in order; nothing where the style has no name for it.
func (v *Vocabulary) Say(s Style, o *Occasion) []Utterance {
	rules := v.rules[s][o.Event]
	if len(rules) == 0 {
		return nil
	}
	o.fit(v.opts.MaxRow)
	said := make([]Utterance, 0, len(rules))
	for i := range rules {
		r := &rules[i]
		f := filling{o: o}
		if len(r.when) > 0 && !r.holds(&f) {
			continue
		}
		if r.shapes {
			f.shaped = v.shape(r.shape, o)
			if !r.whole {
				f.shaped = r.change(f.shaped, &f)
			}
		}
		name := r.literal
		if name == "" {
			name = r.name.text(&f)
		}
		said = append(said, Utterance{Name: name, Args: r.arguments(&f), To: r.to, ExceptSender: r.exceptSender})
	}
	return said
}

// Reaches gives whom an event goes to in a style whatever it is about.
func (v *Vocabulary) Reaches(s Style, e Event) Audience {
	var to Audience
	for i := range v.rules[s][e] {
		if r := &v.rules[s][e][i]; len(r.when) == 0 {
			to |= r.to
		}
	}
	return to
}

// SaysAlike tells whether every style says an event the same way: as the configuration has it.
func (v *Vocabulary) SaysAlike(e Event) bool { return v.shared[e] }

// arguments builds what an event is sent with.
func (r *rule) arguments(f *filling) []json.RawMessage {
	if r.args != nil {
		if len(r.maps) > 0 {
			f.shaped = r.replaced(f.shaped)
		}
		args := make([]json.RawMessage, len(r.args))
		for i := range r.args {
			args[i] = r.args[i].write(nil, f)
		}
		return args
	}
	payload := f.shaped
	if r.payload != nil {
		payload = r.payload.write(make([]byte, 0, len(f.shaped)+64), f)
	}
	return []json.RawMessage{r.replaced(payload)}
}

func (r *rule) replaced(payload json.RawMessage) json.RawMessage {
	for _, m := range r.maps {
		payload = replaceAt(payload, m.path, m.table)
	}
	return payload
}
