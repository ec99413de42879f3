package socketio

import "slices"

// room is a set of sockets, kept as a list so that a broadcast walks through memory in order. The
// namespace's mu guards it.
type room struct {
	name    string
	members []*Socket
	index   map[*Socket]int32 // of each member in members

	// For recovery.
	absent int                   // disconnected sessions that are members
	away   map[*session]struct{} // those, with a Keeper
	shelf  *shelf                // what was sent to the room; nil if nothing
}

// membership is a socket's stay in a room.
type membership struct {
	room  *room
	since uint64 // number of the last packet sent in the namespace before
}

func (r *room) add(s *Socket) bool {
	if _, ok := r.index[s]; ok {
		return false
	}
	if r.index == nil {
		r.index = make(map[*Socket]int32)
	}
	r.index[s] = int32(len(r.members))
	r.members = append(r.members, s)
	return true
}

func (r *room) remove(s *Socket) bool {
	i, ok := r.index[s]
	if !ok {
		return false
	}
	last := len(r.members) - 1
	moved := r.members[last]
	r.members[i] = moved
	r.index[moved] = i
	r.members[last] = nil
	r.members = r.members[:last]
	delete(r.index, s)
	if cap(r.members) > 64 && last < cap(r.members)/4 {
		r.members = slices.Clone(r.members)
	}
	return true
}

// missed notes that a session which is a member is absent, or no longer.
func (r *room) missed(x *session, absent bool) {
	if !absent {
		r.absent--
		delete(r.away, x)
		return
	}
	r.absent++
	if x.far != nil {
		if r.away == nil {
			r.away = make(map[*session]struct{})
		}
		r.away[x] = struct{}{}
	}
}

func (r *room) has(s *Socket) bool {
	_, ok := r.index[s]
	return ok
}

// Join puts the socket into rooms, which come into being with their first member. A socket that has
// lost its connection and can be recovered joins them all the same, as it gets events all the same:
// its client finds itself in them when it is back. Once the socket can't be recovered, Join does
// nothing.
func (s *Socket) Join(rooms ...string) {
	n := s.ns
	n.mu.Lock()
	defer n.mu.Unlock()
	if now, lost := n.stands(s); now != nil {
		n.join(now, rooms)
	} else if lost != nil {
		n.log.join(n, lost, rooms)
	}
}

// stands gives the socket that s stands for at present: itself, or the one that has taken its
// place; or the session of one that is away; or neither, when it can't come back. The caller holds
// mu.
func (n *Namespace) stands(s *Socket) (now *Socket, lost *session) {
	x := s.session
	switch {
	case s.present:
		return s, nil
	case x == nil || n.log.byPID[x.pid] != x:
		return nil, nil
	case x.socket == nil:
		return nil, x
	case x.socket.present:
		return x.socket, nil
	default:
		return nil, nil // connecting still
	}
}

// join is Join for a caller that holds mu.
func (n *Namespace) join(s *Socket, rooms []string) {
	if !s.present {
		return
	}
	for _, name := range rooms {
		if name == s.id {
			continue // its own room, which needs no entry
		}
		if r := n.room(name); r.add(s) {
			s.rooms = append(s.rooms, membership{r, n.log.seq})
			n.srv.watch.Load().joined(s, name)
		}
	}
}

// room gives the room of a name, which is to get a member. The caller holds mu.
func (n *Namespace) room(name string) *room {
	r := n.rooms[name]
	if r == nil {
		r = &room{name: name}
		n.rooms[name] = r
		if k := n.log.kept; k != nil {
			k.furnish(r)
		}
		if w := n.srv.cluster.watcher; w != nil {
			w.RoomOpened(n.name, name)
		}
	}
	return r
}

// Leave takes the socket out of rooms, also one that is away and can be recovered. A room without
// members is gone.
func (s *Socket) Leave(rooms ...string) {
	n := s.ns
	n.mu.Lock()
	defer n.mu.Unlock()
	if now, lost := n.stands(s); now != nil {
		n.leave(now, rooms)
	} else if lost != nil {
		n.log.quit(n, lost, rooms)
	}
}

// leave is Leave for a caller that holds mu.
func (n *Namespace) leave(s *Socket, rooms []string) {
	for _, name := range rooms {
		r := n.rooms[name]
		if r == nil || !r.remove(s) {
			continue
		}
		if i := slices.IndexFunc(s.rooms, func(m membership) bool { return m.room == r }); i >= 0 {
			s.rooms = slices.Delete(s.rooms, i, i+1)
		}
		n.srv.watch.Load().left(s, name)
		n.tidy(r)
	}
}

// tidy removes a room in which nobody is left. The caller holds mu.
func (n *Namespace) tidy(r *room) {
	if len(r.members) == 0 && r.absent == 0 && n.rooms[r.name] == r {
		delete(n.rooms, r.name)
		if k := n.log.kept; k != nil && r.shelf != nil {
			k.spare(r.shelf)
		}
		if w := n.srv.cluster.watcher; w != nil {
			w.RoomClosed(n.name, r.name)
		}
	}
}

// Rooms returns the rooms the socket is in; the first is the one it has for itself, named by its
// id.
func (s *Socket) Rooms() []string {
	n := s.ns
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !s.present {
		return nil
	}
	return append([]string{s.id}, s.roomNames()...)
}

// roomNames returns the names of the rooms joined. The caller holds the namespace's mu.
func (s *Socket) roomNames() []string {
	names := make([]string, len(s.rooms))
	for i, m := range s.rooms {
		names[i] = m.room.name
	}
	return names
}

// In says whether the socket is in the room, or will be when it is recovered.
func (s *Socket) In(room string) bool {
	n := s.ns
	n.mu.RLock()
	defer n.mu.RUnlock()
	now, lost := n.stands(s)
	r := n.rooms[room]
	switch {
	case now != nil:
		return room == s.id || r != nil && r.has(now)
	case lost != nil:
		return room == s.id || lost.in(r)
	default:
		return false
	}
}

// enter makes the socket a member of the namespace. The caller holds mu.
func (n *Namespace) enter(s *Socket) {
	s.present = true
	n.sockets[s.id] = s
	n.all.add(s)
}

// exit takes the socket out of everything. The caller holds mu.
func (n *Namespace) exit(s *Socket) {
	if !s.present {
		return
	}
	s.present = false
	for _, m := range s.rooms {
		n.srv.watch.Load().left(s, m.room.name)
		m.room.remove(s)
		n.tidy(m.room)
	}
	s.rooms = nil
	n.all.remove(s)
	if n.sockets[s.id] == s {
		delete(n.sockets, s.id)
	}
}
