package socketio

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// client is one connection, and the sockets it has in the namespaces. It is what engineio hands the
// messages to.
//
// Packets are read by one goroutine at a time and handled by one at a time, which need not be the
// same: so acks and the end of the connection are noticed while a handler runs.
type client struct {
	srv  *Server        // immutable
	conn *engineio.Conn // immutable

	decoder parser.Decoder // the reader's
	greeted bool           // the reader's: a first packet has come
	full    atomic.Bool    // the backlog is at its limit
	away    atomic.Bool    // the client said that its page is closed, left or loaded anew

	mu      sync.Mutex // guards everything below
	sockets []*Socket  // connected, or connecting
	backlog []job      // in order
	head    int        // of the backlog
	waiting int        // bytes of the packets in the backlog
	running int        // bytes of the packet that is being handled
	held    int        // bytes that the decoder keeps
	working bool       // somebody handles the backlog
	closed  bool
	timer   *time.Timer // of ConnectTimeout; nil once a namespace is entered
}

// job is a step of a connection's life that runs application code.
type job struct {
	packet *parser.Packet // a Connect or an event; nil for an end
	size   int            // of the packet, in bytes
	socket *Socket        // that has ended
	opened bool           // the connection was opened
	moved  bool           // it was upgraded
	ended  *ending        // it has ended
}

type ending struct {
	reason string
	err    error
}

// accept makes the client of a new connection.
func (s *Server) accept(conn *engineio.Conn) engineio.Handler {
	c := &client{srv: s, conn: conn}
	c.decoder.MaxAttachments = s.opts.MaxAttachments
	c.timer = time.AfterFunc(s.opts.ConnectTimeout, c.connectTimeout)
	s.watch.Load().opened()
	if s.opts.Hooks.Opened != nil {
		_ = c.put(job{opened: true})
	}
	if c.old() {
		// Clients of Socket.IO 2 are in the main namespace without asking.
		c.greeted = true
		_ = c.put(job{packet: &parser.Packet{Type: parser.Connect, Namespace: "/"}})
	}
	return c
}

// old says whether the client is one of Socket.IO 2.
func (c *client) old() bool { return c.conn.Protocol() == 3 }

// connectTimeout closes a connection that has entered no namespace in time.
func (c *client) connectTimeout() {
	c.mu.Lock()
	idle := len(c.sockets) == 0
	c.mu.Unlock()
	if idle {
		c.conn.Close()
	}
}

// Message implements engineio.Handler.
func (c *client) Message(data []byte, binary bool) {
	data = append([]byte(nil), data...) // the arguments of an event are parts of it
	var p *parser.Packet
	var err error
	held := c.decoder.Held()
	c.decoder.MaxBytes = c.conn.MaxPayload()
	if codec := c.srv.opts.Parser; codec != nil {
		if p, err = nil, errNotBinary; binary {
			p, err = codec.Decode(data)
		}
	} else if binary {
		p, err = c.decoder.Attachment(data)
	} else {
		p, err = c.decoder.Text(data)
	}
	switch {
	case err != nil:
	case p != nil:
		err = c.take(p, held+len(data))
	case !c.greeted:
		err = errNoConnect // nobody has to keep attachments for a stranger
	}
	if now := c.decoder.Held(); err == nil && now != held {
		err = c.keep(now)
	}
	switch {
	case errors.Is(err, engineio.ErrPartialBudget):
		c.conn.Abort(engineio.ReasonPartial, err)
	case err != nil:
		c.conn.Abort(engineio.ReasonParseError, err)
	}
}

// keep notes how many bytes the decoder keeps.
func (c *client) keep(held int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	return c.account()
}

// account tells the connection what is held until it is complete: half a packet, and of a client
// that has entered no namespace also what waits for that. The caller holds mu.
func (c *client) account() error {
	n := c.held
	if c.timer != nil {
		n += c.waiting + c.running
	}
	return c.conn.Hold(n)
}

var (
	errNotBinary   = errors.New("text where the parser has binary messages")
	errNoConnect   = errors.New("first packet is not a connect")
	errLongAuth    = errors.New("auth object larger than the bound before a namespace is entered")
	errConnectedTo = errors.New("namespace is connected already")
)

