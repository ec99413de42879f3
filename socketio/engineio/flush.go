package engineio

import (
	"errors"
	"syscall"
)

// begin marks the link as being written to and returns it, or returns nil if there is nothing to do
// or somebody does it already. The caller holds the connection's mutex, and sees to it that the
// link is flushed.
func (l *link) begin() *link {
	if l.writing || l.closed {
		return nil
	}
	l.writing = true
	return l
}

// flushTask writes everything pending on a link.
type flushTask link

func (t *flushTask) run() {
	l := (*link)(t)
	b := getLease()
	defer b.release()
	for {
		out, next := l.gather(b)
		switch next {
		case flushLast:
			l.finish()
			return
		case flushNone:
			return
		}
		n, err := l.write(out)
		switch {
		case err == nil && n == len(out):
		case err != nil && !errors.Is(err, syscall.EAGAIN):
			l.fail(err)
			return
		case !l.keep(out[n:], b):
			return
		}
	}
}

// What gather found.
const (
	flushMore = iota // something to write
	flushNone        // nothing
	flushLast        // nothing, and the connection waits for that to close
)

// gather takes what goes out in the next write. Without anything to write it ends the link's state
// of being written to.
func (l *link) gather(b *lease) (out []byte, next int) {
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.closed {
		return nil, flushNone
	}
	l.edge, b.owned = false, false
	n, size := 0, 0
	if c.link == l {
		n, size = c.queue.batch(maxBatch)
	}
	if len(l.rest) > 0 && (n == 0 || len(l.rest)+size > maxBatch) {
		out, l.rest = l.rest, nil
		return out, flushMore
	}
	if n == 0 {
		l.writing = false
		if c.state == stateClosing && c.link == l {
			return nil, flushLast
		}
		return nil, flushNone
	}
	if n == 1 && len(l.rest) == 0 {
		out = c.queue.pending[0].frame
	} else {
		b.owned = true
		b.out = append(b.out[:0], l.rest...)
		for _, m := range c.queue.pending[:n] {
			b.out = append(b.out, m.frame...)
		}
		out, l.rest = b.out, nil
	}
	c.srv.queues.release(c.queue.pending[:n])
	c.queue.discard(n)
	c.srv.traffic.out(n, size)
	return out, flushMore
}

// keep stores what a write left over until the socket takes more. It returns true if that is
// already so.
func (l *link) keep(rest []byte, b *lease) (again bool) {
	if b.owned {
		rest = append([]byte(nil), rest...)
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.closed {
		return false
	}
	l.rest = rest[:len(rest):len(rest)]
	if l.edge {
		return true
	}
	l.blocked = true
	return false
}

// writable notes that the socket takes bytes again. It returns whether a flush has to go on.
func (l *link) writable() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.edge = true
	flush := l.blocked && !l.closed
	l.blocked = false
	return flush
}

// finish ends a connection whose last message is written: with a close frame, and a moment for the
// client to read it all.
func (l *link) finish() {
	c := l.c
	if !c.end(ReasonForcedClose, nil, closeMessage) {
		return
	}
	if _, err := l.write(goodbyeMessage.frame); err != nil {
		c.reap()
		return
	}
	c.linger()
	l.closeWrite() // a broken connection is found by its reader
}
