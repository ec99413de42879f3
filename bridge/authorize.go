package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/config"
)

// roomKind is what a room stands for.
type roomKind uint8

const (
	conversationRoom roomKind = iota
	tenantRoom
)

func (k roomKind) String() string {
	return [...]string{"conversation", "tenant"}[k]
}

// errRefused: the rules don't let this user into this room.
var errRefused = errors.New("not allowed")

// authorizer decides who may enter which room, by the rules of the configuration (rules.go). Nobody may unless one of them says so. Two stand above them: the
// service role, which Row Level Security lets read everything, may enter anything, and so may under auth.insecure_dev a socket that brought no token; one
// that brought a token is held to it.
//
// Answers are kept for the configured times, never longer than the token lives, under a hash of the token; yes and no apart, so that made-up ids don't push out
// what users live on. A failure to ask is no answer and is not kept.
type authorizer struct {
	cfg      func() *config.Config
	rows     records
	callback *callback
	fresh    *fresh
	asked    *prometheus.CounterVec // by how the answer was had

	mu      sync.Mutex // guards the rest
	allowed *lru.Cache[question, answer]
	refused *lru.Cache[question, answer]
	// What answers rest on changes: a conversation moves to another tenant. Each such change is an epoch; what is older than the last one of its room is no
	// answer any more. Of rooms that are not remembered here it is the last epoch of any of those.
	epoch     uint64
	withdrawn *lru.Cache[room, uint64]
	forgotten uint64
}

// room is one room; its id is as stored.
type room struct {
	kind roomKind
	id   string
}

// maxWithdrawn bounds the rooms whose epochs are remembered.
const maxWithdrawn = 10_000

type question struct {
	token [sha256.Size]byte
	kind  roomKind
	id    string
}

type answer struct {
	asStored string // the id as the row spells it; empty: refused
	until    time.Time
	epoch    uint64 // in which it was asked for
}

func newAuthorizer(cfg func() *config.Config, rows records) (*authorizer, error) {
	a := &authorizer{cfg: cfg, rows: rows, callback: newCallback(cfg)}
	a.fresh = newFresh(a)
	a.asked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "authorizations_total",
		Help: "Questions who may enter a room, by how they were answered: free (nobody had to be asked), remembered, asked, or failed."}, []string{"by"})
	for _, answers := range []**lru.Cache[question, answer]{&a.allowed, &a.refused} {
		var err error
		if *answers, err = lru.New[question, answer](cfg().Rooms.Authorization.CacheSize); err != nil {
			return nil, fmt.Errorf("bridge: rooms.authorization.cache_size: %w", err)
		}
	}
	var err error
	if a.withdrawn, err = lru.NewWithEvict(maxWithdrawn, func(_ room, epoch uint64) { a.forgotten = max(a.forgotten, epoch) }); err != nil {
		return nil, fmt.Errorf("bridge: rooms: %w", err)
	}
	return a, nil
}

// watch has what it knows asked for at each scrape.
func (a *authorizer) watch(registry prometheus.Registerer) {
	registry.MustRegister(a.asked)
	for kind, answers := range map[string]*lru.Cache[question, answer]{"allowed": a.allowed, "refused": a.refused} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "authorizations_remembered",
			Help: "Answers that are kept (rooms.authorization.cache_size), by what they say.", ConstLabels: prometheus.Labels{"answer": kind}},
			func() float64 { return float64(answers.Len()) }))
	}
}

// free tells of somebody whom no rule concerns whether he may enter anything; known is false where the rules decide.
func (a *authorizer) free(who *auth.Identity) (may, known bool) {
	switch {
	case !who.Verified:
		return a.cfg().Auth.InsecureDev && !who.Pending, true
	case !time.Now().Before(who.Ends()):
		return false, true
	case who.Role == serviceRole:
		return true, true
	}
	return false, false
}

// mayEnter gives the id as Supabase spells it (a UUID in capitals is the same row, and must be the same room), errRefused where the user may not enter
// the room, and another error where it could not be found out.
func (a *authorizer) mayEnter(ctx context.Context, who *auth.Identity, kind roomKind, id string) (string, error) {
	if may, known := a.free(who); known {
		a.asked.WithLabelValues("free").Inc()
		if may {
			return id, nil
		}
		return "", errRefused
	}
	q := a.question(who, kind, id)
	asStored, known, epoch := a.remembered(q)
	if known {
		a.asked.WithLabelValues("remembered").Inc()
	} else {
		open, err := a.decide(ctx, &inquiry{who: who, kind: kind, tenants: a.mayEnter}, []string{id})
		if err != nil {
			a.asked.WithLabelValues("failed").Inc()
			return "", err
		}
		a.asked.WithLabelValues("asked").Inc()
		asStored = open[id]
		a.remember(q, asStored, who.Ends(), epoch)
	}
	if asStored == "" {
		return "", errRefused
	}
	return asStored, nil
}

// question is what an answer is remembered by.
func (a *authorizer) question(who *auth.Identity, kind roomKind, id string) question {
	return question{token: sha256.Sum256([]byte(who.Token)), kind: kind, id: id}
}

func (a *authorizer) remembered(q question) (asStored string, known bool, epoch uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, answers := range []*lru.Cache[question, answer]{a.allowed, a.refused} {
		got, ok := answers.Get(q)
		if ok && time.Now().Before(got.until) && got.epoch >= a.changed(room{q.kind, q.id}) && got.epoch >= a.changed(room{q.kind, got.asStored}) {
			return got.asStored, true, a.epoch
		}
		if ok {
			answers.Remove(q)
		}
	}
	return "", false, a.epoch
}

// changed gives the last epoch of a room.
func (a *authorizer) changed(r room) uint64 {
	if epoch, ok := a.withdrawn.Peek(r); ok {
		return epoch
	}
	return a.forgotten
}

// remember keeps the answer to a question that was put in an epoch.
func (a *authorizer) remember(q question, asStored string, expires time.Time, epoch uint64) {
	c := a.cfg().Rooms.Authorization
	answers, other, keep := a.refused, a.allowed, c.RefusedFor
	if asStored != "" {
		answers, other, keep = a.allowed, a.refused, longestMemory(c)
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

// withdraw begins a new epoch of a room: no answer about it that was asked for before counts any more.
func (a *authorizer) withdraw(r room) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.withdrawn.Add(r, a.epoch)
}

// withdrawAll begins a new epoch of every room.
func (a *authorizer) withdrawAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.withdrawn.Purge()
	a.forgotten = a.epoch
}

// now is the epoch of a question that is put now.
func (a *authorizer) now() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

// changedSince tells whether answers about a room have been withdrawn since an epoch.
func (a *authorizer) changedSince(r room, epoch uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed(r) > epoch
}
