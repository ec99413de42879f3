package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/bus"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const lease = "lease"

// node is a node's hold on the bus, and what it has heard.
type node struct {
	*bus.Bus
	name   string
	client *redis.Client
	stop   func()

	mu    sync.Mutex
	heard []string
	up    bool
}

func (n *node) say(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, what)
}

func (n *node) Entry(e bus.Entry)       { n.say(fmt.Sprintf("%s %s %s", e.From, e.Kind, e.Body)) }
func (n *node) Missing(since time.Time) { n.say("missing") }
func (n *node) Heard(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = err == nil
}

func (n *node) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up
}

func (n *node) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.heard)
}

func start(t *testing.T, r *redistest.Server, name string, o bus.Options) *node {
	t.Helper()
	n := &node{name: name, client: redis.NewClient(&redis.Options{Addr: r.Addr, DialTimeout: time.Second, MaxRetries: -1, ContextTimeoutEnabled: true})}
	o.Stream, o.Lease, o.Node = "changes", lease, name
	n.Bus = bus.New(n.client, o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Listen(ctx, n) }()
	n.stop = sync.OnceFunc(func() { stop(); <-done; _ = n.client.Close() })
	t.Cleanup(n.stop)
	eventually.True(t, name+" listens", n.isUp)
	return n
}

// lead has a node take the lead as the bridge does.
func (n *node) lead(t *testing.T, term uint64) {
	t.Helper()
	if err := n.client.Set(t.Context(), lease, n.name, 0).Err(); err != nil {
		t.Fatal(err)
	}
	last, _, err := n.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, n.name+" has heard all", func() bool { return n.Past(last) })
	n.Begin(term, last)
}

func (n *node) put(from, to int) {
	for i := from; i <= to; i++ {
		n.Put("n", fmt.Append(nil, i))
	}
}

func (n *node) flushed(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n.Flush(ctx)
	if ctx.Err() != nil {
		t.Fatalf("%s has not written: %+v", n.name, n.Stats())
	}
}

// hears compares what a node has heard, once it is as much.
func (n *node) hears(t *testing.T, want ...string) {
	t.Helper()
	eventually.True(t, n.name+" hears", func() bool { return len(n.all()) >= len(want) })
	if got := n.all(); !slices.Equal(got, want) {
		t.Errorf("%s heard %q, want %q", n.name, got, want)
	}
}

func numbers(from string, first, last int) (list []string) {
	for i := first; i <= last; i++ {
		list = append(list, fmt.Sprintf("%s n %d", from, i))
	}
	return list
}

func TestEverybodyHearsTheLeaderInOrderAndNobodyHearsItself(t *testing.T) {
	r := redistest.Start(t)
	a, b := start(t, r, "a", bus.Options{}), start(t, r, "b", bus.Options{})
	a.put(1, 10) // it does not lead yet
	a.lead(t, 1)
	a.put(11, 1000)
	b.hears(t, numbers("a", 11, 1000)...)
	if got := a.all(); len(got) > 0 {
		t.Errorf("the leader heard %q", got)
	}
	late := start(t, r, "c", bus.Options{})
	a.put(1001, 1002)
	late.hears(t, numbers("a", 1001, 1002)...)
}

