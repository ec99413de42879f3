package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// cluster joins this bridge to others by Redis. What comes from Supabase every node hears by itself and tells its own sockets. What comes from a browser
// (typing, presence, having read) one node hears, and sends to the others as a note, which each of them tells its own sockets in the styles that they hear. What the
// application's server publishes goes to the rooms of all nodes as it is.
//
// Nothing of this is kept in Redis, for that would have to be cleaned up after nodes that died: each node knows who is present at which other, numbers what
// it says of that, and asks for the whole where it missed a number (cluster_peers.go). Only the leader's lease is there (cluster_leader.go).
type cluster struct {
	b       *Bridge
	node    string // immutable, like the next six
	redis   redis.UniversalClient
	adapter *redisadapter.Adapter
	lease   time.Duration
	key     string // of the leader's lease
	joined  latch  // open once other nodes were heard for the first time, or run has waited long enough for that
	served  latch  // open once the Socket.IO server is there

	standsIn     atomic.Bool            // nobody can lead, and this node does what a leader would but for the lease
	refusal      atomic.Pointer[string] // why Redis takes no writes; nil while it does
	leadsUntil   atomic.Int64           // in nanoseconds since 1970; 0 while another leads
	foreignUntil atomic.Int64           // likewise, of taking servers that are no bridges for being there
	term         atomic.Uint64          // of this node's last lead
	led          *changesBus            // nil where each node hears Realtime for itself; immutable
	turned       chan struct{}          // holds one where it may have changed who leads: for led
	hurry        chan struct{}          // and for run

	saying sync.Mutex // has notes of presence go out in the order of their numbers; held while they do
	serial uint64     // of the last one

	rooms roomsHere

	mu           sync.Mutex // guards what is below; taken before presence's, and before that of rooms
	peers        map[string]*peer
	ledElsewhere time.Time // when another node was last heard to lead
}

