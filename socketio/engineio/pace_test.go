package engineio_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio/engineio"
)

func TestAClientThatSendsTooManyPacketsIsClosed(t *testing.T) {
	const rate = 10 // a second; a hundred at once
	for _, test := range []struct {
		name  string
		write func(*websocket.Conn) error
	}{
		{"messages", func(ws *websocket.Conn) error { return ws.WriteMessage(websocket.TextMessage, []byte("4x")) }},
		{"pongs of the protocol", func(ws *websocket.Conn) error { return ws.WriteMessage(websocket.TextMessage, []byte("3")) }},
		{"pings of the websocket", func(ws *websocket.Conn) error {
			return ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Minute))
		}},
		{"pongs of the websocket", func(ws *websocket.Conn) error {
			return ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Minute))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := serve(t, engineio.Options{MaxRate: rate})
			ws := h.dial(t, "")
			read(t, ws)
			began := time.Now()
			sent := 0
			for ; sent < 10_000 && test.write(ws) == nil; sent++ {
			}
			want(t, "reason", receive(t, "end", h.closed), engineio.ReasonFlood)
			if least := 10 * rate; sent < least {
				t.Errorf("closed after %d packets in %s, want at least %d", sent, time.Since(began), least)
			}
		})
	}
	t.Run("long-polling", func(t *testing.T) {
		h := serve(t, engineio.Options{MaxRate: rate})
		sid := h.open(t)
		if status, _ := h.post(t, sid, strings.Repeat("4x\x1e", 9*rate)+"4x"); status != 200 {
			t.Errorf("what may be sent at once was answered %d", status)
		}
		if status, _ := h.post(t, sid, strings.Repeat("4x\x1e", 100*rate)+"4x"); status == 200 {
			t.Error("too much was taken")
		}
		want(t, "reason", receive(t, "end", h.closed), engineio.ReasonFlood)
	})
	t.Run("no bound", func(t *testing.T) {
		h := serve(t, engineio.Options{})
		ws := h.dial(t, "")
		read(t, ws)
		go func() {
			for range 5000 {
				if ws.WriteMessage(websocket.TextMessage, []byte("4x")) != nil {
					return
				}
			}
		}()
		for range 5000 {
			want(t, "echo", read(t, ws), "4x")
		}
	})
}
