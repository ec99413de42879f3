// Package cluster joins a bridge to the others of its cluster, by way of Redis.
//
//	c, err := cluster.New(cluster.Options{Redis: url, Lease: 3 * time.Second, Handler: handler, …})
//	server, err := socketio.Open(socketio.Options{Adapter: c.Adapter(), Kin: cluster.KinRoom, …})
//	c.Serve(server, namespaces)
//	go c.Run(ctx)
//	c.Typing(conversation, socket, who, true) // a socket of this node types: calls others' Handler
//
// Each node hears of row changes from Supabase by itself and emits them to its own sockets; or the
// leader alone does, and passes them on to the others (Changes). What comes from a browser (typing,
// presence, having read) one node hears. It sends the others a note, and each emits that to its own
// sockets, in the styles that they hear. Events that the application's server publishes go to the
// rooms of all nodes as they are.
//
// Presence and rooms aren't kept in Redis, where they would have to be cleaned up after nodes that
// died. Each node knows who is present at each other node. A node numbers its notes of presence;
// who misses a number asks for the whole (peers.go; rooms.go likewise). Redis holds only the
// leader's lease (leader.go) and the stream of changes.
//
// A node without Redis is alone: its Cluster does nothing, and so does a nil one.
//
// Run's goroutine renews the lease and expires silent nodes until its context ends. Changes.Run's
// decides which node hears Realtime. Notes arrive on the adapter's goroutine. A mutex guards what
// is known of other nodes; two more keep notes of presence and of rooms in the order of their
// numbers. All methods are safe for concurrent use, except those of Changes, which name their
// goroutine.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// Options of a Cluster. All are required where Redis is set, except Changes.
type Options struct {
	Redis        string        // address of the Redis that all nodes share; empty: this node is alone
	Mode         string        // of the adapter: pubsub, sharded or streams
	Prefix       string        // of the names of channels and keys
	StreamLength int64         // entries that Redis keeps in the mode streams
	MaxQueue     int           // bytes that may wait to be sent to other nodes
	MaxWait      time.Duration // after which they are dropped
	Lease        time.Duration // for which a node may be silent before it counts as dead
	Relay        bool          // the leader sends events to servers that are no bridges too
	Presence     bool          // presence is on at this node
	Rooms        bool          // the application is told which rooms are occupied
	RoomsGrace   time.Duration // for which the rooms of a node that stopped still count; see Update

	Changes *ChangesOptions // nil: each node hears Realtime for itself

	Handler  Handler
	Emitter  *emit.Emitter
	Register prometheus.Registerer
	Log      zerolog.Logger
	// Panicked takes a defect that a note brought to light.
	Panicked func(during string, defect any)
}

// Handler brings about at this node what happens at others, and says what is here. Its methods are
// called on the adapter's goroutine, Enter and Leave on Run's too. They must not wait for clients,
// and Enter and Leave, which are called under the Cluster's mutex, not ask it for other nodes. The
// keys of sockets at other nodes begin with RemoteKey.
type Handler interface {
	// Typing is called when a user at another node types in a conversation (on), or stopped.
	Typing(conversation vocabulary.ID, socket string, who *auth.Identity, on bool)
	// Read is called when a user at another node has read messages; nil stands for all of a
	// conversation.
	Read(conversation vocabulary.ID, who *auth.Identity, messages json.RawMessage)
	// Enter is called when a user is present in a tenant at another node, or is in another way now.
	// The status is empty where the user chose none. Leave ends it.
	Enter(tenant, socket string, who *auth.Identity, status string)
	Leave(tenant, socket string, who *auth.Identity, why Reason)
	// Attendances calls f for each socket of this node that is present in a tenant.
	Attendances(f func(tenant, socket string, who *auth.Identity, status string))
	// StyleHeard is called when sockets at another node hear a style.
	StyleHeard(vocabulary.Style)
	// Disconnect closes connections of this node.
	Disconnect(publish.Whom)
	// Reaches counts the sockets of this node that an event reaches. Matches counts those that
	// Disconnect would close.
	Reaches(publish.Event) int
	Matches(publish.Whom) int
}

// Reason is why a socket is not present any more.
type Reason uint8

// The reasons.
const (
	Lost    Reason = iota // it is gone, and may come back
	Goodbye               // its client said that it goes
	Revoked               // the user may not be in the tenant any more
)

// Cluster is a node's part in its cluster. The zero Cluster and a nil one are those of a node that
// is alone.
type Cluster struct {
	opts    Options // immutable, like the next six
	node    string
	redis   redis.UniversalClient // nil for a node that is alone
	adapter *redisadapter.Adapter
	key     string // of the leader's lease
	joined  latch  // open once other nodes were heard for the first time, or Run has waited long enough for that
	served  latch  // open once Serve or Close was called
	changes *Changes

	io     *socketio.Server // set before served opens, like the next; nil where Serve was never called
	spaces []*socketio.Namespace

	standsIn     atomic.Bool            // nobody can lead, and this node does what a leader would but for the lease
	refusal      atomic.Pointer[string] // why Redis takes no writes; nil while it does
	leadsUntil   atomic.Int64           // in nanoseconds since 1970; 0 while another leads
	foreignUntil atomic.Int64           // until when it counts that servers that are no bridges are there
	term         atomic.Uint64          // of this node's last lead
	roomsGrace   atomic.Int64           // in nanoseconds
	wakeChanges  chan struct{}          // holds one when another node may lead: for Changes.Run
	wakeRun      chan struct{}          // and for Run

	sending sync.Mutex // held while a note of presence is numbered and sent, so that they go out in order
	serial  uint64     // of the last one

	rooms localRooms

	mu           sync.Mutex // guards what is below; taken before that of rooms and before the Handler's
	peers        map[string]*peer
	ledElsewhere time.Time // when another node was last heard to lead
}

