package admin

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// notice is something to tell the admins.
type notice struct {
	event string
	args  []any
	lossy bool // of no consequence for what the UI shows as the present state
}

// tally is what is counted between statistics.
type tally struct {
	second  int64 // since 1970
	kind    string
	subKind string
}

// watch says what the server is to tell.
func (a *Admin) watch() *socketio.Watch {
	w := &socketio.Watch{
		Opened: func() { a.count("rawConnection", "", 1) },
		Closed: func(reason string) { a.count("rawDisconnection", reason, 1) },
	}
	if a.opts.CountsOnly {
		return w
	}
	w.Connected = func(s *socketio.Socket) {
		a.put(notice{event: "socket_connected", args: []any{a.describe(s), stamp()}})
	}
	w.Upgraded = func(s *socketio.Socket) {
		a.put(
			notice{
				event: "socket_updated",
				args:  []any{map[string]any{"id": s.ID(), "nsp": s.Namespace().Name(), "transport": s.Transport()}},
			},
		)
	}
	w.Disconnected = func(s *socketio.Socket, reason string) {
		a.put(notice{event: "socket_disconnected", args: []any{s.Namespace().Name(), s.ID(), reason, stamp()}})
	}
	w.Joined = func(s *socketio.Socket, room string) { a.moved("room_joined", s, room) }
	w.Left = func(s *socketio.Socket, room string) { a.moved("room_left", s, room) }
	w.Received = func(e *socketio.Event) {
		if a.wanted(e.Socket) {
			a.put(
				notice{
					"event_received",
					[]any{e.Socket.Namespace().Name(), e.Socket.ID(), a.contents(e.Name, e.Values()), stamp()},
					true,
				},
			)
		}
	}
	w.Sent = func(s *socketio.Socket, event string, args []any) {
		if a.wanted(s) {
			a.put(notice{"event_sent", []any{s.Namespace().Name(), s.ID(), a.contents(event, args), stamp()}, true})
		}
	}
	return w
}

func (a *Admin) moved(event string, s *socketio.Socket, room string) {
	if a.opts.HideRoom == nil || !a.opts.HideRoom(room) {
		a.put(notice{event: event, args: []any{s.Namespace().Name(), room, s.ID(), stamp()}})
	}
}

// wanted says whether an event is told: not of what the admins themselves are told, and not of more
// than they can look at.
func (a *Admin) wanted(s *socketio.Socket) bool {
	if s.Namespace() == a.space {
		return false
	}
	if !a.events.Allow() {
		a.dropped.Add(1)
		return false
	}
	return true
}

// put hands a notice over, and never waits.
func (a *Admin) put(n notice) {
	select {
	case a.notices <- n:
	default:
		a.dropped.Add(1)
		if !n.lossy {
			a.missed.Store(true)
		}
	}
}

// tell sends a notice to the admins of this server.
func (a *Admin) tell(n notice) {
	to := a.space.Local()
	if n.lossy {
		to = to.Volatile()
	}
	_ = to.Emit(n.event, n.args...) // what can't be encoded can't be shown
}

// contents is what is shown of an event: its name, and of its arguments the size unless Bodies is
// set.
func (a *Admin) contents(name string, args []any) []any {
	shown := append(make([]any, 0, len(args)+1), name)
	if a.opts.Bodies {
		return append(shown, args...)
	}
	for _, arg := range args {
		switch arg := arg.(type) {
		case json.RawMessage:
			shown = append(shown, fmt.Sprintf("(%d bytes)", len(arg)))
		case []byte:
			shown = append(shown, fmt.Sprintf("(%d bytes)", len(arg)))
		default:
			shown = append(shown, "(not shown)")
		}
	}
	return shown
}

func stamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func (a *Admin) count(kind, subKind string, n int) {
	if n == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counted[tally{time.Now().Unix(), kind, subKind}] += n // bounded by the reasons there are, times statsEvery
}
