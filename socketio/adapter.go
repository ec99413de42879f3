package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// Adapter joins the servers of several processes ("nodes") to one: what one of them sends to rooms reaches the rooms' members on
// all. It only carries messages; what they mean is the server's business. Without an adapter a server is alone.
type Adapter interface {
	// Start is called once, by [NewServer]. From then on the adapter calls deliver with each message of another node, in the
	// order that node sent them.
	Start(deliver func(*NodeMessage)) error
	// Publish sends a message to all other nodes, or only to that named by its To. It is called by whoever emits, also by handlers,
	// at the same time by several goroutines, and should queue rather than wait.
	Publish(*NodeMessage) error
	// Nodes returns how many other nodes there are: that many answers are awaited to a question.
	Nodes() (int, error)
	// Close is called once, by [Server.Close] or [Server.Shutdown]. deliver must not be called after it has returned.
	Close() error
}

// NodeMessage is what nodes tell each other. Its JSON form is stable, so that versions of this package can be mixed.
type NodeMessage struct {
	// From is the node that sends it, To the one that it is for, empty for all.
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	// ID links an answer to its question.
	ID   string      `json:"id,omitempty"`
	Kind MessageKind `json:"kind"`

	Namespace string   `json:"namespace"`
	Rooms     []string `json:"rooms,omitempty"`
	Except    []string `json:"except,omitempty"`
	Volatile  bool     `json:"volatile,omitempty"`

	// Args is the JSON array of an event, name first, or of an answer; Attachments are the bytes its placeholders stand for.
	Args        json.RawMessage `json:"args,omitempty"`
	Attachments [][]byte        `json:"attachments,omitempty"`
	// Names are the rooms to join or leave.
	Names []string `json:"names,omitempty"`
	// Close ends whole connections.
	Close bool `json:"close,omitempty"`
	// Sockets answer a question for sockets.
	Sockets []RemoteSocket `json:"sockets,omitempty"`
}

// MessageKind says what a [NodeMessage] asks for.
type MessageKind string

// The kinds of messages.
const (
	KindEmit       MessageKind = "emit"
	KindJoin       MessageKind = "join"
	KindLeave      MessageKind = "leave"
	KindDisconnect MessageKind = "disconnect"
	KindServer     MessageKind = "server" // an event for the servers themselves
	KindFetch      MessageKind = "fetch"
	KindAnswer     MessageKind = "answer"
)

// RemoteSocket describes a socket on any node.
type RemoteSocket struct {
	ID        string          `json:"id"`
	Node      string          `json:"node"`
	Rooms     []string        `json:"rooms"`
	Data      json.RawMessage `json:"data,omitempty"` // null if it can't be encoded
	Transport Transport       `json:"transport"`
	Time      time.Time       `json:"time"`
}

// ErrIncomplete means that not every node has answered in time. What came is returned along with it.
var ErrIncomplete = errors.New("not every node has answered")

// cluster is a server's side of its adapter.
type cluster struct {
	srv     *Server // immutable, like the next two
	adapter Adapter // nil when alone
	node    string

	mu      sync.Mutex // guards everything below
	waiting map[string]chan *NodeMessage
}

func (c *cluster) start(s *Server, a Adapter) error {
	c.srv, c.adapter, c.node = s, a, newID()
	if a == nil {
		return nil
	}
	c.waiting = make(map[string]chan *NodeMessage)
	if err := a.Start(c.deliver); err != nil {
		return fmt.Errorf("start the adapter: %w", err)
	}
	return nil
}

// publish tells the other nodes, if there can be any.
func (c *cluster) publish(m *NodeMessage) error {
	if c.adapter == nil {
		return nil
	}
	m.From = c.node
	if err := c.adapter.Publish(m); err != nil {
		return fmt.Errorf("tell the other nodes (%s): %w", m.Kind, err)
	}
	return nil
}

// deliver acts on a message of another node.
func (c *cluster) deliver(m *NodeMessage) {
	if m.From == c.node || m.To != "" && m.To != c.node {
		return
	}
	if m.Kind == KindAnswer {
		c.mu.Lock()
		ch := c.waiting[m.ID]
		c.mu.Unlock()
		if ch != nil {
			select {
			case ch <- m:
			default: // more answers than nodes
			}
		}
		return
	}
	n := c.srv.namespace(m.Namespace)
	if n == nil {
		if m.Kind == KindFetch { // or the one who asks waits for nothing
			_ = c.publish(&NodeMessage{Kind: KindAnswer, To: m.From, ID: m.ID, Namespace: m.Namespace})
		}
		return
	}
	t := &Target{ns: n, rooms: m.Rooms, except: m.Except, volatile: m.Volatile, local: true}
	switch m.Kind {
	case KindEmit:
		if e, err := m.encoding(n.name, n.srv.opts.Parser); err == nil {
			t.emit(e)
		}
	case KindJoin:
		t.Join(m.Names...)
	case KindLeave:
		t.Leave(m.Names...)
	case KindDisconnect:
		t.Disconnect(m.Close)
	case KindServer:
		n.serverEvent(m)
	case KindFetch:
		_ = c.publish(&NodeMessage{Kind: KindAnswer, To: m.From, ID: m.ID, Namespace: m.Namespace, Sockets: t.describe()})
	}
}

