package phxserver

import (
	"net/http"
	"sync"
	"time"
)

// Limits are a project's limits; zero is no limit. The real server's defaults are
// in RealLimits.
type Limits struct {
	// Users is the number of sockets that have joined a channel. One more is refused
	// with status 429.
	Users int
	// Channels is the number of channels on one socket.
	Channels int
	// JoinsPerSecond, EventsPerSecond and PresencePerSecond are averages over a
	// minute. Events are broadcasts sent and delivered, and, counted apart, changes
	// delivered.
	JoinsPerSecond, EventsPerSecond, PresencePerSecond int
	// PresenceCalls is how often one channel may track or untrack in 30 seconds.
	PresenceCalls int
	// PayloadBytes is the size of a broadcast or of a tracked object.
	PayloadBytes int
	// RecordBytes is the size of a change, as the database's log has it; a larger
	// one arrives with error 413 and its small values only.
	RecordBytes int
}

// RealLimits are the limits of a self-hosted server that nobody has configured.
func RealLimits() Limits {
	return Limits{
		Users: 200, Channels: 100, JoinsPerSecond: 100, EventsPerSecond: 100, PresencePerSecond: 1000,
		PresenceCalls: 5, PayloadBytes: 3_000_000, RecordBytes: 1 << 20,
	}
}

const (
	presenceWindow = 30 * time.Second
	// Rates are averages over a minute in buckets of 5 s, which is also how long the
	// server takes to notice.
	rateBucket  = 5 * time.Second
	rateBuckets = 12
)

// limiter counts what the limits are about. Its methods are safe for concurrent use.
type limiter struct {
	limits Limits

	mu                               sync.Mutex // guards the counters
	joins, events, changes, presence rate
}

func newLimiter(l Limits) *limiter { return &limiter{limits: l} }

// rate counts over a sliding minute. Buckets are counted from the first event on.
// The average is over those that are complete.
type rate struct {
	began   time.Time
	buckets [rateBuckets + 1]int // one of them is the running one's
	current int64                // number of the running bucket
}

func (r *rate) advance(now time.Time) {
	if r.began.IsZero() {
		r.began = now
	}
	n := int64(now.Sub(r.began) / rateBucket)
	if n-r.current > rateBuckets {
		r.buckets, r.current = [rateBuckets + 1]int{}, n
	}
	for r.current < n {
		r.current++
		r.buckets[r.current%int64(len(r.buckets))] = 0
	}
}

func (r *rate) add(n int, now time.Time) {
	r.advance(now)
	r.buckets[r.current%int64(len(r.buckets))] += n
}

// perSecond is the average of the buckets that are complete.
func (r *rate) perSecond(now time.Time) float64 {
	r.advance(now)
	complete := min(r.current, rateBuckets)
	if complete <= 0 {
		return 0
	}
	sum := -r.buckets[r.current%int64(len(r.buckets))]
	for _, n := range r.buckets {
		sum += n
	}
	return float64(sum) / (float64(complete) * rateBucket.Seconds())
}

// over says whether the average, in whole events, is over the limit.
func (l *limiter) over(r *rate, limit int, now time.Time) bool {
	return limit > 0 && int(r.perSecond(now)) > limit
}

func (l *limiter) admitSocket(connected int) error {
	if l.limits.Users > 0 && connected >= l.limits.Users {
		return &RefusedError{http.StatusTooManyRequests, "Too many connected users"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over(&l.joins, l.limits.JoinsPerSecond, time.Now()) {
		return &RefusedError{http.StatusTooManyRequests, "Too many joins per second"}
	}
	return nil
}

// admitJoin counts a join of a socket that has that many channels.
func (l *limiter) admitJoin(channels int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.over(&l.joins, l.limits.JoinsPerSecond, now) {
		return tooManyJoins()
	}
	l.joins.add(1, now)
	if l.limits.Channels > 0 && channels >= l.limits.Channels {
		return refuse("ChannelRateLimitReached: Too many channels")
	}
	return nil
}

func (l *limiter) tooLarge(size int) bool {
	return l.limits.PayloadBytes > 0 && size > l.limits.PayloadBytes
}

func (l *limiter) countEvents(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events.add(n, time.Now())
}

func (l *limiter) eventsExceeded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over(&l.events, l.limits.EventsPerSecond, time.Now())
}

// admitChanges counts changes about to be delivered; false drops them.
func (l *limiter) admitChanges(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.over(&l.changes, l.limits.EventsPerSecond, now) {
		return false
	}
	l.changes.add(n, now)
	return true
}

func (l *limiter) admitPresence(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over(&l.presence, l.limits.PresencePerSecond, now) {
		return false
	}
	l.presence.add(1, now)
	return true
}

// presenceCallsExceeded counts a call in a channel's own record.
func (l *limiter) presenceCallsExceeded(calls *[]time.Time, now time.Time) bool {
	limit := l.limits.PresenceCalls
	if limit <= 0 {
		return false
	}
	kept := (*calls)[:0]
	for _, t := range *calls {
		if now.Sub(t) < presenceWindow {
			kept = append(kept, t)
		}
	}
	*calls = append(kept, now)
	return len(*calls) > limit
}

// rolling is the events' average and limit, for the headers of REST answers.
func (l *limiter) rolling() (average, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.events.perSecond(time.Now())), l.limits.EventsPerSecond
}