// take acts on a packet, or puts it in the backlog if application code has to run.
func (c *client) take(p *parser.Packet, size int) error {
	s := c.socket(p.Namespace)
	switch p.Type {
	case parser.Connect:
		if len(p.Payload) > c.srv.opts.MaxPayloadBeforeConnect {
			return errLongAuth
		}
		c.greeted = true
		return c.put(job{packet: p, size: size})
	case parser.ConnectError:
		return parser.ErrSyntax
	}
	if !c.greeted {
		return errNoConnect
	}
	switch p.Type {
	case parser.Ack, parser.BinaryAck:
		if s != nil {
			s.acknowledged(p)
		}
	default:
		if p.Type == parser.Disconnect && s != nil {
			s.cancel()
		}
		// Whose it is shows when its turn comes: there may be a Connect or a Disconnect before it.
		return c.put(job{packet: p, size: size})
	}
	return nil
}

// socket returns the connected socket of a namespace, or nil.
func (c *client) socket(namespace string) *Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sockets {
		if s.ns.name == namespace {
			return s
		}
	}
	return nil
}

// all returns the sockets that are connected, or connecting.
func (c *client) all() []*Socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Socket(nil), c.sockets...)
}

// put adds a job to the backlog. An error means that the connection has to end; it comes only of a
// packet.
func (c *client) put(j job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backlog = append(c.backlog, j)
	c.waiting += j.size
	if len(c.backlog)-c.head >= c.srv.opts.MaxBacklog || c.waiting > c.conn.MaxPayload() {
		c.full.Store(true)
	}
	if j.size > 0 && c.timer != nil {
		return c.account()
	}
	return nil
}

// Ready implements engineio.Handler.
func (c *client) Ready() bool { return !c.full.Load() }

// Work implements engineio.Handler: it handles the backlog, unless somebody else is at it.
func (c *client) Work() {
	c.mu.Lock()
	if c.working {
		c.mu.Unlock()
		return
	}
	c.working = true
	for c.head < len(c.backlog) {
		j := c.backlog[c.head]
		c.backlog[c.head] = job{}
		c.head++
		c.waiting, c.running = c.waiting-j.size, j.size
		if c.head == len(c.backlog) {
			c.head, c.backlog = 0, c.backlog[:0]
			if cap(c.backlog) > 8 {
				c.backlog = nil
			}
		}
		resume := c.full.Load() && len(c.backlog)-c.head <= c.srv.opts.MaxBacklog/2 && c.waiting <= c.conn.MaxPayload()
		if resume {
			c.full.Store(false)
		}
		c.mu.Unlock()
		if resume {
			c.conn.Resume()
		}
		c.do(j)
		c.mu.Lock()
		c.running = 0
		if j.size > 0 && c.timer != nil {
			_ = c.account() // it has become less
		}
	}
	c.working = false
	c.mu.Unlock()
}

// do runs one job.
func (c *client) do(j job) {
	switch {
	case j.packet != nil && j.packet.Type == parser.Connect:
		c.connect(j.packet)
	case j.packet != nil:
		s := c.socket(j.packet.Namespace)
		if s == nil {
			return // the server has just disconnected it, or refused it
		}
		if j.packet.Type == parser.Disconnect {
			s.detach(ReasonClientDisconnect)
			s.farewell()
			return
		}
		s.dispatch(j.packet)
	case j.socket != nil:
		j.socket.farewell()
	case j.opened:
		c.srv.opts.Hooks.Opened(c.info())
	case j.moved:
		c.srv.watch.Load().upgraded(c.all())
		if c.srv.opts.Hooks.Upgraded != nil {
			c.srv.opts.Hooks.Upgraded(c.info())
		}
	case j.ended != nil:
		c.end(*j.ended)
	}
}

// Upgraded implements engineio.Upgrader.
func (c *client) Upgraded() {
	if c.srv.opts.Hooks.Upgraded != nil || c.srv.watch.Load() != nil {
		_ = c.put(job{moved: true})
	}
}