// encoding makes an event of the message.
func (m *NodeMessage) encoding(namespace string, codec Parser) (encoding, error) {
	args, err := parser.Split(m.Args)
	if err != nil || len(args) == 0 {
		return encoding{}, fmt.Errorf("event of another node: %w", errors.Join(err, parser.ErrSyntax))
	}
	kind := parser.Event
	if len(m.Attachments) > 0 {
		kind = parser.BinaryEvent
	}
	b := engineio.TextBuffer(len(m.Args) + 64)
	e := encoding{start: len(b), text: parser.AppendHeader(b, kind, len(m.Attachments), namespace, 0, false), codec: codec}
	e.args = len(e.text)
	e.text = append(e.text, m.Args[:len(m.Args)-1]...)
	e.binary = m.Attachments
	return e, nil
}

// ask puts a question to all other nodes and gives each answer to f.
func (c *cluster) ask(ctx context.Context, m *NodeMessage, f func(*NodeMessage)) error {
	if c.adapter == nil {
		return nil
	}
	want, err := c.adapter.Nodes()
	if err != nil {
		return fmt.Errorf("count the other nodes: %w", err)
	}
	m.ID = newID()
	ch := make(chan *NodeMessage, want)
	c.mu.Lock()
	c.waiting[m.ID] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, m.ID)
		c.mu.Unlock()
	}()
	if err := c.publish(m); err != nil {
		return err
	}
	for got := range want {
		select {
		case a := <-ch:
			f(a)
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d: %w", ErrIncomplete, got, want, ctx.Err())
		}
	}
	return nil
}

// describe returns what other nodes may know of the sockets chosen.
func (t *Target) describe() []RemoteSocket {
	list := make([]RemoteSocket, 0)
	for _, s := range t.Sockets() {
		data, err := json.Marshal(s.Data())
		if err != nil {
			data = nil
		}
		list = append(list, RemoteSocket{ID: s.id, Node: t.ns.srv.cluster.node, Rooms: s.Rooms(), Data: data,
			Transport: s.Transport(), Time: s.client.conn.Request().Time})
	}
	return list
}

// Fetch describes the sockets chosen on all nodes. If some node doesn't answer before ctx ends, what came is returned with [ErrIncomplete].
func (t *Target) Fetch(ctx context.Context) ([]RemoteSocket, error) {
	list := t.describe()
	if t.local {
		return list, nil
	}
	err := t.ns.srv.cluster.ask(ctx, t.message(KindFetch), func(a *NodeMessage) { list = append(list, a.Sockets...) })
	return list, err
}

// message makes a message about the sockets chosen.
func (t *Target) message(k MessageKind) *NodeMessage {
	return &NodeMessage{Kind: k, Namespace: t.ns.name, Rooms: t.rooms, Except: t.except, Volatile: t.volatile}
}

// ServerSideEmit sends an event to the same namespace on all other nodes, where functions added with [Namespace.OnServerSide] get it.
func (n *Namespace) ServerSideEmit(event string, args ...any) error {
	e, err := begin(head{kind: parser.Event, codec: n.srv.opts.Parser, namespace: n.name}, &event, args)
	if err != nil {
		return err
	}
	return n.srv.cluster.publish(&NodeMessage{Kind: KindServer, Namespace: n.name, Args: e.array(), Attachments: e.binary})
}

// OnServerSide has f called for an event that another node sent with [Namespace.ServerSideEmit]. It runs on the adapter's
// goroutine and should not take long. The event has no socket.
func (n *Namespace) OnServerSide(event string, f func(*Event)) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.serverSide.add(event, f)
}

// serverEvent hands an event of another node to its handlers.
func (n *Namespace) serverEvent(m *NodeMessage) {
	args, err := parser.Split(m.Args)
	if err != nil {
		return
	}
	p := parser.Packet{Args: args}
	name, err := p.Name()
	if err != nil {
		return
	}
	n.setup.RLock()
	fs := n.serverSide.byName[name]
	n.setup.RUnlock()
	for _, f := range fs {
		f(&Event{Name: name, Args: args[1:], Attachments: m.Attachments})
	}
}
