package cluster

import (
	"context"
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// During a migration Socket.IO servers in Node may be in the cluster. Their clients don't receive
// what every bridge emits to its own browsers. So the leader sends it once more for them, through
// the adapter and in the preset's style. Bridges ignore it, since it excepts their kin.

// KinRoom is a room that every socket of a bridge counts as being in.
const KinRoom = "\x00supabridge"

// foreignFor is how long it counts that a server that is no bridge is there after it was seen.
// Their number is that of the servers that the adapter counts, less the bridges that are known;
// each of the two lags behind for a while when nodes come and go.
const foreignFor = time.Minute

// findForeign looks whether there are servers that are no bridges.
func (c *Cluster) findForeign(ctx context.Context) {
	if c.adapter.Stats().Nodes <= c.alive() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Lease/3)
	defer cancel()
	if n, err := c.adapter.Nodes(ctx, c.io.Name()); err != nil || n <= c.alive() {
		return // that number was old
	}
	now := time.Now()
	before := c.foreignUntil.Swap(now.Add(foreignFor).UnixNano())
	if before < now.UnixNano() && c.opts.Relay {
		c.opts.Log.Info().
			Msg("cluster: there are Socket.IO servers that are no bridges; the leader sends them what browsers hear")
	}
}

// relays reports whether this node sends to servers that are no bridges: it leads, and there are
// any.
func (c *Cluster) relays() bool {
	return !c.alone() && c.opts.Relay && time.Now().UnixNano() < c.foreignUntil.Load() && c.leads()
}

// Relay sends the utterances of an event to the rooms of servers that are no bridges, where this
// node leads and there are any. What can't be sent is lost for their clients, and counted by the
// adapter.
func (c *Cluster) Relay(to emit.Audience, said []vocabulary.Utterance) {
	if !c.relays() {
		return
	}
	for _, u := range said {
		for _, target := range c.opts.Emitter.Targets(to, u, append(bridgeRooms(), to.Except...)) {
			_ = target.Emit(u.Name, emit.Values(u.Args)...)
		}
	}
}

// RelayAll sends an event to every client of servers that are no bridges; nothing where it has no
// name.
func (c *Cluster) RelayAll(name string, payload json.RawMessage) {
	if name == "" || !c.relays() {
		return
	}
	for _, space := range c.spaces {
		_ = space.Except(bridgeRooms()...).Emit(name, payload)
	}
}

// bridgeRooms are rooms that every socket of a bridge is in: KinRoom, and the room of its style.
// The latter are for bridges of a version without kin, and for clients that recover what they
// missed.
func bridgeRooms() []string {
	rooms := []string{KinRoom}
	for _, style := range vocabulary.Styles() {
		rooms = append(rooms, emit.StyleRoom(style))
	}
	return rooms
}
