package phxserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// socket is one connection. Two goroutines serve it: read takes frames off the
// network, run does everything else and owns every field without a note. Others
// reach it through its mailbox.
//
// A join is carried out by run itself, so that one that takes long holds up the
// whole socket, as it does in the real server.
type socket struct {
	srv     *Server
	conn    *websocket.Conn
	version wire.Version
	apikey  string
	claims  Claims // the key's, for channels without a token

	frames chan inbound // from read to run, unbuffered; read closes it
	mail   *mailbox
	ctx    context.Context // ends when the socket is to die
	cancel context.CancelFunc

	lastInbound atomic.Int64 // nanoseconds since the epoch
	shutCode    atomic.Int32 // why ctx ended: a close code, or 0 for no close frame

	joined bool // guarded by srv.mu: a channel was joined once

	channels map[string]*channel // by topic
	buf      []byte              // of the frame being written
}

type inbound struct {
	binary bool
	data   []byte
}

func newSocket(srv *Server, conn *websocket.Conn, v wire.Version, apikey string, claims Claims) *socket {
	s := &socket{
		srv: srv, conn: conn, version: v, apikey: apikey, claims: claims,
		frames:   make(chan inbound),
		mail:     newMailbox(),
		channels: make(map[string]*channel),
	}
	s.ctx, s.cancel = context.WithCancel(srv.ctx)
	s.touch()
	return s
}

func (s *socket) touch() { s.lastInbound.Store(time.Now().UnixNano()) }

// read takes frames off the network until it fails, and hands them to run.
func (s *socket) read() {
	defer s.srv.wg.Done()
	defer close(s.frames)
	s.conn.SetReadLimit(maxFrame)
	s.conn.SetPingHandler(func(data string) error {
		s.touch()
		_ = s.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(writeTimeout))
		return nil
	})
	for {
		kind, data, err := s.conn.ReadMessage()
		if err != nil {
			return
		}
		s.touch()
		select {
		case s.frames <- inbound{kind == websocket.BinaryMessage, data}:
		case <-s.ctx.Done():
			// Read on, so that the client's half of the close arrives.
		}
	}
}

// run owns the socket until it ends.
func (s *socket) run() {
	defer s.srv.wg.Done()
	defer s.teardown()
	idle := time.NewTimer(s.idleLeft())
	defer idle.Stop()
	sweep := time.NewTimer(s.sweepAfter())
	defer sweep.Stop()
	hadChannels := false
	for {
		hadChannels = hadChannels || len(s.channels) > 0
		select {
		case <-s.ctx.Done():
			s.sayClose(int(s.shutCode.Load()))
			return
		case f, ok := <-s.frames:
			if !ok {
				return
			}
			s.receive(f)
		case <-s.mail.ready:
			s.readMail()
		case <-idle.C:
			if s.idleLeft() <= 0 {
				s.shut(websocket.CloseNormalClosure)
				continue
			}
			idle.Reset(s.idleLeft())
		case <-sweep.C:
			if hadChannels && len(s.channels) == 0 {
				s.cut()
			}
			sweep.Reset(s.sweepAfter())
		}
	}
}

func (s *socket) sweepAfter() time.Duration {
	if d := s.srv.opts.Timing.Empty; d > 0 {
		return d
	}
	return forever
}

const forever = 1 << 62 * time.Nanosecond

func (s *socket) idleLeft() time.Duration {
	limit := s.srv.opts.Timing.Idle
	if limit <= 0 {
		return forever
	}
	return limit - time.Since(time.Unix(0, s.lastInbound.Load()))
}

// shut ends the socket from any goroutine, with a close frame of that code.
func (s *socket) shut(code int) {
	s.shutCode.CompareAndSwap(0, int32(code))
	s.cancel()
}

// cut ends the socket from any goroutine without a word, as a killed process does.
func (s *socket) cut() {
	s.cancel()
	s.conn.NetConn().Close()
}

