package engineio

import (
	"context"
	"math/rand/v2"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Server accepts connections. It is an http.Handler, and is ready when [NewServer] returns.
type Server struct {
	opts  Options // immutable
	wheel *wheel
	pool  pool

	open     atomic.Int64 // connections that are not closed
	draining atomic.Bool  // nothing new is accepted
	cors     atomic.Pointer[CORS]
	traffic  traffic
	partials *partials
	queues   queues

	mu      sync.Mutex // guards everything below
	conns   map[string]*Conn
	poller  *poller // readiness of websockets; nil until the first one
	started bool
	stopped bool
	empty   chan struct{}  // closed when the last connection goes while stopping; nil before
	reading sync.WaitGroup // goroutines that read one websocket each
}

// NewServer makes a server. It starts nothing before the first connection.
func NewServer(opts Options) *Server {
	opts = opts.withDefaults()
	s := &Server{opts: opts, wheel: newWheel(min(opts.PingInterval, opts.PingTimeout)), conns: make(map[string]*Conn)}
	s.partials = newPartials(opts.MaxPartial)
	s.queues.max = int64(opts.MaxQueuesBytes)
	s.SetCORS(opts.CORS)
	return s
}

// SetCORS replaces which pages may connect, for requests from now on. Connections that are open
// stay.
func (s *Server) SetCORS(c CORS) { s.cors.Store(&c) }

// Count is the number of open connections.
func (s *Server) Count() int { return int(s.open.Load()) }

// Connections returns the open connections at this moment.
func (s *Server) Connections() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Conn, 0, len(s.conns))
	for _, c := range s.conns {
		list = append(list, c)
	}
	return list
}

// Draining says whether the server is shutting down.
func (s *Server) Draining() bool { return s.draining.Load() }

// Serves says whether the path belongs to one of the server's mount points.
func (s *Server) Serves(urlPath string) bool {
	for _, p := range s.opts.Paths {
		if urlPath == p || len(urlPath) == len(p)+1 && strings.HasPrefix(urlPath, p) && urlPath[len(p)] == '/' {
			return true
		}
	}
	return false
}

// mountPath returns a mount point as Serves compares it: with a slash in front and none behind.
func mountPath(p string) string { return path.Clean("/" + p) }

// ServeHTTP handles the requests of clients. Requests outside the mount points are answered with
// 404.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.Serves(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	if cors := s.cors.Load(); cors.active() {
		cors.headers(w.Header(), r)
		if r.Method == http.MethodOptions {
			cors.preflight(w, r)
			return
		}
	}
	q := r.URL.Query()
	if e := s.serve(w, r, q.Get("sid"), Transport(q.Get("transport")), q.Get("EIO")); e != nil {
		s.refuse(w, r, e)
	}
}

// serve directs a request to the connection it is for, or opens one.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, sid string, t Transport, eio string) *Error {
	upgrade, version, cors := websocket.IsWebSocketUpgrade(r), s.version(eio), s.cors.Load()
	switch {
	case !s.offers(t):
		return refusal(CodeUnknownTransport, "transport not offered")
	case version == 0:
		return refusal(CodeUnsupportedVersion, "version not spoken")
	case crossOrigin(r) && !cors.allows(r, r.Header.Get("Origin")):
		e := refusal(CodeForbidden, "")
		e.Message, e.cause = "Origin not allowed", ErrOrigin
		return e
	}
	if sid != "" {
		return s.serveOpen(w, r, sid, t, upgrade, version)
	}
	switch {
	case r.Method != http.MethodGet:
		return refusal(CodeBadHandshakeMethod, r.Method)
	case t == WebSocket && !upgrade:
		return refusal(CodeBadRequest, "websocket transport without an upgrade")
	case t == Polling && upgrade:
		return refusal(CodeBadRequest, "upgrade with the polling transport")
	case s.draining.Load():
		return stopping(w)
	}
	if s.opts.Allow != nil {
		if err := s.opts.Allow(r); err != nil {
			e := refusal(CodeForbidden, err.Error())
			e.Message = err.Error()
			return e
		}
	}
	c := &Conn{srv: s, id: newID(), request: NewRequest(r), transport: Polling, protocol: version}
	c.pingDue = c.request.Time.Add(s.opts.PingInterval)
	c.beat.owner = c
	c.trusted.Store(s.opts.MaxUntrustedPayload >= s.opts.MaxPayload)
	c.textOnly = wantsText(r)
	if t == WebSocket {
		c.transport = WebSocket // not t, which is a part of the request's first line and would keep that
		return s.openWebSocket(w, r, c)
	}
	return s.openPolling(w, r, c)
}

