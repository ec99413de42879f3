package record

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// profile is what is derived from what was seen. It belongs to one call of WriteProfile, which
// holds the recorder's mutex.
type profile struct {
	r             *Recorder
	words         *vocabulary.Vocabulary
	conversation  string // noun, "" for the default
	tenant        string
	style         vocabulary.Style
	conversations map[string]bool
	in            config.InRules
	usual         map[string][]string // by intent, where ids stand that the vocabulary finds by itself
	out           config.OutRules
	remarks       []string
}

// WriteProfile writes, as YAML, the configuration under which the bridge serves the frontend as far
// as was seen until now. Recording may go on.
func (r *Recorder) WriteProfile(w io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &profile{
		r:             r,
		conversations: make(map[string]bool),
		in:            make(config.InRules),
		usual:         make(map[string][]string),
		out:           make(config.OutRules),
	}
	if err := p.nouns(); err != nil {
		return err
	}
	p.inbound()
	p.chooseStyle()
	if r.answers == nil {
		p.outbound()
	}
	text, err := p.yaml()
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("record: write the profile: %w", err)
	}
	return nil
}

// compile makes the vocabulary of some nouns.
func compile(conversation, tenant string) (*vocabulary.Vocabulary, error) {
	d := config.Default()
	if conversation == "" {
		conversation = d.Vocabulary.ConversationNoun
	}
	if tenant == "" {
		tenant = d.Vocabulary.TenantNoun
	}
	return vocabulary.New(
		vocabulary.Options{
			ConversationNoun: conversation,
			TenantNoun:       tenant,
			ConversationRoom: d.Rooms.Conversation.Name,
			TenantRoom:       d.Rooms.Tenant.Name,
		},
	)
}

// nouns finds the frontend's words for a conversation and a tenant in names such as join_ticket,
// which one setting then covers.
func (p *profile) nouns() (err error) {
	if p.words, err = compile("", ""); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	for _, name := range p.r.emitted.names {
		w := words(name)
		if p.words.Intent(name) != vocabulary.None || len(w) != 2 || !has(w, "join", "leave") {
			continue
		}
		noun := w[0]
		if noun == "join" || noun == "leave" {
			noun = w[1]
		}
		conversation, tenant := noun, p.tenant
		switch {
		case has(w, tenantWords...):
			conversation, tenant = p.conversation, noun
		case has(w, ownWords...):
			continue
		}
		if next, err := compile(conversation, tenant); err == nil && next.Intent(name) != vocabulary.None {
			p.words, p.conversation, p.tenant = next, conversation, tenant
		}
	}
	return nil
}

// Intents whose events name a conversation, or a tenant.
var (
	ofConversation = []string{"join", "leave", "typing_start", "typing_stop", "typing", "mark_read", "send_message"}
	ofTenant       = []string{"join_tenant", "leave_tenant"}
)

// inbound derives what the configuration has to say of what the frontend emits.
func (p *profile) inbound() {
	intents := make(map[string]string) // by event
	for _, name := range p.r.emitted.names {
		seen := p.r.emitted.events[name]
		intent, known := "", p.words.Intent(name)
		if known != vocabulary.None {
			intent = known.String()
		} else if guessed, ok := guessIntent(name, seen.samples); ok {
			intent = guessed
			rule := p.in[intent]
			rule.Events = append(rule.Events, name)
			p.in[intent] = rule
			p.remark("%s is taken for %s, by its name.", name, intent)
		} else {
			p.remark("The frontend emits %s (%s), which the bridge does not understand: name it under vocabulary.in.INTENT.events.", name, strings.Join(seen.forms, " | "))
			continue
		}
		intents[name] = intent
	}
	for _, joins := range []bool{true, false} { // what is joined tells which ids are conversations
		for _, name := range p.r.emitted.names {
			if intent, ok := intents[name]; ok && joins == (intent == "join") {
				p.places(intent, p.r.emitted.events[name].samples)
			}
		}
	}
	for intent, rule := range p.in {
		if len(rule.ID) > 0 {
			rule.ID = append(rule.ID, p.usual[intent]...)
			p.in[intent] = rule
		}
	}
	for _, name := range p.r.emitted.names {
		if intent, ok := intents[name]; ok {
			p.details(name, intent)
		}
	}
	if hasIntent(intents, "send_message") {
		p.remark(
			"The frontend sends messages over its socket: sending.enabled lets the bridge write them, with the user's own rights.",
		)
	}
}

func hasIntent(intents map[string]string, intent string) bool {
	for _, other := range intents {
		if other == intent {
			return true
		}
	}
	return false
}

