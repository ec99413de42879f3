package redisadapter_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
)

// mirror has nodes emit the same events by themselves, each at its own time, as nodes do that hear
// from the same source.
type mirror struct {
	mu    sync.Mutex
	last  uint64 // the mark of the last event
	nodes map[*member]uint64
}

// join has a node emit from now on.
func (s *mirror) join(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = make(map[*member]uint64)
	}
	m.Reached(socketio.Mark{Term: 1, N: s.last})
	s.nodes[m] = s.last
}

func (s *mirror) quit(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nodes, m)
}

// next adds an event, which every node emits by and by.
func (s *mirror) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return s.last
}

func (s *mirror) now() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// emit has a node catch up.
func (s *mirror) emit(m *member, rooms int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, there := s.nodes[m]
	if !there {
		return
	}
	for ; at < s.last; at++ {
		mark := socketio.Mark{Term: 1, N: at + 1}
		_ = m.To(fmt.Sprint("room", int(at+1)%rooms)).Mirrored(mark).Emit("row", at+1)
	}
	s.nodes[m] = at
}

// Some hundred clients, events from all sides, and nodes that are replaced one after the other:
// each client gets every event of its room once, in order.
func TestClientsMoveWhileEventsKeepComing(t *testing.T) {
	const clients, rooms, rounds = 200, 20, 3
	r := redistest.Start(t)
	p := newPeer(t)
	p.official(r)
	members := []*member{newMember(t, r, nil), newMember(t, r, nil)}
	p.heard(members[0])
	var rows mirror
	for _, m := range members {
		rows.join(m)
	}
	g := newGate(t, members[0].addr)
	p.do(`globalThis.all = [];
		for (let i = 0; i < %d; i++) {
			const name = 'c' + i;
			await connect(name, %q, { reconnectionDelay: 50, reconnectionDelayMax: 300 });
			const c = clients[name];
			c.room = 'room' + (i %% %d);
			c.seen = { a: [], b: [], node: [], row: [] };
			c.news = 0;
			c.socket.onAny((event, n) => c.seen[event]?.push(n));
			c.socket.on('connect', () => { if (!c.socket.recovered) c.news++; });
			await c.socket.emitWithAck('join', c.room);
			all.push(c);
		}`, clients, g.url(), rooms)

	var mu sync.Mutex // guards members while they are replaced
	at := func(i int) *member {
		mu.Lock()
		defer mu.Unlock()
		return members[i]
	}
	stop := make(chan struct{})
	var talking sync.WaitGroup
	sent := [2]int{}
	rowsSent := 0
	talking.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			// Node 1 speaks all the time; node 0 is told by whoever is in its place.
			_ = at(1).To(fmt.Sprint("room", n%rooms)).Emit("b", n)
			sent[1] = n
			rows.next()
			rowsSent = n
			rows.emit(at(1), rooms)
			if n%3 == 0 {
				rows.emit(at(0), rooms)
			}
		}
	})
	p.do("globalThis.spoken = 0; globalThis.talk = setInterval(() => { spoken++; servers.io.to('room' + spoken %% %d).emit('node', spoken); }, 3)", rooms)

	third := newMember(t, r, nil)
	rows.join(third)
	for i := range rounds {
		// What clients have got is later than what the new node began with.
		began := rows.now()
		eventually.True(t, "everybody has got something since", func() bool { return rows.now() > began+10*rooms })
		old := at(0)
		mu.Lock()
		members[0] = third
		mu.Unlock()
		g.lead(third.addr)
		rows.emit(old, rooms) // as far as the new one began, at least
		rows.quit(old)
		switch i % 2 {
		case 0:
			old.stop(t)
		case 1:
			g.cut(true)
			eventually.True(t, "all have left", func() bool { return old.SocketsCount() == 0 })
			old.end()
		}
		third = newMember(t, r, nil)
		rows.join(third)
		eventually.True(t, "all are back", func() bool { return at(0).SocketsCount() == clients })
	}
	close(stop)
	talking.Wait()
	p.do("clearInterval(talk)")
	rows.emit(at(0), rooms)
	spoken := p.do("return spoken")
	var nodeSent int
	if err := json.Unmarshal([]byte(spoken), &nodeSent); err != nil {
		t.Fatal(err)
	}
	report := fmt.Sprintf(`
		const due = { b: %d, node: %d, row: %d };
		let lost = 0, twice = 0, disorder = 0, news = 0, total = 0; // lost: to those who were always recovered
		all.forEach((c, i) => {
			news += c.news;
			for (const [kind, n] of Object.entries(due)) {
				const seen = c.seen[kind];
				total += seen.length;
				twice += seen.length - new Set(seen).size;
				for (let k = 1; k < seen.length; k++) if (seen[k] < seen[k - 1]) disorder++;
				const set = new Set(seen);
				for (let k = 1; k <= n; k++) if (k %% %d === i %% %[4]d && !c.news && !set.has(k)) lost++;
			}
		});
		return { lost, twice, disorder, news, total };`, sent[1], nodeSent, rowsSent, rooms)
	var got struct{ Lost, Twice, Disorder, News, Total int }
	eventually.True(t, "everything has arrived", func() bool {
		if err := json.Unmarshal([]byte(p.do("%s", report)), &got); err != nil {
			t.Fatal(err)
		}
		return got.Lost == 0
	})
	t.Logf("%+v of %d, %d and %d events", got, sent[1], nodeSent, rowsSent)
	// A node that is too slow for a client refuses it: on a machine that is busy with other things a
	// few may be.
	if got.Twice != 0 || got.Disorder != 0 || got.News > clients*rounds/20 {
		t.Errorf("%+v", got)
	}
}
