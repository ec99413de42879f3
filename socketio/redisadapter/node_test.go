package redisadapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// silent keeps the Redis client's own lines out of the tests' output: that it can't connect is what
// some of them are about.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// odd is a room whose name would be misread by whoever takes it for a pattern or splits it.
const odd = "room [a-z]* #1 ü"

// pair is a server of ours and one of Node's in one cluster, with a client on each: g on ours and n
// on Node's, both in odd.
type pair struct {
	*peer
	kind  string
	redis *redistest.Server // where it is one
	dial  func() redis.UniversalClient
	io    *socketio.Server
	g, n  string // the ids of the sockets
	urls  map[string]string
}

func newPair(t *testing.T, kind string, o redisadapter.Options) *pair {
	p := &pair{peer: newPeer(t), kind: kind}
	address := ""
	if kind == "cluster" {
		cluster := redistest.StartCluster(t, 3)
		p.dial = func() redis.UniversalClient { return cluster.Client() }
		address = urls(cluster)
	} else {
		p.redis = redistest.Start(t)
		p.dial = func() redis.UniversalClient { return p.redis.Client() }
		address = fmt.Sprintf("%q", p.redis.URL())
	}
	io, a, url := server(t, p.dial(), o)
	p.io = io
	nodeURL := p.text(`
		const url = await serve(%q, %s);
		servers.io = servers[%[1]q];
		for (const nsp of [servers.io, servers.io.of('/chat')]) {
			nsp.on('connection', (socket) => {
				socket.data.who = 'node';
				socket.on('join', (room, ack) => { socket.join(room); ack(); });
			});
		}
		return url`, kind, address)
	p.urls = map[string]string{"g": url, "n": nodeURL}
	for client, id := range map[string]*string{"g": &p.g, "n": &p.n} {
		*id = p.text("return connect(%q, %q)", client, p.urls[client])
		p.join(client, odd)
	}
	eventually.True(t, "two servers", func() bool {
		count, err := io.ServerCount(t.Context())
		return err == nil && count == 2 && a.Stats().Up && p.do("return servers.io.of('/').adapter.serverCount()") == "2"
	})
	p.listening(odd)
	return p
}

// join has a client join a room.
func (p *pair) join(client, room string) {
	p.t.Helper()
	p.do("await clients[%q].socket.emitWithAck('join', %q)", client, room)
}

// listening waits until both servers are subscribed to a room, where rooms have channels, or read
// the stream.
func (p *pair) listening(room string) {
	p.t.Helper()
	if p.kind == "streams" {
		p.reading("n")
		return
	}
	if p.kind != "sharded" && p.kind != "cluster" {
		return
	}
	client := p.dial()
	defer func() { _ = client.Close() }()
	channel := "socket.io#/#" + room + "#"
	eventually.True(p.t, "both listen to "+channel, func() bool { return listeners(p.t, client, channel) == 2 })
}

// listeners counts who listens to a sharded channel.
func listeners(t *testing.T, client redis.UniversalClient, channel string) int64 {
	var master redis.Cmdable = client
	if cluster, ok := client.(*redis.ClusterClient); ok {
		var err error
		if master, err = cluster.MasterForKey(t.Context(), channel); err != nil {
			return 0
		}
	}
	return master.PubSubShardNumSub(t.Context(), channel).Val()[channel]
}

// urls are the addresses of a cluster, in JavaScript.
func urls(c *redistest.Cluster) string {
	var list []string
	for _, s := range c.Servers {
		list = append(list, s.URL())
	}
	text, _ := json.Marshal(list) // of strings
	return string(text)
}

// reading waits until the Node server reads the stream, which it does from whatever moment it has
// connected. Its client is named.
func (p *pair) reading(client string) {
	p.t.Helper()
	eventually.True(p.t, "Node reads the stream", func() bool {
		_ = p.io.To(p.n).Emit("probe")
		return p.do("return clients[%q].events.some(({ event }) => event === 'probe')", client) == "true"
	})
	_ = p.io.To(p.n).Emit("probed")
	p.expect(client, "probed", "[]")
	p.do("clients[%q].events.length = 0", client)
}

