package access_test

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

	"github.com/supabridge/supabridge/bridge/access"
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
	another, nobody := signedIn("x"), signedIn("x")
	another.UserID, nobody.UserID = "v", ""
	const conversation, tenant = conversationRoom, tenantRoom
	for _, test := range []struct {
		name                string
		conversation, staff []string // the rules
		who                 *auth.Identity
		kind                access.RoomKind
		id, stored          string // stored is empty where it is refused
		asked               int
	}{
		{"no rules", nil, nil, signedIn("mine"), conversation, "C1", "", 0},
		{"no rules, whatever the token says", nil, nil, home, tenant, "d1", "", 0},
		{"rls", []string{"rls"}, nil, signedIn("mine"), conversation, "C1", "c1", 1},
		{"the first says yes: nobody else is asked", []string{"rls", "membership", "tenant"}, nil, signedIn("mine"), conversation, "C1", "c1", 1},
		{"the second says yes", []string{"rls", "membership", "tenant"}, nil, signedIn("theirs"), conversation, "C2", "c2", 2},
		{"nobody says yes", []string{"claim", "rls", "membership", "tenant"}, nil, signedIn("theirs"), conversation, "C1", "", 3},
		{"another's membership", []string{"membership"}, nil, another, conversation, "C2", "", 1},
		{"nobody's membership", []string{"membership"}, nil, nobody, conversation, "C2", "", 0},
		{"a claim's list", []string{"claim"}, nil, teams, conversation, "t1", "t1", 0},
		{"a number in it", []string{"claim"}, nil, teams, conversation, "9007199254740993", "9007199254740993", 0},
		{"a claim's text", []string{"claim"}, nil, teams, conversation, "t3", "t3", 0},
		{"no member of it", []string{"claim"}, nil, teams, conversation, "t2", "", 0},
		{"neither", []string{"claim"}, nil, teams, conversation, "true", "", 0},
		{"a claim of a token that can't be read", []string{"claim"}, nil, signedIn("mine"), conversation, "t1", "", 0},
		{"the tenant is the token's", []string{"tenant"}, []string{"claim"}, home, conversation, "C3", "c3", 1},
		{"the tenant is another", []string{"tenant"}, []string{"claim"}, home, conversation, "C4", "", 1},
		{"the tenant's row is seen", []string{"tenant"}, []string{"claim", "rls"}, signedIn("mine"), conversation, "C4", "c4", 2},
		{"there is no tenant", []string{"tenant"}, []string{"claim"}, home, conversation, "C5", "", 1},
		{"there is no conversation", []string{"tenant"}, []string{"claim"}, home, conversation, "C9", "", 1},
		{"the tenant by membership", []string{"tenant"}, []string{"membership"}, signedIn("any"), conversation, "C6", "c6", 2},
		{"a tenant by membership", nil, []string{"membership"}, signedIn("any"), tenant, "d5", "d5", 1},
	} {
		a := gatekeeper(t, p, func(cfg *config.Config) {
			cfg.Rooms.Conversation.Rules, cfg.Rooms.Tenant.Rules = test.conversation, test.staff
			cfg.Rooms.Conversation.Claims = []string{"app_metadata.absent", "app_metadata.teams", "app_metadata.team", "app_metadata.odd"}
			cfg.Rooms.Conversation.Membership = members
			cfg.Rooms.Tenant.Membership = config.Membership{Table: "staff", User: "uid", Room: "distributor_id"}
		})
		before := p.asked
		stored, err := a.MayEnter(t.Context(), test.who, test.kind, test.id)
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
	said   []question
}

// question is what an application is asked.
type question struct {
	User struct{ ID, Name, Role, Tenant string }
	Room struct{ Kind, ID string }
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
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	a.said = append(a.said, q)
	a.mu.Unlock()
	a.answer(w, r)
}

// consulted is an authorizer whose only rule is the application's word.
func consulted(
	t *testing.T, answer http.HandlerFunc, change func(*config.Callback),
) (*access.Authorizer, *application) {
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
	t.Cleanup(server.Close)
	return a, app
}

