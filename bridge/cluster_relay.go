package bridge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// What every bridge tells its own browsers, the clients of a Socket.IO server in Node, which takes part in the cluster during a migration, hear of by nobody. So one
// bridge, the leader, sends it once more for them, through the adapter and in the preset's style. Bridges leave it: it excepts their kin.

// kinRoom is what every socket of a bridge counts as being in.
const kinRoom = "\x00supabridge"

// foreignFor is how long a server that is no bridge is taken for being there after it was seen. Those there are are the servers that the adapter counts less the bridges that are
// known; each of the two numbers lags behind for a while when nodes come and go.
const foreignFor = time.Minute

// lookForForeign looks whether there are servers that are no bridges.
func (c *cluster) lookForForeign(ctx context.Context) {
	if c.adapter.Stats().Nodes <= c.alive() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.lease/3)
	defer cancel()
	if n, err := c.adapter.Nodes(ctx, c.b.io.Name()); err != nil || n <= c.alive() {
		return // that number was old
	}
	now := time.Now()
	if before := c.foreignUntil.Swap(now.Add(foreignFor).UnixNano()); before < now.UnixNano() && c.b.cfg().Cluster.Relay {
		c.b.log.Info().Msg("cluster: there are Socket.IO servers that are no bridges; the leader sends them what browsers hear")
	}
}

// relays tells whether this node is the one that tells servers which are no bridges, and there are any.
func (c *cluster) relays() bool {
	return c != nil && c.b.cfg().Cluster.Relay && time.Now().UnixNano() < c.foreignUntil.Load() && c.leads()
}

// relay sends what is said to the rooms of servers that are no bridges. What can't be sent is lost for their clients, and counted by the adapter.
func (c *cluster) relay(to emit.Audience, said []vocabulary.Utterance) {
	if !c.relays() {
		return
	}
	for _, u := range said {
		for _, target := range c.b.emitter.Targets(to, u, append(bridges(), to.Except...)) {
			_ = target.Emit(u.Name, emit.Values(u.Args)...)
		}
	}
}

// relayAll sends an event to every client of servers that are no bridges; nothing where it has no name.
func (c *cluster) relayAll(name string, payload json.RawMessage) {
	if name == "" || !c.relays() {
		return
	}
	for _, space := range c.b.spaces {
		_ = space.Except(bridges()...).Emit(name, payload)
	}
}

// bridges are rooms in which every socket of a bridge is: by kinRoom, and by its style, for a bridge that knows nothing of kin, and for whoever recovers what was missed.
func bridges() []string {
	rooms := []string{kinRoom}
	for _, style := range vocabulary.Styles() {
		rooms = append(rooms, emit.StyleRoom(style))
	}
	return rooms
}
