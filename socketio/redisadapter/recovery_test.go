package redisadapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// member is a node of a cluster whose clients are recovered at any node.
type member struct {
	*socketio.Server
	adapter *redisadapter.Adapter
	redis   *redis.Client
	addr    string
	http    *httptest.Server
	once    sync.Once
}

func newMember(t *testing.T, r *redistest.Server, change func(*socketio.Options, *redisadapter.Options)) *member {
	t.Helper()
	o := socketio.Options{Recovery: socketio.Recovery{Enabled: true, Export: func(s *socketio.Socket) (any, bool) {
		return s.Data(), true
	}}}
	ro := redisadapter.Options{Mode: redisadapter.Streams}
	if change != nil {
		change(&o, &ro)
	}
	m := &member{redis: redis.NewClient(&redis.Options{Addr: r.Addr, DialTimeout: time.Second, MaxRetries: -1})}
	var err error
	if m.adapter, err = redisadapter.New(m.redis, ro); err != nil {
		t.Fatal(err)
	}
	o.Adapter = m.adapter
	if m.Server, err = socketio.Open(o); err != nil {
		t.Fatal(err)
	}
	m.On("join", func(e *socketio.Event) {
		for i := range e.Args {
			var room string
			if e.Decode(i, &room) == nil {
				e.Socket.Join(room)
			}
		}
		e.Socket.SetData(map[string]int{"joined": len(e.Args)})
		e.Ack()
	})
	m.On("ping", func(e *socketio.Event) { e.Ack() })
	m.http = httptest.NewServer(m.Server)
	m.addr = m.http.Listener.Addr().String()
	t.Cleanup(m.end)
	eventually.True(t, "the node reads", func() bool { return m.adapter.Stats().Up })
	return m
}

func (m *member) end() {
	m.once.Do(func() {
		m.Close()
		m.http.Close()
		_ = m.redis.Close()
	})
}

// stop ends the node in order.
func (m *member) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	m.end()
}

// gate is where clients connect: it passes them on to a node.
type gate struct {
	l       net.Listener
	running sync.WaitGroup

	mu    sync.Mutex            // guards everything below
	to    string                // nothing: nobody is let through
	conns map[net.Conn]net.Conn // of clients, to those of the node
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{l: l, to: to, conns: make(map[net.Conn]net.Conn)}
	g.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		g.lead("")
		g.cut(true)
		g.running.Wait()
	})
	return g
}

func (g *gate) url() string { return "http://" + g.l.Addr().String() }

func (g *gate) pass(c net.Conn) {
	defer func() { _ = c.Close() }()
	g.mu.Lock()
	to := g.to
	g.mu.Unlock()
	if to == "" {
		return
	}
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.conns[c] = d
	g.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(d, c)
		g.mu.Lock()
		if _, there := g.conns[c]; there {
			_ = d.Close()
		}
		g.mu.Unlock()
	})
	both.Go(func() {
		_, _ = io.Copy(c, d)
		_ = c.Close()
	})
	both.Wait()
	_ = d.Close()
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
}

// lead passes those who connect from now on to another node.
func (g *gate) lead(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
}

// cut ends the clients' connections; the node hears of that only if told.
func (g *gate) cut(told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c, d := range g.conns {
		if !told {
			delete(g.conns, c)
		}
		_ = c.Close()
		if told {
			_ = d.Close()
		}
	}
}

// client connects one that keeps what it gets and comes back by itself.
func (p *peer) client(name string, g *gate) string {
	return p.text(`const id = await connect(%q, %q, { reconnectionDelay: 20, reconnectionDelayMax: 100 });
		const c = clients[%[1]q];
		c.times = 1;
		c.socket.on('connect', () => c.times++);
		return id`, name, g.url())
}

// back waits until a client has connected for the nth time, and gives its id and whether it was
// recovered.
func (p *peer) back(name string, n int) (id string, recovered bool) {
	p.t.Helper()
	eventually.True(p.t, name+" is back", func() bool { return p.do("return clients[%q].times >= %d", name, n) == "true" })
	var got struct {
		ID        string
		Recovered bool
	}
	if err := json.Unmarshal([]byte(p.do("const { socket } = clients[%q]; return { id: socket.id, recovered: !!socket.recovered }", name)), &got); err != nil {
		p.t.Fatal(err)
	}
	return got.ID, got.Recovered
}

// news are the first arguments of the events "news" that a client has got, up to one that comes
// after all that was sent before.
func (p *peer) news(name string, mark func()) []int {
	p.t.Helper()
	mark()
	p.do("return next(%q, 'mark')", name)
	var list []int
	if err := json.Unmarshal([]byte(p.do("return clients[%q].events.filter(({ event }) => event === 'news').map(({ args }) => args[0])", name)), &list); err != nil {
		p.t.Fatal(err)
	}
	return list
}

