package phoenix

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must happen.
const patience = time.Minute

// script is a Realtime server of a few lines: each connection is handed to the
// test, which reads the client's messages and answers as the case demands.
type script struct {
	t       *testing.T
	http    *httptest.Server
	version Version
	conns   chan *peer
	refuse  func(w http.ResponseWriter) bool // a handshake to refuse
	queries chan url.Values
}

// peer is the server's end of one connection.
type peer struct {
	t    *testing.T
	v    Version
	ws   *websocket.Conn
	in   chan wire.Message // closed with the connection
	code int               // the client's close code, valid once in is closed
	mu   sync.Mutex        // guards writes to ws
}

func newScript(t *testing.T, v Version) *script {
	t.Helper()
	s := &script{t: t, version: v, conns: make(chan *peer, 64), queries: make(chan url.Values, 64)}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.queries <- r.URL.Query():
	default:
	}
	if s.refuse != nil && s.refuse(w) {
		return
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{t: s.t, v: s.version, ws: ws, in: make(chan wire.Message, 4096)}
	s.conns <- p
	p.read()
}

func (p *peer) read() {
	defer close(p.in)
	defer p.ws.Close()
	for {
		kind, frame, err := p.ws.ReadMessage()
		if err != nil {
			if ce, ok := err.(*websocket.CloseError); ok {
				p.code = ce.Code
			}
			return
		}
		decode := wire.DecodeClientText
		if kind == websocket.BinaryMessage {
			decode = wire.DecodeClientBinary
		}
		m, err := decode(p.v, frame)
		if err != nil {
			p.t.Errorf("client sent %q: %v", frame, err)
			return
		}
		p.in <- m
	}
}

// accept waits for the client's next connection.
func (s *script) accept() *peer {
	s.t.Helper()
	select {
	case p := <-s.conns:
		return p
	case <-time.After(patience):
		s.t.Fatal("client did not connect")
		return nil
	}
}

// next waits for the client's next message other than a heartbeat.
func (p *peer) next() wire.Message {
	p.t.Helper()
	for range 100 {
		m := p.nextAny()
		if m.Event != wire.EventHeartbeat {
			return m
		}
		p.reply(m, "ok", `{}`)
	}
	p.t.Fatal("client sends nothing but heartbeats")
	return wire.Message{}
}

func (p *peer) nextAny() wire.Message {
	p.t.Helper()
	select {
	case m, ok := <-p.in:
		if !ok {
			p.t.Fatal("client closed the connection")
		}
		return m
	case <-time.After(patience):
		p.t.Fatal("client sent nothing")
		return wire.Message{}
	}
}

// expect waits for the client's next message, which must be of that event.
func (p *peer) expect(event string) wire.Message {
	p.t.Helper()
	m := p.next()
	if m.Event != event {
		p.t.Fatalf("client sent %s %s, want %s", m.Event, m.Payload, event)
	}
	return m
}

func (p *peer) send(m wire.Message) {
	p.t.Helper()
	frame, binary, err := wire.AppendServer(nil, p.v, &m)
	if err != nil {
		p.t.Fatal(err)
	}
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	p.write(kind, frame)
}

func (p *peer) write(kind int, frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ws.WriteMessage(kind, frame) // a client that is gone is the test's own doing
}

// closeWith sends a close frame.
func (p *peer) closeWith(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
}

func (p *peer) reply(to wire.Message, status, response string) {
	p.t.Helper()
	join := to.JoinRef
	if response == `{"reason":"unmatched topic"}` {
		join = wire.Ref{}
	}
	p.send(wire.Message{JoinRef: join, Ref: to.Ref, Topic: to.Topic, Event: wire.EventReply,
		Payload: fmt.Appendf(nil, `{"status":%q,"response":%s}`, status, response)})
}

// acceptJoin answers the next message, a join, with ids 100, 101, … for its bindings.
func (p *peer) acceptJoin() wire.Message {
	p.t.Helper()
	m := p.expect(wire.EventJoin)
	p.replyJoin(m)
	return m
}

