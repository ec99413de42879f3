package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"
)

// route is a subscription and what comes by it.
type route struct {
	channel   string // or the pattern
	pattern   bool
	role      role
	namespace string
}

// role is what kind of messages a channel carries.
type role int

const (
	broadcasts role = iota
	requests
	responses
)

// Bounds of the connection that listens.
const (
	pingEvery     = 3 * time.Second
	silence       = 10 * time.Second // without any answer, after which it counts as dead
	firstWait     = 50 * time.Millisecond
	longestWait   = time.Second
	maxSubscribed = 1000 // channels in one command
)

// listener keeps up a connection on which the wanted channels are subscribed to.
type listener struct {
	a        *Adapter
	wake     chan struct{} // holds one token where changes isn't empty
	caughtUp caughtUp

	mu      sync.Mutex // guards everything below
	want    map[string]route
	changes []change    // of want that the connection has not been told
	sharded bool        // there are several connections, which shards has
	ears    []*caughtUp // theirs; replaced, not changed
	conn    *redis.PubSub
	over    bool
}

type change struct {
	route
	gone bool
}

func (l *listener) add(rs ...route) { l.change(false, rs) }

func (l *listener) remove(rs ...route) { l.change(true, rs) }

func (l *listener) change(gone bool, rs []route) {
	l.mu.Lock()
	for _, r := range rs {
		if gone {
			delete(l.want, r.channel)
		} else {
			l.want[r.channel] = r
		}
		if l.conn != nil || l.sharded {
			l.changes = append(l.changes, change{r, gone})
		}
	}
	l.mu.Unlock()
	l.notify()
}

func (l *listener) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// route returns what a subscription is for.
func (l *listener) route(channel string) (route, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.want[channel]
	return r, ok
}

// wanted is how many subscriptions there are to be.
func (l *listener) wanted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.want)
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) {
	if cluster := l.a.sharding(); cluster != nil {
		l.listenToShards(ctx, cluster)
		return
	}
	l.a.persist(ctx, hearing, l.session)
}

// persist runs session again and again until ctx ends; after failures it waits longer each time.
// When a session ends the link is down.
func (a *Adapter) persist(ctx context.Context, k link, session func(context.Context) error) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		err := session(ctx)
		if ctx.Err() == nil {
			a.down(k, err)
		}
		if time.Since(began) > longestWait { // it was a connection
			wait = firstWait
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, longestWait)
	}
	a.up.Store(false)
}

// link is one of the connections to Redis that the adapter has to have to be up.
type link uint8

const (
	hearing link = 1 << iota // what is published
	reading                  // the stream
)

// links are those there are.
type links struct {
	mu    sync.Mutex // held while others are told, so that they are told in order
	there link
	want  link // immutable
}

// established notes that a connection does what it is for.
func (a *Adapter) established(k link) {
	a.links.mu.Lock()
	defer a.links.mu.Unlock()
	a.links.there |= k
	if a.links.there == a.links.want && !a.up.Swap(true) {
		a.log.Back()
		a.tell(nil)
	}
}

// down notes that a connection is lost.
func (a *Adapter) down(k link, err error) {
	a.links.mu.Lock()
	defer a.links.mu.Unlock()
	a.links.there &^= k
	if a.up.Swap(false) {
		a.breaks.Add(1)
		a.log.Away()
		a.tell(err)
	}
}

func (a *Adapter) tell(err error) {
	if a.opts.Changed != nil {
		a.opts.Changed(err)
	}
}

// hangUp ends the connection: nothing else ends a read.
func (l *listener) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.conn != nil {
		_ = l.conn.Close() // it may be closed already
	}
}

