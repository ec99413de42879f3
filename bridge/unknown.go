package bridge

import (
	"sync"

	"github.com/rs/zerolog"
)

// maxUnknown bounds the names of unknown events that are remembered; further ones are not logged.
const maxUnknown = 200

// unknownEvents logs each event name that the vocabulary lacks, once, so that ops find the missing one. Names are cut to 64 bytes: they are a client's.
type unknownEvents struct {
	log zerolog.Logger

	mu   sync.Mutex // guards seen
	seen map[string]struct{}
}

func newUnknownEvents(log zerolog.Logger) *unknownEvents {
	return &unknownEvents{log: log, seen: make(map[string]struct{})}
}

func (u *unknownEvents) note(name string) {
	name = name[:min(len(name), 64)]
	u.mu.Lock()
	_, known := u.seen[name]
	full := len(u.seen) >= maxUnknown
	if !known && !full {
		u.seen[name] = struct{}{}
	}
	u.mu.Unlock()
	if !known && !full {
		u.log.Warn().Str("event", name).Msg("a client sent an event that the vocabulary does not know")
	}
}
