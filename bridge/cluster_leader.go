package bridge

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// lead takes the lease, or prolongs it, where nobody else has it: KEYS[1] is the lease, ARGV[1] who asks, ARGV[2] its length in ms. It answers 1 if that one leads now.
var lead = redis.NewScript(`
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1`)

// yield gives the lease up where it is one's own.
var yield = redis.NewScript(`if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`)

// strive takes the lease or prolongs it. One that leads and can't prolong stops leading when its lease ends, by its own clock, which began before that of Redis.
func (c *cluster) strive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.lease/3)
	defer cancel()
	asked := time.Now()
	led := c.leads()
	n, err := lead.Run(ctx, c.redis, []string{c.key}, c.node, c.lease.Milliseconds()).Int()
	switch {
	case err != nil: // it is tried again
	case n == 1:
		c.leadsUntil.Store(asked.Add(c.lease).UnixNano())
		if !led {
			c.b.log.Info().Msg("cluster: this node leads")
		}
	default:
		c.leadsUntil.Store(0)
	}
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
func (c *cluster) speaks() bool { return c == nil || c.leads() || !c.up() }
