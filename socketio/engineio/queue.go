package engineio

// queue holds the messages a connection still has to send. Its owner is the connection's mutex.
// It is bounded by the connection before a message is put in.
type queue struct {
	pending []*Message
	bytes   int // of all pending messages
}

// keepCap is how many slots a drained queue keeps.
const keepCap = 4

func (q *queue) put(m *Message) {
	q.pending = append(q.pending, m)
	q.bytes += len(m.frame)
}

// discard removes the first n messages, and keeps no more room than a connection at rest should
// have.
func (q *queue) discard(n int) {
	for _, m := range q.pending[:n] {
		q.bytes -= len(m.frame)
	}
	k := copy(q.pending, q.pending[n:])
	clear(q.pending[k:])
	q.pending = q.pending[:k]
	if k == 0 && cap(q.pending) > keepCap {
		q.pending = nil
	}
}

// batch returns how many of the first messages fit in limit bytes; at least one, if there is any.
func (q *queue) batch(limit int) (n, size int) {
	for n < len(q.pending) {
		s := len(q.pending[n].frame)
		if n > 0 && size+s > limit {
			break
		}
		size += s
		n++
	}
	return n, size
}

func (q *queue) drop() { *q = queue{} }
