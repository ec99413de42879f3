package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

var (
	// ErrDisconnected means that the client has gone.
	ErrDisconnected = errors.New("client disconnected")
	// ErrReservedEvent means that the event name belongs to the library.
	ErrReservedEvent = errors.New("reserved event name")
	// ErrQueueFull means that the client was disconnected because it did not take what was sent
	// before.
	ErrQueueFull = engineio.ErrQueueFull
)

// Emit sends an event to the client. Arguments can be anything that encoding/json takes. A
// [json.RawMessage] is sent as it is, which must be valid JSON; a []byte, also within []any and
// map[string]any, is sent as binary. Emit doesn't wait: nil means queued. Errors: an argument can't
// be encoded, [ErrReservedEvent], [ErrDisconnected], [ErrQueueFull].
func (s *Socket) Emit(event string, args ...any) error {
	if parser.Reserved(event) {
		return fmt.Errorf("emit %q: %w", event, ErrReservedEvent)
	}
	e, err := begin(head{kind: parser.Event, codec: s.ns.srv.opts.Parser, namespace: s.ns.name}, &event, args)
	if err != nil {
		return err
	}
	if s.ns.log.on {
		err = s.sendLogged(event, e)
	} else {
		err = s.send(event, e.finish(""))
	}
	if err == nil {
		s.noteOutgoing(event, args)
	}
	return err
}

// sendLogged sends an event that the client can be given later if it is away.
func (s *Socket) sendLogged(event string, e encoding) error {
	n := s.ns
	n.mu.Lock() // the client has to get packets in the order of their numbers
	defer n.mu.Unlock()
	x := s.session
	if x == nil || n.log.byPID[x.pid] != x {
		return fmt.Errorf("emit %q: %w", event, ErrDisconnected)
	}
	var p *place
	if k := n.log.kept; k != nil {
		p = k.here(local)
	}
	ms := n.log.add(e, []*shelf{x.own}, nil, p)
	if x.socket == nil {
		if p != nil {
			n.log.kept.hold(n, x)
		}
		return nil
	}
	// Not always s: the client may have come back.
	if err := x.socket.send(event, ms); !errors.Is(err, ErrDisconnected) {
		return err
	}
	return nil
}

// send queues encoded messages for the client.
func (s *Socket) send(event string, ms []*engineio.Message) error {
	if s.gone.Load() {
		return fmt.Errorf("emit %q: %w", event, ErrDisconnected)
	}
	if err := s.client.conn.Send(ms...); err != nil {
		if errors.Is(err, engineio.ErrClosed) {
			err = ErrDisconnected
		}
		return fmt.Errorf("emit %q: %w", event, err)
	}
	return nil
}

// Reply is a client's acknowledgement.
type Reply struct {
	// Args are the values sent along, as in [Event.Args].
	Args []json.RawMessage
	// Attachments are the bytes sent along, as the placeholders number them.
	Attachments [][]byte
}

// Decode stores value i of the reply in what v points to; see [Event.Decode].
func (r *Reply) Decode(i int, v any) error {
	if i >= len(r.Args) {
		return fmt.Errorf("decode value %d of an acknowledgement: only %d were sent", i, len(r.Args))
	}
	if err := decode(r.Args[i], r.Attachments, v); err != nil {
		return fmt.Errorf("decode value %d of an acknowledgement: %w", i, err)
	}
	return nil
}

// EmitWithAck sends an event and waits for the client's acknowledgement. It returns the values of
// that, ctx's error when ctx ends first, [ErrDisconnected] when the client goes, or an error of
// [Socket.Emit]. A handler may call it.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) ([]json.RawMessage, error) {
	r, err := s.Call(ctx, event, args...)
	if err != nil {
		return nil, err
	}
	return r.Args, nil
}

// Call is EmitWithAck for replies that may hold bytes.
func (s *Socket) Call(ctx context.Context, event string, args ...any) (*Reply, error) {
	type result struct {
		reply *Reply
		err   error
	}
	ch := make(chan result, 1)
	cancel, err := s.EmitFunc(func(r *Reply, err error) { ch <- result{r, err} }, event, args...)
	if err != nil {
		return nil, err
	}
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, fmt.Errorf("await the acknowledgement of %q: %w", event, r.err)
		}
		return r.reply, nil
	case <-s.Context().Done():
		cancel()
		return nil, fmt.Errorf("await the acknowledgement of %q: %w", event, ErrDisconnected)
	case <-ctx.Done():
		cancel()
		return nil, fmt.Errorf("await the acknowledgement of %q: %w", event, ctx.Err())
	}
}

// EmitFunc sends an event and has f called, once, with the client's acknowledgement, or with
// [ErrDisconnected]. f is called by the goroutine that reads from the client, or the one that
// handles its events, and must not block. After cancel f is not called any more.
func (s *Socket) EmitFunc(f func(*Reply, error), event string, args ...any) (cancel func(), err error) {
	if parser.Reserved(event) {
		return nil, fmt.Errorf("emit %q: %w", event, ErrReservedEvent)
	}
	id := s.ns.ackIDs.Add(1) - 1
	ms, err := encode(
		head{kind: parser.Event, codec: s.ns.srv.opts.Parser, namespace: s.ns.name, id: id, hasID: true},
		&event,
		args,
	)
	if err != nil {
		return nil, err
	}
	if !s.await(id, f) {
		return nil, fmt.Errorf("emit %q: %w", event, ErrDisconnected)
	}
	if err := s.send(event, ms); err != nil {
		s.forgetAck(id)
		return nil, err
	}
	s.noteOutgoing(event, args)
	return func() { s.forgetAck(id) }, nil
}

// await has f called with the acknowledgement of that id. It returns false if none can come.
func (s *Socket) await(id uint64, f func(*Reply, error)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone.Load() {
		return false
	}
	if s.acks == nil {
		s.acks = make(map[uint64]func(*Reply, error))
	}
	s.acks[id] = f
	return true
}

// forgetAck takes back an await and returns its function, or nil if it has been called.
func (s *Socket) forgetAck(id uint64) func(*Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.acks[id]
	delete(s.acks, id)
	return f
}

// acknowledged takes an ack packet. One that nobody waits for is ignored.
func (s *Socket) acknowledged(p *parser.Packet) {
	if f := s.forgetAck(p.ID); f != nil {
		f(&Reply{Args: p.Args, Attachments: p.Attachments}, nil)
	}
}
