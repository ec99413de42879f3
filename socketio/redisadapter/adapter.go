package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/socketio"
)

// Mode is how messages travel through Redis. All servers of a cluster must have the same.
type Mode string

const (
	// PubSub is what createAdapter of @socket.io/redis-adapter speaks, and @socket.io/redis-emitter.
	// Any Redis will do.
	PubSub Mode = "pubsub"
	// Sharded is what createShardedAdapter of @socket.io/redis-adapter speaks, with subscriptionMode
	// static or dynamic. It takes Redis 7. Rooms have channels of their own, which a node hears only
	// while it has somebody in them. The emitter does not speak it.
	Sharded Mode = "sharded"
	// Streams is what @socket.io/redis-streams-adapter speaks, with streamCount 1. Events go through a
	// stream, which Redis keeps for a while and nodes read in one order: a node that loses Redis for a
	// moment misses nothing, and a client that lost its connection is recovered at any node; see
	// [socketio.Keeper].
	Streams Mode = "streams"
)

// Defaults of [Options].
const (
	DefaultPrefix        = "socket.io"
	DefaultMaxQueue      = 16 << 20
	DefaultMaxAge        = 10 * time.Second
	DefaultMaxLen        = 10_000
	DefaultSessionPrefix = "sio:session:"
)

// Options configure an [Adapter]. The zero value of a field means its default.
type Options struct {
	// Mode is how messages travel. Default: PubSub.
	Mode Mode
	// Prefix begins the names of all channels: the option key of createAdapter, channelPrefix of
	// createShardedAdapter. It is the name of the stream too: the options streamName and channelPrefix
	// of the streams adapter. Default: socket.io.
	Prefix string
	// Static has a sharded adapter use one channel for all rooms of a namespace, as the
	// subscriptionMode static does.
	Static bool
	// MaxQueue bounds the bytes that wait to be sent. What finds no place is refused with
	// [ErrQueueFull]. Default: 16 MiB.
	MaxQueue int
	// MaxAge is how long something waits to be sent while Redis is away before it is dropped. Default:
	// 10 s.
	MaxAge time.Duration
	// MaxLen is how many entries a stream keeps, roughly: it may be a hundred more. It has to hold
	// what all nodes send in the time for which clients may be away, or they can't be recovered at a
	// node that was just started; a node that reads less than that behind misses nothing. Default:
	// 10,000.
	MaxLen int64
	// SessionPrefix begins the keys of sessions in the mode Streams: its option sessionKeyPrefix.
	// Default: sio:session:.
	SessionPrefix string
	// Changed, if set, is told when Redis begins to be heard (nil) and when no more, with the reason.
	// It is called in that order, never twice at the same time.
	Changed func(err error)
}

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = PubSub
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.MaxQueue <= 0 {
		o.MaxQueue = DefaultMaxQueue
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxLen <= 0 {
		o.MaxLen = DefaultMaxLen
	}
	if o.SessionPrefix == "" {
		o.SessionPrefix = DefaultSessionPrefix
	}
	return o
}

// ErrQueueFull means that more waits to be sent to Redis than [Options] allow.
var ErrQueueFull = errors.New("too much waits to be sent to Redis")

// Adapter is a [socketio.Adapter].
type Adapter struct {
	client redis.UniversalClient // immutable, like the next two
	opts   Options
	wire   wire

	host     socketio.Host // set by Start, like stop
	log      socketio.Log  // set before that
	listener listener
	sender   sender
	lanes    []*sender // it, and others where a.sharding: a master that is away shall not hold up what goes to others
	reader   *reader   // nil but in the mode Streams
	links    links
	stop     context.CancelFunc
	running  sync.WaitGroup
	closing  sync.Once
	nodes    atomic.Int64 // others, when they were last counted

	elsewhere atomic.Int64 // chooses the member of a Redis Cluster by which this node publishes

	// bytes in the queue, under way, and in entries that have not come back
	queued                                           atomic.Int64
	up                                               atomic.Bool
	sent, received, dropped, malformed, breaks, gaps atomic.Uint64
}

// New makes an adapter that speaks through client. Errors: the mode is unknown, or the client can't
// have it.
func New(client redis.UniversalClient, opts Options) (*Adapter, error) {
	a := &Adapter{client: client, opts: opts.withDefaults(), log: nobody{}}
	a.links.want = hearing
	switch a.opts.Mode {
	case PubSub:
		a.wire = &classic{prefix: a.opts.Prefix}
	case Sharded:
		a.wire = &sharded{prefix: a.opts.Prefix, static: a.opts.Static}
	case Streams:
		r, err := newReader(a)
		if err != nil {
			return nil, err
		}
		a.reader, a.links.want = r, hearing|reading
		a.wire = &streams{sharded: sharded{prefix: a.opts.Prefix, static: true}, maxLen: a.opts.MaxLen}
	default:
		return nil, fmt.Errorf("redisadapter: unknown mode %q", a.opts.Mode)
	}
	a.listener = listener{
		a:        a,
		want:     make(map[string]route),
		wake:     make(chan struct{}, 1),
		caughtUp: caughtUp{wake: make(chan struct{}, 1)},
	}
	a.sender = sender{a: a, wake: make(chan struct{}, 1)}
	a.lanes = []*sender{&a.sender}
	for a.sharding() != nil && len(a.lanes) < shardLanes {
		a.lanes = append(a.lanes, &sender{a: a, wake: make(chan struct{}, 1)})
	}
	return a, nil
}

