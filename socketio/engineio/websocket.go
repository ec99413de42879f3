package engineio

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
)

// link is a websocket under a connection: the one in use, or one being probed during an upgrade.
//
// Reading is done by one goroutine at a time, the one in the reading role: a worker that took the
// link's readTask, or the link's own goroutine where readiness can't be had.
type link struct {
	c  *Conn      // immutable, like the next two
	nc net.Conn   // reads and writes block; nil where the link has a descriptor
	fd descriptor // of a socket that is watched for readiness

	role   atomic.Uint32 // of reading: roleIdle, roleReading or roleAgain
	hungUp atomic.Bool   // the peer has ended its side: read on until the end is seen
	paused atomic.Bool   // reading waits for the handler
	unpark chan struct{} // wakes a paused goroutine; nil with readiness

	// These belong to the reading role.
	probe  bool   // the upgrade is not completed yet
	unread []byte // came but was not handed to frames for good
	frames frames
	held   int // what partials know of

	// These belong to the connection's mutex.
	rest    []byte     // what the socket has not taken of the last write; goes out before anything else
	fault   closeError // the peer's, to be told to it at the end; 0 for none
	gone    bool       // the peer is, and needs no close frame
	writing bool       // a worker writes, or waits for the socket to take more
	blocked bool       // the socket takes no more; readiness will tell
	edge    bool       // readiness has told since the last write began
	closed  bool
}

const (
	roleIdle    uint32 = iota // nobody reads; readiness will tell
	roleReading               // somebody reads
	roleAgain                 // somebody reads, and readiness has told of more meanwhile
)

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
	open := s.openPacket(c.id, false)
	c.queue.put(open)
	s.queues.hold(open)
	if !s.admit(c) {
		l.discard() // nothing was promised to the client yet
		return nil
	}
	l.start()
	_ = c.keepRequest() // else it is closed
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
	switch {
	case l.nc != nil:
		l.c.srv.read(l)
	case !l.watch():
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

// smallRead is the size of the buffer that a goroutine keeps while it waits for its client, in
// bytes.
const smallRead = 1 << 10

// readBlocking reads until the end.
func (l *link) readBlocking() {
	l.role.Store(roleReading)
	b := getLease()
	defer b.release()
	small := make([]byte, smallRead)
	in, buf := small, l.unread
	l.unread = nil
	for {
		rest, err := l.take(buf)
		switch {
		case errors.Is(err, errNotReady):
			l.c.Schedule()
			if !l.await() {
				return
			}
			buf = rest
			continue
		case err != nil:
			l.fail(err)
			return
		}
		l.c.Schedule()
		n := copy(in, rest)
		m, err := l.nc.Read(in[n:])
		if err != nil {
			l.fail(err)
			return
		}
		buf = in[:n+m]
		// A big buffer is borrowed only while it is filled.
		if full := n+m == len(in); full && len(in) == smallRead {
			in = b.input()
		} else if !full && len(in) > smallRead {
			in = small
			buf = append([]byte(nil), buf...)
			b.returnInput()
		}
	}
}

// await waits until the handler is ready. It returns false if the link is closed.
func (l *link) await() bool {
	for !l.c.handler.Ready() {
		l.paused.Store(true)
		if l.c.handler.Ready() {
			l.paused.Store(false)
			break
		}
		<-l.unpark
		if l.isClosed() {
			return false
		}
	}
	return true
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

// errNotReady means that the handler takes no more for now.
var errNotReady = errors.New("handler is not ready")

// take delivers the messages in buf and returns the bytes after them: an incomplete message or,
// with errNotReady, also whole ones.
func (l *link) take(buf []byte) (rest []byte, err error) {
	for {
		l.frames.limit = l.c.MaxPayload()
		op, payload, after, ok, err := l.frames.next(buf)
		if held := l.frames.held(); err == nil && held != l.held {
			l.held = held
			err = l.c.srv.partials.set(l.c, partialFrames, held)
		}
		if err != nil || !ok {
			return after, err
		}
		buf = after
		switch op {
		case opcodePing, opcodePong:
			if err := l.c.spend(); err != nil {
				return nil, err
			}
			if op == opcodePing {
				l.reply(control(opPong, payload))
			}
			continue
		case opcodeClose:
			if len(payload) >= 2 && binary.BigEndian.Uint16(payload) == goingAway {
				return nil, ErrGoingAway
			}
			return nil, errHungUp
		}
		if err := l.deliver(payload, op == opcodeBinary); err != nil {
			return nil, err
		}
		if !l.c.handler.Ready() {
			return buf, errNotReady
		}
	}
}

// deliver hands one message to the connection, or to the upgrade that is under way.
func (l *link) deliver(data []byte, binary bool) error {
	if l.probe {
		return l.onProbe(data)
	}
	return l.c.receive(data, binary)
}

// fail ends the link after an error of reading or writing, and with it the connection, if it runs
// on it.
func (l *link) fail(err error) {
	c := l.c
	gone := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	c.mu.Lock()
	inUse := c.link == l
	l.gone = gone
	_ = errors.As(err, &l.fault)
	if c.probing == l {
		c.upgradeEnded()
	}
	closed := l.closed
	c.mu.Unlock()
	_ = c.srv.partials.set(c, partialFrames, 0) // nothing more comes of what was begun
	switch {
	case closed:
	case !inUse:
		l.close()
	default:
		reason := ReasonTransportError
		switch {
		case errors.Is(err, errHungUp):
			reason, err = ReasonTransportClose, nil
		case gone, errors.Is(err, ErrGoingAway), errors.Is(err, net.ErrClosed):
			reason = ReasonTransportClose
		case errors.Is(err, errPacket), errors.Is(err, errGoodbye), errors.Is(err, errFlood),
			errors.Is(err, ErrPartialBudget), errors.Is(err, ErrPartialTime):
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
		c.srv.queues.hold(m)
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
	defer func() { _ = c.srv.partials.set(c, partialFrames, 0) }() // where it was an upgrade that failed
	midFrame := l.writing || len(l.rest) > 0
	l.rest = nil
	goodbye, gone := goodbyeMessage, l.gone
	if l.fault != 0 {
		goodbye = control(opClose, binary.BigEndian.AppendUint16(nil, uint16(l.fault)))
	}
	c.mu.Unlock()
	if midFrame {
		l.reset() // the peer isn't reading: don't have the kernel keep what it is owed
	} else if l.nc == nil && !gone {
		_, _ = l.write(goodbye.frame) // a courtesy
	}
	l.unwatch()
	l.discard()
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

// closeWrite tells the peer that nothing more comes.
func closeWrite(nc net.Conn) {
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // a broken connection is found by its reader
	}
}
