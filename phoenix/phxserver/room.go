package phxserver

import "github.com/supabridge/supabridge/phoenix/internal/wire"

// roomKey names a room. A public and a private channel of one topic are in
// different rooms.
type roomKey struct {
	topic   string
	private bool
}

// room holds the channels of one topic. Server.mu guards it.
type room struct {
	key     roomKey
	members map[*channel]struct{}
	present []*presenceMeta // in the order they were tracked
}

func (ch *channel) roomKey() roomKey { return roomKey{ch.topic, ch.config.private} }

// enterRoom adds the channel to its topic's room.
func (s *Server) enterRoom(ch *channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return refuse("RealtimeRestarting: Realtime is restarting, please standby")
	}
	key := ch.roomKey()
	r := s.rooms[key]
	if r == nil {
		r = &room{key: key, members: make(map[*channel]struct{})}
		s.rooms[key] = r
	}
	r.members[ch] = struct{}{}
	ch.room = r
	ch.socket.joined = true
	return nil
}

// leaveRoom takes the channel and what it tracks out of the room. It isn't told of
// its own going.
func (s *Server) leaveRoom(ch *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := ch.room
	if r == nil {
		return
	}
	delete(r.members, ch)
	if gone := ch.meta; gone != nil {
		r.remove(gone)
		ch.meta = nil
		s.tellDiff(r, nil, gone)
	}
	if len(r.members) == 0 && s.rooms[r.key] == r {
		delete(s.rooms, r.key)
	}
}

// tell leaves a message with the members that want it. Server.mu is held.
func (r *room) tell(m wire.Message, wants func(*channel) bool) int {
	d := &delivery{msg: m}
	told := 0
	for ch := range r.members {
		if wants(ch) {
			told++
			ch.socket.leaveMail(mail{out: d})
		}
	}
	return told
}

// leaveMail queues mail for a socket from any goroutine. A socket whose box is
// full is cut: its client doesn't keep up.
func (s *socket) leaveMail(m mail) {
	if !s.mail.post(m) {
		s.srv.log.Warn("socket cut: its client reads too slowly")
		s.cut()
	}
}
