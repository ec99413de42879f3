package phxserver

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// maxFaults bounds the faults that hold, or are to come, at one time.
const maxFaults = 100

// Injection is a fault at work.
type Injection struct {
	fault Fault
	set   *faultSet
	over  chan struct{} // closed when the fault is over
	begun atomic.Bool
	once  sync.Once
	hits  atomic.Int64
	fits  atomic.Int64 // what it could have struck, where it strikes a share

	// Guarded by set.mu.
	timer *time.Timer // of Fault.For; nil without
	next  *time.Timer // of Fault.After and Every; nil without
	times int         // that it has happened by Every
}

// Fault is what was injected, with what was left out filled in.
func (i *Injection) Fault() Fault { return i.fault }

// Hits is how often the fault has struck so far: frames, handshakes, joins or
// changes; of a fault of one moment, sockets or channels.
func (i *Injection) Hits() int { return int(i.hits.Load()) }

// Done is closed when the fault is over. One of a moment is over from the start.
func (i *Injection) Done() <-chan struct{} { return i.over }

// Stop ends a lasting fault, or calls off one that is to come. It can be called more
// than once.
func (i *Injection) Stop() {
	i.set.remove(i)
	i.end()
}

func (i *Injection) end() {
	i.once.Do(func() { close(i.over) })
}

// faultSet holds the lasting faults. Its methods are safe for concurrent use.
type faultSet struct {
	happen func(*Injection) // carries out a fault of a moment
	active atomic.Int32     // len(list), so that a server without faults asks no mutex

	mu   sync.Mutex // guards list
	list []*Injection
}

func (s *faultSet) add(i *Injection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= maxFaults {
		return fmt.Errorf("inject %s: %d faults are active already", i.fault.Action, maxFaults)
	}
	s.list = append(s.list, i)
	s.active.Store(int32(len(s.list)))
	first := i.fault.After
	if first == 0 {
		first = i.fault.Every
	}
	if first > 0 {
		i.next = time.AfterFunc(first, func() { s.begin(i) })
	} else {
		s.beginLocked(i)
	}
	return nil
}

// begin makes a fault hold that was put off, or one of a moment happen.
func (s *faultSet) begin(i *Injection) {
	s.mu.Lock()
	if !slices.Contains(s.list, i) { // stopped
		s.mu.Unlock()
		return
	}
	s.beginLocked(i)
	if lastingActions[i.fault.Action] {
		s.mu.Unlock()
		return
	}
	i.times++
	over := i.fault.Every == 0 || i.times == i.fault.Count
	if !over {
		i.next.Reset(i.fault.Every)
	}
	s.mu.Unlock()
	s.happen(i)
	if over {
		i.Stop()
	}
}

func (s *faultSet) beginLocked(i *Injection) {
	if !i.begun.Swap(true) && i.fault.For > 0 {
		i.timer = time.AfterFunc(i.fault.For, i.Stop)
	}
}

func (s *faultSet) remove(gone *Injection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.list[:0:0]
	for _, i := range s.list {
		if i != gone {
			kept = append(kept, i)
		}
	}
	stopTimer(gone.timer)
	stopTimer(gone.next)
	s.list = kept
	s.active.Store(int32(len(kept)))
}

func (s *faultSet) all() []*Injection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Injection(nil), s.list...)
}

// strike finds the first fault of these actions that fits, and counts.
func (s *faultSet) strike(topic, event, direction string, actions ...Action) *Injection {
	if s.active.Load() == 0 {
		return nil
	}
	for _, i := range s.all() {
		f := &i.fault
		if !i.begun.Load() {
			continue
		}
		if f.Topic != "" && f.Topic != topic || f.Event != "" && f.Event != event ||
			f.Direction != "" && f.Direction != direction {
			continue
		}
		if f.Action == Stall && f.Event == "" && event == wire.EventBroadcast {
			continue // unless told otherwise it is of postgres_changes
		}
		for _, a := range actions {
			if f.Action == a && i.take() {
				return i
			}
		}
	}
	return nil
}

