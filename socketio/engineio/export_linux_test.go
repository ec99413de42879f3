package engineio

// Leftovers counts what a server keeps for connections: those it knows, websockets watched for
// readiness, and deadlines.
func (s *Server) Leftovers() (conns, links, deadlines int) {
	s.mu.Lock()
	conns = len(s.conns)
	p := s.poller
	s.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		for _, l := range p.links {
			if l != nil {
				links++
			}
		}
		p.mu.Unlock()
	}
	s.wheel.mu.Lock()
	defer s.wheel.mu.Unlock()
	return conns, links, s.wheel.count
}