// Closed implements engineio.Handler.
func (c *client) Closed(reason string, err error) {
	c.away.Store(errors.Is(err, engineio.ErrGoingAway))
	c.mu.Lock()
	c.closed = true
	sockets := append([]*Socket(nil), c.sockets...)
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	c.mu.Unlock()
	for _, s := range sockets {
		s.cancel()
	}
	_ = c.put(job{ended: &ending{reason, err}})
}

// end takes leave of what was connected.
func (c *client) end(e ending) {
	for _, s := range c.all() {
		s.detach(e.reason)
		s.farewell()
	}
	c.srv.watch.Load().closed(e.reason)
	h := &c.srv.opts.Hooks
	if e.reason == engineio.ReasonQueueFull && h.QueueFull != nil {
		h.QueueFull(c.info())
	}
	if h.Closed != nil {
		h.Closed(c.info(), e.reason, e.err)
	}
}

func (c *client) info() ConnectionInfo {
	q := c.conn.Request()
	return ConnectionInfo{Transport: c.conn.Transport(), RemoteAddr: q.RemoteAddr, Open: time.Since(q.Time)}
}

// ConnectError refuses a client, from middleware. The client finds Message and Data in its
// connect_error.
type ConnectError struct {
	Message string
	Data    any // anything that encoding/json takes; nil for none
}

func (e *ConnectError) Error() string { return e.Message }

// refuse answers a Connect packet with an error.
func (c *client) refuse(namespace string, err error) {
	answer := struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{Message: err.Error()}
	var ce *ConnectError
	if errors.As(err, &ce) {
		answer.Message, answer.Data = ce.Message, ce.Data
	}
	payload, err := appendJSON(nil, answer)
	if c.old() {
		payload, err = parser.Quote(answer.Message), nil
	}
	if err != nil {
		payload, _ = json.Marshal(map[string]string{"message": answer.Message}) // a map of strings always marshals
	}
	_ = c.conn.Send(c.srv.control(parser.ConnectError, namespace, payload)) // to a client that has gone, nothing
}

// connect admits the client to a namespace, or refuses it.
func (c *client) connect(p *parser.Packet) {
	if c.old() {
		// Their namespaces may have a query, which is no part of the name.
		p.Namespace, _, _ = strings.Cut(p.Namespace, "?")
	}
	n := c.srv.resolve(p.Namespace, p.Payload)
	if n == nil {
		c.refuse(p.Namespace, &ConnectError{Message: "Invalid namespace"})
		return
	}
	defer n.joined()
	if c.socket(p.Namespace) != nil { // two Connects came together
		c.conn.Abort(engineio.ReasonParseError, errConnectedTo)
		return
	}
	s := newSocket(n, c, p.Payload)
	claim := n.log.claim(p.Payload)
	if claim != nil && n.log.kept != nil && c.srv.opts.Recovery.Export != nil {
		n.fetch(claim)
		defer n.settle(s, claim)
	}
	recoverable := claim != nil && n.prepare(s, claim)
	use, greet := n.registered()
	connected := false
	defer func() {
		if !connected {
			n.refused(s)
		}
	}()
	if recoverable && c.srv.opts.Recovery.SkipMiddleware && !claim.strange() {
		use = nil
	}
	for _, f := range use {
		if err := f(s); err != nil {
			if later := (*RetryError)(nil); errors.As(err, &later) {
				c.postpone(p, later.After)
			} else {
				c.refuse(p.Namespace, err)
			}
			return
		}
	}
	if !c.add(s) {
		return
	}
	if recoverable && (s.declined || !n.restore(s, claim)) {
		s.id, s.recovered, recoverable = newID(), false, false // or what was to be recovered has gone meanwhile
	}
	if !recoverable && !s.attach() {
		return
	}
	connected = true
	c.srv.watch.Load().connected(s)
	for _, f := range greet {
		f(s)
	}
}

// add makes s one of the connection's sockets, unless it has ended.
func (c *client) add(s *Socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.sockets = append(c.sockets, s)
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
		_ = c.account() // it has become less
	}
	if !s.restricted.Load() {
		c.conn.Trust()
	}
	return true
}

// remove is add's reverse.
func (c *client) remove(s *Socket) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, t := range c.sockets {
		if t == s {
			c.sockets = append(c.sockets[:i:i], c.sockets[i+1:]...)
			return
		}
	}
}
