package bridge

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/vocabulary"
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

func (h *heard) typing(conversation string, who *Identity, event vocabulary.Event) {
	h.add(map[vocabulary.Event]string{vocabulary.TypingStarted: "start ", vocabulary.TypingStopped: "stop "}[event] + who.UserID + " in " + conversation)
}

func (h *heard) presence(tenant string, who *Identity, online bool, _ time.Time) {
	h.add(map[bool]string{true: "online ", false: "offline "}[online] + who.UserID + " in " + tenant)
}

func (h *heard) warn() { h.add("warn") }
func (h *heard) end()  { h.add("end") }

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

var ana, ben = &Identity{UserID: "ana"}, &Identity{UserID: "ben"}

func TestTypingIsToldOnceHoweverOftenItIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := newTyping(always(5*time.Second), h.typing)
		for range 4 {
			ty.start("c", "s1", ana)
			time.Sleep(3 * time.Second)
		}
		h.expect(t, "start ana in c")
		ty.stop("c", "s1", ana)
		h.expect(t, "stop ana in c")
		ty.stop("c", "s1", ana)
		h.expect(t)
	})
}

func TestTypingEndsByItselfAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := newTyping(always(5*time.Second), h.typing)
		ty.start("c", "s1", ana)
		time.Sleep(5*time.Second - time.Nanosecond)
		h.expect(t, "start ana in c")
		time.Sleep(time.Nanosecond)
		h.expect(t, "stop ana in c")
		ty.start("c", "s1", ana)
		h.expect(t, "start ana in c")
		ty.close()
		time.Sleep(time.Minute)
		h.expect(t)
	})
}

func TestAUserTypesUntilTheLastWindowStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := newTyping(always(5*time.Second), h.typing)
		ty.start("c", "s1", ana)
		ty.start("c", "s2", ana)
		ty.start("c", "s3", ben)
		ty.start("other", "s3", ben)
		ty.stop("c", "s1", ana)
		h.expect(t, "start ana in c", "start ben in c", "start ben in other")
		ty.stop("c", "s2", ana)
		h.expect(t, "stop ana in c")
		ty.close()
	})
}

func TestAReloadedPageTellsNobodyAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		p := newPresence(always(10*time.Second), h.presence)
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
		p := newPresence(always(10*time.Second), h.presence)
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

func TestATokenWarnsThenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := newExpiry(time.Now().Add(time.Hour), h.warn, h.end)
		time.Sleep(59*time.Minute - time.Nanosecond)
		h.expect(t)
		time.Sleep(time.Nanosecond)
		h.expect(t, "warn")
		e.renew(time.Now().Add(time.Hour))
		time.Sleep(59 * time.Minute)
		h.expect(t, "warn")
		time.Sleep(time.Minute)
		h.expect(t, "end")
		e.stop()
	})
}

func TestATokenAboutToEndWarnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := newExpiry(time.Now().Add(30*time.Second), h.warn, h.end)
		h.expect(t, "warn")
		time.Sleep(30 * time.Second)
		h.expect(t, "end")
		e.stop()
	})
}

func TestAStoppedExpiryIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := newExpiry(time.Now().Add(time.Hour), h.warn, h.end)
		e.stop()
		e.renew(time.Now().Add(time.Minute))
		forever := newExpiry(time.Time{}, h.warn, h.end)
		time.Sleep(24 * time.Hour)
		h.expect(t)
		forever.stop()
	})
}

func always[T any](value T) func() T { return func() T { return value } }
