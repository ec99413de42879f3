package socketio

import (
	"slices"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// Recovery where a Keeper joins the nodes. Events to rooms, unless they are local or volatile, go
// to the Keeper and come back from it, also to the node that sent them: so that every node sends
// them to its clients in the same order, and a client's offset, the position of the last one, says
// at any node what it has got. Each node keeps what comes, also for rooms in which it has nobody:
// somebody may come. A session is saved with the Keeper when its client goes away, and taken by the
// node that the client comes to.
//
// What a node sends to its own clients alone ([Socket.Emit], [Target.Local]) has a number of this
// node besides; what is sent while the Keeper is away too. Wherever it can't be shown that a client
// has got all of that, it is not recovered at another node.

// firstSeq leaves room for the numbers of what was sent before a node came.
const firstSeq = 1 << 24

// label is what a shelf has with a Keeper.
type label struct {
	name string
	last *place // of the last event, however long ago; nil if none
	own  *place // of the last local one
}

// kept is what a history has with a Keeper. The namespace's mu guards it.
type kept struct {
	*keeping          // immutable, like the next one
	grace    int64    // ms after which what was sent before has been received, or the connection is lost
	at       Position // of the last event that came
	begun    Position // of the last one before the first that came, as far as known
	floor    Position // all kept events after it are in the log
	past     bool     // what was sent before is in the log
	repeated Position // of the last event that had been sent to clients here before it came
	ahead    int      // events that were, and have not come yet
	spares   map[string]*shelf
	away     map[*session]struct{}

	gapSeq uint64   // number of the last packet when something was lost
	gapAt  Position // after which nothing is lost any more

	droppedSeq uint64 // number of the last packet that isn't in the log any more
	marks
}

// history makes the part of a new namespace's history.
func (k *keeping) history() *kept {
	o := &k.c.srv.opts
	at := k.position()
	return &kept{keeping: k, grace: (o.PingInterval + o.PingTimeout).Milliseconds(), at: at, begun: at, floor: at,
		spares: make(map[string]*shelf), away: make(map[*session]struct{}), marks: marks{broken: true}}
}

// everyShelf returns the shelves for rooms, also for those in which nobody is. No names mean
// everybody.
func (h *history) everyShelf(n *Namespace, names []string) []*shelf {
	if len(names) == 0 {
		return []*shelf{h.shelf(&n.all)}
	}
	list := make([]*shelf, 0, len(names))
	for _, name := range names {
		var sh *shelf
		if r := n.rooms[name]; r != nil {
			sh = h.shelf(r)
		} else if x := h.bySID[name]; x != nil {
			sh = x.own
		} else if sh = h.kept.spares[name]; sh == nil {
			sh = h.newShelf(name)
			h.kept.spares[name] = sh
		}
		if !slices.Contains(list, sh) {
			list = append(list, sh)
		}
	}
	return list
}

// furnish gives a new room what was sent to it before.
func (k *kept) furnish(r *room) {
	r.shelf = k.spares[r.name]
	delete(k.spares, r.name)
}

// spare keeps the shelf of a room that has gone.
func (k *kept) spare(sh *shelf) {
	if len(sh.log) > 0 {
		k.spares[sh.name] = sh
	}
}

// shelfCost is about how many bytes an event takes for each of its rooms.
const shelfCost = 128

// shelve completes the place of an event that is put on its shelves.
func (k *kept) shelve(x *entry) {
	p := x.place
	p.seq, p.when = x.seq, x.at.UnixMilli()
	x.size += shelfCost * len(x.shelves)
	for _, sh := range x.shelves {
		sh.last = p
		if p.kind == local {
			sh.own = p
		}
	}
}

// drop notes that an event is no longer in the log.
func (k *kept) drop(x *entry) {
	k.droppedSeq = x.seq
	if x.place.mark.Compare(k.markFloor) > 0 {
		k.markFloor = x.place.mark
	}
	if x.place.at.Compare(k.floor) > 0 {
		k.floor = x.place.at
	}
	for _, sh := range x.shelves {
		if len(sh.log) == 0 && k.spares[sh.name] == sh {
			delete(k.spares, sh.name)
		}
	}
}

// repeated says whether a session has got the event before it came from the Keeper.
func (p *place) repeated(x *session) bool { return p.ahead > x.start }

// here is the place of an event of a kind that is sent now.
func (k *kept) here(how kind) *place { return &place{kind: how, at: k.at, mark: k.marks.mark} }

// pin has absent sessions that are to get an event from this node alone recovered nowhere else.
func (h *history) pin(n *Namespace, names []string) {
	k := h.kept
	if len(k.away) == 0 {
		return
	}
	if len(names) == 0 {
		for x := range k.away {
			k.hold(n, x)
		}
		return
	}
	for _, name := range names {
		if r := n.rooms[name]; r != nil {
			for x := range r.away {
				k.hold(n, x)
			}
		} else if x := h.bySID[name]; x != nil && x.socket == nil {
			k.hold(n, x)
		}
	}
}

// settled notes that a session has its client back.
func (f *far) settled(n *Namespace, x *session, has from) {
	k := n.log.kept
	if has.far {
		f.base = seen{at: has.at, mark: has.mark}
	}
	f.resident, f.staying = true, false
	k.hold(n, x) // while the Keeper was away nobody could ask it
	if f.abroad != nil {
		f.abroad.Own = nil // the client has that
	}
}

// sendEarly sends an event of this node to its own sockets before it comes from the Keeper, and
// returns the number of the last packet then.
func (t *Target) sendEarly(e encoding) (seq uint64, watched []*Socket) {
	var b engineio.Batch
	n := t.ns
	n.mu.Lock()
	if shelves := n.log.shelves(n, t.rooms); len(shelves) > 0 {
		watched = t.sendAll(&b, n.log.add(e, shelves, t.except, n.log.kept.here(early)), nil)
	}
	seq = n.log.seq
	n.log.kept.ahead++
	n.mu.Unlock()
	b.Flush()
	return seq, watched
}

// arrive sends an event that comes from the Keeper. ahead is where this node has sent it to its own
// sockets before, or 0.
func (t *Target) arrive(e encoding, at Position, ahead uint64) (watched []*Socket) {
	var b engineio.Batch
	n := t.ns
	n.mu.Lock()
	h := &n.log
	k := h.kept
	if ahead > 0 {
		k.ahead--
		k.repeated = at
	}
	if at.Compare(k.at) > 0 { // or it is of before the namespace, and the Keeper brings it with its past
		k.at = at
		p := k.here(carried)
		p.ahead = ahead
		ms := h.add(e, h.everyShelf(n, t.rooms), t.except, p)
		var skip func(*Socket) bool
		if ahead > 0 {
			skip = func(s *Socket) bool { return p.repeated(s.session) }
		}
		watched = t.sendAll(&b, ms, skip)
		h.arm(n)
	}
	n.mu.Unlock()
	b.Flush()
	return watched
}

// remember puts what was sent before in front of the log.
func (n *Namespace) remember(events []*NodeMessage, after Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	k := h.kept
	if k.past {
		return
	}
	k.past = true
	room, space := h.opts.MaxPackets-len(h.entries), h.opts.MaxBytes-h.bytes
	var list []*entry // newest first
	now := time.Now()
	floor := after
	for _, m := range slices.Backward(events) {
		if m.At.Compare(k.begun) > 0 {
			continue // it has come
		}
		e, err := m.encoding(head{namespace: n.name, codec: n.srv.opts.Parser, plain: m.Plain})
		if err != nil {
			continue
		}
		p := &place{kind: carried, at: m.At, seq: firstSeq - uint64(len(list)), when: int64(m.At.Time)}
		x := &entry{seq: p.seq, at: now, except: m.Except, place: p, messages: e.finish(p.stamp(k.tag))}
		if sent := time.UnixMilli(int64(m.At.Time)); sent.Before(now) {
			x.at = sent
		}
		for _, ms := range x.messages {
			x.size += ms.Size()
		}
		x.size += shelfCost * max(1, len(m.Rooms))
		if room--; room < 0 || x.size > space {
			floor = m.At
			break
		}
		space -= x.size
		x.shelves = h.everyShelf(n, m.Rooms)
		h.bytes += x.size
		list = append(list, x)
	}
	before := make(map[*shelf][]*entry)
	for _, x := range slices.Backward(list) {
		for _, sh := range x.shelves {
			before[sh] = append(before[sh], x)
		}
	}
	for sh, log := range before {
		if sh.last == nil {
			sh.last = log[len(log)-1].place
		}
		sh.log = append(log, sh.log...)
	}
	slices.Reverse(list)
	h.entries = append(list, h.entries...)
	if k.droppedSeq == 0 { // or some of what came later is gone already
		k.floor = floor
	}
	h.arm(n)
}

// lose notes that events are lost: all up to a position that have not come.
func (n *Namespace) lose(at Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &n.log
	k := h.kept
	for len(h.entries) > 0 {
		h.dropOldest()
	}
	h.seq++
	k.past = true
	k.gapSeq, k.gapAt, k.floor = h.seq, at, at
	k.at, k.droppedSeq = Position{}, h.seq
}

// begin notes where the Keeper begins.
func (n *Namespace) begin(at Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.log.kept
	k.at, k.begun, k.floor = at, at, at
}
