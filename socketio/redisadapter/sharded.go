package redisadapter

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// sharded is the protocol of createShardedAdapter: JSON, or MessagePack where there are bytes, on
// sharded channels: one of the namespace, one of each node for answers to it, and, unless static,
// one of each room that is not a socket's own.
type sharded struct {
	prefix string
	static bool
	node   string
	own    []byte // how JSON messages of this node begin
}

// The types of messages between the nodes of socket.io-adapter's ClusterAdapter.
const (
	clusterBroadcast    = 3
	clusterJoin         = 4
	clusterLeave        = 5
	clusterDisconnect   = 6
	clusterFetch        = 7
	clusterSockets      = 8
	clusterServerEmit   = 9
	clusterServerAnswer = 10
	clusterClientCount  = 11
	clusterAck          = 12
	// Those of this package, which Node servers leave alone.
	clusterClaim = 100
	clusterGiven = 101
	clusterTaken = 102
)

type clusterMessage struct {
	UID  string      `json:"uid"`
	NSP  string      `json:"nsp"`
	Type int         `json:"type"`
	Data clusterData `json:"data"`
}

type clusterData struct {
	RequestID   string          `json:"requestId,omitempty"`
	Packet      json.RawMessage `json:"packet,omitempty"`
	Opts        *selection      `json:"opts,omitempty"`
	Rooms       names           `json:"rooms,omitempty"`
	Close       bool            `json:"close,omitempty"`
	ClientCount *int            `json:"clientCount,omitempty"`
	Sockets     *[]socket       `json:"sockets,omitempty"`
	PID         string          `json:"pid,omitempty"`
	Left        string          `json:"left,omitempty"`
}

func (w *sharded) begin(host socketio.Host) {
	w.node = host.Node()
	w.own = fmt.Appendf(nil, `{"uid":%q,`, w.node)
}

func (w *sharded) onShards() bool { return true }

func (w *sharded) counted(namespace string) string { return w.prefix + "#" + namespace + "#" }

func (w *sharded) channels(namespace string) []route {
	return []route{
		{channel: w.counted(namespace), role: requests, namespace: namespace},
		{channel: w.counted(namespace) + w.node + "#", role: responses, namespace: namespace},
	}
}

func (w *sharded) room(namespace, room string) (route, bool) {
	return route{channel: w.counted(namespace) + room + "#", role: broadcasts, namespace: namespace}, !w.static
}

// likeSocketID says whether a room may be one that a socket has for itself: such have no channel.
func likeSocketID(room string) bool { return len(room) == 20 }

func (w *sharded) encode(m *socketio.NodeMessage) (outgoing, error) {
	channel := w.counted(m.Namespace)
	switch {
	case m.To != "":
		channel += m.To + "#"
	case m.Kind == socketio.KindEmit && m.ID == "" && len(m.Rooms) == 1 && !w.static && !likeSocketID(m.Rooms[0]):
		channel += m.Rooms[0] + "#"
	}
	c, err := clustered(m)
	if err != nil {
		return outgoing{}, err
	}
	c.UID = w.node
	payload, err := encoded(c, m.Attachments)
	return published(channel, payload, true), err
}

func (w *sharded) decode(r route, _ string, payload []byte) (*socketio.NodeMessage, error) {
	if bytes.HasPrefix(payload, w.own) {
		return nil, nil
	}
	content, attachments, err := text(payload)
	if err != nil {
		return nil, err
	}
	var c clusterMessage
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
	}
	if c.UID == w.node || c.NSP != r.namespace {
		return nil, nil
	}
	m, err := c.message()
	if err != nil {
		return nil, err
	}
	m.Attachments = attachments
	if r.role == responses {
		m.To = w.node
	}
	return m, nil
}

