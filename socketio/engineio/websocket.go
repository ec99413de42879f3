package engineio

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// link is a websocket under a connection: the one in use, or one being probed during an upgrade. It stands between
// gorilla/websocket, which makes the handshake and reads the frames, and the TCP connection, as that library's net.Conn: so it
// decides when something is read, and from which buffer.
//
// Reading is done by one goroutine at a time, the one in the reading role: a worker that took the link's readTask, or the
// link's own goroutine where readiness can't be had.
type link struct {
	net.Conn // the TCP or TLS connection; set by Hijack, before anything else happens

	c   *Conn
	ws  *websocket.Conn
	br  bufio.Reader    // the one ws reads from; it has a buffer only while somebody reads
	raw syscall.RawConn // nil where reads and writes block: TLS, and systems without readiness
	fd  int

	role   atomic.Uint32 // of reading: roleIdle, roleReading or roleAgain
	hungUp atomic.Bool   // the peer has ended its side: read on until the end is seen
	paused atomic.Bool   // reading waits for the handler
	unpark chan struct{} // wakes a paused goroutine; nil with readiness

	// These belong to the reading role.
	bytes []byte        // read from the socket and not yet given to ws
	owner *bufio.Reader // whose buffer br has borrowed; nil if none
	lent  *lease        // whose input they lie in; nil if they are the link's own
	probe bool          // the upgrade is not completed yet

	// These belong to the connection's mutex.
	rest    []byte // what the socket has not taken of the last write; goes out before anything else
	writing bool   // a worker writes, or waits for the socket to take more
	blocked bool   // the socket takes no more; readiness will tell
	edge    bool   // readiness has told since the last write began
	closed  bool
}

const (
	roleIdle    uint32 = iota // nobody reads; readiness will tell
	roleReading               // somebody reads
	roleAgain                 // somebody reads, and readiness has told of more meanwhile
)

// readers lend their buffers to links. gorilla/websocket takes a reader of ours only above 256 bytes; more is of little use, since
// behind it are the bytes that a worker has read.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1024) }}

// borrow gives br a buffer.
func (l *link) borrow() {
	if l.owner == nil {
		l.owner = readers.Get().(*bufio.Reader)
		l.br = *l.owner
		l.br.Reset(l)
	}
}

// giveBack takes br's buffer, which must be empty, away.
func (l *link) giveBack() {
	if l.owner != nil {
		readers.Put(l.owner)
		l.owner, l.br = nil, bufio.Reader{}
	}
}

var writeBuffers sync.Pool

// isUpgrade says whether r asks for a websocket.
func isUpgrade(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

// hijacker has gorilla/websocket take a link where it expects the HTTP server's connection.
type hijacker struct {
	http.ResponseWriter
	l *link
}

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := rw.Reader.Buffered(); n > 0 { // frames sent along with the request
		early := make([]byte, n)
		if _, err := io.ReadFull(rw.Reader, early); err != nil {
			return nil, nil, errors.Join(err, nc.Close())
		}
		h.l.bytes = early
	}
	h.l.Conn = nc
	h.l.borrow()
	return h.l, bufio.NewReadWriter(&h.l.br, rw.Writer), nil
}

// accept makes the websocket handshake. The response is not written yet: it goes out with the first packet.
// A nil link means that the client has been answered with an error.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, c *Conn, h http.Header) *link {
	l := &link{c: c, fd: -1}
	up := websocket.Upgrader{
		CheckOrigin:     func(*http.Request) bool { return true }, // CORS has decided
		WriteBufferPool: &writeBuffers,
		Error: func(w http.ResponseWriter, r *http.Request, _ int, reason error) {
			s.refuse(w, r, refusal(CodeBadRequest, reason.Error()))
		},
	}
	ws, err := up.Upgrade(hijacker{w, l}, r, h)
	if err != nil {
		return nil
	}
	ws.SetReadLimit(int64(s.opts.MaxPayload))
	ws.SetPingHandler(func(text string) error { l.reply(control(opPong, []byte(text))); return nil })
	ws.SetCloseHandler(func(int, string) error { return nil })
	l.ws = ws
	if l.raw = rawConn(l.Conn); l.raw == nil {
		l.unpark = make(chan struct{}, 1)
	}
	return l
}

// openWebSocket opens c with an upgrade request.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, c *Conn) *Error {
	h := make(http.Header)
	s.addInitialHeaders(h, r, c)
	h.Del("Cache-Control")
	l := s.accept(w, r, c, h)
	if l == nil {
		return nil
	}
	c.link = l
	c.handler = s.opts.Accept(c)
	c.queue.put(s.openPacket(c.id, false))
	if !s.admit(c) {
		_ = l.Conn.Close() // nothing was promised to the client yet
		return nil
	}
	l.start()
	return nil
}

// start begins to read and writes what is pending.
func (l *link) start() {
	l.c.mu.Lock()
	b := l.begin()
	l.c.mu.Unlock()
	if b != nil {
		(*flushTask)(b).run()
	}
	if l.raw == nil {
		l.c.srv.read(l)
		return
	}
	l.giveBack()
	if !l.watch() {
		l.fail(errNoReadiness)
	}
}

