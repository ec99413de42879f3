package phxserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// project is the backend of the tests: tokens that are readable, one published table
// with row level security and one without.
type project struct {
	policies map[string]phxserver.Access // by role and topic, "anon room"

	mu       sync.Mutex // guards the rest
	watchers map[int]func([]phxserver.Change)
	next     int
	gone     map[string]bool // ids of rows that are no more
}

var columns = []phxserver.Column{{Name: "id", Type: "int8"}, {Name: "owner", Type: "text"}, {Name: "body", Type: "text"}}

var (
	notes   = phxserver.Table{Schema: "public", Name: "notes", Columns: columns, Key: []string{"id"}}
	secrets = phxserver.Table{Schema: "public", Name: "secrets", Columns: columns, Key: []string{"id"}}
)

func newProject() *project {
	return &project{watchers: make(map[int]func([]phxserver.Change)), gone: make(map[string]bool)}
}

// Verify reads tokens role:subject:seconds, of which the last is when it expires,
// counted from the epoch.
func (p *project) Verify(_ context.Context, token string) (phxserver.Claims, error) {
	parts := strings.Split(token, ":")
	if len(parts) != 3 {
		return phxserver.Claims{}, &phxserver.TokenError{Code: "MalformedJWT", Message: "The token provided is not a valid JWT"}
	}
	seconds, _ := strconv.ParseInt(parts[2], 10, 64)
	c := phxserver.Claims{Role: parts[0], Subject: parts[1], Expires: time.Unix(seconds, 0)}
	if time.Now().After(c.Expires) {
		return c, &phxserver.TokenError{Code: "InvalidJWTToken", Message: "Token has expired 1 seconds ago"}
	}
	return c, nil
}

func (p *project) Connect(ctx context.Context, h phxserver.Handshake) (phxserver.Claims, error) {
	if h.APIKey == "" {
		return phxserver.Claims{}, &phxserver.RefusedError{Status: 401, Message: "API key is missing"}
	}
	if h.APIKey == "broken" {
		return phxserver.Claims{}, errors.New("the backend is on fire")
	}
	return p.Verify(ctx, h.APIKey)
}

func (p *project) Authorize(_ context.Context, c phxserver.Claims, topic string) (phxserver.Access, error) {
	return p.policies[c.Role+" "+topic], nil
}

func (p *project) Tables(_ context.Context, c phxserver.Claims, schema, name string) ([]phxserver.Table, error) {
	if c.Role == "nobody" {
		return nil, errors.New(`ERROR 42704 (undefined_object) role "nobody" does not exist`)
	}
	var found []phxserver.Table
	for _, t := range []phxserver.Table{notes, secrets} {
		if (schema == "*" || schema == t.Schema) && (name == "*" || name == t.Name) {
			found = append(found, t)
		}
	}
	return found, nil
}

func (p *project) Watch(fn func([]phxserver.Change)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.next
	p.next++
	p.watchers[id] = fn
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, id)
	}
}

func (p *project) Visible(c phxserver.Claims, _, _ string, row map[string]json.RawMessage) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone[string(row["id"])] {
		return false
	}
	return c.Role == "service_role" || string(row["owner"]) == strconv.Quote(c.Subject)
}

// commit tells a transaction.
func (p *project) commit(changes ...phxserver.Change) {
	p.mu.Lock()
	watchers := make([]func([]phxserver.Change), 0, len(p.watchers))
	for _, fn := range p.watchers {
		watchers = append(watchers, fn)
	}
	for i := range changes {
		changes[i].Commit = time.Now()
		if changes[i].Type == "DELETE" {
			p.gone[string(changes[i].Old["id"])] = true
		}
	}
	p.mu.Unlock()
	for _, fn := range watchers {
		fn(changes)
	}
}

func rowOf(id int, owner, body string) map[string]json.RawMessage {
	return map[string]json.RawMessage{
		"id": json.RawMessage(strconv.Itoa(id)), "owner": json.RawMessage(strconv.Quote(owner)), "body": json.RawMessage(`"` + body + `"`),
	}
}

func inserted(t phxserver.Table, id int, owner, body string) phxserver.Change {
	return phxserver.Change{Type: "INSERT", Table: t, New: rowOf(id, owner, body), RLS: t.Name == "secrets"}
}

func updated(t phxserver.Table, id int, owner, before, after string) phxserver.Change {
	return phxserver.Change{Type: "UPDATE", Table: t, Old: rowOf(id, owner, before), New: rowOf(id, owner, after), RLS: t.Name == "secrets"}
}

func deleted(t phxserver.Table, id int, owner, body string) phxserver.Change {
	return phxserver.Change{Type: "DELETE", Table: t, Old: rowOf(id, owner, body), RLS: t.Name == "secrets"}
}

// token is one that lasts.
func token(role, subject string) string { return tokenFor(role, subject, time.Hour) }

