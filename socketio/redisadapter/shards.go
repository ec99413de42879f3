package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// In a Redis Cluster a sharded channel is heard at the master of its slot, so that there is a
// connection, an ear, to each master that has any of those wanted. A slot may get another master:
// because one dies, which ends the connection; because it is moved, and then Redis ends the
// subscription; or because the master has become a replica, or is cut off from the others, which an
// ear asks it now and then. What the client knows of masters may be old, as it has it of any node:
// so a subscription that stands is left where it is unless one of these has happened, and what is
// without one is tried until a master takes it.
//
// A channel leaves one master before it is subscribed to at the next: a message between the two is
// lost, where both would bring it twice.

// Bounds of that.
const (
	lookAgain  = 250 * time.Millisecond // between two looks at where channels belong, while that is uncertain
	looks      = 4                      // how many after the last sign of a change
	standsWait = time.Second            // for a master's answer to how it stands
	askedAgain = time.Second            // after which a master that could not be reached is tried anew
	rejoining  = 2 * time.Second        // how long others may take to listen at a master that has come, or come back
)

// standing is how far a subscription has come.
type standing int

const (
	pending standing = iota
	confirmed
	leaving // it was asked to end, since the channel belongs elsewhere
)

// ear is a connection to one master.
type ear struct {
	node     *redis.Client
	conn     *redis.PubSub
	caughtUp caughtUp
	ended    chan struct{} // closed once nothing is read any more
	heard    atomic.Int64  // when, by the clock
	stale    atomic.Bool   // its server is no master any more, or cut off

	mu       sync.Mutex // guards what is below
	channels map[string]standing
	freed    []string // channels that it does not hear any more, though they are wanted
	troubled bool     // Redis refused something
	err      error    // why it has ended
}

// shards keeps up the ears. Its goroutine owns all fields.
type shards struct {
	l       *listener
	cluster *redis.ClusterClient
	ears    map[string]*ear      // by the master's address
	at      map[string]string    // the address at which each wanted channel is, or is leaving from; "" where it is nowhere
	resting map[string]time.Time // masters that could not be reached, and until when they are left alone
	look    int                  // how many times it is still to be looked where channels belong
	failed  error                // the last error
	running sync.WaitGroup
}

// listenToShards listens until ctx ends.
func (l *listener) listenToShards(ctx context.Context, cluster *redis.ClusterClient) {
	s := &shards{
		l:       l,
		cluster: cluster,
		ears:    make(map[string]*ear),
		at:      make(map[string]string),
		resting: make(map[string]time.Time),
	}
	defer s.running.Wait()
	defer s.close()
	l.mu.Lock()
	l.sharded = true
	for _, r := range l.want {
		l.changes = append(l.changes, change{r, false})
	}
	l.mu.Unlock()
	s.running.Go(func() { l.a.countOften(ctx) })
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for ctx.Err() == nil {
		s.change(ctx)
		s.collect(ctx)
		s.judge()
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-again.C:
			s.settle(ctx)
		}
	}
}

// countOften counts the other nodes until ctx ends.
func (a *Adapter) countOften(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.count(ctx)
		}
	}
}

// change takes up what has come to be wanted, and what is not any more.
func (s *shards) change(ctx context.Context) {
	s.l.mu.Lock()
	changes := s.l.changes
	s.l.changes = nil
	s.l.mu.Unlock()
	for _, c := range changes {
		if c.gone {
			s.drop(ctx, c.channel)
			continue
		}
		if _, there := s.at[c.channel]; !there {
			s.place(ctx, c.channel)
		}
	}
}

// drop ends the subscription to a channel that is not wanted any more.
func (s *shards) drop(ctx context.Context, channel string) {
	e := s.ears[s.at[channel]]
	delete(s.at, channel)
	if e == nil {
		return
	}
	e.mu.Lock()
	delete(e.channels, channel)
	e.mu.Unlock()
	_ = e.conn.SUnsubscribe(ctx, channel) // where that fails the ear ends
}

// place subscribes to a channel at the master of its slot. Where that can't be reached the channel
// is nowhere for now.
func (s *shards) place(ctx context.Context, channel string) {
	s.at[channel] = ""
	node, err := s.cluster.MasterForKey(ctx, channel)
	if err != nil {
		s.failed = err
		return
	}
	address := node.Options().Addr
	if time.Now().Before(s.resting[address]) {
		return
	}
	e := s.ears[address]
	if e == nil {
		e = &ear{
			node:     node,
			conn:     node.Subscribe(ctx),
			channels: make(map[string]standing),
			ended:    make(chan struct{}),
			caughtUp: caughtUp{wake: make(chan struct{}, 1)},
		} // this connects to nobody yet
	}
	e.mu.Lock()
	e.channels[channel] = pending
	e.mu.Unlock()
	if err := e.conn.SSubscribe(ctx, channel); err != nil {
		s.failed = fmt.Errorf("subscribe at %s: %w", address, err)
		s.resting[address] = time.Now().Add(askedAgain)
		_ = e.conn.Close() // it may be closed already
		return
	}
	s.at[channel] = address
	if s.ears[address] == nil {
		delete(s.resting, address)
		s.ears[address] = e
		e.heard.Store(time.Now().UnixNano())
		e.caughtUp.begin()
		s.tellEars()
		s.running.Go(func() { s.l.hear(ctx, e) })
		s.running.Go(func() { s.l.watch(ctx, e) })
	}
}