var errNoReadiness = errors.New("socket could not be watched for readiness")

// read starts a goroutine that reads from a link without readiness.
func (s *Server) read(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.reading.Go(l.readBlocking)
	}
}

// readBlocking reads until the end.
func (l *link) readBlocking() {
	l.role.Store(roleReading)
	b := getLease()
	defer b.release()
	for {
		mt, data, err := l.next(b)
		if err == nil {
			err = l.deliver(mt, data)
		}
		if err != nil {
			l.fail(err)
			return
		}
		l.c.Schedule()
		for !l.c.handler.Ready() {
			l.paused.Store(true)
			if l.c.handler.Ready() {
				l.paused.Store(false)
				break
			}
			<-l.unpark
			if l.isClosed() {
				return
			}
		}
	}
}

// resume goes on reading if that was paused.
func (l *link) resume() {
	if !l.paused.CompareAndSwap(true, false) {
		return
	}
	if l.unpark != nil {
		select {
		case l.unpark <- struct{}{}:
		default:
		}
		return
	}
	l.c.srv.pool.submit((*readTask)(l))
}

// next reads one message with ws. The data lies in b.
func (l *link) next(b *lease) (messageType int, data []byte, err error) {
	mt, r, err := l.ws.NextReader()
	if err != nil {
		return 0, nil, err
	}
	b.msg, err = readAll(b.msg[:0], r, l.c.srv.opts.MaxPayload)
	return mt, b.msg, err
}

// deliver hands one message to the connection, or to the upgrade that is under way.
func (l *link) deliver(messageType int, data []byte) error {
	if l.probe {
		return l.onProbe(data)
	}
	return l.c.receive(data, messageType == websocket.BinaryMessage)
}

// fail ends the link after an error of reading or writing, and with it the connection, if it runs on it.
func (l *link) fail(err error) {
	c := l.c
	c.mu.Lock()
	inUse := c.link == l
	if c.probing == l {
		c.upgradeEnded()
	}
	closed := l.closed
	c.mu.Unlock()
	switch {
	case closed:
	case !inUse:
		l.close()
	default:
		reason := ReasonTransportError
		var ce *websocket.CloseError
		switch {
		case errors.As(err, &ce):
			reason, err = ReasonTransportClose, nil
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			reason = ReasonTransportClose
		case errors.Is(err, errPacket), errors.Is(err, errGoodbye):
			reason = reasonFor(err)
		}
		c.end(reason, err, closeMessage)
		c.reap()
	}
}

// reply queues a websocket control frame, if this is the link in use.
func (l *link) reply(m *Message) {
	c := l.c
	c.mu.Lock()
	var b *link
	// A peer that pings without reading the pongs must not grow the queue.
	if c.link == l && c.state == stateOpen && c.queue.bytes < volatileBytes {
		c.queue.put(m)
		b = l.begin()
	}
	c.mu.Unlock()
	if b != nil {
		c.srv.pool.submit((*flushTask)(b))
	}
}

// close ends the websocket, with a close frame if that can be sent at once.
func (l *link) close() {
	c := l.c
	c.mu.Lock()
	if l.closed {
		c.mu.Unlock()
		return
	}
	l.closed = true
	midFrame := l.writing || len(l.rest) > 0
	l.rest = nil
	c.mu.Unlock()
	if !midFrame && l.raw != nil {
		b := getLease()
		_, _ = l.write(b, goodbyeMessage.frame) // a courtesy
		b.release()
	}
	if tcp, ok := l.Conn.(*net.TCPConn); ok && midFrame {
		_ = tcp.SetLinger(0) // the peer isn't reading: don't have the kernel keep what it is owed
	}
	l.unwatch()
	_ = l.Conn.Close() // nothing is left to do about an error
	if l.unpark != nil {
		select {
		case l.unpark <- struct{}{}:
		default:
		}
	}
}

func (l *link) isClosed() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.closed
}

// Read gives gorilla/websocket bytes that were read before, or else blocks for more: which happens only within a message, or
// on a link without readiness.
func (l *link) Read(p []byte) (int, error) {
	if len(l.bytes) == 0 {
		if l.lent != nil {
			l.lent.returnInput()
		}
		return l.Conn.Read(p)
	}
	n := copy(p, l.bytes)
	l.bytes = l.bytes[n:]
	return n, nil
}

// Write takes what gorilla/websocket writes by itself: the response of the handshake, and a close frame when it finds the
// peer at fault.
func (l *link) Write(p []byte) (int, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.ws == nil {
		l.rest = append(l.rest, p...)
		return len(p), nil
	}
	if !l.writing && len(l.rest) == 0 && l.c.link == l {
		l.c.queue.put(&Message{frame: append([]byte(nil), p...), kind: kindControl})
		if b := l.begin(); b != nil {
			l.c.srv.pool.submit((*flushTask)(b))
		}
	}
	return len(p), nil
}

// SetDeadline does nothing: the heartbeat watches over the link.
func (l *link) SetDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (l *link) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (l *link) SetReadDeadline(time.Time) error { return nil }
