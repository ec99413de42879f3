package phoenix

import (
	"errors"
	"log/slog"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// pulseInterval is how often the client looks whether the machine was asleep, and
// jumpSlack how much more wall time than that must have passed to think so.
const (
	pulseInterval = 5 * time.Second
	jumpSlack     = 5 * time.Second
)

var errHeartbeat = errors.New("heartbeat not answered")

// heartbeat is the liveness state of one connection; it dies with it, so a beat of
// an earlier connection can't condemn a later one. Owned by the loop.
type heartbeat struct {
	next    *alarm // the next beat, on a fixed clock whatever arrives meanwhile
	verdict *alarm // no answer by then: the connection is dead
	pulse   *alarm
	sent    time.Time // of the oldest beat without an answer; zero when none is out
	stalled bool      // the verdict was due while a join was in flight
	wall    time.Time // at the last pulse, without monotonic reading
}

func (h *heartbeat) stop() {
	h.next.stop()
	h.verdict.stop()
	h.pulse.stop()
}

func (c *Client) startHeartbeat(cn *conn) {
	cn.beat.next = c.agenda.after(c.opts.HeartbeatInterval, func() { c.beat(cn) })
	cn.beat.wall = c.now().Round(0)
	cn.beat.pulse = c.agenda.after(pulseInterval, func() { c.feelPulse(cn) })
}

// beat sends a heartbeat. The server counts only what it receives, so the beat goes
// out also while an earlier one is unanswered.
func (c *Client) beat(cn *conn) {
	b := &cn.beat
	b.next.stop()
	b.next = c.agenda.after(c.opts.HeartbeatInterval, func() { c.beat(cn) })
	ref := c.newRef()
	p := &push{kind: pushHeartbeat}
	if !c.sendControl(cn, &wire.Message{Ref: ref, Topic: wire.TopicPhoenix, Event: wire.EventHeartbeat}) {
		return
	}
	cn.pending[ref] = p
	if b.sent.IsZero() {
		b.sent = c.now()
		b.verdict = c.agenda.after(c.opts.HeartbeatTimeout, func() { c.judge(cn) })
	}
}

// beatAnswered takes any answer as proof of life for all beats before it.
func (c *Client) beatAnswered(cn *conn) {
	b := &cn.beat
	if b.sent.IsZero() {
		return
	}
	rtt := c.now().Sub(b.sent)
	b.sent, b.stalled = time.Time{}, false
	b.verdict.stop()
	for ref, p := range cn.pending {
		if p.kind == pushHeartbeat {
			delete(cn.pending, ref)
		}
	}
	if h := c.opts.Hooks.Heartbeat; h != nil {
		h(rtt)
	}
}

// judge runs when a heartbeat has been unanswered for HeartbeatTimeout. While a
// join is in flight the server answers nothing else (a refused one takes it 5 s),
// so the judgement waits for the join's end, which JoinTimeout bounds. A join that
// ends in silence is the judgement.
func (c *Client) judge(cn *conn) {
	if cn.joins > 0 {
		cn.beat.stalled = true
		return
	}
	c.dropLink(cn, &Error{Op: OpLink, Err: errHeartbeat})
}

// joinEnded is called when a join got its answer or ran out of time.
func (c *Client) joinEnded(cn *conn) {
	cn.joins--
	if cn.joins == 0 && cn.beat.stalled {
		cn.beat.stalled = false
		cn.beat.verdict = c.agenda.after(c.opts.HeartbeatTimeout, func() { c.judge(cn) })
	}
}

// feelPulse notices that the machine was suspended or the process stopped: wall
// time has gone on for much longer than the pulse's interval. The connection is
// then tested at once rather than at the next beat, and token renewals are set anew.
func (c *Client) feelPulse(cn *conn) {
	b := &cn.beat
	now := c.now().Round(0)
	jump := now.Sub(b.wall) - pulseInterval
	b.wall = now
	b.pulse = c.agenda.after(pulseInterval, func() { c.feelPulse(cn) })
	if jump < jumpSlack {
		return
	}
	c.logf(slog.LevelInfo, "realtime clock jumped, testing the connection", slog.Duration("jump", jump))
	for _, ch := range c.channels {
		ch.scheduleRenewal()
	}
	c.beat(cn)
}
