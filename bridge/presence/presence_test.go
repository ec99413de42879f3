package presence_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/presence"
)

// heard records what others were told.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) presence(c presence.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, c.State+" "+c.Who.UserID+" in "+c.Tenant)
}

func (h *heard) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.lines, want) {
		t.Errorf("told %q, want %q", h.lines, want)
	}
	h.lines = nil
}

// follow makes a Tracker with a grace of 10 s, which remembers two who went and tells h.
func follow(t *testing.T, h *heard) *presence.Tracker {
	t.Helper()
	p, err := presence.New(presence.Options{Grace: 10 * time.Second, Remember: 2})
	if err != nil {
		t.Fatal(err)
	}
	go p.Run(t.Context(), h.presence)
	return p
}

var ana, ben = &auth.Identity{UserID: "ana"}, &auth.Identity{UserID: "ben"}

func TestAUserIsAwayOnlyWhereEverySocketIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.Enter("d1", "s1", presence.Local, ana)
		p.Enter("d1", "s2", presence.Local, ana)
		p.SetStatus("d1", "s1", presence.Local, ana, "away")
		h.expect(t, "online ana in d1")
		p.SetStatus("d1", "s2", presence.Local, ana, "away")
		h.expect(t, "away ana in d1")
		p.SetStatus("d1", "s1", presence.Local, ana, "online")
		h.expect(t, "online ana in d1")
		p.Leave("d1", "s1", ana) // the page may be reloading
		h.expect(t)
		time.Sleep(10 * time.Second)
		h.expect(t, "away ana in d1")
		p.Enter("d1", "s3", presence.Local, ana)
		h.expect(t, "online ana in d1")
		p.Close()
	})
}

func TestWhatAUserChoseToBeStandsUntilTheySayOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.SetStatus("d1", "s1", presence.Local, ana, "busy")
		p.Enter("d1", "s2", presence.Local, ana)
		p.SetStatus("d1", "s1", presence.Local, ana, "away")
		h.expect(t, "busy ana in d1")
		p.SetStatus("d1", "s2", presence.Local, ana, "in a call")
		h.expect(t, "in a call ana in d1")
		p.SetStatus("d1", "s2", presence.Local, ana, "available")
		h.expect(t, "online ana in d1")
		p.SetStatus("d1", "s1", presence.Local, ana, "offline")
		p.SetStatus("d1", "s2", presence.Local, ana, "invisible")
		time.Sleep(10 * time.Second)
		h.expect(t, "offline ana in d1")
		p.Close()
	})
}

func TestThoseWhoWentAreRememberedWithTheTimeTheyWereSeenLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		left := make(map[string]time.Time)
		for _, user := range []string{"zoe", "ana", "ben"} {
			who := &auth.Identity{UserID: user, Name: strings.ToUpper(user)}
			p.Enter("d1", user, presence.Local, who)
			p.Leave("d1", user, who)
			left[user] = time.Now()
			time.Sleep(time.Minute)
		}
		p.Enter("d1", "s", presence.Local, &auth.Identity{UserID: "zed"})
		p.Enter("d2", "s", presence.Local, &auth.Identity{UserID: "other"})
		var got []string
		for _, a := range p.Snapshot("d1") {
			if want := left[a.Who.UserID]; a.Went && !a.LastSeen.Equal(want) {
				t.Errorf("%s was last seen %s, want %s, when the last socket left", a.Who.UserID, a.LastSeen, want)
			}
			got = append(got, a.State+" "+a.Who.UserID+" "+a.Who.Name)
		}
		want := []string{"online zed ", "offline ana ANA", "offline ben BEN"} // two are remembered
		if !slices.Equal(got, want) {
			t.Errorf("snapshot %q, want %q", got, want)
		}
		p.Close()
	})
}

func TestAReloadedPageTellsNobodyAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.Enter("d1", "s1", presence.Local, ana)
		p.Leave("d1", "s1", ana)
		time.Sleep(9 * time.Second)
		p.Enter("d1", "s2", presence.Local, ana)
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1")
		if got := p.Users("d1"); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("list %q, want ana", got)
		}
		p.Close()
	})
}

func TestAUserIsOfflineAfterTheGraceOfTheLastSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.Enter("d1", "s1", presence.Local, ana)
		p.Enter("d1", "s2", presence.Local, ana)
		p.Enter("d1", "s3", presence.Local, ben)
		p.Enter("d2", "s4", presence.Local, ben)
		p.Leave("d1", "s1", ana)
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1", "online ben in d1", "online ben in d2")
		p.Leave("d1", "s2", ana)
		p.Leave("d1", "s2", ana)
		time.Sleep(10*time.Second - time.Nanosecond)
		h.expect(t)
		time.Sleep(time.Nanosecond)
		h.expect(t, "offline ana in d1")
		if got := p.Users("d1"); !slices.Equal(got, []string{"ben"}) {
			t.Errorf("list %q, want ben", got)
		}
		p.Leave("d1", "s3", ben)
		p.Close()
		time.Sleep(time.Minute)
		h.expect(t)
	})
}

// goodbyeGrace is how long a user stays online whose client said that it goes.
const goodbyeGrace = 3 * time.Second

