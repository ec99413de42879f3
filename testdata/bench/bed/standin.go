package bed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// Tenant is the distributor of the stand-in's seed that everything measured belongs to.
const Tenant = "d1000000-0000-4000-8000-000000000001"

// The environment of a process that is a stand-in, made by StartStandin.
const (
	standinPort = "BED_STANDIN_PORT"
	standinFast = "BED_STANDIN_BROADCASTS"
)

// Counts is what a stand-in had to do since it began.
type Counts struct {
	Reads  int64 // requests to REST that read
	Writes int64 // and those that write
	Asked  int64 // questions of Realtime to row level security
	Open   int64 // sockets of Realtime that have joined a channel: what a plan limits
}

// Since gives what was added after an earlier time.
func (c Counts) Since(before Counts) Counts {
	return Counts{c.Reads - before.Reads, c.Writes - before.Writes, c.Asked - before.Asked, c.Open}
}

// Standin is a Supabase in a process of its own, so that what it uses can be told from the rest.
// Realtime waits as Supabase's does.
type Standin struct {
	*Process
	URL    string
	Tokens *standin.Tokens
	client *http.Client
}

// Main is to be called first by a program that uses StartStandin: in the process of a stand-in it
// does not return.
func Main() {
	port := os.Getenv(standinPort)
	if port == "" {
		return
	}
	if err := serveStandin(port, os.Getenv(standinFast) != ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveStandin(port string, broadcasts bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := standin.Options{Limits: standin.Limits{MaxBytes: 4 << 30}}
	opts.Realtime.Timing = phxserver.RealTiming()
	if broadcasts {
		opts.Broadcast = map[string]string{"messages": migration.Topic, "conversations": migration.Topic}
	}
	s, err := standin.New(opts)
	if err != nil {
		return err
	}
	var reads, writes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bench/counts", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).
			Encode(Counts{reads.Load(), writes.Load(), int64(s.Asked()), int64(s.Realtime().Connected())})
		// the parent is gone where this fails
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/rest/v1/") && r.Method == http.MethodGet:
			reads.Add(1)
		case strings.HasPrefix(r.URL.Path, "/rest/v1/"):
			writes.Add(1)
		}
		s.Handler().ServeHTTP(w, r)
	})
	server := &http.Server{Addr: "127.0.0.1:" + port, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	end := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer end()
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	closing, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Close(closing)
}

// StartStandin starts a stand-in; broadcasts has it broadcast each row as the migration does.
func StartStandin(ctx context.Context, broadcasts bool) (*Standin, error) {
	tokens, err := standin.NewTokens(standin.DefaultJWTSecret)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	env := []string{standinPort + "=" + port}
	if broadcasts {
		env = append(env, standinFast+"=1")
	}
	s := &Standin{
		URL:    "http://127.0.0.1:" + port,
		Tokens: tokens,
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	if s.Process, err = Start("the stand-in", "", env, nil, self); err != nil {
		return nil, err
	}
	if err := s.Await(ctx, s.URL+"/health"); err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// End ends the process.
func (s *Standin) End() {
	s.client.CloseIdleConnections()
	s.Process.End()
}

// Address is host:port.
func (s *Standin) Address() string { return strings.TrimPrefix(s.URL, "http://") }

// Token is that of a new user of the tenant, for a day.
func (s *Standin) Token() (string, error) {
	claims := map[string]any{"aud": "authenticated", "app_metadata": map[string]any{"distributor_id": Tenant}}
	return s.Tokens.Mint("authenticated", uuid.NewString(), claims, time.Now(), 24*time.Hour)
}

// Counts asks what the stand-in had to do.
func (s *Standin) Counts(ctx context.Context) (c Counts, err error) {
	return c, s.ask(ctx, http.MethodGet, "/bench/counts", nil, &c)
}

// Insert writes rows with the service key and gives their ids.
func (s *Standin) Insert(ctx context.Context, table string, rows any) (ids []string, err error) {
	var stored []struct{ ID string }
	if err := s.ask(ctx, http.MethodPost, "/rest/v1/"+table+"?select=id", rows, &stored); err != nil {
		return nil, fmt.Errorf("insert into %s: %w", table, err)
	}
	for _, row := range stored {
		ids = append(ids, row.ID)
	}
	return ids, nil
}

// Conversations makes conversations with so many messages in each.
func (s *Standin) Conversations(ctx context.Context, count, messages int) ([]string, error) {
	var rows []map[string]any
	for n := range count {
		rows = append(rows, map[string]any{"distributor_id": Tenant, "customer_name": fmt.Sprintf("Customer %d", n+1)})
	}
	ids, err := s.Insert(ctx, "conversations", rows)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		var history []map[string]any
		for n := range messages {
			history = append(
				history,
				map[string]any{
					"conversation_id": id,
					"content":         fmt.Sprintf("Message %d of what was said before, as long as messages are.", n+1),
				},
			)
		}
		if len(history) == 0 {
			continue
		}
		if _, err := s.Insert(ctx, "messages", history); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (s *Standin) ask(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, content)
	if err != nil {
		return err
	}
	req.Header = http.Header{
		"Apikey":        {s.Tokens.ServiceKey()},
		"Authorization": {"Bearer " + s.Tokens.ServiceKey()},
		"Content-Type":  {"application/json"},
		"Prefer":        {"return=representation"},
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("HTTP %d: %.200s", resp.StatusCode, text)
	}
	return json.Unmarshal(text, answer)
}

// StartBridge starts the program on the stand-in with further configuration and waits until changes
// flow.
func (s *Standin) StartBridge(
	ctx context.Context,
	binary string,
	env ...string,
) (p *Process, address string, err error) {
	port, err := FreePort()
	if err != nil {
		return nil, "", err
	}
	address = net.JoinHostPort("127.0.0.1", port)
	env = append([]string{
		"SUPABRIDGE_LISTEN=" + address, "SUPABRIDGE_SUPABASE_URL=" + s.URL, "SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=" + s.Tokens.ServiceKey(),
		"SUPABRIDGE_SUPABASE_ANON_KEY=" + s.Tokens.AnonKey(), "SUPABRIDGE_SUPABASE_JWT_SECRET=" + standin.DefaultJWTSecret, "SUPABRIDGE_LOG_FORMAT=json", "SUPABRIDGE_LOG_LEVEL=warn",
		"SUPABRIDGE_LIMITS_ADDRESS_CONNECTIONS=0", // all clients have the address of this machine
	}, env...)
	if p, err = Start("supabridge", "", env, nil, binary, "run"); err != nil {
		return nil, "", err
	}
	if err := p.Await(ctx, "http://"+address+"/readyz"); err != nil {
		p.End()
		return nil, "", err
	}
	return p, address, nil
}
