package bed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
)

// Project is a Supabase of this process that can go away: its port is closed then, and every
// connection reset.
type Project struct {
	Server *standin.Server
	// Requests counts what comes in; it may be nil. It is called by any goroutine, and must be set
	// before Up.
	Requests func(*http.Request)

	address string

	mu     sync.Mutex // guards what follows
	server *http.Server
	conns  map[net.Conn]struct{}
	served sync.WaitGroup
}

// Open makes a project; Up has it listen.
func Open(opts standin.Options) (*Project, error) {
	server, err := standin.New(opts)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	return &Project{Server: server, address: "127.0.0.1:" + port, conns: make(map[net.Conn]struct{})}, nil
}

// URL is the project's.
func (p *Project) URL() string { return "http://" + p.address }

// Up has the project answer. Its goroutines end with Down.
func (p *Project) Up() error {
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("the project: %w", err)
	}
	handler := p.Server.Handler()
	if p.Requests != nil {
		inner := handler
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.Requests(r)
			inner.ServeHTTP(w, r)
		})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ConnState: p.track}
	p.server = server
	p.served.Go(func() { _ = server.Serve(listener) }) // until Down
	return nil
}

// track knows every connection, of WebSockets too, which http.Server forgets.
func (p *Project) track(conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.conns[conn] = struct{}{}
	case http.StateClosed:
		delete(p.conns, conn)
	}
}

// Down has the project answer nobody until Up.
func (p *Project) Down() {
	p.mu.Lock()
	server, conns := p.server, p.conns
	p.server, p.conns = nil, make(map[net.Conn]struct{})
	p.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close() // its connections are closed below as well
	for conn := range conns {
		_ = conn.Close() // it may be closed already
	}
	p.served.Wait()
}

// Close ends the project.
func (p *Project) Close() error {
	p.Down()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := p.Server.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// BridgeEnv is the configuration of a bridge on the project, by Supabase's own names and
// supabridge's.
func (p *Project) BridgeEnv(port string) []string {
	return []string{
		"SUPABRIDGE_LISTEN=127.0.0.1:" + port,
		"SUPABRIDGE_SUPABASE_URL=" + p.URL(),
		"SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=" + p.Server.ServiceKey(),
		"SUPABRIDGE_SUPABASE_ANON_KEY=" + p.Server.AnonKey(),
		"SUPABRIDGE_SUPABASE_JWT_SECRET=" + standin.DefaultJWTSecret,
		"SUPABRIDGE_LOG_FORMAT=json",
	}
}
