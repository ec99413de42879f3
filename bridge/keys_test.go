package bridge

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// numbered is the stand-in's seed, with messages that are numbered within their conversation: their
// primary key is (conversation_id, seq).
func numberedSeed(t *testing.T) *standin.Seed {
	t.Helper()
	text, err := os.ReadFile("standin/seed/inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, tail, _ := strings.Cut(string(text), "\n  messages:\n")
	tail, users, _ := strings.Cut(tail, "\nauth:\n")
	tail, _, _ = strings.Cut(tail, "    rows:\n")
	for old, text := range map[string]string{
		"    columns:\n":             "    columns:\n      seq: {type: int8, not_null: true}\n",
		"    primary_key: [id]\n":    "    primary_key: [conversation_id, seq]\n",
		"indexes: [[updated_at, id]": "indexes: [[updated_at, seq]",
		"      - {columns: [reply_to_message_id], references: messages, on_delete: set null}\n": "",
	} {
		if !strings.Contains(tail, old) {
			t.Fatalf("the seed lacks %q", old)
		}
		tail = strings.Replace(tail, old, text, 1)
	}
	seed, err := standin.ParseSeed(strings.NewReader(head + "\n  messages:\n" + tail + "\nauth:\n" + users))
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// keyed is a bridge that takes seq for the identity of messages.
type keyed struct {
	*world
	described atomic.Int32 // how often the REST API was asked to describe itself
	ended     chan error
}

// newKeyed starts it on a project; front, if set, answers requests for the description instead.
func newKeyed(t *testing.T, options standin.Options, front http.HandlerFunc) *keyed {
	t.Helper()
	project, err := standin.New(options)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyed{world: &world{t: t, project: project, log: &lines{}}, ended: make(chan error, 1)}
	next := project.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/rest/v1/" {
			k.described.Add(1)
			if front != nil {
				front(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	}))
	cfg := config.Default()
	cfg.Supabase.URL = server.URL
	cfg.Supabase.ServiceRoleKey, cfg.Supabase.AnonKey = config.Secret(project.ServiceKey()), config.Secret(project.AnonKey())
	cfg.Supabase.JWTSecret = testSecret
	cfg.Supabase.Feed.Interval = 50 * time.Millisecond
	if options.Seed != nil {
		cfg.Tables.Messages.ID = "seq"
	}
	if k.bridge, err = New(cfg, zerolog.New(k.log)); err != nil {
		t.Fatal(err)
	}
	port := httptest.NewServer(k.bridge.Handler())
	k.address = port.URL
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.ended <- k.bridge.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		port.Close()
		server.CloseClientConnections()
		if err := project.Close(context.Background()); err != nil {
			t.Errorf("stand-in: %v", err)
		}
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return k
}

// refused waits until the bridge has ended, and looks at why.
func (k *keyed) refused(want ...string) {
	k.t.Helper()
	select {
	case err := <-k.ended:
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				k.t.Errorf("Run returned %v, want an error with %q", err, part)
			}
		}
	case <-time.After(patience):
		k.t.Fatalf("the bridge runs on a key that is not unique; log:\n%s", k.log)
	}
}

// number inserts a message with its number.
func (k *keyed) number(conversation string, seq int, content string) {
	k.t.Helper()
	k.rest("POST", "messages", fmt.Sprintf(`{"conversation_id":%q,"seq":%d,"content":%q}`, conversation, seq, content))
}

func TestABridgeRefusesAKeyThatIsNotUnique(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		unmigrated bool
		why        string
	}{"as the catalog tells": {false, "no unique index is on seq alone"}, "as the REST API tells": {true, "the primary key is (conversation_id, seq)"}} {
		t.Run(name, func(t *testing.T) {
			k := newKeyed(t, standin.Options{Seed: numberedSeed(t), Unmigrated: c.unmigrated}, nil)
			k.refused("tables.messages.id", "seq", c.why, "create unique index")
		})
	}
}

// off is a project that does not describe itself.
func off(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, `{"code":"PGRST126","message":"Root endpoint metadata is disabled"}`)
}

func TestWhereNobodyTellsTheFirstTwoRowsOfOneKeyStopTheBridge(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, standin.Options{Seed: numberedSeed(t), Unmigrated: true}, off)
	k.await(feed.Live)
	if !strings.Contains(k.log.String(), "can't be asked") {
		t.Errorf("it is not said that the key could not be asked about; log:\n%s", k.log)
	}
	ana := k.as(anaID)
	ana.must("join_conversation", bakery)
	k.number(bakery, 1, "of the bakery")
	k.number("c2000000-0000-4000-8000-000000000001", 1, "of another tenant")
	k.refused("tables.messages.id", "two rows have the same value")
}

func TestAnAnswerThatHangsDelaysNoStartAndCountsWhenItComes(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	k := newKeyed(t, standin.Options{Seed: numberedSeed(t), Unmigrated: true}, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-open:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, `{"definitions":{"messages":{"properties":{"seq":{"description":"Note:\nThis is a Primary Key.<pk/>"},"conversation_id":{"description":"<pk/>"}}}}}`)
	})
	k.await(feed.Live)
	close(open)
	k.refused("the primary key is (conversation_id, seq)")
}

func TestAReloadAsksAgainWhetherKeysAreUnique(t *testing.T) {
	t.Parallel()
	var composite atomic.Bool
	k := newKeyed(t, standin.Options{Unmigrated: true}, func(w http.ResponseWriter, _ *http.Request) {
		key := "other"
		if composite.Load() {
			key = "conversation_id"
		}
		fmt.Fprintf(w, `{"definitions":{"messages":{"properties":{"id":{"description":"<pk/>"},%q:{"description":"%s"}}}}}`, key, map[bool]string{true: "<pk/>"}[composite.Load()])
	})
	k.await(feed.Live)
	composite.Store(true)
	next := *k.bridge.cfg()
	if _, err := k.bridge.Reload(&next); err != nil {
		t.Fatal(err)
	}
	k.refused("tables.messages.id", "the primary key is (conversation_id, id)")
	if got := k.described.Load(); got != 2 {
		t.Errorf("it was asked %d times, want once at the start and once for the reload", got)
	}
}
