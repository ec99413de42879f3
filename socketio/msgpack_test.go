package socketio_test

import (
	"bytes"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/parser"
)

func TestAnotherParserSaysTheSame(t *testing.T) {
	io, url := serve(t, socketio.Options{Parser: parser.MsgPack{}})
	io.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
	c := dial(t, url)
	send := func(p *parser.Packet) {
		t.Helper()
		b, err := parser.MsgPack{}.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
			t.Fatal(err)
		}
	}
	next := func() *parser.Packet {
		t.Helper()
		p, err := parser.MsgPack{}.Decode([]byte(c.read()))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	send(&parser.Packet{Type: parser.Connect, Namespace: "/nowhere"})
	if p := next(); p.Type != parser.ConnectError || string(p.Payload) != `{"message":"Invalid namespace"}` {
		t.Errorf("got %+v", p)
	}
	send(&parser.Packet{Type: parser.Connect, Namespace: "/"})
	if p := next(); p.Type != parser.Connect {
		t.Errorf("got %+v", p)
	}
	var echo parser.Decoder
	_, _ = echo.Text([]byte(`51-3["echo",{"b":{"_placeholder":true,"num":0}},1.5]`))
	p, err := echo.Attachment([]byte{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	send(p)
	if p := next(); p.Type != parser.Ack || p.ID != 3 || len(p.Attachments) != 1 || !bytes.Equal(p.Attachments[0], []byte{1, 2}) ||
		string(p.Args[0]) != `{"b":{"_placeholder":true,"num":0}}` || string(p.Args[1]) != "1.5" {
		t.Errorf("got %+v", p)
	}
	c.send(`42["text"]`)
	c.expectEnd()
}
