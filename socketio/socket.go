package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// The reasons for which a socket disconnects, as [Socket.OnDisconnect] gets them.
const (
	ReasonClientDisconnect = "client namespace disconnect"
	ReasonServerDisconnect = "server namespace disconnect"
	ReasonPingTimeout      = engineio.ReasonPingTimeout
	ReasonTransportClose   = engineio.ReasonTransportClose
	ReasonTransportError   = engineio.ReasonTransportError
	ReasonParseError       = engineio.ReasonParseError
	ReasonForcedClose      = engineio.ReasonForcedClose
	ReasonQueueFull        = engineio.ReasonQueueFull
	ReasonFlood            = engineio.ReasonFlood
)

// Socket is one client in one namespace. Its methods may be called by any goroutine.
type Socket struct {
	id     string // immutable, like the next three
	ns     *Namespace
	client *client
	auth   json.RawMessage

	recovered bool // immutable once handlers see the socket
	declined  bool // by middleware, which alone runs while this may change

	// These belong to the namespace's mu.
	present bool // connected
	rooms   []membership
	session *session // nil without recovery; immutable once the socket is connected

	restricted atomic.Bool // see Restrict

	gone    atomic.Bool // disconnected, or about to be: no ack comes any more
	watched atomic.Bool // outgoing isn't empty

	mu       sync.Mutex  // guards everything below
	own      *registered // what the application has registered on the socket; nil if nothing
	data     any
	reason   string // why it was detached; empty before
	ctx      context.Context
	stop     context.CancelFunc
	acks     map[uint64]func(*Reply, error)
	detached bool
	notified bool
}

// registered are the functions that the application has registered on one socket.
type registered struct {
	on       handlers
	leaving  []func(reason string)
	outgoing []func(event string, args []any)
	use      []func(*Event) error
}

// register changes what is registered.
func (s *Socket) register(f func(*registered)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		s.own = new(registered)
	}
	f(s.own)
}

// registered returns what is registered at this moment.
func (s *Socket) registered() registered {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		return registered{}
	}
	return *s.own
}

func newSocket(n *Namespace, c *client, auth json.RawMessage) *Socket {
	s := &Socket{id: newID(), ns: n, client: c, auth: auth}
	if c.old() { // these clients know their ids without being told
		s.id = c.conn.ID()
		if n.name != "/" {
			s.id = n.name + "#" + s.id
		}
	}
	return s
}

// newID returns 120 random bits in URL-safe text.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than return an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ID is the socket's id, which its client knows too. It is also the name of a room with this socket
// alone in it.
func (s *Socket) ID() string { return s.id }

// Namespace is where the socket is connected.
func (s *Socket) Namespace() *Namespace { return s.ns }

// Recovered says whether the socket is one that a client has got back: with its id, rooms and data.
func (s *Socket) Recovered() bool { return s.recovered }

// DeclineRecovery makes, called by middleware, a client that wants its socket back a new one
// instead: for one that turns out to be somebody else than before. It gets another id, no rooms,
// and nothing of what was missed.
func (s *Socket) DeclineRecovery() { s.declined = true }

// WentAway reports whether the connection ended since the client's page was closed, left or loaded
// anew, and the browser said so. A connection that is merely lost ends without a word.
func (s *Socket) WentAway() bool { return s.client.away.Load() }

// Restrict has, called by middleware, [Options.MaxPayloadBeforeConnect] go on to bound what the
// client sends, until Unrestrict is called: for an application that lets clients in before they
// have said who they are.
func (s *Socket) Restrict() { s.restricted.Store(true) }

// Unrestrict ends what Restrict began.
func (s *Socket) Unrestrict() {
	if s.restricted.CompareAndSwap(true, false) {
		s.client.conn.Trust()
	}
}

// Transport is what the connection uses now.
func (s *Socket) Transport() Transport { return s.client.conn.Transport() }

// Connected says whether the socket is connected.
func (s *Socket) Connected() bool {
	s.ns.mu.RLock()
	defer s.ns.mu.RUnlock()
	return s.present
}

// Handshake is what a client said when it connected.
type Handshake struct {
	// Auth is the JSON object the client gave as auth, "{}" if none.
	Auth json.RawMessage
	// Query are the parameters of the request that opened the connection, the first of each name.
	Query map[string]string
	// Header are that request's headers.
	Header http.Header
	// URL is that request's path and query, Host the host it asked for.
	URL, Host string
	// RemoteAddr is the address and port it came from.
	RemoteAddr string
	// Time is when the connection was opened.
	Time time.Time
	// Secure says whether TLS ended in this process.
	Secure bool
}

// Handshake returns what the client said when it connected. It is built for each call.
func (s *Socket) Handshake() *Handshake {
	q := s.client.conn.Request()
	auth := s.auth
	if len(auth) == 0 {
		auth = json.RawMessage("{}")
	}
	return &Handshake{Auth: auth, Query: q.Query(), Header: q.Header(), URL: q.URL, Host: q.Host, RemoteAddr: q.RemoteAddr,
		Time: q.Time, Secure: q.Secure}
}

// Data returns what [Socket.SetData] stored, or nil.
func (s *Socket) Data() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// SetData stores a value of the application's with the socket.
func (s *Socket) SetData(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = v
}

// Context is done when the socket has disconnected.
func (s *Socket) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.stop = context.WithCancel(context.Background())
		if s.gone.Load() {
			s.stop()
		}
	}
	return s.ctx
}

