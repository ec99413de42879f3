package cluster

import (
	"context"
	"time"

	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/socketio"
)

// countEvent is the event by which a bridge asks the others how many sockets something reaches.
const countEvent = "supabridge:count"

// countWait bounds the wait for the answers. A dead node is waited for that long until its lease is
// over, and so is one of a version without this event.
const countWait = 500 * time.Millisecond

// maxCounted bounds the events in one question: more than publish.max_batch may be.
const maxCounted = 10_000

// countQuestion is that question: about events, or about the sockets to be disconnected.
type countQuestion struct {
	Events []counted     `json:"events,omitempty"`
	Whom   *publish.Whom `json:"whom,omitempty"`
}

// counted are those whom an event goes to.
type counted struct {
	Rooms  []string `json:"rooms,omitempty"`
	Users  []string `json:"users,omitempty"`
	Except []string `json:"except,omitempty"`
}

// Reached asks the other nodes how many of their sockets events reached, one by one. missing is how
// many nodes have not answered in time.
func (c *Cluster) Reached(ctx context.Context, events []publish.Event) (reached []int, missing int) {
	q := countQuestion{Events: make([]counted, len(events))}
	for i, e := range events {
		q.Events[i] = counted{e.Rooms, e.Users, e.Except}
	}
	return c.collect(ctx, q)
}

// Matching asks the other nodes how many connections Disconnect closes there; missing is as in
// Reached.
func (c *Cluster) Matching(ctx context.Context, whom publish.Whom) (reached, missing int) {
	counts, missing := c.collect(ctx, countQuestion{Whom: &whom})
	for _, n := range counts {
		reached += n
	}
	return reached, missing
}

// collect asks the other bridges, and adds up what they answer, by event. missing is how many have
// not answered in time.
func (c *Cluster) collect(ctx context.Context, q countQuestion) (sums []int, missing int) {
	if c.alone() {
		return nil, 0
	}
	missing = c.alive()
	if missing == 0 || !c.up() {
		return nil, missing
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	replies, _ := c.io.ServerSideCollect(ctx, missing, countEvent, q) // an error means that some are missing
	sums = make([]int, max(len(q.Events), 1))
	for _, r := range replies {
		var counts []int
		if r.Decode(0, &counts) != nil || len(counts) != len(sums) {
			continue
		}
		missing--
		for i, n := range counts {
			sums[i] += max(n, 0)
		}
	}
	return sums, missing
}

// answerCount answers another node's question, on the adapter's goroutine.
func (c *Cluster) answerCount(e *socketio.Event) {
	var q countQuestion
	if e.Decode(0, &q) != nil || len(q.Events) > maxCounted {
		return // not of a bridge
	}
	counts := make([]int, max(len(q.Events), 1))
	for i, of := range q.Events {
		if len(of.Rooms)+len(of.Users) > 0 { // else it would be everybody
			counts[i] = c.opts.Handler.Reaches(publish.Event{Rooms: of.Rooms, Users: of.Users, Except: of.Except})
		}
	}
	if q.Whom != nil && len(q.Events) == 0 {
		counts[0] = c.opts.Handler.Matches(*q.Whom)
	}
	e.Ack(counts)
}
