package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/supabridge/supabridge/bridge/supabase"
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

// authorizer decides who may enter which room. Nobody may, unless one of these says so, in this order:
//
//  1. the service role, which Row Level Security lets read everything;
//  2. for a tenant's room, the claim that names the user's tenant, where it is this one;
//  3. Row Level Security itself: PostgREST, asked with the user's own token, shows the conversation's or the tenant's row.
//
// Under auth.insecure_dev a socket that brought no token may enter anything; one that brought a token is held to it.
//
// Answers are kept for the configured times, never longer than the token lives, under a hash of the token. A failure to ask is no answer and is not kept.
type authorizer struct {
	cfg  func() *config.Config
	rows visibility

	mu      sync.Mutex // guards answers
	answers *lru.Cache[question, answer]
}

// visibility is the one question the authorizer asks of Supabase.
type visibility interface {
	VisibleTo(ctx context.Context, token, table, key, id string) (asStored string, visible bool, err error)
}

type question struct {
	token [sha256.Size]byte
	kind  roomKind
	id    string
}

type answer struct {
	asStored string // the id as the row spells it; empty: refused
	until    time.Time
}

func newAuthorizer(cfg func() *config.Config, rows visibility) (*authorizer, error) {
	answers, err := lru.New[question, answer](cfg().Rooms.Authorization.CacheSize)
	if err != nil {
		return nil, fmt.Errorf("bridge: rooms.authorization.cache_size: %w", err)
	}
	return &authorizer{cfg: cfg, rows: rows, answers: answers}, nil
}

// mayEnter gives the id as Supabase spells it (a UUID in capitals is the same row, and must be the same room), errRefused where the user may not enter
// the room, and a *supabase.Error where it could not be found out.
func (a *authorizer) mayEnter(ctx context.Context, who *Identity, kind roomKind, id string) (string, error) {
	switch {
	case !who.Verified:
		if a.cfg().Auth.InsecureDev {
			return id, nil
		}
		return "", errRefused
	case !time.Now().Before(who.Expires):
		return "", errRefused
	case who.Role == serviceRole, kind == tenantRoom && who.Tenant != "" && who.Tenant == id:
		return id, nil
	}
	q := question{token: sha256.Sum256([]byte(who.Token)), kind: kind, id: id}
	asStored, known := a.remembered(q)
	if !known {
		var err error
		if asStored, err = a.ask(ctx, who, kind, id); err != nil {
			return "", err
		}
		a.remember(q, asStored, who.Expires)
	}
	if asStored == "" {
		return "", errRefused
	}
	return asStored, nil
}

// ask gives the id as stored, "" where the user does not see the row.
func (a *authorizer) ask(ctx context.Context, who *Identity, kind roomKind, id string) (string, error) {
	tables := a.cfg().Tables
	table, key := tables.Conversations.Name, tables.Conversations.ID
	if kind == tenantRoom {
		table, key = tables.Tenants.Name, tables.Tenants.ID
	}
	asStored, _, err := a.rows.VisibleTo(ctx, who.Token, table, key, id)
	if e, ok := supabase.AsError(err); ok && slices.Contains([]supabase.Class{supabase.ClassToken, supabase.ClassDenied}, e.Class) {
		return "", nil // refused in words rather than by an empty answer
	}
	return asStored, err
}

func (a *authorizer) remembered(q question) (asStored string, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	got, ok := a.answers.Get(q)
	if ok && !time.Now().Before(got.until) {
		a.answers.Remove(q)
		return "", false
	}
	return got.asStored, ok
}

func (a *authorizer) remember(q question, asStored string, expires time.Time) {
	keep := a.cfg().Rooms.Authorization.RefusedFor
	if asStored != "" {
		keep = a.cfg().Rooms.Authorization.AllowedFor
	}
	until := time.Now().Add(keep)
	if expires.Before(until) {
		until = expires
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers.Add(q, answer{asStored, until})
}
