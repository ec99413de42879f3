package phxserver_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// FuzzClientFrame sends a frame on a joined channel: whatever it is, the server
// goes on and answers the next heartbeat.
func FuzzClientFrame(f *testing.F) {
	for _, frame := range []string{
		`["1","2","realtime:room","broadcast",{"event":"e","payload":[1,{"a":null}]}]`,
		`["1","2","realtime:room","presence",{"event":"track","payload":{"a":1}}]`,
		`["1","2","realtime:room","access_token",{"access_token":"x"}]`,
		`["2","2","realtime:room","phx_join",{"config":{"postgres_changes":[{"schema":"*","filter":"id=in.(1,2)","table":"notes"}],"broadcast":{"replay":{"since":0}},"private":true}}]`,
		`["2","2","realtime:public:notes:id=eq.1","phx_join",{}]`,
		`["1","2","realtime:room","phx_leave",{}]`,
	} {
		f.Add([]byte(frame), false)
	}
	f.Add([]byte("\x03\x01\x01\x0d\x01\x02\x0111realtime:roome{}{}"), true)
	f.Add([]byte("\x00\x01\x01\x0d\x0911realtime:roombroadcastx"), true)

	project := newProject()
	project.policies = map[string]phxserver.Access{"service_role room": {ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}}
	server := phxserver.NewServer(project, phxserver.Options{})
	web := httptest.NewServer(server)
	f.Cleanup(func() {
		web.Close()
		if err := server.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	url := strings.Replace(web.URL, "http", "ws", 1) + "/?vsn=2.0.0&apikey="
	f.Fuzz(func(t *testing.T, frame []byte, binary bool) {
		ws, _, err := websocket.DefaultDialer.Dial(url+token("service_role", ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		kind := websocket.TextMessage
		if binary {
			kind = websocket.BinaryMessage
		}
		const last = `[null,"last","phoenix","heartbeat",{}]`
		for _, m := range []struct {
			kind int
			data []byte
		}{
			{websocket.TextMessage, []byte(`["1","1","realtime:room","phx_join",{"config":{"broadcast":{"self":true,"ack":true},"presence":{"enabled":true}}}]`)},
			{kind, frame},
			{websocket.TextMessage, []byte(last)},
		} {
			if err := ws.WriteMessage(m.kind, m.data); err != nil {
				t.Fatal(err)
			}
		}
		project.commit(inserted(notes, 1, "u1", "x"))
		if err := ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for {
			_, data, err := ws.ReadMessage()
			if err != nil {
				t.Fatalf("after %q: %v", frame, err)
			}
			if strings.HasPrefix(string(data), `[null,"last","phoenix","phx_reply"`) {
				return
			}
		}
	})
}
