package bridge

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
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

func TestAStormOfResyncsIsAskedForOnceAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h heard
		r := &resyncer{log: zerolog.Nop(), ask: func(since time.Time, reason string) { h.add(reason + " " + since.Format("05")) }}
		at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
		r.request(at(9), "first")
		h.expect(t, "first 09")
		for i := range 1000 {
			r.request(at(30+i%10), "more")
		}
		h.expect(t)
		time.Sleep(resyncPause)
		h.expect(t, "more 30")
		time.Sleep(10 * resyncPause)
		h.expect(t)
		r.request(at(50), "later")
		r.request(at(51), "lost by close")
		r.close()
		time.Sleep(10 * resyncPause)
		h.expect(t, "later 50")
	})
}