func tokenFor(role, subject string, ttl time.Duration) string {
	return role + ":" + subject + ":" + strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)
}

// bed is a server with its network in memory, for tests with their own clock.
type bed struct {
	t       *testing.T
	project *project
	server  *phxserver.Server
	conns   chan net.Conn
}

// inBed runs a test in its own time with a server.
func inBed(t *testing.T, opts phxserver.Options, test func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, project: newProject(), conns: make(chan net.Conn)}
		b.server = phxserver.NewServer(b.project, opts)
		mux := http.NewServeMux()
		mux.Handle("/socket/websocket", b.server)
		mux.Handle("/api/broadcast", b.server.BroadcastHandler())
		mux.Handle("/api/broadcast/", b.server.BroadcastHandler())
		httpServer := &http.Server{Handler: mux}
		served := make(chan error, 1)
		go func() { served <- httpServer.Serve(b) }()
		defer func() {
			if err := b.server.Close(context.Background()); err != nil {
				t.Error(err)
			}
			close(b.conns)
			httpServer.Close()
			<-served
		}()
		test(b)
	})
}

// Accept, Close and Addr make the bed a listener.
func (b *bed) Accept() (net.Conn, error) {
	c, ok := <-b.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (b *bed) Close() error   { return nil }
func (b *bed) Addr() net.Addr { return &net.TCPAddr{} }

func (b *bed) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	b.conns <- server
	return client, nil
}

// client is a connection whose frames are read as they come.
type client struct {
	t      *testing.T
	ws     *websocket.Conn
	frames chan string   // closed at the end
	end    chan struct{} // closed with frames
	code   int           // of the close; 1006 without one. Read after end
}

func (b *bed) handshake(vsn, key string) (*websocket.Conn, *http.Response, error) {
	dialer := websocket.Dialer{NetDialContext: b.dial}
	return dialer.Dial("ws://project.test/socket/websocket?vsn="+vsn+"&apikey="+key, nil)
}

// connect opens a socket with protocol version 2.0.0.
func (b *bed) connect(key string) *client { return b.connectVersion("2.0.0", key) }

func (b *bed) connectVersion(vsn, key string) *client {
	b.t.Helper()
	ws, _, err := b.handshake(vsn, key)
	if err != nil {
		b.t.Fatal(err)
	}
	return newClient(b.t, ws)
}

func newClient(t *testing.T, ws *websocket.Conn) *client {
	c := &client{t: t, ws: ws, frames: make(chan string, 1<<15), end: make(chan struct{})}
	go c.read()
	t.Cleanup(func() {
		ws.Close()
		<-c.end
	})
	return c
}

func (c *client) read() {
	defer close(c.end)
	defer close(c.frames)
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			c.code = websocket.CloseAbnormalClosure
			if e := (*websocket.CloseError)(nil); errors.As(err, &e) {
				c.code = e.Code
			}
			return
		}
		c.frames <- string(data)
	}
}

func (c *client) send(frame string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

// sendLater sends a frame when the server comes to read it.
func (c *client) sendLater(frame string) {
	go func() {
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
			c.t.Error(err)
		}
	}()
}

// settle throws away the frames that are on their way.
func (c *client) settle() {
	synctest.Wait()
	for len(c.frames) > 0 {
		<-c.frames
	}
}

// next is the frame that comes next, within a minute.
func (c *client) next() string {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		if !ok {
			c.t.Fatalf("the socket was closed with code %d", c.code)
		}
		return f
	case <-time.After(time.Minute):
		c.t.Fatal("no frame came")
	}
	return ""
}

// expect checks the frames that come next, in order.
func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.t.Fatalf("frame\n got %s\nwant %s", got, w)
		}
	}
}

// silent checks that nothing comes for a while, of the test's own time.
func (c *client) silent(d time.Duration) {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		if ok {
			c.t.Fatalf("a frame came: %s", f)
		}
		c.t.Fatalf("the socket was closed with code %d", c.code)
	case <-time.After(d):
	}
}

// closed waits for the socket's end and gives its code.
func (c *client) closed() int {
	c.t.Helper()
	select {
	case <-c.end:
	case <-time.After(2 * time.Minute):
		c.t.Fatal("the socket wasn't closed")
	}
	return c.code
}

// join joins a topic with ref and join_ref "1" and expects to succeed.
func (c *client) join(topic, config string) string {
	c.t.Helper()
	c.send(`["1","1","realtime:` + topic + `","phx_join",{"config":{` + config + `}}]`)
	reply := c.next()
	if !strings.Contains(reply, `"status":"ok"`) {
		c.t.Fatalf("join of %s: %s", topic, reply)
	}
	return reply
}

const subscribed = `{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"room"}`

// watch joins topic room with one binding.
func (c *client) watch(binding string) {
	c.t.Helper()
	c.join("room", `"postgres_changes":[`+binding+`]`)
	c.expect(`["1",null,"realtime:room","system",` + subscribed + `]`)
}
