package redisadapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// classic is the protocol of createAdapter and of the emitter. Broadcasts are MessagePack, [uid,
// packet, options], on the channel of the namespace, to which the name of the room is appended
// where there is exactly one. Requests and responses, on channels of their own, are JSON, but
// MessagePack where they may hold bytes. A response goes to the channel of the node that asked,
// which every node of version 8 listens to.
type classic struct {
	prefix string
	node   string
	own    []byte // how broadcasts of this node begin
	host   socketio.Host
}

// The types of requests, and of some responses.
const (
	classicAllRooms    = 1
	classicJoin        = 2
	classicLeave       = 3
	classicDisconnect  = 4
	classicFetch       = 5
	classicServerEmit  = 6
	classicBroadcast   = 7
	classicClientCount = 8
	classicAck         = 9
)

// request is a request or a response: a field that one lacks is absent.
type request struct {
	UID         string          `json:"uid,omitempty"`
	RequestID   string          `json:"requestId,omitempty"`
	Type        *int            `json:"type,omitempty"`
	Opts        *selection      `json:"opts,omitempty"`
	Packet      json.RawMessage `json:"packet,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Rooms       names           `json:"rooms,omitempty"`
	Room        string          `json:"room,omitempty"` // of requests for one socket
	SID         string          `json:"sid,omitempty"`
	Close       bool            `json:"close,omitempty"`
	ClientCount *int            `json:"clientCount,omitempty"`
	Sockets     *[]socket       `json:"sockets,omitempty"`
}

func (w *classic) begin(host socketio.Host) {
	w.host, w.node = host, host.Node()
	w.own, _ = parser.AppendPacked([]byte{0x93}, fmt.Appendf(nil, "%q", w.node), nil) // a plain string can be packed
}

func (w *classic) onShards() bool { return false }

func (w *classic) broadcastChannel(namespace string) string { return w.prefix + "#" + namespace + "#" }
func (w *classic) counted(namespace string) string          { return w.prefix + "-request#" + namespace + "#" }
func (w *classic) responseChannel(namespace, node string) string {
	if node == "" {
		return w.prefix + "-response#" + namespace + "#"
	}
	return w.prefix + "-response#" + namespace + "#" + node + "#"
}

// literal has Redis take a name in a pattern for what it is.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

func (w *classic) channels(namespace string) []route {
	return []route{
		{
			channel:   literal.Replace(w.broadcastChannel(namespace)) + "*",
			pattern:   true,
			role:      broadcasts,
			namespace: namespace,
		},
		{channel: w.counted(namespace), role: requests, namespace: namespace},
		{channel: w.responseChannel(namespace, ""), role: responses, namespace: namespace},
		{channel: w.responseChannel(namespace, w.node), role: responses, namespace: namespace},
	}
}

func (w *classic) room(string, string) (route, bool) { return route{}, false }

func (w *classic) encode(m *socketio.NodeMessage) (outgoing, error) {
	if m.Kind == socketio.KindEmit && m.ID == "" {
		return w.broadcast(m)
	}
	r := request{RequestID: m.ID}
	kind := 0
	channel := w.counted(m.Namespace)
	if m.To != "" {
		channel = w.responseChannel(m.Namespace, m.To)
	} else {
		r.UID = w.node
	}
	choice := selected(m)
	switch m.Kind {
	case socketio.KindEmit:
		kind, r.Opts = classicBroadcast, &choice
		r.Packet, _ = json.Marshal(packet{parser.Event, m.Args, m.Namespace}) // Args is JSON
	case socketio.KindJoin:
		kind, r.Opts, r.Rooms = classicJoin, &choice, m.Names
	case socketio.KindLeave:
		kind, r.Opts, r.Rooms = classicLeave, &choice, m.Names
	case socketio.KindDisconnect:
		kind, r.Opts, r.Close = classicDisconnect, &choice, m.Close
	case socketio.KindFetch:
		kind, r.Opts = classicFetch, &choice
	case socketio.KindRooms:
		kind = classicAllRooms
	case socketio.KindServer:
		kind, r.Data = classicServerEmit, m.Args
	case socketio.KindServerAnswer:
		kind, r.Data = classicServerEmit, first(m.Args)
	case socketio.KindCount:
		kind, r.ClientCount = classicClientCount, &m.Count
	case socketio.KindAck:
		kind, r.Packet = classicAck, first(m.Args)
	case socketio.KindSockets:
		sockets := described(m.Sockets)
		r.Sockets = &sockets
	case socketio.KindRoomNames:
		r.Rooms = m.Names
	default:
		return outgoing{}, fmt.Errorf("redisadapter: no message for %s", m.Kind)
	}
	if kind != 0 {
		r.Type = &kind
	}
	payload, err := encoded(r, m.Attachments)
	return published(channel, payload, false), err
}

// broadcast encodes an event that nobody acknowledges.
func (w *classic) broadcast(m *socketio.NodeMessage) (outgoing, error) {
	options, err := encoded(selected(m), nil)
	if err != nil {
		return outgoing{}, err
	}
	b := append(make([]byte, 0, len(m.Args)+len(options)+128), w.own...)
	b = append(b, 0x83) // a map of three
	b = parser.AppendPackedString(
		parser.AppendPackedString(append(parser.AppendPackedString(b, "type"), byte(parser.Event)), "nsp"),
		m.Namespace,
	)
	if b, err = parser.AppendPacked(parser.AppendPackedString(b, "data"), m.Args, m.Attachments); err != nil {
		return outgoing{}, fmt.Errorf("encode an event for other nodes: %w", err)
	}
	if b, err = parser.AppendPacked(b, options, nil); err != nil {
		return outgoing{}, fmt.Errorf("encode an event for other nodes: %w", err)
	}
	channel := w.broadcastChannel(m.Namespace)
	if len(m.Rooms) == 1 {
		channel += m.Rooms[0] + "#"
	}
	return published(channel, b, false), nil
}

func (w *classic) decode(r route, channel string, payload []byte) (*socketio.NodeMessage, error) {
	if r.role == broadcasts {
		return w.heard(r, channel, payload)
	}
	content, attachments, err := text(payload)
	if err != nil {
		return nil, err
	}
	var q request
	if err := json.Unmarshal(content, &q); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	m := &socketio.NodeMessage{From: q.UID, ID: q.RequestID, Namespace: r.namespace, Attachments: attachments}
	if r.role == responses {
		m.To = w.node
		return q.answer(m)
	}
	if q.UID == w.node {
		return nil, nil
	}
	return q.question(m)
}

// heard decodes a broadcast.
func (w *classic) heard(r route, channel string, payload []byte) (*socketio.NodeMessage, error) {
	if bytes.HasPrefix(payload, w.own) {
		return nil, nil
	}
	room := strings.TrimSuffix(strings.TrimPrefix(channel, w.broadcastChannel(r.namespace)), "#")
	if room != "" && !w.host.Occupied(r.namespace, room) {
		return nil, nil
	}
	content, attachments, err := parser.Unpack(payload, maxAttachments)
	if err != nil {
		return nil, err
	}
	parts, err := parser.Split(content)
	if err != nil || len(parts) < 3 {
		return nil, fmt.Errorf("%w: not a broadcast", parser.ErrSyntax)
	}
	p := packet{NSP: "/"}
	var options selection
	m := &socketio.NodeMessage{Kind: socketio.KindEmit, Namespace: r.namespace, Attachments: attachments}
	if err := json.Unmarshal(parts[0], &m.From); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	if err := json.Unmarshal(parts[1], &p); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	if err := json.Unmarshal(parts[2], &options); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	if p.NSP != r.namespace {
		return nil, nil // of a namespace whose name begins like this one's
	}
	options.choose(m)
	m.Args, err = p.event()
	return m, err
}

// question makes a message of a request.
func (q *request) question(m *socketio.NodeMessage) (*socketio.NodeMessage, error) {
	if q.Type == nil {
		return nil, fmt.Errorf("%w: a request without a type", parser.ErrSyntax)
	}
	if q.Opts != nil {
		q.Opts.choose(m)
	} else if q.SID != "" {
		m.Rooms = []string{q.SID}
	}
	switch *q.Type {
	case classicJoin, classicLeave:
		m.Kind, m.Names = socketio.KindJoin, q.Rooms
		if *q.Type == classicLeave {
			m.Kind = socketio.KindLeave
		}
		if q.Room != "" {
			m.Names = []string{q.Room}
		}
	case classicDisconnect:
		m.Kind, m.Close = socketio.KindDisconnect, q.Close
	case classicFetch:
		m.Kind = socketio.KindFetch
	case classicAllRooms:
		m.Kind = socketio.KindRooms
	case classicServerEmit:
		m.Kind, m.Args = socketio.KindServer, q.Data
	case classicBroadcast:
		var p packet
		if err := json.Unmarshal(q.Packet, &p); err != nil {
			return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
		}
		var err error
		m.Kind = socketio.KindEmit
		m.Args, err = p.event()
		return m, err
	default:
		return nil, fmt.Errorf("%w: a request of the unknown type %d", parser.ErrSyntax, *q.Type)
	}
	if q.Opts == nil && q.SID == "" &&
		(m.Kind == socketio.KindJoin || m.Kind == socketio.KindLeave || m.Kind == socketio.KindDisconnect) {
		return nil, fmt.Errorf("%w: a request that names no sockets", parser.ErrSyntax) // rather than do it to all
	}
	return m, nil
}

// answer makes a message of a response; nil of one to an old kind of request.
func (q *request) answer(m *socketio.NodeMessage) (*socketio.NodeMessage, error) {
	switch {
	case q.Type == nil && q.Sockets != nil:
		m.Kind, m.Sockets = socketio.KindSockets, remote(*q.Sockets, "")
	case q.Type == nil && q.Rooms != nil:
		m.Kind, m.Names = socketio.KindRoomNames, q.Rooms
	case q.Type == nil:
		return nil, nil
	case *q.Type == classicServerEmit:
		m.Kind, m.Args = socketio.KindServerAnswer, only(q.Data)
	case *q.Type == classicClientCount && q.ClientCount != nil:
		m.Kind, m.Count = socketio.KindCount, *q.ClientCount
	case *q.Type == classicAck:
		m.Kind, m.Args = socketio.KindAck, only(q.Packet)
	default:
		return nil, fmt.Errorf("%w: a response of the unknown type %d", parser.ErrSyntax, *q.Type)
	}
	return m, nil
}
