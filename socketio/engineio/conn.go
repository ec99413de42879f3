package engineio

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Handler is what a connection's messages go to. Message is called by one goroutine at a time, in
// order, and Closed once, after which Message may still be called for what was being read. Neither
// may block, nor call back into the connection's Close.
type Handler interface {
	// Message takes one message. data is valid only during the call.
	Message(data []byte, binary bool)
	// Ready says whether more messages may come. While it is false nothing is read from the client;
	// [Conn.Resume] goes on.
	Ready() bool
	// Work does what Message and Closed left to do. It may block, and is called after messages were
	// delivered and after [Conn.Schedule]; calls may overlap.
	Work()
	// Closed tells that the connection has ended, and why.
	Closed(reason string, err error)
}

type state uint8

const (
	stateOpen    state = iota
	stateClosing       // takes no more messages; ends when those pending are sent
	stateClosed
)

// Conn is one client's connection, on whatever transport. Its methods may be called by any
// goroutine and don't block.
type Conn struct {
	srv      *Server // immutable, like the next three
	id       string
	request  *Request
	handler  Handler
	beat     wheelEntry   // the wheel's
	heard    atomic.Bool  // something came since the last ping
	working  atomic.Int32 // workers that have the handler work on what they have read
	protocol uint8        // 3 or 4; immutable
	pace     atomic.Int64 // see spend
	trusted  atomic.Bool  // see Trust
	textOnly bool         // the client takes no binary messages; immutable

	partialOver bool // it has ended; guarded by the mutex of the server's partials

	mu           sync.Mutex // guards everything below
	state        state
	transport    Transport
	queue        queue
	link         *link // the websocket in use, nil with long-polling
	probing      *link // a websocket on which an upgrade is under way
	poll         *poll // long-polling, nil on a connection that began as a websocket
	farewell     *Message
	pingDue      time.Time // when the next ping is due, or was; in version 3 the client's
	awaitingPong bool
	extended     bool // the wait for this pong was made longer once
}

// ID is the connection's unguessable id, the protocol's sid.
func (c *Conn) ID() string { return c.id }

// Request returns what opened the connection.
func (c *Conn) Request() *Request { return c.request }

// Protocol is the version of the protocol that the client speaks, 4 or 3.
func (c *Conn) Protocol() int { return int(c.protocol) }

// Transport is what the connection uses now.
func (c *Conn) Transport() Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transport
}

// Pending returns what waits for the client.
func (c *Conn) Pending() (packets, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	packets, bytes = len(c.queue.pending), c.queue.bytes
	if c.link != nil && len(c.link.rest) > 0 {
		packets, bytes = packets+1, bytes+len(c.link.rest)
	}
	return packets, bytes
}

// Send queues messages, all or none, in order and with nothing between them. It returns [ErrClosed]
// on a connection that has ended and [ErrQueueFull] when it closed the connection because its queue
// is full.
func (c *Conn) Send(ms ...*Message) error {
	l, err := c.enqueue(false, ms)
	switch {
	case l == nil:
	case c.working.Load() > 0:
		c.srv.pool.submitNext((*flushTask)(l))
	default:
		c.srv.pool.submit((*flushTask)(l))
	}
	return err
}

// Batch gathers connections with something to write, so that a message for many wakes the workers
// once. The zero value is ready for use by one goroutine. Nothing is sure to be written before
// Flush.
type Batch struct {
	pool  *pool
	tasks *[]task // borrowed from taskLists; nil while there is none
}

// taskLists are kept, since a broadcast to many makes a long one.
var taskLists = sync.Pool{New: func() any { return new([]task) }}

// Send is [Conn.Send] without the flush.
func (b *Batch) Send(c *Conn, ms ...*Message) error {
	l, err := c.enqueue(false, ms)
	if l != nil {
		b.add(l)
	}
	return err
}

