package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/auth"
)

// RoomKind is what a room stands for.
type RoomKind uint8

// The kinds of rooms.
const (
	ConversationRoom RoomKind = iota
	TenantRoom
)

func (k RoomKind) String() string {
	return [...]string{"conversation", "tenant"}[k]
}

// ErrRefused says that the rules don't let this user into this room.
var ErrRefused = errors.New("not allowed")

// Authorizer decides who may enter which room, by the rules of the configuration (rules.go). A
// user may only where a rule says so, with two exceptions. The service role, which Row Level Security lets
// read everything, may enter anything. So may a socket without a token under auth.insecure_dev; a
// socket that brought a token is held to it.
//
// Answers are remembered for the configured times, never longer than the token lives, by a hash of
// the token. Yes and no are apart, so that made-up ids don't push out what users need. A failure to
// ask is no answer and is not remembered.
//
// It is safe for concurrent use. Close ends what it started.
type Authorizer struct {
	settings atomic.Pointer[Settings]
	rows     Records
	callback *callback
	fresh    *fresh
	asked    *prometheus.CounterVec // by how the answer was had

	mu      sync.Mutex // guards the rest
	allowed *lru.Cache[question, answer]
	refused *lru.Cache[question, answer]
	// What answers rest on changes: a conversation moves to another tenant. Each such change begins
	// an epoch of its room, and an answer from before it doesn't count any more. A room that
	// withdrawn doesn't hold has the epoch forgotten, the latest of those that were dropped.
	epoch     uint64
	withdrawn *lru.Cache[Room, uint64]
	forgotten uint64
}

// Room is one room; its id is as stored.
type Room struct {
	Kind RoomKind
	ID   string
}

// maxWithdrawn bounds the rooms whose epochs are remembered.
const maxWithdrawn = 10_000

type question struct {
	token [sha256.Size]byte
	room  Room // its id is as it was asked for
}

type answer struct {
	asStored string // the id as the row spells it; empty: refused
	until    time.Time
	epoch    uint64 // in which it was asked for
}

// Options are what an Authorizer needs.
type Options struct {
	Settings *Settings
	Rows     Records
	Registry prometheus.Registerer // of its metrics
}

// New makes an Authorizer.
func New(opts Options) (*Authorizer, error) {
	a := &Authorizer{rows: opts.Rows}
	a.settings.Store(opts.Settings)
	a.callback, a.fresh = newCallback(a.settings.Load), newFresh(a)
	a.asked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "authorizations_total",
		Help: "Questions who may enter a room, by how they were answered: " +
			"free (nobody had to be asked), remembered, asked, or failed."}, []string{"by"})
	for _, answers := range []**lru.Cache[question, answer]{&a.allowed, &a.refused} {
		var err error
		if *answers, err = lru.New[question, answer](opts.Settings.CacheSize); err != nil {
			return nil, fmt.Errorf("rooms.authorization.cache_size: %w", err)
		}
	}
	var err error
	forget := func(_ Room, epoch uint64) { a.forgotten = max(a.forgotten, epoch) }
	if a.withdrawn, err = lru.NewWithEvict(maxWithdrawn, forget); err != nil {
		return nil, fmt.Errorf("rooms: %w", err)
	}
	a.register(opts.Registry)
	return a, nil
}

// register has what the Authorizer knows asked for at each scrape.
func (a *Authorizer) register(registry prometheus.Registerer) {
	registry.MustRegister(a.asked)
	for kind, answers := range map[string]*lru.Cache[question, answer]{"allowed": a.allowed, "refused": a.refused} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "authorizations_remembered",
			Help:        "Answers that are kept (rooms.authorization.cache_size), by what they say.",
			ConstLabels: prometheus.Labels{"answer": kind}},
			func() float64 { return float64(answers.Len()) }))
	}
}

// Update sets other settings. Answers by the former ones count until Rechecker.RulesChanged
// withdraws them. The cache's size and the callback's concurrency stay as they are.
func (a *Authorizer) Update(s *Settings) { a.settings.Store(s) }

// Close ends the questions of AskFresh, waits for them, and gives up idle connections.
func (a *Authorizer) Close() {
	a.fresh.close()
	a.callback.close()
}

