package socketio

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// far is what a session has where it may be recovered at another node. The namespace's mu guards
// it.
type far struct {
	saved    bool           // the Keeper has it, or will
	stored   bool           // it has, as far as this node knows: others may have taken it
	token    string         // of what was saved
	holding  bool           // the Keeper is to drop it
	gone     bool           // it was no longer there then: another node has taken it
	left     seen           // how far this node had come when it was saved
	staying  bool           // its client is coming back to this node right now
	resident bool           // its client has been connected here
	base     seen           // what its client had when it came here, as far as at and mark tell
	asked    []*NodeMessage // by other nodes that its client has come to, which wait for it to be saved
	stale    string         // an offset that its client had before
	// abroad is what another node knew of it; nil if it began here.
	abroad *abroad
}

// abroad is what a node says of a session for other nodes. The offsets a client may give are of
// events that the node sent, or of some that an earlier node did.
type abroad struct {
	// Start is where the session began, or what its client had when it came to the node; nil if that
	// is too long ago to say.
	Start *spot `json:"start,omitempty"`
	// At is how far the node had come when the client left.
	At spot `json:"at"`
	// Sent is the last event that the client was sent, if any. Who has that has everything up to At.
	Sent *spot `json:"sent,omitempty"`
	// Own is the last that no other node has, if any. Who hasn't that can't be recovered elsewhere.
	Own *spot `json:"own,omitempty"`
	// Least and LeastMark are what a client must have that hasn't Sent: what came before is not known,
	// or would come twice.
	Least     Position `json:"least"`
	LeastMark Mark     `json:"least_mark"`
	// Gap is what a client must have in any case: before it something was lost.
	Gap Position `json:"gap"`
	// Since are where it joined its rooms, but for its own, in their order.
	Since []*spot `json:"since,omitempty"`

	NSP    string `json:"nsp"`
	Kept   int64  `json:"kept"` // for how long, in ms
	NoData bool   `json:"no_data,omitempty"`

	node  bool           // a Node server, which knows none of this
	rooms map[*room]seen // Since, once it is here
}

// exported is what the application lets other nodes have.
type exported struct{ data json.RawMessage }

