package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// lead takes the lease, or prolongs it, where nobody else has it: KEYS are the lease and the number of the term, ARGV who asks, the length of the lease in ms, and
// the last term that one has heard of. It answers the number of the term if that one leads now, else 0. Each leader has a term of its own, higher than those before.
var lead = redis.NewScript(`
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local term = math.max(tonumber(redis.call('get', KEYS[2]) or 0), tonumber(ARGV[3]))
if not holder then
  term = term + 1
  redis.call('set', KEYS[2], term)
end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return term`)

// yield gives the lease up where it is one's own.
var yield = redis.NewScript(`if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`)

// strive takes the lease or prolongs it. One that leads and can't prolong stops leading when its lease ends, by its own clock, which began before that of Redis.
func (c *cluster) strive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.lease/3)
	defer cancel()
	asked := time.Now()
	led := c.leads()
	term, err := lead.Run(ctx, c.redis, []string{c.key, c.keyOf("term")}, c.node, c.lease.Milliseconds(), c.term.Load()).Uint64()
	switch {
	case err != nil: // it is tried again
	case term > 0:
		c.term.Store(term)
		c.leadsUntil.Store(asked.Add(c.lease).UnixNano())
		if !led {
			c.b.log.Info().Uint64("term", term).Msg("cluster: this node leads")
			c.turn()
		}
	default:
		c.leadsUntil.Store(0)
	}
	c.noteRefusal(err)
	c.standsIn.Store(err != nil && c.leaderless())
}

// noteRefusal notes whether Redis answers that it takes no writes: it is full (OOM), a replica (READONLY), or can't save (MISCONF). Its connections are up
// all the while, and what is published may still be heard.
func (c *cluster) noteRefusal(err error) {
	var answer redis.Error
	if err == nil || !errors.As(err, &answer) {
		if c.refusal.Swap(nil) != nil && err == nil {
			c.b.log.Info().Msg("cluster: Redis takes writes again")
		}
		return
	}
	reason := withoutSecret(err, c.b.cfg().Cluster).Error()
	if c.refusal.Swap(&reason) == nil {
		c.b.log.Error().Str("reason", reason).Msg("cluster: Redis refuses writes: no node can lead, and what is shared by streams is lost")
	}
}

// refused says why Redis takes no writes, "" while it does.
func (c *cluster) refused() string {
	if reason := c.refusal.Load(); reason != nil {
		return *reason
	}
	return ""
}

// leaderless reports whether this node stands in for a leader, where nobody can take the lease: no node has been heard to lead, or to stand in, for longer than a
// lease, and of those alive this one comes first. Nodes that don't hear each other each stand in: then something is told twice rather than not.
func (c *cluster) leaderless() bool {
	if c.leads() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.ledElsewhere) < c.lease*4/3 {
		return false
	}
	for node, p := range c.peers {
		if !p.gone && node < c.node {
			return false
		}
	}
	return true
}

// leads tells whether this node leads.
func (c *cluster) leads() bool { return time.Now().UnixNano() < c.leadsUntil.Load() }

// resignWait bounds giving the lease up.
const resignWait = 500 * time.Millisecond

// resign has another node lead at once.
func (c *cluster) resign() {
	c.leadsUntil.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), resignWait)
	defer cancel()
	_ = yield.Run(ctx, c.redis, []string{c.key}, c.node).Err() // else the lease ends by itself
}

// speaks tells whether this node is the one that tells the application what all nodes know: the leader, or one that hears no other.
// While nobody can lead, since Redis takes no writes, it is the node that stands in.
func (c *cluster) speaks() bool { return c.leads() || c.standsIn.Load() || !c.up() }

// keyOf names a key of the leader's, in the same slot of a Redis Cluster as the lease.
func (c *cluster) keyOf(what string) string { return "{" + c.key + "}:" + what }

// turn has it be looked at at once who leads.
func (c *cluster) turn() {
	for _, wake := range []chan struct{}{c.turned, c.hurry} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
