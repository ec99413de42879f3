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

// Connection state recovery. Every event that can be recovered has a number in its namespace, which
// the client gets as an offset and returns when it comes back; and every socket has a session with
// a private id, pid, that only its client knows. What was sent is kept by room. A session can be
// recovered as long as every packet after its offset that was meant for one of its rooms is still
// there: however old the offset is, and also when the client has no offset because it has got no
// event yet. The old connection need not have been noticed dead: a client that comes back with the
// pid takes its place.
//
// With a Keeper as the adapter there is more to it: see kept.go.

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
	kept    *kept // immutable; nil without a Keeper
}

// entry is an event that was sent.
type entry struct {
	seq      uint64
	at       time.Time
	messages []*engineio.Message
	size     int
	shelves  []*shelf
	except   []string
	place    *place // nil without a Keeper
}

// shelf holds what was sent to a room.
type shelf struct {
	log     []*entry // oldest first
	dropped uint64   // number of the last packet that is no longer in log
	*label           // nil without a Keeper
}

// session is what outlives a socket's connection. The namespace's mu guards it.
type session struct {
	pid, sid string
	socket   *Socket // nil while the client is away
	start    uint64  // number of the last packet before the client connected
	own      *shelf  // what was sent to this client alone
	rooms    []membership
	data     any
	leftAt   time.Time
	far      *far // what concerns other nodes; nil without a Keeper
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
	if k := n.srv.cluster.keeping; k != nil {
		h.kept = k.history()
		h.seq = firstSeq
	}
}

// offset is a packet's number as clients see it.
func offset(seq uint64) string { return strconv.FormatUint(seq, 36) }

// shelves returns those of the rooms of these names in which anybody is, or is missed. No names
// mean everybody.
func (h *history) shelves(n *Namespace, names []string) []*shelf {
	if len(names) == 0 {
		if len(h.byPID) == 0 {
			return nil
		}
		return []*shelf{h.shelf(&n.all)}
	}
	var list []*shelf
	for _, name := range names {
		var sh *shelf
		if r := n.rooms[name]; r != nil {
			sh = h.shelf(r)
		} else if s := h.bySID[name]; s != nil {
			sh = s.own
		}
		if sh != nil && !slices.Contains(list, sh) {
			list = append(list, sh)
		}
	}
	return list
}

// shelf gives that of a room.
func (h *history) shelf(r *room) *shelf {
	if r.shelf == nil {
		r.shelf = h.newShelf(r.name)
	}
	return r.shelf
}

func (h *history) newShelf(name string) *shelf {
	sh := new(shelf)
	if h.kept != nil {
		sh.label = &label{name: name}
	}
	return sh
}

// add numbers an event, keeps it on the shelves and returns its messages. p is its place, nil
// without a Keeper.
func (h *history) add(e encoding, shelves []*shelf, except []string, p *place) []*engineio.Message {
	h.seq++
	x := &entry{seq: h.seq, at: time.Now(), shelves: shelves, except: except, place: p}
	if p == nil {
		x.messages = e.finish(offset(h.seq))
	} else {
		h.kept.shelve(x)
		x.messages = e.finish(p.stamp(h.kept.tag))
	}
	for _, m := range x.messages {
		x.size += m.Size()
	}
	h.entries = append(h.entries, x)
	h.bytes += x.size
	for _, sh := range shelves {
		sh.log = append(sh.log, x)
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
	for _, sh := range x.shelves {
		if len(sh.log) > 0 && sh.log[0] == x {
			sh.log[0] = nil
			sh.log = sh.log[1:]
		}
		sh.dropped = x.seq
	}
	if h.kept != nil {
		h.kept.drop(x)
	}
}

// open makes the session of a new socket.
func (h *history) open(s *Socket) *session {
	x := &session{pid: newID(), sid: s.id, socket: s, start: h.seq, own: h.newShelf(s.id)}
	if h.kept != nil {
		x.far = &far{resident: true}
	}
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
		m.room.missed(x, false)
		n.tidy(m.room)
	}
	x.rooms = nil
	if h.kept != nil {
		delete(h.kept.away, x)
		h.kept.spare(x.own)
	}
}

// recoverable says whether a client may come back after its socket has ended for a reason.
func recoverable(reason string) bool {
	switch reason {
	case ReasonClientDisconnect, ReasonServerDisconnect, ReasonParseError:
		return false
	}
	return true
}

// leave keeps the session of a socket that has lost its connection, or removes that of one that has
// left. It comes before exit.
func (h *history) leave(n *Namespace, s *Socket, reason string, d *exported) {
	x := s.session
	if x.socket != s {
		return // another connection has taken over
	}
	x.socket = nil
	if !recoverable(reason) || len(h.byPID) > h.opts.MaxSessions {
		h.forget(n, x)
		return
	}
	x.rooms = slices.Clone(s.rooms)
	for _, m := range x.rooms {
		m.room.missed(x, true)
	}
	x.data, x.leftAt = s.Data(), time.Now()
	if h.kept != nil {
		h.kept.away[x] = struct{}{}
		x.far.left = seen{}
		if d != nil && !x.far.staying {
			h.save(n, x, d)
		}
		h.kept.given(x)
	}
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
			r.missed(x, true)
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
		m.room.missed(x, false)
		n.tidy(m.room)
		return true
	})
}

