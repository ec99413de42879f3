package socketio

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/supabridge/supabridge/socketio/engineio"
	"github.com/supabridge/supabridge/socketio/parser"
)

// Response is one client's answer to an event for many.
type Response struct {
	// Socket is the client, nil for one on another node.
	Socket *Socket
	*Reply
}

// call sends the messages of an event, numbered id, to sockets of this node. f is called for each,
// once, with its acknowledgement or [ErrDisconnected], by the goroutine that reads from the client.
// After forget it isn't called any more.
func (t *Target) call(
	sockets []*Socket,
	id uint64,
	ms []*engineio.Message,
	f func(*Socket, *Reply, error),
) (forget func()) {
	var b engineio.Batch
	for _, s := range sockets {
		if !s.await(id, func(r *Reply, err error) { f(s, r, err) }) {
			f(s, nil, ErrDisconnected)
			continue
		}
		if err := b.Send(s.client.conn, ms...); err != nil && s.forgetAck(id) != nil {
			f(s, nil, ErrDisconnected)
		}
	}
	b.Flush()
	return func() {
		for _, s := range sockets {
			s.forgetAck(id)
		}
	}
}

// poll collects the answers to an event for many.
type poll struct {
	mu        sync.Mutex // guards everything below
	responses []Response
	clients   int // that have got the event, as far as known
	settled   int // of them: have answered or have gone
	nodes     int // others that are to say how many clients they have
	counted   int // of them: have
	failed    error
	changed   chan struct{} // holds one token where something has changed
}

func (p *poll) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// heard takes what another node says.
func (p *poll) heard(m *NodeMessage) {
	switch m.Kind {
	case KindCount:
		p.change(func() { p.counted++; p.clients += m.Count })
	case KindAck:
		args, err := parser.Split(m.Args)
		if err != nil {
			return
		}
		p.change(func() {
			p.settled++
			p.responses = append(p.responses, Response{nil, &Reply{Args: args, Attachments: m.Attachments}})
		})
	}
}

// EmitWithAck sends an event to the sockets chosen, on all nodes, and waits until each has
// acknowledged it. When ctx ends first, or clients of this node go meanwhile, the responses that
// came are returned with ctx's error or [ErrDisconnected]. Other nodes pass on one value of each
// client, and say nothing of clients that go: give ctx a deadline.
func (t *Target) EmitWithAck(ctx context.Context, event string, args ...any) ([]Response, error) {
	if parser.Reserved(event) {
		return nil, fmt.Errorf("emit %q: %w", event, ErrReservedEvent)
	}
	id := t.ns.ackIDs.Add(1) - 1
	e, err := begin(
		head{kind: parser.Event, codec: t.ns.srv.opts.Parser, namespace: t.ns.name, id: id, hasID: true, plain: t.plain},
		&event,
		args,
	)
	if err != nil {
		return nil, err
	}
	p := &poll{changed: make(chan struct{}, 1)}
	if c := &t.ns.srv.cluster; !t.local && c.adapter != nil {
		if p.nodes, err = c.adapter.Nodes(ctx, t.ns.name); err != nil {
			return nil, fmt.Errorf("count the other nodes: %w", err)
		}
		m := t.message(KindEmit)
		m.ID, m.Args, m.Attachments, m.Timeout = newID(), e.array(), e.binary, maxAckWait
		if deadline, ok := ctx.Deadline(); ok {
			m.Timeout = max(time.Until(deadline), time.Millisecond)
		}
		defer c.wait(m.ID, p.heard)()
		if err := c.publish(m); err != nil {
			return nil, err
		}
	}
	sockets := t.Sockets()
	p.change(func() { p.clients += len(sockets) })
	defer t.call(sockets, id, e.finish(""), func(s *Socket, r *Reply, err error) {
		p.change(func() {
			p.settled++
			if err != nil {
				p.failed = err
				return
			}
			p.responses = append(p.responses, Response{s, r})
		})
	})()
	return p.result(ctx, event)
}

// result waits until all is known, or ctx ends.
func (p *poll) result(ctx context.Context, event string) ([]Response, error) {
	for {
		p.mu.Lock()
		responses, clients, done, failed := p.responses, p.clients, p.counted >= p.nodes && p.settled >= p.clients, p.failed
		p.mu.Unlock()
		if done && failed == nil {
			return responses, nil
		}
		if done {
			return responses, fmt.Errorf(
				"await the acknowledgements of %q: %d of %d came: %w",
				event,
				len(responses),
				clients,
				failed,
			)
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			return responses, fmt.Errorf(
				"await the acknowledgements of %q: %d of %d came: %w",
				event,
				len(responses),
				clients,
				ctx.Err(),
			)
		}
	}
}