// sayClose sends a close frame and waits a little for the client's.
func (s *socket) sayClose(code int) {
	if code == 0 {
		return
	}
	deadline := time.Now().Add(closeTimeout)
	if s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), deadline) != nil {
		return
	}
	_ = s.conn.SetReadDeadline(deadline)
	for range s.frames { // until read is through
	}
}

func (s *socket) teardown() {
	s.cancel()
	s.mail.close()
	for _, ch := range s.channels {
		ch.stop()
	}
	s.srv.unregister(s)
	s.conn.Close()
	for range s.frames {
	}
}

// wait lets d pass while the socket does nothing else; false when it is to end.
func (s *socket) wait(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// after has run do something later. Stop the timer when it is no longer wanted.
func (s *socket) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() { s.mail.post(mail{do: do}) })
}

// jitter is a time from d to three times d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + rand.N(2*d)
}

// readMail does and sends what has been left.
func (s *socket) readMail() {
	for s.ctx.Err() == nil {
		m, ok := s.mail.pop()
		if !ok {
			return
		}
		if m.do != nil {
			m.do()
			continue
		}
		s.deliver(m.out)
	}
}

// deliver writes a message made for many sockets. What the version has no frame
// for is left out.
func (s *socket) deliver(d *delivery) {
	data, binary, err := d.frame(s.version)
	if err == nil && !s.disturbed(&d.msg, "out") {
		s.write(data, binary)
	}
}

// send writes a message of this socket alone.
func (s *socket) send(m wire.Message) {
	data, binary, err := wire.AppendServer(s.buf[:0], s.version, &m)
	if err != nil || s.disturbed(&m, "out") {
		return
	}
	s.write(data, binary)
	if cap(data) <= 64<<10 {
		s.buf = data
	}
}

func (s *socket) write(data []byte, binary bool) {
	if s.ctx.Err() != nil {
		return
	}
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := s.conn.WriteMessage(kind, data); err != nil {
		s.cut()
	}
}

// receive takes one frame from the client. What can't be read is dropped without
// an answer.
func (s *socket) receive(f inbound) {
	var m wire.Message
	var err error
	if f.binary {
		m, err = wire.DecodeClientBinary(s.version, f.data)
	} else {
		m, err = wire.DecodeClientText(s.version, f.data)
	}
	if err != nil {
		s.srv.log.Debug("malformed message dropped", "error", err)
		return
	}
	if !s.disturbed(&m, "in") {
		s.dispatch(&m)
	}
}

func (s *socket) dispatch(m *wire.Message) {
	if m.Topic == wire.TopicPhoenix && m.Event == wire.EventHeartbeat {
		s.reply(wire.Ref{}, m.Ref, m.Topic, "ok", emptyObject)
		return
	}
	if m.Event == wire.EventJoin && strings.HasPrefix(m.Topic, wire.TopicPrefix) {
		s.join(m)
		return
	}
	ch := s.channels[m.Topic]
	switch {
	case ch == nil && m.Event == wire.EventLeave:
		s.reply(m.JoinRef, m.Ref, m.Topic, "ok", emptyObject)
	case ch == nil:
		s.reply(wire.Ref{}, m.Ref, m.Topic, "error", reason("unmatched topic"))
	default:
		ch.handle(m)
	}
}

var emptyObject = []byte("{}")

// reason is the response of most refusals.
func reason(text string) []byte {
	return append(wire.AppendString([]byte(`{"reason":`), text), '}')
}

// reply answers a push; response is JSON.
func (s *socket) reply(joinRef, ref wire.Ref, topic, status string, response []byte) {
	payload := wire.AppendString([]byte(`{"status":`), status)
	payload = append(payload, `,"response":`...)
	payload = append(append(payload, response...), '}')
	s.send(wire.Message{JoinRef: joinRef, Ref: ref, Topic: topic, Event: wire.EventReply, Payload: payload})
}

// errorText is what a client is told of a backend's error about its token.
func errorText(err error) string {
	var t *TokenError
	if errors.As(err, &t) && t.Pushed != "" {
		return t.Pushed
	}
	return err.Error()
}
