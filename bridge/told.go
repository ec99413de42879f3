package bridge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// A client names what it has seen when it joins with since, and may be told of a row between that and the read: by the room it was in already, by the
// tenant's, by the one from which the row moved. So it is remembered in which rooms each message of late was told, and since when each socket is in its
// rooms: what a socket was told is not read out to it again.

// maxTold bounds the messages of which that is remembered. It has to hold those told while a client's request is on its way.
const maxTold = 10_000

// telling is that a version of a message was told.
type telling struct {
	at    time.Time
	event vocabulary.Event
	to    reach
	n     uint64 // how many were told up to it
}

// tellings are the last of each message, by its key. The feed's goroutine alone uses it, but for the count.
type tellings struct {
	by    *lru.Cache[string, telling]
	count atomic.Uint64
}

func newTellings() (*tellings, error) {
	by, err := lru.New[string, telling](maxTold)
	if err != nil {
		return nil, fmt.Errorf("bridge: messages told: %w", err)
	}
	return &tellings{by: by}, nil
}

// note remembers that a version was told.
func (t *tellings) note(key string, at time.Time, event vocabulary.Event, to reach) {
	t.by.Add(key, telling{at, event, to, t.count.Add(1)})
}

// reached tells whether a client was told of this version of a message.
func (t *tellings) reached(c *client, key string, at time.Time) bool {
	last, ok := t.by.Peek(key)
	if !ok || !last.at.Equal(at) {
		return false
	}
	return c.stays.reached(last.to.rooms(c.b.words().Reaches(vocabulary.Style(c.style.Load()), last.event)), last.n)
}

// stays says since when a socket is in its rooms, by how many messages had been told before. The connections of one socket share it.
type stays struct {
	mu    sync.Mutex
	since map[string]uint64
}

func (s *stays) begin(room string, count uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since == nil {
		s.since = make(map[string]uint64)
	}
	if _, there := s.since[room]; !there {
		s.since[room] = count
	}
}

func (s *stays) end(room string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.since, room)
}

// reached tells whether the socket was in one of the rooms when a message was told there.
func (s *stays) reached(rooms []string, n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, room := range rooms {
		if since, ok := s.since[room]; ok && since < n {
			return true
		}
	}
	return false
}