// places finds where the id stands in the events of an intent. Selectors replace those the
// vocabulary has, so once one is needed all are named.
func (p *profile) places(intent string, samples [][]json.RawMessage) {
	nouns, known := conversationWords, p.conversations
	find := p.words.ConversationID
	switch {
	case slices.Contains(ofTenant, intent):
		nouns, known, find = tenantWords, p.r.tenants, p.words.TenantID
	case !slices.Contains(ofConversation, intent):
		return
	}
	rule := p.in[intent]
	for _, args := range samples {
		if len(args) == 0 {
			continue
		}
		usual, ok := find(vocabulary.JoinConversation, args, nil)
		at, found := idAt([][]json.RawMessage{args}, known, nouns)
		if !found {
			continue
		}
		id := row.Text(valueAt(args, at))
		if ok && (usual.Text == id || !known[id]) {
			id = usual.Text // where the vocabulary looks by itself
			if at, ok := idAt([][]json.RawMessage{args}, map[string]bool{id: true}, nil); ok &&
				!slices.Contains(p.usual[intent], at) {
				p.usual[intent] = append(p.usual[intent], at)
			}
		} else if !slices.Contains(rule.ID, at) {
			rule.ID = append(rule.ID, at)
		}
		if intent == "join" && len(p.conversations) < maxKnown {
			p.conversations[id] = true
		}
	}
	if len(rule.ID) > 0 {
		p.in[intent] = rule
	}
}

// valueAt follows a selector of an argument.
func valueAt(args []json.RawMessage, selector string) json.RawMessage {
	steps := strings.Split(selector, ".")
	var at json.RawMessage
	for i, arg := range args {
		if fmt.Sprintf("$%d", i) == steps[0] {
			at = arg
		}
	}
	for _, step := range steps[1:] {
		object, err := row.Parse(at)
		if err != nil {
			return nil
		}
		at = object.Get(step)
	}
	return at
}

// details finds what beside the id an intent needs, and how its ack is answered.
func (p *profile) details(name, intent string) {
	rule, samples := p.in[intent], p.r.emitted.events[name].samples
	for _, args := range samples {
		switch intent {
		case "typing":
			if at := boolAt(args); at != nil {
				selector := "$" + strings.Join(at, ".")
				if usual := []string{"$0.isTyping", "$0.is_typing", "$0.typing", "$1"}; !slices.Contains(usual, selector) &&
					!slices.Contains(rule.State, selector) {
					rule.State = append(rule.State, selector)
				}
			}
		case "set_status":
			if _, ok := p.words.Status(name, args, nil); !ok {
				p.remark("In %s no status was found: vocabulary.in.set_status.state says where it stands.", name)
			}
		case "send_message":
			if _, ok := p.words.MessageText(args, nil); !ok {
				if at, ok := longestText(args); ok && !slices.Contains(rule.Text, at) {
					rule.Text = append(rule.Text, at)
				}
			}
		}
	}
	if answers := p.r.acked.events[name]; answers != nil && rule.Ack == nil && p.r.answers == nil {
		rule.Ack = p.ack(name, answers.samples)
	}
	if rule.Events != nil || rule.ID != nil || rule.State != nil || rule.Text != nil || rule.Ack != nil {
		p.in[intent] = rule
	}
}

// usualAnswer are the fields that every ack has.
var usualAnswer = []string{"success", "ok", "error", "code", "conversationId"}

// ack writes the template of an answer where the frontend's own server has other fields than the
// bridge.
func (p *profile) ack(name string, samples [][]json.RawMessage) json.RawMessage {
	for _, args := range samples {
		if len(args) != 1 {
			continue
		}
		object, err := row.Parse(args[0])
		if err != nil || object.Has("error") ||
			!slices.ContainsFunc(object.Columns, func(c row.Column) bool { return !slices.Contains(usualAnswer, c.Name) }) {
			continue
		}
		var fields []string
		for _, c := range object.Columns {
			value := c.Value
			switch text := row.Text(value); {
			case p.conversations[text]:
				value = json.RawMessage(`"${conversation.id}"`)
			case p.r.tenants[text]:
				value = json.RawMessage(`"${tenant.id}"`)
			case len(value) == 0 || value[0] == '{' || value[0] == '[' || len(text) > 24 || strings.ContainsAny(text,
				"0123456789@ "):
				p.remark("In the answer to %s the field %s has no counterpart: it is left out.", name, c.Name)
				continue
			}
			fields = append(fields, marshal(c.Name)+":"+string(value))
		}
		return json.RawMessage("{" + strings.Join(fields, ",") + "}")
	}
	return nil
}

func longestText(args []json.RawMessage) (selector string, ok bool) {
	longest := -1
	for i, arg := range args {
		walk(arg, []string{fmt.Sprintf("$%d", i)}, 0, func(path []string, value json.RawMessage) {
			if value[0] == '"' && len(value) > longest && !has(words(path[len(path)-1]), "id") {
				selector, longest = strings.Join(path, "."), len(value)
			}
		})
	}
	return selector, longest >= 0
}

