package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

var (
	errJoinTimeout = errors.New("join not answered")
	errLiveTimeout = errors.New("joined, but the server did not confirm the feed")
	errMismatch    = errors.New("server and client bindings differ")
)

// joinPayload is built anew for every join, so that a rejoin asks for all of it
// with the token of now.
type joinPayload struct {
	Config      joinConfig `json:"config"`
	AccessToken string     `json:"access_token,omitempty"`
}

type joinConfig struct {
	Broadcast joinBroadcast `json:"broadcast"`
	Presence  joinPresence  `json:"presence"`
	Changes   []Binding     `json:"postgres_changes"`
	Private   bool          `json:"private"`
}

func (ch *channel) joinPayload() ([]byte, error) {
	return json.Marshal(joinPayload{
		Config: joinConfig{
			Broadcast: ch.joinBroadcast(),
			Presence:  joinPresence{Key: ch.opts.Presence.Key, Enabled: ch.opts.Presence.Enabled},
			Changes:   ch.bindings.sent,
			Private:   ch.opts.Private,
		},
		AccessToken: ch.token.value,
	})
}

// tryJoin takes a waiting channel towards its join: back-off, then token, then its
// turn. It may be called at any time and does nothing when it is not the time.
func (ch *channel) tryJoin() {
	cn := ch.c.link.conn
	if ch.stage != StageWaiting || cn == nil || cn.closing || ch.token.asking != nil ||
		slices.Contains(ch.c.joinLine, ch) {
		return
	}
	if wait := ch.notBefore.Sub(ch.c.now()); wait > 0 {
		if !ch.retry.pending() {
			ch.retry = ch.c.agenda.after(wait, ch.tryJoin)
		}
		return
	}
	if ch.opts.Token == nil {
		ch.lineUp()
		return
	}
	ch.askToken(func(err error) {
		switch {
		case ch.stage != StageWaiting || ch.c.link.conn == nil || ch.c.link.conn.closing:
			// The next connection asks again.
		case err != nil:
			ch.joinFailed(tokenError(ch.topic, err))
		default:
			ch.lineUp()
		}
	})
}

// lineUp puts the channel in the line of those that join, one after the other.
func (ch *channel) lineUp() {
	ch.c.joinLine = append(ch.c.joinLine, ch)
	ch.c.nextJoin()
}

// nextJoin sends the joins that may go out now.
func (c *Client) nextJoin() {
	cn := c.link.conn
	for cn != nil && !cn.closing && c.link.conn == cn && len(c.joinLine) > 0 && cn.joins < c.opts.JoinsInFlight {
		if wait := c.opts.JoinInterval - c.now().Sub(c.lastJoin); wait > 0 && !c.lastJoin.IsZero() {
			if !c.joinTurn.pending() {
				c.joinTurn = c.agenda.after(wait, c.nextJoin)
			}
			return
		}
		ch := c.joinLine[0]
		c.joinLine = c.joinLine[1:]
		if ch.stage == StageWaiting {
			ch.sendJoin(cn)
		}
	}
}

func (ch *channel) sendJoin(cn *conn) {
	payload, err := ch.joinPayload()
	if err != nil {
		ch.joinFailed(&Error{Op: OpJoin, Topic: ch.topic, Class: Permanent, Err: err})
		return
	}
	c := ch.c
	ref := c.newRef()
	ch.joinRef = ref
	ch.system = nil
	ch.setStage(StageJoining)
	sent := c.now()
	c.lastJoin = sent
	cn.joins++
	if !c.sendControl(
		cn,
		&wire.Message{JoinRef: ref, Ref: ref, Topic: ch.topic, Event: wire.EventJoin, Payload: payload},
	) {
		return
	}
	cn.pending[ref] = &push{kind: pushJoin, ch: ch, settle: func(r *reply, err error) {
		if err != nil {
			return // the connection is gone; linkLost has seen to the channel
		}
		c.joinEnded(cn)
		if ch.joinRef == ref && ch.stage == StageJoining {
			ch.joinTimer.stop()
			ch.joinAnswered(r)
		}
		c.nextJoin()
	}}
	ch.joinTimer = c.agenda.after(ch.opts.JoinTimeout, func() {
		delete(cn.pending, ref)
		if cn.beat.stalled && !cn.lastSeen.After(sent) {
			// Neither this nor a heartbeat brought a word: nobody is there.
			c.dropLink(cn, &Error{Op: OpLink, Err: errHeartbeat})
			return
		}
		c.joinEnded(cn)
		// The server may yet accept it: take that back.
		ch.sendLeave(cn, nil)
		if ch.stage == StageJoining {
			ch.joinFailed(&Error{Op: OpJoin, Topic: ch.topic, Err: errJoinTimeout})
		}
		c.nextJoin()
	})
}

