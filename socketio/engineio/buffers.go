package engineio

import "sync"

// maxKept is the size above which a buffer is not kept for the next user.
const maxKept = 256 << 10

var bytesPool = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

func getBytes() *[]byte { return bytesPool.Get().(*[]byte) }

func putBytes(b *[]byte) {
	if cap(*b) <= maxKept {
		*b = (*b)[:0]
		bytesPool.Put(b)
	}
}

// lease is what a worker borrows while it reads from or writes to one websocket. It has one user at
// a time.
type lease struct {
	in    *[readSize]byte // bytes read from the socket; nil while not needed
	out   []byte          // frames gathered for one write
	owned bool            // what is being written lies in out
}

var (
	leases = sync.Pool{New: func() any { return new(lease) }}
	inputs = sync.Pool{New: func() any { return new([readSize]byte) }}
)

func getLease() *lease { return leases.Get().(*lease) }

// input returns the buffer to read into.
func (l *lease) input() []byte {
	if l.in == nil {
		l.in = inputs.Get().(*[readSize]byte)
	}
	return l.in[:]
}

// returnInput gives that buffer back, when reading is going to take long.
func (l *lease) returnInput() {
	if l.in != nil {
		inputs.Put(l.in)
		l.in = nil
	}
}

func (l *lease) release() {
	leases.Put(l)
}
