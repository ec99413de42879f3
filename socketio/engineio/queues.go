package engineio

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// What waits for one client is bounded by its queue. What waits for all of them is bounded too, by
// queues: many clients that read too slowly must not take all memory together. A message that was
// sent to many is held once, and so it counts once.

// uncounted is the size up to which a message doesn't count, in bytes: pings and the like are
// shared by all servers.
const uncounted = 32

// queues counts the bytes of the messages that wait in the queues of a server.
type queues struct {
	max      int64 // bytes; immutable
	bytes    atomic.Int64
	shedding atomic.Bool // a worker is looking for connections to end
}

// hold counts a message that was put into a queue. It reports whether all queues together hold too
// much.
func (q *queues) hold(m *Message) (full bool) {
	if len(m.frame) <= uncounted || atomic.AddInt32(&m.queued, 1) > 1 {
		return false
	}
	return q.bytes.Add(int64(len(m.frame))) > q.max
}

// release is hold's reverse.
func (q *queues) release(ms []*Message) {
	for _, m := range ms {
		if len(m.frame) > uncounted && atomic.AddInt32(&m.queued, -1) == 0 {
			q.bytes.Add(-int64(len(m.frame)))
		}
	}
}

// shedTask ends the connections for which most is waiting, until all queues together hold no more
// than nine tenths of what they may.
type shedTask Server

func (t *shedTask) run() {
	s := (*Server)(t)
	defer s.queues.shedding.Store(false)
	type owed struct {
		c     *Conn
		bytes int
	}
	var all []owed
	for _, c := range s.Connections() {
		if _, bytes := c.Pending(); bytes > 0 {
			all = append(all, owed{c, bytes})
		}
	}
	slices.SortFunc(all, func(a, b owed) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, o := range all {
		if s.queues.bytes.Load() <= s.queues.max/10*9 {
			return
		}
		o.c.close(ReasonQueueFull, ErrQueuesFull)
	}
}

// shed has a worker end connections.
func (s *Server) shed() {
	if s.queues.shedding.CompareAndSwap(false, true) {
		s.pool.submit((*shedTask)(s))
	}
}

// Queued is how many bytes wait for all clients together; what waits for several counts once.
func (s *Server) Queued() int { return int(s.queues.bytes.Load()) }