// sharding is the client where channels are spread over the masters of a Redis Cluster; nil where
// they are not.
func (a *Adapter) sharding() *redis.ClusterClient {
	cluster, _ := a.client.(*redis.ClusterClient)
	if !a.wire.onShards() {
		return nil
	}
	return cluster
}

// wire is a protocol between nodes.
type wire interface {
	// begin tells who this node is.
	begin(socketio.Host)
	// channels are those on which messages for a namespace come.
	channels(namespace string) []route
	// room is the channel of its own that a room has, if it has one.
	room(namespace, room string) (route, bool)
	// encode makes the command that sends a message.
	encode(*socketio.NodeMessage) (outgoing, error)
	// decode makes a message of a payload; nil if it concerns nobody here.
	decode(r route, channel string, payload []byte) (*socketio.NodeMessage, error)
	// counted is the channel of a namespace that every node with it listens to.
	counted(namespace string) string
	// onShards says whether channels are sharded ones.
	onShards() bool
}

// Start begins to listen and to send. It doesn't wait for Redis.
func (a *Adapter) Start(host socketio.Host) error {
	a.host = host
	a.wire.begin(host)
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.running.Go(func() { a.listener.run(ctx) })
	for _, s := range a.lanes {
		a.running.Go(func() { s.run(ctx) })
	}
	if a.reader != nil {
		a.running.Go(func() { a.persist(ctx, reading, a.reader.session) })
		a.running.Go(func() { a.reader.remember(ctx) })
	}
	return nil
}

// farewell is how long Close waits for what is still to be sent.
const farewell = time.Second

// Close ends the adapter, once what waits is sent or a second has passed. Closing twice is closing
// once.
func (a *Adapter) Close() error {
	a.closing.Do(a.end)
	return nil
}

func (a *Adapter) end() {
	if a.stop == nil {
		return // it never began
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	for _, s := range a.lanes {
		s.drain(ctx)
	}
	a.stop()
	a.listener.hangUp()
	if a.reader != nil {
		a.reader.hangUp()
	}
	a.running.Wait()
}

// Open listens to messages for a namespace.
func (a *Adapter) Open(namespace string) {
	a.listener.add(a.wire.channels(namespace)...)
	if a.reader != nil {
		a.reader.open(namespace)
	}
}

// Shut stops that.
func (a *Adapter) Shut(namespace string) { a.listener.remove(a.wire.channels(namespace)...) }

// RoomOpened listens to the channel of a room, if it has one.
func (a *Adapter) RoomOpened(namespace, room string) {
	if r, ok := a.wire.room(namespace, room); ok {
		a.listener.add(r)
	}
}

// RoomClosed stops that.
func (a *Adapter) RoomClosed(namespace, room string) {
	if r, ok := a.wire.room(namespace, room); ok {
		a.listener.remove(r)
	}
}

// Publish queues a message. Errors: it can't be encoded, [ErrQueueFull].
func (a *Adapter) Publish(m *socketio.NodeMessage) error {
	o, err := a.wire.encode(m)
	if err != nil {
		return err
	}
	return a.lanes[slot(o.channel)*len(a.lanes)/slots].put(o)
}

// Nodes asks Redis how many other nodes listen for a namespace.
func (a *Adapter) Nodes(ctx context.Context, namespace string) (int, error) {
	channel := a.wire.counted(namespace)
	var total atomic.Int64
	add := func(ctx context.Context, c redis.Cmdable) error {
		ask := pick(a.wire.onShards(), c.PubSubShardNumSub, c.PubSubNumSub)
		n, err := ask(ctx, channel).Result()
		total.Add(n[channel])
		return err
	}
	var err error
	switch cluster, ok := a.client.(*redis.ClusterClient); {
	case !ok:
		err = add(ctx, a.client)
	case a.wire.onShards():
		var master *redis.Client
		if master, err = cluster.MasterForKey(ctx, channel); err == nil {
			err = add(ctx, master)
		}
	default: // a node listens at any of them, and who listens at one that is away does not listen
		var answered atomic.Bool
		err = cluster.ForEachShard(ctx, func(ctx context.Context, c *redis.Client) error {
			err := add(ctx, c)
			if err == nil {
				answered.Store(true)
			}
			return err
		})
		if answered.Load() {
			err = nil
		}
	}
	if err != nil {
		return 0, fmt.Errorf("redisadapter: %w", err)
	}
	return max(0, int(total.Load())-1), nil
}

// Stats says what an adapter has done.
type Stats struct {
	// Up says whether other nodes are heard.
	Up bool
	// Nodes is how many other nodes there were when they were last counted, every few seconds.
	Nodes int
	// Queued are the bytes that wait to be sent.
	Queued int
	// Sent and Received count messages; Dropped those that were not sent, since Redis was away for too
	// long or failed over them; Malformed those received that made no sense; Breaks how often a
	// connection that listens or reads was lost; Gaps how often what was to be read next was no longer
	// in the stream, so that messages were lost and clients are not recovered that were there before.
	Sent, Received, Dropped, Malformed, Breaks, Gaps uint64
}

// Stats returns what the adapter has done so far.
func (a *Adapter) Stats() Stats {
	return Stats{
		Up:        a.up.Load(),
		Nodes:     int(a.nodes.Load()),
		Queued:    int(a.queued.Load()),
		Sent:      a.sent.Load(),
		Received:  a.received.Load(),
		Dropped:   a.dropped.Load(),
		Malformed: a.malformed.Load(),
		Breaks:    a.breaks.Load(),
		Gaps:      a.gaps.Load(),
	}
}