func (ch *channel) joinAnswered(r *reply) {
	if r.err != nil {
		err := joinError(ch.topic, r.reason())
		ch.joinFailed(err)
		if err.Code == codeRestarting {
			ch.c.dropLink(ch.c.link.conn, &Error{Op: OpLink, Code: err.Code, Reason: err.Reason})
		}
		return
	}
	if !ch.bind(r.response) {
		ch.mismatch++
		class := Retry
		if ch.mismatch > 1 {
			class = Permanent
		}
		ch.leaveNow()
		ch.joinFailed(&Error{Op: OpJoin, Topic: ch.topic, Class: class, Err: errMismatch})
		return
	}
	ch.mismatch = 0
	ch.token.refused = ""
	ch.lastErr = nil
	ch.joinedAt = ch.c.now()
	ch.feedLive = len(ch.opts.Changes) == 0
	ch.replicating = !ch.opts.Broadcast.ReplicationReady
	ch.setStage(StageJoined)
	for _, h := range ch.holds {
		h.take(&Joined{Again: h.again})
	}
	if ch.stage != StageJoined {
		return // closed by OverflowFail
	}
	ch.joined = true
	ch.presence.joined(ch.opts.Presence.Enabled)
	ch.scheduleRenewal()
	ch.flushWaiting()
	ch.retrack()
	ch.checkLive()
	if ch.stage == StageJoined {
		ch.waitLive()
	}
}

// replicationPatience is how long the server itself waits for its replication
// connection before it closes the channel, and a little more.
const replicationPatience = 65 * time.Second

// waitLive bounds the time from joined to live.
func (ch *channel) waitLive() {
	patience := ch.c.opts.LiveTimeout
	if !ch.replicating {
		patience = max(patience, replicationPatience)
	}
	ch.liveTimer.stop()
	ch.liveTimer = ch.c.agenda.after(patience, func() {
		ch.rejoin(&Error{Op: OpSubscribe, Topic: ch.topic, Err: errLiveTimeout}, GapRejoin)
	})
}

// checkLive goes live when the server has confirmed all that was asked for.
func (ch *channel) checkLive() {
	if ch.stage != StageJoined || !ch.feedLive || !ch.replicating {
		return
	}
	ch.liveTimer.stop()
	ch.lastErr = nil
	ch.setStage(StageLive)
	ch.announceLive()
}

// announceLive delivers Live to everybody.
func (ch *channel) announceLive() {
	for _, h := range ch.holds {
		h.announce()
	}
	ch.sawFeed(ch.c.now())
}

// sawFeed notes a sign of life of the change feed.
func (ch *channel) sawFeed(at time.Time) {
	if len(ch.opts.Changes) == 0 || ch.stage != StageLive {
		return
	}
	ch.evidence = at
	if ch.opts.MaxSilence > 0 && !ch.silence.pending() {
		ch.silence = ch.c.agenda.after(ch.opts.MaxSilence, ch.checkSilence)
	}
}

// checkSilence rejoins a live channel whose feed said nothing for MaxSilence.
func (ch *channel) checkSilence() {
	if ch.stage != StageLive {
		return
	}
	if left := ch.opts.MaxSilence - ch.c.now().Sub(ch.evidence); left > 0 {
		ch.silence = ch.c.agenda.after(left, ch.checkSilence)
		return
	}
	ch.rejoinNow(
		&Error{Op: OpSubscribe, Topic: ch.topic, Reason: "no change for " + ch.opts.MaxSilence.String()},
		GapSilence,
	)
}

// joinFailed waits out the back-off of err and tries again.
func (ch *channel) joinFailed(err *Error) {
	if ch.stage == StageClosed {
		return
	}
	ch.joinRef = wire.Ref{}
	ch.lastErr = err
	class := err.Class
	if class == Token && err.Op != OpToken {
		t := &ch.token
		switch {
		case ch.opts.Token == nil && err.Op == OpJoin:
			class = Permanent // there is no other token to come, and this one was refused
		case ch.opts.Token == nil || t.refused == "":
		case t.value == t.refused:
			class = Slow // the source has no better one
		case err.Op == OpJoin && err.Code != codeExpired:
			class = Permanent // nor does another one of its make get in
		}
		t.refused = t.value
		if class == Permanent {
			err.Class = class
		}
	}
	delay := ch.c.opts.Backoff.delay(class, ch.failures, ch.c.opts.Jitter())
	ch.failures++
	ch.setStage(StageWaiting)
	ch.backOff(err, delay)
}

