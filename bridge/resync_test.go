package bridge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

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
