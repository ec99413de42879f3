package redisadapter_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	goleak.VerifyTestMain(m)
}

// peer is a Node process with the official packages, which does what it is told in JavaScript; see
// testdata/node/cluster-peer.mjs.
type peer struct {
	t      *testing.T
	in     *json.Encoder
	out    *bufio.Scanner
	serial int
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	folder, err := filepath.Abs("../../testdata/node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules/@socket.io/redis-adapter")); err != nil {
		t.Fatalf("missing: npm packages of testdata/node; scripts/prepare node installs them (%v)", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "cluster-peer.mjs")
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("missing: Node 20 or later (%v)", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	p := &peer{t: t, in: json.NewEncoder(in), out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<24)
	return p
}

// try runs JavaScript and gives its value as JSON.
func (p *peer) try(format string, args ...any) (string, error) {
	p.serial++
	if err := p.in.Encode(map[string]any{"id": p.serial, "code": fmt.Sprintf(format, args...)}); err != nil {
		return "", err
	}
	var a struct {
		ID    int
		Value json.RawMessage
		Error string
	}
	if !p.out.Scan() {
		return "", fmt.Errorf("the Node process has ended: %w", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return "", err
	}
	if a.Error != "" {
		return "", fmt.Errorf("%s", a.Error)
	}
	return string(a.Value), nil
}

// do is try that must succeed.
func (p *peer) do(format string, args ...any) string {
	p.t.Helper()
	v, err := p.try(format, args...)
	if err != nil {
		p.t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return v
}

// text is do for a value that is a string.
func (p *peer) text(format string, args ...any) string {
	p.t.Helper()
	var s string
	if err := json.Unmarshal([]byte(p.do(format, args...)), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// expect has a client wait for an event with these arguments.
func (p *peer) expect(client, event, args string) {
	p.t.Helper()
	if got := p.do("return next(%q, %q)", client, event); got != args {
		p.t.Errorf("%s got %s of %s, want %s", client, got, event, args)
	}
}

// server starts a server with an adapter, on which sockets join what they ask to, and gives its
// URL. It closes the client.
func server(t *testing.T, client redis.UniversalClient, o redisadapter.Options) (*socketio.Server, *redisadapter.Adapter, string) {
	t.Helper()
	a, err := redisadapter.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	io, err := socketio.Open(socketio.Options{Adapter: a})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*socketio.Namespace{io.Namespace, io.Of("/chat")} {
		n.OnConnection(func(s *socketio.Socket) { s.SetData(map[string]string{"who": "go"}) })
		n.On("join", func(e *socketio.Event) {
			var room string
			if e.Decode(0, &room) == nil {
				e.Socket.Join(room)
			}
			e.Ack()
		})
	}
	h := httptest.NewServer(io)
	t.Cleanup(func() {
		io.Close()
		h.Close()
		_ = client.Close()
	})
	return io, a, h.URL
}
