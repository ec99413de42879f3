package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/body"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/hooktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ourSecret = "a secret of this test, long enough"
	bakery    = "c1000000-0000-4000-8000-000000000001" // a conversation of the stand-in's seed
	harbour   = "d1000000-0000-4000-8000-000000000001" // its tenant
)

// world is a stand-in's tables behind a front that can fail, and Webhooks that run on them.
type world struct {
	t       *testing.T
	project *standin.Server
	front   *front
	changes *changes
	hooks   *webhook.Webhooks
	metrics *prometheus.Registry
	address string
	stop    func() // ends Run and closes; the end of the test does it otherwise
	log     *lines
}

// newWorld runs Webhooks by the default configuration as changed, on a node that is alone and has
// no rooms.
func newWorld(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	return newNode(t, change, nil, func() map[string]bool { return nil })
}

func newNode(t *testing.T, change func(*config.Config), nodes webhook.Nodes, occupied func() map[string]bool) *world {
	t.Helper()
	project, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, project: project, front: &front{next: project.Handler()}, changes: &changes{doing: make(chan struct{}, 100)},
		metrics: prometheus.NewRegistry(), log: &lines{},
	}
	tables := httptest.NewServer(w.front)
	cfg := config.Default()
	cfg.Supabase.URL = tables.URL
	if change != nil {
		change(cfg)
	}
	rows, err := supabase.New(tables.URL, project.ServiceKey(), supabase.Options{
		AnonKey: project.AnonKey(), Schema: cfg.Supabase.Schema, Timeout: cfg.Supabase.RequestTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	traces, err := ops.NewTraces(ops.TracesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.hooks, err = webhook.New(webhook.Options{
		Config: cfg.Webhooks, Tables: cfg.Tables, Schema: cfg.Supabase.Schema, Rows: rows,
		RequestTimeout: cfg.Supabase.RequestTimeout, Changes: w.changes, Nodes: nodes, Occupied: occupied,
		Bodies: body.NewBudget(16<<20, nil), Traces: traces, Register: ops.Prefixed(w.metrics), Log: zerolog.New(w.log),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.hooks.Mount(mux)
	port := httptest.NewServer(mux)
	w.address = port.URL
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.hooks.Run(ctx)
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		w.hooks.Close()
	})
	t.Cleanup(func() {
		w.stop()
		port.Close()
		rows.Close()
		tables.Close()
		if err := project.Close(context.Background()); err != nil {
			t.Errorf("stand-in: %v", err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return w
}

// twilioModes configures Twilio's webhooks.
func twilioModes(t *testing.T, change func(*config.Config), modes ...string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox.db")
	return func(c *config.Config) {
		c.Webhooks.Twilio.AuthTokens = hooktest.AuthToken
		c.Webhooks.Twilio.PublicURLs = []string{hooktest.Base}
		c.Webhooks.Twilio.Modes = modes
		c.Webhooks.Outbox.Path = path
		if change != nil {
			change(c)
		}
	}
}

// twilioPosts posts a webhook as Twilio does and gives the answer.
func (w *world) twilioPosts(values url.Values, header ...string) (code int, body string) {
	w.t.Helper()
	form := values.Encode()
	signed := hooktest.Header(w.t, hooktest.AuthToken, "/webhooks/twilio", form)
	return w.post("/webhooks/twilio", form, append(signed, header...)...)
}

func (w *world) post(path, body string, header ...string) (code int, answer string) {
	w.t.Helper()
	return w.do("POST", w.address+path, body, header...)
}

func (w *world) do(method, address, body string, header ...string) (code int, answer string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// rest asks the stand-in's tables past the front, as the service role.
func (w *world) rest(method, path, body string) []map[string]any {
	w.t.Helper()
	req := httptest.NewRequest(method, "/rest/v1/"+path, strings.NewReader(body))
	key := w.project.ServiceKey()
	req.Header = http.Header{
		"Apikey": {key}, "Authorization": {"Bearer " + key}, "Content-Type": {"application/json"},
		"Prefer": {"return=representation"},
	}
	answer := httptest.NewRecorder()
	w.project.Handler().ServeHTTP(answer, req)
	var rows []map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &rows); err != nil || answer.Code > 299 {
		w.t.Fatalf("%s %s: %d %s (%v)", method, path, answer.Code, answer.Body, err)
	}
	return rows
}

// eventually waits for something that another goroutine brings about.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	eventually.Nothing(w.t, what, func() string {
		if is() {
			return ""
		}
		var stats any = "none"
		if box := w.hooks.Outbox(); box != nil {
			stats = fmt.Sprintf("%+v", box.Stats())
		}
		return fmt.Sprintf("outbox %v; log:\n%s", stats, w.log)
	})
}

// delivered waits until the outbox is empty.
func (w *world) delivered() {
	w.t.Helper()
	w.eventually("the outbox is delivered", func() bool { return w.hooks.Outbox().Stats().Waiting == 0 })
}

// dead lists why dead letters are dead.
func (w *world) dead() (reasons []string) {
	w.t.Helper()
	items, err := w.hooks.Outbox().List(true, 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, item := range items {
		reasons = append(reasons, item.Reason)
	}
	return reasons
}

func (w *world) scrape() string {
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(w.metrics, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

// changes keeps what Webhooks sends on to browsers, in place of a feed and its rooms.
type changes struct {
	stream sync.Mutex    // held by Do: changes pass one after another
	doing  chan struct{} // each return of Do

	mu      sync.Mutex // guards what follows
	offered []string   // action and record
	emitted []row.Row
}

func (c *changes) Offer(_ context.Context, table string, action feed.Action, record json.RawMessage) (webhook.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered = append(c.offered, string(action)+" "+table+" "+string(record))
	return webhook.Taken, nil
}

func (c *changes) Do(_ context.Context, f func()) error {
	c.stream.Lock()
	defer c.stream.Unlock()
	f()
	c.doing <- struct{}{}
	return nil
}

func (c *changes) Emit(_ context.Context, change feed.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emitted = append(c.emitted, change.Row)
}

func (c *changes) offers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.offered...)
}

func (c *changes) emits() []row.Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]row.Row(nil), c.emitted...)
}

// front stands before the tables. It answers requests itself while a fault is set.
type front struct {
	next   http.Handler
	fault  atomic.Pointer[fault]
	failed atomic.Int64 // requests answered by a fault
	hold   atomic.Pointer[hold]
}

// hold keeps the next request that fits waiting: reached is closed when it has come, and it goes on
// once open is closed.
type hold struct {
	fits          func(*http.Request) bool
	reached, open chan struct{}
}

// fault is an answer. fits is nil where every request to PostgREST gets it; a status of 0 cuts the
// connection.
type fault struct {
	status       int
	header, body string
	fits         func(r *http.Request, body string) bool
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.hold.Load(); h != nil && h.fits(r) && f.hold.CompareAndSwap(h, nil) {
		close(h.reached)
		<-h.open
	}
	bad := f.fault.Load()
	if bad == nil || !strings.HasPrefix(r.URL.Path, "/rest/v1/") {
		f.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if bad.fits != nil && !bad.fits(r, string(body)) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.next.ServeHTTP(w, r)
		return
	}
	f.failed.Add(1)
	if bad.status == 0 {
		panic(http.ErrAbortHandler)
	}
	if name, value, ok := strings.Cut(bad.header, ": "); ok {
		w.Header().Set(name, value)
	}
	w.WriteHeader(bad.status)
	_, _ = io.WriteString(w, bad.body)
}

// lines is a log that a test may read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