// New makes it. It connects to nothing yet.
func New(opts Options) (*Cluster, error) {
	if opts.Redis == "" {
		return new(Cluster), nil
	}
	client, err := redisadapter.Client(opts.Redis)
	if err != nil {
		return nil, fmt.Errorf("cluster.redis: %w", err)
	}
	c := &Cluster{opts: opts, node: uuid.NewString(), redis: client, key: opts.Prefix + ":supabridge:leader",
		joined: newLatch(), served: newLatch(), peers: make(map[string]*peer),
		wakeChanges: make(chan struct{}, 1), wakeRun: make(chan struct{}, 1)}
	c.adapter, err = redisadapter.New(c.redis, redisadapter.Options{
		Mode: redisadapter.Mode(opts.Mode), Prefix: opts.Prefix, MaxQueue: opts.MaxQueue, MaxAge: opts.MaxWait,
		MaxLen: opts.StreamLength, Changed: c.redisChanged,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.redis.Close())
	}
	c.Update(opts.RoomsGrace)
	c.changes = c.newChanges()
	c.register()
	return c, nil
}

// quietRedis drops the client's own log lines: redisChanged and errors report the same.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quietRedis{}) }

func (c *Cluster) alone() bool { return c == nil || c.redis == nil }

// Update sets the one option that may change: for how long the rooms of a node that stopped still
// count.
func (c *Cluster) Update(roomsGrace time.Duration) {
	if !c.alone() {
		c.roomsGrace.Store(int64(roomsGrace))
	}
}

// Adapter is the adapter for the Socket.IO server; nil for a node that is alone.
func (c *Cluster) Adapter() socketio.Adapter {
	if c.alone() {
		return nil
	}
	return c.adapter
}

// Lease is the time after which a silent node counts as dead; zero for a node that is alone.
func (c *Cluster) Lease() time.Duration {
	if c.alone() {
		return 0
	}
	return c.opts.Lease
}

// Serve sets the server whose adapter this is, and its namespaces. It comes before any note is
// sent.
func (c *Cluster) Serve(io *socketio.Server, spaces []*socketio.Namespace) {
	if c.alone() {
		return
	}
	c.io, c.spaces = io, spaces
	io.OnServerSide(noteEvent, c.surviving("note", c.receive))
	io.OnServerSide(countEvent, c.surviving("count", c.answerCount))
	c.served.open()
}

// surviving wraps a handler of what other nodes send, so that a panic ends nothing else.
func (c *Cluster) surviving(during string, handle func(*socketio.Event)) func(*socketio.Event) {
	return func(e *socketio.Event) {
		defer func() {
			if defect := recover(); defect != nil {
				c.opts.Panicked(during, defect)
			}
		}()
		handle(e)
	}
}

// up reports whether other nodes are heard.
func (c *Cluster) up() bool { return c.adapter.Stats().Up }

// redisChanged is called when Redis comes and goes.
func (c *Cluster) redisChanged(err error) {
	if err != nil {
		c.opts.Log.Warn().Err(c.withoutSecret(err)).Msg("cluster: Redis is away; this node goes on with its own browsers")
		return
	}
	<-c.served.opened
	if c.io == nil {
		return // it could not be made
	}
	c.opts.Log.Info().Str("node", c.node).Str("mode", c.opts.Mode).Msg("cluster: joined")
	c.renewPeers()
	c.send(note{Kind: noteHello})
	c.joined.open()
}

// latch is closed until it is opened, once and for good.
type latch struct {
	opened chan struct{}
	once   *sync.Once
}

func newLatch() latch { return latch{make(chan struct{}), new(sync.Once)} }

func (l latch) open() { l.once.Do(func() { close(l.opened) }) }

// joinWait is how long browsers that enter a room at a node that starts wait until other nodes are
// heard: a socket in a room shall get what is sent there.
const joinWait = 3 * time.Second

// AwaitJoined waits until other nodes are heard, or Run has waited 3 s for that.
func (c *Cluster) AwaitJoined(ctx context.Context) {
	if c.alone() {
		return
	}
	select {
	case <-c.joined.opened:
	case <-ctx.Done():
	}
}

// catchUpWait bounds CatchUp.
const catchUpWait = time.Second

// CatchUp waits, for a second at most, until this node has heard what others have heard by now. A
// browser that changes nodes would otherwise get once more what the other node has sent it.
func (c *Cluster) CatchUp(ctx context.Context) {
	if c.alone() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	_ = c.adapter.CaughtUp(ctx) // where Redis is that slow the browser comes in nevertheless
}

// withoutSecret is err, unless it holds the address of Redis.
func (c *Cluster) withoutSecret(err error) error {
	if strings.Contains(err.Error(), c.opts.Redis) {
		return errors.New("can't be reached")
	}
	return err
}

// Run keeps the lease and looks after other nodes until ctx ends, then says farewell.
func (c *Cluster) Run(ctx context.Context) {
	if c.alone() {
		return
	}
	waited := time.AfterFunc(joinWait, c.joined.open)
	defer waited.Stop()
	tick := time.NewTicker(c.opts.Lease / 3)
	defer tick.Stop()
	for {
		c.renewLease(ctx)
		c.sendHeartbeat()
		c.expireNodes()
		c.findForeign(ctx)
		select {
		case <-ctx.Done():
			c.changes.leave()
			c.releaseLease()
			c.send(note{Kind: noteBye})
			return
		case <-c.wakeRun:
		case <-tick.C:
		}
	}
}

// Close ends the connections.
func (c *Cluster) Close() {
	if c.alone() {
		return
	}
	c.joined.open()
	c.served.open()
	_ = c.adapter.Close() // where the server never ran
	_ = c.redis.Close()
}
