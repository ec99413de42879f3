package socketio

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/supabridge/supabridge/socketio/parser"
)

// Event is an event a client sent. Handlers may keep it.
type Event struct {
	// Name is the event's name.
	Name string
	// Args are the values sent along, each as JSON text that has been checked but not decoded. Where
	// the client sent bytes the text is a placeholder; see [Event.Bytes], [Event.Decode] and
	// [Event.Values].
	Args []json.RawMessage
	// Attachments are the bytes the client sent, as the placeholders number them.
	Attachments [][]byte
	// Socket is the client that sent it.
	Socket *Socket

	id    uint64
	wants bool
	acked atomic.Bool
	reply func(args json.RawMessage, attachments [][]byte) // to an event of another node; nil for one of a client
}

// WantsAck says whether the client waits for an acknowledgement.
func (e *Event) WantsAck() bool { return e.wants }

// Ack acknowledges the event with values, as [Socket.Emit] sends them. It returns false, and does
// nothing, if the client asked for no acknowledgement, has had one, or has gone, or if a value
// can't be encoded. Any goroutine may call it, also later.
func (e *Event) Ack(args ...any) bool {
	if !e.wants || !e.acked.CompareAndSwap(false, true) {
		return false
	}
	if e.reply != nil {
		r, err := begin(head{kind: parser.Ack}, nil, args)
		if err != nil {
			return false
		}
		e.reply(r.array(), r.binary)
		return true
	}
	ms, err := encode(
		head{kind: parser.Ack, codec: e.Socket.ns.srv.opts.Parser, namespace: e.Socket.ns.name, id: e.id, hasID: true},
		nil,
		args,
	)
	if err != nil {
		return false
	}
	return e.Socket.client.conn.Send(ms...) == nil
}

// Bytes returns argument i if the client sent bytes there, or nil.
func (e *Event) Bytes(i int) []byte {
	if i >= len(e.Args) {
		return nil
	}
	if n, ok := parser.Placeholder(e.Args[i]); ok && n >= 0 && n < len(e.Attachments) {
		return e.Attachments[n]
	}
	return nil
}

// Decode stores argument i in the value v points to, as json.Unmarshal does. Bytes the client sent,
// at any depth, go into a []byte. A missing argument is an error.
func (e *Event) Decode(i int, v any) error {
	if i >= len(e.Args) {
		return fmt.Errorf("decode argument %d of event %q: only %d were sent", i, e.Name, len(e.Args))
	}
	if err := decode(e.Args[i], e.Attachments, v); err != nil {
		return fmt.Errorf("decode argument %d of event %q: %w", i, e.Name, err)
	}
	return nil
}

func decode(a json.RawMessage, attachments [][]byte, v any) error {
	text, err := parser.Inline(a, attachments)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// Values returns the arguments in a form that [Socket.Emit] sends as they came: JSON text where the
// client sent no bytes, and []byte, or maps and slices with []byte in them, where it did.
func (e *Event) Values() []any { return values(e.Args, e.Attachments) }

func values(args []json.RawMessage, attachments [][]byte) []any {
	vs := make([]any, len(args))
	for i, a := range args {
		vs[i] = a
		if len(attachments) == 0 {
			continue
		}
		var v any
		if json.Unmarshal(a, &v) != nil { // the parser has checked it
			continue
		}
		if w, changed := fill(v, attachments); changed {
			vs[i] = w
		}
	}
	return vs
}

// fill replaces the placeholders in a decoded value by their bytes.
func fill(v any, attachments [][]byte) (filled any, changed bool) {
	switch v := v.(type) {
	case map[string]any:
		if v["_placeholder"] == true {
			n, ok := v["num"].(float64)
			if i := int(n); ok && i >= 0 && i < len(attachments) {
				return attachments[i], true
			}
		}
		for k, e := range v {
			w, c := fill(e, attachments)
			v[k] = w
			changed = changed || c
		}
		return v, changed
	case []any:
		for i, e := range v {
			w, c := fill(e, attachments)
			v[i] = w
			changed = changed || c
		}
		return v, changed
	}
	return v, false
}