// claim is what a client says about the session it wants back.
type claim struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`

	// With a Keeper: what was taken from it for the claim, and what was made of that if the session
	// was not here.
	taken   *KeptSession
	adopted *session
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

// from is what a client has got, as far as a node can tell: where what it has missed begins.
type from struct {
	seq uint64 // number of the last packet that it has, among this node's
	// far says that seq counts for nothing: what the client has is told by its places in the orders of
	// all nodes.
	far    bool
	at     Position
	mark   Mark
	plain  bool  // it knows nothing of events without a Keeper
	recent int64 // events without an order are given from then on, in ms since 1970
}

// find returns the session that a claim is good for, and what its client has got. The caller holds
// mu.
func (h *history) find(n *Namespace, c *claim) (*session, from) {
	x := h.byPID[c.PID]
	if x == nil || x.socket == nil && time.Since(x.leftAt) > h.opts.MaxDisconnection {
		return nil, from{}
	}
	if h.kept != nil {
		f, v := h.whence(n, x, c.Offset)
		if v != fine {
			return nil, from{}
		}
		return x, f
	}
	if c.Offset == "" {
		return x, from{seq: x.start}
	}
	seen, err := strconv.ParseUint(c.Offset, 36, 64)
	if err != nil || seen < x.start || seen > h.seq || offset(seen) != c.Offset {
		return nil, from{}
	}
	return x, from{seq: seen}
}

// prepare looks whether the claim is good and gives the socket the identity that it is going to
// have, for the middleware to see.
func (n *Namespace) prepare(s *Socket, c *claim) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	x, _ := n.log.find(n, c)
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

// supersede ends the connection of a socket whose client has come back on another one.
func (s *Socket) supersede() {
	s.client.conn.Abort(ReasonTransportClose, errSuperseded)
	s.detach(ReasonTransportClose)
	_ = s.client.put(job{socket: s})
	s.client.conn.Schedule()
}

// restore connects the socket in the place of the one the claim is for: in its rooms, and with what
// it has missed. It returns false, and has done nothing, if that isn't possible any more.
func (n *Namespace) restore(s *Socket, c *claim) bool {
	n.mu.Lock()
	x, _ := n.log.find(n, c)
	var old *Socket
	if x != nil {
		old = x.socket
		if x.far != nil {
			x.far.staying = old != nil
		}
	}
	n.mu.Unlock()
	if old != nil {
		old.supersede()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	x, f := h.find(n, c)
	if x == nil || x.socket != nil {
		return false
	}
	missed, ok := h.missed(n, x, f)
	if !ok {
		return false
	}
	s.session = x
	if s.client.conn.Send(s.withWelcome(missed)...) != nil {
		s.session = nil
		return false
	}
	x.socket = s
	n.enter(s)
	for _, m := range x.rooms {
		m.room.missed(x, false)
		if m.room.add(s) {
			s.rooms = append(s.rooms, m)
		}
	}
	x.rooms = nil
	if x.far != nil {
		delete(h.kept.away, x)
		x.far.settled(n, x, f)
	}
	return true
}

// maxTogether bounds what is sure to go out in one answer to a poll, in bytes; see engineio's
// maxPollingAnswer.
const maxTogether = 32 << 10

// withWelcome puts the welcome (the CONNECT packet) to what a recovered client has missed. Node sends
// it last, and so do we where all goes out in one answer to a poll: the client gets the whole or
// nothing. Else it goes first. A client delivers what comes before the welcome only with that, and
// counts it as received only then: where the connection were lost in between, it would be given the
// same again, and deliver both.
func (s *Socket) withWelcome(missed []*engineio.Message) []*engineio.Message {
	bytes := 0
	for _, m := range missed {
		bytes += m.Size()
	}
	if s.client.conn.Transport() == engineio.Polling && bytes <= maxTogether {
		return append(missed, s.welcome())
	}
	return slices.Insert(missed, 0, s.welcome())
}

// missed returns what a session has not got; false if part of that is gone, or it is too much.
func (h *history) missed(n *Namespace, x *session, f from) ([]*engineio.Message, bool) {
	names := []string{x.sid}
	for _, m := range x.rooms {
		names = append(names, m.room.name)
	}
	var list []*entry
	for _, st := range x.stays(n) {
		if f.far {
			list = h.missedFar(list, x, st, f)
			continue
		}
		after := max(f.seq, st.since)
		if st.shelf.dropped > after {
			return nil, false
		}
		i, _ := slices.BinarySearchFunc(
			st.shelf.log,
			after+1,
			func(e *entry, seq uint64) int { return int(int64(e.seq - seq)) },
		)
		for _, e := range st.shelf.log[i:] {
			if e.place == nil || !e.place.repeated(x) {
				list = append(list, e)
			}
		}
	}
	list = slices.DeleteFunc(list, func(e *entry) bool {
		return slices.ContainsFunc(e.except, func(r string) bool { return slices.Contains(names, r) })
	})
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

// stay is a time that an absent session has been in a room.
type stay struct {
	*shelf
	since uint64
	room  *room // nil for what was sent to it alone, or to everybody
}

// stays are those of a session, in all rooms where anything was sent.
func (x *session) stays(n *Namespace) []stay {
	list := []stay{{x.own, 0, nil}}
	if n.all.shelf != nil {
		list = append(list, stay{n.all.shelf, 0, nil})
	}
	rooms := x.rooms
	if x.socket != nil {
		rooms = x.socket.rooms
	}
	for _, m := range rooms {
		if m.room.shelf != nil {
			list = append(list, stay{m.room.shelf, m.since, m.room})
		}
	}
	return list
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
