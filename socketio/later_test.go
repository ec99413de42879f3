package socketio_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// A client that is turned away for a while gets no connect_error, after which it would not come
// back: its connection is closed.
func TestAClientThatIsToComeLaterIsClosedWithoutAConnectError(t *testing.T) {
	const after = 50 * time.Millisecond
	io, url := serve(t, socketio.Options{})
	var asked atomic.Int32
	why := errors.New("full")
	io.Use(func(*socketio.Socket) error {
		if asked.Add(1) < 3 {
			return &socketio.RetryError{After: after, Err: why}
		}
		return nil
	})
	refused := make(chan struct{}, 8)
	io.OnRefused(func(*socketio.Socket) { refused <- struct{}{} })
	for range 2 {
		c := dial(t, url)
		began := time.Now()
		c.send("40")
		receive(t, "the refusal", refused)
		for {
			m, err := c.tryRead()
			if err != nil {
				break
			}
			if m != "1" { // Engine.IO's close
				t.Errorf("got %s before the end", m)
			}
		}
		if took := time.Since(began); took < after {
			t.Errorf("closed after %s, want %s at least", took, after)
		}
	}
	c := dial(t, url)
	c.send("40")
	c.welcome()
}

// Where the connection is in another namespace it stays, and middleware is asked again.
func TestAClientInAnotherNamespaceIsAskedAboutAgain(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	var asked atomic.Int32
	io.Of("/full").Use(func(*socketio.Socket) error {
		if asked.Add(1) < 4 {
			return &socketio.RetryError{After: time.Millisecond, Err: errors.New("full")}
		}
		return nil
	})
	c := dial(t, url)
	c.send("40")
	c.welcome()
	c.send("40/full,")
	if got := c.read(); !strings.HasPrefix(got, "40/full,{") {
		t.Errorf("got %q, want the Connect's answer", got)
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("middleware was asked %d times", n)
	}
}
