package ratelimit

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// Meter counts what one user or one address has. A nil Meter, of nobody in particular, counts
// nothing and bounds nothing.
type Meter struct {
	mu          sync.Mutex // guards the rest
	connections int
	rooms       int
	buckets     Buckets
}

// Allow takes an event from the buckets; false where one of them is empty.
func (m *Meter) Allow(r Rates, intent vocabulary.Intent) bool {
	if m == nil || len(r) == 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buckets.Allow(r, intent)
}

// AddRooms counts rooms that were entered, or with n < 0 left.
func (m *Meter) AddRooms(n int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rooms += n
}

// Full reports whether the bound of rooms is reached.
func (m *Meter) Full(bounds config.PeerLimits) (rooms bool) {
	if m == nil || bounds.Rooms == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rooms >= bounds.Rooms
}

// Meters are those of users, or of addresses: of all that are connected, and for a while of those
// who left, so that coming again does not fill their buckets.
type Meters struct {
	mu   sync.Mutex // guards the rest; taken before a Meter's own
	here map[string]*Meter
	left *lru.Cache[string, *Meter]
}

// maxLeft bounds the Meters that are kept of those who left.
const maxLeft = 10_000

// NewMeters makes them, empty.
func NewMeters() *Meters {
	left, err := lru.New[string, *Meter](maxLeft)
	if err != nil {
		panic("ratelimit: a cache of a fixed size: " + err.Error())
	}
	return &Meters{here: make(map[string]*Meter), left: left}
}

// Enter counts a connection; "" is nobody, whose Meter is nil.
func (ms *Meters) Enter(key string) *Meter {
	m, _ := ms.Admit(key, 0)
	return m
}

// Admit is Enter, unless it would be one too many: more than most, where that is not 0.
func (ms *Meters) Admit(key string, most int) (m *Meter, ok bool) {
	if key == "" {
		return nil, true
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m = ms.here[key]
	if m == nil {
		if m, _ = ms.left.Get(key); m == nil {
			m = new(Meter)
		}
		ms.left.Remove(key)
		ms.here[key] = m
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if most != 0 && m.connections >= most {
		return nil, false
	}
	m.connections++
	return m, true
}

// Leave takes that back.
func (ms *Meters) Leave(key string) {
	if key == "" {
		return
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.here[key]
	if m == nil {
		return
	}
	m.mu.Lock()
	m.connections--
	gone, used := m.connections == 0, len(m.buckets) > 0
	m.mu.Unlock()
	if gone {
		delete(ms.here, key)
		if used {
			ms.left.Add(key, m)
		}
	}
}

// Full reports whether a further connection would be too many.
func (ms *Meters) Full(key string, most int) bool {
	if key == "" || most == 0 {
		return false
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.here[key]
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connections >= most
}

// Peek gives the Meter of somebody who is here; nil where he is not.
func (ms *Meters) Peek(key string) *Meter {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.here[key]
}

// Count is how many are connected.
func (ms *Meters) Count() int {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return len(ms.here)
}
