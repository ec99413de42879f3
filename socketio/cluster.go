package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// cluster is a server's side of its adapter. It is the adapter's Host.
type cluster struct {
	srv     *Server // immutable, like the next four
	adapter Adapter // nil when alone
	watcher RoomWatcher
	keeping *keeping // nil unless the adapter is a Keeper and sockets are recovered
	node    string

	mu      sync.Mutex // guards everything below
	waiting map[string]func(*NodeMessage)
}

func (c *cluster) start(s *Server, a Adapter) error {
	c.srv, c.node = s, newID()
	if a == nil {
		return nil
	}
	c.adapter = a
	c.watcher, _ = a.(RoomWatcher)
	c.waiting = make(map[string]func(*NodeMessage))
	if k, ok := a.(Keeper); ok && s.opts.Recovery.Enabled {
		c.keep(k)
	}
	if err := a.Start(c); err != nil {
		return fmt.Errorf("start the adapter: %w", err)
	}
	return nil
}

// Node is this node's id.
func (c *cluster) Node() string { return c.node }

// Occupied says whether messages to a room concern anybody here.
func (c *cluster) Occupied(namespace, room string) bool {
	n := c.srv.namespace(namespace)
	if n == nil {
		return false
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.rooms[room] != nil || n.sockets[room] != nil || n.log.bySID[room] != nil
}

// opened and shut tell the adapter of namespaces.
func (c *cluster) opened(namespace string) {
	if c.adapter != nil {
		c.adapter.Open(namespace)
	}
}

func (c *cluster) shut(namespace string) {
	if c.adapter != nil {
		c.adapter.Shut(namespace)
	}
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

// answer publishes an answer to a question.
func (c *cluster) answer(q *NodeMessage, a *NodeMessage) {
	a.To, a.ID, a.Namespace = q.From, q.ID, q.Namespace
	_ = c.publish(a) // who asked gives up by itself
}

// Deliver acts on a message of another node.
func (c *cluster) Deliver(m *NodeMessage) {
	if m.From == c.node || m.To != "" && m.To != c.node {
		return
	}
	if m.Kind.Answers() {
		c.mu.Lock()
		f := c.waiting[m.ID]
		c.mu.Unlock()
		if f != nil {
			f(m)
		}
		return
	}
	if c.keeping != nil && m.At != (Position{}) {
		c.keeping.meet(m.At)
	}
	n := c.srv.namespace(m.Namespace)
	if n == nil {
		if m.Kind == KindFetch { // or the one who asks waits for nothing
			c.answer(m, &NodeMessage{Kind: KindSockets})
		}
		return
	}
	t := &Target{ns: n, rooms: m.Rooms, except: m.Except, volatile: m.Volatile, plain: m.Plain, local: true}
	switch m.Kind {
	case KindEmit:
		if m.ID != "" {
			c.callFor(m, t)
		} else if e, err := m.encoding(head{namespace: n.name, codec: n.srv.opts.Parser, plain: m.Plain}); err != nil {
			return
		} else if c.keeping != nil && m.At != (Position{}) && !m.Volatile {
			t.arrive(e, m.At, 0)
		} else {
			t.emit(e)
		}
	case KindJoin:
		_ = t.Join(m.Names...) // local: there is nobody to tell
	case KindLeave:
		_ = t.Leave(m.Names...)
	case KindDisconnect:
		_ = t.Disconnect(m.Close)
	case KindServer:
		n.serverEvent(m)
	case KindFetch:
		c.answer(m, &NodeMessage{Kind: KindSockets, Sockets: t.describe()})
	case KindRooms:
		c.answer(m, &NodeMessage{Kind: KindRoomNames, Names: n.everyRoom()})
	case KindClaim:
		n.giveUp(m)
	case KindTaken:
		n.taken(m.PID, m.Left)
	}
}

// maxAckWait is how long acknowledgements are waited for on behalf of a node that did not say how
// long.
const maxAckWait = time.Minute

// callFor sends an event that clients are to acknowledge, for another node.
func (c *cluster) callFor(m *NodeMessage, t *Target) {
	id := t.ns.ackIDs.Add(1) - 1
	e, err := m.encoding(head{namespace: t.ns.name, codec: t.ns.srv.opts.Parser, id: id, hasID: true, plain: t.plain})
	if err != nil {
		return
	}
	wait := maxAckWait
	if m.Timeout > 0 {
		wait = min(wait, m.Timeout)
	}
	sockets := t.Sockets()
	c.answer(m, &NodeMessage{Kind: KindCount, Count: len(sockets)})
	if len(sockets) == 0 {
		return
	}
	forget := t.call(sockets, id, e.finish(""), func(_ *Socket, r *Reply, err error) {
		if err == nil {
			c.answer(m, &NodeMessage{Kind: KindAck, Args: parser.AppendArgs(nil, r.Args), Attachments: r.Attachments})
		}
	})
	time.AfterFunc(wait, forget)
}

// encoding makes an event of the message.
func (m *NodeMessage) encoding(h head) (encoding, error) {
	args, err := parser.Split(m.Args)
	if err != nil || len(args) == 0 {
		return encoding{}, fmt.Errorf("event of another node: %w", errors.Join(err, parser.ErrSyntax))
	}
	kind := parser.Event
	if len(m.Attachments) > 0 {
		kind = parser.BinaryEvent
	}
	b := engineio.TextBuffer(len(m.Args) + 64)
	e := encoding{
		start: len(b),
		text:  parser.AppendHeader(b, kind, len(m.Attachments), h.namespace, h.id, h.hasID),
		codec: h.codec,
		plain: h.plain,
	}
	e.args = len(e.text)
	e.text = append(e.text, m.Args[:len(m.Args)-1]...)
	e.binary = m.Attachments
	return e, nil
}

// wait has f called with each answer to the question of that id, by the adapter, until forget is
// called.
func (c *cluster) wait(id string, f func(*NodeMessage)) (forget func()) {
	c.mu.Lock()
	c.waiting[id] = f
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}
}

// ask puts a question to all other nodes and gives the answer of each to f.
func (c *cluster) ask(ctx context.Context, m *NodeMessage, f func(*NodeMessage)) error {
	if c.adapter == nil {
		return nil
	}
	want, err := c.adapter.Nodes(ctx, m.Namespace)
	if err != nil {
		return fmt.Errorf("count the other nodes: %w", err)
	}
	return c.askOf(ctx, m, want, f)
}

// askOf is ask for that many answers.
func (c *cluster) askOf(ctx context.Context, m *NodeMessage, want int, f func(*NodeMessage)) error {
	m.ID = newID()
	ch := make(chan *NodeMessage, want)
	defer c.wait(m.ID, func(a *NodeMessage) {
		select {
		case ch <- a:
		default: // more answers than nodes
		}
	})()
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

// ServerCount returns how many servers have the namespace, this one included.
func (n *Namespace) ServerCount(ctx context.Context) (int, error) {
	c := &n.srv.cluster
	if c.adapter == nil {
		return 1, nil
	}
	others, err := c.adapter.Nodes(ctx, n.name)
	if err != nil {
		return 0, fmt.Errorf("count the other nodes: %w", err)
	}
	return others + 1, nil
}

// describe returns what other nodes may know of the sockets chosen.
func (t *Target) describe() []RemoteSocket {
	list := make([]RemoteSocket, 0)
	for _, s := range t.Sockets() {
		data, err := json.Marshal(s.Data())
		if err != nil {
			data = json.RawMessage("null")
		}
		list = append(
			list,
			RemoteSocket{ID: s.id, Node: t.ns.srv.cluster.node, Rooms: s.Rooms(), Data: data, Handshake: s.Handshake().remote()},
		)
	}
	return list
}

// remote gives the handshake in the form that the Node server has for it, without what proves who
// the client is.
func (h *Handshake) remote() json.RawMessage {
	headers := map[string]string{"host": h.Host}
	for name, values := range h.Header {
		if name != "Authorization" && name != "Cookie" {
			headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	address, _, err := net.SplitHostPort(h.RemoteAddr)
	if err != nil {
		address = h.RemoteAddr
	}
	text, err := json.Marshal(map[string]any{
		"headers": headers, "time": h.Time.Format("Mon Jan 02 2006 15:04:05 GMT-0700 (MST)"),
		"issued": h.Time.UnixMilli(), "address": address,
		"xdomain": h.Header.Get("Origin") != "", "secure": h.Secure, "url": h.URL, "query": h.Query, "auth": struct{}{},
	})
	if err != nil { // there is nothing in it that can't be encoded
		return json.RawMessage("{}")
	}
	return text
}

// Fetch describes the sockets chosen on all nodes. If some node doesn't answer before ctx ends,
// what came is returned with [ErrIncomplete].
func (t *Target) Fetch(ctx context.Context) ([]RemoteSocket, error) {
	list := t.describe()
	if t.local {
		return list, nil
	}
	err := t.ns.srv.cluster.ask(ctx, t.message(KindFetch), func(a *NodeMessage) { list = append(list, a.Sockets...) })
	return list, err
}

// everyRoom returns the names of all rooms, also of those that sockets have for themselves.
func (n *Namespace) everyRoom() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	names := make([]string, 0, len(n.rooms)+len(n.sockets))
	for name, r := range n.rooms {
		if len(r.members) > 0 {
			names = append(names, name)
		}
	}
	for id := range n.sockets {
		names = append(names, id)
	}
	return names
}

// message makes a message about the sockets chosen.
func (t *Target) message(k MessageKind) *NodeMessage {
	return &NodeMessage{
		Kind:      k,
		Namespace: t.ns.name,
		Rooms:     t.rooms,
		Except:    t.except,
		Volatile:  t.volatile,
		Plain:     t.plain,
	}
}

// serverMessage makes an event for the other servers.
func (n *Namespace) serverMessage(event string, args []any) (*NodeMessage, error) {
	e, err := begin(head{kind: parser.Event, codec: n.srv.opts.Parser, namespace: n.name}, &event, args)
	if err != nil {
		return nil, err
	}
	return &NodeMessage{Kind: KindServer, Namespace: n.name, Args: e.array(), Attachments: e.binary}, nil
}

// ServerSideEmit sends an event to the same namespace on all other nodes, where functions added
// with [Namespace.OnServerSide] get it.
func (n *Namespace) ServerSideEmit(event string, args ...any) error {
	m, err := n.serverMessage(event, args)
	if err != nil {
		return err
	}
	return n.srv.cluster.publish(m)
}

// ServerSideEmitWithAck is ServerSideEmit for an event that each node acknowledges with one value.
// If some node doesn't before ctx ends, what came is returned with [ErrIncomplete]. A node without
// a function for the event does not answer.
func (n *Namespace) ServerSideEmitWithAck(ctx context.Context, event string, args ...any) ([]Reply, error) {
	m, err := n.serverMessage(event, args)
	if err != nil {
		return nil, err
	}
	var replies []Reply
	err = n.srv.cluster.ask(ctx, m, func(a *NodeMessage) { replies = append(replies, a.reply()) })
	return replies, err
}

// ServerSideCollect is ServerSideEmitWithAck for so many answers as there are servers with a
// function for the event, where the caller knows that: others would be awaited in vain.
func (n *Namespace) ServerSideCollect(ctx context.Context, want int, event string, args ...any) ([]Reply, error) {
	m, err := n.serverMessage(event, args)
	if err != nil || n.srv.cluster.adapter == nil {
		return nil, err
	}
	var replies []Reply
	err = n.srv.cluster.askOf(ctx, m, want, func(a *NodeMessage) { replies = append(replies, a.reply()) })
	return replies, err
}

// reply is what an answer to an event for servers holds.
func (m *NodeMessage) reply() Reply {
	values, _ := parser.Split(m.Args) // a reply without values is one too
	return Reply{Args: values, Attachments: m.Attachments}
}

// OnServerSide has f called for an event that another node sent with [Namespace.ServerSideEmit]. It
// runs on the adapter's goroutine and should not take long. The event has no socket; it can be
// acknowledged where the other node waits for that.
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
	e := &Event{Name: name, Args: args[1:], Attachments: m.Attachments, wants: m.ID != ""}
	e.reply = func(args json.RawMessage, attachments [][]byte) {
		n.srv.cluster.answer(m, &NodeMessage{Kind: KindServerAnswer, Args: args, Attachments: attachments})
	}
	for _, f := range fs {
		f(e)
	}
}
