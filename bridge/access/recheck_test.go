package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// counting answers yes and keeps the times of the questions.
type counting struct {
	policy
	mu   sync.Mutex
	at   []time.Time
	rows int
}

func (c *counting) VisibleTo(_ context.Context, _, _, _ string, ids []string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.rows = append(c.at, time.Now()), c.rows+len(ids)
	return ids, nil
}

func TestQuestionsAreSpreadOverTheIntervalOneForAllRoomsOfAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &counting{}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 100 * time.Second })
		for i := range 50 {
			r.add(fmt.Sprint("user ", i), "c1", "c2", "c3")
			r.add(fmt.Sprint("user ", i), "c1", "c4") // in another tab
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		time.Sleep(75*time.Second + time.Millisecond) // three quarters of the interval
		synctest.Wait()
		if len(p.at) != 50 || p.rows != 200 {
			t.Errorf("%d questions about %d rooms in the first round, want 50 about 200", len(p.at), p.rows)
		}
		for i := 1; i < len(p.at); i++ {
			if gap := p.at[i].Sub(p.at[i-1]); gap != 1500*time.Millisecond {
				t.Fatalf("question %d came %s after the one before, want 1.5s", i, gap)
			}
		}
		cancel()
		<-done
	})
}

func TestWhatRechecksCostIsBoundedHoweverManySocketsThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &counting{}
		r := guarded(t, p, func(cfg *config.Config) {
			cfg.Rooms.Authorization.RecheckEvery, cfg.Rooms.Authorization.RecheckRate = 10*time.Second, 20
		})
		for i := range 1000 {
			r.Recheck(r.add(fmt.Sprint("user ", i), "c1")) // all came back with a new token, as after a restart
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if n := len(p.at); n < 1180 || n > 1220+20 {
			t.Errorf("%d questions in a minute, want 20 a second", n)
		}
		cancel()
		<-done
	})
}

func TestAThousandRoomsOfATokenAreAskedAboutInAFewQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &counting{}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 4 * time.Second })
		var rooms []string
		for i := range 1000 {
			rooms = append(rooms, fmt.Sprint("c", i))
		}
		r.add("one", rooms...)
		stop := running(t, r)
		time.Sleep(5 * time.Second) // the visit, and what recheck_rate takes, but not a second visit
		synctest.Wait()
		if want := 1000 / supabase.MaxIDs; len(p.at) != want || p.rows != 1000 {
			t.Errorf("%d questions about %d rooms, want %d about 1000", len(p.at), p.rows, want)
		}
		stop()
	})
}

func conversation(id string) access.Room { return access.Room{Kind: conversationRoom, ID: id} }

func TestARightThatIsGoneIsRevokedAndOneThatCannotBeDecidedStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy{sees: map[string]string{"ana conversations id c1": "c1"}}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 40 * time.Second })
		ana := r.add("ana", "c1", "c2")
		p.err = errors.New("no answer")
		defer running(t, r)()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := ana.Rooms(conversationRoom, nil); len(got) != 2 {
			t.Fatalf("in %q while nobody can be asked, want both rooms", got)
		}
		p.change(func() { p.err = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		got := ana.Rooms(conversationRoom, nil)
		if want := []string{"c1"}; !slices.Equal(got, want) || !slices.Equal(ana.evicted, []string{"timer"}) {
			t.Errorf("in %q, evicted by %q; want %q, by the timer", got, ana.evicted, want)
		}
	})
}

func TestARightIsRevokedFromSessionsThatHaveTakenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy{}
		r := guarded(t, p, nil)
		before := r.add("ana", "c1")
		one, two := newSession(before.Identity(), "c1"), newSession(before.Identity(), "c1")
		p.asking = func() { // they come while the question is under way, and aren't watched yet
			before.mu.Lock()
			defer before.mu.Unlock()
			before.next = []*session{one, two}
		}
		r.Recheck(before)
		defer running(t, r)()
		synctest.Wait()
		for i, s := range []*session{one, two} {
			if got := s.Rooms(conversationRoom, nil); len(got) > 0 {
				t.Errorf("session %d that took over is in %q, want in no room", i, got)
			}
		}
	})
}

