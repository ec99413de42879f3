package phoenix

import (
	"context"
	"errors"
	"slices"
	"time"
)

// waiter is a Wait in progress.
type waiter struct {
	hold  *Channel
	stage Stage
	done  chan error // buffered
}

// Wait returns nil once the channel is at least at stage (StageJoined or StageLive); Subscribe is
// not part of it. It returns early with an *Error of class Permanent when the server refuses in a
// way that trying again won't change (though the channel does try, every few minutes), with
// ErrClosed when the channel ends, and when ctx ends with the context's error joined to the last
// failure.
func (ch *Channel) Wait(ctx context.Context, stage Stage) error {
	w := &waiter{hold: ch, stage: stage, done: make(chan error, 1)}
	if err := ch.c.call(ctx, func() {
		switch {
		case ch.closed:
			w.done <- ErrClosed
		case ch.reached(stage):
			w.done <- nil
		case ch.lastErr != nil && ClassOf(ch.lastErr) == Permanent:
			w.done <- ch.lastErr
		default:
			ch.waiters = append(ch.waiters, w)
		}
	}); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	err := ctx.Err()
	ch.c.call(context.Background(), func() {
		ch.waiters = slices.DeleteFunc(ch.waiters, func(x *waiter) bool { return x == w })
		if ch.lastErr != nil {
			err = errors.Join(err, ch.lastErr)
		}
	})
	return err
}

func (ch *Channel) reached(stage Stage) bool {
	return ch.subscribed && ch.stage >= stage && ch.stage <= StageLive
}

// endWaits ends the Waits whose stage is reached, or never will be.
func (ch *channel) endWaits() {
	ch.waiters = slices.DeleteFunc(ch.waiters, func(w *waiter) bool {
		switch {
		case w.hold.closed || ch.stage == StageClosed:
			w.done <- ErrClosed
		case w.hold.reached(w.stage):
			w.done <- nil
		default:
			return false
		}
		return true
	})
}

// failWaiters ends the Waits when err won't go away by trying again.
func (ch *channel) failWaiters(err error) {
	if ClassOf(err) != Permanent {
		return
	}
	for _, w := range ch.waiters {
		w.done <- err
	}
	ch.waiters = nil
}

// Status is a snapshot of a channel.
type Status struct {
	Stage    Stage
	Err      error     // why it isn't live; nil when it is
	Failures int       // attempts to join that failed in a row
	Queued   int       // events waiting for the consumer
	Evidence time.Time // when the change feed last showed life; zero before it ever did
}

// Status is the channel as it is now.
func (ch *Channel) Status() Status {
	s := Status{Stage: StageClosed, Err: ErrClosed}
	ch.c.call(context.Background(), func() {
		switch {
		case ch.closed:
			s.Queued = len(ch.out.events)
		case !ch.subscribed:
			s = Status{Stage: StageIdle}
		default:
			s = Status{Stage: ch.stage, Failures: ch.failures, Queued: len(ch.out.events), Evidence: ch.evidence}
			if ch.stage != StageLive {
				s.Err = ch.lastErr
			}
		}
	})
	return s
}
