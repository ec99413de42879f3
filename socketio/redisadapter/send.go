package redisadapter

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of one pipeline.
const (
	maxCommands = 512
	maxBytes    = 1 << 20
)

// sendTimeout bounds one pipeline.
const sendTimeout = 5 * time.Second

// sender sends what waits, in order, as much at a time as there is.
type sender struct {
	a    *Adapter
	wake chan struct{} // holds one token where the queue isn't empty or is to be drained

	mu      sync.Mutex // guards everything below
	queue   []outgoing
	bytes   int           // in the queue and under way
	drained chan struct{} // if set, closed once nothing waits
}

type outgoing struct {
	channel string
	payload []byte
	at      time.Time
}

func (s *sender) put(channel string, payload []byte) error {
	s.mu.Lock()
	if s.bytes+len(payload) > s.a.opts.MaxQueue {
		s.mu.Unlock()
		s.a.dropped.Add(1)
		return ErrQueueFull
	}
	s.bytes += len(payload)
	s.queue = append(s.queue, outgoing{channel, payload, time.Now()})
	s.mu.Unlock()
	s.notify()
	return nil
}

func (s *sender) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sender) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// drain waits until nothing waits to be sent, or ctx ends.
func (s *sender) drain(ctx context.Context) {
	done := make(chan struct{})
	s.mu.Lock()
	s.drained = done
	s.mu.Unlock()
	s.notify()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// run sends until ctx ends. While this node can't hear others nothing is sent: Redis is away, or back so lately that the others can't hear either.
func (s *sender) run(ctx context.Context) {
	broken, others := false, 0
	for {
		s.mu.Lock()
		batch := s.next()
		if len(batch) == 0 && s.drained != nil {
			close(s.drained)
			s.drained = nil
		}
		s.mu.Unlock()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			continue
		}
		up := s.a.up.Load()
		if up && broken {
			s.gather(ctx, others)
			broken = false
		}
		if up && s.send(ctx, batch) {
			continue
		}
		if !broken {
			broken, others = true, int(s.a.nodes.Load())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(firstWait):
		}
	}
}

// patience is how long what waits is held back, when Redis is there again, for the nodes to be there again too.
const patience = 5 * time.Second

// gather waits until as many other nodes listen as before Redis went away, since what is sent before that is lost to them.
func (s *sender) gather(ctx context.Context, others int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(firstWait)
	defer again.Stop()
	for {
		if n, err := s.a.Nodes(ctx, everywhere); err == nil && n >= others {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// next drops what has waited too long and returns what is to be sent together. The caller holds mu.
func (s *sender) next() []outgoing {
	old := 0
	for old < len(s.queue) && time.Since(s.queue[old].at) > s.a.opts.MaxAge {
		old++
	}
	s.forget(old)
	s.a.dropped.Add(uint64(old))
	n, bytes := 0, 0
	for n < len(s.queue) && n < maxCommands && (n == 0 || bytes+len(s.queue[n].payload) <= maxBytes) {
		bytes += len(s.queue[n].payload)
		n++
	}
	return s.queue[:n:n]
}

// forget removes the first n messages. The caller holds mu.
func (s *sender) forget(n int) {
	for i := range n {
		s.bytes -= len(s.queue[i].payload)
		s.queue[i] = outgoing{}
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

// send sends a batch and takes it from the queue. It returns false, and leaves it there, if Redis can't be reached. Where Redis fails later than that nobody
// knows what it has passed on: a repetition would come twice, so what has no answer counts as dropped.
func (s *sender) send(ctx context.Context, batch []outgoing) bool {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cmds, err := s.a.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range batch {
			if s.a.wire.sharded() {
				p.SPublish(ctx, m.channel, m.payload)
			} else {
				p.Publish(ctx, m.channel, m.payload)
			}
		}
		return nil
	})
	if err != nil && unsent(err) {
		return false
	}
	failed := 0
	for _, c := range cmds {
		if c.Err() != nil {
			failed++
		}
	}
	s.a.dropped.Add(uint64(failed))
	s.a.sent.Add(uint64(len(batch) - failed))
	s.mu.Lock()
	s.forget(len(batch))
	s.mu.Unlock()
	return true
}

// unsent says whether an error means that nothing was sent.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) ||
		redis.HasErrorPrefix(err, "LOADING") || redis.HasErrorPrefix(err, "MASTERDOWN")
}