// export asks the application for that; nil if it is nothing.
func (n *Namespace) export(s *Socket, reason string) *exported {
	f := n.srv.opts.Recovery.Export
	if n.log.kept == nil || f == nil || !recoverable(reason) {
		return nil
	}
	n.mu.RLock()
	entered := s.session != nil
	n.mu.RUnlock()
	if !entered {
		return nil
	}
	data, ok := f(s)
	if !ok {
		return nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	return &exported{text}
}

// save gives an absent session to the Keeper, if all that other nodes have to know of it is known.
func (h *history) save(n *Namespace, x *session, d *exported) {
	k := h.kept
	if k.ahead > 0 {
		return // its client may have events that are still to come
	}
	at := seen{at: k.at, mark: k.mark, seq: h.seq, tag: k.tag}
	if whole := k.whole(); whole.Compare(at.at) > 0 {
		at.at = whole
	}
	if k.gapAt.Compare(at.at) > 0 {
		at.at = k.gapAt
	}
	last, own := h.lastOf(n, x)
	a := abroad{
		At:        spot{seen: at},
		Least:     k.floor,
		LeastMark: k.markFloor,
		NSP:       n.name,
		Kept:      h.opts.MaxDisconnection.Milliseconds(),
	}
	if k.repeated.Compare(a.Least) > 0 {
		a.Least = k.repeated
	}
	if last != nil {
		p := last.spot(k.tag)
		a.Sent = &p
	}
	if own != nil {
		p := own.spot(k.tag)
		a.Own = &p
	}
	before := x.far.abroad
	if before != nil {
		a.Start, a.Gap = &spot{seen: seen{at: x.far.base.at, mark: x.far.base.mark, seq: x.start, tag: k.tag}}, before.Gap
	} else if start, known := h.placeAt(x.start); known {
		a.Start = &spot{seen: start}
	}
	if x.start < k.gapSeq && k.gapAt.Compare(a.Gap) > 0 {
		a.Gap = k.gapAt
	}
	rooms := []string{x.sid}
	for _, m := range x.rooms {
		rooms = append(rooms, m.room.name)
		since := h.since(x, m)
		since.tag = k.tag // any will do
		a.Since = append(a.Since, &spot{seen: since})
	}
	data := d.data
	if a.NoData = string(data) == "null"; a.NoData {
		data = json.RawMessage("{}") // Node servers take it for what it is
	}
	more, err := json.Marshal(&a)
	if err != nil {
		return
	}
	s := &KeptSession{PID: x.pid, SID: x.sid, Rooms: rooms, Data: data, Expires: h.opts.MaxDisconnection, More: more,
		// What was sent longer ago has been received, or the heartbeat would have failed.
		Exclusive: k.mark != (Mark{}) || own != nil && own.when+k.grace > time.Now().UnixMilli()}
	x.far.left = at
	k.store(n, x, s)
}

// same says whether a session that the Keeper had is the one that was saved here.
func (f *far) same(s *KeptSession) bool {
	return leftOf(s) == f.left.text()
}

// store has the Keeper save a session. The caller holds the namespace's mu.
func (k *kept) store(n *Namespace, x *session, s *KeptSession) {
	f := x.far
	f.stored, f.holding, f.gone = false, false, false
	token := "" // until Save has returned nobody can be told
	err := k.keeper.Save(s, func(stored bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if f.token == token {
			f.saved, f.stored = f.saved && stored, stored
		}
	})
	token = s.Token
	f.saved, f.token = err == nil, token
}

// hold takes back what was saved of a session. The caller holds the namespace's mu.
func (k *kept) hold(n *Namespace, x *session) {
	f := x.far
	if !f.saved {
		return
	}
	f.saved, f.holding = false, true
	token := f.token
	k.keeper.Drop(x.pid, token, func(there bool) {
		n.mu.Lock()
		if f.token == token && f.holding {
			f.holding, f.gone = false, f.stored && !there
		}
		n.mu.Unlock()
		k.move()
	})
}

// since is where a session joined a room, in the order of all nodes.
func (h *history) since(x *session, m membership) seen {
	if a := x.far.abroad; a != nil && m.since == 0 {
		return a.rooms[m.room]
	}
	p, _ := h.placeAt(m.since) // if that is a later one, Least rules out whom it would matter to
	return p
}

// lastOf returns the last event that a session was sent here, or may have been, and the last that
// no other node has.
func (h *history) lastOf(n *Namespace, x *session) (last, own *place) {
	for _, st := range x.stays(n) {
		after := st.since
		if st.room == nil && x.far.abroad == nil {
			after = x.start
		}
		if p := st.last; p != nil && p.seq > after && (last == nil || p.seq > last.seq) && !x.had(p, st) {
			last = p
		}
		if p := st.own; p != nil && p.seq > max(after, x.start) && (own == nil || p.seq > own.seq) {
			own = p
		}
	}
	return last, own
}

// leftOf is how far the node that saved a session had come then; nothing if it did not say.
func leftOf(s *KeptSession) string {
	var a abroad
	if s.More == nil || json.Unmarshal(s.More, &a) != nil {
		return ""
	}
	return a.At.text()
}

// had says whether a client has got the last event in a room, or was not to get it, when it came
// here from another node.
func (x *session) had(p *place, st stay) bool {
	if p.seq > x.start || x.far.abroad == nil || p.kind == local || p.kind == early {
		return false
	}
	before := func(s seen) bool { return p.at.Compare(s.at) <= 0 && p.mark.Compare(s.mark) <= 0 }
	if st.room != nil && st.since == 0 && before(x.far.abroad.rooms[st.room]) {
		return true
	}
	return x.far.resident && before(x.far.base)
}

// verdict is whether a session can be recovered.
type verdict int

const (
	refused verdict = iota
	later           // perhaps, once this node has come further
	fine
)

// whence tells from a client's offset what it has got.
func (h *history) whence(n *Namespace, x *session, text string) (from, verdict) {
	k := h.kept
	s, ok := parseSeen(text)
	if !ok {
		return from{}, refused
	}
	here := func(seq uint64) (from, verdict) {
		if seq > h.seq || seq < k.gapSeq {
			return from{}, refused
		}
		return from{seq: seq}, fine
	}
	if s.tag == k.tag && s.seq > x.start && text != x.far.stale {
		return here(s.seq)
	}
	if x.start < k.gapSeq && s.at.Compare(k.gapAt) < 0 {
		return from{}, refused
	}
	if x.far.abroad != nil {
		return h.whenceFar(n, x, s)
	}
	start, known := h.placeAt(x.start)
	if s.none || s.tag != "" || text == x.far.stale || known && s.precedes(start) || s.at == start.at {
		return here(x.start) // it has got nothing of this session
	}
	i, _ := slices.BinarySearchFunc(h.entries, s.at, func(e *entry, at Position) int { return e.place.at.Compare(at) })
	for ; i < len(h.entries) && h.entries[i].place.at == s.at; i++ {
		if e := h.entries[i]; e.place.kind == carried {
			return here(e.seq)
		}
	}
	if last, _ := h.lastOf(n, x); last == nil || s.covers(last.spot(k.tag)) {
		return here(h.seq) // it is no longer in the log, and nothing for the client came after it
	}
	return from{}, refused
}

// whenceFar is whence for a session that another node has had, and an offset that isn't of this one
// since.
func (h *history) whenceFar(n *Namespace, x *session, s seen) (from, verdict) {
	k, a := h.kept, x.far.abroad
	has, known := s, !s.none
	if a.Start != nil {
		known = true
		if has.at.Compare(a.Start.at) < 0 {
			has.at = a.Start.at
		}
		if has.mark.Compare(a.Start.mark) < 0 {
			has.mark = a.Start.mark
		}
	}
	f := from{far: true, at: has.at, mark: has.mark, plain: a.node, recent: x.leftAt.Add(-recent).UnixMilli()}
	switch {
	case !a.node && (a.Sent == nil || s.covers(*a.Sent)):
		if f.at.Compare(a.At.at) < 0 {
			f.at = a.At.at
		}
		if f.mark.Compare(a.At.mark) < 0 {
			f.mark = a.At.mark
		}
	case !known || has.at.Compare(a.Least) < 0 || has.mark.Compare(a.LeastMark) < 0:
		return from{}, refused
	}
	if a.Own != nil && !s.covers(*a.Own) || a.Gap != (Position{}) && (!known || has.at.Compare(a.Gap) < 0) {
		return from{}, refused
	}
	if x.far.resident {
		if last, _ := h.lastOf(n, x); last == nil ||
			last.seq <= x.start && last.at.Compare(f.at) <= 0 && last.mark.Compare(f.mark) <= 0 {
			return from{seq: h.seq}, fine // it has got nothing here because there was nothing
		}
	}
	switch {
	case !k.past:
		return from{}, later
	case f.at.Compare(k.floor) < 0:
		return from{}, refused
	case k.whole().Compare(f.at) < 0 || k.whole().Compare(s.at) < 0:
		return from{}, later
	case a.node || f.mark == (Mark{}) && k.mark == (Mark{}) && s.mark == (Mark{}):
		return f, fine
	case k.broken:
		return from{}, later
	case f.mark.Compare(k.markFloor) < 0:
		return from{}, refused
	}
	return f, min(k.passed(f.mark), k.passed(s.mark))
}

// recent is how long before it left a client is given again what is sent in no order: it may not
// have got that any more.
const recent = 5 * time.Second

// missedFar adds what a session from another node has not got of what was sent to a room.
func (h *history) missedFar(list []*entry, x *session, st stay, f from) []*entry {
	var since seen
	if st.room != nil {
		since = h.since(x, membership{st.room, st.since})
	}
	for _, e := range slices.Backward(st.log) {
		p := e.place
		if p.at.Compare(f.at) <= 0 && p.mark.Compare(f.mark) <= 0 && p.seq <= x.start && p.when < f.recent {
			break // and so are all before it
		}
		var missed bool
		switch p.kind {
		case local, early:
			missed = p.seq > x.start
		case carried:
			missed = p.at.Compare(f.at) > 0 && p.at.Compare(since.at) > 0 && !p.repeated(x)
		case mirrored:
			missed = !f.plain && p.mark.Compare(f.mark) > 0 && p.mark.Compare(since.mark) > 0
		case stateful:
			missed = !f.plain && p.when >= f.recent
		}
		if missed && p.seq > st.since {
			list = append(list, e)
		}
	}
	return list
}

// How long a client that comes back is kept waiting: for the Keeper and for this node to have come
// as far as the client, and for another node to give its session up.
const (
	comeWait = 3 * time.Second
	giveWait = 500 * time.Millisecond
)

// strange says whether the session comes from a server that does not tell the namespace it is of:
// middleware has to let its client in, in any case.
func (c *claim) strange() bool { return c.adopted != nil && c.adopted.far.abroad.node }

// pidLength is how long private ids are, those of Node servers too.
const pidLength = 20

// fetch gets the session of a claim, from where it is, and waits until it can be recovered or it
// shows that it can't.
func (n *Namespace) fetch(c *claim) {
	k := n.log.kept
	ctx, cancel := context.WithTimeout(context.Background(), comeWait)
	defer cancel()
	n.mu.RLock()
	x := n.log.byPID[c.PID]
	here := x != nil && (x.socket != nil || !x.far.saved && !x.far.holding && !x.far.gone)
	n.mu.RUnlock()
	if here || len(c.PID) != pidLength {
		return // nobody else can have it
	}
	if x != nil {
		if n.held(ctx, x) {
			return
		}
		n.mu.RLock()
		x = n.log.byPID[c.PID]
		n.mu.RUnlock()
	}
	s, err := k.keeper.Take(ctx, c.PID)
	if s == nil && err == nil && x == nil {
		if s, err = k.claim(ctx, n, c.PID); s == nil {
			return
		}
	}
	n.mu.Lock()
	x = n.log.byPID[c.PID]
	if x != nil && x.socket == nil && x.far.saved &&
		(err != nil && x.far.stored || err == nil && (s == nil || !x.far.same(s))) {
		n.log.forget(n, x) // another node has it, or has had it, or nobody can say
		x = nil
	}
	switch {
	case s == nil:
	case x == nil:
		c.taken, c.adopted = s, n.log.adopt(n, s)
	case x.far.saved:
		x.far.saved = false
		c.taken = s
	}
	n.mu.Unlock()
	if c.adopted == nil {
		return
	}
	_ = k.c.publish(
		&NodeMessage{Kind: KindTaken, Namespace: n.name, PID: c.PID, Left: leftOf(s)},
	) // or they notice when it has expired
	k.await(ctx, func() bool {
		n.mu.RLock()
		defer n.mu.RUnlock()
		x := n.log.byPID[c.PID]
		if x == nil {
			return true
		}
		_, v := n.log.whence(n, x, c.Offset)
		return v != later
	})
}

// held waits until the Keeper has dropped a session, where it is to, and says whether this node
// alone has it. If another one has taken it, or nobody can say, it is forgotten.
func (n *Namespace) held(ctx context.Context, x *session) bool {
	k := n.log.kept
	k.await(ctx, func() bool {
		n.mu.RLock()
		defer n.mu.RUnlock()
		return !x.far.holding
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case x.far.saved || n.log.byPID[x.pid] != x:
		return false
	case x.socket == nil && (x.far.gone || x.far.holding && x.far.stored):
		n.log.forget(n, x)
		return false
	}
	return true
}

// claim has the node that still has a session, connected or about to be saved, save it, if there is
// one, and takes it.
func (k *keeping) claim(ctx context.Context, n *Namespace, pid string) (*KeptSession, error) {
	m := &NodeMessage{Kind: KindClaim, Namespace: n.name, PID: pid, ID: newID()}
	given := make(chan struct{}, 1)
	defer k.c.wait(m.ID, func(*NodeMessage) {
		select {
		case given <- struct{}{}:
		default:
		}
	})()
	if err := k.c.publish(m); err != nil {
		return nil, err
	}
	wait := time.NewTimer(giveWait)
	defer wait.Stop()
	select {
	case <-given:
	case <-wait.C: // or it has saved it and is gone
	}
	return k.keeper.Take(ctx, pid)
}

// giveUp has the session that a client wants back at another node saved, which may mean that its
// connection has to be ended, and the question answered then. Where there is no such session there
// is no answer.
func (n *Namespace) giveUp(q *NodeMessage) {
	n.mu.Lock()
	x := n.log.byPID[q.PID]
	if x == nil {
		n.mu.Unlock()
		return
	}
	old := x.socket
	x.far.asked = append(x.far.asked, q)
	if old == nil {
		n.log.kept.given(x)
	}
	n.mu.Unlock()
	if old != nil {
		old.supersede()
	}
}

// given answers the nodes that have asked for a session, after it was saved.
func (k *kept) given(x *session) {
	for _, q := range x.far.asked {
		k.c.answer(q, &NodeMessage{Kind: KindGiven, PID: x.pid})
	}
	x.far.asked = nil
}

// taken forgets a session that another node has, if it is the one that this node saved last: it may
// be back by now.
func (n *Namespace) taken(pid, left string) {
	n.mu.Lock()
	if x := n.log.byPID[pid]; x != nil && x.socket == nil && x.far.left.text() == left {
		n.log.forget(n, x)
	}
	n.mu.Unlock()
	n.discardIfEmpty()
}

// adopt makes an absent session of this node of one that it has taken; nil if that can't be.
func (h *history) adopt(n *Namespace, s *KeptSession) *session {
	a := &abroad{node: s.More == nil, rooms: make(map[*room]seen)}
	if s.More != nil && (json.Unmarshal(s.More, a) != nil || a.NSP != n.name || len(a.Since) != len(s.Rooms)-1) {
		return nil
	}
	if h.byPID[s.PID] != nil || h.bySID[s.SID] != nil || n.sockets[s.SID] != nil || n.rooms[s.SID] != nil || s.PID == "" ||
		s.SID == "" ||
		len(h.byPID) >= h.opts.MaxSessions {
		return nil
	}
	x := &session{
		pid:    s.PID,
		sid:    s.SID,
		start:  h.seq,
		data:   any(s.Data),
		leftAt: time.Now(),
		own:    h.kept.spares[s.SID],
		far:    &far{abroad: a},
	}
	if a.NoData {
		x.data = nil
	}
	if away := time.Duration(a.Kept)*time.Millisecond - s.Expires; away > 0 {
		x.leftAt = x.leftAt.Add(-away)
	}
	if x.own == nil {
		x.own = h.newShelf(s.SID)
	}
	delete(h.kept.spares, s.SID)
	h.byPID[x.pid], h.bySID[x.sid] = x, x
	h.kept.away[x] = struct{}{}
	for i, name := range slices.DeleteFunc(slices.Clone(s.Rooms), func(name string) bool { return name == s.SID }) {
		r := n.room(name)
		if x.in(r) {
			continue
		}
		r.missed(x, true)
		x.rooms = append(x.rooms, membership{room: r})
		if i < len(a.Since) {
			a.rooms[r] = a.Since[i].seen
		}
	}
	h.arm(n)
	return x
}

// settle ends what fetch began: a session that its client has not got back is given back to the
// Keeper, for the next attempt, or is over.
func (n *Namespace) settle(s *Socket, c *claim) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	x := h.byPID[c.PID]
	if s.session != nil && s.session != x {
		s.session.far.stale = c.Offset // it has nothing of its new session yet, whatever it says
	}
	switch {
	case x == nil || x == s.session || x.socket != nil || c.taken == nil:
	case s.session == nil || s.declined: // refused, or gone again; or somebody else
		h.giveBack(n, x, c)
	default:
		h.forget(n, x)
	}
}

// giveBack puts a session back where it was taken from.
func (h *history) giveBack(n *Namespace, x *session, c *claim) {
	if c.taken.Expires > 0 {
		h.kept.store(n, x, c.taken)
	}
	if c.adopted == x {
		h.forget(n, x)
	}
}
