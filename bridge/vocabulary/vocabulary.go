// Package vocabulary is the language that frontends speak over Socket.IO: which event name means
// what, where the ids stand in its arguments, what the bridge's own events are called, and how a
// row looks in their payload.
//
// Public chat frontends have no common vocabulary, but five families of it. Towards the bridge,
// every family is understood at the same time (no name means two things); from the bridge, each
// socket hears the style it speaks itself, or the preset:
//
//	v, err := vocabulary.New(vocabulary.Options{Preset: "underscore", Shape: vocabulary.Superset})
//	intent := v.Intent("conversation:join")             // JoinConversation
//	style, ok := v.Reveals("conversation:join")         // StyleColon
//	id, ok := v.ConversationID(intent, args, nil)       // from "42", 42, {"conversationId": "42"}, "conversation_42", …
//	for _, u := range v.Say(style, occasion) { … }      // u.Name is "message:new", u.Args what is sent with it
//
// A Vocabulary is compiled once and says the same ever after: it may be used from any number of
// goroutines.
package vocabulary

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/supabridge/supabridge/config"
)

// Options of a Vocabulary.
type Options struct {
	// Preset is the style of outgoing events for sockets that have shown no style: one of Presets.
	// Empty means underscore.
	Preset string
	// Shape is how a row stands in the payload of an event. Empty means Superset.
	Shape Shape
	// MaxRow bounds the row in an event, in bytes: a larger one goes without its largest columns,
	// and names them in _truncated. Zero means DefaultMaxRow.
	MaxRow int
	// ConversationNoun and TenantNoun are the frontend's words (ticket, room; organization,
	// workspace):`join_<noun>` is understood, ids are looked for
	// under `<noun>Id` and `<noun>_id`, and the tenant's id is sent under `<noun>Id`. Empty means conversation and tenant.
	ConversationNoun, TenantNoun string
	// ConversationRoom and TenantRoom are the templates of room names, such as `conversation:{id}`. A client that sends a whole room name in place of an
	// id is understood; ConversationParse and TenantParse are further names it may send.
	ConversationRoom, TenantRoom   string
	ConversationParse, TenantParse []string
	// Accept lists the presets whose names are understood, or All, or Tutorial. Empty means All.
	Accept []string
	// ConversationIDs and TenantIDs are selectors of the places where ids stand, the first hit
	// counting. Empty means those that frontends are known to use.
	ConversationIDs, TenantIDs []string
	// In adds to what is understood, by intent; Out stands in place of what the presets send, by
	// event.
	In  config.InRules
	Out config.OutRules
}

// Vocabulary is a compiled Options.
type Vocabulary struct {
	opts      Options
	preset    Style
	nouns     *strings.Replacer
	tenantKey string

	inbound                        map[string]claim
	understanding                  [intentCount]*understanding
	conversationIDs, tenantIDs     []selector
	state, status, texts           []selector
	conversationForms, tenantForms []form

	rules  [styleCount][eventCount][]rule
	shared [eventCount]bool

	camels     sync.Map // camelCase by column
	camelCount atomic.Int32
}

// New compiles a vocabulary. It fails for an unknown preset or shape, where a noun or an alias
// makes one name mean two things, and for a rule or selector that can't be understood; the error
// names the key and line of each.
func New(opts Options) (*Vocabulary, error) {
	if opts.Preset == "" {
		opts.Preset = "underscore"
	}
	if opts.Shape == "" {
		opts.Shape = Superset
	}
	if opts.MaxRow == 0 {
		opts.MaxRow = DefaultMaxRow
	}
	if opts.ConversationNoun == "" {
		opts.ConversationNoun = "conversation"
	}
	if opts.TenantNoun == "" {
		opts.TenantNoun = "tenant"
	}
	if len(opts.Accept) == 0 {
		opts.Accept = []string{All}
	}
	if !slices.Contains(Shapes(), opts.Shape) {
		return nil, fmt.Errorf("vocabulary: no shape %q: want one of %v", opts.Shape, Shapes())
	}
	preset := slices.Index(Presets(), opts.Preset)
	if preset < 0 {
		return nil, fmt.Errorf("vocabulary: no preset %q: want one of %v", opts.Preset, Presets())
	}
	v := &Vocabulary{
		opts:      opts,
		preset:    Style(preset),
		inbound:   make(map[string]claim),
		tenantKey: camelNoun(opts.TenantNoun) + "Id",
	}
	v.nouns = strings.NewReplacer("{tenant}", opts.TenantNoun, "{Tenant}", upperNoun(opts.TenantNoun),
		"{conversation}", opts.ConversationNoun, "{Conversation}", upperNoun(opts.ConversationNoun))
	if err := errors.Join(v.compileInbound(), v.compileIDs(), v.compileOutbound()); err != nil {
		return nil, err
	}
	return v, nil
}

// Preset is the style of sockets that have not shown theirs.
func (v *Vocabulary) Preset() Style { return v.preset }

// Intent tells what an incoming event means; None for a name that nobody claimed.
func (v *Vocabulary) Intent(event string) Intent { return v.inbound[event].intent }

// TenantKey is the payload key of the tenant's id: `<noun>Id`.
func (v *Vocabulary) TenantKey() string { return v.tenantKey }
