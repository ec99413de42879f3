package socketio

import (
	"time"

	"github.com/supabridge/supabridge/socketio/parser"
)

// RetryError turns a client away for a while, from middleware: for a reason that passes by itself,
// such as a quota or a database that restarts. After a connect_error socket.io-client does not try
// again, so it gets none. Its Connect stays unanswered for After, and then its connection is
// closed, on which every client reconnects by itself. Choose After at random, of seconds, so that
// many such clients don't return at once. A connection that is in another namespace is not closed:
// there middleware is asked again after each After.
type RetryError struct {
	After time.Duration
	Err   error // why, for OnRefused and logs; clients don't learn of it
}

func (e *RetryError) Error() string { return "try again later: " + e.Err.Error() }

func (e *RetryError) Unwrap() error { return e.Err }

// postpone puts a Connect packet off.
func (c *client) postpone(p *parser.Packet, after time.Duration) {
	time.AfterFunc(after, func() {
		c.mu.Lock()
		closed, elsewhere := c.closed, len(c.sockets) > 0
		c.mu.Unlock()
		switch {
		case closed:
		case elsewhere:
			c.put(job{packet: p})
			c.conn.Schedule()
		default:
			c.conn.Close()
		}
	})
}
