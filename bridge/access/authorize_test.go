package access_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// policy stands for Supabase: which token sees which row, which user is joined with which room, the
// rows themselves, and how often it was asked.
type policy struct {
	asking func() // called with each question; may be nil

	mu sync.Mutex // guards the rest
	// "token table key id" and "user table user-column room-column room" → the id as stored,
	// "table key id" → the row
	sees  map[string]string
	err   error
	asked int
}

// ask counts a question. The caller unlocks mu.
func (p *policy) ask() {
	if p.asking != nil {
		p.asking()
	}
	p.mu.Lock()
	p.asked++
}

// change changes what it answers while it may be asked.
func (p *policy) change(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *policy) VisibleTo(_ context.Context, token, table, key string, ids []string) ([]string, error) {
	p.ask()
	defer p.mu.Unlock()
	var found []string
	for _, id := range ids {
		if stored, ok := p.sees[fmt.Sprint(token, " ", table, " ", key, " ", id)]; ok {
			found = append(found, stored)
		}
	}
	return found, p.err
}

func (p *policy) RoomsOf(_ context.Context, in supabase.Member, user string, rooms []string) ([]string, error) {
	p.ask()
	defer p.mu.Unlock()
	var found []string
	for _, room := range rooms {
		if stored, ok := p.sees[fmt.Sprint(user, " ", in.Table, " ", in.User, " ", in.Room, " ", room)]; ok {
			found = append(found, stored)
		}
	}
	return found, p.err
}

func (p *policy) Row(_ context.Context, table, key, id string) (json.RawMessage, bool, error) {
	p.ask()
	defer p.mu.Unlock()
	record, ok := p.sees[fmt.Sprint(table, " ", key, " ", id)]
	return json.RawMessage(record), ok, p.err
}

func gatekeeper(t *testing.T, p *policy, change func(*config.Config)) *access.Authorizer {
	t.Helper()
	return guarded(t, p, change).authorizer
}

func signedIn(token string) *auth.Identity {
	return &auth.Identity{
		UserID: "u", Role: "authenticated", Token: token, Expires: time.Now().Add(time.Hour), Verified: true,
	}
}

func TestARoomIsEnteredOnlyBySomebodyWhoSeesTheRow(t *testing.T) {
	t.Parallel()
	p := &policy{sees: map[string]string{"mine conversations id C1": "c1", "mine distributors id d1": "d1"}}
	claimed := signedIn("claimed")
	claimed.Tenant = "d7"
	service := &auth.Identity{Role: auth.ServiceRole, Expires: time.Now().Add(time.Hour), Verified: true}
	expired := signedIn("mine")
	expired.Expires = time.Now().Add(-time.Second)
	for _, test := range []struct {
		name   string
		who    *auth.Identity
		kind   access.RoomKind
		id     string
		stored string // empty: refused
	}{
		{"the row is seen", signedIn("mine"), conversationRoom, "C1", "c1"},
		{"it is another's", signedIn("theirs"), conversationRoom, "C1", ""},
		{"there is none", signedIn("mine"), conversationRoom, "c9", ""},
		{"the tenant's row is seen", signedIn("mine"), tenantRoom, "d1", "d1"},
		{"a tenant's id is no conversation's", signedIn("mine"), conversationRoom, "d1", ""},
		{"the claim names the tenant", claimed, tenantRoom, "d7", "d7"},
		{"the claim names another", claimed, tenantRoom, "d1", ""},
		{"the claim says nothing of conversations", claimed, conversationRoom, "d7", ""},
		{"the service role", service, conversationRoom, "any", "any"},
		{"the token has expired", expired, conversationRoom, "C1", ""},
		{"no token", &auth.Identity{UserID: "u", Tenant: "d1"}, tenantRoom, "d1", ""},
	} {
		stored, err := gatekeeper(t, p, nil).MayEnter(t.Context(), test.who, test.kind, test.id)
		if stored != test.stored || (err == nil) != (test.stored != "") || err != nil && !errors.Is(err, errRefused) {
			t.Errorf("%s: %q %v, want %q", test.name, stored, err, test.stored)
		}
	}
}

func TestInsecureDevLetsOnlyThoseWithoutATokenThrough(t *testing.T) {
	t.Parallel()
	a := gatekeeper(t, &policy{}, func(cfg *config.Config) { cfg.Auth.InsecureDev = true })
	stored, err := a.MayEnter(t.Context(), &auth.Identity{UserID: "u"}, conversationRoom, "c1")
	if err != nil || stored != "c1" {
		t.Errorf("without a token: %q %v, want c1", stored, err)
	}
	if _, err := a.MayEnter(t.Context(), signedIn("theirs"), conversationRoom, "c1"); !errors.Is(err, errRefused) {
		t.Errorf("with a token that does not see the row: %v, want a refusal", err)
	}
}

func TestAnswersAreKeptForTheirTimeAndNoLongerThanTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &policy{sees: map[string]string{"mine conversations id c1": "c1", "short conversations id c1": "c1"}}
		a := gatekeeper(t, p, func(cfg *config.Config) {
			cfg.Rooms.Authorization.AllowedFor, cfg.Rooms.Authorization.RefusedFor = time.Minute, 10*time.Second
		})
		ask := func(who *auth.Identity, id string, asked int) {
			t.Helper()
			before := p.asked
			_, _ = a.MayEnter(t.Context(), who, conversationRoom, id)
			if got := p.asked - before; got != asked {
				t.Errorf("%s for %s was asked of Supabase %d times, want %d", id, who.Token, got, asked)
			}
		}
		mine, short := signedIn("mine"), signedIn("short")
		short.Expires = time.Now().Add(20 * time.Second)
		ask(mine, "c1", 1)
		ask(mine, "c2", 1)
		ask(short, "c1", 1)
		ask(mine, "c1", 0)
		ask(mine, "c2", 0)
		time.Sleep(10 * time.Second)
		ask(mine, "c1", 0)
		ask(mine, "c2", 1)
		ask(short, "c1", 0)
		time.Sleep(10 * time.Second)
		renewed := *short
		renewed.Expires = time.Now().Add(time.Hour) // the answer ended with the token as it was
		ask(&renewed, "c1", 1)
		time.Sleep(40 * time.Second)
		ask(mine, "c1", 1)
	})
}

func TestAFailureToAskIsNeitherAnAnswerNorKept(t *testing.T) {
	t.Parallel()
	p := &policy{err: &supabase.Error{Status: 503, Class: supabase.ClassRetry}}
	a := gatekeeper(t, p, nil)
	_, err := a.MayEnter(t.Context(), signedIn("mine"), conversationRoom, "c1")
	if err == nil || errors.Is(err, errRefused) {
		t.Errorf("error %v, want one that is no refusal", err)
	}
	p.err, p.sees = nil, map[string]string{"mine conversations id c1": "c1"}
	if _, err := a.MayEnter(t.Context(), signedIn("mine"), conversationRoom, "c1"); err != nil {
		t.Errorf("asked again: %v, want the room open", err)
	}
	p = &policy{err: &supabase.Error{Status: 401, Class: supabase.ClassToken}}
	_, err = gatekeeper(t, p, nil).MayEnter(t.Context(), signedIn("mine"), conversationRoom, "c1")
	if !errors.Is(err, errRefused) {
		t.Errorf("a token that Supabase refuses: %v, want a refusal", err)
	}
}
