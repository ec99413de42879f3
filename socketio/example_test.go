package socketio_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// A chat: clients say who they are, join rooms, and talk.
func Example_chat() {
	io := socketio.NewServer(socketio.Options{
		CORS:     socketio.CORS{Origins: []string{"https://chat.example.com"}},
		Recovery: socketio.Recovery{Enabled: true},
	})
	io.Use(func(s *socketio.Socket) error {
		name := s.Handshake().Query["name"]
		if name == "" {
			return &socketio.ConnectError{Message: "who are you?", Data: map[string]string{"missing": "name"}}
		}
		s.SetData(name)
		return nil
	})
	io.On("join", func(e *socketio.Event) {
		var room string
		if err := e.Decode(0, &room); err != nil {
			e.Ack(err.Error())
			return
		}
		e.Socket.Join(room)
		_ = e.Socket.To(room).Emit("joined", e.Socket.Data(), room)
		e.Ack("welcome")
	})
	io.On("say", func(e *socketio.Event) {
		var room string
		if e.Decode(0, &room) == nil && len(e.Args) == 2 && e.Socket.In(room) {
			_ = io.To(room).Emit("said", e.Socket.Data(), e.Args[1])
		}
	})
	io.OnConnection(func(s *socketio.Socket) {
		s.OnDisconnect(func(reason string) { _ = io.Emit("left", s.Data(), reason) })
	})

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	srv := &http.Server{Addr: "127.0.0.1:3001", Handler: io}
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = io.Shutdown(ctx)
		_ = srv.Shutdown(ctx)
	})
	fmt.Println(srv.ListenAndServe())
}

func ExampleTarget_Emit() {
	io := socketio.NewServer(socketio.Options{})
	defer io.Close()
	// To the sockets in either room, once each, but for those of the third; nobody is connected, so
	// nothing is sent.
	err := io.To("sports", "weather").Except("muted").Emit("news", map[string]any{"title": "Rain", "photo": []byte{0xff, 0xd8}})
	fmt.Println(err)
	// Output: <nil>
}
