package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/internal/eventually"
)

// browser is as much of a Socket.IO client as these tests need: one websocket, the main namespace,
// events and acks. The real client is driven from testdata/node; this one lets the bridge be tested
// under the race detector.
type browser struct {
	t       *testing.T
	conn    *websocket.Conn
	writing sync.Mutex  // a pong may come in between
	packets chan string // Socket.IO packets as text, in order; closed with the connection
	held    []string    // read and not yet asked for
	acks    int

	sid, pid, offset string // what a client keeps to get its socket back
}

// patience bounds every wait of these tests. It is only used up where a test fails.
const patience = eventually.Patience

// open connects and waits for the namespace; refusal is the text of connect_error.
func open(t *testing.T, address string, auth any) (b *browser, refusal string) {
	t.Helper()
	url := "ws" + strings.TrimPrefix(address, "http") + "/socket.io/?EIO=4&transport=websocket"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, resp, err := websocket.DefaultDialer.DialContext(ctx, url, http.Header{})
	if err != nil {
		t.Fatalf("dial %s: %v (%v)", url, err, resp)
	}
	b = &browser{t: t, conn: conn, packets: make(chan string, 4096)}
	handshake := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read(handshake)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	select {
	case <-handshake:
	case <-ctx.Done():
		t.Fatal("no Engine.IO handshake")
	}
	var text []byte
	if auth != nil {
		if text, err = json.Marshal(auth); err != nil {
			t.Fatal(err)
		}
	}
	b.write("40" + string(text))
	answer := b.await("the answer to CONNECT", func(p string) bool { return p[0] == '0' || p[0] == '4' })
	if answer[0] == '4' {
		var e struct{ Message string }
		if err := json.Unmarshal([]byte(answer[1:]), &e); err != nil {
			t.Fatalf("connect_error %s: %v", answer, err)
		}
		return nil, e.Message
	}
	var welcome struct{ SID, PID string }
	if err := json.Unmarshal([]byte(answer[1:]), &welcome); err != nil {
		t.Fatalf("welcome %s: %v", answer, err)
	}
	b.sid, b.pid = welcome.SID, welcome.PID
	return b, ""
}

// connect opens a connection that must be accepted.
func connect(t *testing.T, address string, auth any) *browser {
	t.Helper()
	b, refusal := open(t, address, auth)
	if b == nil {
		t.Fatalf("the connection was refused: %s", refusal)
	}
	return b
}

func (b *browser) read(handshake chan<- struct{}) {
	defer close(b.packets)
	for {
		kind, frame, err := b.conn.ReadMessage()
		if err != nil || kind != websocket.TextMessage || len(frame) == 0 {
			return
		}
		switch frame[0] {
		case '0':
			close(handshake)
		case '2':
			if b.send("3") != nil {
				return
			}
		case '4':
			b.packets <- string(frame[1:])
		}
	}
}

func (b *browser) write(frame string) {
	b.t.Helper()
	if err := b.send(frame); err != nil {
		b.t.Fatalf("write: %v", err)
	}
}

func (b *browser) send(frame string) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

// await gives the first packet, kept or coming, that fits; those that don't are kept.
func (b *browser) await(what string, fits func(string) bool) string {
	b.t.Helper()
	for i, p := range b.held {
		if fits(p) {
			b.held = append(b.held[:i:i], b.held[i+1:]...)
			return p
		}
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case p, open := <-b.packets:
			if !open {
				b.t.Fatalf("the connection ended before %s; held: %q", what, b.held)
			}
			if fits(p) {
				return p
			}
			b.held = append(b.held, p)
		case <-timeout.C:
			b.t.Fatalf("%s did not come; held: %q", what, b.held)
		}
	}
}

// event waits for an event and gives its first argument.
func (b *browser) event(name string) map[string]any {
	b.t.Helper()
	p := b.await("event "+name, func(p string) bool { return strings.HasPrefix(p, `2["`+name+`"`) })
	var args []json.RawMessage
	var payload map[string]any
	dec := json.NewDecoder(bytes.NewReader([]byte(p[1:])))
	if err := dec.Decode(&args); err != nil || len(args) < 2 || json.Unmarshal(args[1], &payload) != nil {
		b.t.Fatalf("event %s: %s", name, p)
	}
	if len(args) > 2 {
		if err := json.Unmarshal(args[len(args)-1], &b.offset); err != nil {
			b.t.Fatalf("offset of %s: %s", name, p)
		}
	}
	return payload
}

// heard tells whether an event has come by now; it looks only at what is there, so something sent
// later must have been awaited before.
func (b *browser) heard(name string) bool {
	for {
		select {
		case p, open := <-b.packets:
			if open {
				b.held = append(b.held, p)
				continue
			}
		default:
		}
		break
	}
	for _, p := range b.held {
		if strings.HasPrefix(p, `2["`+name+`"`) {
			return true
		}
	}
	return false
}

// ask emits an event and waits for its ack's first argument.
func (b *browser) ask(name string, args ...any) json.RawMessage {
	b.t.Helper()
	b.acks++
	id := strconv.Itoa(b.acks)
	text, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("42" + id + string(text))
	p := b.await(fmt.Sprintf("the ack of %s", name), func(p string) bool { return strings.HasPrefix(p, "3"+id+"[") })
	var answer []json.RawMessage
	if err := json.Unmarshal([]byte(p[1+len(id):]), &answer); err != nil || len(answer) != 1 {
		b.t.Fatalf("ack %s: %v", p, err)
	}
	return answer[0]
}

type outcome struct {
	Success, OK    bool
	Code           string
	ConversationID any
	Complete       *bool
	Reason         string
}

func (b *browser) try(name string, args ...any) outcome {
	b.t.Helper()
	var o outcome
	answer := b.ask(name, args...)
	if err := json.Unmarshal(answer, &o); err != nil {
		b.t.Fatalf("ack of %s: %s", name, answer)
	}
	return o
}

// must asks for something that has to succeed.
func (b *browser) must(name string, args ...any) outcome {
	b.t.Helper()
	o := b.try(name, args...)
	if !o.Success || !o.OK {
		b.t.Fatalf("%s %v failed: %+v", name, args, o)
	}
	return o
}

func (b *browser) emit(name string, args ...any) {
	b.t.Helper()
	text, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.write("42" + string(text))
}

// sync waits until everything this client sent before has been handled.
func (b *browser) sync() { b.t.Helper(); b.must("heartbeat") }
