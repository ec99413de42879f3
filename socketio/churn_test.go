package socketio_test

import (
	"flag"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
)

var churn = flag.Int("churn", 1000, "clients that the test of churn connects and cuts off")

// Clients are cut off in the middle of whatever a Socket.IO client can be at. No socket, room or
// goroutine may be left of them.
func TestNothingIsLeftOfClientsThatAreCutOff(t *testing.T) {
	io, url := serve(t, socketio.Options{PingInterval: 200 * time.Millisecond, PingTimeout: 200 * time.Millisecond, ConnectTimeout: time.Hour})
	io.Of("/other")
	io.On("join", func(e *socketio.Event) {
		e.Socket.Join("one", e.Socket.ID()+"'s")
		_ = e.Socket.To("one").Emit("news") // to whoever is still there
	})
	io.On("ask", func(e *socketio.Event) { _, _ = e.Socket.Call(e.Socket.Context(), "question") })
	stages := [][]string{
		{},                              // without a namespace
		{"40"},                          // connecting
		{"40", "40/other,"},             // in two namespaces
		{"40", `42["join"]`},            // in rooms
		{"40", `42["ask"]`},             // owing an ack
		{"40", `451-["bytes",{"_place`}, // half a packet
		{"40", `451-["bytes",{"_placeholder":true,"num":0}]`}, // owing bytes
		{"40", `42["join"]`, "41", "40"},                      // between two sockets
		{"40/other,", `42/other,["join"]`},                    // outside the main namespace
	}
	before := runtime.NumGoroutine()
	var workers sync.WaitGroup
	for worker := range 16 {
		workers.Go(func() {
			for i := worker; i < *churn; i += 16 {
				ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				for _, p := range stages[i%len(stages)] {
					if ws.WriteMessage(websocket.TextMessage, []byte(p)) != nil {
						break // the server has thrown it out for the one before
					}
				}
				if i%2 == 0 {
					_, _, _ = ws.ReadMessage() // the server is at work with it
				}
				_ = ws.Close()
			}
		})
	}
	workers.Wait()
	waitUntil(t, "nobody is there", func() bool {
		return io.ConnectionsCount() == 0 && io.SocketsCount() == 0 && len(io.Rooms()) == 0 && io.Of("/other").SocketsCount() == 0
	})
	waitUntil(t, "goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+8 }) // idle workers
}
