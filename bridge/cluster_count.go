package bridge

import (
	"context"
	"time"

	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/socketio"
)

// countEvent is the event by which a bridge asks the others how many sockets something reaches.
const countEvent = "supabridge:count"

// countWait bounds the wait for the answers. A node that is dead is awaited that long until its lease is over, and one of a version without this event as well.
const countWait = 500 * time.Millisecond

// maxCounted bounds the events in one question: more than publish.max_batch may be.
const maxCounted = 10_000

// countQuestion is that question: about events, or about those to be disconnected.
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

// collect asks the other bridges, and adds up what they answer, by event. missing are those that have not answered in time.
func (c *cluster) collect(ctx context.Context, q countQuestion) (sums []int, missing int) {
	if c == nil {
		return nil, 0
	}
	missing = c.alive()
	if missing == 0 || !c.up() {
		return nil, missing
	}
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	replies, _ := c.b.io.ServerSideCollect(ctx, missing, countEvent, q) // of an error it tells that some are missing
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

// count answers, on the adapter's goroutine.
func (c *cluster) count(e *socketio.Event) {
	var q countQuestion
	if e.Decode(0, &q) != nil || len(q.Events) > maxCounted {
		return // not of a bridge
	}
	s := sender{c.b}
	counts := make([]int, max(len(q.Events), 1))
	for i, of := range q.Events {
		for _, target := range s.targets(publish.Event{Rooms: of.Rooms, Users: of.Users, Except: of.Except}) {
			if len(of.Rooms)+len(of.Users) > 0 { // else it would be everybody
				counts[i] += len(target.Local().Sockets())
			}
		}
	}
	if q.Whom != nil && len(q.Events) == 0 {
		counts[0] = len(s.meant(*q.Whom))
	}
	e.Ack(counts)
}
