package main

import (
	"encoding/json"
	"strings"

	"github.com/supabridge/supabridge/socketio"
)

func lower(s string) string { return strings.ToLower(s) }

// benchServer has the three events of the load generator: join a room, publish to a room, echo.
func benchServer(recovery bool) closer {
	io := socketio.NewServer(socketio.Options{Recovery: socketio.Recovery{Enabled: recovery}})
	io.On("join", func(e *socketio.Event) {
		var room string
		if e.Decode(0, &room) == nil {
			e.Socket.Join(room)
			e.Ack("ok")
		}
	})
	io.On("publish", func(e *socketio.Event) {
		var m struct {
			Room string `json:"room"`
		}
		if len(e.Args) > 0 && json.Unmarshal(e.Args[0], &m) == nil {
			_ = io.To(m.Room).Emit("message", e.Args[0])
		}
	})
	io.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
	return io
}
