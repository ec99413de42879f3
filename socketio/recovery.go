package socketio

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// Connection state recovery. Every event that can be recovered has a number in its namespace, which the client gets as an offset
// and returns when it comes back; and every socket has a session with a private id, pid, that only its client knows. What was sent
// is kept by room. A session can be recovered as long as every packet after its offset that was meant for one of its rooms is
// still there: however old the offset is, and also when the client has no offset because it has got no event yet. The old
// connection need not have been noticed dead: a client that comes back with the pid takes its place.

// history is what a namespace keeps for recovery. The namespace's mu guards it.
type history struct {
	on      bool // immutable
	opts    Recovery
	maxAge  time.Duration // of an entry
	maxMiss int           // bytes that a client can be given at once

	seq     uint64   // number of the last packet
	entries []*entry // all, oldest first
	bytes   int
	byPID   map[string]*session
	bySID   map[string]*session
	sweeper *time.Timer // nil while there is nothing to expire
	stopped bool
}

// entry is an event that was sent.
type entry struct {
	seq      uint64
	at       time.Time
	messages []*engineio.Message
	size     int
	rooms    []*room
	except   []string
}

// session is what outlives a socket's connection. The namespace's mu guards it.
type session struct {
	pid, sid string
	socket   *Socket // nil while the client is away
	start    uint64  // number of the last packet before the client connected
	own      *room   // what was sent to this client alone
	rooms    []membership
	data     any
	leftAt   time.Time
}

func (h *history) init(n *Namespace, o Options) {
	if !o.Recovery.Enabled {
		return
	}
	h.on, h.opts = true, o.Recovery
	// What was sent shortly before a client was found to be gone must be there too.
	h.maxAge = o.Recovery.MaxDisconnection + o.PingInterval + o.PingTimeout
	h.maxMiss = o.MaxQueueBytes / 2
	h.byPID, h.bySID = make(map[string]*session), make(map[string]*session)
}

// offset is a packet's number as clients see it.
func offset(seq uint64) string { return strconv.FormatUint(seq, 36) }

