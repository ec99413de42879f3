package cluster

import (
	"encoding/json"
	"fmt"

	"github.com/supabridge/supabridge/socketio"
)

// Bounds.
const (
	MaxNoted = maxNoted
	MaxPeers = maxPeers
)

// Node is the id by which other nodes know this one.
func (c *Cluster) Node() string { return c.node }

// Receive takes a note, and AnswerCount a question, as the adapter's goroutine does.
func (c *Cluster) Receive(text string) {
	c.receive(&socketio.Event{Name: noteEvent, Args: []json.RawMessage{json.RawMessage(text)}})
}

func (c *Cluster) AnswerCount(text string) {
	c.answerCount(&socketio.Event{Name: countEvent, Args: []json.RawMessage{json.RawMessage(text)}})
}

// RedisChanged does what the adapter does when Redis comes (nil) and goes.
func (c *Cluster) RedisChanged(err error) { c.redisChanged(err) }

// Knows reports whether the whole of a node's presence was received.
func (c *Cluster) Knows(node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[node].known
}

// Parts counts the attendances of an answer that is not complete.
func (c *Cluster) Parts(node string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.peers[node].whole)
}

// Unbounded says what is kept of other nodes beyond the bounds; "" for nothing.
func (c *Cluster) Unbounded() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for node, p := range c.peers {
		if len(node) > maxNoted || len(p.there) > maxThere || len(p.rooms.occupied) > maxRoomsOf {
			return fmt.Sprintf("of a node there are %d attendances and %d rooms", len(p.there), len(p.rooms.occupied))
		}
	}
	if len(c.peers) > maxPeers {
		return fmt.Sprintf("%d nodes", len(c.peers))
	}
	return ""
}