// modes are the ways in which both can be set up, by the name that the peer has for them.
var modes = map[string]redisadapter.Options{
	"pubsub":  {},
	"sharded": {Mode: redisadapter.Sharded},
	"static":  {Mode: redisadapter.Sharded, Static: true},
	"streams": {Mode: redisadapter.Streams},
	"cluster": {Mode: redisadapter.Sharded}, // a Redis Cluster
}

func eachMode(t *testing.T, f func(*testing.T, *pair)) {
	for kind, o := range modes {
		t.Run(kind, func(t *testing.T) { f(t, newPair(t, kind, o)) })
	}
}

func TestEventsCrossBetweenOursAndNode(t *testing.T) {
	eachMode(t, func(t *testing.T, p *pair) {
		big := strings.Repeat("long ", 20_000)
		nested := map[string]any{"b": []byte{1, 2}, "list": []any{[]byte{}, "x"}, "n": -1.5, "none": nil, "big": 1 << 40}
		if err := p.io.Emit("all", nested, big); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`[{"b":{"bytes":[1,2]},"big":1099511627776,"list":[{"bytes":[]},"x"],"n":-1.5,"none":null},%q]`, big)
		p.expect("g", "all", want)
		p.expect("n", "all", want)
		p.do(`servers.io.emit('all', {b: Buffer.from([1,2]), big: 2**40, list: [Buffer.alloc(0), 'x'], n: -1.5, none: undefined}, %q)`, big)
		void := strings.Replace(want, `,"none":null`, "", 1)
		p.expect("n", "all", void)
		if p.kind == "streams" { // whose MessagePack has null for undefined
			void = want
		}
		p.expect("g", "all", void)

		for _, send := range []func(event string){
			func(e string) { _ = p.io.To(odd).Emit(e, e) },
			func(e string) { _ = p.io.To(odd, p.g, p.n).Emit(e, e) }, // once all the same
			func(e string) { _ = p.io.To(odd).Volatile().Emit(e, e) },
			func(e string) { p.do("servers.io.to(%q).emit(%q, %[2]q)", odd, e) },
			func(e string) { p.do("servers.io.to([%q, %q, %q]).emit(%q, %[4]q)", odd, p.g, p.n, e) },
			func(e string) { p.do("servers.io.to(%q).volatile.emit(%q, %[2]q)", odd, e) },
		} {
			send("room")
			p.expect("g", "room", `["room"]`)
			p.expect("n", "room", `["room"]`)
		}
		_ = p.io.To(p.n).Emit("private", 1)
		p.expect("n", "private", "[1]")
		p.do("servers.io.to(%q).emit('private', 2)", p.g)
		p.expect("g", "private", "[2]")
		_ = p.io.To(odd).Except(p.g).Emit("except", 1)
		p.expect("n", "except", "[1]")
		p.do("servers.io.except(%q).emit('except', 2)", p.n)
		p.expect("g", "except", "[2]")
		_ = p.io.Local().Emit("local", 1)
		p.do("servers.io.local.emit('local', 2)")
		p.expect("g", "local", "[1]")
		p.expect("n", "local", "[2]")

		p.do("await connect('gc', %q); await connect('nc', %q)", p.urls["g"]+"/chat", p.urls["n"]+"/chat")
		_ = p.io.Of("/chat").Emit("chat", 1)
		p.expect("gc", "chat", "[1]")
		p.expect("nc", "chat", "[1]")
		p.do("servers.io.of('/chat').emit('chat', 2)")
		p.expect("gc", "chat", "[2]")
		p.expect("nc", "chat", "[2]")

		// Everything else that was sent came before these.
		_ = p.io.Emit("end")
		p.do("servers.io.emit('end')")
		for _, client := range []string{"g", "n", "g", "n"} {
			p.expect(client, "end", "[]")
		}
		if left := p.do("return Object.values(clients).map(({events}) => events)"); left != "[[],[],[],[]]" {
			t.Errorf("came besides: %s", left)
		}
	})
}

