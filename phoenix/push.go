package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// maxPending bounds the messages of one connection that wait for a reply.
const maxPending = 1024

type pushKind uint8

const (
	pushMessage pushKind = iota
	pushHeartbeat
	pushJoin
	pushLeave
)

// push is a message on its way, from when it is handed to the loop until it is
// settled. Owned by the loop.
type push struct {
	kind      pushKind
	ch        *channel // nil for a heartbeat
	msg       wire.Message
	wantReply bool
	settle    func(*reply, error) // called once, on the loop; nil for a heartbeat
}

// reply is the server's answer to a push.
type reply struct {
	response json.RawMessage
	err      error // status error
}

// reason is the text of an error reply: response.reason, or the response itself
// where it is a bare string.
func (r *reply) reason() string {
	var text string
	if json.Unmarshal(r.response, &text) == nil {
		return text
	}
	var object struct {
		Reason json.RawMessage `json:"reason"`
	}
	if json.Unmarshal(r.response, &object) != nil || object.Reason == nil {
		return ""
	}
	if json.Unmarshal(object.Reason, &text) == nil {
		return text
	}
	return string(object.Reason)
}

var (
	errStatus  = errors.New("status error")
	errNoReply = errors.New("realtime: reply to nothing that waits")
)

// replied routes a reply by its ref to what waits for it.
func (c *Client) replied(cn *conn, m *wire.Message) {
	r := &reply{}
	if m.Kind == wire.Reply {
		if m.Status != "ok" {
			r.err = errStatus
		}
	} else {
		var p struct {
			Status   string          `json:"status"`
			Response json.RawMessage `json:"response"`
		}
		if err := json.Unmarshal(m.Payload, &p); err != nil {
			c.dropped(err)
			return
		}
		r.response = p.Response
		if p.Status != "ok" {
			r.err = errStatus
		}
	}
	p := cn.pending[m.Ref]
	switch {
	case p == nil:
		c.repliedToNothing(m, r)
		return
	case !m.JoinRef.IsNull() && !p.msg.JoinRef.IsNull() && m.JoinRef != p.msg.JoinRef:
		c.dropped(errStale)
		return
	case p.kind == pushHeartbeat:
		c.beatAnswered(cn)
		return
	}
	delete(cn.pending, m.Ref)
	p.settle(r, nil)
	if p.kind == pushMessage && r.err != nil && r.reason() == reasonUnmatched {
		p.ch.notJoined(p.msg.JoinRef)
	}
}

// repliedToNothing handles the answer to a message that wanted none, or that
// nobody waits for any more.
func (c *Client) repliedToNothing(m *wire.Message, r *reply) {
	if r.err == nil {
		return
	}
	ch := c.channels[m.Topic]
	if ch != nil && r.reason() == reasonUnmatched && laterRef(m.Ref, ch.joinRef) {
		ch.notJoined(ch.joinRef)
		return
	}
	c.dropped(errNoReply)
}

// laterRef reports whether a was made after b; refs of a client count up.
func laterRef(a, b wire.Ref) bool {
	x, errX := strconv.ParseUint(a.Text(), 10, 64)
	y, errY := strconv.ParseUint(b.Text(), 10, 64)
	return errX == nil && errY == nil && x > y
}

// notJoined is told that the server does not know the join of that ref.
func (ch *channel) notJoined(ref wire.Ref) {
	if ref == ch.joinRef && (ch.stage == StageJoined || ch.stage == StageLive) {
		ch.unmatched()
	}
}

// push sends a message of the channel, waiting for the join where PushQueue allows.
// With wantReply it waits for the answer; a status error is returned as an *Error.
func (ch *Channel) push(ctx context.Context, m wire.Message, wantReply bool) error {
	type outcome struct {
		r   *reply
		err error
	}
	result := make(chan outcome, 1)
	p := &push{
		ch:        ch.channel,
		msg:       m,
		wantReply: wantReply,
		settle:    func(r *reply, err error) { result <- outcome{r, err} },
	}
	if err := ch.c.call(ctx, func() {
		switch {
		case ch.closed:
			p.settle(nil, ErrClosed)
		case !ch.subscribed:
			p.settle(nil, ErrNotJoined)
		default:
			ch.submit(p)
		}
	}); err != nil {
		return err
	}
	select {
	case o := <-result:
		return ch.outcome(o.r, o.err)
	case <-ctx.Done():
		ch.c.post(func() { ch.withdraw(p) })
		return ctx.Err()
	}
}

