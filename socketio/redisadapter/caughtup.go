package redisadapter

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/socketio"
)

// caughtUp tells when a node has heard what Redis had for it at some moment: Redis answers a ping
// on the connection that listens after all that came before. Those who ask while the connection is
// busy share a ping.
type caughtUp struct {
	wake chan struct{} // holds one token where somebody waits for a ping to be sent

	mu      sync.Mutex // guards everything below
	asking  *asked     // whose ping is yet to be sent; nil where nobody asks
	sent    []*asked   // in order
	serial  uint64     // of the last ping
	hearing bool
}

// asked is a ping and those who wait for its answer.
type asked struct {
	serial uint64
	done   chan struct{}
}

// begin and end bound the time in which a connection listens; with its end nobody waits any more.
func (c *caughtUp) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearing = true
}

func (c *caughtUp) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearing = false
	if c.asking != nil {
		c.sent = append(c.sent, c.asking)
	}
	for _, a := range c.sent {
		close(a.done)
	}
	c.asking, c.sent = nil, nil
}

// ask gives a channel that is closed once what Redis has now is heard; nil where nothing is heard.
func (c *caughtUp) ask() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hearing {
		return nil
	}
	if c.asking == nil {
		c.serial++
		c.asking = &asked{c.serial, make(chan struct{})}
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return c.asking.done
}

// ping sends the ping that is asked for.
func (c *caughtUp) ping(ctx context.Context, conn *redis.PubSub) error {
	c.mu.Lock()
	a := c.asking
	if c.asking = nil; a != nil {
		c.sent = append(c.sent, a)
	}
	c.mu.Unlock()
	if a == nil {
		return nil
	}
	return conn.Ping(ctx, strconv.FormatUint(a.serial, 10))
}

// answered takes the answer to a ping; other pings bear no number.
func (c *caughtUp) answered(payload string) {
	serial, err := strconv.ParseUint(payload, 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.sent) > 0 && c.sent[0].serial <= serial {
		close(c.sent[0].done)
		c.sent = c.sent[1:]
	}
}

// CaughtUp waits until this node has taken every message that was published before the call; where
// Redis isn't heard, it doesn't wait. A client that comes from another node, which was ahead, is
// told nothing twice if it enters its rooms after that: have middleware call it (see
// [socketio.Namespace.Use]). It costs one round trip to Redis, shared by those who come at once,
// and in the mode Streams one more. On a Redis Cluster, whose members pass messages on to each
// other, it promises less, but with sharded channels. Errors: ctx's, and of reading the stream's
// end.
func (a *Adapter) CaughtUp(ctx context.Context) error {
	if !a.up.Load() {
		return nil
	}
	if a.reader != nil {
		if err := a.reader.catchUp(ctx); err != nil {
			return err
		}
	}
	var waits []<-chan struct{}
	for _, c := range a.listener.hearing() {
		if done := c.ask(); done != nil {
			waits = append(waits, done)
		}
	}
	for _, done := range waits {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// hearing gives what tells of each connection that listens whether it has caught up.
func (l *listener) hearing() []*caughtUp {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sharded {
		return l.ears
	}
	return []*caughtUp{&l.caughtUp}
}

// waiting is for a position to be read.
type waiting struct {
	at   socketio.Position
	done chan struct{}
}

// catchUp waits until what is in the stream now has been delivered, or the connection that reads is
// lost.
func (r *reader) catchUp(ctx context.Context) error {
	end, err := r.end(ctx, r.a.client)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if end.Compare(r.at) <= 0 {
		r.mu.Unlock()
		return nil
	}
	w := waiting{end, make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = slices.DeleteFunc(r.waiting, func(other waiting) bool { return other.done == w.done })
	return ctx.Err()
}

// release has those go on who wait for a position up to one. The caller holds mu.
func (r *reader) release(to socketio.Position) {
	r.waiting = slices.DeleteFunc(r.waiting, func(w waiting) bool {
		past := w.at.Compare(to) <= 0
		if past {
			close(w.done)
		}
		return past
	})
}
