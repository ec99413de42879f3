package redisadapter_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// away waits until a client knows that its connection is lost.
func (p *peer) away(client string) {
	p.t.Helper()
	p.do("while (clients[%q].socket.connected) await new Promise((r) => setTimeout(r, 5))", client)
}

// settle waits until a node has sent on what was emitted before.
func (m *member) settle(t *testing.T) {
	t.Helper()
	eventually.True(t, "nothing is under way", func() bool { return m.adapter.Stats().Queued == 0 })
}

func TestAClientOfANodeServerIsRecoveredByOursAndTheOtherWayRound(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	node := p.official(r)[len("http://"):]
	a := newMember(t, r, nil)
	p.heard(a)
	g := newGate(t, node)
	id := p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'x')")
	n := 0
	for i := range 4 {
		ours := i%2 == 1 // where the client is
		room := fmt.Sprint("entered", i)
		p.do("await clients.c.socket.emitWithAck('join', %q)", room)
		_ = a.To(room).Emit("news", n)
		_ = a.To("x").Emit("mark")
		p.do("return next('c', 'mark')") // it has an offset
		g.lead("")
		g.cut(true)
		p.away("c")
		_ = a.To("x", room).Emit("news", n+1)
		a.settle(t)
		p.do("servers.io.to('x').emit('news', %d); servers.io.except(%q).emit('news', 99); servers.io.to('y').emit('news', 99)", n+2, id)
		n += 3
		g.lead(map[bool]string{true: node, false: a.addr}[ours])
		again, recovered := p.back("c", i+2)
		if again != id || !recovered {
			t.Errorf("move %d: came back as %s, was %s; recovered %v", i, again, id, recovered)
		}
		if got := p.news("c", func() { _ = a.To("x").Emit("mark") }); !slices.Equal(got, upTo(n)) {
			t.Errorf("move %d: got %v", i, got)
		}
		data := p.do("return servers.io.of('/').sockets.get(%q)?.data ?? null", id)
		if s := a.Socket(id); s != nil {
			text, _ := s.Data().(json.RawMessage)
			data = string(text)
		}
		if data != `{"joined":1}` {
			t.Errorf("move %d: data %s", i, data)
		}
		rooms := p.do("return [...(servers.io.of('/').sockets.get(%q)?.rooms ?? [])].length", id)
		if s := a.Socket(id); s != nil {
			rooms = fmt.Sprint(len(s.Rooms()))
		}
		if rooms != fmt.Sprint(i+3) {
			t.Errorf("move %d: %s rooms", i, rooms)
		}
	}
}

// A node that is killed has saved nothing.
func TestAClientOfAKilledNodeIsANewOne(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	a, b := newMember(t, r, nil), newMember(t, r, nil)
	g := newGate(t, a.addr)
	id := p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'x')")
	_ = b.To("x").Emit("news", 0)
	p.do("return next('c', 'news')")
	g.lead("")
	_ = a.redis.Close() // before it can notice that its client has gone
	g.cut(true)
	a.end()
	_ = b.To("x").Emit("news", 1)
	g.lead(b.addr)
	if again, recovered := p.back("c", 2); again == id || recovered {
		t.Errorf("came back as %s, was %s; recovered %v", again, id, recovered)
	}
}

// What a node sends to its own clients alone counts too: who hasn't got that is not recovered
// elsewhere.
func TestWhatOneNodeAloneHasIsNotLost(t *testing.T) {
	for name, c := range map[string]struct {
		before, after func(*member, string)
		recovered     bool
	}{
		"got":              {before: func(a *member, id string) { _ = a.Socket(id).Emit("news", 1) }, recovered: true},
		"got from a room":  {before: func(a *member, _ string) { _ = a.To("x").Local().Emit("news", 1) }, recovered: true},
		"to it, missed":    {after: func(a *member, id string) { _ = a.To(id).Local().Emit("news", 1) }},
		"to a room":        {after: func(a *member, _ string) { _ = a.To("x").Local().Emit("news", 1) }},
		"to everybody":     {after: func(a *member, _ string) { _ = a.Local().Emit("news", 1) }},
		"to another room":  {after: func(a *member, _ string) { _ = a.To("y").Local().Emit("news", 1) }, recovered: true},
		"to it as a state": {after: func(a *member, id string) { _ = a.To(id).Mirrored(socketio.Mark{}).Emit("news", 1) }, recovered: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := redistest.Start(t)
			p := newPeer(t)
			a, b := newMember(t, r, nil), newMember(t, r, nil)
			g := newGate(t, a.addr)
			id := p.client("c", g)
			p.do("await clients.c.socket.emitWithAck('join', 'x')")
			_ = a.To("x").Emit("mark")
			p.do("return next('c', 'mark')")
			if c.before != nil {
				c.before(a, id)
				p.do("await clients.c.socket.emitWithAck('ping')")
			}
			g.lead("")
			g.cut(true)
			p.away("c")
			eventually.True(t, "it is gone", func() bool { return a.SocketsCount() == 0 })
			if c.after != nil {
				c.after(a, id)
			}
			a.settle(t)
			g.lead(b.addr)
			again, recovered := p.back("c", 2)
			if recovered != c.recovered || recovered != (again == id) {
				t.Errorf("came back as %s, was %s; recovered %v", again, id, recovered)
			}
		})
	}
}

