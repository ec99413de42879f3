package phoenix

import (
	"context"
	"fmt"
	"reflect"
	"slices"
)

// maxHolds bounds the channels of one topic.
const maxHolds = 256

// Share makes another channel of the same topic, on the same subscription and with a
// stream of its own: for two parts of a program that follow one topic. It is Client's
// Channel without the comparison, so it works with a Token too: the new channel sees
// what the first one's token may see. Queue and overflow are as in ChannelOptions, and
// Subscribe it needs like any other. What concerns the server is common to all: the
// last Track counts, RenewToken and Rejoin do it for everybody. ErrClosed once the
// channel has left.
func (ch *Channel) Share(queue int, overflow Overflow) (*Channel, error) {
	if overflow > OverflowFail {
		return nil, fmt.Errorf("realtime: share %s: unknown overflow policy %d", ch.name, overflow)
	}
	if queue == 0 {
		queue = defaultQueue
	}
	var made *Channel
	err := ErrClosed
	if callErr := ch.c.call(context.Background(), func() {
		if !ch.closed && ch.stage != StageLeaving {
			made, err = ch.hold(max(queue, minQueue), overflow)
		}
	}); callErr != nil {
		return nil, callErr
	}
	return made, err
}

// shareable reports whether one subscription serves o and p. Tokens are functions and
// can't be compared, and to take one for another would show a user what another may see.
func (o *ChannelOptions) shareable(p *ChannelOptions) bool {
	if o.Token != nil || p.Token != nil {
		return false
	}
	a, b := *o, *p
	a.Queue, a.Overflow, b.Queue, b.Overflow = 0, 0, 0, 0
	return reflect.DeepEqual(a, b)
}

// hold adds a hold to the channel.
func (ch *channel) hold(queue int, overflow Overflow) (*Channel, error) {
	if len(ch.holds) >= maxHolds {
		return nil, fmt.Errorf("%w: %d of topic %s", ErrTooManyChannels, maxHolds, ch.name)
	}
	h := &Channel{channel: ch, out: newOutlet(queue, overflow)}
	ch.holds = append(slices.Clip(ch.holds), h)
	return h, nil
}

// catchUp tells a hold that subscribes to a topic in use what is so by now.
func (ch *Channel) catchUp() {
	if ch.stage == StageJoined || ch.stage == StageLive {
		ch.take(&Joined{})
		if ch.opts.Presence.Enabled && ch.presence.synced {
			here := ch.presence.list()
			ch.take(&PresenceState{Present: here, PresenceDiff: PresenceDiff{Joins: here}})
		}
	}
	if ch.stage == StageLive {
		ch.announce()
	}
	ch.endWaits()
}

// release gives the hold up: the last one ends the subscription as beginLeave does.
func (ch *Channel) release(err error) {
	switch {
	case ch.closed:
	case len(ch.holds) > 1:
		ch.detach(err)
	case err != nil:
		ch.leaveNow()
		ch.close(err)
	default:
		ch.beginLeave()
	}
}

// cut ends the hold at once, and with the last one the channel.
func (ch *Channel) cut() {
	switch {
	case ch.closed:
	case len(ch.holds) > 1:
		ch.detach(nil)
	default:
		ch.close(nil)
	}
}

// detach ends one of several holds. What it tracked ends with it.
func (ch *Channel) detach(err error) {
	ch.holds = slices.DeleteFunc(slices.Clone(ch.holds), func(h *Channel) bool { return h == ch })
	ch.finish(err)
	ch.endWaits()
	if p := &ch.presence; p.by == ch && p.tracked != nil {
		p.by, p.tracked, p.dirty = nil, nil, true
		ch.flushPresence()
	}
}
