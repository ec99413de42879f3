package admin

import (
	"slices"

	"github.com/supabridge/supabridge/socketio"
)

// listen carries out what an admin asks for. Requests that are not allowed, or that make no sense,
// are ignored: the UI doesn't offer them and waits for no answer.
func (a *Admin) listen(s *socketio.Socket) {
	address := s.Handshake().RemoteAddr
	// on registers an action. Its arguments begin with the namespace; the filter is the one numbered
	// so.
	on := func(action Action, event string, filter int, f func(e *socketio.Event, to *socketio.Target) (what string,
		ok bool)) {
		if !slices.Contains(a.opts.Allow, action) {
			return
		}
		s.On(event, func(e *socketio.Event) {
			d := Deed{Action: action, Namespace: text(e, 0), Filter: text(e, filter), Address: address}
			space := a.existing(d.Namespace)
			if space == nil {
				return
			}
			to := space.To()
			if d.Filter != "" {
				to = space.To(d.Filter)
			}
			var ok bool
			if d.What, ok = f(e, to); ok && a.opts.Acted != nil {
				a.opts.Acted(d)
			}
		})
	}
	on(Emit, "emit", 1, func(e *socketio.Event, to *socketio.Target) (string, bool) {
		name := text(e, 2)
		return name, name != "" && to.Emit(name, e.Values()[3:]...) == nil
	})
	on(Join, "join", 2, func(e *socketio.Event, to *socketio.Target) (string, bool) {
		room := text(e, 1)
		return room, room != "" && to.Join(room) == nil
	})
	on(Leave, "leave", 2, func(e *socketio.Event, to *socketio.Target) (string, bool) {
		room := text(e, 1)
		return room, room != "" && to.Leave(room) == nil
	})
	on(Disconnect, "_disconnect", 2, func(e *socketio.Event, to *socketio.Target) (string, bool) {
		var whole bool
		if e.Decode(1, &whole) != nil {
			whole = false
		}
		return "", to.Disconnect(whole) == nil
	})
}

// existing is the namespace of that name if there is one: an admin's typing error makes none.
func (a *Admin) existing(name string) *socketio.Namespace {
	for _, n := range a.io.Namespaces() {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// text is an argument that should be a string; empty if it isn't.
func text(e *socketio.Event, i int) string {
	var s string
	if e.Decode(i, &s) != nil {
		return ""
	}
	return s
}
