package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// acquire takes the lease, or prolongs it, where nobody else has it. KEYS are the lease and the
// number of the term. ARGV are who asks, the length of the lease in ms, and the last term that the
// node has heard of. It answers the number of the term if the node leads now, else 0. Each leader
// has a term of its own, higher than those before.
var acquire = redis.NewScript(`
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
local term = math.max(tonumber(redis.call('get', KEYS[2]) or 0), tonumber(ARGV[3]))
if not holder then
  term = term + 1
  redis.call('set', KEYS[2], term)
end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return term`)

// release gives the lease up where it is one's own.
var release = redis.NewScript(
	`if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`)

// renewLease takes the lease or prolongs it. A leader that can't prolong it stops leading when its
// lease ends by its own clock, which began before that of Redis.
func (c *Cluster) renewLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Lease/3)
	defer cancel()
	asked := time.Now()
	led := c.leads()
	term, err := acquire.Run(ctx, c.redis, []string{c.key, c.leaderKey("term")},
		c.node, c.opts.Lease.Milliseconds(), c.term.Load()).Uint64()
	switch {
	case err != nil: // it is tried again
	case term > 0:
		c.term.Store(term)
		c.leadsUntil.Store(asked.Add(c.opts.Lease).UnixNano())
		if !led {
			c.opts.Log.Info().Uint64("term", term).Msg("cluster: this node leads")
			c.leaderChanged()
		}
	default:
		c.leadsUntil.Store(0)
	}
	c.noteRefusal(err)
	c.standsIn.Store(err != nil && c.noLeader())
}

// noteRefusal notes whether Redis answers that it takes no writes: it is full (OOM), a replica
// (READONLY), or can't save (MISCONF). Its connections are up all the while, and what is published
// may still be heard.
func (c *Cluster) noteRefusal(err error) {
	var answer redis.Error
	if err == nil || !errors.As(err, &answer) {
		if c.refusal.Swap(nil) != nil && err == nil {
			c.opts.Log.Info().Msg("cluster: Redis takes writes again")
		}
		return
	}
	reason := c.withoutSecret(err).Error()
	if c.refusal.Swap(&reason) == nil {
		c.opts.Log.Error().Str("reason", reason).
			Msg("cluster: Redis refuses writes: no node can lead, and what is shared by streams is lost")
	}
}

// refused says why Redis takes no writes, "" while it does.
func (c *Cluster) refused() string {
	if reason := c.refusal.Load(); reason != nil {
		return *reason
	}
	return ""
}

// noLeader reports whether this node stands in for a leader, where nobody can take the lease: for
// longer than a lease no node was heard to lead or to stand in, and of those alive this one comes
// first. Nodes that don't hear each other each stand in: then something is sent twice rather than
// not.
func (c *Cluster) noLeader() bool {
	if c.leads() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.ledElsewhere) < c.opts.Lease*4/3 {
		return false
	}
	for node, p := range c.peers {
		if !p.gone && node < c.node {
			return false
		}
	}
	return true
}

// leads reports whether this node leads.
func (c *Cluster) leads() bool { return time.Now().UnixNano() < c.leadsUntil.Load() }

// resignWait bounds giving the lease up.
const resignWait = 500 * time.Millisecond

// releaseLease has another node lead at once.
func (c *Cluster) releaseLease() {
	c.leadsUntil.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), resignWait)
	defer cancel()
	_ = release.Run(ctx, c.redis, []string{c.key}, c.node).Err() // else the lease ends by itself
}

// Reporter reports whether this node is the one that reports to the application what all nodes
// know: the leader, or one that hears no other. While nobody can lead, since Redis takes no writes,
// it is the node that stands in.
func (c *Cluster) Reporter() bool {
	return c.alone() || c.leads() || c.standsIn.Load() || !c.up()
}

// LastReporter is when another node was last heard to lead or to stand in; zero: never.
func (c *Cluster) LastReporter() time.Time {
	if c.alone() {
		return time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledElsewhere
}

// leaderKey names a key of the leader's, in the same slot of a Redis Cluster as the lease.
func (c *Cluster) leaderKey(what string) string { return "{" + c.key + "}:" + what }

// leaderChanged has Run and Changes.Run look at once who leads.
func (c *Cluster) leaderChanged() {
	for _, wake := range []chan struct{}{c.wakeChanges, c.wakeRun} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}