func TestSocketsAreFetchedFromOursAndNode(t *testing.T) {
	eachMode(t, func(t *testing.T, p *pair) {
		got, err := p.io.To(odd).Fetch(t.Context())
		if err != nil || len(got) != 2 {
			t.Fatalf("got %+v, %v", got, err)
		}
		i := slices.IndexFunc(got, func(s socketio.RemoteSocket) bool { return s.ID == p.n })
		if i < 0 || string(got[i].Data) != `{"who":"node"}` || !slices.Contains(got[i].Rooms, odd) {
			t.Errorf("got %+v", got)
		}
		var seen []struct {
			ID        string
			Data      struct{ Who string }
			Rooms     []string
			Handshake struct {
				Address, URL string
				Issued       int64
				Headers      map[string]string
			}
		}
		if err := json.Unmarshal([]byte(p.do(`return (await servers.io.in(%q).except(%q).fetchSockets())
			.map(({id, data, rooms, handshake}) => ({id, data, rooms: [...rooms], handshake}))`, odd, p.n)), &seen); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 1 || seen[0].ID != p.g || seen[0].Data.Who != "go" || !slices.Contains(seen[0].Rooms, odd) ||
			seen[0].Handshake.Address != "127.0.0.1" || seen[0].Handshake.Issued == 0 || seen[0].Handshake.Headers["host"] == "" {
			t.Errorf("Node got %+v", seen)
		}
		if got, err = p.io.To("nobody").Fetch(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("of nobody got %+v, %v", got, err)
		}
	})
}

func TestSocketsAreMovedAndSentAwayByTheOther(t *testing.T) {
	eachMode(t, func(t *testing.T, p *pair) {
		_ = p.io.To(p.n).Join("new", "newer")
		p.do("servers.io.in(%q).socketsJoin(['new', 'newer'])", p.g)
		both := func(want int) {
			t.Helper()
			eventually.True(t, fmt.Sprintf("%d in the room, seen by both", want), func() bool {
				ours, err := p.io.To("newer").Fetch(t.Context())
				return err == nil && len(ours) == want && p.do("return (await servers.io.in('newer').fetchSockets()).length") == fmt.Sprint(want)
			})
		}
		both(2)
		_ = p.io.To(p.n).Leave("newer")
		both(1)
		p.do("servers.io.in(%q).socketsLeave('newer')", p.g)
		both(0)

		p.do("for (const c of Object.values(clients)) c.gone = new Promise((r) => c.socket.once('disconnect', r))")
		_ = p.io.To(p.n).Disconnect(false)
		p.do("servers.io.in(%q).disconnectSockets(true)", p.g)
		for _, client := range []string{"g", "n"} {
			if reason := p.text("return clients[%q].gone", client); reason != "io server disconnect" {
				t.Errorf("%s left by %q", client, reason)
			}
		}
	})
}

