package redisadapter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// host is a server that only remembers what it is told.
type host struct {
	name string

	mu    sync.Mutex
	heard []*socketio.NodeMessage
}

func (h *host) Node() string                 { return h.name }
func (h *host) Occupied(string, string) bool { return true }
func (h *host) Deliver(m *socketio.NodeMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, m)
}

// args are those of the events heard.
func (h *host) args() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, m := range h.heard {
		list = append(list, string(m.Args))
	}
	return list
}

// running is a Redis, or a Redis Cluster.
type running interface{ Hasty() redis.UniversalClient }

// node starts an adapter alone.
func node(t *testing.T, r running, name string, o redisadapter.Options) (*host, *redisadapter.Adapter) {
	t.Helper()
	client := r.Hasty()
	a, err := redisadapter.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{name: name}
	if err := a.Start(h); err != nil {
		t.Fatal(err)
	}
	a.Open("/")
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return h, a
}

func event(format string, args ...any) *socketio.NodeMessage {
	return &socketio.NodeMessage{Kind: socketio.KindEmit, Namespace: "/", Rooms: []string{"r"}, Args: json.RawMessage(fmt.Sprintf(format, args...))}
}

func TestWhatWasSentWhileRedisWasAwayArrivesOnceItIsBack(t *testing.T) {
	for mode, o := range map[string]redisadapter.Options{"pubsub": {}, "static": {Mode: redisadapter.Sharded, Static: true}} {
		t.Run(mode, func(t *testing.T) {
			r := redistest.Start(t)
			var mu sync.Mutex
			var said []bool
			o.MaxAge = time.Hour
			_, a := node(t, r, "a", o)
			o.Changed = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, err == nil)
			}
			h, b := node(t, r, "b", o)
			both := func() bool { return a.Stats().Up && b.Stats().Up && a.Stats().Nodes == 1 }
			eventually.True(t, "both listen", both)
			for i := range 3 {
				if err := a.Publish(event(`["before",%d]`, i)); err != nil {
					t.Fatal(err)
				}
			}
			eventually.True(t, "what was sent before", func() bool { return len(h.args()) == 3 })
			r.Kill()
			eventually.True(t, "both notice", func() bool { return !a.Stats().Up && !b.Stats().Up })
			for i := range 1000 {
				if err := a.Publish(event(`["meanwhile",%d]`, i)); err != nil {
					t.Fatal(err)
				}
			}
			r.Run()
			eventually.True(t, "what was sent meanwhile", func() bool { return len(h.args()) == 1003 })
			if got := h.args(); got[3] != `["meanwhile",0]` || got[1002] != `["meanwhile",999]` {
				t.Errorf("the order is %s … %s", got[3], got[1002])
			}
			if s := a.Stats(); s.Queued != 0 || s.Dropped != 0 {
				t.Errorf("stats %+v", s)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(said, []bool{true, false, true}) {
				t.Errorf("was told %v", said)
			}
		})
	}
}

func TestWhatWaitsForRedisIsBounded(t *testing.T) {
	r := redistest.Start(t)
	r.Kill()
	_, a := node(t, r, "a", redisadapter.Options{MaxQueue: 1000, MaxAge: time.Hour})
	var err error
	n := 0
	for ; err == nil; n++ {
		err = a.Publish(event(`["x"]`))
	}
	if !errors.Is(err, redisadapter.ErrQueueFull) || n < 5 || n > 50 || a.Stats().Queued > 1000 {
		t.Errorf("%v after %d, %+v", err, n, a.Stats())
	}
}

func TestWhatWaitedTooLongIsDropped(t *testing.T) {
	r := redistest.Start(t)
	r.Kill()
	_, a := node(t, r, "a", redisadapter.Options{MaxAge: time.Millisecond})
	if err := a.Publish(event(`["old"]`)); err != nil {
		t.Fatal(err)
	}
	r.Run()
	eventually.True(t, "it is dropped", func() bool { return a.Stats().Dropped == 1 && a.Stats().Queued == 0 })
}

