package bridge

import (
	"sync"
	"time"
)

// expiryWarning is how long before a token's end its holder is told.
const expiryWarning = time.Minute

// expiry ends a connection with its token: it warns a minute before and ends at the time itself, unless the token was renewed. warn and end run on a
// timer's goroutine, outside the mutex, which guards all fields.
type expiry struct {
	warn, end func()

	mu     sync.Mutex
	at     time.Time
	warned bool
	timer  *time.Timer // nil once stopped, and for a token without an end
}

// newExpiry watches over a token that lives until at; the zero time never ends.
func newExpiry(at time.Time, warn, end func()) *expiry {
	e := &expiry{warn: warn, end: end, at: at}
	if !at.IsZero() {
		e.mu.Lock() // the timer may fire before it is assigned
		e.timer = time.AfterFunc(time.Until(at)-expiryWarning, e.fire)
		e.mu.Unlock()
	}
	return e
}

// renew takes the time of a new token.
func (e *expiry) renew(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at, e.warned = at, false
	if e.timer != nil {
		e.timer.Reset(time.Until(at) - expiryWarning)
	}
}

func (e *expiry) fire() {
	if next := e.due(); next != nil {
		next()
	}
}

// due decides what is to be done now; a timer that fired while the token was renewed finds that it is not its time yet.
func (e *expiry) due() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := time.Until(e.at)
	switch {
	case e.timer == nil:
		return nil
	case left <= 0:
		return e.end
	case left > expiryWarning:
		e.timer.Reset(left - expiryWarning)
		return nil
	default:
		e.timer.Reset(left)
		if e.warned {
			return nil
		}
		e.warned = true
		return e.warn
	}
}

func (e *expiry) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}
