package bridge

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// withClaims is a user whose verified token carries claims.
func withClaims(claims string) *auth.Identity {
	return signedIn("h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s")
}

func TestRoomsAreOpenedByTheFirstRuleThatSaysSo(t *testing.T) {
	t.Parallel()
	teams := withClaims(`{"app_metadata":{"teams":["t1",9007199254740993],"team":"t3","odd":[{"a":1},null,true]}}`)
	home := signedIn("home")
	home.Tenant = "d1"
	p := &policy{sees: map[string]string{
		"mine conversations id C1":             "c1",
		"u members user_id conversation_id C2": "c2",
		"u staff uid distributor_id d5":        "d5",
		"conversations id C3":                  `{"id":"c3","distributor_id":"d1"}`,
		"conversations id C4":                  `{"id":"c4","distributor_id":"d9"}`,
		"conversations id C5":                  `{"id":"c5","distributor_id":null}`,
		"conversations id C6":                  `{"id":"c6","distributor_id":"d5"}`,
		"mine distributors id d9":              "d9",
	}}
	members := config.Membership{Table: "members", User: "user_id", Room: "conversation_id"}
	for _, test := range []struct {
		name                string
		conversation, staff []string // the rules
		who                 *auth.Identity
		kind                roomKind
		id, stored          string // stored is empty where it is refused
		asked               int
	}{
		{"no rules", nil, nil, signedIn("mine"), conversationRoom, "C1", "", 0},
		{"no rules, whatever the token says", nil, nil, home, tenantRoom, "d1", "", 0},
		{"rls", []string{"rls"}, nil, signedIn("mine"), conversationRoom, "C1", "c1", 1},
		{"the first says yes: nobody else is asked", []string{"rls", "membership", "tenant"}, nil, signedIn("mine"), conversationRoom, "C1", "c1", 1},
		{"the second says yes", []string{"rls", "membership", "tenant"}, nil, signedIn("theirs"), conversationRoom, "C2", "c2", 2},
		{"nobody says yes", []string{"claim", "rls", "membership", "tenant"}, nil, signedIn("theirs"), conversationRoom, "C1", "", 3},
		{"another's membership", []string{"membership"}, nil, &auth.Identity{UserID: "v", Token: "x", Verified: true, Expires: time.Now().Add(time.Hour)}, conversationRoom, "C2", "", 1},
		{"nobody's membership", []string{"membership"}, nil, &auth.Identity{Token: "x", Verified: true, Expires: time.Now().Add(time.Hour)}, conversationRoom, "C2", "", 0},
		{"a claim's list", []string{"claim"}, nil, teams, conversationRoom, "t1", "t1", 0},
		{"a number in it", []string{"claim"}, nil, teams, conversationRoom, "9007199254740993", "9007199254740993", 0},
		{"a claim's text", []string{"claim"}, nil, teams, conversationRoom, "t3", "t3", 0},
		{"no member of it", []string{"claim"}, nil, teams, conversationRoom, "t2", "", 0},
		{"neither", []string{"claim"}, nil, teams, conversationRoom, "true", "", 0},
		{"a claim of a token that can't be read", []string{"claim"}, nil, signedIn("mine"), conversationRoom, "t1", "", 0},
		{"the tenant is the token's", []string{"tenant"}, []string{"claim"}, home, conversationRoom, "C3", "c3", 1},
		{"the tenant is another", []string{"tenant"}, []string{"claim"}, home, conversationRoom, "C4", "", 1},
		{"the tenant's row is seen", []string{"tenant"}, []string{"claim", "rls"}, signedIn("mine"), conversationRoom, "C4", "c4", 2},
		{"there is no tenant", []string{"tenant"}, []string{"claim"}, home, conversationRoom, "C5", "", 1},
		{"there is no conversation", []string{"tenant"}, []string{"claim"}, home, conversationRoom, "C9", "", 1},
		{"the tenant by membership", []string{"tenant"}, []string{"membership"}, signedIn("any"), conversationRoom, "C6", "c6", 2},
		{"a tenant by membership", nil, []string{"membership"}, signedIn("any"), tenantRoom, "d5", "d5", 1},
	} {
		a := gatekeeper(t, p, func(cfg *config.Config) {
			cfg.Rooms.Conversation.Rules, cfg.Rooms.Tenant.Rules = test.conversation, test.staff
			cfg.Rooms.Conversation.Claims = []string{"app_metadata.absent", "app_metadata.teams", "app_metadata.team", "app_metadata.odd"}
			cfg.Rooms.Conversation.Membership = members
			cfg.Rooms.Tenant.Membership = config.Membership{Table: "staff", User: "uid", Room: "distributor_id"}
		})
		before := p.asked
		stored, err := a.mayEnter(t.Context(), test.who, test.kind, test.id)
		if stored != test.stored || test.stored == "" && !errors.Is(err, errRefused) || test.stored != "" && err != nil {
			t.Errorf("%s: %q %v, want %q", test.name, stored, err, test.stored)
		}
		if n := p.asked - before; n != test.asked {
			t.Errorf("%s: asked %d times, want %d", test.name, n, test.asked)
		}
	}
}

