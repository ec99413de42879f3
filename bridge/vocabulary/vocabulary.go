// Package vocabulary is the language that frontends speak over Socket.IO: which event name means what, where the ids stand in its arguments, what
// the bridge's own events are called, and how a row looks in their payload.
//
// Public chat frontends have no common vocabulary, but five families of it. Towards the bridge, every family is understood at the same time (no name
// means two things); from the bridge, one preset is spoken:
//
//	v, err := vocabulary.New(vocabulary.Options{Preset: "underscore", Shape: vocabulary.Superset})
//	intent := v.Intent("conversation:join")             // JoinConversation
//	id, ok := v.ConversationID(args)                    // from "42", 42, {"conversationId": "42"}, "conversation_42", …
//	for _, name := range v.Names(MessageCreated) { … }  // "new_message"
//
// A Vocabulary is compiled once and immutable: it may be used from any number of goroutines.
package vocabulary

import (
	"fmt"
	"slices"
	"strings"
)

// Options of a Vocabulary.
type Options struct {
	// Preset is the style of the names of outgoing events: underscore, colon, kebab or camel. Empty means underscore.
	Preset string
	// Shape is how a row stands in the payload of an event. Empty means Superset.
	Shape Shape
	// ConversationNoun and TenantNoun are the frontend's words (ticket, room; organization, workspace): `join_<noun>` is understood, ids are looked for
	// under `<noun>Id` and `<noun>_id`, and the tenant's id is sent under `<noun>Id`. Empty means conversation and tenant.
	ConversationNoun, TenantNoun string
	// ConversationRoom and TenantRoom are the templates of room names, such as `conversation:{id}`. A client that sends a whole room name in place of an
	// id is understood.
	ConversationRoom, TenantRoom string
}

// Vocabulary is a compiled Options.
type Vocabulary struct {
	opts             Options
	inbound          map[string]Intent
	names            [eventCount][]string
	conversationKeys []string
	tenantKeys       []string
	conversationPre  []string
	tenantPre        []string
	tenantKey        string
}

// Presets lists the names that Options.Preset takes.
func Presets() []string { return []string{"underscore", "colon", "kebab", "camel"} }

// New compiles a vocabulary. It fails for an unknown preset or shape, and where a noun makes one name mean two things.
func New(opts Options) (*Vocabulary, error) {
	if opts.Preset == "" {
		opts.Preset = "underscore"
	}
	if opts.Shape == "" {
		opts.Shape = Superset
	}
	if opts.ConversationNoun == "" {
		opts.ConversationNoun = "conversation"
	}
	if opts.TenantNoun == "" {
		opts.TenantNoun = "tenant"
	}
	if !slices.Contains(Shapes(), opts.Shape) {
		return nil, fmt.Errorf("vocabulary: no shape %q: want one of %v", opts.Shape, Shapes())
	}
	preset := slices.Index(Presets(), opts.Preset)
	if preset < 0 {
		return nil, fmt.Errorf("vocabulary: no preset %q: want one of %v", opts.Preset, Presets())
	}
	v := &Vocabulary{opts: opts, inbound: make(map[string]Intent), tenantKey: camelNoun(opts.TenantNoun) + "Id"}
	for i, row := range outbound {
		v.names[i] = strings.Fields(row[preset])
	}
	if err := v.compileInbound(); err != nil {
		return nil, err
	}
	v.compileIDs()
	return v, nil
}

// Names gives the names under which an outgoing event is sent, in order: typing that ended has two, and the order leaves no client style stuck.
func (v *Vocabulary) Names(e Event) []string { return v.names[e] }

// Intent tells what an incoming event means; None for a name that nobody claimed.
func (v *Vocabulary) Intent(event string) Intent { return v.inbound[event] }

// TenantKey is the payload key of the tenant's id: `<noun>Id`.
func (v *Vocabulary) TenantKey() string { return v.tenantKey }