func TestALostConnectionIsReplaced(t *testing.T) {
	r := redistest.Start(t)
	_, a := node(t, r, "a", redisadapter.Options{})
	h, b := node(t, r, "b", redisadapter.Options{})
	eventually.True(t, "both listen", func() bool { return a.Stats().Up && b.Stats().Up })
	c := r.Client()
	defer func() { _ = c.Close() }()
	if err := c.Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "both listen again", func() bool { return a.Stats().Breaks == 1 && b.Stats().Breaks == 1 && a.Stats().Up && b.Stats().Up })
	if err := a.Publish(event(`["again"]`)); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "it is heard", func() bool { return len(h.args()) == 1 })
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"\x93\xa7emitter\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x01x\xa3nsp\xa1/\x83\xa5rooms\x90\xa6except\x90\xa5flags\x80",
		`{"uid":"x","type":2,"opts":{"rooms":["a",1],"except":[]},"rooms":["b"]}`,
		`{"uid":"x","requestId":"q","type":7,"packet":{"type":2,"data":["e"],"nsp":"/"},"opts":{"rooms":[],"flags":{"timeout":5}}}`,
		`{"requestId":"q","sockets":[{"id":"s","rooms":[],"data":{},"handshake":{}}]}`,
		`{"uid":"x","nsp":"/","type":3,"data":{"packet":{"type":2,"data":["e"]},"opts":{"rooms":["a"],"except":[],"flags":{}}}}`,
		`{"uid":"x","nsp":"/","type":8,"data":{"requestId":"q","sockets":[]}}`,
	} {
		for role := range 3 {
			f.Add([]byte(seed), role)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte, role int) {
		for _, m := range redisadapter.Decode(payload, role) {
			if m.Kind == "" || m.Namespace != "/" {
				t.Errorf("%q gives %+v", payload, m)
			}
			if (m.Kind == socketio.KindEmit || m.Kind == socketio.KindServer) && m.Args != nil && !json.Valid(m.Args) {
				t.Errorf("%q gives the arguments %q", payload, m.Args)
			}
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add("1700000000000-0", "/", "3", `{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":["a"],"except":[],"flags":{}}}`, "7")
	f.Add("1-1", "/", "3", "g6ZwYWNrZXSDpHR5cGUCpGRhdGGSoWXEAQGjbnNwoS+kb3B0c4Olcm9vbXOQpmV4Y2VwdJClZmxhZ3OA", "")
	f.Add("1-2", "/", "4", `{"opts":{"rooms":[],"except":[]},"rooms":["b"]}`, "")
	f.Add("1-3", "/chat", "6", `{"opts":{"rooms":[1]},"close":true}`, "x")
	f.Add("1-4", "/", "100", `{"pid":"p"}`, "")
	f.Fuzz(func(t *testing.T, id, nsp, kind, data, serial string) {
		m, err := redisadapter.DecodeEntry(id, nsp, kind, data, serial)
		if err != nil {
			return
		}
		if m.Kind == "" || m.Namespace != nsp || m.From != "x" {
			t.Errorf("%q gives %+v", data, m)
		}
		if m.Args != nil && !json.Valid(m.Args) {
			t.Errorf("%q gives the arguments %q", data, m.Args)
		}
	})
}

func FuzzSession(f *testing.F) {
	whole, err := redisadapter.EncodeSession(&socketio.KeptSession{PID: "p", SID: "s", Rooms: []string{"s", "a"}, Data: json.RawMessage(`{"n":1}`), More: json.RawMessage(`{"v":1}`), Exclusive: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add("g6NwaWShcA==")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := redisadapter.DecodeSession(text)
		if err != nil {
			return
		}
		again, err := redisadapter.EncodeSession(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		if _, err := redisadapter.DecodeSession(again); err != nil {
			t.Errorf("%+v becomes %q: %v", s, again, err)
		}
	})
}
