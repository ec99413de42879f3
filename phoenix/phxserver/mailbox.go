package phxserver

import (
	"sync"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// mail is what others leave for a socket's goroutine: a message for the client, or
// something to do, which may be with a message.
type mail struct {
	out *delivery
	do  func() // nil: deliver out
}

// mailbox is a bounded queue with one reader. Nobody waits to post.
type mailbox struct {
	ready chan struct{} // holds a token while there is something to take

	mu     sync.Mutex // guards the rest
	items  []mail     // from head on
	head   int
	bytes  int
	closed bool
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// post queues m and reports whether there was room; a closed mailbox takes
// everything and keeps nothing.
func (b *mailbox) post(m mail) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return true
	}
	size := 0
	if m.out != nil {
		size = len(m.out.msg.Payload)
		if len(b.items)-b.head >= maxMailItems || b.bytes+size > maxMailBytes && b.bytes > 0 {
			return false
		}
	}
	if b.head > len(b.items)/2 { // use the room again
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, m)
	b.bytes += size
	select {
	case b.ready <- struct{}{}:
	default:
	}
	return true
}

// pop takes what has waited longest.
func (b *mailbox) pop() (mail, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.items) {
		b.items, b.head = nil, 0
		return mail{}, false
	}
	m := b.items[b.head]
	b.items[b.head] = mail{}
	b.head++
	if m.out != nil {
		b.bytes -= len(m.out.msg.Payload)
	}
	return m, true
}

func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.items, b.head = nil, 0
}

// delivery is a message on its way to one or many sockets. Its frame is made once
// for each protocol version, by whoever needs it first.
type delivery struct {
	msg  wire.Message
	made [2]madeFrame
}

type madeFrame struct {
	once   sync.Once
	data   []byte
	binary bool
	err    error
}

func (d *delivery) frame(v wire.Version) (data []byte, binary bool, err error) {
	f := &d.made[v-wire.V1]
	f.once.Do(func() { f.data, f.binary, f.err = wire.AppendServer(nil, v, &d.msg) })
	return f.data, f.binary, f.err
}
