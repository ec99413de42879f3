package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var errPage = errors.New("a page in place of an answer")

func TestLanesThatFailHoldNoNewOneUp(t *testing.T) {
	t.Parallel()
	m := newMailbox(func(item Item) error {
		if strings.HasPrefix(string(item.Body), "poison") {
			return Unavailable(errPage, 0)
		}
		return nil
	})
	opts := options(t, m)
	opts.RetryMax = time.Hour
	o := box(t, opts)
	run(t, o)
	for i := range 6 {
		add(t, o, "", fmt.Sprint("poisoned ", i), "poison")
	}
	// By then the next try of the target is some 4 seconds off, and the one after that twice as long.
	settled(t, o, "the target is tried with growing waits", func(s Stats) bool { return s.Failed >= 19 })
	began := time.Now()
	for i := range 20 {
		add(t, o, "", fmt.Sprint("well ", i), "well")
	}
	if got := m.await(t, 20); len(slices.Compact(got)) != 1 || got[0] != "well" {
		t.Errorf("delivered %q", got)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("new lanes waited %s for those that fail", took)
	}
}

func TestOneLaneAloneDoesNotMakeATargetAway(t *testing.T) {
	t.Parallel()
	m := newMailbox(func(Item) error { return Unavailable(errPage, 0) })
	log := &lockedLog{}
	opts := options(t, m)
	opts.Log = log.logger()
	o := box(t, opts)
	run(t, o)
	add(t, o, "", "poisoned", "poison")
	settled(t, o, "tried often", func(s Stats) bool { return s.Failed >= 10 })
	if strings.Contains(log.String(), "the target is away") {
		t.Errorf("one lane's failures count for all:\n%s", log)
	}
	if !strings.Contains(log.String(), errPage.Error()) {
		t.Errorf("the log doesn't say why it fails:\n%s", log)
	}
	oldest, ok := o.Oldest()
	if !ok || oldest.Reason != errPage.Error() || oldest.Since.IsZero() || oldest.Since.Before(oldest.At) {
		t.Errorf("the oldest is %+v, want one with its reason and since when", oldest)
	}
}

func TestDeadLettersLeaveRoomForNewEntries(t *testing.T) {
	t.Parallel()
	m := newMailbox(func(item Item) error {
		if len(item.Body) > 500 {
			return Permanent(errPage)
		}
		return nil
	})
	opts := options(t, m)
	opts.MaxBytes = 20_000
	o := box(t, opts)
	stop := run(t, o)
	body := strings.Repeat("x", 1000)
	for i := range 60 {
		add(t, o, "", fmt.Sprint(i), body)
		settled(t, o, "delivered or dead", func(s Stats) bool { return s.Waiting == 0 })
	}
	add(t, o, "", "last", "well")
	m.await(t, 1)
	stop()
	dead, err := o.List(true, 0, 0)
	if err != nil || len(dead) == 0 || dead[len(dead)-1].Lane != "59" {
		t.Fatalf("%d dead letters (%v), want the newest to be kept", len(dead), err)
	}
	s := o.Stats()
	if s.Bytes > opts.MaxBytes/2 || int(s.Expired)+s.Dead != 60 {
		t.Errorf("%+v, want at most %d bytes, and each that was dropped counted", s, opts.MaxBytes/2)
	}
}

// lockedLog is a log that a test may read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedLog) logger() zerolog.Logger { return zerolog.New(l) }
