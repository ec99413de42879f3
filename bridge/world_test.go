package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/eventually"
)

// Rows of the stand-in's own seed.
const (
	harbour = "d1000000-0000-4000-8000-000000000001" // a tenant, its users and one of its conversations
	anaID   = "a1000000-0000-4000-8000-000000000001"
	benID   = "a1000000-0000-4000-8000-000000000002"
	bakery  = "c1000000-0000-4000-8000-000000000001"
	alpine  = "d2000000-0000-4000-8000-000000000002" // another
	doraID  = "a2000000-0000-4000-8000-000000000001"
)

// world is a stand-in and a bridge on it.
type world struct {
	t        *testing.T
	project  *standin.Server
	upstream *line
	bridge   *Bridge
	gate     *gate
	run      func() // for an unready one
	stop     func() // as SIGTERM does; the end of the test waits for it
	address  string
	log      *lines
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

func newWorld(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	return newWorldOn(t, standin.Options{}, change)
}

func newWorldOn(t *testing.T, options standin.Options, change func(*config.Config)) *world {
	t.Helper()
	w := unreadyOn(t, options, change)
	w.run()
	w.await(feed.Live)
	return w
}

// unready is a world whose bridge does not run yet.
func unready(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	return unreadyOn(t, standin.Options{}, change)
}

func unreadyOn(t *testing.T, options standin.Options, change func(*config.Config)) *world {
	t.Helper()
	project, err := standin.New(options)
	if err != nil {
		t.Fatal(err)
	}
	passage := &gate{next: project.Handler()}
	supabase := httptest.NewUnstartedServer(passage)
	upstream := &line{Listener: supabase.Listener}
	supabase.Listener = upstream
	supabase.Start()
	cfg := config.Default()
	cfg.Supabase.URL = supabase.URL
	cfg.Supabase.ServiceRoleKey = config.Secret(project.ServiceKey())
	cfg.Supabase.AnonKey = config.Secret(project.AnonKey())
	cfg.Supabase.JWTSecret = testSecret
	cfg.Supabase.Reconnect = config.Reconnect{Min: 20 * time.Millisecond, Max: 100 * time.Millisecond}
	if change != nil {
		change(cfg)
	}
	w := &world{t: t, project: project, upstream: upstream, gate: passage, log: &lines{}}
	if w.bridge, err = New(cfg, zerolog.New(w.log)); err != nil {
		t.Fatal(err)
	}
	port := httptest.NewServer(w.bridge.Handler())
	w.address = port.URL
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w.stop = stop
	w.run = func() { go func() { ended <- w.bridge.Run(ctx) }() }
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		port.Close()
		supabase.CloseClientConnections()
		if err := project.Close(context.Background()); err != nil {
			t.Errorf("stand-in: %v", err)
		}
		supabase.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return w
}

// gate stands before the stand-in and keeps a request waiting.
type gate struct {
	next http.Handler

	mu   sync.Mutex
	held *held // nil where none is to wait
}

// held is a request that waits: reached is closed when it has come, answered when it has been
// answered after open was closed.
type held struct {
	fits                    func(*http.Request) bool
	reached, open, answered chan struct{}
	lost                    bool // the request is carried out and its answer cut off
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	h := g.held
	if h != nil && h.fits(r) {
		g.held = nil
	} else {
		h = nil
	}
	g.mu.Unlock()
	if h != nil {
		defer close(h.answered)
		close(h.reached)
		<-h.open
		if h.lost {
			g.next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
	}
	g.next.ServeHTTP(w, r)
}

// hold keeps the next request to Supabase that fits waiting.
func (w *world) hold(fits func(*http.Request) bool) *held {
	h := &held{fits: fits, reached: make(chan struct{}), open: make(chan struct{}), answered: make(chan struct{})}
	w.gate.set(h)
	return h
}

// lose has the next request that fits carried out and its answer cut off.
func (w *world) lose(fits func(*http.Request) bool) *held {
	h := &held{fits: fits, lost: true, reached: make(chan struct{}), open: make(chan struct{}), answered: make(chan struct{})}
	close(h.open)
	w.gate.set(h)
	return h
}

func (g *gate) set(h *held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = h
}

// eventually waits for something that another goroutine brings about.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	eventually.Nothing(w.t, what, func() string {
		if is() {
			return ""
		}
		stats := "none"
		if box := w.bridge.webhooks.Outbox(); box != nil {
			stats = fmt.Sprintf("%+v", box.Stats())
		}
		return fmt.Sprintf("outbox %s; log:\n%s", stats, w.log)
	})
}

// paused is a feed that does not go on.
type paused struct{ on, done chan struct{} }

func (w *world) pause() paused {
	w.t.Helper()
	p := paused{make(chan struct{}), make(chan struct{})}
	began := make(chan struct{})
	go func() {
		defer close(p.done)
		w.must(w.bridge.upstream.feed.Do(context.Background(), func() { close(began); <-p.on }))
	}()
	<-began
	return p
}

func (p paused) goOn() {
	close(p.on)
	<-p.done
}

// settled waits until no join with since is under way.
func (w *world) settled() {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for reading := true; reading; <-tick.C {
		reading = false
		w.must(w.bridge.upstream.feed.Do(w.t.Context(), func() {
			reading = len(w.bridge.router.holds.joining) > 0
		}))
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

// await waits for a state of the feed.
func (w *world) await(want feed.State) {
	w.t.Helper()
	w.until("become "+string(want), func(s feed.State) bool { return s == want })
}

// awaitNot waits for any other.
func (w *world) awaitNot(state feed.State) {
	w.t.Helper()
	w.until("cease to be "+string(state), func(s feed.State) bool { return s != state })
}

func (w *world) until(what string, is func(feed.State) bool) {
	w.t.Helper()
	eventually.Nothing(w.t, what, func() string {
		if is(w.bridge.upstream.feed.Report().State) {
			return ""
		}
		return fmt.Sprintf("the feed is %+v; log:\n%s", w.bridge.upstream.feed.Report(), w.log)
	})
}

func (w *world) token(user string) string {
	w.t.Helper()
	token, err := w.project.UserToken(user)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// as connects a user of the seed.
func (w *world) as(user string) *browser {
	w.t.Helper()
	return connect(w.t, w.address, map[string]string{"token": w.token(user)})
}

// rest asks PostgREST as the service role.
func (w *world) rest(method, path, body string) []map[string]any {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.bridge.cfg().Supabase.URL+"/rest/v1/"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	key := w.project.ServiceKey()
	req.Header = http.Header{"Apikey": {key}, "Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}, "Prefer": {"return=representation"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var rows []map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&rows); err != nil || resp.StatusCode > 299 {
		w.t.Fatalf("%s %s: %s (%v)", method, path, resp.Status, err)
	}
	return rows
}

// write inserts a message and gives its id.
func (w *world) write(conversation, content string) string {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"conversation_id": conversation, "content": content})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.rest("POST", "messages", string(body))[0]["id"].(string)
}

// inside changes the stand-in's rows past its network.
func (w *world) inside(change func(*standin.Tx) error) {
	w.t.Helper()
	if err := w.project.DB().Tx(change); err != nil {
		w.t.Fatal(err)
	}
}

func text(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}
