package redisadapter

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
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
	drained chan struct{} // if set, closed once nothing waits
	flights []flight      // entries of this node that were sent and are to come back, oldest first
	seen    uint64        // number of the last that came back
}

// outgoing is a command for Redis.
type outgoing struct {
	// sharded, on which it publishes, or the key that it is about; empty where any member of a Redis Cluster will do
	channel string
	size    int
	at      time.Time
	do      func(context.Context, redis.Pipeliner) redis.Cmder
	serial  uint64            // of an entry that is to come back
	doubt   bool              // nobody knows whether Redis has carried it out
	done    func(redis.Cmder) // if set, told how it went; nil: it was certainly not carried out
	void    *atomic.Bool      // if set and true, it is not wanted any more
	lasting bool              // it is as good however late, and as good twice
}

func (o outgoing) isDoubtful() bool { return o.doubt }

type flight struct {
	serial uint64
	size   int
}

func (s *sender) put(o outgoing) error {
	if s.a.queued.Add(int64(o.size)) > int64(s.a.opts.MaxQueue) && !o.lasting {
		s.a.queued.Add(-int64(o.size))
		s.a.dropped.Add(1)
		return ErrQueueFull
	}
	s.mu.Lock()
	o.at = time.Now()
	s.queue = append(s.queue, o)
	s.mu.Unlock()
	s.notify()
	return nil
}

// returned notes that an entry of this node has been read. What was sent before it has been too, or
// never will be.
func (s *sender) returned(serial uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, serial)
	n := 0
	for n < len(s.flights) && s.flights[n].serial <= serial {
		s.a.queued.Add(-int64(s.flights[n].size))
		n++
	}
	s.flights = slices.Delete(s.flights, 0, n)
	for len(s.queue) > 0 && s.queue[0].doubt && s.queue[0].serial <= serial {
		s.a.queued.Add(-int64(s.queue[0].size))
		s.take(1)
	}
}

func (s *sender) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
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

