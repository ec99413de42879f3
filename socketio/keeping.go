package socketio

import (
	"bytes"
	"context"
	"sync"
)

// keeping is a server's side of its Keeper. It is the Keeper's Log.
type keeping struct {
	c      *cluster // immutable, like the next two
	keeper Keeper
	tag    string // of this node, in offsets

	// mu is held while events of this node are given to the Keeper and while they are sent, so that
	// both are in the same order. It is taken before a namespace's mu.
	mu      sync.Mutex
	serial  uint64
	away    bool
	pending []*pending // that have not come back, oldest first; bounded by the adapter's queue
	notes   []func()   // to be called once mu is free

	progress sync.Mutex // guards everything below
	met      Position   // of the last message that came, or is about to
	reached  Position   // everything up to there has been sent on
	moved    chan struct{}
}

// pending is an event of this node that is to come back.
type pending struct {
	serial uint64
	target *Target
	encoding
	event string
	args  []any
	ahead uint64 // where this node has sent it to its own sockets already, or 0
}

// keep has the adapter keep what is sent.
func (c *cluster) keep(a Keeper) {
	k := &keeping{c: c, keeper: a, tag: c.node[:tagLength], away: true}
	o := &c.srv.opts
	if a.Keep(k, o.Recovery.MaxDisconnection+o.PingInterval+o.PingTimeout) {
		c.keeping = k
	}
}

// emit gives an event to the Keeper. While that is away this node's sockets get it at once.
func (k *keeping) emit(t *Target, e encoding, event string, args []any) error {
	m := t.message(KindEmit)
	m.Args, m.Attachments = e.array(), e.binary
	k.mu.Lock()
	defer k.unlock()
	k.serial++
	m.Serial = k.serial
	p := &pending{serial: m.Serial, target: t, encoding: e, event: event, args: args}
	if err := k.c.publish(m); err != nil {
		k.sendAlone(p)
		return err
	}
	k.pending = append(k.pending, p)
	if k.away {
		k.sendEarly(p)
	}
	return nil
}

// note has the application's functions told, which may emit. The caller holds mu.
func (k *keeping) note(p *pending, watched []*Socket) {
	if len(watched) == 0 {
		return
	}
	k.notes = append(k.notes, func() {
		for _, s := range watched {
			s.noteOutgoing(p.event, p.args)
		}
	})
}

func (k *keeping) unlock() {
	notes := k.notes
	k.notes = nil
	k.mu.Unlock()
	for _, f := range notes {
		f()
	}
}

// sendAlone sends an event that other nodes will not have to this node's sockets. The caller holds
// mu.
func (k *keeping) sendAlone(p *pending) { k.note(p, p.target.emit(p.encoding)) }

// sendEarly sends an event to this node's sockets before it comes back. The caller holds mu.
func (k *keeping) sendEarly(p *pending) {
	again := p.encoding
	again.text = bytes.Clone(again.text) // which sending uses up
	seq, watched := p.target.sendEarly(again)
	p.ahead = seq
	k.note(p, watched)
}

// Away implements Log.
func (k *keeping) Away() {
	k.mu.Lock()
	defer k.unlock()
	k.away = true
	for _, p := range k.pending {
		if p.ahead == 0 {
			k.sendEarly(p)
		}
	}
}

// Back implements Log.
func (k *keeping) Back() {
	k.mu.Lock()
	defer k.unlock()
	k.away = false
}

// Returned implements Log.
func (k *keeping) Returned(serial uint64, at Position) {
	k.meet(at)
	k.mu.Lock()
	defer k.unlock()
	for len(k.pending) > 0 && k.pending[0].serial <= serial {
		p := k.pending[0]
		k.pending[0] = nil
		k.pending = k.pending[1:]
		if p.serial < serial {
			k.miss(p)
			continue
		}
		t := p.target
		switch n := k.c.srv.namespace(t.ns.name); n {
		case nil:
			continue
		case t.ns:
		default: // it has gone, and come into being again
			u := *t
			u.ns = n
			t, p.ahead = &u, 0
		}
		watched := t.arrive(p.encoding, at, p.ahead)
		if p.ahead == 0 {
			k.note(p, watched)
		}
	}
}

// miss deals with an event that will not come back. The caller holds mu.
func (k *keeping) miss(p *pending) {
	if p.ahead == 0 {
		k.sendAlone(p)
		return
	}
	n := p.target.ns
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log.kept.ahead--
}

// Dropped implements Log.
func (k *keeping) Dropped(serial uint64) {
	k.mu.Lock()
	defer k.unlock()
	for i, p := range k.pending {
		if p.serial == serial {
			k.pending = append(k.pending[:i:i], k.pending[i+1:]...)
			k.miss(p)
			return
		}
	}
}

// Begin implements Log.
func (k *keeping) Begin(at Position) {
	k.meet(at)
	for _, n := range k.c.srv.Namespaces() {
		n.begin(at)
	}
	k.Reach(at)
}

// Past implements Log.
func (k *keeping) Past(namespace string, events []*NodeMessage, after Position) {
	if n := k.c.srv.namespace(namespace); n != nil {
		n.remember(events, after)
		k.move()
	}
}

// Gap implements Log.
func (k *keeping) Gap(at Position) {
	k.progress.Lock()
	k.met, k.reached = Position{}, Position{}
	k.progress.Unlock()
	k.meet(at)
	for _, n := range k.c.srv.Namespaces() {
		n.lose(at)
	}
}

// meet notes that a message is about to be sent on. A namespace that comes into being from now on
// may have missed it.
func (k *keeping) meet(at Position) {
	k.progress.Lock()
	defer k.progress.Unlock()
	k.met = at
}

// Reach implements Log.
func (k *keeping) Reach(at Position) {
	k.progress.Lock()
	k.reached = at
	k.progress.Unlock()
	k.move()
}

func (k *keeping) position() Position {
	k.progress.Lock()
	defer k.progress.Unlock()
	return k.met
}

func (k *keeping) whole() Position {
	k.progress.Lock()
	defer k.progress.Unlock()
	return k.reached
}

// move has those who wait look again.
func (k *keeping) move() {
	k.progress.Lock()
	defer k.progress.Unlock()
	if k.moved != nil {
		close(k.moved)
		k.moved = nil
	}
}

// await waits until f returns true, which is asked whenever something has moved, or until ctx ends.
func (k *keeping) await(ctx context.Context, f func() bool) {
	for {
		k.progress.Lock()
		if k.moved == nil {
			k.moved = make(chan struct{})
		}
		moved := k.moved
		k.progress.Unlock()
		if f() {
			return
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}
