package socketio_test

import (
	"errors"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

func TestWhoIsToldOfSocketsThatDoNotConnect(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	told := make(chan any, 1)
	io.Use(func(s *socketio.Socket) error {
		s.SetData("seen")
		return errors.New("no")
	})
	io.OnRefused(func(s *socketio.Socket) { told <- s.Data() })
	io.OnConnection(func(*socketio.Socket) { t.Error("it connected") })
	c := dial(t, url)
	c.send("40")
	c.expect(`44{"message":"no"}`)
	if got := receive(t, "a refusal", told); got != "seen" {
		t.Errorf("told of %v", got)
	}

	held, let := make(chan struct{}), make(chan struct{})
	later := io.Of("/later")
	later.Use(func(s *socketio.Socket) error {
		close(held)
		<-let
		return nil
	})
	later.OnRefused(func(s *socketio.Socket) { told <- s.Namespace().Name() })
	c.send("40/later,")
	<-held
	_ = c.ws.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); io.ConnectionsByTransport()[socketio.WebSocket] > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the server does not notice")
		}
	}
	close(let)
	if got := receive(t, "a socket whose connection has ended", told); got != "/later" {
		t.Errorf("told of %v", got)
	}
}