func (p *peer) replyJoin(m wire.Message) {
	p.t.Helper()
	var sent struct {
		Config struct {
			Changes []map[string]any `json:"postgres_changes"`
		} `json:"config"`
	}
	if err := json.Unmarshal(m.Payload, &sent); err != nil {
		p.t.Fatalf("join payload %s: %v", m.Payload, err)
	}
	for i, b := range sent.Config.Changes {
		b["id"] = 100 + i
	}
	list, _ := json.Marshal(sent.Config.Changes)
	p.reply(m, "ok", `{"postgres_changes":`+string(list)+`}`)
}

// system pushes a system event for the join.
func (p *peer) system(join wire.Message, extension, status, message string) {
	p.t.Helper()
	text, _ := json.Marshal(map[string]string{"extension": extension, "status": status, "message": message, "channel": strings.TrimPrefix(join.Topic, wire.TopicPrefix)})
	p.send(wire.Message{JoinRef: join.JoinRef, Topic: join.Topic, Event: wire.EventSystem, Payload: text})
}

func (p *peer) subscribed(join wire.Message) {
	p.t.Helper()
	p.system(join, "postgres_changes", "ok", "Subscribed to PostgreSQL")
}

// closes ends the channel of the join as the server does.
func (p *peer) closes(join wire.Message) {
	p.t.Helper()
	p.send(wire.Message{JoinRef: join.JoinRef, Ref: join.JoinRef, Topic: join.Topic, Event: wire.EventClose, Payload: []byte(`{}`)})
}

// insert fans out an INSERT of the row for binding ids.
func (p *peer) insert(topic, row string, ids ...int) {
	p.t.Helper()
	list, _ := json.Marshal(ids)
	p.send(wire.Message{Topic: topic, Event: wire.EventChanges, Payload: fmt.Appendf(nil,
		`{"data":{"table":"messages","type":"INSERT","record":%s,"columns":[{"name": "id", "type": "int8"}],"errors":null,"schema":"public","commit_timestamp":"2026-11-22T22:54:04.222Z"},"ids":%s}`, row, list)})
}

// answerLeaves answers what comes with ok until the connection ends, as Close needs it.
func (p *peer) answerLeaves() {
	go func() {
		for m := range p.in {
			if m.Event == wire.EventLeave || m.Event == wire.EventHeartbeat {
				p.reply(m, "ok", `{}`)
			}
		}
	}()
}

// quick are options with which nothing waits for long.
func quick() Options {
	return Options{
		APIKey:       "key",
		Backoff:      Backoff{Min: time.Millisecond, Max: 4 * time.Millisecond, SlowMin: 2 * time.Millisecond, SlowMax: 8 * time.Millisecond},
		JoinInterval: -1,
	}
}

// client makes a client of the script that the test's end closes.
func (s *script) client(o Options) *Client {
	s.t.Helper()
	o.Version = s.version
	c, err := NewClient(s.http.URL, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the script may not answer any more
		c.Close(ctx)
	})
	return c
}

func (s *script) channel(c *Client, o ChannelOptions) *Channel {
	s.t.Helper()
	ch, err := c.Channel("room", o)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ch.Subscribe(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return ch
}

// want waits for the next event, which must be a T.
func want[T Event](t *testing.T, ch *Channel) T {
	t.Helper()
	select {
	case ev := <-ch.Events():
		got, ok := ev.(T)
		if !ok {
			t.Fatalf("event %T %+v, want %T", ev, ev, got)
		}
		return got
	case <-time.After(patience):
		var none T
		t.Fatalf("no event, want %T", none)
		return none
	}
}

// until reads events up to the next T.
func until[T Event](t *testing.T, ch *Channel) T {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev, ok := <-ch.Events():
			if got, is := ev.(T); is {
				return got
			}
			if !ok {
				t.Fatal("events ended")
			}
		case <-deadline:
			var none T
			t.Fatalf("no %T", none)
		}
	}
}

var messages = []Binding{{Event: All, Schema: "public", Table: "messages"}}

// live brings the channel of s to live and returns the join.
func live(t *testing.T, p *peer, ch *Channel) wire.Message {
	t.Helper()
	join := p.acceptJoin()
	want[*Joined](t, ch)
	p.subscribed(join)
	until[*Live](t, ch)
	return join
}