// stopping refuses a request since the server shuts down.
func stopping(w http.ResponseWriter) *Error {
	w.Header().Set("Retry-After", "1")
	return &Error{Code: CodeBadRequest, Message: "Server is shutting down", status: http.StatusServiceUnavailable}
}

// serveOpen handles a request that names a connection.
func (s *Server) serveOpen(
	w http.ResponseWriter,
	r *http.Request,
	sid string,
	t Transport,
	upgrade bool,
	version uint8,
) *Error {
	s.mu.Lock()
	c := s.conns[sid]
	s.mu.Unlock()
	switch {
	case c != nil:
	case s.draining.Load(): // it may be another node's: have the proxy ask that
		return stopping(w)
	default:
		return refusal(CodeUnknownSID, "")
	}
	if c.protocol != version {
		return refusal(CodeBadRequest, "session speaks another version")
	}
	if c.overdue(r.Method) {
		c.close(ReasonPingTimeout, nil)
		return refusal(CodeUnknownSID, "timed out")
	}
	switch {
	case t == WebSocket && upgrade && r.Method == http.MethodGet:
		return s.probe(w, r, c)
	case t == Polling && !upgrade && r.Method == http.MethodGet:
		return c.servePoll(w, r)
	case t == Polling && !upgrade && r.Method == http.MethodPost:
		return c.servePost(w, r)
	}
	return refusal(CodeBadRequest, "method or transport does not fit the session")
}

func (s *Server) offers(t Transport) bool {
	for _, o := range s.opts.Transports {
		if o == t {
			return true
		}
	}
	return false
}

// admit makes c known, with the first ping due. It returns false if the server has stopped
// meanwhile.
func (s *Server) admit(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		c.handler.Closed(ReasonForcedClose, ErrClosed)
		return false
	}
	if !s.started {
		s.started = true
		s.wheel.start()
	}
	s.conns[c.id] = c
	s.open.Add(1)
	first := s.opts.PingInterval
	if c.protocol == 3 {
		first += s.opts.PingTimeout // for the client's ping
	}
	s.wheel.set(&c.beat, first)
	c.Schedule()
	return true
}

// forget is admit's reverse.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// addHeaders sets the headers every response has.
func (s *Server) addHeaders(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store")
	if s.opts.Headers != nil {
		s.opts.Headers(h, r)
	}
}

// addInitialHeaders sets the headers of a response that opens c.
func (s *Server) addInitialHeaders(h http.Header, r *http.Request, c *Conn) {
	if s.opts.Cookie != nil {
		cookie := *s.opts.Cookie
		cookie.Value = c.id
		h.Add("Set-Cookie", cookie.String())
	}
	if s.opts.InitialHeaders != nil {
		s.opts.InitialHeaders(h, r)
	}
	s.addHeaders(h, r)
}

// Drain refuses new connections with status 503; existing ones go on.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown refuses new connections, closes those there are in small slices spread over the given
// time, so that the clients do not all come back at once, waits until they are gone, and stops. A
// long-polling client gets what is pending, and then the end, with its next requests; the wait for
// each is one second. When ctx ends first, what is left is cut off, and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context, over time.Duration) error {
	s.Drain()
	const slices = 20
	conns := s.Connections()
	for _, c := range conns {
		c.hurry()
	}
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	settling, cancel := context.WithTimeout(ctx, over/2)
	defer cancel()
	for n := slices; n > 0 && ctx.Err() == nil; n-- {
		if s.opts.Settle != nil && settling.Err() == nil {
			s.opts.Settle(settling)
		}
		size := (len(conns) + n - 1) / n
		for _, c := range conns[:size] {
			c.Close()
		}
		conns = conns[size:]
		if len(conns) == 0 {
			break
		}
		// Half to one and a half of an even share.
		wait(ctx, time.Duration((0.5+rand.Float64())*float64(over)/slices))
	}
	s.mu.Lock()
	s.stopped = true // what was let in before Drain was seen is closed below
	gone := make(chan struct{})
	if len(s.conns) == 0 {
		close(gone)
	} else {
		s.empty = gone
	}
	s.mu.Unlock()
	for _, c := range s.Connections() {
		c.Close()
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
	err := ctx.Err()
	s.stop()
	return err
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Close cuts every connection off, stops the server's goroutines and waits for them; only handlers
// that don't return hold it up.
func (s *Server) Close() {
	s.Drain()
	s.stop()
}

func (s *Server) stop() {
	s.mu.Lock()
	s.stopped = true
	started, p := s.started, s.poller
	s.started, s.poller = false, nil
	s.mu.Unlock()
	for _, c := range s.Connections() {
		c.end(ReasonForcedClose, nil, closeMessage)
		c.reap()
	}
	if started {
		s.wheel.close()
	}
	if p != nil {
		p.close()
	}
	s.reading.Wait()
	s.pool.close()
}
