package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
	"github.com/supabridge/supabridge/internal/redistest"
)

// node is a further bridge on a world's Supabase.
type node struct {
	bridge  *Bridge
	address string
	stop    func() // and waits until it has ended
}

// node runs a further bridge, until the test ends or it is stopped.
func (w *world) node(change func(*config.Config)) *node {
	w.t.Helper()
	cfg := *w.bridge.cfg()
	change(&cfg)
	b, err := New(&cfg, zerolog.New(w.log))
	if err != nil {
		w.t.Fatal(err)
	}
	port := httptest.NewServer(b.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	n := &node{bridge: b, address: port.URL}
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		port.Close()
	})
	w.t.Cleanup(n.stop)
	w.eventually("the node is live", func() bool { return b.upstream.feed.Report().State == feed.Live })
	return n
}

// eachOnce reads until n messages with a text that begins so have come, then one written now, and
// tells of repetitions and of ids that are not the rows'.
func (w *world) eachOnce(b *browser, prefix string, n int) {
	w.t.Helper()
	read := func(p string) (content, id string) {
		var args []json.RawMessage
		var m struct{ ID, Content string }
		if !strings.HasPrefix(p, `2["new_message"`) || json.Unmarshal([]byte(p[1:]), &args) != nil || json.Unmarshal(args[1], &m) != nil {
			return "", ""
		}
		return m.Content, m.ID
	}
	seen := make(map[string]bool)
	var first []string // which await takes out of what the browser holds
	for len(first) < n {
		first = append(first, b.await(fmt.Sprintf("message %d of %d", len(first)+1, n), func(p string) bool {
			content, _ := read(p)
			return strings.HasPrefix(content, prefix) && !seen[content]
		}))
		content, _ := read(first[len(first)-1])
		seen[content] = true
	}
	id := w.write(bakery, "marker")
	b.await("the marker", func(p string) bool { _, got := read(p); return got == id })
	came, rows := make(map[string]int), make(map[string]string)
	for _, p := range append(b.held, first...) {
		if content, id := read(p); strings.HasPrefix(content, prefix) {
			came[content]++
			rows[content] = id
		}
	}
	twice := 0
	for content, times := range came {
		if times > 1 {
			twice++
		}
		row := w.rest("GET", "messages?content=eq."+strings.ReplaceAll(content, " ", "%20"), "")
		if len(row) != 1 || row[0]["id"] != rows[content] {
			w.t.Errorf("%s came under the id %v, and is stored as %v", content, rows[content], row)
		}
	}
	if twice > 0 {
		w.t.Errorf("%d of %d messages came more than once", twice, n)
	}
}

func TestStoreAndEmitTogetherSendOneEventUnderTheRowsID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store", "emit"))
	ana := w.joined()
	for i := range 100 {
		w.twilioPosts(inbound(fmt.Sprintf("SM%d", i), fmt.Sprint("text ", i)))
	}
	w.eachOnce(ana, "text", 100)
}

func TestARowWhoseAnswerWasLostIsSentOnceUnderItsID(t *testing.T) {
	t.Parallel()
	// The row is stored, and the bridge dies before it knows: what it does when it is there again.
	w := newWorld(t, twilioModes(t, nil, "store", "emit"))
	ana := w.joined()
	lost := w.lose(func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/messages")
	})
	for i := range 5 {
		w.twilioPosts(inbound(fmt.Sprintf("SM%d", i), fmt.Sprint("text ", i)))
	}
	w.eachOnce(ana, "text", 5)
	<-lost.answered
}

func TestARestartBetweenStoringAndSendingSendsOnceUnderTheRowsID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store", "emit"))
	path := filepath.Join(t.TempDir(), "second.db")
	modes := func(c *config.Config) { c.Webhooks.Outbox.Path = path }
	first := w.node(modes)
	ana := w.joined() // at the node that stays
	held := w.hold(func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/messages")
	})
	form := inbound("SM1", "text 1").Encode()
	old := w.address
	w.address = first.address
	if code, _ := w.post("/webhooks/twilio", form, hooktest.Header(t, authToken, "/webhooks/twilio", form)...); code != 200 {
		t.Fatalf("answered %d", code)
	}
	w.address = old
	<-held.reached
	go first.stop()
	close(held.open) // it is stored while its node is going
	<-held.answered
	first.stop()
	again := w.node(modes)
	ben := connect(t, again.address, map[string]string{"token": w.token(benID)})
	ben.must("join_conversation", bakery)
	w.eventually("the outbox of the second life is empty", func() bool { return again.bridge.webhooks.Outbox().Stats().Waiting == 0 })
	w.eachOnce(ana, "text", 1)
	ben.await("the marker", func(p string) bool { return strings.HasPrefix(p, `2["new_message"`) && strings.Contains(p, `"marker"`) })
	if times := strings.Count(strings.Join(ben.held, "\n"), `"text 1"`); times > 1 {
		t.Errorf("the browser at the new node heard it %d times", times)
	}
}

func TestNodesOfAClusterSendAStoredMessageOnce(t *testing.T) {
	t.Parallel()
	for _, changes := range []string{"each", "leader"} {
		t.Run(changes, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t)
			w := newWorld(t, twilioModes(t, func(c *config.Config) {
				c.Cluster.Redis, c.Cluster.Changes = config.Secret(redis.URL()), changes
			}, "store", "emit"))
			other := w.node(func(c *config.Config) { c.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "other.db") })
			ana := w.joined()
			ben := connect(t, other.address, map[string]string{"token": w.token(benID)})
			ben.must("join_conversation", bakery)
			for i := range 20 {
				w.twilioPosts(inbound(fmt.Sprintf("SM%d", i), fmt.Sprint("text ", i)))
			}
			w.eachOnce(ana, "text", 20)
			w.eachOnce(ben, "text", 20)
		})
	}
}