func TestARefusalOfATokenThatWasRenewedIsAskedAboutAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy{sees: map[string]string{"newer conversations id c1": "c1"}}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 0 })
		ana := r.add("older", "c1")
		p.asking = func() {
			p.asking = nil
			who := *ana.Identity()
			who.Token = "newer"
			ana.who.Store(&who)
		}
		r.Recheck(ana)
		defer running(t, r)()
		time.Sleep(time.Second) // recheck_rate
		synctest.Wait()
		if got := ana.Rooms(conversationRoom, nil); !slices.Equal(got, []string{"c1"}) || p.asked != 2 {
			t.Errorf("in %q after %d questions, want in c1, which the newer token may see, after two", got, p.asked)
		}
	})
}

func TestATenantThatIsClaimedIsOpenedOnceTheRulesAllowIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy{sees: map[string]string{}}
		r := guarded(t, p, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 40 * time.Second })
		ana := newSession(signedIn("ana"))
		ana.claimed = "D1"
		r.Watch(ana)
		defer running(t, r)()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := ana.Rooms(tenantRoom, nil); len(got) > 0 {
			t.Fatalf("in %q, which the rules don't allow", got)
		}
		p.change(func() { p.sees["ana distributors id D1"] = "d1" })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if got := ana.Rooms(tenantRoom, nil); !slices.Equal(got, []string{"d1"}) {
			t.Errorf("in %q, want in d1, as it is stored", got)
		}
	})
}

func TestAConversationThatMovedIsSettledBeforeAnythingIsEmittedInIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &policy{sees: map[string]string{"new conversations id c1": "c1"}}
		r := guarded(t, p, nil)
		former, member := r.add("former", "c1", "c2"), r.add("new", "c1")
		r.ConversationMoved("c1", access.MoveCertain)(t.Context())
		if got := former.Rooms(conversationRoom, nil); !slices.Equal(got, []string{"c2"}) {
			t.Errorf("a former member is in %q, want in the other conversation only", got)
		}
		// Without an answer, sessions leave a conversation that moved for certain.
		p.err = errors.New("no answer")
		r.ConversationMoved("c1", access.MoveLater)(t.Context())
		if member.Evict(conversation("c9"), "") || len(member.evicted) > 0 {
			t.Errorf("evicted by %q, though it is not certain that the conversation moved", member.evicted)
		}
		p.sees = nil
		r.ConversationMoved("c1", access.MoveCertain)(t.Context())
		if !slices.Equal(member.evicted, []string{"moved"}) {
			t.Errorf("evicted by %q, want by the move", member.evicted)
		}
	})
}

func TestOtherSettingsHoldForTheNextQuestion(t *testing.T) {
	t.Parallel()
	p := &policy{sees: map[string]string{"mine conversations id c1": "c1"}}
	g := guarded(t, p, nil)
	if _, err := g.authorizer.MayEnter(t.Context(), signedIn("mine"), conversationRoom, "c1"); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Rooms.Conversation.Rules = []string{"claim"}
	epoch := g.authorizer.Epoch()
	g.authorizer.Update(access.Compile(cfg))
	g.RulesChanged()
	_, err := g.authorizer.MayEnter(t.Context(), signedIn("mine"), conversationRoom, "c1")
	if !errors.Is(err, errRefused) || !g.authorizer.ChangedSince(conversation("c1"), epoch) {
		t.Errorf("%v by other rules, want a refusal, and the answer by the former ones withdrawn", err)
	}
	if stored, known := g.authorizer.Known(signedIn("mine"), conversationRoom, "c1"); !known || stored != "" {
		t.Errorf("known %v %q, want the refusal remembered", known, stored)
	}
}
