package socketio

import (
	"slices"

	"github.com/supabridge/supabridge/socketio/engineio"
)

// maxTerms bounds the terms of marks that are remembered.
const maxTerms = 16

// marks are how far a node has come in the order of what every node emits. The namespace's mu
// guards it.
type marks struct {
	mark      Mark   // of the last event
	markFloor Mark   // all events after it are in the log
	broken    bool   // nobody knows what was before the next event
	terms     []Mark // the last of each term that is over, oldest first
}

// reach notes that all events up to a mark have been sent here. It returns false where that is
// known.
func (m *marks) reach(to Mark) bool {
	if m.broken {
		m.broken, m.markFloor = false, to
	}
	if to.Compare(m.mark) <= 0 {
		return false
	}
	if m.mark.Term != to.Term && m.mark != (Mark{}) {
		if m.terms = append(m.terms, m.mark); len(m.terms) > maxTerms {
			m.terms = slices.Delete(m.terms, 0, 1)
		}
	}
	m.mark = to
	return true
}

// passed says whether this node has sent what a client has got that has this mark. If it has not
// but may do so yet the verdict is to wait.
func (m *marks) passed(c Mark) verdict {
	switch {
	case c == Mark{}:
		return fine
	case c.Term > m.mark.Term:
		return later
	case c.Term == m.mark.Term:
		if c.Compare(m.mark) > 0 {
			return later
		}
		return fine
	}
	i := slices.IndexFunc(m.terms, func(t Mark) bool { return t.Term == c.Term })
	if i < 0 || c.Compare(m.terms[i]) > 0 {
		return refused // it has what this node left out, or nobody knows
	}
	return fine
}

// Mirrored chooses all sockets on this node; see [Target.Mirrored].
func (n *Namespace) Mirrored(m Mark) *Target { return (&Target{ns: n}).Mirrored(m) }

// Mirrored keeps to the sockets on this node, for an event that every node of the cluster emits by
// itself, the same to the same rooms: such as what all hear from another source. A client that
// comes back to another node then gets what it has missed there. m is the event's place in the
// order in which all nodes emit such events; it must be later than that of the one before. The zero
// Mark is for events that tell a state, in no order: of these a client that comes back to another
// node gets those of the last seconds before it left, and later ones, perhaps some that it has got
// already. Without a [Keeper] Mirrored is [Target.Local].
func (t *Target) Mirrored(m Mark) *Target {
	u := *t
	u.local, u.mirror = true, &m
	return &u
}

// sendMirrored sends an event that every node sends.
func (t *Target) sendMirrored(b *engineio.Batch, e encoding) (watched []*Socket) {
	n := t.ns
	n.mu.Lock()
	defer n.srv.cluster.keeping.move()
	defer n.mu.Unlock()
	h := &n.log
	how := stateful
	if *t.mirror != (Mark{}) {
		how = mirrored
		h.kept.reach(*t.mirror)
	}
	p := h.kept.here(how)
	h.arm(n)
	return t.sendAll(b, h.add(e, h.everyShelf(n, t.rooms), t.except, p), nil)
}

// Reached says that this node has emitted everything up to m that is [Target.Mirrored], where
// nothing was to be emitted with that mark itself. A node that has just started says so where it
// begins: clients that have got less are not recovered there.
func (n *Namespace) Reached(m Mark) {
	if n.log.kept == nil || m == (Mark{}) {
		return
	}
	n.mu.Lock()
	n.log.kept.reach(m)
	n.mu.Unlock()
	n.srv.cluster.keeping.move()
}

// Break says that what this node has emitted [Target.Mirrored] up to now is not complete. A client
// that comes from another node is recovered here only if it has got what this node emits next, or
// reaches next.
func (n *Namespace) Break() {
	if n.log.kept == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log.kept.broken = true
}
