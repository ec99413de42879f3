package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// head is what comes before the values of a packet.
type head struct {
	kind      parser.Type // Event or Ack; becomes its binary form if there are attachments
	namespace string
	id        uint64
	hasID     bool
	codec     Parser // nil: the default
	plain     bool   // not to be compressed
}

// encoding is an event or an ack on its way to becoming messages.
type encoding struct {
	text   []byte // up to the last value, without the closing bracket
	start  int    // where the packet begins in text
	args   int    // where the array begins
	binary [][]byte
	codec  Parser
	plain  bool
}

// array returns the values as a JSON array, a copy.
func (e encoding) array() json.RawMessage {
	return append(append(json.RawMessage(nil), e.text[e.args:]...), ']')
}

// encode makes the messages of an event or an ack: a text message and one for each attachment.
// event is the name, nil for an ack.
func encode(h head, event *string, args []any) ([]*engineio.Message, error) {
	e, err := begin(h, event, args)
	if err != nil {
		return nil, err
	}
	return e.finish(""), nil
}

// begin encodes all but the end.
func begin(h head, event *string, args []any) (encoding, error) {
	attachments := 0
	for _, a := range args {
		attachments += countBinary(a)
	}
	if attachments > 0 {
		h.kind += parser.BinaryEvent - parser.Event
	}
	b := engineio.TextBuffer(sizeHint(args))
	e := encoding{
		start: len(b),
		text:  parser.AppendHeader(b, h.kind, attachments, h.namespace, h.id, h.hasID),
		codec: h.codec,
		plain: h.plain,
	}
	e.args = len(e.text)
	e.text = append(e.text, '[')
	if event != nil {
		e.text = parser.AppendString(e.text, *event)
	}
	for i, a := range args {
		if i > 0 || event != nil {
			e.text = append(e.text, ',')
		}
		var err error
		if e.text, err = appendValue(e.text, a, &e.binary); err != nil {
			if event != nil {
				return encoding{}, fmt.Errorf("encode argument %d of event %q: %w", i, *event, err)
			}
			return encoding{}, fmt.Errorf("encode argument %d of an acknowledgement: %w", i, err)
		}
	}
	if e.codec != nil { // what it can't encode has to be known here
		if _, err := transcode(e.codec, append(e.text[e.start:len(e.text):len(e.text)], ']'), e.binary); err != nil {
			return encoding{}, fmt.Errorf("encode with the parser of the options: %w", err)
		}
	}
	return e, nil
}

// transcode makes the message that another parser has for a packet.
func transcode(codec Parser, text []byte, binary [][]byte) (*engineio.Message, error) {
	d := parser.Decoder{MaxAttachments: max(1, len(binary))}
	p, err := d.Text(text)
	for _, a := range binary {
		if err != nil {
			break
		}
		p, err = d.Attachment(a)
	}
	if err != nil {
		return nil, err
	}
	data, err := codec.Encode(p)
	if err != nil {
		return nil, err
	}
	return engineio.NewBinary(data), nil
}

// finish makes the messages. offset, unless it is empty, is added as the last value of an event.
func (e encoding) finish(offset string) []*engineio.Message {
	ms := e.messages(offset)
	if e.plain {
		for i, m := range ms {
			ms[i] = m.Plain()
		}
	}
	return ms
}

// messages is finish for messages that may be compressed.
func (e encoding) messages(offset string) []*engineio.Message {
	b := e.text
	if offset != "" {
		b = parser.AppendString(append(b, ','), offset)
	}
	b = append(b, ']')
	if e.codec != nil {
		if m, err := transcode(e.codec, b[e.start:], e.binary); err == nil { // begin has tried it
			return []*engineio.Message{m}
		}
		return nil
	}
	ms := make([]*engineio.Message, 1, 1+len(e.binary))
	ms[0] = engineio.FinishText(b)
	for _, a := range e.binary {
		ms = append(ms, engineio.NewBinary(a))
	}
	return ms
}

// sizeHint guesses how many bytes of JSON args make.
func sizeHint(args []any) int {
	n := 64
	for _, a := range args {
		switch a := a.(type) {
		case json.RawMessage:
			n += len(a) + 1
		case string:
			n += len(a) + 3
		default:
			n += 64
		}
	}
	return n
}

// countBinary returns how many attachments appendValue takes from v.
func countBinary(v any) int {
	n := 0
	switch v := v.(type) {
	case []byte:
		return 1
	case []any:
		for _, e := range v {
			n += countBinary(e)
		}
	case map[string]any:
		for _, e := range v {
			n += countBinary(e)
		}
	}
	return n
}

// appendValue appends v as JSON. A []byte, in v itself or in the maps and slices of any that it is
// made of, becomes an attachment.
func appendValue(b []byte, v any, binary *[][]byte) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case json.RawMessage:
		if len(v) == 0 {
			return append(b, "null"...), nil
		}
		return append(b, v...), nil
	case string:
		return parser.AppendString(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case []byte:
		*binary = append(*binary, v)
		return parser.AppendPlaceholder(b, len(*binary)-1), nil
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, e, binary); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(parser.AppendString(b, k), ':')
			var err error
			if b, err = appendValue(b, v[k], binary); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return appendJSON(b, v)
}

var jsonBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// appendJSON appends what encoding/json makes of v, without its escapes for HTML.
func appendJSON(b []byte, v any) ([]byte, error) {
	buf := jsonBuffers.Get().(*bytes.Buffer)
	defer jsonBuffers.Put(buf)
	buf.Reset()
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...), nil
}

// control makes the message of a packet without values: connect, disconnect, connect_error.
func (s *Server) control(t parser.Type, namespace string, payload []byte) *engineio.Message {
	if s.opts.Parser != nil {
		data, err := s.opts.Parser.Encode(&parser.Packet{Type: t, Namespace: namespace, Payload: payload})
		if err == nil {
			return engineio.NewBinary(data)
		}
		payload = nil // only a refusal's data can be at fault
	}
	b := parser.AppendHeader(engineio.TextBuffer(32+len(namespace)+len(payload)), t, 0, namespace, 0, false)
	return engineio.FinishText(append(b, payload...))
}
