package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// bus connects adapters within a process, by way of JSON as a real one would.
type bus struct {
	mu    sync.Mutex
	nodes []*busNode
	mute  bool // nothing arrives
}

type busNode struct {
	bus  *bus
	host socketio.Host
}

func (b *bus) node() *busNode {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := &busNode{bus: b}
	b.nodes = append(b.nodes, n)
	return n
}

func (n *busNode) Start(h socketio.Host) error { n.host = h; return nil }
func (n *busNode) Open(string)                 {}
func (n *busNode) Shut(string)                 {}
func (n *busNode) Close() error                { return nil }
func (n *busNode) Nodes(context.Context, string) (int, error) {
	return len(n.bus.nodes) - 1, nil
}
func (n *busNode) Publish(m *socketio.NodeMessage) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	n.bus.mu.Lock()
	others, mute := slices.Clone(n.bus.nodes), n.bus.mute
	n.bus.mu.Unlock()
	for _, o := range others {
		if o == n || mute {
			continue
		}
		var copied socketio.NodeMessage
		if err := json.Unmarshal(text, &copied); err != nil {
			return err
		}
		o.host.Deliver(&copied)
	}
	return nil
}

func TestNodesActAsOne(t *testing.T) {
	var b bus
	var ios [2]*socketio.Server
	var clients [2]*client
	var ids [2]string
	for i := range ios {
		var url string
		ios[i], url = serve(t, socketio.Options{Adapter: b.node()})
		ios[i].OnConnection(func(s *socketio.Socket) {
			s.SetData(map[string]int{"node": i})
			s.Join("all")
		})
		clients[i], ids[i], _ = connect(t, url, "")
		syncable(ios[i])
		clients[i].sync()
	}
	if err := ios[0].To("all").Emit("news", 1, map[string]any{"b": []byte{5}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.expect(`451-["news",1,{"b":{"_placeholder":true,"num":0}}]`, "\x05")
	}
	_ = ios[0].To("all").Local().Emit("local")
	clients[0].expect(`42["local"]`)
	if err := ios[0].To(ids[1]).Join("chosen"); err != nil {
		t.Fatal(err)
	}
	_ = ios[0].To("chosen").Emit("chosen")
	clients[1].expect(`42["chosen"]`)
	got, err := ios[0].To("all").Fetch(t.Context())
	if err != nil || len(got) != 2 || got[1].ID != ids[1] || string(got[1].Data) != `{"node":1}` || !slices.Contains(got[1].Rooms, "chosen") {
		t.Errorf("fetched %+v, %v", got, err)
	}
	heard := make(chan string, 1)
	ios[1].OnServerSide("hello", func(e *socketio.Event) { heard <- string(e.Args[0]) })
	if err := ios[0].ServerSideEmit("hello", "neighbour"); err != nil {
		t.Fatal(err)
	}
	if s := receive(t, "server-side event", heard); s != `"neighbour"` {
		t.Errorf("heard %s", s)
	}
	_ = ios[0].To(ids[1]).Leave("chosen")
	_ = ios[0].To("chosen").Emit("chosen")
	_ = ios[0].To(ids[1]).Disconnect(true)
	clients[1].expect("41")

	b.mu.Lock()
	b.mute = true
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got, err = ios[0].To("all").Fetch(ctx); !errors.Is(err, socketio.ErrIncomplete) || len(got) != 1 {
		t.Errorf("with a silent node: %+v, %v", got, err)
	}
}

func TestBroadcastCollectsAcks(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	syncable(io)
	var clients [3]*client
	for i := range clients {
		clients[i], _, _ = connect(t, url, "")
		clients[i].sync()
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	ask := func(ctx context.Context) {
		rs, err := io.To().EmitWithAck(ctx, "vote", "?")
		for _, r := range rs {
			if string(r.Args[0]) != `"yes"` {
				t.Errorf("got %s", r.Args)
			}
		}
		done <- result{len(rs), err}
	}
	go ask(t.Context())
	for _, c := range clients {
		c.expect(`420["vote","?"]`)
		c.send(`430["yes"]`)
	}
	if r := receive(t, "votes", done); r.n != 3 || r.err != nil {
		t.Errorf("got %+v", r)
	}
	go ask(t.Context())
	for i, c := range clients {
		c.expect(`421["vote","?"]`)
		if i > 0 {
			c.send(`431["yes"]`)
		}
	}
	_ = clients[0].ws.Close()
	if r := receive(t, "votes of those who stay", done); r.n != 2 || !errors.Is(r.err, socketio.ErrDisconnected) {
		t.Errorf("got %+v", r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	ask(ctx)
	if r := receive(t, "timeout", done); r.n != 0 || !errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("got %+v", r)
	}
}

func TestNamespacesComeWithTheirClientsAndGo(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	tenants := io.OfRegexp(regexp.MustCompile(`^/tenant-\d+$`))
	tenants.Use(func(s *socketio.Socket) error {
		if s.Namespace().Name() == "/tenant-13" {
			return errors.New("unlucky")
		}
		return nil
	})
	tenants.On("whoami", func(e *socketio.Event) { e.Ack(e.Socket.Namespace().Name()) })
	io.OfFunc(func(name string, auth json.RawMessage) bool { return name == "/vip" && string(auth) == `{"vip":true}` })
	c := dial(t, url, "40/tenant-1,", "40/tenant-2,", "40/tenant-13,", "40/tenant-x,", `40/vip,{"vip":false}`, `40/vip,{"vip":true}`)
	var answers []string
	for range 6 {
		m, _, _ := strings.Cut(c.read(), ",")
		answers = append(answers, m)
	}
	if want := []string{"40/tenant-1", "40/tenant-2", "44/tenant-13", "44/tenant-x", "44/vip", "40/vip"}; !slices.Equal(answers, want) {
		t.Fatalf("got %q, want %q", answers, want)
	}
	c.send(`42/tenant-2,7["whoami"]`)
	c.expect(`43/tenant-2,7["/tenant-2"]`)
	_ = tenants.Emit("to all tenants")
	both := []string{c.read(), c.read()}
	slices.Sort(both)
	if want := []string{`42/tenant-1,["to all tenants"]`, `42/tenant-2,["to all tenants"]`}; !slices.Equal(both, want) {
		t.Errorf("got %q", both)
	}
	c.send("41/tenant-1,")
	c.send("40/tenant-1,") // it comes again
	if m := c.read(); !strings.HasPrefix(m, "40/tenant-1,") {
		t.Errorf("got %s", m)
	}
}

func TestOutgoingEventsCanBeWatched(t *testing.T) {
	io, url := serve(t, socketio.Options{})
	var seen record[string]
	io.OnConnection(func(s *socketio.Socket) {
		s.OnAnyOutgoing(func(event string, args []any) { seen.add(event) })
		_ = s.Emit("direct", 1)
	})
	syncable(io)
	c, _, _ := connect(t, url, "")
	c.expect(`42["direct",1]`)
	c.sync()
	_ = io.Emit("to all")
	c.expect(`42["to all"]`)
	if got := seen.all(); !slices.Equal(got, []string{"direct", "to all"}) {
		t.Errorf("got %q", got)
	}
}

func TestClientLibraryIsServedFromAnInstalledCopy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "socket.io.min.js"), []byte("client()"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, url := serve(t, socketio.Options{ClientBundle: dir})
	base, _, _ := strings.Cut(strings.Replace(url, "ws", "http", 1), "?")
	get := func(name, etag string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", etag)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	defer http.DefaultClient.CloseIdleConnections()
	resp, body := get("socket.io.min.js", "")
	if resp.StatusCode != 200 || body != "client()" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
	if resp, _ = get("socket.io.min.js", resp.Header.Get("ETag")); resp.StatusCode != 304 {
		t.Errorf("with its ETag: %d", resp.StatusCode)
	}
	if resp, _ = get("socket.io.js", ""); resp.StatusCode != 502 {
		t.Errorf("a file that isn't there: %d", resp.StatusCode)
	}
	if resp, _ = get("../secret", ""); resp.StatusCode != 404 {
		t.Errorf("another file: %d", resp.StatusCode)
	}
}
