package socketio

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// Watch are functions that learn what goes on in all namespaces of a server, for looking at it as
// it runs (package admin). Each may be nil. They are called where it happens by many goroutines at
// once and must not block. Joined and Left are called under locks: they must not call into the
// server. Without a Watch nothing is spent on any of this.
type Watch struct {
	Opened       func()              // a connection
	Closed       func(reason string) // one ended
	Connected    func(*Socket)
	Upgraded     func(*Socket)
	Disconnected func(s *Socket, reason string)
	// Joined and Left tell of rooms other than the one a socket has for itself; Left also of those it
	// was in when it disconnected.
	Joined, Left func(s *Socket, room string)
	Received     func(*Event)
	// Sent is called once for each recipient, after the event was queued. Acknowledgements, and events
	// from other nodes, are not seen.
	Sent func(s *Socket, event string, args []any)
}

// Watch has w learn what goes on from now on, in place of an earlier one; nil ends it. What w
// learnt of before it was set, such as sockets that are there already, it is not told again.
func (s *Server) Watch(w *Watch) { s.watch.Store(w) }

// Namespaces returns those there are at this moment, in no order.
func (s *Server) Namespaces() []*Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*Namespace, 0, len(s.namespaces))
	for _, n := range s.namespaces {
		list = append(list, n)
	}
	return list
}

// Traffic counts what went over all connections since the server was made: packets of Engine.IO,
// heartbeats included, and their bytes.
type Traffic = engineio.Traffic

// Traffic returns the counts.
func (s *Server) Traffic() Traffic { return s.engine.Traffic() }

// ConnectionsByTransport counts the open connections by the transport they use now. It looks at
// every connection: meant for metrics, every few seconds.
func (s *Server) ConnectionsByTransport() map[Transport]int {
	by := map[Transport]int{Polling: 0, WebSocket: 0}
	for _, c := range s.engine.Connections() {
		by[c.Transport()]++
	}
	return by
}

// ConnectionID tells the connection from others, in logs and displays. It is the same for all
// sockets of the connection, and isn't the id that would let somebody use it.
func (s *Socket) ConnectionID() string {
	sum := sha256.Sum256([]byte(s.client.conn.ID()))
	return hex.EncodeToString(sum[:6])
}

func (w *Watch) opened() {
	if w != nil && w.Opened != nil {
		w.Opened()
	}
}

func (w *Watch) closed(reason string) {
	if w != nil && w.Closed != nil {
		w.Closed(reason)
	}
}

func (w *Watch) connected(s *Socket) {
	if w != nil && w.Connected != nil {
		w.Connected(s)
	}
}

func (w *Watch) upgraded(sockets []*Socket) {
	if w != nil && w.Upgraded != nil {
		for _, s := range sockets {
			w.Upgraded(s)
		}
	}
}

func (w *Watch) disconnected(s *Socket, reason string) {
	if w != nil && w.Disconnected != nil {
		w.Disconnected(s, reason)
	}
}

func (w *Watch) joined(s *Socket, room string) {
	if w != nil && w.Joined != nil {
		w.Joined(s, room)
	}
}

func (w *Watch) left(s *Socket, room string) {
	if w != nil && w.Left != nil {
		w.Left(s, room)
	}
}

func (w *Watch) received(e *Event) {
	if w != nil && w.Received != nil {
		w.Received(e)
	}
}

func (w *Watch) sent(s *Socket, event string, args []any) {
	if w != nil && w.Sent != nil {
		w.Sent(s, event, args)
	}
}
