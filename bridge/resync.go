package bridge

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// resyncPause is the least time between two requests to resync: each has every browser read its
// rooms anew.
const resyncPause = 2 * time.Second

// resyncer asks browsers to read their rooms anew: at once the first time, and then at most once a
// pause, with the earliest instant and the last reason of those it held back. The mutex guards what
// is below it.
type resyncer struct {
	log zerolog.Logger
	ask func(since time.Time, reason string)

	mu     sync.Mutex
	timer  *time.Timer // running while requests are held back; nil else
	held   bool
	since  time.Time
	reason string
	closed bool
}

// request asks, or has it asked for when the pause ends.
func (r *resyncer) request(since time.Time, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
	case r.timer == nil:
		r.pause(since, reason)
	default:
		if !r.held || since.Before(r.since) {
			r.since = since
		}
		r.held, r.reason = true, reason
	}
}

// pause asks and begins a pause. The caller holds mu; asking waits for no client.
func (r *resyncer) pause(since time.Time, reason string) {
	r.log.Warn().
		Str("reason", reason).
		Time("since", since).
		Msg("deletes may have been missed; browsers are asked to resync")
	r.ask(since, reason)
	r.timer = time.AfterFunc(resyncPause, r.resume)
}

func (r *resyncer) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	if r.held && !r.closed {
		r.held = false
		r.pause(r.since, r.reason)
	}
}

// close ends it; what is held back is not asked for any more.
func (r *resyncer) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}
