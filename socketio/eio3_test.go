package socketio_test

import (
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
)

func TestClientsOfSocketIO2(t *testing.T) {
	io, url := serve(t, socketio.Options{AllowEIO3: true})
	io.Of("/admin").OnConnection(func(s *socketio.Socket) { _ = s.Emit("id", s.ID()) })
	io.OnConnection(func(s *socketio.Socket) { _ = s.Emit("id", s.ID()) })
	io.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(url, "EIO=4", "EIO=3", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	c := &client{t, ws}
	open := c.read()
	_, sid, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	c.expect("40", `42["id","`+sid+`"]`)
	c.send("40/admin?token=x,")
	c.expect("40/admin,", `42/admin,["id","/admin#`+sid+`"]`)
	c.send("40/nowhere")
	c.expect(`44/nowhere,"Invalid namespace"`)
	c.send(`451-7["echo",{"_placeholder":true,"num":0}]`)
	c.sendBytes(4, 1, 2)
	c.expect(`461-7[{"_placeholder":true,"num":0}]`, "\x04\x01\x02")
	c.send("2probe")
	c.expect("3probe")
}
