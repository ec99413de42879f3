package auth_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
)

// heard records what the holder of a token was told.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
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

func TestATokenWarnsThenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := auth.NewExpiry(time.Now().Add(time.Hour), h.warn, h.end)
		time.Sleep(59*time.Minute - time.Nanosecond)
		h.expect(t)
		time.Sleep(time.Nanosecond)
		h.expect(t, "warn")
		e.Renew(time.Now().Add(time.Hour))
		time.Sleep(59 * time.Minute)
		h.expect(t, "warn")
		time.Sleep(time.Minute)
		h.expect(t, "end")
		e.Stop()
	})
}

func TestATokenAboutToEndWarnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := auth.NewExpiry(time.Now().Add(30*time.Second), h.warn, h.end)
		h.expect(t, "warn")
		time.Sleep(30 * time.Second)
		h.expect(t, "end")
		e.Stop()
	})
}

func TestAStoppedExpiryIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		e := auth.NewExpiry(time.Now().Add(time.Hour), h.warn, h.end)
		e.Stop()
		e.Renew(time.Now().Add(time.Minute))
		forever := auth.NewExpiry(time.Time{}, h.warn, h.end)
		time.Sleep(24 * time.Hour)
		h.expect(t)
		forever.Stop()
	})
}
