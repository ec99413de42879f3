package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/supabridge/supabridge/socketio"
)

var (
	errDropped = errors.New("dropped before Redis was there")
	errAway    = errors.New("redisadapter: Redis is away")
)

// Bounds of reading the stream.
const (
	readCount = 500         // entries at a time
	readBlock = time.Second // waiting for one
	pastCount = 1000        // entries at a time of what was before
)

// reader reads the stream on a connection of its own, from where it has got to: what is written
// while it has no connection it reads later.
type reader struct {
	a      *Adapter
	window time.Duration // for which the log wants what was before; 0: there is no log

	mu   sync.Mutex // guards everything below
	conn redis.UniversalClient
	over bool
	at   socketio.Position // read up to here
	live bool              // at is known
	news []string          // namespaces that are to be told what was before
	wake chan struct{}     // holds one token where news isn't empty and live is true

	waiting []waiting // see catchUp
}

func newReader(a *Adapter) (*reader, error) {
	switch a.client.(type) {
	case *redis.Client, *redis.ClusterClient:
	default:
		return nil, fmt.Errorf("redisadapter: the mode streams can't have a connection of its own from a %T", a.client)
	}
	return &reader{a: a, wake: make(chan struct{}, 1)}, nil
}

// dial makes a client for one connection, which a read may hold and hangUp can end.
func (r *reader) dial() (redis.UniversalClient, error) {
	// The options hold this by reference, and the other client changes it as it connects.
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	var conn redis.UniversalClient
	switch c := r.a.client.(type) {
	case *redis.Client:
		o := *c.Options()
		o.MinIdleConns, o.MaxRetries, o.MaintNotificationsConfig = 0, -1, quiet
		conn = redis.NewClient(&o)
	case *redis.ClusterClient:
		o := *c.Options()
		o.MinIdleConns, o.MaxRetries, o.MaintNotificationsConfig = 0, -1, quiet
		conn = redis.NewClusterClient(&o)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, errors.Join(conn.Close(), context.Canceled)
	}
	r.conn = conn
	return conn, nil
}

// hangUp ends the connection: nothing else ends a read.
func (r *reader) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.conn != nil {
		_ = r.conn.Close() // it may be closed already
	}
}

func (r *reader) key() string { return r.a.opts.Prefix }

// end is the position of the last entry that the stream has got; zero if there is no stream.
func (r *reader) end(ctx context.Context, c redis.Cmdable) (socketio.Position, error) {
	last, err := c.XRevRangeN(ctx, r.key(), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return socketio.Position{}, err
	}
	return socketio.ParsePosition(last[0].ID)
}

// session reads until the connection fails.
func (r *reader) session(ctx context.Context) error {
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer func() {
		_ = conn.Close() // it may be closed already
		r.mu.Lock()
		defer r.mu.Unlock()
		r.release(socketio.Position{Time: math.MaxUint64, Number: math.MaxUint64})
	}()
	if err := r.begin(ctx, conn); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	for behind := true; ; {
		r.mu.Lock()
		from := r.at
		r.mu.Unlock()
		args := redis.XReadArgs{Streams: []string{r.key(), from.String()}, Count: readCount, Block: readBlock}
		if behind {
			args.Block = -1
		}
		var list []redis.XMessage
		read, err := conn.XRead(ctx, &args).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("read the stream: %w", err)
		}
		if len(read) > 0 {
			list = read[0].Messages
		}
		if len(list) == readCount { // far behind: perhaps too far
			if err := r.check(ctx, conn, from); err != nil {
				return fmt.Errorf("read the stream: %w", err)
			}
		}
		r.deliver(list)
		if behind = behind && len(list) == readCount; !behind {
			r.a.established(reading)
		}
	}
}

// begin finds where to read on.
func (r *reader) begin(ctx context.Context, conn redis.Cmdable) error {
	r.mu.Lock()
	at, live := r.at, r.live
	r.mu.Unlock()
	if live {
		return r.check(ctx, conn, at)
	}
	at, err := r.end(ctx, conn)
	if err != nil {
		return err
	}
	r.a.log.Begin(at)
	r.mu.Lock()
	r.at, r.live = at, true
	r.mu.Unlock()
	r.notify()
	return nil
}

// check sees to it that everything after a position is still in the stream. If nobody can say so
// the log is told of a gap.
func (r *reader) check(ctx context.Context, conn redis.Cmdable, at socketio.Position) error {
	here, err := conn.XRange(ctx, r.key(), at.String(), at.String()).Result()
	if err != nil || len(here) > 0 {
		return err
	}
	first, err := conn.XRangeN(ctx, r.key(), "-", "+", 1).Result()
	if err != nil {
		return err
	}
	end, err := r.end(ctx, conn)
	if err != nil {
		return err
	}
	from := at
	switch {
	case at == socketio.Position{}:
		// The stream did not exist. Whatever it has now has come since, if nothing of that is gone again.
		if len(first) == 0 {
			return nil
		}
		if all, err := r.untrimmed(ctx, conn); err != nil || all {
			return err
		}
	case len(first) == 0, end.Compare(at) < 0:
		from = socketio.Position{} // Redis has lost it, and begins anew
	}
	lost := at
	if len(first) > 0 {
		begins, err := socketio.ParsePosition(first[0].ID)
		if err != nil {
			return err
		}
		if begins.Compare(at) < 0 && from == at {
			return nil // that one entry was deleted, by somebody's hand
		}
		if begins.Before().Compare(lost) > 0 {
			lost = begins.Before()
		}
	}
	r.a.gaps.Add(1)
	r.a.log.Gap(lost)
	r.mu.Lock()
	r.at = from
	r.mu.Unlock()
	return nil
}