// official starts a Node server whose clients are recovered.
func (p *peer) official(r *redistest.Server) string {
	return p.text(`
		const url = await serve('streams', %q, { connectionStateRecovery: {} });
		servers.io = servers.streams;
		servers.io.on('connection', (socket) => {
			socket.data ??= {};
			socket.on('join', (...rooms) => { const ack = rooms.pop(); socket.join(rooms); socket.data.joined = rooms.length; ack(); });
		});
		return url`, r.URL())
}

// heard waits until the Node server reads the stream: it begins with what is new when it has
// connected.
func (p *peer) heard(from *member) {
	p.t.Helper()
	p.do("servers.io.on('connection', () => {})")
	p.do("servers.heard = false; const a = servers.io.of('/').adapter; const f = a.onRawMessage; a.onRawMessage = function (...args) { servers.heard = true; return f.apply(this, args); }")
	eventually.True(p.t, "Node reads the stream", func() bool {
		_ = from.To("nobody").Emit("probe")
		return p.do("return servers.heard") == "true"
	})
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// The ways in which a client's connection may end, and what stands for its node then.
func TestAClientIsRecoveredAtAnotherNode(t *testing.T) {
	for name, way := range map[string]func(*testing.T, *gate, *member){
		"its node stops":         func(t *testing.T, _ *gate, a *member) { a.stop(t) },
		"its connection is lost": func(_ *testing.T, g *gate, _ *member) { g.cut(true) },
		"its node is not told":   func(_ *testing.T, g *gate, _ *member) { g.cut(false) },
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the other just started %v", name, late), func(t *testing.T) {
				r := redistest.Start(t)
				p := newPeer(t)
				p.official(r)
				a := newMember(t, r, nil)
				p.heard(a)
				var b *member
				if !late {
					b = newMember(t, r, nil)
				}
				c := newMember(t, r, nil)
				g := newGate(t, a.addr)
				id := p.client("c", g)
				p.do("await clients.c.socket.emitWithAck('join', 'x', 'y')")
				_ = c.To("x").Emit("news", 0)
				_ = c.To("x").Emit("other")
				p.do("return next('c', 'other')")
				_ = a.To("y").Emit("news", 1)
				_ = a.To("x", "y").Emit("other")
				p.do("return next('c', 'other')")
				g.lead("")
				way(t, g, a)
				p.do("while (clients.c.socket.connected) await new Promise((r) => setTimeout(r, 5))")
				_ = c.To("x").Emit("news", 2)
				_ = c.To("z").Emit("news", 99)
				_ = c.To("x", "y", id).Emit("news", 3)
				_ = c.To("x").Except(id).Emit("news", 99)
				_ = c.To("x").Except("y").Emit("news", 99)
				_ = c.Emit("news", 4)
				_ = c.Volatile().Emit("news", 99)
				_ = c.To(id).Emit("news", 5, []byte{1, 2})
				eventually.True(t, "they are in the stream", func() bool {
					n, err := c.redis.XLen(t.Context(), "socket.io").Result()
					return err == nil && n >= 10
				})
				p.do("servers.heard = false; servers.io.to('y').emit('news', 6); servers.io.to('z').emit('news', 99); servers.io.to('x').emit('news', 7)")
				if late {
					b = newMember(t, r, nil)
				}
				eventually.True(t, "all is in the stream", func() bool {
					n, err := c.redis.XRevRangeN(t.Context(), "socket.io", "+", "-", 1).Result()
					return err == nil && strings.Contains(fmt.Sprint(n[0].Values["data"]), `"news",7`)
				})
				g.lead(b.addr)
				again, recovered := p.back("c", 2)
				if again != id || !recovered {
					t.Errorf("came back as %s, was %s; recovered: %v", again, id, recovered)
				}
				if got := p.news("c", func() { _ = c.To("y").Emit("mark") }); !slices.Equal(got, upTo(8)) {
					t.Errorf("got %v", got)
				}
				s := b.Socket(id)
				if s == nil {
					t.Fatal("the socket is not there")
				}
				rooms := s.Rooms()
				slices.Sort(rooms[1:])
				if data, _ := s.Data().(json.RawMessage); string(data) != `{"joined":2}` || !slices.Equal(rooms, []string{id, "x", "y"}) {
					t.Errorf("data %s, rooms %v", data, rooms)
				}
			})
		}
	}
}
