package record

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// answerPath is where the server that takes everything is asked, whatever path a frontend uses.
const answerPath = "/socket.io/"

// answers is a Socket.IO server that lets everybody in, to any namespace, takes every event, and
// answers every ack with success.
type answers struct {
	url    string
	io     *socketio.Server
	server *http.Server
	ended  chan struct{}
}

func newAnswers() (*answers, error) {
	a := &answers{ended: make(chan struct{})}
	a.io = socketio.NewServer(
		socketio.Options{
			AllowEIO3:  true,
			MaxPayload: maxBody,
			CORS:       socketio.CORS{Origins: []string{"*"}, Credentials: true},
		},
	)
	everywhere := func(n *socketio.Namespace) {
		n.OnConnection(func(s *socketio.Socket) {
			s.OnAny(func(e *socketio.Event) { e.Ack(map[string]any{"success": true, "ok": true, "status": "ok"}) })
		})
	}
	everywhere(a.io.Of("/"))
	everywhere(a.io.OfFunc(func(string, json.RawMessage) bool { return true }))
	listener, err := localListener()
	if err != nil {
		a.io.Close()
		return nil, err
	}
	a.url = "http://" + listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(answerPath, a.io)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: dialTimeout}
	go func() {
		defer close(a.ended)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic("record: serving on a port of our own: " + err.Error())
		}
	}()
	return a, nil
}

func (a *answers) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.io.Shutdown(ctx) // what is left is cut off next
	_ = a.server.Close()
	<-a.ended
}
