package phoenix

import "time"

// Overflow is what happens when a channel's consumer falls more than
// ChannelOptions.Queue events behind.
type Overflow uint8

const (
	// OverflowDropNew drops what arrives until half of the queue is read, then
	// delivers a Gap. Default.
	OverflowDropNew Overflow = iota
	// OverflowDropOld drops all that is queued, delivers a Gap and goes on with what
	// arrives: for consumers that want now rather than then.
	OverflowDropOld
	// OverflowFail leaves the channel; the last event is Closed with ErrOverflow.
	OverflowFail
)

// resumeCheck is how often a channel whose consumer is behind is looked at.
const resumeCheck = 20 * time.Millisecond

// outlet is the delivery to one hold of a channel: a Go channel into which only the client's
// loop sends, and never more than fits, so that the loop never waits for a
// consumer. Owned by the loop.
type outlet struct {
	events chan Event // capacity Queue + 2: the last Gap and Closed always fit
	queue  int
	policy Overflow

	behind     bool // dropping until there is room again
	since      time.Time
	lost       int
	toldJoined bool      // the last of Joined and Lost that was delivered
	empty      time.Time // when the queue was last found empty: all in it is younger
	check      *alarm
}

func newOutlet(queue int, policy Overflow) outlet {
	return outlet{events: make(chan Event, queue+2), queue: queue, policy: policy}
}

// deliver hands ev to everybody who holds the channel.
func (ch *channel) deliver(ev Event) {
	for _, h := range ch.holds {
		h.take(ev)
	}
}

// take queues ev for the consumer, or applies the overflow policy.
func (ch *Channel) take(ev Event) {
	o := &ch.out
	if ch.closed || !ch.subscribed {
		return
	}
	if o.behind {
		ch.resume()
	}
	if !o.behind && len(o.events) >= o.queue {
		ch.fallBehind()
	}
	switch {
	case ch.closed: // by OverflowFail
	case o.behind:
		if counts(ev) {
			o.lost++
		}
	default:
		ch.put(ev)
	}
}

func (ch *Channel) put(ev Event) {
	switch ev.(type) {
	case *Joined:
		ch.out.toldJoined, ch.again = true, true
	case *Lost:
		ch.out.toldJoined = false
	}
	if len(ch.out.events) == 0 {
		ch.out.empty = ch.c.now()
	}
	ch.out.events <- ev
}

// counts reports whether dropping ev loses something: what is told about the
// channel itself is told again.
func counts(ev Event) bool {
	switch ev.(type) {
	case *Joined, *Lost, *Live, *Gap, *Retrying:
		return false
	}
	return true
}

// clear empties the queue, keeping what the next Gap has to say.
func (ch *Channel) clear() {
	o := &ch.out
	o.since = o.empty
	stageSeen := false
	for {
		var ev Event
		select {
		case ev = <-o.events:
		default:
			return
		}
		switch ev := ev.(type) {
		case *Gap:
			ch.missed(ev.Reason, ev.Since)
			o.lost += ev.Lost
		case *Joined, *Lost:
			// The consumer still believes what came before the first of them.
			if _, lost := ev.(*Lost); !stageSeen {
				o.toldJoined, stageSeen = lost, true
			}
		}
		if counts(ev) {
			o.lost++
		}
	}
}

func (ch *Channel) fallBehind() {
	o := &ch.out
	o.since, o.lost = ch.c.now(), 0
	switch o.policy {
	case OverflowFail:
		ch.release(ErrOverflow)
	case OverflowDropOld:
		o.behind = true
		ch.clear()
		ch.resume()
	default:
		o.behind = true
		o.check = ch.c.agenda.after(resumeCheck, ch.checkBehind)
	}
}

func (ch *Channel) checkBehind() {
	if ch.resume(); ch.out.behind {
		ch.out.check = ch.c.agenda.after(resumeCheck, ch.checkBehind)
	}
}

// resume ends the dropping once half of the queue is free: the consumer gets the
// Gap, and the stage as it is now.
func (ch *Channel) resume() {
	o := &ch.out
	if len(o.events) > o.queue/2 {
		return
	}
	o.behind = false
	o.check.stop()
	if h := ch.c.opts.Hooks.EventsLost; h != nil {
		h(ch.topic, o.lost)
	}
	joined := ch.stage == StageJoined || ch.stage == StageLive
	if joined != o.toldJoined {
		if joined {
			ch.put(&Joined{Again: ch.again})
		} else {
			ch.put(&Lost{Err: ch.lastErr})
		}
	}
	ch.missed(GapOverflow, o.since)
	if ch.gap != nil {
		ch.gap.Lost += o.lost
	}
	if ch.stage == StageLive {
		live := &Live{}
		if ch.gap != nil {
			live.Since = ch.gap.Since
			ch.put(ch.gap)
		}
		ch.put(live)
		ch.gap, ch.wasLive = nil, true
	}
}

// announce delivers Live, after the Gap that it ends.
func (ch *Channel) announce() {
	if !ch.subscribed {
		return
	}
	live := &Live{}
	if gap := ch.gap; gap != nil && !ch.out.behind {
		ch.gap = nil
		live.Since = gap.Since
		ch.take(gap)
	}
	ch.take(live)
	ch.wasLive = true
}

// markGap notes for everybody that events may be missing since then.
func (ch *channel) markGap(reason GapReason, since time.Time) {
	for _, h := range ch.holds {
		h.missed(reason, since)
	}
}

// missed notes that events may be missing since then; the Gap is delivered before the
// next Live. Of several, the earliest instant counts and the first reason. Before
// the first Live there is no gap: nothing was whole yet.
func (ch *Channel) missed(reason GapReason, since time.Time) {
	switch {
	case !ch.wasLive:
	case ch.gap == nil:
		ch.gap = &Gap{Since: since, Reason: reason}
	case since.Before(ch.gap.Since):
		ch.gap.Since = since
	}
}

// gapSince is the earliest instant from which somebody misses events; zero when
// nobody does.
func (ch *channel) gapSince() (since time.Time) {
	for _, h := range ch.holds {
		if h.gap != nil && (since.IsZero() || h.gap.Since.Before(since)) {
			since = h.gap.Since
		}
	}
	return since
}

// finish delivers the Closed that ends the stream.
func (ch *Channel) finish(err error) {
	o := &ch.out
	ch.closed = true
	o.check.stop()
	if o.behind {
		o.behind = false
		o.events <- &Gap{Since: o.since, Reason: GapOverflow, Lost: o.lost}
	}
	o.events <- &Closed{Err: err}
	close(o.events)
	for _, l := range ch.left {
		close(l)
	}
	ch.left = nil
}
