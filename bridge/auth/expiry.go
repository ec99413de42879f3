package auth

import (
	"sync"
	"time"
)

// ExpiryWarning is how long before a token's end its holder is told.
const ExpiryWarning = time.Minute

// Expiry ends a connection with its token: it warns a minute before and ends at the time itself,
// unless the token was renewed. warn and end run on a timer's goroutine, outside the mutex, which
// guards all fields.
type Expiry struct {
	warn, end func()

	mu     sync.Mutex
	at     time.Time
	warned bool
	timer  *time.Timer // nil once stopped, and for a token without an end
}

// NewExpiry watches over a token that lives until at; the zero time never ends.
func NewExpiry(at time.Time, warn, end func()) *Expiry {
	e := &Expiry{warn: warn, end: end, at: at}
	if !at.IsZero() {
		e.mu.Lock() // the timer may fire before it is assigned
		e.timer = time.AfterFunc(time.Until(at)-ExpiryWarning, e.fire)
		e.mu.Unlock()
	}
	return e
}

// Renew takes the time of a new token.
func (e *Expiry) Renew(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at, e.warned = at, false
	if e.timer != nil {
		e.timer.Reset(time.Until(at) - ExpiryWarning)
	}
}

func (e *Expiry) fire() {
	if next := e.due(); next != nil {
		next()
	}
}

// due decides what is to be done now; a timer that fired while the token was renewed finds that it
// is not its time yet.
func (e *Expiry) due() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := time.Until(e.at)
	switch {
	case e.timer == nil:
		return nil
	case left <= 0:
		return e.end
	case left > ExpiryWarning:
		e.timer.Reset(left - ExpiryWarning)
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

// Stop ends it; neither function is called any more.
func (e *Expiry) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}
