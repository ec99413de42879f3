package cluster

import (
	"sync"
	"time"
)

// Where the application is told which rooms are occupied, each node knows which rooms are occupied
// at each other, as it does of presence. So the leader can report them, and a node that dies
// vacates its rooms. A node numbers its notes of rooms; who misses a number asks for the whole.

// localRooms are the rooms of this node that the others know of. Its mutex is held while a note of
// them is sent, so that notes go out in order.
type localRooms struct {
	mu       sync.Mutex
	occupied map[string]bool
	serial   uint64 // of the last note
}

// remoteRooms are those of another node. The Cluster's mu guards it.
type remoteRooms struct {
	occupied map[string]bool
	serial   uint64 // of the last note that was taken, all before it included
	known    bool   // serial is true: the whole was received
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

// ShareRooms informs the other nodes which rooms are occupied here. It keeps the map. They don't
// hear of a room that comes and goes between two calls.
func (c *Cluster) ShareRooms(now map[string]bool) {
	if c.alone() {
		return
	}
	r := &c.rooms
	r.mu.Lock()
	defer r.mu.Unlock()
	n := note{Kind: noteRooms}
	send := func() {
		if len(n.Occupied)+len(n.Vacated) == 0 {
			return
		}
		r.serial++
		n.RoomsSerial = r.serial
		c.send(n)
		n.Occupied, n.Vacated = nil, nil
	}
	for room := range now {
		if !r.occupied[room] {
			if n.Occupied = append(n.Occupied, room); len(n.Occupied) == roomsPart {
				send()
			}
		}
	}
	send()
	for room := range r.occupied {
		if !now[room] {
			if n.Vacated = append(n.Vacated, room); len(n.Vacated) == roomsPart {
				send()
			}
		}
	}
	send()
	r.occupied = now
}

// sendRooms tells a node which rooms are occupied here.
func (c *Cluster) sendRooms(to string) {
	r := &c.rooms
	r.mu.Lock()
	defer r.mu.Unlock()
	n := note{Kind: noteRoomsWhole, To: to, RoomsSerial: r.serial}
	for room := range r.occupied {
		if n.Occupied = append(n.Occupied, room); len(n.Occupied) == roomsPart {
			c.send(n)
			n.Occupied, n.Part = nil, n.Part+1
		}
	}
	n.Last = true
	c.send(n)
}

// heardRooms takes what a node says of its rooms. The caller holds mu.
func (c *Cluster) heardRooms(p *peer, n note) {
	if !c.opts.Rooms {
		return
	}
	r := &p.rooms
	switch n.Kind {
	case noteRoomsAsk:
		if n.To == c.node {
			c.sendRooms(n.Node)
		}
		return
	case noteRoomsWhole:
		if n.To == c.node {
			r.takePart(n)
		}
		return
	case noteRooms:
		if !r.known || n.RoomsSerial != r.serial+1 {
			r.known = r.known && n.RoomsSerial <= r.serial // an old one, of before the whole was received
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
	if !r.known && time.Since(r.asked) > c.opts.Lease/3 {
		r.asked = time.Now()
		c.send(note{Kind: noteRoomsAsk, To: n.Node})
	}
}

func add(to map[string]bool, rooms []string) {
	for _, room := range rooms {
		if len(to) < maxRoomsOf && len(room) <= maxRoomName {
			to[room] = true
		}
	}
}

// takePart takes a part of the answer which rooms are occupied at a node. Once all parts are
// there they replace what was known.
func (r *remoteRooms) takePart(n note) {
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

// RemoteRooms calls f for each room that is occupied at another node. Those of a node that said
// farewell still count for a grace time, in which its browsers come back at other nodes; see
// Update.
func (c *Cluster) RemoteRooms(f func(room string)) {
	if c.alone() {
		return
	}
	grace := time.Duration(c.roomsGrace.Load())
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