// application is the route that says who may enter.
type application struct {
	t      *testing.T
	answer http.HandlerFunc
	asked  atomic.Int32
	mu     sync.Mutex
	said   []callbackQuestion
}

const callbackSecret = "a secret of the callback"

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/may-enter" && r.URL.Path != "/elsewhere" {
		http.NotFound(w, r) // of a test beside this one, whose server had the same port before
		return
	}
	a.asked.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	if err := publish.Authenticate(r.Header, body, []byte(callbackSecret), time.Minute, time.Now()); err != nil {
		a.t.Errorf("the question is not signed: %v", err)
	}
	var q callbackQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	a.said = append(a.said, q)
	a.mu.Unlock()
	a.answer(w, r)
}

// consulted is an authorizer whose only rule is the application's word.
func consulted(t *testing.T, answer http.HandlerFunc, change func(*config.Callback)) (*authorizer, *application) {
	t.Helper()
	app := &application{t: t, answer: answer}
	server := httptest.NewServer(app)
	a := gatekeeper(t, &policy{}, func(cfg *config.Config) {
		cfg.Rooms.Conversation.Rules = []string{"callback"}
		c := &cfg.Rooms.Authorization.Callback
		c.URL, c.Secret = server.URL+"/may-enter", callbackSecret
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() {
		a.callback.close()
		server.Close()
	})
	return a, app
}

func TestTheApplicationIsAskedInASignedRequest(t *testing.T) {
	t.Parallel()
	a, app := consulted(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allow":true,"id":"c1"}`) }, nil)
	who := signedIn("secret-token")
	who.Name, who.Tenant = "Ana", "d1"
	for range 2 {
		if stored, err := a.mayEnter(t.Context(), who, conversationRoom, "C1"); stored != "c1" || err != nil {
			t.Errorf("%q %v, want c1", stored, err)
		}
	}
	want := callbackQuestion{callbackUser{"u", "Ana", "authenticated", "d1"}, callbackRoom{"conversation", "C1"}}
	if len(app.said) != 1 || app.said[0] != want {
		t.Errorf("asked %+v, want once %+v", app.said, want)
	}
}

func TestWhatTheApplicationAnswersDecides(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		stored string
		sure   bool // it is an answer
	}{
		{"yes", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allow":true}`) }, "C1", true},
		{"no", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allow":false,"id":"c1"}`) }, "", true},
		{"nothing of it", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }, "", true},
		{"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "", true},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "", true},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "", false},
		{"401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "", false},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "", false},
		{"yes as a text", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"allow":"true"}`) }, "", false},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "", false},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"allow":true,"x":"`+strings.Repeat("x", maxCallbackAnswer)+`"}`)
		}, "", false},
		{"nothing in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "", false},
	} {
		a, app := consulted(t, test.answer, func(c *config.Callback) {
			if test.name == "nothing in time" {
				c.Timeout = 200 * time.Millisecond
			}
		})
		for range 2 {
			stored, err := a.mayEnter(t.Context(), signedIn("t"), conversationRoom, "C1")
			if stored != test.stored || (err == nil) != (stored != "") || test.sure != (err == nil || errors.Is(err, errRefused)) {
				t.Errorf("%s: %q %v, want %q, an answer: %v", test.name, stored, err, test.stored, test.sure)
			}
		}
		if want := map[bool]int32{true: 1, false: 2}[test.sure]; app.asked.Load() != want {
			t.Errorf("%s: asked %d times, want %d: an answer is kept, a failure is not", test.name, app.asked.Load(), want)
		}
	}
}

func TestOnlySoManyQuestionsAreUnderWayAtOnce(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	release := make(chan struct{})
	a, _ := consulted(t, func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
		fmt.Fprint(w, `{"allow":true}`)
	}, func(c *config.Callback) { c.Concurrency, c.Timeout = 2, time.Minute })
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if _, err := a.mayEnter(t.Context(), signedIn("t"), conversationRoom, fmt.Sprint(i)); err != nil {
				t.Errorf("question %d: %v", i, err)
			}
		})
	}
	for range 10 {
		release <- struct{}{}
	}
	all.Wait()
	if most.Load() > 2 {
		t.Errorf("%d questions were under way at once, want at most 2", most.Load())
	}
}