func (ch *channel) outcome(r *reply, err error) error {
	if err != nil || r == nil || r.err == nil {
		return err
	}
	e := &Error{Op: OpPush, Topic: ch.topic, Reason: r.reason()}
	switch e.Reason {
	case reasonUnmatched:
		e.Err = ErrNotJoined
	case reasonTooLarge:
		e.Class, e.Err = Permanent, ErrPayloadTooLarge
	default:
		e.Class = systemClass(e.Reason)
		if e.Class == Retry {
			e.Class = Permanent // the server refused this very message
		}
	}
	return e
}

func (ch *channel) submit(p *push) {
	switch ch.stage {
	case StageJoined, StageLive:
		ch.transmit(p)
	case StageWaiting, StageJoining:
		switch {
		case ch.opts.PushQueue < 0:
			p.settle(nil, ErrNotJoined)
		case len(ch.waiting) < ch.opts.PushQueue:
			ch.waiting = append(ch.waiting, p)
		case ch.opts.PushDropOld:
			ch.waiting[0].settle(nil, ErrQueueFull)
			ch.waiting = append(ch.waiting[1:], p)
		default:
			p.settle(nil, ErrQueueFull)
		}
	default:
		p.settle(nil, ErrClosed)
	}
}

// transmit hands p to the writer.
func (ch *channel) transmit(p *push) {
	cn := ch.c.link.conn
	if p.wantReply && len(cn.pending) >= maxPending {
		p.settle(nil, ErrQueueFull)
		return
	}
	p.msg.JoinRef, p.msg.Ref = ch.joinRef, ch.c.newRef()
	err := ch.c.send(cn, &p.msg)
	switch {
	case errors.Is(err, wire.ErrTooLong) || errors.Is(err, wire.ErrNotRepresentable):
		p.settle(nil, ErrBinaryUnsupported)
	case err != nil || !p.wantReply:
		p.settle(nil, err)
	default:
		cn.pending[p.msg.Ref] = p
	}
}

// flushWaiting sends what waited for the join.
func (ch *channel) flushWaiting() {
	waiting := ch.waiting
	ch.waiting = nil
	for _, p := range waiting {
		ch.transmit(p)
	}
}

// withdraw forgets a push whose sender no longer waits.
func (ch *channel) withdraw(p *push) {
	ch.waiting = slices.DeleteFunc(ch.waiting, func(x *push) bool { return x == p })
	if cn := ch.c.link.conn; cn != nil && cn.pending[p.msg.Ref] == p {
		delete(cn.pending, p.msg.Ref)
	}
}

// abandonPushes ends the messages of the channel that will get no answer any more.
func (ch *channel) abandonPushes(err error) {
	cn := ch.c.link.conn
	if cn == nil {
		return // dropLink has seen to them
	}
	for ref, p := range cn.pending {
		if p.ch != ch {
			continue
		}
		switch p.kind {
		case pushMessage:
			delete(cn.pending, ref)
			p.settle(nil, err)
		case pushLeave:
			delete(cn.pending, ref)
		}
	}
}

// Push sends an event of the caller's own choosing, for servers that have handlers
// Realtime doesn't. With wait it waits for the reply until ctx ends; Realtime
// answers no unknown event.
func (ch *Channel) Push(ctx context.Context, event string, payload any, wait bool) error {
	body, err := encodePayload(payload)
	if err != nil {
		return err
	}
	return ch.push(ctx, wire.Message{Topic: ch.topic, Event: event, Payload: body}, wait)
}
