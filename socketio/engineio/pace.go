package engineio

import (
	"errors"
	"time"
)

// errFlood means that a client sent more packets than Options.MaxRate lets it.
var errFlood = errors.New("client sends too many packets")

// rateBurst is for how long a client that was silent may have saved up.
const rateBurst = 10 * time.Second

// spend notes a packet or control frame of the client's, wanted or not; an error ends the
// connection. Conn.pace is the moment, counted from the connection's opening and rateBurst ahead,
// up to which the client has used up what it may send.
func (c *Conn) spend() error {
	most := c.srv.opts.MaxRate
	if most <= 0 {
		return nil
	}
	now := int64(time.Since(c.request.Time))
	used := max(c.pace.Load(), now) + int64(time.Second)/int64(most)
	c.pace.Store(used) // during an upgrade two may read at once: then it may be one too few
	if used > now+int64(rateBurst) {
		return errFlood
	}
	return nil
}