func TestTheLeadGoesOverWithoutAHole(t *testing.T) {
	r := redistest.Start(t)
	a, b, c := start(t, r, "a", bus.Options{}), start(t, r, "b", bus.Options{}), start(t, r, "c", bus.Options{})
	a.lead(t, 1)
	a.put(1, 500)
	a.flushed(t)
	b.lead(t, 2)
	a.put(501, 600) // its lease has ended, though it does not know
	b.put(1, 10)
	c.hears(t, slices.Concat(numbers("a", 1, 500), numbers("b", 1, 10))...)
	eventually.True(t, "what was refused is dropped", func() bool { return a.Stats().Dropped == 100 })
	a.hears(t, numbers("b", 1, 10)...)
	if s := c.Stats(); s.Missing != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestWhatIsMissingIsTold(t *testing.T) {
	t.Run("trimmed", func(t *testing.T) {
		r := redistest.Start(t)
		a, b := start(t, r, "a", bus.Options{}), start(t, r, "b", bus.Options{})
		a.lead(t, 1)
		a.put(1, 1)
		b.hears(t, "a n 1")
		add := func(p redis.Pipeliner, n int) {
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "changes", Values: []any{"node", "a", "term", 1, "n", n, "after", "0-0", "kind", "n", "body", n}})
		}
		if _, err := a.client.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
			add(p, 2)
			p.XTrimMaxLen(t.Context(), "changes", 0) // before anybody has read it
			add(p, 3)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b.hears(t, "a n 1", "missing", "a n 3")
	})
	t.Run("lost by Redis", func(t *testing.T) {
		r := redistest.Start(t)
		a, b := start(t, r, "a", bus.Options{}), start(t, r, "b", bus.Options{})
		a.lead(t, 1)
		a.put(1, 3)
		b.hears(t, numbers("a", 1, 3)...)
		r.Kill()
		eventually.True(t, "b knows that Redis is away", func() bool { return !b.isUp() })
		r.Run() // with nothing in it
		eventually.True(t, "b is back", b.isUp)
		a.lead(t, 2)
		a.put(4, 5)
		b.hears(t, slices.Concat(numbers("a", 1, 3), []string{"missing"}, numbers("a", 4, 5))...)
	})
	t.Run("dropped by the leader", func(t *testing.T) {
		r := redistest.Start(t)
		a, b := start(t, r, "a", bus.Options{MaxQueue: 1000, Timeout: 100 * time.Millisecond}), start(t, r, "b", bus.Options{})
		a.lead(t, 1)
		a.put(1, 1)
		b.hears(t, "a n 1")
		r.Suspend()
		for i := range 200 {
			a.Put("n", fmt.Appendf(nil, "%0100d", i))
		}
		if s := a.Stats(); s.Queued > 1000 || s.Dropped == 0 {
			t.Errorf("stats %+v", s)
		}
		r.Resume()
		a.put(2, 2)
		eventually.True(t, "b hears the last", func() bool { return slices.Contains(b.all(), "a n 2") })
		if got := b.all(); !slices.Contains(got, "missing") {
			t.Errorf("heard %q: what was dropped is not told to be", got)
		}
	})
}

func TestAnAnswerThatIsLostAddsNothingTwice(t *testing.T) {
	r := redistest.Start(t)
	a, b := start(t, r, "a", bus.Options{Timeout: 100 * time.Millisecond}), start(t, r, "b", bus.Options{})
	a.lead(t, 1)
	for i := range 20 {
		before := a.Stats().Failures
		r.Suspend() // it takes what is sent, and answers once it goes on: then nobody waits for that any more
		a.put(10*i, 10*i+9)
		eventually.True(t, "nobody waits for the answer", func() bool { return a.Stats().Failures > before })
		r.Resume()
		a.flushed(t)
	}
	b.hears(t, numbers("a", 0, 199)...)
}

func FuzzEntriesOfAnybody(f *testing.F) {
	f.Add("a", "1", "1", "0-0", "n", "{}")
	f.Add("", "-1", "x", "", "cut", `"2026-01-01T00:00:00Z"`)
	f.Fuzz(func(t *testing.T, node, term, n, after, kind, body string) {
		h := new(collected)
		bus.Take(h, map[string]any{"node": node, "term": term, "n": n, "after": after, "kind": kind, "body": body}, "5-1")
		for _, e := range h.entries {
			if e.From == "" && node != "" || e.Kind == "cut" {
				t.Errorf("%+v", e)
			}
			_ = json.Valid(e.Body) // whoever takes it decides
		}
	})
}

type collected struct{ entries []bus.Entry }

func (c *collected) Entry(e bus.Entry) { c.entries = append(c.entries, e) }
func (c *collected) Missing(time.Time) {}
func (c *collected) Heard(error)       {}