// A client that goes to and fro takes what it has joined along; what it left behind is forgotten.
func TestAClientGoesToAndFro(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	a, b := newMember(t, r, nil), newMember(t, r, nil)
	g := newGate(t, a.addr)
	id := p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'r0')")
	n := 0
	for i := range 6 {
		for room := range i + 1 {
			_ = a.To(fmt.Sprint("r", room)).Emit("news", n)
			n++
		}
		g.lead("")
		if i%3 == 0 { // sometimes with all of it, sometimes not
			_ = a.To("r0").Emit("mark")
			p.do("return next('c', 'mark')")
		}
		g.cut(i%2 == 0)
		p.away("c")
		a.settle(t)
		_ = b.To("r0").Emit("news", n)
		n++
		g.lead([]string{b.addr, a.addr}[i%2])
		if again, recovered := p.back("c", i+2); again != id || !recovered {
			t.Fatalf("move %d: came back as %s, was %s; recovered %v", i, again, id, recovered)
		}
		p.do("await clients.c.socket.emitWithAck('join', 'r%d')", i+1)
		if got := p.news("c", func() { _ = b.To("r0").Emit("mark") }); !slices.Equal(got, upTo(n)) {
			t.Errorf("move %d: got %v", i, got)
		}
	}
	eventually.True(t, "only one node has it", func() bool { return a.SocketsCount()+b.SocketsCount() == 1 })
}

func TestMiddlewareAndTheApplicationDecide(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	var refuse, stranger, veto atomic.Bool
	refuse.Store(true)
	a := newMember(t, r, func(o *socketio.Options, _ *redisadapter.Options) {
		o.Recovery.Export = func(*socketio.Socket) (any, bool) { return nil, !veto.Load() }
	})
	b := newMember(t, r, nil)
	b.Use(func(s *socketio.Socket) error {
		if data, none := s.Data().(json.RawMessage); s.Recovered() && none {
			t.Errorf("data %s", data)
		}
		if stranger.Load() {
			s.DeclineRecovery()
		}
		if refuse.Load() {
			return errors.New("not now")
		}
		return nil
	})
	g := newGate(t, a.addr)
	id := p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'x')")
	move := func(to *member) {
		t.Helper()
		g.lead("")
		g.cut(true)
		p.away("c")
		g.lead(to.addr)
	}
	p.do("clients.c.errors = 0; clients.c.socket.on('connect_error', (e) => { if (e.message === 'not now') { clients.c.errors++; if (clients.c.errors < 3) setTimeout(() => clients.c.socket.connect(), 20); } })")
	move(b)
	eventually.True(t, "it is refused three times", func() bool { return p.do("return clients.c.errors") == "3" })
	refuse.Store(false)
	_ = a.To("x").Emit("news", 0)
	p.do("clients.c.socket.connect()")
	if again, recovered := p.back("c", 2); again != id || !recovered {
		t.Errorf("after refusals: came back as %s, was %s; recovered %v", again, id, recovered)
	}
	if got := p.news("c", func() { _ = a.To("x").Emit("mark") }); !slices.Equal(got, upTo(1)) {
		t.Errorf("after refusals: got %v", got)
	}
	move(a)
	if again, recovered := p.back("c", 3); again != id || !recovered {
		t.Errorf("came back as %s, was %s; recovered %v", again, id, recovered)
	}
	stranger.Store(true)
	move(b)
	again, recovered := p.back("c", 4)
	if again == id || recovered {
		t.Errorf("a stranger came back as %s", again)
	}
	stranger.Store(false)
	move(a)
	if again2, recovered := p.back("c", 5); again2 != again || !recovered {
		t.Errorf("came back as %s, was %s; recovered %v", again2, again, recovered)
	}
	veto.Store(true)
	move(b)
	if again2, recovered := p.back("c", 6); again2 == again || recovered {
		t.Errorf("in spite of the veto came back as %s", again2)
	}
}