// take counts one hit, unless the fault has had its number or its share of what fits.
func (i *Injection) take() bool {
	if share := i.fault.Share; share > 0 {
		n := float64(i.fits.Add(1))
		if math.Floor(n*share) == math.Floor((n-1)*share) {
			return false
		}
	}
	n := i.hits.Add(1)
	if i.fault.Count == 0 {
		return true
	}
	if n >= int64(i.fault.Count) {
		i.set.remove(i)
		if n > int64(i.fault.Count) {
			i.hits.Add(-1)
			return false
		}
		if i.fault.Action != Hang { // which is over when it is stopped
			i.end()
		}
	}
	return true
}

// Inject makes a fault happen, or hold until it is stopped, now or when After and Every
// say. The error says what in the fault makes no sense, or that too many hold.
func (s *Server) Inject(f Fault) (*Injection, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	i := &Injection{fault: f, set: &s.faults, over: make(chan struct{})}
	if f.Lasting() {
		if err := s.faults.add(i); err != nil {
			return nil, err
		}
		return i, nil
	}
	s.happen(i)
	i.end()
	return i, nil
}

// Faults lists the faults that hold or are to come.
func (s *Server) Faults() []*Injection { return s.faults.all() }

// ClearFaults ends all faults that hold, and calls off those to come.
func (s *Server) ClearFaults() {
	for _, i := range s.faults.all() {
		i.Stop()
	}
}

// happen carries out a fault of one moment, on each socket's own goroutine where
// it concerns channels.
func (s *Server) happen(i *Injection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := i.fault
	if f.Topic != "" || f.Action != Cut && f.Action != Close {
		for _, r := range s.rooms {
			if f.Topic != "" && f.Topic != subTopic(r.key.topic) {
				continue
			}
			for ch := range r.members {
				i.hits.Add(1)
				ch.socket.leaveMail(mail{do: func() { ch.suffer(f) }})
			}
		}
	}
	if f.Topic != "" {
		return
	}
	for sock := range s.sockets {
		switch f.Action {
		case Cut:
			i.hits.Add(1)
			sock.cut()
		case Close:
			i.hits.Add(1)
			sock.shut(f.Code)
		case Disconnect: // after what its channels are told
			sock.leaveMail(mail{do: func() { sock.shut(websocket.CloseServiceRestart) }})
		}
	}
}

// suffer carries out a fault of one moment on the socket's goroutine.
func (ch *channel) suffer(f Fault) {
	if ch.stopped {
		return
	}
	switch f.Action {
	case Cut:
		ch.socket.cut()
	case Close:
		ch.socket.shut(f.Code)
	case Disconnect:
		ch.socket.send(wire.Message{Topic: ch.topic, Event: wire.EventSystem,
			Payload: []byte(`{"message":"Server requested disconnect","status":"ok","extension":"system"}`)})
		if f.Topic != "" {
			ch.socket.shut(websocket.CloseServiceRestart)
		}
	case Expire:
		ch.shutdown("Token has expired 0 seconds ago")
	case Crash:
		ch.crash()
	case Leave:
		ch.drop()
		ch.push(wire.EventClose, emptyObject)
	case Resubscribe:
		if len(ch.config.bindings) > 0 {
			ch.makeSubscriptions()
		}
	case System:
		if f.Extension == "system" && f.Result == "error" {
			ch.shutdown(f.Message)
			return
		}
		ch.system(f.Extension, f.Result, f.Message)
	case Send:
		ch.socket.send(wire.Message{Topic: ch.topic, Event: f.Event, Payload: f.Payload})
	}
}

// disturbRequest lets the faults at a handshake or a REST broadcast.
func (s *Server) disturbRequest(r *http.Request, event string) *RefusedError {
	if i := s.faults.strike("", event, "in", Delay); i != nil {
		t := time.NewTimer(i.fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
	}
	if i := s.faults.strike("", event, "in", Refuse); i != nil {
		return &RefusedError{Status: i.fault.Status, Message: i.fault.Message}
	}
	return nil
}

// disturbed lets the faults at a frame; true when it is lost, or the socket is to
// end.
func (s *socket) disturbed(m *wire.Message, direction string) bool {
	i := s.srv.faults.strike(strings.TrimPrefix(m.Topic, wire.TopicPrefix), m.Event, direction, Delay, Drop, Hang)
	if i == nil {
		return false
	}
	switch i.fault.Action {
	case Delay:
		return !s.wait(i.fault.Delay)
	case Hang:
		select {
		case <-i.over:
			return false
		case <-s.ctx.Done():
		}
	}
	return true
}
