package cluster_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/socketio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nowhere is the address of a Redis that can't be reached.
const nowhere = "redis://127.0.0.1:1"

var ana, ben = &auth.Identity{UserID: "ana", Name: "Ana"}, &auth.Identity{UserID: "ben", Name: "Ben"}

// node is a node of a cluster, with what happened at others.
type node struct {
	*cluster.Cluster
	t       testing.TB
	io      *socketio.Server
	metrics *prometheus.Registry
	emitter *emit.Emitter
	stop    func() // as a node that is told to stop does; the end of the test calls it too

	mu      sync.Mutex
	lines   []string                  // what happened at other nodes
	online  map[string]string         // status by tenant, socket and user, of sockets at other nodes
	here    map[string]*auth.Identity // who is present, by socket; in tenant t
	panicky bool
	defects []string
}

// options are those of a node in a test.
func options(redis string) cluster.Options {
	return cluster.Options{Redis: redis, Mode: "pubsub", Prefix: "socket.io", StreamLength: 10_000,
		MaxQueue: 1 << 20, MaxWait: 10 * time.Second, Lease: time.Second, Relay: true, Presence: true, Rooms: true,
		RoomsGrace: time.Minute, Log: zerolog.Nop()}
}

// newNode makes a node with a server that is not running yet.
func newNode(t testing.TB, opts cluster.Options) *node {
	t.Helper()
	n := &node{t: t, metrics: prometheus.NewRegistry(), online: make(map[string]string),
		here: make(map[string]*auth.Identity)}
	n.emitter = emit.New(emit.Options{Register: n.metrics})
	opts.Handler, opts.Emitter, opts.Register = handler{n}, n.emitter, n.metrics
	opts.Panicked = func(during string, defect any) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.defects = append(n.defects, fmt.Sprint(during, ": ", defect))
	}
	var err error
	if n.Cluster, err = cluster.New(opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if n.io, err = socketio.Open(socketio.Options{Adapter: n.Adapter(), Kin: cluster.KinRoom}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.io.Close)
	spaces := []*socketio.Namespace{n.io.Of("/")}
	n.emitter.Serve(spaces)
	n.Serve(n.io, spaces)
	return n
}

// start makes a node that runs.
func start(t testing.TB, opts cluster.Options) *node {
	t.Helper()
	n := newNode(t, opts)
	n.stop = running(n.Run)
	t.Cleanup(n.stop)
	return n
}

// pair makes two nodes that know each other.
func pair(t testing.TB, opts cluster.Options) (a, b *node) {
	t.Helper()
	a, b = start(t, opts), start(t, opts)
	eventually.True(t, "the nodes know each other", func() bool { return a.Status().Peers == 1 && b.Status().Peers == 1 })
	return a, b
}

func (n *node) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

// hears waits until something has happened at another node.
func (n *node) hears(line string) {
	n.t.Helper()
	eventually.Nothing(n.t, line, func() string {
		n.mu.Lock()
		defer n.mu.Unlock()
		if slices.Contains(n.lines, line) {
			return ""
		}
		return fmt.Sprintf("it heard %q", n.lines)
	})
}

// present lists who is present at other nodes, with their status.
func (n *node) present() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Values(n.online)))
}

func (n *node) sees(present string) {
	n.t.Helper()
	eventually.Equal(n.t, "who is present at other nodes", present, n.present)
}

// handler is the cluster.Handler of a node, which notes what happens at others.
type handler struct{ *node }

func (n handler) Typing(conversation vocabulary.ID, socket string, who *auth.Identity, on bool) {
	n.mu.Lock()
	panicky := n.panicky
	n.mu.Unlock()
	if panicky {
		panic("a defect")
	}
	n.note("%s types in %s: %t", who.UserID, conversation.JSON, on)
}

func (n handler) Read(conversation vocabulary.ID, who *auth.Identity, messages json.RawMessage) {
	n.note("%s read %s of %s", who.UserID, messages, conversation.JSON)
}

func (n handler) Enter(tenant, socket string, who *auth.Identity, status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.online[tenant+" "+socket] = who.UserID + status
}

func (n handler) Leave(tenant, socket string, who *auth.Identity, why cluster.Reason) {
	n.note("%s left %s: %d", who.UserID, tenant, why)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.online, tenant+" "+socket)
}

func (n handler) Attendances(f func(tenant, socket string, who *auth.Identity, status string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for socket, who := range n.here {
		f("t", socket, who, "")
	}
}

func (n handler) StyleHeard(s vocabulary.Style) { n.note("style %s", s) }

func (n handler) Disconnect(whom publish.Whom) { n.note("disconnect %s", whom.User) }

func (n handler) Reaches(e publish.Event) int { return len(e.Rooms) + 10*len(e.Users) }

func (n handler) Matches(whom publish.Whom) int { return len(whom.User) }
