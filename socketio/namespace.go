package socketio

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Namespace is one of the channels a connection's sockets can be in: with its own handlers, rooms
// and middleware. Its methods may be called by any goroutine.
type Namespace struct {
	name   string // immutable, like the next two; empty for a family
	srv    *Server
	parent *Namespace // the family it belongs to, whose handlers it has too

	joining int // clients being admitted; guarded by the server's mu

	turn   atomic.Uint32 // where the next broadcast begins among the members
	ackIDs atomic.Uint64 // the last id given to an event that wants an ack

	setup      sync.RWMutex // guards what the application has registered
	use        []func(*Socket) error
	greet      []func(*Socket)
	turnedAway []func(*Socket)
	on         handlers
	serverSide handlers

	mu      sync.RWMutex // guards who is there, and orders changes of that with broadcasts
	sockets map[string]*Socket
	all     room
	rooms   map[string]*room
	log     history
}

func newNamespace(s *Server, name string) *Namespace {
	n := &Namespace{name: name, srv: s, sockets: make(map[string]*Socket), rooms: make(map[string]*room)}
	n.log.init(n, s.opts)
	return n
}

// Name is the namespace's name, with its leading slash.
func (n *Namespace) Name() string { return n.name }

// Use adds middleware, which runs for each client that connects, in the order it was added, before
// the client is connected. An error refuses the client, which gets it as connect_error; make it a
// [*ConnectError] to send data along, and a [*RetryError] where the reason passes by itself.
// Middleware may block: it holds up only that client. The socket is in no room yet and can't emit.
func (n *Namespace) Use(f func(*Socket) error) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.use = append(n.use, f)
}

// OnConnection adds a function that is called with each socket that has connected, before any of
// its events is handled.
func (n *Namespace) OnConnection(f func(*Socket)) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.greet = append(n.greet, f)
}

// OnRefused adds a function that is called with each socket that was to connect and does not: since
// middleware refused it, or its connection ended meanwhile. What middleware has begun for the
// socket ends there, as with a disconnect for those that have connected.
func (n *Namespace) OnRefused(f func(*Socket)) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.turnedAway = append(n.turnedAway, f)
}

// refused tells of a socket that does not connect.
func (n *Namespace) refused(s *Socket) {
	if n.parent != nil {
		n.parent.refused(s)
	}
	n.setup.RLock()
	turnedAway := n.turnedAway
	n.setup.RUnlock()
	for _, f := range turnedAway {
		f(s)
	}
}

// On has f called for an event of any socket in the namespace: cheaper than a handler on each
// socket, if there are many. It is called before the socket's own handlers.
func (n *Namespace) On(event string, f func(*Event)) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.on.add(event, f)
}

// OnAny has f called for every event of any socket in the namespace, before the handlers for the
// event.
func (n *Namespace) OnAny(f func(*Event)) {
	n.setup.Lock()
	defer n.setup.Unlock()
	n.on.any = append(n.on.any, f)
}

// SocketsCount is the number of sockets connected to the namespace.
func (n *Namespace) SocketsCount() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets)
}

// Socket returns the connected socket with that id, or nil.
func (n *Namespace) Socket(id string) *Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.sockets[id]
}

// Rooms returns the number of sockets in each room. The room that every socket has for itself,
// named by its id, isn't in it.
func (n *Namespace) Rooms() map[string]int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	m := make(map[string]int, len(n.rooms))
	for name, r := range n.rooms {
		if len(r.members) > 0 {
			m[name] = len(r.members)
		}
	}
	return m
}

// registered returns what the application has registered for the namespace, and for its family.
func (n *Namespace) registered() (use []func(*Socket) error, greet []func(*Socket)) {
	if n.parent != nil {
		use, greet = n.parent.registered()
	}
	n.setup.RLock()
	defer n.setup.RUnlock()
	if use == nil && greet == nil {
		return n.use, n.greet
	}
	return append(slices.Clip(use), n.use...), append(slices.Clip(greet), n.greet...)
}

// handlersFor returns the functions for an event.
func (n *Namespace) handlersFor(event string) (forAny, named []func(*Event)) {
	if n.parent != nil {
		forAny, named = n.parent.handlersFor(event)
	}
	n.setup.RLock()
	defer n.setup.RUnlock()
	if forAny == nil && named == nil {
		return n.on.any, n.on.byName[event]
	}
	return append(slices.Clip(forAny), n.on.any...), append(slices.Clip(named), n.on.byName[event]...)
}

// handlers are the functions registered for events. Whoever holds them guards them.
type handlers struct {
	any    []func(*Event)
	byName map[string][]func(*Event)
}

func (h *handlers) add(event string, f func(*Event)) {
	if h.byName == nil {
		h.byName = make(map[string][]func(*Event))
	}
	h.byName[event] = append(h.byName[event], f)
}
