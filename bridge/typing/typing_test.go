package typing_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// heard records what others were told.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) typing(c typing.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, map[bool]string{true: "start ", false: "stop "}[c.Typing]+c.Who.UserID+" in "+c.Conversation.Text)
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

// follow makes a Tracker with a timeout of 5 s that tells emit.
func follow(t *testing.T, repeat time.Duration, emit func(typing.Change)) *typing.Tracker {
	ty := typing.New(typing.Options{Timeout: 5 * time.Second, Repeat: repeat})
	go ty.Run(t.Context(), emit)
	return ty
}

var ana, ben = &auth.Identity{UserID: "ana"}, &auth.Identity{UserID: "ben"}

func TestTypingIsToldOnceHoweverOftenItIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := follow(t, 0, h.typing)
		for range 4 {
			ty.Start(vocabulary.NewID("c"), "s1", ana, true)
			time.Sleep(3 * time.Second)
		}
		h.expect(t, "start ana in c")
		ty.Stop("c", "s1", ana)
		h.expect(t, "stop ana in c")
		ty.Stop("c", "s1", ana)
		h.expect(t)
	})
}

func TestTypingEndsByItselfAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := follow(t, 0, h.typing)
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		time.Sleep(5*time.Second - time.Nanosecond)
		h.expect(t, "start ana in c")
		time.Sleep(time.Nanosecond)
		h.expect(t, "stop ana in c")
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		h.expect(t, "start ana in c")
		ty.Close()
		time.Sleep(time.Minute)
		h.expect(t)
	})
}

func TestAUserTypesUntilTheLastWindowStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := follow(t, 0, h.typing)
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		ty.Start(vocabulary.NewID("c"), "s2", ana, true)
		ty.Start(vocabulary.NewID("c"), "s3", ben, true)
		ty.Start(vocabulary.NewID("other"), "s3", ben, true)
		ty.Stop("c", "s1", ana)
		h.expect(t, "start ana in c", "start ben in c", "start ben in other")
		ty.Stop("c", "s2", ana)
		h.expect(t, "stop ana in c")
		ty.Close()
	})
}

func TestTypingThatGoesOnIsPassedOnOftenEnoughForAnIndicatorThatClearsItself(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, time.Second, 1900 * time.Millisecond, 2 * time.Second, 2900 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			begun, last, told := time.Now(), time.Now(), 0
			ty := follow(t, 2*time.Second, func(c typing.Change) {
				if !c.Typing {
					return
				}
				if wait := time.Since(last); wait > 3*time.Second {
					t.Errorf("repeated every %s, nothing was told for %s", every, wait)
				}
				last = time.Now()
				told++
			})
			for time.Since(begun) < time.Minute {
				ty.Start(vocabulary.NewID("c"), "s1", ana, true)
				time.Sleep(every)
			}
			ty.Close()
			synctest.Wait()
			if told > 31 {
				t.Errorf("repeated every %s, %d were told in a minute, want one every 2 s at most", every, told)
			}
		})
	}
}

func TestAnEndOfTypingIsTheLastThatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := follow(t, 2*time.Second, h.typing)
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		time.Sleep(time.Second)
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		ty.Stop("c", "s1", ana)
		time.Sleep(time.Minute)
		h.expect(t, "start ana in c", "stop ana in c")
	})
}

func TestAMessageEndsItsWritersTypingInEveryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		ty := follow(t, 0, h.typing)
		ty.Start(vocabulary.NewID("c"), "s1", ana, true)
		ty.Start(vocabulary.NewID("c"), "s2", ana, true)
		ty.Start(vocabulary.NewID("c"), "s3", ben, true)
		ty.Wrote("c", "ana")
		ty.Wrote("c", "ana")
		ty.Wrote("other", "ben")
		h.expect(t, "start ana in c", "start ben in c", "stop ana in c")
		ty.Close()
	})
}
