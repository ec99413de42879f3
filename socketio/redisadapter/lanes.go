package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// In a Redis Cluster a command goes to the master of its channel or key. With sharded channels what
// is to be sent is parted into lanes by slot, a sender each. Slots mostly belong to masters in long
// runs, so that a lane has one master or two, and a master that is away holds up its own lanes
// only.

// shardLanes is how many senders share the slots.
const shardLanes = 16

// carryOutAtMasters has the masters of a Redis Cluster carry out commands, each that of its channel
// or key. The cluster's client would do that by itself, but repeat what it got no answer to, and
// publish by any member, of which one may be faster than another: so what has no slot goes to one
// master as long as that can be reached, since messages are to come in order.
func (s *sender) carryOutAtMasters(
	ctx context.Context,
	cluster *redis.ClusterClient,
	batch []outgoing,
	cmds []redis.Cmder,
	errs []error,
) {
	at := make(map[*redis.Client][]int) // the indexes of commands, in order
	for i, o := range batch {
		key := o.channel
		if key == "" {
			key = fmt.Sprint(s.a.host.Node(), s.a.elsewhere.Load())
		}
		master, err := cluster.MasterForKey(ctx, key)
		if err != nil {
			errs[i] = fmt.Errorf("%w: %w", errNoMaster, err)
			continue
		}
		at[master] = append(at[master], i)
	}
	for master, list := range at {
		_, _ = master.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
			for _, i := range list {
				cmds[i] = batch[i].do(ctx, p)
			}
			return nil
		})
		for _, i := range list {
			errs[i] = cmds[i].Err()
		}
	}
	if slices.ContainsFunc(errs, unsent) {
		s.a.elsewhere.Add(1)
		cluster.ReloadState(ctx) // goes on by itself
	}
}

// errNoMaster means that it is not known which master has a slot.
var errNoMaster = errors.New("no master is known")

// reaches tells whether the channel's master is there, where there are several.
func (s *sender) reaches(ctx context.Context, channel string) bool {
	cluster := s.a.sharding()
	if cluster == nil {
		return true
	}
	master, err := cluster.MasterForKey(ctx, channel)
	if err == nil {
		err = master.Exists(ctx, channel).Err() // any question about the slot will do
	}
	var refused redis.Error
	if err == nil || errors.As(err, &refused) && !unsent(err) { // such as that keys are not for this user
		return true
	}
	cluster.ReloadState(ctx) // goes on by itself
	return false
}
