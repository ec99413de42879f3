package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// project is a Supabase project behind a whole server: one table, one key, and
// tokens that are what they say.
type project struct {
	server *phxserver.Server
	http   *httptest.Server

	mu       sync.Mutex // guards the rest
	watchers map[int]func([]phxserver.Change)
	watched  int
	conns    []net.Conn // the clients' ends
}

func newProject(t *testing.T, o phxserver.Options) *project {
	t.Helper()
	p := &project{watchers: make(map[int]func([]phxserver.Change))}
	p.server = phxserver.NewServer(p, o)
	p.http = httptest.NewServer(p.server)
	t.Cleanup(func() {
		p.server.Close(context.Background())
		p.http.Close()
	})
	return p
}

func (p *project) client(t *testing.T, o Options) *Client {
	t.Helper()
	o.APIKey = "service_role"
	o.Endpoint = p.http.URL
	o.Dialer = &websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
		}
		return c, err
	}}
	c, err := NewClient("", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// cut ends the clients' connections without a word.
func (p *project) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

var notes = phxserver.Table{Schema: "public", Name: "messages", Key: []string{"id"},
	Columns: []phxserver.Column{{Name: "id", Type: "int8"}, {Name: "body", Type: "text"}}}

// commit tells the server of a committed row.
func (p *project) commit(id, body string) {
	row := map[string]json.RawMessage{"id": json.RawMessage(id), "body": json.RawMessage(`"` + body + `"`)}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fn := range p.watchers {
		fn([]phxserver.Change{{Type: "INSERT", Table: notes, Commit: time.Now(), New: row}})
	}
}

func (p *project) Connect(ctx context.Context, h phxserver.Handshake) (phxserver.Claims, error) {
	return p.Verify(ctx, h.APIKey)
}

func (p *project) Verify(_ context.Context, token string) (phxserver.Claims, error) {
	if token == "" {
		return phxserver.Claims{}, &phxserver.TokenError{Code: "MalformedJWT", Message: "The token provided is not a valid JWT"}
	}
	return phxserver.Claims{Role: token, Expires: time.Now().Add(time.Hour)}, nil
}

func (p *project) Authorize(_ context.Context, c phxserver.Claims, topic string) (phxserver.Access, error) {
	if c.Role == "stranger" {
		return phxserver.Access{}, nil
	}
	return phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}, nil
}

func (p *project) Tables(_ context.Context, _ phxserver.Claims, schema, name string) ([]phxserver.Table, error) {
	if schema == "nowhere" {
		return nil, errors.New(`schema "nowhere" does not exist`)
	}
	if name == "messages" || name == "*" {
		return []phxserver.Table{notes}, nil
	}
	return nil, nil
}

func (p *project) Watch(fn func([]phxserver.Change)) func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched++
	n := p.watched
	p.watchers[n] = fn
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, n)
	}
}

func (p *project) Visible(phxserver.Claims, string, string, map[string]json.RawMessage) bool {
	return true
}