// free decides for users whom no rule concerns; known is false where the rules decide.
func (a *Authorizer) free(who *auth.Identity) (may, known bool) {
	switch {
	case !who.Verified:
		return a.settings.Load().InsecureDev && !who.Pending, true
	case !time.Now().Before(who.Ends()):
		return false, true
	case who.Role == auth.ServiceRole:
		return true, true
	}
	return false, false
}

// MayEnter gives the id as Supabase spells it: a UUID in capitals is the same row, and must be the
// same room. The error is ErrRefused where the user may not enter the room, and another one where
// it could not be found out.
func (a *Authorizer) MayEnter(ctx context.Context, who *auth.Identity, kind RoomKind, id string) (string, error) {
	if may, known := a.free(who); known {
		a.asked.WithLabelValues("free").Inc()
		if may {
			return id, nil
		}
		return "", ErrRefused
	}
	q := a.question(who, kind, id)
	asStored, known, epoch := a.remembered(q)
	if known {
		a.asked.WithLabelValues("remembered").Inc()
	} else {
		open, err := a.decide(ctx, &inquiry{who: who, kind: kind, tenants: a.MayEnter}, []string{id})
		if err != nil {
			a.asked.WithLabelValues("failed").Inc()
			return "", err
		}
		a.asked.WithLabelValues("asked").Inc()
		asStored = open[id]
		a.remember(q, asStored, who.Ends(), epoch)
	}
	if asStored == "" {
		return "", ErrRefused
	}
	return asStored, nil
}

// Known gives the answer of MayEnter where nobody has to be asked; stored is empty where the answer
// is no.
func (a *Authorizer) Known(who *auth.Identity, kind RoomKind, id string) (stored string, known bool) {
	may, known := a.free(who)
	if known && may {
		return id, true
	}
	if known {
		return "", true
	}
	room := a.settings.Load().rules[kind]
	if len(room.order) == 0 {
		return "", true
	}
	if room.order[0] == ruleClaim {
		if stored := a.claimed(room, who, kind, []string{id})[id]; stored != "" {
			return stored, true
		}
	}
	stored, known, _ = a.remembered(a.question(who, kind, id))
	return stored, known
}

// question is what an answer is remembered by.
func (a *Authorizer) question(who *auth.Identity, kind RoomKind, id string) question {
	return question{sha256.Sum256([]byte(who.Token)), Room{kind, id}}
}

func (a *Authorizer) remembered(q question) (asStored string, known bool, epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, answers := range []*lru.Cache[question, answer]{a.allowed, a.refused} {
		got, ok := answers.Get(q)
		if ok && time.Now().Before(got.until) &&
			got.epoch >= a.changed(q.room) && got.epoch >= a.changed(Room{q.room.Kind, got.asStored}) {
			return got.asStored, true, a.epoch
		}
		if ok {
			answers.Remove(q)
		}
	}
	return "", false, a.epoch
}

// changed gives the last epoch of a room.
func (a *Authorizer) changed(r Room) uint64 {
	if epoch, ok := a.withdrawn.Peek(r); ok {
		return epoch
	}
	return a.forgotten
}

// remember keeps the answer to a question that was put in an epoch.
func (a *Authorizer) remember(q question, asStored string, expires time.Time, epoch uint64) {
	c := a.settings.Load()
	answers, other, keep := a.refused, a.allowed, c.RefusedFor
	if asStored != "" {
		answers, other, keep = a.allowed, a.refused, c.longestMemory()
	}
	until := time.Now().Add(keep)
	if expires.Before(until) {
		until = expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	other.Remove(q)
	answers.Add(q, answer{asStored, until, epoch})
}

// withdraw begins a new epoch of a room: an answer about it from before doesn't count any more.
func (a *Authorizer) withdraw(r Room) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.withdrawn.Add(r, a.epoch)
}

// withdrawAll begins a new epoch of every room.
func (a *Authorizer) withdrawAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.withdrawn.Purge()
	a.forgotten = a.epoch
}

// Epoch is that of a question that is put now.
func (a *Authorizer) Epoch() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

// ChangedSince reports whether answers about a room have been withdrawn since an epoch.
func (a *Authorizer) ChangedSince(r Room, epoch uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed(r) > epoch
}
