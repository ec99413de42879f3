package cluster

import (
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
)

// RemoteKey begins the keys of sockets at other nodes.
const RemoteKey = "node:"

// remoteKey is the key that a socket of another node has here.
func remoteKey(node, socket string) string { return RemoteKey + node + "/" + socket }

// Bounds of what is known of other nodes.
const (
	maxPeers  = 1000      // nodes
	wholePart = 500       // attendances in one note
	maxThere  = 1_000_000 // attendances of a node
)

// goneFor is how long a node that said farewell is remembered, so that what it still sends while
// its sockets close does not count.
const goneFor = 5 * time.Minute

// peer is another node as it is known here. The Cluster's mu guards it.
type peer struct {
	heard  time.Time
	serial uint64                // of the last note of presence that was taken, all before it included
	known  bool                  // serial is true: the whole was received
	asked  time.Time             // when the whole was asked for
	there  map[string]attendance // who is present there, by key and tenant
	whole  []attendance          // the parts of an answer that came
	parts  int
	gone   bool // it said farewell; what it still sends is not heard
	rooms  remoteRooms
}

// heardFrom notes that a node is alive, and takes what it says of presence.
func (c *Cluster) heardFrom(n note) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[n.Node]
	if p == nil {
		if len(c.peers) >= maxPeers {
			return
		}
		p = &peer{there: make(map[string]attendance), rooms: remoteRooms{occupied: make(map[string]bool)}}
		c.peers[n.Node] = p
		c.opts.Log.Info().Str("peer", n.Node).Msg("cluster: a node came")
	}
	if p.gone && n.Kind != noteHello {
		return
	}
	p.heard, p.gone = time.Now(), false
	if n.Leads {
		c.ledElsewhere = p.heard
	}
	c.heardRooms(p, n)
	switch n.Kind {
	case noteHello:
		p.known = false
		c.sendAttendances(n.Node)
	case noteAsk:
		if n.To == c.node {
			c.sendAttendances(n.Node)
		}
	case noteWhole:
		if n.To == c.node {
			p.takePart(c, n)
		}
		return
	case noteBye:
		p.gone = true
		c.dismiss(p)
		c.opts.Log.Info().Str("peer", n.Node).Msg("cluster: a node left")
		c.leaderChanged() // it may have led
		return
	case noteEnter, noteLeave:
		if !p.known || n.Serial != p.serial+1 {
			p.known = p.known && n.Serial <= p.serial // an old one, of before the whole was received
			break
		}
		p.serial = n.Serial
		c.apply(p, n.Kind, remoteSocket(n.Node, n.attendance))
	case noteBeat:
		p.known = p.known && n.Serial == p.serial
	}
	if !p.known && time.Since(p.asked) > c.opts.Lease/3 {
		p.asked = time.Now()
		c.send(note{Kind: noteAsk, To: n.Node})
	}
}

// remoteSocket is an attendance under the key that it has here.
func remoteSocket(node string, a attendance) attendance {
	a.Socket = remoteKey(node, a.Socket)
	return a
}

// apply notes one attendance, or its end.
func (c *Cluster) apply(p *peer, kind noteKind, a attendance) {
	if !c.opts.Presence {
		return
	}
	key := a.Tenant + "\x00" + a.Socket
	if kind == noteLeave {
		if _, there := p.there[key]; there {
			delete(p.there, key)
			c.opts.Handler.Leave(a.Tenant, a.Socket, a.who(), a.reason())
		}
		return
	}
	if _, known := p.there[key]; !known && len(p.there) >= maxThere {
		return
	}
	p.there[key] = a
	c.opts.Handler.Enter(a.Tenant, a.Socket, a.who(), a.Word)
}

// takePart takes a part of the answer who is present at a node. Once all parts are there they
// replace what was known.
func (p *peer) takePart(c *Cluster, n note) {
	if n.Part == 0 {
		p.whole, p.parts = nil, 0
	}
	if n.Part != p.parts {
		return // one is missing: it is asked for again
	}
	p.parts++
	p.whole = append(p.whole, n.All[:min(len(n.All), maxThere-len(p.whole))]...)
	if !n.Last {
		return
	}
	now := make(map[string]bool, len(p.whole))
	for _, a := range p.whole {
		a = remoteSocket(n.Node, a)
		now[a.Tenant+"\x00"+a.Socket] = true
		c.apply(p, noteEnter, a)
	}
	for key, a := range p.there {
		if !now[key] {
			c.apply(p, noteLeave, a)
		}
	}
	p.known, p.serial, p.whole = true, n.Serial, nil
}

// sendAttendances tells a node who is present here.
func (c *Cluster) sendAttendances(to string) {
	c.sending.Lock()
	defer c.sending.Unlock()
	var all []attendance
	if c.opts.Presence {
		c.opts.Handler.Attendances(func(tenant, socket string, who *auth.Identity, status string) {
			all = append(all, attendanceOf(tenant, socket, who, status))
		})
	}
	for part := 0; ; part++ {
		n := min(len(all), wholePart)
		c.send(note{Kind: noteWhole, To: to, All: all[:n], Part: part, Last: n == len(all), Serial: c.serial})
		if all = all[n:]; len(all) == 0 {
			return
		}
	}
}

// dismiss takes everybody at a node for gone.
func (c *Cluster) dismiss(p *peer) {
	for _, a := range p.there {
		c.apply(p, noteLeave, a)
	}
	p.known = false
}

// expireNodes takes nodes that have been silent for the length of the lease for dead. While no node
// can be heard none is.
func (c *Cluster) expireNodes() {
	if !c.up() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for node, p := range c.peers {
		if time.Since(p.heard) <= c.opts.Lease || p.gone && time.Since(p.heard) <= goneFor {
			continue
		}
		if !p.gone {
			c.opts.Log.Warn().Str("peer", node).Msg("cluster: a node is silent and taken for dead")
		}
		c.dismiss(p)
		delete(c.peers, node)
	}
}

// renewPeers takes all nodes for heard now, after a time in which none could be.
func (c *Cluster) renewPeers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.heard = time.Now()
	}
}

// alive counts the other nodes.
func (c *Cluster) alive() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.peers {
		if !p.gone {
			n++
		}
	}
	return n
}
