package bridge

import (
	"time"

	"github.com/supabridge/supabridge/bridge/presence"
)

// overNodes begins the keys of sockets at other nodes.
const overNodes = "node:"

// Bounds of what is known of other nodes.
const (
	maxPeers  = 1000      // nodes
	wholePart = 500       // attendances in one note
	maxThere  = 1_000_000 // attendances of a node
)

// goneFor is how long a node that said farewell is remembered, so that what it still says while its sockets close does not count.
const goneFor = 5 * time.Minute

// peer is another node as it is known here. The cluster's mu guards it.
type peer struct {
	heard  time.Time
	serial uint64             // of the last note of presence that was taken, all before it included
	known  bool               // serial is true: the whole was told
	asked  time.Time          // when the whole was asked for
	there  map[string]attends // who is present there, by key and tenant
	whole  []attends          // the parts of an answer that came
	parts  int
	gone   bool // it said farewell; what it still says is not heard
	rooms  roomsThere
}

// met notes that a node is alive, and takes what it says of presence.
func (c *cluster) met(n note) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[n.Node]
	if p == nil {
		if len(c.peers) >= maxPeers {
			return
		}
		p = &peer{there: make(map[string]attends), rooms: roomsThere{occupied: make(map[string]bool)}}
		c.peers[n.Node] = p
		c.b.log.Info().Str("peer", n.Node).Msg("cluster: a node came")
	}
	if p.gone && n.Kind != noteHello {
		return
	}
	p.heard, p.gone = time.Now(), false
	if n.Leads {
		c.ledElsewhere = p.heard
	}
	c.metRooms(p, n)
	switch n.Kind {
	case noteHello:
		p.known = false
		c.tellWhole(n.Node)
	case noteAsk:
		if n.To == c.node {
			c.tellWhole(n.Node)
		}
	case noteWhole:
		if n.To == c.node {
			p.takePart(c, n)
		}
		return
	case noteBye:
		p.gone = true
		c.dismiss(p)
		c.b.log.Info().Str("peer", n.Node).Msg("cluster: a node left")
		c.turn() // it may have led
		return
	case noteEnter, noteLeave:
		if !p.known || n.Serial != p.serial+1 {
			p.known = p.known && n.Serial <= p.serial // an old one, of before the whole was told
			break
		}
		p.serial = n.Serial
		c.apply(p, n.Kind, remoteSocket(n.Node, n.attends))
	case noteBeat:
		p.known = p.known && n.Serial == p.serial
	}
	if !p.known && time.Since(p.asked) > c.lease/3 {
		p.asked = time.Now()
		c.say(note{Kind: noteAsk, To: n.Node})
	}
}

// remoteSocket is an attendance under the key that it has here.
func remoteSocket(node string, a attends) attends {
	a.Socket = overNodes + node + "/" + a.Socket
	return a
}

// apply notes one attendance, or its end.
func (c *cluster) apply(p *peer, kind noteKind, a attends) {
	online := c.b.presence
	if online == nil {
		return
	}
	key := a.Tenant + "\x00" + a.Socket
	if kind == noteLeave {
		if _, there := p.there[key]; there {
			delete(p.there, key)
			if a.Expelled {
				online.Revoke(a.Tenant, a.Socket, a.who())
			} else if a.Word == saidGoodbye {
				online.Goodbye(a.Tenant, a.Socket, a.who())
			} else {
				online.Leave(a.Tenant, a.Socket, a.who())
			}
		}
		return
	}
	if _, known := p.there[key]; !known && len(p.there) >= maxThere {
		return
	}
	p.there[key] = a
	if a.Word != "" {
		online.SetStatus(a.Tenant, a.Socket, presence.Remote, a.who(), a.Word)
	} else {
		online.Enter(a.Tenant, a.Socket, presence.Remote, a.who())
	}
}

// takePart takes a part of the answer who is present at a node. Once all are there they stand in place of what was known.
func (p *peer) takePart(c *cluster, n note) {
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

// tellWhole tells a node who is present here.
func (c *cluster) tellWhole(to string) {
	c.saying.Lock()
	defer c.saying.Unlock()
	var all []attends
	if c.b.presence != nil {
		for _, s := range c.b.presence.LocalSockets() {
			all = append(all, attendanceOf(s.Tenant, s.Key, s.Who, s.Status))
		}
	}
	for part := 0; ; part++ {
		n := min(len(all), wholePart)
		c.say(note{Kind: noteWhole, To: to, All: all[:n], Part: part, Last: n == len(all), Serial: c.serial})
		if all = all[n:]; len(all) == 0 {
			return
		}
	}
}

// dismiss takes everybody at a node for gone.
func (c *cluster) dismiss(p *peer) {
	for _, a := range p.there {
		c.apply(p, noteLeave, a)
	}
	p.known = false
}

// bury takes nodes that have been silent for the length of the lease for dead. While nobody can be heard nobody is.
func (c *cluster) bury() {
	if !c.up() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for node, p := range c.peers {
		if time.Since(p.heard) <= c.lease || p.gone && time.Since(p.heard) <= goneFor {
			continue
		}
		if !p.gone {
			c.b.log.Warn().Str("peer", node).Msg("cluster: a node is silent and taken for dead")
		}
		c.dismiss(p)
		delete(c.peers, node)
	}
}

// reviveAll begins all leases anew, after a time in which nobody could be heard.
func (c *cluster) reviveAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.heard = time.Now()
	}
}

// alive counts the other nodes.
func (c *cluster) alive() int {
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
