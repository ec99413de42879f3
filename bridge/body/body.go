// Package body reads the bodies of requests whose sender is known only once the body has been read,
// since it is signed. Until then anybody may have sent it, so all such bodies share one budget:
//
//	b, done, err := budget.Read(w, r, maxBody)
//	defer done() // after the signature was checked, or earlier
//
// The package starts no goroutine.
package body

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

var (
	// ErrTooLong means that the body is longer than allowed.
	ErrTooLong = errors.New("the body is too long")
	// ErrBudget means that too much was being read at once, and this body was given up.
	ErrBudget = errors.New("too many bodies are being read at once; send it again")
)

// Budget bounds what is held of bodies at once. While it is exceeded bodies are given up: of the
// address that holds most, the one that began first. A sender that behaves has sent its body within
// a moment, so an attacker pays with its own requests. It is safe for concurrent use.
type Budget struct {
	most  int64
	ended func() // called for each body that is given up; nil for nothing

	mu      sync.Mutex // guards everything below
	all     int64
	leaving int64 // of all, what those hold that were given up
	readers map[*reader]struct{}
	changed *sync.Cond // something was taken back, or given up
}

// reader is one body.
type reader struct {
	rc    *http.ResponseController
	host  string
	since time.Time
	held  int64 // in whole chunks
	over  bool  // it was given up
}

// chunkSize is how much of a body is read into one buffer. The buffers are used again: a flood of
// bodies that are given up must not leave more garbage than the budget allows.
const chunkSize = 16 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// NewBudget makes a budget of that many bytes.
func NewBudget(most int64, ended func()) *Budget {
	b := &Budget{most: most, ended: ended, readers: make(map[*reader]struct{})}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// Read reads a body of at most limit bytes. It returns ErrTooLong, ErrBudget, or an error of the
// connection. The body counts until done is called, which must be done once, and may be done again.
func (b *Budget) Read(w http.ResponseWriter, r *http.Request, limit int64) (content []byte, done func(), err error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	this := &reader{rc: http.NewResponseController(w), host: host, since: time.Now()}
	b.mu.Lock()
	b.readers[this] = struct{}{}
	b.mu.Unlock()
	done = func() { b.forget(this) }
	from := http.MaxBytesReader(w, r.Body, limit)
	var full []*[chunkSize]byte
	defer func() {
		for _, chunk := range full {
			chunks.Put(chunk)
		}
	}()
	for at := chunkSize; ; {
		if at == chunkSize {
			if !b.take(this, chunkSize) {
				return nil, done, ErrBudget
			}
			full, at = append(full, chunks.Get().(*[chunkSize]byte)), 0
		}
		n, err := from.Read(full[len(full)-1][at:])
		at += n
		var long *http.MaxBytesError
		switch {
		case err == nil:
		case !b.take(this, 0):
			return nil, done, ErrBudget
		case errors.Is(err, io.EOF):
			content = make([]byte, 0, (len(full)-1)*chunkSize+at)
			for _, chunk := range full[:len(full)-1] {
				content = append(content, chunk[:]...)
			}
			return append(content, full[len(full)-1][:at]...), done, nil
		case errors.As(err, &long):
			return nil, done, ErrTooLong
		default:
			return nil, done, err
		}
	}
}

// take counts n bytes more of a body; false where it has to be given up. It waits until those that
// are given up have let go of what they hold.
func (b *Budget) take(this *reader, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !this.over && b.all+n > b.most {
		if b.all-b.leaving+n > b.most {
			v := b.victim(this)
			v.over = true
			b.leaving += v.held
			_ = v.rc.SetReadDeadline(time.Now()) // where there is none, its next read finds it
			b.changed.Broadcast()
			if b.ended != nil {
				b.ended()
			}
			continue
		}
		b.changed.Wait()
	}
	if this.over {
		return false
	}
	this.held += n
	b.all += n
	return true
}

// victim chooses a body that is given up so that this one can go on; it may be the same. The caller
// holds mu.
func (b *Budget) victim(this *reader) *reader {
	held := make(map[string]int64)
	most := ""
	for r := range b.readers {
		if r.over {
			continue
		}
		if held[r.host] += r.held; held[r.host] > held[most] {
			most = r.host
		}
	}
	chosen := this // where nobody else holds anything
	for r := range b.readers {
		if !r.over && r.host == most && r.held > 0 && (chosen == this || r.since.Before(chosen.since)) {
			chosen = r
		}
	}
	return chosen
}

// forget takes back what a body holds.
func (b *Budget) forget(r *reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.readers[r]; !ok {
		return
	}
	delete(b.readers, r)
	b.all -= r.held
	if r.over {
		b.leaving -= r.held
	}
	b.changed.Broadcast()
}
