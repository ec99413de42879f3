package redisadapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// What both protocols have in their messages.

// maxAttachments bounds the byte strings in one message.
const maxAttachments = 4096

// names are rooms. JavaScript lets them be numbers.
type names []string

func (n *names) UnmarshalJSON(text []byte) error {
	var list []any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&list); err != nil {
		return err
	}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			*n = append(*n, v)
		case json.Number:
			*n = append(*n, v.String())
		default:
			return fmt.Errorf("a room is %T", v)
		}
	}
	return nil
}

// packet is an event on its way to clients.
type packet struct {
	Type parser.Type     `json:"type"`
	Data json.RawMessage `json:"data"`
	NSP  string          `json:"nsp,omitempty"`
}

// selection are the sockets chosen.
type selection struct {
	Rooms  names `json:"rooms"`
	Except names `json:"except"`
	Flags  flags `json:"flags"`
}

type flags struct {
	Volatile bool    `json:"volatile,omitempty"`
	Compress *bool   `json:"compress,omitempty"`
	Timeout  float64 `json:"timeout,omitempty"` // ms
}

func selected(m *socketio.NodeMessage) selection {
	s := selection{
		Rooms:  m.Rooms,
		Except: m.Except,
		Flags:  flags{Volatile: m.Volatile, Timeout: float64(m.Timeout) / float64(time.Millisecond)},
	}
	if m.Plain {
		s.Flags.Compress = new(bool)
	}
	if s.Rooms == nil {
		s.Rooms = names{}
	}
	if s.Except == nil {
		s.Except = names{}
	}
	return s
}

// choose is the reverse.
func (s selection) choose(m *socketio.NodeMessage) {
	m.Plain = s.Flags.Compress != nil && !*s.Flags.Compress
	m.Rooms, m.Except, m.Volatile, m.Timeout = s.Rooms, s.Except, s.Flags.Volatile, time.Duration(
		s.Flags.Timeout*float64(time.Millisecond),
	)
}

// socket is a description of one.
type socket struct {
	ID        string          `json:"id"`
	Handshake json.RawMessage `json:"handshake"`
	Rooms     names           `json:"rooms"`
	Data      json.RawMessage `json:"data"`
}

func described(list []socketio.RemoteSocket) []socket {
	sockets := make([]socket, len(list))
	for i, s := range list {
		sockets[i] = socket{s.ID, s.Handshake, s.Rooms, s.Data}
	}
	return sockets
}

func remote(list []socket, node string) []socketio.RemoteSocket {
	sockets := make([]socketio.RemoteSocket, len(list))
	for i, s := range list {
		sockets[i] = socketio.RemoteSocket{ID: s.ID, Node: node, Rooms: s.Rooms, Data: s.Data, Handshake: s.Handshake}
	}
	return sockets
}

// first gives the only value that an answer has room for.
func first(args json.RawMessage) json.RawMessage {
	if values, err := parser.Split(args); err == nil && len(values) > 0 {
		return values[0]
	}
	return json.RawMessage("null")
}

// only is the reverse.
func only(value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return json.RawMessage("[]")
	}
	return append(append(json.RawMessage{'['}, value...), ']')
}

// event gives the values of a packet.
func (p *packet) event() (json.RawMessage, error) {
	if p == nil || p.Type != parser.Event && p.Type != parser.BinaryEvent || len(p.Data) == 0 {
		return nil, fmt.Errorf("%w: not an event", parser.ErrSyntax)
	}
	return p.Data, nil
}

// text gives a payload, which is JSON or MessagePack, as JSON.
func text(payload []byte) (json.RawMessage, [][]byte, error) {
	if payload[0] == '{' {
		return payload, nil, nil
	}
	return parser.Unpack(payload, maxAttachments)
}

// encoded makes JSON of v, or MessagePack if there are attachments.
func encoded(v any, attachments [][]byte) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode a message to other nodes: %w", err)
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
	if len(attachments) == 0 {
		return text, nil
	}
	return parser.AppendPacked(nil, text, attachments)
}
