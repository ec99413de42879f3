package redisadapter_test

import (
	"slices"
	"testing"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// two are the nodes of a cluster in which both emit the same by themselves, and a client of the
// first that is in a room and has got what has the mark.
func two(t *testing.T, has socketio.Mark) (p *peer, a, b *member, g *gate, id string) {
	t.Helper()
	r := redistest.Start(t)
	p = newPeer(t)
	a, b = newMember(t, r, nil), newMember(t, r, nil)
	g = newGate(t, a.addr)
	id = p.client("c", g)
	p.do("await clients.c.socket.emitWithAck('join', 'x')")
	a.Reached(socketio.Mark{Term: 1})
	b.Reached(socketio.Mark{Term: 1})
	if has != (socketio.Mark{}) {
		_ = a.To("x").Mirrored(has).Emit("mark")
		p.do("return next('c', 'mark')")
	}
	return p, a, b, g, id
}

// leave has the client lose its connection to the first node.
func leave(t *testing.T, p *peer, a *member, g *gate) {
	t.Helper()
	g.lead("")
	g.cut(true)
	p.away("c")
	eventually.True(t, "it is gone", func() bool { return a.SocketsCount() == 0 })
	a.settle(t)
}

func mark(term, n uint64) socketio.Mark { return socketio.Mark{Term: term, N: n} }

func TestWhatEveryNodeEmitsIsRecoveredAtAnother(t *testing.T) {
	p, a, b, g, id := two(t, mark(1, 1))
	_ = b.To("x").Mirrored(mark(1, 1)).Emit("news", 99)
	for n := range 3 { // this node is ahead of the other, and then that of this
		_ = a.To("x").Mirrored(mark(1, uint64(n+2))).Emit("news", n)
	}
	_ = a.To("y").Mirrored(mark(1, 5)).Emit("news", 99)
	eventually.True(t, "the client has got them", func() bool { return p.do("return clients.c.events.length") == "3" })
	leave(t, p, a, g)
	_ = a.To("x").Mirrored(mark(1, 6)).Emit("news", 3)
	g.lead(b.addr)
	for n := range 3 {
		_ = b.To("x").Mirrored(mark(1, uint64(n+2))).Emit("news", n)
	}
	_ = b.To("x").Mirrored(mark(1, 6)).Emit("news", 3)
	again, recovered := p.back("c", 2)
	if again != id || !recovered {
		t.Fatalf("came back as %s, was %s; recovered %v", again, id, recovered)
	}
	if got := p.news("c", func() { _ = b.To("x").Mirrored(mark(2, 1)).Emit("mark") }); !slices.Equal(got, upTo(4)) {
		t.Errorf("got %v", got)
	}
	// The next time it has got nothing since, and what goes through Redis is among them.
	g.lead("")
	g.cut(true)
	p.away("c")
	_ = a.To("x").Emit("news", 4)
	eventually.True(t, "it is there", func() bool {
		return b.adapter.Stats().Received > 0
	})
	_ = b.To("x").Mirrored(mark(2, 2)).Emit("news", 5)
	_ = a.To("x").Mirrored(mark(2, 2)).Emit("news", 5)
	g.lead(a.addr)
	if _, recovered := p.back("c", 3); !recovered {
		t.Error("not recovered where it began")
	}
	got := p.news("c", func() { _ = a.To("x").Mirrored(mark(2, 3)).Emit("mark") })
	slices.Sort(got) // the nodes may have got 4 and 5 in another order
	if !slices.Equal(got, upTo(6)) {
		t.Errorf("then got %v", got)
	}
}

func TestAMarkThatCannotBeReachedIsNoMark(t *testing.T) {
	for name, c := range map[string]struct {
		other     func(*member)
		recovered bool
	}{
		"reached without an event": {func(m *member) { m.Reached(mark(1, 3)) }, true},
		"further":                  {func(m *member) { m.Reached(mark(1, 7)) }, true},
		"in the next term":         {func(m *member) { m.Reached(mark(1, 3)); m.Reached(mark(2, 0)) }, true},
		"never":                    {func(m *member) { m.Reached(mark(1, 2)) }, false},
		"left out by the next":     {func(m *member) { m.Reached(mark(1, 2)); m.Reached(mark(2, 9)) }, false},
		"of a term never heard of": {func(m *member) { m.Reached(mark(2, 9)); m.Reached(mark(3, 9)) }, false},
		"after a break":            {func(m *member) { m.Break(); m.Reached(mark(1, 4)) }, false},
		"across a break":           {func(m *member) { m.Reached(mark(1, 3)); m.Break(); m.Reached(mark(1, 4)) }, false},
		"before a break":           {func(m *member) { m.Break(); m.Reached(mark(1, 3)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			p, a, b, g, _ := two(t, mark(1, 3))
			leave(t, p, a, g)
			c.other(b)
			g.lead(b.addr)
			if _, recovered := p.back("c", 2); recovered != c.recovered {
				t.Errorf("recovered %v", recovered)
			}
		})
	}
}

// States are told again rather than not at all.
func TestStatesOfTheLastSecondsAreGivenAgain(t *testing.T) {
	p, a, b, g, _ := two(t, mark(1, 1))
	b.Reached(mark(1, 1))
	for _, m := range []*member{a, b} {
		_ = m.To("x").Mirrored(socketio.Mark{}).Emit("news", 0)
		_ = m.To("y").Mirrored(socketio.Mark{}).Emit("news", 99)
		_ = m.To("x").Mirrored(socketio.Mark{}).Volatile().Emit("news", 1)
	}
	eventually.True(t, "the client has got them", func() bool { return p.do("return clients.c.events.length") == "2" })
	leave(t, p, a, g)
	_ = a.To("x").Mirrored(socketio.Mark{}).Emit("news", 2)
	_ = b.To("x").Mirrored(socketio.Mark{}).Emit("news", 2)
	g.lead(b.addr)
	if _, recovered := p.back("c", 2); !recovered {
		t.Error("not recovered")
	}
	if got := p.news("c", func() { _ = b.To("x").Mirrored(socketio.Mark{}).Emit("mark") }); !slices.Equal(got, []int{0, 1, 0, 2}) {
		t.Errorf("got %v", got)
	}
}

// Without a Keeper they are local events.
func TestWithoutStreamsWhatEveryNodeEmitsIsLocal(t *testing.T) {
	r := redistest.Start(t)
	p := newPeer(t)
	io, _, url := server(t, r.Client(), redisadapter.Options{})
	p.do("await connect('c', %q)", url)
	_ = io.Mirrored(mark(1, 1)).Emit("news", 0)
	io.Reached(mark(1, 2))
	io.Break()
	p.expect("c", "news", "[0]")
}
