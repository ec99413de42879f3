package engineio_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// TestWhatWaitsForAllIsBounded has clients that fetch nothing. What they share counts once; what
// they don't ends those for whom most is waiting.
func TestWhatWaitsForAllIsBounded(t *testing.T) {
	t.Parallel()
	const megabyte = 1 << 20
	h := serve(t, engineio.Options{MaxQueueBytes: 8 * megabyte, MaxQueuesBytes: 10 * megabyte})
	conns := make([]*engineio.Conn, 20)
	for i := range conns {
		h.open(t)
		conns[i] = <-h.conns
	}
	shared := engineio.NewText(bytes.Repeat([]byte("s"), megabyte))
	for _, c := range conns {
		if err := c.Send(shared); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.engine.Queued(); n < megabyte || n > megabyte+1000 {
		t.Errorf("%d bytes count, want the shared ones once", n)
	}
	for range 5 { // of nine that may be there
		for _, c := range conns[:2] {
			_ = c.Send(engineio.NewText(bytes.Repeat([]byte("o"), megabyte)))
		}
	}
	if reason := <-h.closed; reason != engineio.ReasonQueueFull {
		t.Errorf("it ended with %q", reason)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); h.engine.Queued() > 9*megabyte; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes wait", h.engine.Queued())
		}
	}
	if n := h.engine.Count(); n < len(conns)-2 {
		t.Errorf("of %d clients %d are left: more than those for whom most waited had to go", len(conns), n)
	}
	for _, c := range conns {
		c.Abort(engineio.ReasonForcedClose, nil)
	}
	if n := h.engine.Queued(); n != 0 {
		t.Errorf("%d bytes count when all are gone", n)
	}
}
