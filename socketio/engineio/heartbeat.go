package engineio

import (
	"net/http"
	"sync"
	"time"
)

// The life of a connection is watched by one wheel for all of them: it sends the pings, ends what
// does not answer, and gives up upgrades that take too long. Its entries, one or two a connection,
// move from slot to slot. Timers would be dearer, and the runtime may hold on to one for as long as
// it would have run although it has been stopped, and with it to the connection.

const (
	wheelSlots = 256
	minTick    = 5 * time.Millisecond
	maxTick    = 250 * time.Millisecond
)

// wheel calls expire on entries whose time has come, at most one tick late. One goroutine turns it,
// while there are entries.
type wheel struct {
	tick time.Duration

	mu     sync.Mutex
	slots  [wheelSlots]wheelEntry // heads of circular lists
	count  int
	now    int64 // ticks that have been dealt with since epoch
	epoch  time.Time
	closed bool
	kick   chan struct{} // wakes the goroutine when the first entry comes, and when the wheel is closed
	done   sync.WaitGroup
}

// wheelEntry is embedded in what waits. All fields belong to the wheel's mutex.
type wheelEntry struct {
	prev, next *wheelEntry
	at         int64 // tick
	owner      *Conn
}

// newWheel makes a wheel for deadlines of about the length d.
func newWheel(d time.Duration) *wheel {
	w := &wheel{tick: max(minTick, min(maxTick, d/64)), epoch: time.Now(), kick: make(chan struct{}, 1)}
	for i := range w.slots {
		h := &w.slots[i]
		h.prev, h.next = h, h
	}
	return w
}

// start starts the goroutine that turns the wheel.
func (w *wheel) start() { w.done.Go(w.turn) }

// set puts e at d from now, wherever it was before.
func (w *wheel) set(e *wheelEntry, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.unlink(e)
	// Rounded up, and one more since the running tick is already part gone.
	e.at = max(int64((time.Since(w.epoch)+d+w.tick-1)/w.tick), w.now+1)
	head := &w.slots[e.at%wheelSlots]
	e.prev, e.next = head.prev, head
	head.prev.next, head.prev = e, e
	w.count++
	if w.count == 1 {
		select {
		case w.kick <- struct{}{}:
		default:
		}
	}
}

// remove takes e out, if it is in.
func (w *wheel) remove(e *wheelEntry) {
	w.mu.Lock()
	w.unlink(e)
	w.mu.Unlock()
}

// unlink is remove for a caller that holds mu.
func (w *wheel) unlink(e *wheelEntry) {
	if e.next == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
	w.count--
}

func (w *wheel) turn() {
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	var due []*wheelEntry
	for {
		w.mu.Lock()
		empty, closed := w.count == 0, w.closed
		w.mu.Unlock()
		switch {
		case closed:
			return
		case empty:
			ticker.Stop()
			<-w.kick
			ticker.Reset(w.tick)
			continue
		}
		select {
		case <-ticker.C:
		case <-w.kick:
			continue
		}
		due = w.expired(due[:0])
		var b Batch
		for _, e := range due {
			if c := e.owner; e == &c.beat {
				c.expire(&b)
			} else {
				c.giveUp()
			}
		}
		b.Flush()
		clear(due)
	}
}

// expired takes out and returns the entries whose time has come.
func (w *wheel) expired(due []*wheelEntry) []*wheelEntry {
	w.mu.Lock()
	defer w.mu.Unlock()
	until := int64(time.Since(w.epoch) / w.tick)
	if until-w.now > wheelSlots { // after a long pause every slot is looked at once
		w.now = until - wheelSlots
	}
	for w.now < until {
		w.now++
		head := &w.slots[w.now%wheelSlots]
		for e := head.next; e != head; {
			next := e.next
			if e.at <= until {
				due = append(due, e)
				w.unlink(e)
			}
			e = next
		}
	}
	return due
}

// close stops the goroutine and waits for it.
func (w *wheel) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	w.done.Wait()
}

// expire does what is due for the connection: the next ping, the end of one that did not answer the
// last, or the end of the time that a closing connection has for its last messages.
func (c *Conn) expire(b *Batch) {
	c.mu.Lock()
	switch {
	case c.state == stateClosed:
		c.mu.Unlock()
		c.reap()
		return
	case c.state == stateClosing:
		c.mu.Unlock()
		c.close(ReasonForcedClose, nil)
		return
	case c.protocol == 3:
		c.mu.Unlock()
		c.close(ReasonPingTimeout, nil)
		return
	case c.srv.partials.late(c, c.srv.partialTime()):
		c.mu.Unlock()
		c.close(ReasonPartial, ErrPartialTime)
		return
	case c.awaitingPong && !c.extended:
		// Once a ping, the wait is made longer: by a whole time if something came since, perhaps the
		// beginning of a long message that the pong has to wait behind; else by a little, for an answer
		// that has come but was not read yet, because this machine is busy.
		c.extended = true
		d := c.srv.opts.PingTimeout
		if !c.heard.Load() {
			d /= 10
		}
		c.mu.Unlock()
		c.srv.wheel.set(&c.beat, d)
		return
	case c.awaitingPong:
		c.mu.Unlock()
		c.close(ReasonPingTimeout, nil)
		return
	}
	c.awaitingPong, c.extended = true, false
	c.heard.Store(false)
	c.mu.Unlock()
	if b.Send(c, pingMessage) == nil {
		c.srv.wheel.set(&c.beat, c.srv.opts.PingTimeout)
	}
}

// pong notes that the client answered.
func (c *Conn) pong() {
	c.mu.Lock()
	open := c.state == stateOpen
	c.awaitingPong = false
	c.pingDue = time.Now().Add(c.srv.opts.PingInterval)
	c.mu.Unlock()
	if open {
		c.srv.wheel.set(&c.beat, c.srv.opts.PingInterval)
	}
}

// overdue says whether a client that polls again has been away too long, in case the wheel is late:
// it has not fetched a ping in all the time it had for that and for its answer, or, in version 3,
// has not sent one.
func (c *Conn) overdue(method string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != stateOpen || c.transport != Polling {
		return false
	}
	if c.protocol != 3 && (method != http.MethodGet || c.poll.waiting || c.awaitingPong && len(c.queue.pending) == 0) {
		return false
	}
	return !time.Now().Before(c.pingDue.Add(c.srv.opts.PingTimeout))
}