func TestARuleThatCannotBeAskedRefusesNobody(t *testing.T) {
	t.Parallel()
	p := &policy{err: &supabase.Error{Status: 503, Class: supabase.ClassRetry}}
	home := signedIn("home")
	home.Tenant = "d1"
	a := gatekeeper(t, p, func(cfg *config.Config) { cfg.Rooms.Tenant.Rules = []string{"rls", "claim"} })
	if stored, err := a.mayEnter(t.Context(), home, tenantRoom, "d1"); stored != "d1" || err != nil {
		t.Errorf("a later rule says yes: %q %v", stored, err)
	}
	if _, err := a.mayEnter(t.Context(), home, tenantRoom, "d2"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("no later rule says yes: %v, want a failure that is no refusal", err)
	}
}

func TestMadeUpIdsDoNotPushOutWhatUsersLiveOn(t *testing.T) {
	t.Parallel()
	p := &policy{sees: map[string]string{"mine conversations id c1": "c1"}}
	a := gatekeeper(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.CacheSize = 10 })
	enter := func(id string) { _, _ = a.mayEnter(t.Context(), signedIn("mine"), conversationRoom, id) }
	enter("c1")
	for i := range 1000 {
		enter(fmt.Sprint("made up ", i))
	}
	if a.allowed.Len() != 1 || a.refused.Len() != 10 {
		t.Errorf("%d yes and %d no are kept, want 1 and 10", a.allowed.Len(), a.refused.Len())
	}
	before := p.asked
	enter("c1")
	if p.asked != before {
		t.Error("the room was asked for again")
	}
}

func TestAnAnswerThatWasWithdrawnWhileItWasAskedForIsNotKept(t *testing.T) {
	t.Parallel()
	p := &policy{sees: map[string]string{"mine conversations id C1": "c1"}}
	a := gatekeeper(t, p, nil)
	q := func(want int) {
		t.Helper()
		before := p.asked
		if _, err := a.mayEnter(t.Context(), signedIn("mine"), conversationRoom, "C1"); err != nil {
			t.Error(err)
		}
		if n := p.asked - before; n != want {
			t.Errorf("asked %d times, want %d", n, want)
		}
	}
	q(1)
	q(0)
	a.withdraw(room{conversationRoom, "c1"})
	q(1)
	a.withdraw(room{tenantRoom, "c1"})
	a.withdraw(room{conversationRoom, "c2"})
	q(0)
	_, _, epoch := a.remembered(question{})
	a.withdraw(room{conversationRoom, "late"})
	a.remember(question{kind: conversationRoom, id: "LATE"}, "late", time.Now().Add(time.Hour), epoch)
	if _, known, _ := a.remembered(question{kind: conversationRoom, id: "LATE"}); known {
		t.Error("an answer older than a withdrawal counts")
	}
	q(0)
	for i := range maxWithdrawn {
		a.withdraw(room{conversationRoom, fmt.Sprint("another ", i)})
	}
	q(1) // its epoch is forgotten by now
	q(0)
}
