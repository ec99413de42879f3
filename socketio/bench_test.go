package socketio_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
)

// BenchmarkBroadcast measures one event for a room, until every member has it; the clients run in
// the same process.
func BenchmarkBroadcast(b *testing.B) {
	for _, members := range []int{10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			io, url := benchServer(b)
			var got sync.WaitGroup
			for range members {
				ws := benchDial(b, url)
				go func() {
					for {
						_, m, err := ws.ReadMessage()
						if err != nil {
							return
						}
						got.Add(-bytes.Count(m, []byte("news")))
					}
				}()
			}
			for io.SocketsCount() < members {
				benchSync(b, url)
			}
			payload := strings.Repeat("x", 200)
			b.ReportAllocs()
			for b.Loop() {
				got.Add(members)
				if err := io.Emit("news", payload); err != nil {
					b.Fatal(err)
				}
				got.Wait()
			}
			b.ReportMetric(float64(b.N)*float64(members)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkEcho measures an event with an acknowledgement, there and back.
func BenchmarkEcho(b *testing.B) {
	_, url := benchServer(b)
	ws := benchDial(b, url)
	b.ReportAllocs()
	for b.Loop() {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`421["echo",{"pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}]`)); err != nil {
			b.Fatal(err)
		}
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect measures a connection's life: open, connect, close.
func BenchmarkConnect(b *testing.B) {
	io, url := benchServer(b)
	var n atomic.Int64
	io.OnConnection(func(*socketio.Socket) { n.Add(1) })
	b.ReportAllocs()
	for b.Loop() {
		benchSync(b, url)
	}
	if n.Load() < int64(b.N) {
		b.Fatalf("%d of %d connected", n.Load(), b.N)
	}
}

func benchServer(b *testing.B) (*socketio.Server, string) {
	b.Helper()
	io := socketio.NewServer(socketio.Options{})
	io.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
	url := listen(b, io)
	return io, url
}

// benchDial returns a websocket whose client is connected.
func benchDial(b *testing.B, url string) *websocket.Conn {
	b.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(b.Context(), url, nil)
	if err != nil {
		b.Fatal(err)
	}
	_ = resp.Body.Close()
	b.Cleanup(func() { _ = ws.Close() })
	if err := ws.WriteMessage(websocket.TextMessage, []byte("40")); err != nil {
		b.Fatal(err)
	}
	for range 2 {
		if _, _, err := ws.ReadMessage(); err != nil {
			b.Fatal(err)
		}
	}
	return ws
}

// benchSync opens and closes a connection.
func benchSync(b *testing.B, url string) {
	b.Helper()
	_ = benchDial(b, url).Close()
}