// rooms returns the rooms of these names in which anybody is, or is missed. No names mean everybody.
func (h *history) rooms(n *Namespace, names []string) []*room {
	if len(names) == 0 {
		if len(h.byPID) == 0 {
			return nil
		}
		return []*room{&n.all}
	}
	var list []*room
	for _, name := range names {
		r := n.rooms[name]
		if s := h.bySID[name]; s != nil && r == nil {
			r = s.own
		}
		if r != nil && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

// add numbers an event, keeps it for the rooms and returns its messages.
func (h *history) add(e encoding, rooms []*room, except []string) []*engineio.Message {
	h.seq++
	x := &entry{seq: h.seq, at: time.Now(), messages: e.finish(offset(h.seq)), rooms: rooms, except: except}
	for _, m := range x.messages {
		x.size += m.Size()
	}
	h.entries = append(h.entries, x)
	h.bytes += x.size
	for _, r := range rooms {
		r.log = append(r.log, x)
	}
	for len(h.entries) > h.opts.MaxPackets || h.bytes > h.opts.MaxBytes && len(h.entries) > 1 {
		h.dropOldest()
	}
	return x.messages
}

// dropOldest forgets the oldest event.
func (h *history) dropOldest() {
	x := h.entries[0]
	h.entries[0] = nil
	h.entries = h.entries[1:]
	h.bytes -= x.size
	for _, r := range x.rooms {
		if len(r.log) > 0 && r.log[0] == x {
			r.log[0] = nil
			r.log = r.log[1:]
		}
		r.dropped = x.seq
	}
}

// open makes the session of a new socket.
func (h *history) open(s *Socket) *session {
	x := &session{pid: newID(), sid: s.id, socket: s, start: h.seq, own: &room{name: s.id}}
	h.byPID[x.pid], h.bySID[x.sid] = x, x
	h.arm(s.ns)
	return x
}

// forget removes a session.
func (h *history) forget(n *Namespace, x *session) {
	delete(h.byPID, x.pid)
	if h.bySID[x.sid] == x {
		delete(h.bySID, x.sid)
	}
	for _, m := range x.rooms {
		m.room.absent--
		n.tidy(m.room)
	}
	x.rooms = nil
}

// leave keeps the session of a socket that has lost its connection, or removes that of one that has left. It comes before exit.
func (h *history) leave(n *Namespace, s *Socket, reason string) {
	x := s.session
	if x.socket != s {
		return // another connection has taken over
	}
	x.socket = nil
	switch reason {
	case ReasonClientDisconnect, ReasonServerDisconnect, ReasonParseError:
		h.forget(n, x)
		return
	}
	if len(h.byPID) > h.opts.MaxSessions {
		h.forget(n, x)
		return
	}
	x.rooms = slices.Clone(s.rooms)
	for _, m := range x.rooms {
		m.room.absent++
	}
	x.data, x.leftAt = s.Data(), time.Now()
}

// in says whether an absent session is a member of the room.
func (x *session) in(r *room) bool {
	return slices.ContainsFunc(x.rooms, func(m membership) bool { return m.room == r })
}

// join makes an absent session a member of rooms.
func (h *history) join(n *Namespace, x *session, rooms []string) {
	for _, name := range rooms {
		if name == x.sid {
			continue
		}
		if r := n.room(name); !x.in(r) {
			r.absent++
			x.rooms = append(x.rooms, membership{r, h.seq})
		}
	}
}

// quit takes an absent session out of rooms.
func (h *history) quit(n *Namespace, x *session, rooms []string) {
	x.rooms = slices.DeleteFunc(x.rooms, func(m membership) bool {
		if !slices.Contains(rooms, m.room.name) {
			return false
		}
		m.room.absent--
		n.tidy(m.room)
		return true
	})
}

// claim is what a client says about the session it wants back.
type claim struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// claim reads it from the payload of a Connect packet; nil means that the client wants none.
func (h *history) claim(payload json.RawMessage) *claim {
	if !h.on || !bytes.Contains(payload, []byte(`"pid"`)) {
		return nil
	}
	var c claim
	if json.Unmarshal(payload, &c) != nil || c.PID == "" {
		return nil
	}
	return &c
}

// find returns the session that a claim is good for, and the number of the last packet its client has. The caller holds mu.
func (h *history) find(c *claim) (*session, uint64) {
	x := h.byPID[c.PID]
	if x == nil || x.socket == nil && time.Since(x.leftAt) > h.opts.MaxDisconnection {
		return nil, 0
	}
	if c.Offset == "" {
		return x, x.start
	}
	seen, err := strconv.ParseUint(c.Offset, 36, 64)
	if err != nil || seen < x.start || seen > h.seq || offset(seen) != c.Offset {
		return nil, 0
	}
	return x, seen
}

// prepare looks whether the claim is good and gives the socket the identity that it is going to have, for the middleware to see.
func (n *Namespace) prepare(s *Socket, c *claim) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	x, _ := n.log.find(c)
	if x == nil {
		return false
	}
	data := x.data
	if x.socket != nil {
		data = x.socket.Data()
	}
	s.SetData(data)
	s.id, s.recovered = x.sid, true
	return true
}

var errSuperseded = errors.New("client has come back on another connection")

// restore connects the socket in the place of the one the claim is for: in its rooms, and with what it has missed. It returns
// false, and has done nothing, if that isn't possible any more.
func (n *Namespace) restore(s *Socket, c *claim) bool {
	n.mu.Lock()
	x, _ := n.log.find(c)
	var old *Socket
	if x != nil {
		old = x.socket
	}
	n.mu.Unlock()
	if old != nil {
		old.client.conn.Abort(ReasonTransportClose, errSuperseded)
		old.detach(ReasonTransportClose)
		old.client.put(job{socket: old})
		old.client.conn.Schedule()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	x, seen := h.find(c)
	if x == nil || x.socket != nil {
		return false
	}
	missed, ok := h.missed(n, x, seen)
	if !ok {
		return false
	}
	s.session = x
	if s.client.conn.Send(append(missed, s.welcome())...) != nil {
		s.session = nil
		return false
	}
	x.socket = s
	n.enter(s)
	for _, m := range x.rooms {
		m.room.absent--
		if m.room.add(s) {
			s.rooms = append(s.rooms, m)
		}
	}
	x.rooms = nil
	return true
}

// missed returns what a session has not got since the packet numbered seen; false if part of that is gone, or it is too much.
func (h *history) missed(n *Namespace, x *session, seen uint64) ([]*engineio.Message, bool) {
	names := []string{x.sid}
	for _, m := range x.rooms {
		names = append(names, m.room.name)
	}
	var list []*entry
	for _, m := range append([]membership{{x.own, 0}, {&n.all, 0}}, x.rooms...) {
		after := max(seen, m.since)
		if m.room.dropped > after {
			return nil, false
		}
		i, _ := slices.BinarySearchFunc(m.room.log, after+1, func(e *entry, seq uint64) int { return int(int64(e.seq - seq)) })
		for _, e := range m.room.log[i:] {
			if !slices.ContainsFunc(e.except, func(r string) bool { return slices.Contains(names, r) }) {
				list = append(list, e)
			}
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return int(int64(a.seq - b.seq)) })
	list = slices.Compact(list) // sent to several of its rooms
	var ms []*engineio.Message
	size := 0
	for _, e := range list {
		if size += e.size; size > h.maxMiss {
			return nil, false
		}
		ms = append(ms, e.messages...)
	}
	return ms, true
}

// arm has the namespace swept after a while, unless that is due already. The caller holds mu.
func (h *history) arm(n *Namespace) {
	if h.sweeper == nil && !h.stopped {
		h.sweeper = time.AfterFunc(h.opts.MaxDisconnection/4, n.sweep)
	}
}

// sweep forgets sessions whose clients have been away too long, and events too old for anybody.
func (n *Namespace) sweep() {
	defer n.discardIfEmpty()
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	h.sweeper = nil
	now := time.Now()
	for _, x := range h.byPID {
		if x.socket == nil && now.Sub(x.leftAt) > h.opts.MaxDisconnection {
			h.forget(n, x)
		}
	}
	for len(h.entries) > 0 && now.Sub(h.entries[0].at) > h.maxAge {
		h.dropOldest()
	}
	if len(h.byPID) > 0 || len(h.entries) > 0 {
		h.arm(n)
	}
}

// stop ends the sweeping, for good. The caller holds mu.
func (h *history) stop() {
	h.stopped = true
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
}
