package phoenix

import (
	"context"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// Leave ends the channel. When it is the last of its topic it tells the server and
// waits for its answer, at most Options.JoinTimeout; the topic can then be used again.
// Events ends with Closed. When ctx ends first the channel is closed all the same, and
// the context's error returned. Leaving twice is fine.
func (ch *Channel) Leave(ctx context.Context) error {
	left := make(chan struct{})
	err := ch.c.call(ctx, func() {
		if ch.closed {
			close(left)
			return
		}
		ch.left = append(ch.left, left)
		ch.release(nil)
	})
	if err == ErrClosed {
		return nil
	}
	if err != nil {
		ch.c.post(ch.cut)
		return err
	}
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		ch.c.post(ch.cut)
		return ctx.Err()
	}
}

// beginLeave sends the leave when the server may hold a join, else closes at once.
func (ch *channel) beginLeave() {
	cn := ch.c.link.conn
	switch ch.stage {
	case StageLeaving, StageClosed:
		return
	case StageJoining, StageJoined, StageLive:
		if cn != nil && !cn.closing {
			ch.stopJoinTimers()
			if ch.stage == StageJoining {
				ch.c.joinEnded(cn)
				delete(cn.pending, ch.joinRef)
			}
			ch.setStage(StageLeaving)
			ch.leave = ch.c.agenda.after(ch.opts.JoinTimeout, func() { ch.close(nil) })
			ch.sendLeave(cn, func() { ch.close(nil) })
			ch.c.nextJoin()
			return
		}
	}
	ch.close(nil)
}

// sendLeave tells the server to end the current join; answered, which may be nil,
// runs when it has.
func (ch *channel) sendLeave(cn *conn, answered func()) {
	ref := ch.c.newRef()
	m := &wire.Message{JoinRef: ch.joinRef, Ref: ref, Topic: ch.topic, Event: wire.EventLeave}
	if !ch.c.sendControl(cn, m) || answered == nil {
		return
	}
	cn.pending[ref] = &push{kind: pushLeave, ch: ch, settle: func(_ *reply, err error) {
		if err == nil {
			answered()
		}
	}}
}

// leaveNow tells the server to end the current join and doesn't wait for an answer.
func (ch *channel) leaveNow() {
	if cn := ch.c.link.conn; cn != nil && !cn.closing && !ch.joinRef.IsNull() {
		ch.sendLeave(cn, nil)
	}
}

// close ends the channel locally and frees all it holds.
func (ch *channel) close(err error) {
	if ch.stage == StageClosed {
		return
	}
	c := ch.c
	if cn := c.link.conn; cn != nil {
		if ch.stage == StageJoining {
			c.joinEnded(cn)
		}
		delete(cn.pending, ch.joinRef)
		ch.abandonPushes(ErrClosed)
	}
	ch.stopJoinTimers()
	ch.retry.stop()
	ch.leave.stop()
	if ch.token.stop != nil {
		ch.token.stop()
	}
	for _, p := range ch.waiting {
		p.settle(nil, ErrClosed)
	}
	ch.waiting = nil
	ch.setStage(StageClosed)
	ch.closePresence()
	if c.channels[ch.topic] == ch {
		delete(c.channels, ch.topic)
	}
	for _, h := range ch.holds {
		h.finish(err)
	}
	c.checkEmpty()
}