// untrimmed says whether every entry that the stream ever got is still there. Redis before 7
// doesn't tell: then the answer is no.
func (r *reader) untrimmed(ctx context.Context, conn redis.Cmdable) (bool, error) {
	info, err := conn.XInfoStream(ctx, r.key()).Result()
	if err != nil {
		return false, err
	}
	return info.EntriesAdded == info.Length && info.Length > 0, nil
}

// deliver hands entries to the server.
func (r *reader) deliver(list []redis.XMessage) {
	for _, x := range list {
		e, err := read(x)
		if err == nil {
			err = r.hand(e)
		}
		if err != nil {
			r.a.malformed.Add(1)
		}
		if e.at.Time == 0 {
			continue
		}
		r.mu.Lock()
		r.at = e.at
		r.release(e.at)
		r.mu.Unlock()
		r.a.log.Reach(e.at)
	}
}

// hand hands one entry over, unless it is of a namespace that nobody has here.
func (r *reader) hand(e entry) error {
	if e.uid == r.a.host.Node() {
		if e.serial != 0 {
			r.a.log.Returned(e.serial, e.at)
			r.a.sender.returned(e.serial)
		}
		return nil
	}
	if _, wanted := r.a.listener.route(r.a.wire.counted(e.nsp)); !wanted {
		return nil
	}
	m, err := e.message()
	if err != nil {
		return err
	}
	r.a.received.Add(1)
	r.a.host.Deliver(m)
	return nil
}

// passed says whether everything has been read that is in the stream at this moment.
func (r *reader) passed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	end, err := r.end(ctx, r.a.client)
	r.mu.Lock()
	defer r.mu.Unlock()
	return err == nil && r.live && end.Compare(r.at) <= 0
}

// open has the log of a namespace told what was before.
func (r *reader) open(namespace string) {
	if r.window == 0 {
		return
	}
	r.mu.Lock()
	r.news = append(r.news, namespace)
	r.mu.Unlock()
	r.notify()
}

func (r *reader) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.live || len(r.news) == 0 {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// remember tells namespaces what was before, until ctx ends.
func (r *reader) remember(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		r.mu.Lock()
		names, at := r.news, r.at
		r.news = nil
		r.mu.Unlock()
		if err := r.recall(ctx, names, at); err != nil {
			r.mu.Lock()
			r.news = append(r.news, names...)
			r.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-time.After(firstWait):
			}
			r.notify()
		}
	}
}

// recall reads the stream from the beginning of the window up to a position.
func (r *reader) recall(ctx context.Context, namespaces []string, to socketio.Position) error {
	now, err := r.a.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	from := socketio.Position{Time: uint64(max(0, now.Add(-r.window).UnixMilli()))}
	past := make(map[string][]*socketio.NodeMessage)
	for next := from; ; {
		list, err := r.a.client.XRangeN(ctx, r.key(), next.String(), to.String(), pastCount).Result()
		if err != nil {
			return err
		}
		for _, x := range list {
			e, err := read(x)
			if err != nil || !slices.Contains(namespaces, e.nsp) {
				continue
			}
			if m, err := e.message(); err == nil && m.Kind == socketio.KindEmit && !m.Volatile && m.ID == "" {
				past[e.nsp] = append(past[e.nsp], m)
			}
		}
		if len(list) < pastCount {
			break
		}
		last, err := socketio.ParsePosition(list[len(list)-1].ID)
		if err != nil {
			return err
		}
		next = socketio.Position{Time: last.Time, Number: last.Number + 1}
		if last.Number == math.MaxUint64 {
			next = socketio.Position{Time: last.Time + 1}
		}
	}
	after, err := r.before(ctx, from) // afterwards: if that is still there, so was everything after it
	if err != nil {
		return err
	}
	for _, name := range namespaces {
		r.a.log.Past(name, past[name], after)
	}
	return nil
}

// before is the position of the last entry before another, after which nothing is missing.
func (r *reader) before(ctx context.Context, from socketio.Position) (socketio.Position, error) {
	list, err := r.a.client.XRevRangeN(ctx, r.key(), from.Before().String(), "-", 1).Result()
	if err != nil {
		return socketio.Position{}, err
	}
	if len(list) > 0 {
		return socketio.ParsePosition(list[0].ID)
	}
	first, err := r.a.client.XRangeN(ctx, r.key(), "-", "+", 1).Result()
	if err != nil || len(first) == 0 {
		return socketio.Position{}, err // a node that has seen a stream which was lost says so of its sessions
	}
	if all, err := r.untrimmed(ctx, r.a.client); err != nil || all {
		return socketio.Position{}, err
	}
	begins, err := socketio.ParsePosition(first[0].ID)
	return begins.Before(), err
}

// Keep has the adapter tell a log what it reads, in the mode Streams: see [socketio.Keeper].
func (a *Adapter) Keep(log socketio.Log, window time.Duration) bool {
	if a.reader == nil {
		return false
	}
	a.log, a.reader.window = log, window
	return true
}

// nobody is the log of a server that recovers nobody.
type nobody struct{}

func (nobody) Begin(socketio.Position)                                 {}
func (nobody) Past(string, []*socketio.NodeMessage, socketio.Position) {}
func (nobody) Returned(uint64, socketio.Position)                      {}
func (nobody) Reach(socketio.Position)                                 {}
func (nobody) Gap(socketio.Position)                                   {}
func (nobody) Dropped(uint64)                                          {}
func (nobody) Away()                                                   {}
func (nobody) Back()                                                   {}