// TestTheGraceOfAGoodbye says when others are told, to the second.
func TestTheGraceOfAGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h) // with a grace of 10 s
		p.Enter("d1", "s1", presence.Local, ana)
		p.Goodbye("d1", "s1", ana)
		time.Sleep(goodbyeGrace - time.Nanosecond)
		p.Enter("d1", "s2", presence.Local, ana) // the page has been loaded anew
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1")

		p.Goodbye("d1", "s2", ana)
		time.Sleep(goodbyeGrace)
		h.expect(t, "offline ana in d1")

		// Of two tabs one was lost, and may come back although the other was closed.
		p.Enter("d1", "s3", presence.Local, ana)
		p.Enter("d1", "s4", presence.Local, ana)
		p.Leave("d1", "s3", ana)
		time.Sleep(time.Second)
		p.Goodbye("d1", "s4", ana)
		time.Sleep(9*time.Second - time.Nanosecond)
		h.expect(t, "online ana in d1")
		time.Sleep(time.Nanosecond)
		h.expect(t, "offline ana in d1")

		// The other way round: what was closed is not waited for longer than for what was lost.
		p.Enter("d1", "s5", presence.Local, ana)
		p.Enter("d1", "s6", presence.Local, ana)
		p.Goodbye("d1", "s5", ana)
		time.Sleep(time.Minute)
		p.Goodbye("d1", "s6", ana)
		time.Sleep(goodbyeGrace)
		h.expect(t, "online ana in d1", "offline ana in d1")
		p.Close()
	})
}

func TestAUserWhoseRightIsRevokedIsOfflineAtOnceAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.Enter("d1", "s1", presence.Local, ana)
		p.Enter("d1", "s2", presence.Local, ana)
		if p.Revoke("d1", "s9", ana) || p.Revoke("d2", "s1", ana) {
			t.Error("a socket that was not there is reported as there")
		}
		p.Revoke("d1", "s1", ana)
		h.expect(t, "online ana in d1")
		p.Revoke("d1", "s2", ana)
		h.expect(t, "offline ana in d1")
		if all := p.Snapshot("d1"); len(all) > 0 {
			t.Errorf("snapshot %+v, want nobody", all)
		}
		time.Sleep(time.Minute)
		h.expect(t)
	})
}

func TestChangesArePassedOnOutsideTheMutexInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := presence.New(presence.Options{Grace: time.Second, Remember: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		var got []string
		go p.Run(t.Context(), func(c presence.Change) {
			got = append(got, c.State)
			p.Snapshot(c.Tenant) // would wait for ever under the mutex
			if c.Came {
				p.SetStatus(c.Tenant, "s1", presence.Local, c.Who, "busy")
			}
		})
		p.Enter("d1", "s1", presence.Local, ana)
		synctest.Wait()
		p.Leave("d1", "s1", ana)
		time.Sleep(time.Second)
		synctest.Wait()
		if want := []string{"online", "busy", "offline"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestWhoIsHereDependsOnWhereTheSocketsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		defer p.Close()
		cleo, dan := &auth.Identity{UserID: "cleo"}, &auth.Identity{UserID: "dan"}
		p.Enter("d1", "s1", presence.Local, ana)
		p.SetStatus("d1", "s1", presence.Local, ana, "idle")
		p.Enter("d1", "node:n/1", presence.Remote, ben)
		p.Enter("d1", "realtime:c", presence.Realtime, cleo)
		p.Enter("d1", "s2", presence.Local, dan)
		p.Leave("d1", "s2", dan) // within the grace dan is still here
		var users []string
		for _, c := range p.LocalUsers()["d1"] {
			users = append(users, c.Who.UserID+" "+c.State)
		}
		if want := []string{"ana idle", "dan online"}; !slices.Equal(users, want) {
			t.Errorf("users of this node %q, want %q", users, want)
		}
		want := []presence.Socket{{Tenant: "d1", Key: "s1", Who: ana, Status: "idle"}}
		if got := p.LocalSockets(); !slices.Equal(got, want) {
			t.Errorf("sockets of this node %+v, want %+v", got, want)
		}
	})
}

func TestWhatATokenSaysOfAUserGoesBeforeWhatAChannelSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		defer p.Close()
		name := func() string { return p.Snapshot("d1")[0].Who.Name }
		p.Enter("d1", "realtime:a", presence.Realtime, &auth.Identity{UserID: "ana", Name: "as she says"})
		if name() != "as she says" {
			t.Errorf("name %q, want the only one that is known", name())
		}
		p.Enter("d1", "s1", presence.Local, &auth.Identity{UserID: "ana", Name: "by her token"})
		p.Enter("d1", "realtime:b", presence.Realtime, &auth.Identity{UserID: "ana", Name: "as she says"})
		if name() != "by her token" {
			t.Errorf("name %q, want that of the token", name())
		}
	})
}

func TestAnotherGraceHoldsForSocketsThatLeaveFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := follow(t, &h)
		p.Enter("d1", "s1", presence.Local, ana)
		p.Enter("d1", "s2", presence.Local, ben)
		p.Leave("d1", "s1", ana)
		p.Update(presence.Options{Grace: time.Second, Remember: 2})
		p.Leave("d1", "s2", ben)
		time.Sleep(time.Second)
		h.expect(t, "online ana in d1", "online ben in d1", "offline ben in d1")
		time.Sleep(9 * time.Second)
		h.expect(t, "offline ana in d1")
	})
}
