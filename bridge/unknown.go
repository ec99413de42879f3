package bridge

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// maxUnknown bounds the names of unknown events that are remembered; further ones are not logged,
// and counted together.
const maxUnknown = 200

// unknownEvents logs each event name that the vocabulary lacks, once, and counts it, so that ops
// find the missing one. Names are cut to 64 bytes: they are a client's.
type unknownEvents struct {
	log   zerolog.Logger
	count *prometheus.CounterVec // by name

	mu   sync.Mutex // guards seen
	seen map[string]struct{}
}

func newUnknownEvents(log zerolog.Logger, count *prometheus.CounterVec) *unknownEvents {
	return &unknownEvents{log: log, count: count, seen: make(map[string]struct{})}
}

func (u *unknownEvents) note(name string) {
	name = strings.ToValidUTF8(name[:min(len(name), 64)], "�")
	u.mu.Lock()
	_, known := u.seen[name]
	full := len(u.seen) >= maxUnknown
	if !known && !full {
		u.seen[name] = struct{}{}
	}
	u.mu.Unlock()
	if !known && full {
		u.count.WithLabelValues("(other)").Inc()
		return
	}
	u.count.WithLabelValues(name).Inc()
	if !known {
		u.log.Warn().Str("event", name).Msg("a client sent an event that the vocabulary does not know")
	}
}
