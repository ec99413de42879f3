package phoenix

import "time"

// Defaults of Backoff.
const (
	defaultBackoffMin     = time.Second
	defaultBackoffMax     = 30 * time.Second
	defaultBackoffSlowMin = 30 * time.Second
	defaultBackoffSlowMax = 5 * time.Minute
)

// Backoff bounds the waits between attempts to connect and to join. Waits grow
// exponentially and are jittered over their whole range, so that many clients
// which lost their server in the same second don't return in the same second.
type Backoff struct {
	// Min is the longest first wait after an ordinary failure (class Retry).
	// Default 1 s.
	Min time.Duration
	// Max caps the wait after ordinary failures, and every wait for a connection, also
	// where the handshake was refused or the server asks for more. A connection or join that lasted
	// this long counts as healthy: the failure after it starts from Min again.
	// Default 30 s.
	Max time.Duration
	// SlowMin is the shortest wait after a quota answer to a join (class Slow,
	// OtherSocket). Default 30 s.
	SlowMin time.Duration
	// SlowMax caps the wait after quota answers to joins, and is about the interval at
	// which a join that looks permanently refused is tried again: each one holds up the
	// whole connection for 5 s. Default 5 min.
	SlowMax time.Duration
}

func (b Backoff) withDefaults() Backoff {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&b.Min, defaultBackoffMin)
	def(&b.Max, defaultBackoffMax)
	def(&b.SlowMin, defaultBackoffSlowMin)
	def(&b.SlowMax, defaultBackoffSlowMax)
	b.Max = max(b.Max, b.Min)
	b.SlowMax = max(b.SlowMax, b.SlowMin)
	return b
}

// delay is the wait before the attempt after n+1 failures in a row, the last of
// class class. jitter is in [0, 1).
func (b Backoff) delay(class Class, n int, jitter float64) time.Duration {
	spread := func(d time.Duration) time.Duration { return time.Duration(jitter * float64(d)) }
	switch class {
	case Slow, OtherSocket:
		return b.SlowMin + spread(doubled(b.SlowMin, n+1, b.SlowMax)-b.SlowMin)
	case Permanent:
		return b.SlowMax/2 + spread(b.SlowMax/2)
	default: // Retry, Token
		return spread(doubled(b.Min, n, b.Max))
	}
}

// linkDelay is the wait before the attempt to connect after n+1 failures in a row, the
// last of them err. It never exceeds Max: what a handshake was refused for, a gateway
// that restarts or a quota of a minute, may be over long before SlowMax.
func (b Backoff) linkDelay(err *Error, n int, jitter float64) time.Duration {
	spread := func(d time.Duration) time.Duration { return time.Duration(jitter * float64(d)) }
	var d time.Duration
	switch err.Class {
	case Slow, OtherSocket:
		d = b.Max/2 + spread(b.Max/2)
	default:
		d = spread(doubled(b.Min, n, b.Max))
	}
	return max(d, min(err.RetryAfter, b.Max))
}

// doubled is d·2ⁿ, at most limit.
func doubled(d time.Duration, n int, limit time.Duration) time.Duration {
	for ; n > 0 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}