func TestServersSpeakToEachOther(t *testing.T) {
	eachMode(t, func(t *testing.T, p *pair) {
		heard := make(chan string, 1)
		p.io.OnServerSide("hello", func(e *socketio.Event) { heard <- string(e.Args[0]) })
		p.io.OnServerSide("ask", func(e *socketio.Event) { e.Ack(map[string]any{"from": "go", "to": e.Args[0]}) })
		p.do(`servers.io.on('hello', (name) => (servers.heard = name));
			servers.io.on('ask', (what, ack) => ack({ from: 'node', what }))`)
		p.do("servers.io.serverSideEmit('hello', 'neighbour')")
		select {
		case s := <-heard:
			if s != `"neighbour"` {
				t.Errorf("heard %s", s)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("heard nothing")
		}
		_ = p.io.ServerSideEmit("hello", "you too")
		eventually.True(t, "Node heard", func() bool { return p.do("return servers.heard ?? null") == `"you too"` })

		replies, err := p.io.ServerSideEmitWithAck(t.Context(), "ask", "time")
		if err != nil || len(replies) != 1 || string(replies[0].Args[0]) != `{"from":"node","what":"time"}` {
			t.Errorf("got %+v, %v", replies, err)
		}
		if got := p.do("return servers.io.serverSideEmitWithAck('ask', 'weather')"); got != `[{"from":"go","to":"weather"}]` {
			t.Errorf("Node got %s", got)
		}
	})
}

func TestClientsOfBothAcknowledge(t *testing.T) {
	eachMode(t, func(t *testing.T, p *pair) {
		p.do("for (const [name, { socket }] of Object.entries(clients)) socket.on('vote', (what, ack) => ack(name + what))")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		responses, err := p.io.To(odd).EmitWithAck(ctx, "vote", "!")
		var votes []string
		for _, r := range responses {
			votes = append(votes, string(r.Args[0]))
		}
		slices.Sort(votes)
		if err != nil || !slices.Equal(votes, []string{`"g!"`, `"n!"`}) {
			t.Errorf("got %s, %v", votes, err)
		}
		if got := p.do("return (await servers.io.in(%q).timeout(20000).emitWithAck('vote', '?')).sort()", odd); got != `["g?","n?"]` {
			t.Errorf("Node got %s", got)
		}
		if responses, err := p.io.To("nobody").EmitWithAck(ctx, "vote", "!"); err != nil || len(responses) != 0 {
			t.Errorf("of nobody got %+v, %v", responses, err)
		}
	})
}

func TestTheEmitterReachesBoth(t *testing.T) {
	p := newPair(t, "pubsub", redisadapter.Options{})
	p.do("servers.emitter = await emitter(%q)", p.redis.URL())
	p.do("await connect('gc', %q)", p.urls["g"]+"/chat")
	heard := make(chan string, 1)
	p.io.OnServerSide("hello", func(e *socketio.Event) { heard <- string(e.Args[0]) })
	for _, c := range []struct{ code, client, args string }{
		{"emit('e', 1, {b: Buffer.from([7])})", "g", `[1,{"b":{"bytes":[7]}}]`},
		{fmt.Sprintf("to(%q).emit('e', new Date(1700000000000))", odd), "g", `["2023-11-14T22:13:20.000Z"]`},
		{fmt.Sprintf("to([%q, %q, 42]).emit('e', 3)", odd, p.g), "g", "[3]"},
		{fmt.Sprintf("in(%q).except(%q).emit('e', 4)", odd, p.n), "g", "[4]"},
		{"volatile.compress(true).emit('e', 5)", "g", "[5]"},
		{"of('/chat').emit('e', 6)", "gc", "[6]"},
	} {
		p.do("servers.emitter.%s", c.code)
		p.expect(c.client, "e", c.args)
	}
	p.do("servers.emitter.in(%q).socketsJoin(['made', '7'])", p.g)
	p.do("servers.emitter.to(7).emit('e', 'numeric')")
	p.expect("g", "e", `["numeric"]`)
	p.do("servers.emitter.to(%q).socketsLeave('made')", p.g)
	p.do("servers.emitter.to('made').emit('e', 'left'); servers.emitter.except(%q).emit('e', 'marker')", p.n)
	p.expect("g", "e", `["marker"]`)
	p.do("servers.emitter.serverSideEmit('hello', 'from outside')")
	select {
	case s := <-heard:
		if s != `"from outside"` {
			t.Errorf("heard %s", s)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("heard nothing")
	}
	p.do("clients.g.gone = new Promise((r) => clients.g.socket.once('disconnect', r))")
	p.do("servers.emitter.in(%q).disconnectSockets(true)", odd)
	p.do("return clients.g.gone")
}
