package engineio

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A connection holds partial input while a message of its client is not complete: half a websocket
// message, half the body of a POST, or what the handler keeps until the rest of a packet comes.
// Clients that behave complete a message within a moment. A client that doesn't could have the
// server keep memory for as long as it likes. Three bounds hold that back: the size of one message
// (before [Conn.Trust] a small one), a time, and a budget that all connections of a server share.

// partialKind is a reason for which a connection holds partial input.
type partialKind uint8

const (
	partialFrames  partialKind = iota // a websocket message
	partialBody                       // the body of a POST
	partialHandler                    // see Conn.Hold
	partialRequest                    // the request that opened a connection which isn't trusted
	partialKinds
)

// Errors that end connections over their partial input.
var (
	// ErrPartialBudget means that all connections together held too much partial input, and this
	// one was chosen to end.
	ErrPartialBudget = errors.New("all connections together sent too much of messages that are not complete")
	// ErrPartialTime means that the client did not complete a message in time.
	ErrPartialTime = errors.New("message not completed in time")
)

// partials counts the partial input of all connections of a server. While a bound is exceeded it
// ends connections that have no part in the bound's purpose: first those that are not trusted, of
// these the ones of the address that holds most, and of these the one whose message has been
// incomplete for longest. So the price of an attack is paid by the attacker's own connections.
//
// Connections that are not trusted share a quarter of the budget, so that they can't end one that
// is. What they sent to open the connection is kept as well, and counts where it is long; but it
// is complete, so it has no time.
type partials struct {
	max int // bytes; immutable

	mu      sync.Mutex // guards everything below, and the part of each Conn
	all     int        // bytes held
	strange int        // bytes of those that connections hold which are not trusted
	holders map[*Conn]*partial
	ended   atomic.Int64 // connections that were ended for the budget
}

// partial is what one connection holds. There is none while it holds nothing.
type partial struct {
	bytes   [partialKinds]int
	sum     int
	since   time.Time // when the oldest of it began to be held
	host    string
	strange bool // the connection isn't trusted
}

func newPartials(most int) *partials {
	return &partials{max: most, holders: make(map[*Conn]*partial)}
}

// set notes how many bytes a connection holds of a kind. An error means that this connection has to
// end.
func (ps *partials) set(c *Conn, kind partialKind, n int) error {
	ps.mu.Lock()
	p := ps.holders[c]
	switch {
	case p == nil && n == 0:
		ps.mu.Unlock()
		return nil
	case c.partialOver:
		ps.mu.Unlock()
		return ErrClosed
	case kind == partialRequest && c.trusted.Load():
		ps.mu.Unlock()
		return nil
	case p == nil:
		p = &partial{host: hostOf(c.request.RemoteAddr), strange: !c.trusted.Load()}
		ps.holders[c] = p
	}
	if p.sum == p.bytes[partialRequest] {
		p.since = time.Now()
	}
	ps.add(p, n-p.bytes[kind])
	p.bytes[kind] = n
	if p.sum == 0 {
		delete(ps.holders, c)
	}
	var ends []*Conn
	for ps.all > ps.max || ps.strange > ps.max/4 {
		v := ps.victim()
		ends = append(ends, v)
		ps.drop(v)
	}
	ps.mu.Unlock()
	var err error
	for _, v := range ends {
		ps.ended.Add(1)
		if v == c {
			err = ErrPartialBudget
			continue
		}
		if kind == partialHandler {
			c.srv.pool.submit((*partialTask)(v)) // the handler may hold a lock that the end of v needs
			continue
		}
		(*partialTask)(v).run() // at once, so that memory goes as fast as it comes
	}
	return err
}

// partialTask ends a connection that was chosen.
type partialTask Conn

func (t *partialTask) run() { (*Conn)(t).close(ReasonPartial, ErrPartialBudget) }

// add counts more bytes of p. The caller holds mu.
func (ps *partials) add(p *partial, n int) {
	p.sum += n
	ps.all += n
	if p.strange {
		ps.strange += n
	}
}

// victim chooses the connection that has to end. The caller holds mu, and the budget is exceeded.
func (ps *partials) victim() *Conn {
	strange := ps.strange > 0
	held := make(map[string]int)
	for _, p := range ps.holders {
		if p.strange == strange {
			held[p.host] += p.sum
		}
	}
	most := ""
	for host, n := range held {
		if n > held[most] {
			most = host
		}
	}
	var chosen *Conn
	var oldest time.Time
	for c, p := range ps.holders {
		if p.strange == strange && p.host == most && (chosen == nil || p.since.Before(oldest)) {
			chosen, oldest = c, p.since
		}
	}
	return chosen
}

// drop forgets a connection that ends. The caller holds mu.
func (ps *partials) drop(c *Conn) {
	c.partialOver = true
	if p := ps.holders[c]; p != nil {
		ps.add(p, -p.sum)
		delete(ps.holders, c)
	}
}

// over forgets a connection that has ended.
func (ps *partials) over(c *Conn) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.drop(c)
}

// trust takes what a connection holds out of the share of those that are not trusted.
func (ps *partials) trust(c *Conn) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	c.trusted.Store(true)
	if p := ps.holders[c]; p != nil && p.strange {
		ps.strange -= p.sum
		p.strange = false
		ps.add(p, -p.bytes[partialRequest])
		p.bytes[partialRequest] = 0
		if p.sum == 0 {
			delete(ps.holders, c)
		}
	}
}

// late reports whether a message of c has been incomplete for too long.
func (ps *partials) late(c *Conn, most time.Duration) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.holders[c]
	return p != nil && p.sum > p.bytes[partialRequest] && time.Since(p.since) > most
}

// freeRequest is how many bytes of a request are not counted. Browsers send less, unless they have
// large cookies.
const freeRequest = 4 << 10

// keepRequest counts what is kept of the request that opened c. An error means that c has been
// closed.
func (c *Conn) keepRequest() error {
	q := c.request
	n := len(q.header) + len(q.URL) + len(q.Host) - freeRequest
	if n <= 0 {
		return nil
	}
	err := c.srv.partials.set(c, partialRequest, n)
	if err != nil {
		c.close(ReasonPartial, err)
	}
	return err
}

// Trust lifts the bound on messages of a client that isn't known yet,
// [Options.MaxUntrustedPayload].
func (c *Conn) Trust() {
	if !c.trusted.Load() {
		c.srv.partials.trust(c)
	}
}

// Hold tells the server that the handler keeps n bytes in all of packets that are not complete, 0
// for none any more. They count in the budget of [Options.MaxPartial] and have to be complete in
// time. An error means that the connection has to end.
func (c *Conn) Hold(n int) error { return c.srv.partials.set(c, partialHandler, n) }

// MaxPayload is how many bytes a message of the client may have at this moment.
func (c *Conn) MaxPayload() int {
	if c.trusted.Load() {
		return c.srv.opts.MaxPayload
	}
	return c.srv.opts.MaxUntrustedPayload
}

// partialTime is how long a message may be incomplete: as long as a client may be silent.
func (s *Server) partialTime() time.Duration { return s.opts.PingInterval + s.opts.PingTimeout }

// Partial returns how many bytes the server holds of messages that aren't complete, and how many
// connections it has ended since it began because that would have been more than
// [Options.MaxPartial].
func (s *Server) Partial() (bytes int, ended int64) {
	s.partials.mu.Lock()
	defer s.partials.mu.Unlock()
	return s.partials.all, s.partials.ended.Load()
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
