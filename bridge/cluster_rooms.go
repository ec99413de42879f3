package bridge

import (
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/webhook"
)

// Where the application is told which rooms are occupied, each node knows which are at each other, as it does of presence: so whoever leads can tell, and a node that dies
// vacates its rooms. What a node says of its rooms is numbered, and the whole asked for where a number is missing.

// roomsHere are the rooms of this node of which the others know. Its mutex is held while they are told, so that they hear of it in order.
type roomsHere struct {
	mu       sync.Mutex
	occupied map[string]bool
	serial   uint64 // of the last change of it
}

// roomsThere are those of another node. The cluster's mu guards it.
type roomsThere struct {
	occupied map[string]bool
	serial   uint64 // of the last note that was taken, all before it included
	known    bool   // serial is true: the whole was told
	asked    time.Time
	whole    map[string]bool // the parts of an answer that came
	parts    int
}

// Bounds of notes of rooms.
const (
	roomsPart   = 500       // in one note
	maxRoomsOf  = 1_000_000 // rooms of another node that are known
	maxRoomName = 1024      // bytes
)

// tellRooms tells the other nodes which rooms are occupied here. Of a room that comes and goes between two calls they hear nothing.
func (c *cluster) tellRooms(now map[string]bool) {
	r := &c.rooms
	r.mu.Lock()
	defer r.mu.Unlock()
	n := note{Kind: noteRooms}
	tell := func() {
		if len(n.Occupied)+len(n.Vacated) == 0 {
			return
		}
		r.serial++
		n.RoomsSerial = r.serial
		c.say(n)
		n.Occupied, n.Vacated = nil, nil
	}
	for room := range now {
		if !r.occupied[room] {
			if n.Occupied = append(n.Occupied, room); len(n.Occupied) == roomsPart {
				tell()
			}
		}
	}
	tell()
	for room := range r.occupied {
		if !now[room] {
			if n.Vacated = append(n.Vacated, room); len(n.Vacated) == roomsPart {
				tell()
			}
		}
	}
	tell()
	r.occupied = now
}

// tellAllRooms tells a node which rooms are occupied here.
func (c *cluster) tellAllRooms(to string) {
	r := &c.rooms
	r.mu.Lock()
	defer r.mu.Unlock()
	n := note{Kind: noteRoomsWhole, To: to, RoomsSerial: r.serial}
	for room := range r.occupied {
		if n.Occupied = append(n.Occupied, room); len(n.Occupied) == roomsPart {
			c.say(n)
			n.Occupied, n.Part = nil, n.Part+1
		}
	}
	n.Last = true
	c.say(n)
}

// metRooms takes what a node says of its rooms. The caller holds mu.
func (c *cluster) metRooms(p *peer, n note) {
	if !c.b.webhooks.ReportsRooms() {
		return
	}
	r := &p.rooms
	switch n.Kind {
	case noteRoomsAsk:
		if n.To == c.node {
			c.tellAllRooms(n.Node)
		}
		return
	case noteRoomsWhole:
		if n.To == c.node {
			r.takePart(n)
		}
		return
	case noteRooms:
		if !r.known || n.RoomsSerial != r.serial+1 {
			r.known = r.known && n.RoomsSerial <= r.serial // an old one, of before the whole was told
			break
		}
		r.serial = n.RoomsSerial
		add(r.occupied, n.Occupied)
		for _, room := range n.Vacated {
			delete(r.occupied, room)
		}
	case noteBeat:
		r.known = r.known && n.RoomsSerial == r.serial
	case noteHello:
		r.known = false
	default:
		return
	}
	if !r.known && time.Since(r.asked) > c.lease/3 {
		r.asked = time.Now()
		c.say(note{Kind: noteRoomsAsk, To: n.Node})
	}
}

func add(to map[string]bool, rooms []string) {
	for _, room := range rooms {
		if len(to) < maxRoomsOf && len(room) <= maxRoomName {
			to[room] = true
		}
	}
}

// takePart takes a part of the answer which rooms are occupied at a node. Once all are there they stand in place of what was known.
func (r *roomsThere) takePart(n note) {
	if n.Part == 0 {
		r.whole, r.parts = make(map[string]bool), 0
	}
	if n.Part != r.parts || r.whole == nil {
		return // one is missing: it is asked for again
	}
	r.parts++
	add(r.whole, n.Occupied)
	if n.Last {
		r.occupied, r.serial, r.known, r.whole = r.whole, n.RoomsSerial, true, nil
	}
}

// roomsElsewhere calls f for each room at another node. Those of one that said farewell stay for the grace of presence, in which its browsers come back at others, and until those
// have looked.
func (c *cluster) roomsElsewhere(f func(room string)) {
	grace := c.b.cfg().Presence.Grace + 2*webhook.RoomsEvery
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		if p.gone && time.Since(p.heard) > grace {
			continue
		}
		for room := range p.rooms.occupied {
			f(room)
		}
	}
}

// lastLed is when another node was last heard to lead.
func (c *cluster) lastLed() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledElsewhere
}