func answering(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func TestTheApplicationIsAskedInASignedRequest(t *testing.T) {
	t.Parallel()
	a, app := consulted(t, answering(`{"allow":true,"id":"c1"}`), nil)
	who := signedIn("secret-token")
	who.Name, who.Tenant = "Ana", "d1"
	for range 2 {
		if stored, err := a.MayEnter(t.Context(), who, conversationRoom, "C1"); stored != "c1" || err != nil {
			t.Errorf("%q %v, want c1", stored, err)
		}
	}
	var want question
	want.User.ID, want.User.Name, want.User.Role, want.User.Tenant = "u", "Ana", "authenticated", "d1"
	want.Room.Kind, want.Room.ID = "conversation", "C1"
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
		{"yes", answering(`{"allow":true}`), "C1", true},
		{"no", answering(`{"allow":false,"id":"c1"}`), "", true},
		{"nothing of it", answering(`{}`), "", true},
		{"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, "", true},
		{"404", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "", true},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "", false},
		{"401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "", false},
		{"a page", answering("<html>"), "", false},
		{"yes as a text", answering(`{"allow":"true"}`), "", false},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "", false},
		{"too much", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"allow":true,"x":"`+strings.Repeat("x", 16<<10)+`"}`)
		}, "", false},
		{"nothing in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "", false},
	} {
		a, app := consulted(t, test.answer, func(c *config.Callback) {
			if test.name == "nothing in time" {
				c.Timeout = 200 * time.Millisecond
			}
		})
		for range 2 {
			stored, err := a.MayEnter(t.Context(), signedIn("t"), conversationRoom, "C1")
			sure := err == nil || errors.Is(err, errRefused)
			if stored != test.stored || (err == nil) != (stored != "") || test.sure != sure {
				t.Errorf("%s: %q %v, want %q, an answer: %v", test.name, stored, err, test.stored, test.sure)
			}
		}
		if want := map[bool]int32{true: 1, false: 2}[test.sure]; app.asked.Load() != want {
			t.Errorf("%s: asked %d times, want %d: an answer is kept, a failure is not",
				test.name, app.asked.Load(), want)
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
			if _, err := a.MayEnter(t.Context(), signedIn("t"), conversationRoom, fmt.Sprint(i)); err != nil {
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
	if stored, err := a.MayEnter(t.Context(), home, tenantRoom, "d1"); stored != "d1" || err != nil {
		t.Errorf("a later rule says yes: %q %v", stored, err)
	}
	if _, err := a.MayEnter(t.Context(), home, tenantRoom, "d2"); err == nil || errors.Is(err, errRefused) {
		t.Errorf("no later rule says yes: %v, want a failure that is no refusal", err)
	}
}

func TestMadeUpIdsDoNotPushOutWhatUsersLiveOn(t *testing.T) {
	t.Parallel()
	p := &policy{sees: map[string]string{"mine conversations id c1": "c1"}}
	g := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.CacheSize = 10 })
	enter := func(id string) {
		_, _ = g.authorizer.MayEnter(t.Context(), signedIn("mine"), conversationRoom, id)
	}
	enter("c1")
	for i := range 1000 {
		enter(fmt.Sprint("made up ", i))
	}
	const kept = "authorizations_remembered"
	if yes, no := g.value(t, kept, "allowed"), g.value(t, kept, "refused"); yes != 1 || no != 10 {
		t.Errorf("%v yes and %v no are kept, want 1 and 10", yes, no)
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
	g := guarded(t, p, nil)
	withdraw := func(id string) { g.ConversationMoved(id, access.MoveLater)(t.Context()) }
	q := func(want int) {
		t.Helper()
		before := p.asked
		if _, err := g.authorizer.MayEnter(t.Context(), signedIn("mine"), conversationRoom, "C1"); err != nil {
			t.Error(err)
		}
		if n := p.asked - before; n != want {
			t.Errorf("asked %d times, want %d", n, want)
		}
	}
	q(1)
	q(0)
	withdraw("c1")
	p.asking = func() { withdraw("c1") } // while it is asked for
	q(1)
	p.asking = nil
	q(1)
	withdraw("c2")
	q(0)
	const remembered = 10_000 // rooms whose epochs are
	for i := range remembered {
		withdraw(fmt.Sprint("another ", i))
	}
	q(1) // its epoch is forgotten by now
	q(0)
	g.RulesChanged()
	q(1)
	q(0)
}
