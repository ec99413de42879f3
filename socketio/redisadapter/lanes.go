package redisadapter

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// With sharded channels of a Redis Cluster, what is to be sent is parted into lanes by slot, a sender each. Slots mostly belong to masters in long runs, so that a lane has one
// master or two, and a master that is away holds up its own lanes only.

// shardLanes is how many senders share the slots.
const shardLanes = 16

// sendToMasters sends a batch, each message to the master of its channel. It returns false, and has given back what is certain not to have been sent, where a master can't be
// reached or a channel has moved to another. What else fails counts as dropped.
func (s *sender) sendToMasters(ctx context.Context, cluster *redis.ClusterClient, batch []outgoing) bool {
	errs := make([]error, len(batch))
	to := make(map[*redis.Client][]int) // the indexes of messages, in order
	for i, o := range batch {
		master, err := cluster.MasterForKey(ctx, o.channel)
		if errs[i] = err; err == nil {
			to[master] = append(to[master], i)
		}
	}
	for master, list := range to {
		cmds := make([]redis.Cmder, len(list))
		_, _ = master.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
			for n, i := range list {
				cmds[n] = batch[i].do(ctx, p)
			}
			return nil
		})
		for n, i := range list {
			if errs[i] = cmds[n].Err(); errs[i] != nil && !unsent(errs[i]) {
				errs[i] = errors.Join(errLost, errs[i])
			}
		}
	}
	var again, failed []outgoing
	for i, o := range batch {
		switch {
		case errs[i] == nil:
			s.a.sent.Add(1)
			s.a.queued.Add(-int64(o.size))
		case errors.Is(errs[i], errLost):
			s.a.queued.Add(-int64(o.size))
			failed = append(failed, o)
		default:
			again = append(again, o)
		}
	}
	s.a.lost(failed)
	if len(again) == 0 {
		return true
	}
	s.giveBack(again)
	cluster.ReloadState(ctx) // goes on by itself
	return false
}

// errLost marks what may have been sent, and is not sent again.
var errLost = errors.New("may have been sent")

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
