package socketio

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// Server is a Socket.IO server and an http.Handler. It is also its own main namespace "/", whose
// methods it has.
type Server struct {
	*Namespace // "/"; immutable

	opts    Options          // immutable
	engine  *engineio.Server // immutable
	cluster cluster
	bundle  bundle
	stopped sync.Once // of what is not the engine's
	watch   atomic.Pointer[Watch]

	mu         sync.RWMutex // guards everything below
	namespaces map[string]*Namespace
	families   []dynamic
}

// NewServer makes a server. Nothing runs before the first client connects, unless there is an
// adapter: if that can't be started NewServer panics; see [Open] for one that returns the error.
func NewServer(opts Options) *Server {
	s, err := Open(opts)
	if err != nil {
		panic(err)
	}
	return s
}

// Open is NewServer for options with an adapter, the start of which may fail.
func Open(opts Options) (*Server, error) {
	s := &Server{opts: opts.withDefaults(), namespaces: make(map[string]*Namespace)}
	if err := s.cluster.start(s, s.opts.Adapter); err != nil {
		return nil, err
	}
	s.Namespace = s.Of("/")
	s.bundle.source = s.opts.ClientBundle
	eo := s.opts.engine()
	eo.Accept = s.accept
	if f, ok := s.opts.Adapter.(Follower); ok {
		eo.Settle = func(ctx context.Context) { _ = f.CaughtUp(ctx) } // what does not come in time is for nobody here
	}
	s.engine = engineio.NewServer(eo)
	return s, nil
}

// ServeHTTP serves clients on the server's paths, and answers 404 elsewhere.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.bundle.serve(w, r, s.engine.Serves) {
		s.engine.ServeHTTP(w, r)
	}
}

// SetCORS replaces which pages of other origins may connect, for requests from now on. Connections
// that are open stay.
func (s *Server) SetCORS(c CORS) { s.engine.SetCORS(c) }

// Of returns the namespace of that name, which comes into being with the first call: clients can
// connect to it from then on. The leading slash may be left out.
func (s *Server) Of(name string) *Namespace {
	if name == "" || name[0] != '/' {
		name = "/" + name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaces[name]
	if n == nil {
		n = newNamespace(s, name)
		s.namespaces[name] = n
		s.cluster.opened(name)
	}
	return n
}

// namespace returns the namespace a client asks for, or nil if there is none.
func (s *Server) namespace(name string) *Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.namespaces[name]
}

// ConnectionsCount is the number of open connections. A connection may have sockets in several
// namespaces.
func (s *Server) ConnectionsCount() int { return s.engine.Count() }

// QueueDepth returns what waits for all clients together, and for the one that has most waiting. It
// looks at every connection: meant for metrics, every few seconds.
func (s *Server) QueueDepth() (packets, bytes, largest int) {
	for _, c := range s.engine.Connections() {
		p, b := c.Pending()
		packets, bytes, largest = packets+p, bytes+b, max(largest, b)
	}
	return packets, bytes, largest
}

// Partial returns how many bytes are held of messages from clients that aren't complete, and how
// many connections have been ended for that since the server began: because of
// [Options.MaxPartial].
func (s *Server) Partial() (bytes int, ended int64) { return s.engine.Partial() }

// DefaultDrain is how long [Server.Shutdown] takes to close all connections, if its context allows.
const DefaultDrain = 2 * time.Second

// Shutdown refuses new connections with status 503, closes those there are in slices spread over
// two seconds, so that their clients don't all come back at once, waits until what was sent to them
// is written, and stops the server's goroutines. When ctx ends first the remaining connections are
// cut off and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	over := DefaultDrain
	if d, ok := ctx.Deadline(); ok {
		over = min(over, time.Until(d)/2)
	}
	if s.engine.Count() == 0 {
		over = 0
	}
	err := s.engine.Shutdown(ctx, max(over, 0))
	s.stop()
	return err
}

// Close cuts every connection off, stops the server's goroutines and waits for them.
func (s *Server) Close() {
	s.engine.Close()
	s.stop()
}

// stop stops the timers of all namespaces, and the adapter.
func (s *Server) stop() {
	s.stopped.Do(func() {
		s.mu.RLock()
		for _, n := range s.namespaces {
			n.mu.Lock()
			n.log.stop()
			n.mu.Unlock()
		}
		s.mu.RUnlock()
		if s.cluster.adapter != nil {
			_ = s.cluster.adapter.Close() // nothing can be done about it any more
		}
	})
}