// newCluster makes it; it connects to nothing yet. nil where none is configured.
func (b *Bridge) newCluster() (*cluster, error) {
	cfg := b.cfg().Cluster
	if cfg.Redis == "" {
		return nil, nil
	}
	client, err := redisadapter.Client(cfg.Redis.Reveal())
	if err != nil {
		return nil, fmt.Errorf("bridge: cluster.redis: %w", err)
	}
	c := &cluster{b: b, node: uuid.NewString(), redis: client, lease: cfg.Lease, key: cfg.Prefix + ":supabridge:leader",
		joined: newLatch(), served: newLatch(), peers: make(map[string]*peer),
		turned: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
	c.adapter, err = redisadapter.New(c.redis, redisadapter.Options{
		Mode: redisadapter.Mode(cfg.Mode), Prefix: cfg.Prefix, MaxQueue: int(cfg.MaxQueue), MaxAge: cfg.MaxWait, MaxLen: int64(cfg.StreamLength), Changed: c.changed,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bridge: cluster: %w", err), c.redis.Close())
	}
	c.led = c.newChangesBus(int(cfg.MaxQueue))
	return c, nil
}

// quietRedis keeps the client's own lines out of the log: they repeat what changed and errors say.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(quietRedis{}) }

// socketAdapter is the adapter for the Socket.IO server; nil for a node that is alone.
func (c *cluster) socketAdapter() socketio.Adapter {
	if c == nil {
		return nil
	}
	return c.adapter
}

// up tells whether other nodes are heard.
func (c *cluster) up() bool { return c.adapter.Stats().Up }

// changed is told when Redis comes and goes.
func (c *cluster) changed(err error) {
	if err != nil {
		c.b.log.Warn().Err(withoutSecret(err, c.b.cfg().Cluster)).Msg("cluster: Redis is away; this node goes on with its own browsers")
		return
	}
	<-c.served.opened
	if c.b.io == nil {
		return // it could not be made
	}
	c.b.log.Info().Str("node", c.node).Str("mode", c.b.cfg().Cluster.Mode).Msg("cluster: joined")
	c.reviveAll()
	c.say(note{Kind: noteHello})
	c.joined.open()
}

// latch is closed until it is opened, once and for good.
type latch struct {
	opened chan struct{}
	once   *sync.Once
}

func newLatch() latch { return latch{make(chan struct{}), new(sync.Once)} }

func (l latch) open() { l.once.Do(func() { close(l.opened) }) }

// joinWait is how long a node that starts has browsers wait, when they enter a room, for the other nodes to be heard: who is in a room shall get what is sent there.
const joinWait = 3 * time.Second

// await waits for that.
func (c *cluster) await(ctx context.Context) {
	if c == nil {
		return
	}
	select {
	case <-c.joined.opened:
	case <-ctx.Done():
	}
}

// catchUpWait bounds how long a browser that comes waits for this node to have heard what others have heard already.
const catchUpWait = time.Second

// catchUp waits for that: a browser that changes nodes while this one is behind would be told once more what the other has told it.
func (c *cluster) catchUp(ctx context.Context) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	_ = c.adapter.CaughtUp(ctx) // where Redis is that slow it comes in nevertheless
}

// withoutSecret is err, unless it holds the address of Redis.
func withoutSecret(err error, cfg config.Cluster) error {
	if strings.Contains(err.Error(), cfg.Redis.Reveal()) {
		return errors.New("can't be reached")
	}
	return err
}

// serverSide is the event by which nodes send notes.
const serverSide = "supabridge"

// noteKind says what a note is about.
type noteKind string

const (
	noteTyping     noteKind = "typing"
	noteStopped    noteKind = "stopped"
	noteEnter      noteKind = "enter"
	noteLeave      noteKind = "leave"
	noteRead       noteKind = "read"
	noteDisconnect noteKind = "disconnect"

	noteHello noteKind = "hello" // a node is there, or is there again, and has to be told who is present
	noteBeat  noteKind = "beat"  // a sign of life
	noteAsk   noteKind = "ask"   // another node is to say who is present there
	noteWhole noteKind = "whole" // a part of the answer
	noteBye   noteKind = "bye"   // a node stops
	noteStyle noteKind = "style" // browsers at that node hear a style of the vocabulary
	noteOffer noteKind = "offer" // a row that was just stored, for the feed of whoever leads
	noteMark  noteKind = "mark"  // whoever leads is to tell how it stands (cluster.changes: leader)

	noteRooms      noteKind = "rooms"       // which rooms came to be occupied or vacated at a node
	noteRoomsAsk   noteKind = "rooms_ask"   // another node is to say which are occupied there
	noteRoomsWhole noteKind = "rooms_whole" // a part of the answer
)

// note is what bridges tell each other, as JSON. Fields that a node does not know it leaves alone, kinds too: versions may be mixed.
type note struct {
	Node string   `json:"node"`
	To   string   `json:"to,omitempty"` // a node; empty: all
	Kind noteKind `json:"kind"`

	Conversation string          `json:"conversation,omitempty"`
	Spelled      json.RawMessage `json:"spelled,omitempty"` // the conversation as the client wrote it
	Messages     json.RawMessage `json:"messages,omitempty"`
	Whom         json.RawMessage `json:"whom,omitempty"`
	Style        string          `json:"style,omitempty"`
	Table        string          `json:"table,omitempty"`
	Action       feed.Action     `json:"action,omitempty"`
	Row          json.RawMessage `json:"row,omitempty"`
	attends

	// Serial numbers what a node says of presence; of others it is the number of the last one that did.
	Serial uint64    `json:"serial"`
	All    []attends `json:"all,omitempty"`
	Part   int       `json:"part,omitempty"`
	Last   bool      `json:"last,omitempty"`

	// Likewise of rooms.
	RoomsSerial uint64   `json:"rooms_serial,omitempty"`
	Occupied    []string `json:"occupied,omitempty"`
	Vacated     []string `json:"vacated,omitempty"`

	Leads bool `json:"leads,omitempty"` // the node does, or stands in
}

// spelled is the conversation as the client wrote it; a node of another version may not say.
func (n note) spelled() vocabulary.ID {
	if len(n.Spelled) == 0 {
		return vocabulary.NewID(n.Conversation)
	}
	return vocabulary.ID{Text: n.Conversation, JSON: n.Spelled}
}

// maxNoted bounds a name in a note, in bytes. Bridges have none that long; whoever else can publish in Redis shall not fill their memory by it.
const maxNoted = 4096

// sound tells whether a note may be one of a bridge's.
func (n note) sound() bool {
	return n.Node != "" && len(n.Node) <= maxNoted && len(n.Conversation) <= maxNoted && len(n.Spelled) <= maxNoted && n.attends.sound() && !slices.ContainsFunc(n.All, attends.unsound)
}

// attends is a user's socket in a tenant.
type attends struct {
	Tenant string `json:"tenant,omitempty"`
	Socket string `json:"socket,omitempty"`
	User   string `json:"user,omitempty"`
	Name   string `json:"name,omitempty"`
	Home   string `json:"home,omitempty"`
	Word   string `json:"word,omitempty"` // how the user says to be

	Expelled bool `json:"expelled,omitempty"` // of one that leaves: the user may not be in the tenant any more
}

func attendanceOf(tenant, socket string, who *auth.Identity, word string) attends {
	return attends{Tenant: tenant, Socket: socket, User: who.UserID, Name: who.Name, Home: who.Tenant, Word: word}
}

func (a attends) sound() bool {
	return len(a.Tenant)+len(a.Socket)+len(a.User)+len(a.Name)+len(a.Home)+len(a.Word) <= maxNoted
}

func (a attends) unsound() bool { return !a.sound() }

func (a attends) who() *auth.Identity {
	return &auth.Identity{UserID: a.User, Name: a.Name, Tenant: a.Home}
}

// say sends a note. A note that can't be sent is lost, and counted by the adapter: what it says of presence the next one shows to be missing.
func (c *cluster) say(n note) {
	n.Node, n.Leads = c.node, c.leads() || c.standsIn.Load()
	_ = c.b.io.ServerSideEmit(serverSide, n)
}

// tell sends a note of something that a socket does; nothing where the node is alone.
func (c *cluster) tell(n note) {
	if c != nil {
		c.say(n)
	}
}

// attend sends a note of presence.
func (c *cluster) attend(kind noteKind, a attends) {
	if c == nil {
		return
	}
	c.saying.Lock()
	defer c.saying.Unlock()
	c.serial++
	c.say(note{Kind: kind, attends: a, Serial: c.serial})
}

// heard takes a note of another node, on the adapter's goroutine.
func (c *cluster) heard(e *socketio.Event) {
	var n note
	if err := e.Decode(0, &n); err != nil || n.Node == c.node || !n.sound() {
		return // not a bridge's
	}
	if n.To != "" && n.To != c.node {
		c.met(n)
		return
	}
	b := c.b
	typing := b.cfg().Typing.Enabled && n.Conversation != "" && n.User != ""
	switch n.Kind {
	case noteTyping:
		if !typing {
			break
		}
		b.typing.Start(n.spelled(), overNodes+n.Node+"/"+n.Socket, n.who(), false)
	case noteStopped:
		if !typing {
			break
		}
		b.typing.Stop(n.Conversation, overNodes+n.Node+"/"+n.Socket, n.who())
	case noteRead:
		if n.Conversation == "" {
			break
		}
		b.tellRead(n.spelled(), n.who(), n.Messages, emit.Audience{Remote: true})
	case noteDisconnect:
		b.disconnectNoted(n.Whom)
	case noteHello:
		for _, s := range vocabulary.Styles() {
			if b.emitter.Used(s) {
				c.say(note{Kind: noteStyle, To: n.Node, Style: s.String()})
			}
		}
	case noteOffer:
		c.led.offered(feed.BusOffer{Table: n.Table, Action: n.Action, Record: n.Row})
	case noteStyle:
		if s, ok := vocabulary.StyleOf(n.Style); ok {
			b.speaks(s)
		}
	case noteMark:
		c.led.remark()
	}
	c.met(n)
}

// run keeps the leases until ctx ends, then takes leave.
func (c *cluster) run(ctx context.Context) {
	if c == nil {
		return
	}
	waited := time.AfterFunc(joinWait, c.joined.open)
	defer waited.Stop()
	tick := time.NewTicker(c.lease / 3)
	defer tick.Stop()
	for {
		c.strive(ctx)
		c.beat()
		c.bury()
		c.lookForForeign(ctx)
		select {
		case <-ctx.Done():
			c.led.leave()
			c.resign()
			c.say(note{Kind: noteBye})
			return
		case <-c.hurry:
		case <-tick.C:
		}
	}
}

// beat sends a sign of life.
func (c *cluster) beat() {
	c.saying.Lock()
	defer c.saying.Unlock()
	c.rooms.mu.Lock()
	defer c.rooms.mu.Unlock()
	c.say(note{Kind: noteBeat, Serial: c.serial, RoomsSerial: c.rooms.serial})
}

// close ends the connections.
func (c *cluster) close() {
	if c == nil {
		return
	}
	c.joined.open()
	c.served.open()
	_ = c.adapter.Close() // where the server never ran
	_ = c.redis.Close()
}