// session subscribes on a new connection and listens until that fails.
func (l *listener) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := l.a.client.Subscribe(ctx) // to nothing yet: this connects to nobody
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return errors.Join(conn.Close(), context.Canceled)
	}
	l.conn, l.changes = conn, nil
	for _, r := range l.want {
		l.changes = append(l.changes, change{r, false})
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.conn, l.changes = nil, nil
		l.mu.Unlock()
		_ = conn.Close() // it may be closed already
	}()
	if err := l.subscribe(ctx, conn); err != nil {
		return err
	}
	var heard atomic.Int64 // when, by the clock
	heard.Store(time.Now().UnixNano())
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	l.caughtUp.begin()
	defer l.caughtUp.end()
	beside.Go(func() { l.follow(ctx, conn, &heard) })
	for confirmed := 0; ; {
		m, err := conn.Receive(ctx)
		if err != nil {
			return fmt.Errorf("listen to Redis: %w", err)
		}
		heard.Store(time.Now().UnixNano())
		switch m := m.(type) {
		case *redis.Subscription:
			if strings.HasSuffix(m.Kind, "unsubscribe") {
				continue
			}
			if confirmed++; confirmed >= l.wanted() { // also of what came to be wanted since the connection was made
				l.a.established(hearing)
			}
		case *redis.Message:
			l.a.take(m)
		case *redis.Pong:
			l.caughtUp.answered(m.Payload)
		}
	}
}

// follow tells the connection what changes, and closes it where it has gone silent, until ctx ends.
func (l *listener) follow(ctx context.Context, conn *redis.PubSub, heard *atomic.Int64) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			err = l.subscribe(ctx, conn)
		case <-l.caughtUp.wake:
			err = l.caughtUp.ping(ctx, conn)
		case <-ping.C:
			if time.Since(time.Unix(0, heard.Load())) > silence {
				err = errors.New("no answer")
			} else {
				err = conn.Ping(ctx)
				l.a.count(ctx)
			}
		}
		if err != nil {
			_ = conn.Close() // ends the read
			return
		}
	}
}

// everywhere is the namespace that every server has.
const everywhere = "/"

// count counts the other nodes.
func (a *Adapter) count(ctx context.Context) {
	if n, err := a.Nodes(ctx, everywhere); err == nil {
		a.nodes.Store(int64(n))
	}
}

// subscribe tells the connection what has changed since the last time. The order is kept where it
// matters: of the changes of one channel the last counts.
func (l *listener) subscribe(ctx context.Context, conn *redis.PubSub) error {
	l.mu.Lock()
	changes := l.changes
	l.changes = nil
	l.mu.Unlock()
	last := make(map[string]change, len(changes))
	for _, c := range changes {
		last[c.channel] = c
	}
	sharded := l.a.wire.onShards()
	for _, kind := range []struct {
		pattern, gone bool
		do            func(context.Context, ...string) error
	}{
		{false, false, pick(sharded, conn.SSubscribe, conn.Subscribe)},
		{true, false, conn.PSubscribe},
		{false, true, pick(sharded, conn.SUnsubscribe, conn.Unsubscribe)},
		{true, true, conn.PUnsubscribe},
	} {
		var names []string
		for _, c := range last {
			if c.pattern == kind.pattern && c.gone == kind.gone {
				names = append(names, c.channel)
			}
		}
		for part := range slices.Chunk(names, maxSubscribed) {
			if err := kind.do(ctx, part...); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		}
	}
	return nil
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// take hands a message to the server.
func (a *Adapter) take(m *redis.Message) {
	subscribed := m.Channel
	if m.Pattern != "" {
		subscribed = m.Pattern
	}
	r, ok := a.listener.route(subscribed)
	if !ok || m.Payload == "" {
		return // not wanted any more
	}
	payload := unsafe.Slice(unsafe.StringData(m.Payload), len(m.Payload)) // nobody writes to it
	message, err := a.wire.decode(r, m.Channel, payload)
	if err != nil {
		a.malformed.Add(1)
		return
	}
	if message != nil {
		a.received.Add(1)
		a.host.Deliver(message)
	}
}
