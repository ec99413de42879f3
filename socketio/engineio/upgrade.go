package engineio

import (
	"net/http"
	"time"
)

// An upgrade: the client opens a websocket that names its connection and sends "2probe" on it; the
// server answers "3probe" and ends the poll that waits; the client sends no more polls and
// completes with "5". From then on everything goes over the websocket, what was pending first.

// probe begins the upgrade of c.
func (s *Server) probe(w http.ResponseWriter, r *http.Request, c *Conn) *Error {
	h := make(http.Header)
	s.addHeaders(h, r)
	h.Del("Cache-Control")
	l := s.accept(w, r, c, h)
	if l == nil {
		return nil
	}
	l.probe = true
	c.mu.Lock()
	possible := c.state == stateOpen && c.transport == Polling && c.probing == nil && !s.opts.DisableUpgrades
	if possible {
		c.probing = l
		s.wheel.set(&c.poll.lapse, s.opts.UpgradeTimeout)
	}
	c.mu.Unlock()
	if !possible {
		// Clients expect a websocket that is closed, not a refused handshake.
		_, _ = l.write(append(l.rest, goodbyeMessage.frame...))
		l.discard() // nothing was promised to the client
		return nil
	}
	l.start()
	return nil
}

// giveUp ends an upgrade that is not completed in time; the connection stays with long-polling.
func (c *Conn) giveUp() {
	c.mu.Lock()
	l := c.probing
	c.upgradeEnded()
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// upgradeEnded notes that no upgrade is under way any more. The caller holds mu.
func (c *Conn) upgradeEnded() {
	if c.probing == nil {
		return
	}
	c.probing = nil
	c.srv.wheel.remove(&c.poll.lapse)
	if c.poll.nudge != nil {
		c.poll.nudge.Stop()
		c.poll.nudge = nil
	}
}

// onProbe takes a packet that comes before the upgrade is completed. It runs in the link's reading
// role.
func (l *link) onProbe(data []byte) error {
	c := l.c
	switch string(data) {
	case "2probe":
		c.mu.Lock()
		l.rest = append(l.rest[:len(l.rest):len(l.rest)], probePongMessage.frame...)
		b := l.begin()
		c.mu.Unlock()
		if b != nil {
			(*flushTask)(b).run()
		}
		c.mu.Lock()
		if c.probing == l && c.poll.nudge == nil {
			c.poll.nudge = time.AfterFunc(nudgeEvery, func() { c.nudge(l) })
		}
		c.mu.Unlock()
		return nil
	case "5":
		c.mu.Lock()
		if c.probing != l || c.state == stateClosed {
			c.mu.Unlock()
			return errPacket
		}
		c.upgradeEnded()
		c.link, c.transport = l, WebSocket
		c.poll.wake()
		b := l.begin()
		c.mu.Unlock()
		l.probe = false
		if b != nil {
			c.srv.pool.submit((*flushTask)(b))
		}
		if u, ok := c.handler.(Upgrader); ok {
			u.Upgraded()
		}
		return nil
	}
	return errPacket
}

// nudge ends the poll that waits while an upgrade is under way, so that the client can go on with
// it: once it has the answer to its probe it sends no other. It is done no sooner, since a poll
// that overtook the upgrade's last packet has to meet an upgraded connection.
func (c *Conn) nudge(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.probing != l || c.poll.nudge == nil {
		return
	}
	if c.poll.waiting {
		c.poll.noop = true
		c.poll.wake()
	}
	c.poll.nudge.Reset(nudgeEvery)
}

// Upgrader may be implemented by a [Handler] that wants to know when the connection has moved to a
// websocket. Upgraded must not block.
type Upgrader interface{ Upgraded() }
