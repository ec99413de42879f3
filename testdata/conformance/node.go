package main

import (
	"encoding/json"

	"github.com/supabridge/supabridge/socketio"
)

// nodeServer is what this project's own tests with the npm client run against: both ways of
// everything, in the main namespace and in /members, which only those may enter who give the right
// word.
func nodeServer() closer {
	io := socketio.NewServer(socketio.Options{Recovery: socketio.Recovery{Enabled: true}})
	members := io.Of("/members")
	members.Use(func(s *socketio.Socket) error {
		var auth struct{ Word string }
		if json.Unmarshal(s.Handshake().Auth, &auth) == nil && auth.Word == "open sesame" {
			return nil
		}
		return &socketio.ConnectError{Message: "not a member", Data: map[string]any{"code": 42, "retry": false}}
	})
	for _, n := range []*socketio.Namespace{io.Namespace, members} {
		n.On("transport", func(e *socketio.Event) { e.Ack(string(e.Socket.Transport())) })
		n.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
		n.On(
			"say",
			func(e *socketio.Event) { _ = e.Socket.Emit("said", e.Values()...) },
		) // to a client that has gone, nothing
		n.On("join", func(e *socketio.Event) {
			var room string
			if e.Decode(0, &room) == nil {
				e.Socket.Join(room)
				e.Ack("ok")
			}
		})
		n.On("publish", func(e *socketio.Event) { // room, event, values
			var room, event string
			if e.Decode(0, &room) == nil && e.Decode(1, &event) == nil {
				_ = n.To(room).Emit(event, e.Values()[2:]...)
				e.Ack("ok")
			}
		})
		// The server asks the client the same and reports the answer.
		n.On("ask me", func(e *socketio.Event) {
			r, err := e.Socket.Call(e.Socket.Context(), "question", e.Values()...)
			if err == nil {
				e.Ack(replyValues(r)...)
			}
		})
		n.On("leave", func(e *socketio.Event) { e.Socket.Disconnect(false) })
		n.On("close", func(e *socketio.Event) { e.Socket.Disconnect(true) })
		n.On("cut", func(e *socketio.Event) { e.Socket.CloseConnection() })
	}
	return io
}

// replyValues are the values of a reply as they came, without bytes.
func replyValues(r *socketio.Reply) []any {
	vs := make([]any, len(r.Args))
	for i, a := range r.Args {
		vs[i] = a
	}
	return vs
}