// On has f called for an event. Several functions for the same event are called in the order they
// were added.
func (s *Socket) On(event string, f func(*Event)) {
	s.register(func(r *registered) { r.on.add(event, f) })
}

// OnAny has f called for every event, before the handlers for the event.
func (s *Socket) OnAny(f func(*Event)) {
	s.register(func(r *registered) { r.on.any = append(r.on.any, f) })
}

// Use adds a function that sees every event before any handler. If it returns an error the event is
// dropped.
func (s *Socket) Use(f func(*Event) error) {
	s.register(func(r *registered) { r.use = append(r.use, f) })
}

// OnDisconnect has f called with the reason after the socket has disconnected and left its rooms.
// Added later, it is not called.
func (s *Socket) OnDisconnect(f func(reason string)) {
	s.register(func(r *registered) { r.leaving = append(r.leaving, f) })
}

// dispatch hands an event to its handlers.
func (s *Socket) dispatch(p *parser.Packet) {
	name, err := p.Name()
	if err != nil { // the parser has checked it
		return
	}
	e := &Event{Name: name, Args: p.Args[1:], Attachments: p.Attachments, Socket: s, id: p.ID, wants: p.HasID}
	anyAll, all := s.ns.handlersFor(name)
	s.mu.Lock()
	var use []func(*Event) error
	var anyOwn, own []func(*Event)
	if s.own != nil {
		use, anyOwn, own = s.own.use, s.own.on.any, s.own.on.byName[name]
	}
	s.mu.Unlock()
	s.ns.srv.watch.Load().received(e)
	for _, f := range use {
		if f(e) != nil {
			return
		}
	}
	for _, fs := range [...][]func(*Event){anyAll, anyOwn, all, own} {
		for _, f := range fs {
			f(e)
		}
	}
}

// attach connects the socket. It returns false if the connection has ended meanwhile.
func (s *Socket) attach() bool {
	n, c := s.ns, s.client
	n.mu.Lock()
	defer n.mu.Unlock()
	// Under the lock, so that no broadcast reaches the client before it knows that it is connected.
	if n.log.on {
		s.session = n.log.open(s)
	}
	if c.conn.Send(s.welcome()) != nil {
		return false // the connection's end, on its way, takes leave of the socket
	}
	n.enter(s)
	return true
}

// welcome is the packet that tells a client it is connected.
func (s *Socket) welcome() *engineio.Message {
	if s.client.old() {
		return s.ns.srv.control(parser.Connect, s.ns.name, nil)
	}
	payload := append([]byte(`{"sid":"`), s.id...)
	if s.session != nil {
		payload = append(append(payload, `","pid":"`...), s.session.pid...)
	}
	return s.ns.srv.control(parser.Connect, s.ns.name, append(payload, `"}`...))
}

// detach takes the socket out of its namespace, the first time it is called.
func (s *Socket) detach(reason string) {
	d := s.ns.export(s, reason) // before anybody takes the socket for detached
	s.mu.Lock()
	if s.detached {
		s.mu.Unlock()
		return
	}
	s.detached, s.reason = true, reason
	s.mu.Unlock()
	n := s.ns
	n.mu.Lock()
	if s.session != nil {
		n.log.leave(n, s, reason, d)
	}
	n.exit(s)
	n.mu.Unlock()
	n.srv.watch.Load().disconnected(s, reason)
	n.discardIfEmpty()
	s.client.remove(s)
	s.cancel()
	s.failAcks()
}

// cancel notes that the client has gone, or is about to. It calls nothing of the application's,
// which may hold locks.
func (s *Socket) cancel() {
	s.gone.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
}

// failAcks tells whoever waits for the client's acknowledgements that none will come.
func (s *Socket) failAcks() {
	s.mu.Lock()
	acks := s.acks
	s.acks = nil
	s.mu.Unlock()
	for _, f := range acks {
		f(nil, ErrDisconnected)
	}
}

// farewell calls the disconnect handlers of a detached socket, once.
func (s *Socket) farewell() {
	fs := s.registered().leaving
	s.mu.Lock()
	reason, done := s.reason, s.notified
	s.notified = true
	s.mu.Unlock()
	if done {
		return
	}
	for _, f := range fs {
		f(reason)
	}
}

// Disconnect ends the socket. With closeConnection it ends the whole connection, with its sockets
// in other namespaces, once what was sent before is written. It doesn't wait; disconnect handlers
// are called in turn with the connection's events.
func (s *Socket) Disconnect(closeConnection bool) {
	c := s.client
	if !closeConnection {
		s.expel()
		return
	}
	c.mu.Lock()
	all := append([]*Socket(nil), c.sockets...)
	c.mu.Unlock()
	for _, t := range all {
		t.expel()
	}
	c.conn.Close()
}

// CloseConnection ends the connection, once what was sent before is written, without taking leave:
// to the client it looks like a failure of the network, and it comes back by itself, with what its
// auth function then gives. A client that [Socket.Disconnect] sends away stays away.
func (s *Socket) CloseConnection() { s.client.conn.Close() }

// expel disconnects the socket by the server's wish.
func (s *Socket) expel() {
	_ = s.client.conn.Send(s.ns.srv.control(parser.Disconnect, s.ns.name, nil)) // to a client that has gone, nothing
	s.detach(ReasonServerDisconnect)
	_ = s.client.put(job{socket: s})
	s.client.conn.Schedule()
}
