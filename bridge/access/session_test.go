package access_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/config"
)

const (
	conversationRoom = access.ConversationRoom
	tenantRoom       = access.TenantRoom
)

var errRefused = access.ErrRefused

// session is a connection as package access sees it.
type session struct {
	who     atomic.Pointer[auth.Identity]
	checked access.Checked

	mu      sync.Mutex // guards the rest
	rooms   map[access.Room]bool
	claimed string
	next    []*session // that have taken over
	evicted []string   // reasons
}

func newSession(who *auth.Identity, conversations ...string) *session {
	s := &session{rooms: make(map[access.Room]bool)}
	s.who.Store(who)
	for _, id := range conversations {
		s.rooms[access.Room{Kind: conversationRoom, ID: id}] = true
	}
	return s
}

func (s *session) Identity() *auth.Identity { return s.who.Load() }

func (s *session) Checked() *access.Checked { return &s.checked }

func (s *session) Rooms(kind access.RoomKind, among map[string]struct{}) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for room := range s.rooms {
		if _, is := among[room.ID]; room.Kind == kind && (among == nil || is) {
			ids = append(ids, room.ID)
		}
	}
	return ids
}

func (s *session) ClaimedTenant() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claimed
}

func (s *session) OpenTenant(claimed, stored string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed == claimed {
		s.claimed, s.rooms[access.Room{Kind: tenantRoom, ID: stored}] = "", true
	}
}

func (s *session) Current() []access.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.next) == 0 {
		return []access.Session{s}
	}
	var all []access.Session
	for _, n := range s.next {
		all = append(all, n.Current()...)
	}
	return all
}

func (s *session) Evict(room access.Room, reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.rooms[room]
	delete(s.rooms, room)
	if was {
		s.evicted = append(s.evicted, reason)
	}
	return was
}

// guard is a Rechecker and what it asks.
type guard struct {
	*access.Rechecker
	authorizer *access.Authorizer
	registry   *prometheus.Registry
}

// guarded makes a guard, with the sessions that add makes.
func guarded(t *testing.T, rows access.Records, change func(*config.Config)) *guard {
	t.Helper()
	cfg := config.Default()
	if change != nil {
		change(cfg)
	}
	g := &guard{registry: prometheus.NewRegistry()}
	var err error
	if g.authorizer, err = access.New(access.Options{
		Settings: access.Compile(cfg), Rows: rows, Registry: g.registry,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.authorizer.Close)
	g.Rechecker = access.NewRechecker(g.authorizer, g.registry, zerolog.Nop())
	return g
}

// add watches a session in some conversations, of a user for each token.
func (r *guard) add(token string, conversations ...string) *session {
	who := signedIn(token)
	who.UserID = token
	s := newSession(who, conversations...)
	r.Watch(s)
	return s
}

// value gives a metric of the guard.
func (r *guard) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %q", name, label)
	return 0
}
