package bridge

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// A client may come back to another node than it left, and be recovered there, where cluster.mode
// is streams and one node leads (cluster.changes: leader). What is told of rows every node emits by
// itself, in the leader's order and with the place in that as a mark; typing, presence and states
// every node emits too, in no order. Where a node tells something otherwise than the leader, since
// it read it itself or heard Realtime for itself, nobody from elsewhere is recovered across that;
// such a client enters its rooms anew. See socketio.Target.Mirrored.

// portable tells whether clients can be recovered at other nodes.
func (b *Bridge) portable() bool {
	c := b.cfg()
	return b.cluster.Changes() != nil && c.Cluster.Mode == "streams" && c.SocketIO.Recovery.Window > 0 &&
		!slices.Contains(c.Webhooks.Twilio.Modes, "emit") // of what that sends before it is stored other nodes know nothing
}

// strayFor is how long a node takes no session from other nodes, and gives them none, after it emitted
// something before the leader passed it on. It must exceed the time until other nodes have emitted
// the same: until the leader has passed it on, or each node has read it.
const strayFor = 30 * time.Second

// passed notes that a change has been told, or nothing was to be told of it.
func (b *Bridge) passed(p feed.Place) {
	if !b.portable() {
		return
	}
	if p == (feed.Place{}) {
		b.unlike()
		b.stray.Store(time.Now().Add(strayFor).UnixNano())
		return
	}
	if stray := b.stray.Load(); stray != 0 && time.Now().UnixNano() > stray {
		b.stray.Store(0)
		b.unlike() // who left another node before now may lack what was told otherwise
	}
	for _, space := range b.spaces {
		space.Reached(socketio.Mark{Term: p.Term, N: p.N, K: emit.LastPart})
	}
}

// unlike notes that what this node has told up to now is not what others have.
func (b *Bridge) unlike() {
	if b.portable() {
		for _, space := range b.spaces {
			space.Break()
		}
	}
}

// speaks notes that a style is heard, here or at another node.
func (b *Bridge) speaks(s vocabulary.Style) {
	if b.emitter.Use(s) {
		b.unlike() // in this style nothing was told
		b.cluster.StyleHeard(s)
	}
}

// word is what one goroutine writes and others read.
type word struct{ p atomic.Pointer[string] }

func (w *word) set(text string) { w.p.Store(&text) }

func (w *word) get() string {
	if p := w.p.Load(); p != nil {
		return *p
	}
	return ""
}

// portrait is what another node has to know of a client to take it up.
type portrait struct {
	User          string   `json:"user"`
	Style         string   `json:"style"`
	Settled       bool     `json:"settled,omitempty"`
	Status        string   `json:"status,omitempty"`
	Conversations []string `json:"conversations,omitempty"`
	Tenants       []string `json:"tenants,omitempty"`
}

// exporter gives other nodes what they have to know of clients that leave; nil where they can't be
// recovered there.
func (b *Bridge) exporter() func(*socketio.Socket) (any, bool) {
	if !b.portable() {
		return nil
	}
	return func(s *socketio.Socket) (any, bool) {
		c, ok := s.Data().(*client)
		if !ok || c.lost.Load() || b.stray.Load() != 0 { // what this node told of its own accord, others have yet to tell
			return nil, false
		}
		who := c.identity.Load()
		if who.Pending || c.stays.holds.Load() > 0 { // it has rows, or will, that others would tell it again
			return nil, false
		}
		return portrait{
			who.UserID,
			vocabulary.Style(c.style.Load()).String(),
			c.settled.Load(),
			c.status.get(),
			c.conversations.all(),
			c.tenants.all(),
		}, true
	}
}

// fromAbroad makes the client out that a socket was at another node; nil where it can't be taken up
// here. Whether its user may be in its rooms is asked by mayComeBack.
func (b *Bridge) fromAbroad(s *socketio.Socket, who *auth.Identity) *client {
	data, ok := s.Data().(json.RawMessage)
	var p portrait
	if b.stray.Load() != 0 || !ok || json.Unmarshal(data, &p) != nil || p.User != who.UserID || who.Pending {
		return nil
	}
	style, ok := vocabulary.StyleOf(p.Style)
	if !ok || !b.emitter.Used(style) && style != b.words().Preset() {
		return nil
	}
	c := &client{b: b, stays: new(stays)}
	told := b.router.tellings.count.Load() // what is told from now on it is given, or has
	c.become(who)
	c.style.Store(uint32(style))
	c.settled.Store(p.Settled)
	c.status.set(p.Status)
	rooms := b.cfg().Rooms
	for _, list := range []struct {
		ids  []string
		name config.Room
		in   *entered
	}{{p.Conversations, rooms.Conversation, &c.conversations}, {p.Tenants, rooms.Tenant, &c.tenants}} {
		for _, id := range list.ids {
			list.in.add(id, id)
			c.stays.begin(emit.RoomName(list.name, id), told)
		}
	}
	return c
}