func (ch *channel) backOff(err *Error, delay time.Duration) {
	ch.notBefore = ch.c.now().Add(delay)
	ch.retry.stop()
	ch.retry = ch.c.agenda.after(delay, ch.tryJoin)
	if h := ch.c.opts.Hooks.Retrying; h != nil {
		h(ch.topic, err, delay)
	}
	ch.c.logf(
		slog.LevelWarn,
		"realtime channel retries",
		slog.String("topic", ch.name),
		slog.Any("error", err),
		slog.Duration("in", delay),
	)
	ch.deliver(&Retrying{Err: err, Delay: delay})
	ch.failWaiters(err)
}

// unjoin takes a joined channel back to waiting: the join in force is no more.
func (ch *channel) unjoin(err *Error, reason GapReason, since time.Time) {
	wasJoined := ch.stage == StageJoined || ch.stage == StageLive
	ch.stopJoinTimers()
	ch.joinRef = wire.Ref{}
	ch.lastErr = err
	ch.abandonPushes(ErrDisconnected)
	if wasJoined && ch.c.now().Sub(ch.joinedAt) >= ch.c.opts.Backoff.Max {
		ch.failures = 0
	}
	if wasJoined {
		ch.markGap(reason, since)
	}
	ch.setStage(StageWaiting)
	if wasJoined {
		ch.deliver(&Lost{Err: err})
	}
}

func (ch *channel) stopJoinTimers() {
	ch.joinTimer.stop()
	ch.liveTimer.stop()
	ch.silence.stop()
	ch.token.renewal.stop()
	ch.presence.stop()
}

// lastKnown is the instant until which the channel's stream was whole.
func (ch *channel) lastKnown() time.Time {
	if len(ch.opts.Changes) > 0 && !ch.evidence.IsZero() {
		return ch.evidence
	}
	return ch.c.now()
}

// rejoin leaves a join that the server still holds, and joins again after back-off.
func (ch *channel) rejoin(err *Error, reason GapReason) {
	ch.leaveNow()
	ch.unjoin(err, reason, ch.lastKnown())
	ch.joinFailed(err)
}

// rejoinNow is rejoin without back-off.
func (ch *channel) rejoinNow(err *Error, reason GapReason) {
	ch.leaveNow()
	ch.unjoin(err, reason, ch.lastKnown())
	ch.tryJoin()
}

// Rejoin leaves and joins again, now: for a caller that knows better than the
// server whether the feed works, such as one that found a row in the database
// which was never delivered. A Gap since the last change comes before the next
// Live. ErrNotJoined when the channel is not joined anyway.
func (ch *Channel) Rejoin(ctx context.Context, reason string) error {
	var err error
	if callErr := ch.c.call(ctx, func() {
		if ch.stage != StageJoined && ch.stage != StageLive {
			err = ErrNotJoined
			return
		}
		ch.rejoinNow(&Error{Op: OpChannel, Topic: ch.topic, Reason: "rejoin requested: " + reason}, GapRejoin)
	}); callErr != nil {
		return callErr
	}
	return err
}

// linkLost is called when the connection cn is gone.
func (ch *channel) linkLost(cn *conn, err *Error) {
	switch ch.stage {
	case StageJoining, StageJoined, StageLive:
		ch.unjoin(err, GapReconnect, cn.lastSeen)
	case StageLeaving:
		ch.close(nil)
	}
}

// closedByServer handles a phx_close nobody asked for: the server ended this
// channel, for the reason of the system error before it, and the connection lives.
func (ch *channel) closedByServer() {
	err := &Error{Op: OpChannel, Topic: ch.topic, Reason: "closed by the server"}
	if s := ch.system; s != nil && s.Extension == "system" {
		err.Reason, err.Class = s.Message, s.Class
	}
	ch.unjoin(err, GapRejoin, ch.c.now())
	ch.joinFailed(err)
}

// crashed handles phx_error.
func (ch *channel) crashed(payload []byte) {
	err := &Error{Op: OpChannel, Topic: ch.topic, Reason: "crashed on the server"}
	var p struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(payload, &p) == nil && p.Reason != "" {
		err.Reason += " (" + p.Reason + ")"
	}
	ch.unjoin(err, GapRejoin, ch.c.now())
	ch.joinFailed(err)
}

// unmatched handles "unmatched topic" for a channel believed to be joined: the
// server knows nothing of it.
func (ch *channel) unmatched() {
	err := &Error{Op: OpChannel, Topic: ch.topic, Reason: "not joined any more on the server"}
	ch.unjoin(err, GapRejoin, ch.lastKnown())
	ch.joinFailed(err)
}
