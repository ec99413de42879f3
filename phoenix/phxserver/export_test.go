package phxserver

// Leftovers counts what a server holds: sockets, rooms, and channels subscribed to
// changes.
func (s *Server) Leftovers() (sockets, rooms, subscribed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return len(s.sockets), len(s.rooms), len(s.feed.channels) + len(s.feed.byTable)
}