// SendVolatile is Send, except that the messages are dropped if the client isn't taking what it has
// been sent. It returns false then.
func (b *Batch) SendVolatile(c *Conn, ms ...*Message) bool {
	l, err := c.enqueue(true, ms)
	if l != nil {
		b.add(l)
	}
	return err == nil
}

// volatileBytes is how much may be pending for a websocket that still takes volatile messages.
const volatileBytes = 16 << 10

var errNotWritable = errors.New("client is not reading")

// enqueue puts messages into the queue and wakes a waiting poll. A link that is returned has to be
// flushed.
func (c *Conn) enqueue(volatile bool, ms []*Message) (*link, error) {
	switch {
	case c.textOnly:
		ms = inText(ms, c.protocol)
	case c.protocol == 3:
		ms = downgrade(ms)
	}
	c.mu.Lock()
	if c.state != stateOpen {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if volatile && !c.writable() {
		c.mu.Unlock()
		return nil, errNotWritable
	}
	size := 0
	for _, m := range ms {
		size += len(m.frame)
	}
	owed := c.queue.bytes
	if c.link != nil {
		owed += len(c.link.rest)
	}
	if owed > 0 && owed+size > c.srv.opts.MaxQueueBytes || len(c.queue.pending)+len(ms) > c.srv.opts.MaxQueuePackets {
		packets := len(c.queue.pending)
		c.mu.Unlock()
		err := fmt.Errorf("%w: %d packets, %d bytes", ErrQueueFull, packets, owed)
		c.close(ReasonQueueFull, err)
		return nil, err
	}
	full := false
	for _, m := range ms {
		c.queue.put(m)
		full = c.srv.queues.hold(m) || full
	}
	l := c.flushable()
	c.mu.Unlock()
	if full {
		c.srv.shed()
	}
	return l, nil
}

func (b *Batch) add(l *link) {
	if b.tasks == nil {
		b.pool = &l.c.srv.pool
		b.tasks = taskLists.Get().(*[]task)
	}
	*b.tasks = append(*b.tasks, (*flushTask)(l))
}

// Flush has everything written that was sent. The batch can be used again.
func (b *Batch) Flush() {
	if b.tasks == nil {
		return
	}
	b.pool.submit(*b.tasks...)
	clear(*b.tasks)
	*b.tasks = (*b.tasks)[:0]
	taskLists.Put(b.tasks)
	b.tasks = nil
}

// writable says whether the client takes what it is sent. The caller holds mu.
func (c *Conn) writable() bool {
	if c.transport == Polling {
		return c.poll.waiting && len(c.queue.pending) == 0
	}
	return !c.link.blocked && c.queue.bytes < volatileBytes
}

// flushable gets what is pending on its way: it wakes a waiting poll, or returns a link that has to
// be flushed and marks it as being so. The caller holds mu.
func (c *Conn) flushable() *link {
	if c.transport == Polling {
		c.poll.wake()
		return nil
	}
	return c.link.begin()
}

// Close ends the connection once everything pending is sent, or after 10 s; while the server shuts
// down, a long-polling client that sends no more requests has one second.
func (c *Conn) Close() {
	c.mu.Lock()
	if c.state != stateOpen {
		c.mu.Unlock()
		return
	}
	c.state = stateClosing
	l := c.flushable()
	d := c.closingTime()
	c.mu.Unlock()
	c.srv.wheel.set(&c.beat, d)
	if l != nil {
		c.srv.pool.submit((*flushTask)(l))
	}
}

// closingTime is how long a closing connection may take over what is pending. With long-polling
// nothing moves before the client asks; a client that has stopped asking must not hold up the end
// of the server. The caller holds mu.
func (c *Conn) closingTime() time.Duration {
	if c.transport == Polling && c.srv.draining.Load() {
		return farewellTimeout
	}
	return closeTimeout
}

// hurry shortens the time of a connection that was closed before the server began to shut down.
func (c *Conn) hurry() {
	c.mu.Lock()
	closing, d := c.state == stateClosing, c.closingTime()
	c.mu.Unlock()
	if closing && d < closeTimeout {
		c.srv.wheel.set(&c.beat, d)
	}
}

// Abort ends the connection at once, for the reason given.
func (c *Conn) Abort(reason string, err error) { c.close(reason, err) }

// Schedule has [Handler.Work] called soon.
func (c *Conn) Schedule() { c.srv.pool.submit((*workTask)(c)) }

type workTask Conn

func (t *workTask) run() { t.handler.Work() }

// Resume goes on reading from the client after [Handler.Ready] was false.
func (c *Conn) Resume() {
	c.mu.Lock()
	l, p := c.link, c.poll
	c.mu.Unlock()
	if l != nil {
		l.resume()
	}
	if p != nil {
		p.resume()
	}
}

// close ends the connection without sending what is pending. It is the one way a connection ends;
// all others lead here or to end.
func (c *Conn) close(reason string, err error) {
	if c.end(reason, err, closeMessage) {
		c.reap()
	}
}

// end marks the connection as closed and tells the handler, once; it returns false if that was done
// before. What is pending is dropped. A waiting poll is answered with last. The transport is still
// there: reap removes it.
func (c *Conn) end(reason string, err error, last *Message) bool {
	c.mu.Lock()
	if c.state == stateClosed {
		c.mu.Unlock()
		return false
	}
	c.state = stateClosed
	c.srv.queues.release(c.queue.pending)
	c.queue.drop()
	c.farewell = last
	if c.poll != nil {
		c.poll.wake()
		c.poll.resume()
		c.poll.cutBody()
	}
	c.mu.Unlock()
	c.srv.partials.over(c)
	c.srv.open.Add(-1)
	c.handler.Closed(reason, err)
	c.Schedule()
	return true
}

// reap frees what the connection holds.
func (c *Conn) reap() {
	c.srv.wheel.remove(&c.beat)
	c.srv.forget(c)
	c.mu.Lock()
	l, probing := c.link, c.probing
	c.upgradeEnded()
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
	if probing != nil {
		probing.close()
	}
}

// linger keeps a closed connection for a moment: for a client that has yet to read its end.
func (c *Conn) linger() { c.srv.wheel.set(&c.beat, lingerTime) }

// receive takes one packet from the client. An error ends the connection.
func (c *Conn) receive(data []byte, binary bool) error {
	if !c.heard.Load() {
		c.heard.Store(true)
	}
	c.srv.traffic.in(len(data))
	if err := c.spend(); err != nil {
		return err
	}
	if c.protocol == 3 {
		return c.receive3(data, binary)
	}
	if binary {
		c.handler.Message(data, true)
		return nil
	}
	if len(data) == 0 {
		return errPacket
	}
	switch data[0] {
	case textPrefix:
		// Text may be passed on to other clients, which would close their connections over invalid UTF-8.
		if !utf8.Valid(data) {
			return errPacket
		}
		c.handler.Message(data[1:], false)
	case 'b': // what decodePayload has decoded already where it came by long-polling
		p, err := decodeBase64(data[1:])
		if err != nil {
			return errPacket
		}
		c.handler.Message(p, true)
	case '3':
		if c.srv.partials.late(c, c.srv.partialTime()) {
			return ErrPartialTime
		}
		c.pong()
	case '1':
		return errGoodbye
	case '2':
		return errHeartbeat
	case '0', '5', '6':
	default:
		return errPacket
	}
	return nil
}

var (
	errGoodbye   = errors.New("closed by the client")
	errHeartbeat = errors.New("ping from a client that has to answer pings")
)

// reasonFor returns the protocol's word for why receive failed.
func reasonFor(err error) string {
	switch {
	case errors.Is(err, errPacket):
		return ReasonParseError
	case errors.Is(err, errGoodbye):
		return ReasonTransportClose
	case errors.Is(err, errFlood):
		return ReasonFlood
	case errors.Is(err, ErrPartialBudget), errors.Is(err, ErrPartialTime):
		return ReasonPartial
	}
	return ReasonTransportError
}