// While Redis is away every node serves its own clients, and nobody gets anything twice, then or
// later.
func TestWhatIsSentWhileRedisIsAwayComesOnce(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	long := func(_ *socketio.Options, o *redisadapter.Options) { o.MaxAge = time.Hour }
	a, b := newMember(t, r, long), newMember(t, r, long)
	ga, gb := newGate(t, a.addr), newGate(t, b.addr)
	p.client("a", ga)
	p.client("b", gb)
	for _, c := range []string{"a", "b"} {
		p.do("await clients[%q].socket.emitWithAck('join', 'x')", c)
	}
	_ = a.To("x").Emit("news", 0)
	_ = a.To("x").Emit("mark")
	p.do("await next('a', 'mark'); await next('b', 'mark')")
	r.Kill()
	_ = a.To("x").Emit("news", 1) // noticed or not
	eventually.True(t, "both notice", func() bool { return !a.adapter.Stats().Up && !b.adapter.Stats().Up })
	_ = a.To("x").Emit("news", 2)
	if got := p.news("a", func() { _ = a.To("x").Emit("mark") }); !slices.Equal(got, upTo(3)) {
		t.Errorf("while Redis is away got %v", got)
	}
	r.Run()
	eventually.True(t, "both are back", func() bool { return a.adapter.Stats().Up && b.adapter.Stats().Up })
	p.do("return next('b', 'mark')")
	_ = a.To("x").Emit("news", 3)
	for _, c := range []string{"a", "b"} {
		if got := p.news(c, func() { _ = a.To("x").Emit("mark") }); !slices.Equal(got, upTo(4)) {
			t.Errorf("%s got %v", c, got)
		}
		p.do("return next(%q, 'mark')", map[string]string{"a": "b", "b": "a"}[c])
	}
	// The stream is a new one: what was in the old is lost, and nobody is recovered from before.
	if a.adapter.Stats().Gaps == 0 || b.adapter.Stats().Gaps == 0 {
		t.Errorf("no gap: %+v, %+v", a.adapter.Stats(), b.adapter.Stats())
	}
	// From now on everybody is again.
	ga.lead("")
	ga.cut(true)
	p.away("a")
	_ = b.To("x").Emit("news", 4)
	ga.lead(b.addr)
	if _, recovered := p.back("a", 2); !recovered {
		t.Error("not recovered after Redis came back")
	}
	if got := p.news("a", func() { _ = b.To("x").Emit("mark") }); !slices.Equal(got, upTo(5)) {
		t.Errorf("then got %v", got)
	}
}

// A short loss of the connection costs nothing: reading goes on where it was.
func TestALostConnectionLosesNothingOfTheStream(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	a, b := newMember(t, r, nil), newMember(t, r, nil)
	g := newGate(t, b.addr)
	p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'x')")
	admin := r.Client()
	defer func() { _ = admin.Close() }()
	n := 0
	for ; n < 300; n++ {
		if err := a.To("x").Emit("news", n); err != nil {
			t.Fatal(err)
		}
		if n%100 == 50 {
			_ = admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err()
		}
	}
	eventually.True(t, "b has noticed", func() bool { // not where a connection was killed between two reads
		if b.adapter.Stats().Breaks > 0 {
			return true
		}
		_ = a.To("x").Emit("news", n)
		n++
		_ = admin.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err()
		return false
	})
	eventually.True(t, "both are back", func() bool { return a.adapter.Stats().Up && b.adapter.Stats().Up })
	if got := p.news("c", func() { _ = a.To("x").Emit("mark") }); !slices.Equal(got, upTo(n)) {
		t.Errorf("got %v", got)
	}
	if s := b.adapter.Stats(); s.Gaps != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNobodyIsRecoveredAcrossAGap(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	a, b := newMember(t, r, nil), newMember(t, r, nil)
	ga, gb := newGate(t, a.addr), newGate(t, a.addr)
	first, second := p.client("first", ga), p.client("second", gb)
	for _, c := range []string{"first", "second"} {
		p.do("await clients[%q].socket.emitWithAck('join', 'x')", c)
	}
	_ = a.To("x").Emit("mark")
	p.do("await next('first', 'mark'); await next('second', 'mark')")
	admin := r.Client()
	defer func() { _ = admin.Close() }()
	// Both nodes are held up while the stream runs away from them.
	if _, err := admin.TxPipelined(t.Context(), func(tx redis.Pipeliner) error {
		for i := range 5 {
			tx.XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", Values: []any{"uid", "emitter", "nsp", "/", "type", 3,
				"data", fmt.Sprintf(`{"packet":{"type":2,"data":["news",%d],"nsp":"/"},"opts":{"rooms":["y"],"except":[],"flags":{}}}`, i)}})
		}
		tx.XTrimMaxLen(t.Context(), "socket.io", 2)
		tx.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "both have noticed", func() bool {
		return a.adapter.Stats().Gaps > 0 && b.adapter.Stats().Gaps > 0 && a.adapter.Stats().Up && b.adapter.Stats().Up
	})
	for _, to := range []struct {
		client, id string
		g          *gate
		to         *member
	}{{"first", first, ga, b}, {"second", second, gb, a}} {
		to.g.lead("")
		to.g.cut(true)
		p.away(to.client)
		to.g.lead(to.to.addr)
		if again, recovered := p.back(to.client, 2); again == to.id || recovered {
			t.Errorf("%s was recovered", to.client)
		}
	}
}
