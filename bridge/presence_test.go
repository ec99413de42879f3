package bridge

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
)

// heard records what others were told.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *heard) presence(a attended) { h.add(a.state + " " + a.who.UserID + " in " + a.tenant) }

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

func attending(t *testing.T, h *heard) *presence {
	t.Helper()
	p, err := newPresence(always(10*time.Second), 2, h.presence)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var ana, ben = &auth.Identity{UserID: "ana"}, &auth.Identity{UserID: "ben"}

func TestAUserIsAwayOnlyWhereEverySocketIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h)
		p.enter("d1", "s1", ana)
		p.enter("d1", "s2", ana)
		p.say("d1", "s1", ana, "away")
		h.expect(t, "online ana in d1")
		p.say("d1", "s2", ana, "away")
		h.expect(t, "away ana in d1")
		p.say("d1", "s1", ana, "online")
		h.expect(t, "online ana in d1")
		p.leave("d1", "s1", ana) // the page may be reloading
		h.expect(t)
		time.Sleep(10 * time.Second)
		h.expect(t, "away ana in d1")
		p.enter("d1", "s3", ana)
		h.expect(t, "online ana in d1")
		p.close()
	})
}

func TestWhatAUserChoseToBeStandsUntilTheySayOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h)
		p.say("d1", "s1", ana, "busy")
		p.enter("d1", "s2", ana)
		p.say("d1", "s1", ana, "away")
		h.expect(t, "busy ana in d1")
		p.say("d1", "s2", ana, "in a call")
		h.expect(t, "in a call ana in d1")
		p.say("d1", "s2", ana, "available")
		h.expect(t, "online ana in d1")
		p.say("d1", "s1", ana, "offline")
		p.say("d1", "s2", ana, "invisible")
		time.Sleep(10 * time.Second)
		h.expect(t, "offline ana in d1")
		p.close()
	})
}

func TestThoseWhoWentAreRememberedWithTheTimeTheyWereSeenLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h)
		left := make(map[string]time.Time)
		for _, user := range []string{"zoe", "ana", "ben"} {
			who := &auth.Identity{UserID: user, Name: strings.ToUpper(user)}
			p.enter("d1", user, who)
			p.leave("d1", user, who)
			left[user] = time.Now()
			time.Sleep(time.Minute)
		}
		p.enter("d1", "s", &auth.Identity{UserID: "zed"})
		p.enter("d2", "s", &auth.Identity{UserID: "other"})
		var got []string
		for _, a := range p.snapshot("d1") {
			if a.went && !a.at.Equal(left[a.who.UserID]) {
				t.Errorf("%s was last seen %s, want %s, when the last socket left", a.who.UserID, a.at, left[a.who.UserID])
			}
			got = append(got, a.state+" "+a.who.UserID+" "+a.who.Name)
		}
		if want := []string{"online zed ", "offline ana ANA", "offline ben BEN"}; !slices.Equal(got, want) { // two are remembered
			t.Errorf("snapshot %q, want %q", got, want)
		}
		p.close()
	})
}

func TestAReloadedPageTellsNobodyAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h)
		p.enter("d1", "s1", ana)
		p.leave("d1", "s1", ana)
		time.Sleep(9 * time.Second)
		p.enter("d1", "s2", ana)
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1")
		if got := p.list("d1"); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("list %q, want ana", got)
		}
		p.close()
	})
}

func TestAUserIsOfflineAfterTheGraceOfTheLastSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := attending(t, &h)
		p.enter("d1", "s1", ana)
		p.enter("d1", "s2", ana)
		p.enter("d1", "s3", ben)
		p.enter("d2", "s4", ben)
		p.leave("d1", "s1", ana)
		time.Sleep(time.Minute)
		h.expect(t, "online ana in d1", "online ben in d1", "online ben in d2")
		p.leave("d1", "s2", ana)
		p.leave("d1", "s2", ana)
		time.Sleep(10*time.Second - time.Nanosecond)
		h.expect(t)
		time.Sleep(time.Nanosecond)
		h.expect(t, "offline ana in d1")
		if got := p.list("d1"); !slices.Equal(got, []string{"ben"}) {
			t.Errorf("list %q, want ben", got)
		}
		p.leave("d1", "s3", ben)
		p.close()
		time.Sleep(time.Minute)
		h.expect(t)
	})
}

func always[T any](value T) func() T { return func() T { return value } }
