package socketio

// OnAnyOutgoing has f called with every event that is sent to this client, also by broadcasts,
// after it has been queued. The args are those given to Emit; f must not change them. Events that
// come from other nodes are not seen.
func (s *Socket) OnAnyOutgoing(f func(event string, args []any)) {
	s.register(func(r *registered) { r.outgoing = append(r.outgoing, f) })
	s.watched.Store(true)
}

// noteOutgoing tells those who watch.
func (s *Socket) noteOutgoing(event string, args []any) {
	s.ns.srv.watch.Load().sent(s, event, args)
	if !s.watched.Load() {
		return
	}
	for _, f := range s.registered().outgoing {
		f(event, args)
	}
}