// chooseStyle finds the preset that says most of what was heard, else the style of what the
// frontend emits.
func (p *profile) chooseStyle() {
	score := make(map[vocabulary.Style]int)
	for _, name := range p.r.emitted.names {
		if style, ok := p.words.Reveals(name); ok {
			score[style]++
		}
	}
	for _, style := range vocabulary.Styles() {
		for i := range vocabulary.Events() {
			for _, said := range p.words.Say(style, &vocabulary.Occasion{Event: vocabulary.Event(i)}) {
				if p.r.heard.events[said.Name] != nil {
					score[style] += 3
				}
			}
		}
	}
	p.style = vocabulary.StyleUnderscore
	for _, style := range vocabulary.Styles() {
		if score[style] > score[p.style] {
			p.style = style
		}
	}
}

// yaml writes the profile.
func (p *profile) yaml() ([]byte, error) {
	words := []any{"preset", p.style.String()}
	if len(p.r.heard.names) > 0 && p.r.answers == nil {
		words = append(words, "dialect", "fixed")
	}
	if p.conversation != "" {
		words = append(words, "conversation_noun", p.conversation)
	}
	if p.tenant != "" {
		words = append(words, "tenant_noun", p.tenant)
	}
	if len(p.in) > 0 {
		words = append(words, "in", p.in)
	}
	if len(p.out) > 0 {
		words = append(words, "out", p.out)
	}
	var document []any
	var io []any
	if len(p.r.paths) > 0 {
		io = append(io, "paths", p.r.paths)
	}
	if len(p.r.namespaces) > 0 {
		io = append(io, "namespaces", p.r.namespaces)
	}
	if len(p.r.origins) > 0 {
		io = append(io, "cors", ordered{"origins", p.r.origins})
	}
	if io != nil {
		document = append(document, "socketio", ordered(io))
	}
	if tokens := p.tokens(); len(tokens) > 0 {
		document = append(document, "auth", ordered{"credentials", tokens})
	} else {
		p.remark("No token was seen. The bridge needs one to know who a browser is; for trying it out alone there is auth.insecure_dev.")
	}
	document = append(document, "vocabulary", ordered(words))
	node, err := ordered(document).node()
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	text.WriteString(
		"# What a frontend was seen to say and hear. Read it through: supabridge vocabulary check --config THIS.\n",
	)
	for _, name := range p.r.emitted.names {
		e := p.r.emitted.events[name]
		fmt.Fprintf(
			&text,
			"# emits  %s%s  %s\n",
			plain(name),
			map[bool]string{true: " (ack)"}[e.ack],
			plain(strings.Join(e.forms, " | ")),
		)
	}
	for _, name := range p.r.heard.names {
		fmt.Fprintf(&text, "# hears  %s  %s\n", plain(name), plain(strings.Join(p.r.heard.events[name].forms, " | ")))
	}
	for _, remark := range p.remarks {
		text.WriteString("# " + plain(remark) + "\n")
	}
	var body strings.Builder
	encoder := yaml.NewEncoder(&body)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return nil, err
	}
	return []byte(text.String() + body.String()), encoder.Close()
}

// tokens are the places of credentials, the one that is waited for last.
func (p *profile) tokens() []string {
	tokens := slices.Clone(p.r.tokens)
	if len(tokens) == 0 &&
		slices.ContainsFunc(
			p.r.emitted.names,
			func(name string) bool { return p.words.Intent(name) == vocabulary.RenewToken },
		) {
		tokens = append(tokens, "event")
	}
	return tokens
}

// plain keeps what others wrote on its line of a comment.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0xfeff {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
}

// ordered is a mapping in order: names and values in turn.
type ordered []any

func (o ordered) node() (*yaml.Node, error) {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(o); i += 2 {
		name := &yaml.Node{Kind: yaml.ScalarNode, Value: o[i].(string)}
		var value *yaml.Node
		if inner, ok := o[i+1].(ordered); ok {
			var err error
			if value, err = inner.node(); err != nil {
				return nil, err
			}
		} else {
			text, err := json.Marshal(o[i+1])
			if err != nil {
				return nil, err
			}
			var document yaml.Node
			if err := yaml.Unmarshal(text, &document); err != nil { // JSON is YAML
				return nil, err
			}
			value = document.Content[0]
			block(value, 0)
		}
		mapping.Content = append(mapping.Content, name, value)
	}
	return mapping, nil
}

// block has intents, events and their rules on lines of their own, and each rule on one. Quotes are
// for what needs them.
func block(n *yaml.Node, depth int) {
	if n.Kind == yaml.ScalarNode || n.Kind == yaml.MappingNode && depth == 0 || n.Kind == yaml.SequenceNode && depth == 1 {
		n.Style = 0
	}
	for _, child := range n.Content {
		block(child, depth+1)
	}
}
