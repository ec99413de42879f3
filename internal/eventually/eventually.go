// Package eventually waits in tests for something that others bring about.
//
//	eventually.True(t, "the socket is closed", func() bool { return !s.Connected() })
//
// It looks every few milliseconds and gives up after Patience, which is long: it bounds how long a
// test that fails takes on a busy machine, and says nothing about how fast things are.
package eventually

import (
	"testing"
	"time"
)

// Patience bounds each wait.
const Patience = 30 * time.Second

const pause = 5 * time.Millisecond

// True waits until is returns true; else the test fails with what was awaited.
func True(t testing.TB, what string, is func() bool) {
	t.Helper()
	Nothing(t, what, func() string {
		if is() {
			return ""
		}
		return "it is not so"
	})
}

// Equal waits until get returns want; else the test fails with both.
func Equal[T comparable](t testing.TB, what string, want T, get func() T) {
	t.Helper()
	var got T
	if !wait(t, func() bool { got = get(); return got == want }) {
		t.Fatalf("%s: after %s it is %v, want %v", what, Patience, got, want)
	}
}

// Nothing waits until lacking returns "", which is what is still missing; else the test fails with
// that.
func Nothing(t testing.TB, what string, lacking func() string) {
	t.Helper()
	var last string
	if !wait(t, func() bool { last = lacking(); return last == "" }) {
		t.Fatalf("not within %s: %s: %s", Patience, what, last)
	}
}

func wait(t testing.TB, is func() bool) bool {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return is()
		}
	}
	return true
}
