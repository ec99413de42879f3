package socketio_test

import (
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio"
)

// TestBytesInTextAreTakenAndSent has clients that take no binary frames, as with forceBase64, send
// and receive bytes in text by websocket, in both versions of the protocol.
func TestBytesInTextAreTakenAndSent(t *testing.T) {
	t.Parallel()
	for protocol, prefix := range map[string]string{"4": "b", "3": "b4"} {
		io, url := serve(t, socketio.Options{AllowEIO3: true})
		io.On("x", func(e *socketio.Event) { e.Ack(e.Bytes(0)) })
		url = strings.Replace(url, "EIO=4", "EIO="+protocol, 1)
		c := dial(t, url+"&b64=1")
		if protocol == "4" {
			c.send("40")
		}
		c.welcome3()
		for _, text := range []string{"AQIDBA==", "AQIDBA"} { // some leave the padding out
			c.send(`451-1["x",{"_placeholder":true,"num":0}]`)
			c.send(prefix + text)
			c.expect(`461-1[{"_placeholder":true,"num":0}]`, prefix+"AQIDBA==")
		}
		c.send(`451-1["x",{"_placeholder":true,"num":0}]`)
		c.send(prefix + "not base64!")
		c.expectEnd()

		// A client that takes binary frames may send text all the same.
		d := dial(t, url)
		if protocol == "4" {
			d.send("40")
		}
		d.welcome3()
		d.send(`451-1["x",{"_placeholder":true,"num":0}]`)
		d.send(prefix + "AQIDBA==")
		d.expect(`461-1[{"_placeholder":true,"num":0}]`)
		if kind, b, err := d.ws.ReadMessage(); err != nil || kind != websocket.BinaryMessage || !strings.HasSuffix(string(b), "\x01\x02\x03\x04") {
			t.Errorf("version %s: got %q of kind %d (%v), want a binary frame", protocol, b, kind, err)
		}
	}
}