// run sends until ctx ends. While this node can't hear others nothing is sent: Redis is away, or
// back so lately that the others can't hear either.
func (s *sender) run(ctx context.Context) {
	broken, others := false, 0
	for {
		s.mu.Lock()
		batch, gone := s.next()
		if len(batch) == 0 && s.drained != nil {
			close(s.drained)
			s.drained = nil
		}
		s.mu.Unlock()
		s.a.lost(gone)
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
			s.gather(ctx, others, batch[0].channel)
			broken = false
		}
		if up && (!slices.ContainsFunc(batch, outgoing.isDoubtful) || s.a.reader.passed(ctx)) {
			if s.send(ctx, s.certain(batch)) {
				continue
			}
		} else {
			s.giveBack(batch)
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

// patience is how long what waits is held back, when Redis is there again, for the nodes to be
// there again too.
const patience = 5 * time.Second

// gather waits until as many other nodes listen as before Redis went away, since what is sent
// before that is lost to them.
func (s *sender) gather(ctx context.Context, others int, channel string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(firstWait)
	defer again.Stop()
	for {
		if n, err := s.a.Nodes(ctx, everywhere); err == nil && n >= others && s.reaches(ctx, channel) {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
	if s.a.sharding() == nil {
		return
	}
	select { // who listens to other channels than that which is counted can't be told
	case <-ctx.Done():
	case <-time.After(rejoining):
	}
}

// next drops what has waited too long or isn't wanted any more, and takes from the queue what is to
// be sent together. The caller holds mu.
func (s *sender) next() (batch, gone []outgoing) {
	now := time.Now()
	over := func(o outgoing) bool {
		return o.void != nil && o.void.Load() || !o.lasting && now.Sub(o.at) > s.a.opts.MaxAge
	}
	for len(s.queue) > 0 && over(s.queue[0]) {
		gone = append(gone, s.queue[0])
		s.a.queued.Add(-int64(s.queue[0].size))
		s.take(1)
	}
	n, bytes := 0, 0
	for n < len(s.queue) && n < maxCommands && !over(s.queue[n]) && (n == 0 || bytes+s.queue[n].size <= maxBytes) {
		bytes += s.queue[n].size
		n++
	}
	return s.take(n), gone
}

// take removes the first n commands from the queue. The caller holds mu.
func (s *sender) take(n int) []outgoing {
	batch := slices.Clone(s.queue[:n])
	clear(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return batch
}

// giveBack puts commands at the head of the queue again.
func (s *sender) giveBack(batch []outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(batch, s.queue...)
}

// lost tells those concerned that commands are not going to be carried out.
func (a *Adapter) lost(gone []outgoing) {
	for _, o := range gone {
		if o.void == nil || !o.void.Load() {
			a.dropped.Add(1)
		}
		if o.done != nil {
			o.done(nil)
		}
		if o.serial != 0 {
			a.log.Dropped(o.serial)
		}
	}
}

// send sends a batch. It returns false, and has given back what is to be sent again, where Redis
// can't be reached, or not that member of a Redis Cluster. Where the connection fails later than
// that nobody knows what Redis has carried out. An entry that is to come back either does so or is
// sent again; for all else a repetition might do it twice, so it counts as dropped.
func (s *sender) send(ctx context.Context, batch []outgoing) bool {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cmds, errs := s.carryOut(ctx, batch)
	var again, failed []outgoing
	s.mu.Lock()
	for i, o := range batch {
		var refused redis.Error
		switch err := errs[i]; {
		case err == nil || errors.Is(err, redis.Nil):
			s.a.sent.Add(1)
			if o.serial > s.seen {
				s.flights = append(s.flights, flight{o.serial, o.size})
			} else {
				s.a.queued.Add(-int64(o.size))
			}
			if o.done != nil {
				defer o.done(cmds[i])
			}
		case unsent(err):
			again = append(again, o)
		case (o.serial > s.seen || o.lasting) && !errors.As(err, &refused):
			o.doubt = !o.lasting
			again = append(again, o)
		case o.done != nil && !errors.As(err, &refused):
			s.a.queued.Add(-int64(o.size))
			s.a.dropped.Add(1)
			defer o.done(cmds[i])
		default:
			s.a.queued.Add(-int64(o.size))
			failed = append(failed, o)
		}
	}
	s.mu.Unlock()
	s.giveBack(again)
	s.a.lost(failed)
	return len(again) == 0
}

// carryOut has Redis carry out commands, and gives each as it is then, and its error.
func (s *sender) carryOut(ctx context.Context, batch []outgoing) ([]redis.Cmder, []error) {
	cmds, errs := make([]redis.Cmder, len(batch)), make([]error, len(batch))
	if cluster, ok := s.a.client.(*redis.ClusterClient); ok {
		s.carryOutAtMasters(ctx, cluster, batch, cmds, errs)
		return cmds, errs
	}
	_, _ = s.a.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
		for i, o := range batch {
			cmds[i] = o.do(ctx, p)
		}
		return nil
	})
	for i, c := range cmds {
		errs[i] = c.Err()
	}
	return cmds, errs
}

// certain leaves out what has come back meanwhile.
func (s *sender) certain(batch []outgoing) []outgoing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(batch, func(o outgoing) bool {
		if !o.doubt || o.serial > s.seen {
			return false
		}
		s.a.queued.Add(-int64(o.size))
		return true
	})
}

// unsent says whether an error means that nothing was sent.
func unsent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) ||
		errors.Is(err, redis.ErrPoolExhausted) ||
		errors.Is(err, errNoMaster) {
		return true
	}
	return slices.ContainsFunc(
		[]string{"LOADING", "MASTERDOWN", "READONLY", "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN"},
		func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) },
	)
}

// published is the command that publishes on a channel.
func published(channel string, payload []byte, sharded bool) outgoing {
	o := outgoing{
		size: len(payload),
		do:   func(ctx context.Context, p redis.Pipeliner) redis.Cmder { return p.Publish(ctx, channel, payload) },
	}
	if sharded {
		o.channel = channel
		o.do = func(ctx context.Context, p redis.Pipeliner) redis.Cmder { return p.SPublish(ctx, channel, payload) }
	}
	return o
}