// clustered puts a message into the words of the ClusterAdapter.
func clustered(m *socketio.NodeMessage) (*clusterMessage, error) {
	c := &clusterMessage{NSP: m.Namespace, Data: clusterData{RequestID: m.ID}}
	choice := selected(m)
	switch d := &c.Data; m.Kind {
	case socketio.KindEmit:
		c.Type, d.Opts = clusterBroadcast, &choice
		d.Packet, _ = json.Marshal(packet{parser.Event, m.Args, m.Namespace}) // Args is JSON
	case socketio.KindJoin:
		c.Type, d.Opts, d.Rooms = clusterJoin, &choice, m.Names
	case socketio.KindLeave:
		c.Type, d.Opts, d.Rooms = clusterLeave, &choice, m.Names
	case socketio.KindDisconnect:
		c.Type, d.Opts, d.Close = clusterDisconnect, &choice, m.Close
	case socketio.KindFetch:
		c.Type, d.Opts = clusterFetch, &choice
	case socketio.KindSockets:
		sockets := described(m.Sockets)
		c.Type, d.Sockets = clusterSockets, &sockets
	case socketio.KindServer:
		c.Type, d.Packet = clusterServerEmit, m.Args
	case socketio.KindServerAnswer:
		c.Type, d.Packet = clusterServerAnswer, first(m.Args)
	case socketio.KindCount:
		c.Type, d.ClientCount = clusterClientCount, &m.Count
	case socketio.KindAck:
		c.Type, d.Packet = clusterAck, first(m.Args)
	case socketio.KindClaim:
		c.Type, d.PID = clusterClaim, m.PID
	case socketio.KindGiven:
		c.Type, d.PID = clusterGiven, m.PID
	case socketio.KindTaken:
		c.Type, d.PID, d.Left = clusterTaken, m.PID, m.Left
	default:
		return nil, fmt.Errorf("redisadapter: no message for %s", m.Kind)
	}
	return c, nil
}

// message is the reverse.
func (c *clusterMessage) message() (*socketio.NodeMessage, error) {
	d := &c.Data
	m := &socketio.NodeMessage{From: c.UID, ID: d.RequestID, Namespace: c.NSP}
	if d.Opts != nil {
		d.Opts.choose(m)
	}
	switch c.Type {
	case clusterBroadcast:
		var p packet
		if err := json.Unmarshal(d.Packet, &p); err != nil {
			return nil, fmt.Errorf("%w: %w", parser.ErrSyntax, err)
		}
		args, err := p.event()
		if err != nil {
			return nil, err
		}
		m.Kind, m.Args = socketio.KindEmit, args
	case clusterJoin:
		m.Kind, m.Names = socketio.KindJoin, d.Rooms
	case clusterLeave:
		m.Kind, m.Names = socketio.KindLeave, d.Rooms
	case clusterDisconnect:
		m.Kind, m.Close = socketio.KindDisconnect, d.Close
	case clusterFetch:
		m.Kind = socketio.KindFetch
	case clusterSockets:
		m.Kind = socketio.KindSockets
		if d.Sockets != nil {
			m.Sockets = remote(*d.Sockets, c.UID)
		}
	case clusterServerEmit:
		m.Kind, m.Args = socketio.KindServer, d.Packet
	case clusterServerAnswer:
		m.Kind, m.Args = socketio.KindServerAnswer, only(d.Packet)
	case clusterClientCount:
		if d.ClientCount == nil {
			return nil, fmt.Errorf("%w: no count of clients", parser.ErrSyntax)
		}
		m.Kind, m.Count = socketio.KindCount, *d.ClientCount
	case clusterAck:
		m.Kind, m.Args = socketio.KindAck, only(d.Packet)
	case clusterClaim:
		m.Kind, m.PID = socketio.KindClaim, d.PID
		return m, nil
	case clusterGiven:
		m.Kind, m.PID = socketio.KindGiven, d.PID
	case clusterTaken:
		m.Kind, m.PID, m.Left = socketio.KindTaken, d.PID, d.Left
		return m, nil
	default:
		return nil, fmt.Errorf("%w: a message of the unknown type %d", parser.ErrSyntax, c.Type)
	}
	if d.Opts == nil && !m.Kind.Answers() && m.Kind != socketio.KindServer {
		return nil, fmt.Errorf("%w: a message that chooses no sockets", parser.ErrSyntax) // rather than all
	}
	return m, nil
}