// hear reads from one master until that fails.
func (l *listener) hear(ctx context.Context, e *ear) {
	defer close(e.ended)
	defer e.caughtUp.end()
	for {
		m, err := e.conn.Receive(ctx)
		e.heard.Store(time.Now().UnixNano())
		var refused redis.Error
		switch {
		case errors.As(err, &refused): // an answer, such as that the slot has moved
			e.mu.Lock()
			e.troubled = true
			e.mu.Unlock()
			l.notify()
		case err != nil:
			e.mu.Lock()
			e.err = fmt.Errorf("listen to Redis: %w", err)
			e.mu.Unlock()
			l.notify()
			return
		}
		switch m := m.(type) {
		case *redis.Subscription:
			e.note(m)
			l.notify()
		case *redis.Message:
			l.a.take(m)
		case *redis.Pong:
			e.caughtUp.answered(m.Payload)
		}
	}
}

// note takes up what has become of a subscription.
func (e *ear) note(m *redis.Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	was, wanted := e.channels[m.Channel]
	switch {
	case !wanted:
	case m.Kind == "ssubscribe":
		if was == pending {
			e.channels[m.Channel] = confirmed
		}
	case was != pending: // else this is about an earlier one
		delete(e.channels, m.Channel)
		e.freed = append(e.freed, m.Channel)
		e.troubled = e.troubled || was == confirmed // Redis ended it by itself: its slot has left this master
	}
}

// collect takes up what the ears have met with.
func (s *shards) collect(ctx context.Context) {
	for address, e := range s.ears {
		e.mu.Lock()
		freed, troubled, err := e.freed, e.troubled, e.err
		e.freed, e.troubled = nil, false
		if e.stale.Load() && len(e.channels) == 0 && err == nil {
			err = errStale
		}
		e.mu.Unlock()
		if err != nil {
			if !errors.Is(err, errStale) {
				s.failed = err
			}
			delete(s.ears, address)
			s.tellEars()
			_ = e.conn.Close() // it may be closed already
			for channel, at := range s.at {
				if at == address {
					s.at[channel] = ""
				}
			}
		}
		if troubled || err != nil || e.stale.Load() {
			s.look = looks
			s.cluster.ReloadState(ctx) // goes on by itself
		}
		for _, channel := range freed {
			if at, wanted := s.at[channel]; wanted && at == address {
				s.place(ctx, channel)
			}
		}
	}
}

// errStale ends an ear that hears nothing any more.
var errStale = errors.New("no master any more")

// settle looks where channels belong, as long as that is uncertain, and sees to those that are
// nowhere.
func (s *shards) settle(ctx context.Context) {
	nowhere := false
	for channel, at := range s.at {
		if at == "" {
			s.place(ctx, channel)
			nowhere = nowhere || s.at[channel] == ""
		}
	}
	switch {
	case s.look > 0:
		s.look--
	case nowhere:
	default:
		return
	}
	s.cluster.ReloadState(ctx)
	for channel, at := range s.at {
		e := s.ears[at]
		if e == nil {
			continue
		}
		e.mu.Lock()
		standing, there := e.channels[channel]
		e.mu.Unlock()
		if !there || standing == leaving || standing == confirmed && !e.stale.Load() {
			continue
		}
		node, err := s.cluster.MasterForKey(ctx, channel)
		switch {
		case err != nil:
		case node.Options().Addr != at && standing == confirmed:
			e.mu.Lock()
			e.channels[channel] = leaving
			e.mu.Unlock()
			_ = e.conn.SUnsubscribe(ctx, channel) // where that fails the ear ends
		case node.Options().Addr != at:
			s.drop(ctx, channel) // Redis refused it here
			s.place(ctx, channel)
		case standing == pending:
			_ = e.conn.SSubscribe(ctx, channel) // as the last one may have been refused; where that fails the ear ends
		}
	}
}

// watch asks a master now and then whether it is there and how it stands, and whether what it had
// is heard, until the ear has ended.
func (l *listener) watch(ctx context.Context, e *ear) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-e.ended:
			return
		case <-e.caughtUp.wake:
			err = e.caughtUp.ping(ctx, e.conn)
		case <-tick.C:
			if time.Since(time.Unix(0, e.heard.Load())) > silence {
				err = errors.New("no answer")
			} else if err = e.conn.Ping(ctx); err == nil {
				l.look(ctx, e)
			}
		}
		if err != nil {
			_ = e.conn.Close() // ends the read
			return
		}
	}
}

// look finds out how a master stands.
func (l *listener) look(ctx context.Context, e *ear) {
	ctx, cancel := context.WithTimeout(ctx, standsWait)
	defer cancel()
	role, err := e.node.Do(ctx, "role").Slice()
	replica := err == nil && len(role) > 0 && role[0] == "slave"
	info, err := e.node.ClusterInfo(ctx).Result()
	if replica || err == nil && strings.Contains(info, "cluster_state:fail") {
		if !e.stale.Swap(true) {
			l.notify()
		}
	} else if err == nil {
		e.stale.Store(false)
	}
}

// tellEars has it known which connections listen.
func (s *shards) tellEars() {
	var all []*caughtUp
	for _, e := range s.ears {
		all = append(all, &e.caughtUp)
	}
	s.l.mu.Lock()
	s.l.ears = all
	s.l.mu.Unlock()
}

// judge finds out whether the other nodes are heard: whether the channel is that all listen to.
// Others may be away with their master.
func (s *shards) judge() {
	channel := s.l.a.wire.counted(everywhere)
	up := false
	if e := s.ears[s.at[channel]]; e != nil {
		e.mu.Lock()
		up = e.channels[channel] == confirmed
		e.mu.Unlock()
	}
	if !up {
		s.l.a.down(hearing, errors.Join(errors.New("a master of the Redis Cluster can't be heard"), s.failed))
		return
	}
	s.failed = nil
	s.l.a.established(hearing)
}

// close ends all ears.
func (s *shards) close() {
	s.l.a.up.Store(false)
	for _, e := range s.ears {
		_ = e.conn.Close() // it may be closed already
	}
}
