package socketio

import (
	"errors"
	"fmt"
	"slices"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// Target is a choice of sockets in a namespace, to send to or to act on. Each method returns a new
// choice; a Target may be kept and used again, by any goroutine.
type Target struct {
	ns       *Namespace
	rooms    []string // union; none means every socket
	except   []string
	volatile bool
	local    bool
	plain    bool  // not to be compressed
	mirror   *Mark // nil unless every node emits the same
}

// To chooses the sockets in any of the rooms, each once. A socket's id is a room too.
func (n *Namespace) To(rooms ...string) *Target { return (&Target{ns: n}).To(rooms...) }

// Except chooses the sockets in none of the rooms.
func (n *Namespace) Except(rooms ...string) *Target { return (&Target{ns: n}).Except(rooms...) }

// Volatile chooses all sockets, for events that may be lost.
func (n *Namespace) Volatile() *Target { return (&Target{ns: n}).Volatile() }

// Compress chooses all sockets; see [Target.Compress].
func (n *Namespace) Compress(on bool) *Target { return (&Target{ns: n}).Compress(on) }

// Local chooses all sockets on this node.
func (n *Namespace) Local() *Target { return (&Target{ns: n}).Local() }

// Emit sends an event to every socket of the namespace; see [Target.Emit].
func (n *Namespace) Emit(event string, args ...any) error {
	return (&Target{ns: n}).Emit(event, args...)
}

// To chooses the other sockets in any of the rooms.
func (s *Socket) To(rooms ...string) *Target { return s.Broadcast().To(rooms...) }

// Except chooses the other sockets in none of the rooms.
func (s *Socket) Except(rooms ...string) *Target { return s.Broadcast().Except(rooms...) }

// Broadcast chooses all other sockets of the namespace.
func (s *Socket) Broadcast() *Target { return &Target{ns: s.ns, except: []string{s.id}} }

// Volatile chooses the socket itself, for events that are dropped when it isn't reading.
func (s *Socket) Volatile() *Target { return (&Target{ns: s.ns, rooms: []string{s.id}}).Volatile() }

// Compress chooses the socket itself; see [Target.Compress].
func (s *Socket) Compress(on bool) *Target {
	return (&Target{ns: s.ns, rooms: []string{s.id}}).Compress(on)
}

// To adds rooms to the choice.
func (t *Target) To(rooms ...string) *Target {
	u := *t
	u.rooms = append(slices.Clip(t.rooms), rooms...)
	return &u
}

// Except takes the sockets in any of the rooms out.
func (t *Target) Except(rooms ...string) *Target {
	u := *t
	u.except = append(slices.Clip(t.except), rooms...)
	return &u
}

// Volatile marks events as such that may be dropped for clients that aren't reading, and are not
// recovered.
func (t *Target) Volatile() *Target {
	u := *t
	u.volatile = true
	return &u
}

// Compress marks events, with false, as not worth compressing, such as what is compressed already.
// Only answers to long-polling requests are compressed at all: see [Options.DisableCompression].
func (t *Target) Compress(on bool) *Target {
	u := *t
	u.plain = !on
	return &u
}

// Local keeps to the sockets on this node.
func (t *Target) Local() *Target {
	u := *t
	u.local = true
	return &u
}

// Emit sends an event to the sockets chosen, with arguments as for [Socket.Emit]. It is encoded
// once, and never waits for a client. An error means that an argument can't be encoded,
// [ErrReservedEvent], or that the other nodes could not be told. Where there is a [Keeper] the
// event goes out, here too, when it has come back from that.
func (t *Target) Emit(event string, args ...any) error {
	if parser.Reserved(event) {
		return fmt.Errorf("emit %q: %w", event, ErrReservedEvent)
	}
	if t.ns.name == "" {
		return t.emitToFamily(event, args)
	}
	e, err := begin(
		head{kind: parser.Event, codec: t.ns.srv.opts.Parser, namespace: t.ns.name, plain: t.plain},
		&event,
		args,
	)
	if err != nil {
		return err
	}
	if k := t.ns.srv.cluster.keeping; k != nil && !t.local && !t.volatile {
		u := *t // or t had to be allocated where there is no Keeper too
		return k.emit(&u, e, event, args)
	}
	if !t.local && t.ns.srv.cluster.adapter != nil {
		m := t.message(KindEmit)
		m.Args, m.Attachments = e.array(), e.binary
		err = t.ns.srv.cluster.publish(m)
	}
	for _, s := range t.emit(e) {
		s.noteOutgoing(event, args)
	}
	return err
}

// emitToFamily sends an event in each namespace of a family.
func (t *Target) emitToFamily(event string, args []any) error {
	var errs []error
	for _, n := range t.ns.children() {
		u := *t
		u.ns = n
		errs = append(errs, u.Emit(event, args...))
	}
	return errors.Join(errs...)
}

// emit sends an encoded event to the sockets chosen on this node. It returns those among them where
// somebody watches what is sent.
func (t *Target) emit(e encoding) (watched []*Socket) {
	if t.foreign() {
		return nil
	}
	var b engineio.Batch
	if t.mirror != nil && t.ns.log.kept != nil && !t.volatile {
		watched = t.sendMirrored(&b, e)
	} else if t.ns.log.on && !t.volatile {
		watched = t.sendLogged(&b, e)
	} else {
		t.ns.mu.RLock()
		watched = t.sendAll(&b, e.finish(""), nil)
		t.ns.mu.RUnlock()
	}
	b.Flush()
	return watched
}

// sendLogged sends an event that clients which are away can be given later.
func (t *Target) sendLogged(b *engineio.Batch, e encoding) (watched []*Socket) {
	n := t.ns
	n.mu.Lock() // not for reading: every client has to get packets in the order of their numbers
	defer n.mu.Unlock()
	var p *place
	if k := n.log.kept; k != nil {
		p = k.here(local)
		n.log.pin(n, t.rooms)
	}
	shelves := n.log.shelves(n, t.rooms)
	if len(shelves) == 0 {
		return nil // nobody is there, nor away
	}
	return t.sendAll(b, n.log.add(e, shelves, t.except, p), nil)
}

// sendAll queues messages for the sockets chosen, but for those to be skipped. The caller holds the
// namespace's mu.
func (t *Target) sendAll(b *engineio.Batch, ms []*engineio.Message, skip func(*Socket) bool) (watched []*Socket) {
	all := t.ns.srv.watch.Load() != nil
	t.each(func(s *Socket) {
		if skip != nil && skip(s) {
			return
		}
		t.send(b, s, ms)
		if all || s.watched.Load() {
			watched = append(watched, s)
		}
	})
	return watched
}

// send queues messages for one of the sockets. Those whose connection has ended, or ends over this,
// need nothing.
func (t *Target) send(b *engineio.Batch, s *Socket, ms []*engineio.Message) {
	if t.volatile {
		b.SendVolatile(s.client.conn, ms...)
		return
	}
	_ = b.Send(s.client.conn, ms...)
}

// Sockets returns the sockets chosen on this node.
func (t *Target) Sockets() []*Socket {
	t.ns.mu.RLock()
	defer t.ns.mu.RUnlock()
	var list []*Socket
	t.each(func(s *Socket) { list = append(list, s) })
	return list
}

// Join puts the sockets chosen into rooms. An error means that the other nodes could not be told.
func (t *Target) Join(rooms ...string) error {
	for _, s := range t.Sockets() {
		s.Join(rooms...)
	}
	return t.tell(KindJoin, rooms, false)
}

// Leave takes the sockets chosen out of rooms. An error means that the other nodes could not be
// told.
func (t *Target) Leave(rooms ...string) error {
	for _, s := range t.Sockets() {
		s.Leave(rooms...)
	}
	return t.tell(KindLeave, rooms, false)
}

// Disconnect ends the sockets chosen; see [Socket.Disconnect]. An error means that the other nodes
// could not be told.
func (t *Target) Disconnect(closeConnection bool) error {
	for _, s := range t.Sockets() {
		s.Disconnect(closeConnection)
	}
	return t.tell(KindDisconnect, nil, closeConnection)
}

// tell has the other nodes do the same.
func (t *Target) tell(k MessageKind, names []string, closeConnection bool) error {
	if t.local {
		return nil
	}
	m := t.message(k)
	m.Names, m.Close = names, closeConnection
	return t.ns.srv.cluster.publish(m)
}

// each calls f once for each socket chosen. It begins at another member each time, so that it is
// not always the same client that hears last. The caller holds the namespace's mu, for reading at
// least.
func (t *Target) each(f func(*Socket)) {
	if t.foreign() {
		return
	}
	n := t.ns
	turn := n.turn.Add(1)
	if len(t.rooms) == 0 {
		t.walk(&n.all, nil, turn, f)
		return
	}
	done := make([]*room, 0, 4) // rooms that have been walked through: their members have had it
	var single []*Socket        // and so have these
	for _, name := range t.rooms {
		if s := n.sockets[name]; s != nil && n.rooms[name] == nil {
			if !inAny(s, done) && !slices.Contains(single, s) && !t.excepted(s) {
				f(s)
			}
			single = append(single, s)
			continue
		}
		r := n.rooms[name]
		if r == nil || slices.Contains(done, r) {
			continue
		}
		if len(done) == 0 && len(single) == 0 {
			t.walk(r, nil, turn, f)
		} else {
			t.walk(r, func(s *Socket) bool { return inAny(s, done) || slices.Contains(single, s) }, turn, f)
		}
		done = append(done, r)
	}
}

// foreign says whether only sockets of servers that are not this one's kin are chosen.
func (t *Target) foreign() bool {
	kin := t.ns.srv.opts.Kin
	return kin != "" && slices.Contains(t.except, kin)
}

// walk calls f for the members of a room, except those for which skip, if given, is true.
func (t *Target) walk(r *room, skip func(*Socket) bool, turn uint32, f func(*Socket)) {
	size := len(r.members)
	if size == 0 {
		return
	}
	start := int(turn % uint32(size))
	for _, part := range [2][]*Socket{r.members[start:], r.members[:start]} {
		for _, s := range part {
			if len(t.except) > 0 && t.excepted(s) || skip != nil && skip(s) {
				continue
			}
			f(s)
		}
	}
}

// excepted says whether a socket is in one of the rooms taken out.
func (t *Target) excepted(s *Socket) bool {
	for _, name := range t.except {
		if name == s.id {
			return true
		}
		if r := t.ns.rooms[name]; r != nil && r.has(s) {
			return true
		}
	}
	return false
}

func inAny(s *Socket, rooms []*room) bool {
	for _, r := range rooms {
		if r.has(s) {
			return true
		}
	}
	return false
}
