package bridge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// A client names what it has seen when it joins with since, and may be told of a row between that
// and the read: by the room it was in already, by the tenant's, by the one from which the row
// moved. So it is remembered in which rooms each message of late was told, and since when each
// socket is in its rooms: what a socket was told is not read out to it again.

// maxTold bounds the messages of which that is remembered. It has to hold those told while a
// client's request is on its way.
const maxTold = 10_000

// maxVersions bounds the versions of one message of which it is, and the deletes.
const maxVersions = 6

// telling is that a version of a message was told, or that it is gone from where it was.
type telling struct {
	at    time.Time
	gone  bool
	event vocabulary.Event
	to    emit.Audience
	n     uint64 // how many were told up to it
}

// tellings are the last of each message, oldest first, by its key. The feed's goroutine alone uses
// it, but for the count and the passage.
type tellings struct {
	table feed.Table
	by    *lru.Cache[string, []telling]
	count atomic.Uint64

	// passage is held while a message is noted and told, and held for reading while a socket enters or
	// leaves a room and that is noted: one that entered between the two would be told of the message,
	// and be taken for one that was not.
	passage sync.RWMutex
}

func newTellings(cfg *config.Config) (*tellings, error) {
	by, err := lru.New[string, []telling](maxTold)
	if err != nil {
		return nil, fmt.Errorf("bridge: messages told: %w", err)
	}
	return &tellings{table: messagesTable(cfg), by: by}, nil
}

// note remembers that a version was told.
func (t *tellings) note(key string, at time.Time, event vocabulary.Event, to emit.Audience) {
	t.add(key, telling{at: at, event: event, to: to})
}

// noteGone remembers that a message was told to be gone: who heard that lacks it again.
func (t *tellings) noteGone(key string, to emit.Audience) {
	if t.by.Contains(key) { // else nobody is known to have it
		t.add(key, telling{gone: true, event: vocabulary.MessageDeleted, to: to})
	}
}

func (t *tellings) add(key string, told telling) {
	list, _ := t.by.Get(key)
	if len(list) == maxVersions {
		list = list[1:]
	}
	told.n = t.count.Add(1)
	t.by.Add(key, append(list[:len(list):len(list)], told))
}

// reached tells whether a client was told of this version of a message, or of a younger one, and
// not since that it is gone. What its hold has kept it was not told.
func (t *tellings) reached(c *client, x *hold, key string, at time.Time) (has bool) {
	list, _ := t.by.Peek(key)
	style, now := vocabulary.Style(c.style.Load()), c.b.router.holds.now()
	for _, told := range list {
		switch {
		case !told.gone && !notBefore(told.at, at, now),
			!c.stays.reached(told.to.Rooms(c.b.words().Reaches(style, told.event)), told.n):
		case told.gone:
			has = has && x.keepsDelete(t.table, key)
		default:
			has = has || !x.keeps(t.table, key, told.at)
		}
	}
	return has
}

// stays says since when a socket is in its rooms, by how many messages had been told before. The
// connections of one socket share it.
type stays struct {
	holds atomic.Int32 // that keep something from the socket

	mu    sync.Mutex
	since map[string]uint64
	whole map[string]time.Time // by whole room, from when on all of it is with the socket
}

// beWhole notes that the socket has all of a conversation from a time on.
func (s *stays) beWhole(room string, from time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole == nil {
		s.whole = make(map[string]time.Time)
	}
	s.whole[room] = from
}

// wholeFrom gives that time; zero where it is not known here, since the socket entered the room at
// another node.
func (s *stays) wholeFrom(room string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole[room]
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
	delete(s.whole, room)
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
