package bridge

import (
	"context"
	"errors"
	"sync"

	"github.com/supabridge/supabridge/phoenix"
)

// switched is a source that can be turned on and off, by one goroutine. To the feed it is one that
// is silent meanwhile.
type switched struct {
	b    *Bridge // immutable, like the next two
	main outlet
	fast *outlet // nil where the fast lane is off

	mu   sync.Mutex // guards what is below
	now  *source    // nil while it is off
	stop func()     // ends the passing on of now's events, and waits for it
}

// outlet is what the feed has for a channel of whichever source is on.
type outlet struct {
	events chan phoenix.Event
	of     *switched
}

// Events implements feed.Channel.
func (o *outlet) Events() <-chan phoenix.Event { return o.events }

// Rejoin implements feed.Channel.
func (o *outlet) Rejoin(ctx context.Context, reason string) error {
	o.of.mu.Lock()
	now := o.of.now
	o.of.mu.Unlock()
	if now == nil {
		return errSilent
	}
	return now.channel.Rejoin(ctx, reason)
}

var errSilent = errors.New("another node hears Realtime")

// passedOn is how many events of a source may wait for the feed beside those that wait in its own
// queue.
const passedOn = 256

func newSwitched(b *Bridge) *switched {
	s := &switched{b: b}
	s.main = outlet{make(chan phoenix.Event, passedOn), s}
	if b.cfg().Supabase.FastLane != "off" {
		s.fast = &outlet{make(chan phoenix.Event, passedOn), s}
	}
	return s
}

// On turns it on. ctx bounds all that it brings.
func (s *switched) On(ctx context.Context) error {
	source, err := s.b.newSource()
	if err != nil {
		return err
	}
	if err := source.subscribe(ctx); err != nil {
		return errors.Join(err, source.close(ctx))
	}
	ctx, cancel := context.WithCancel(ctx)
	var passing sync.WaitGroup
	passing.Go(func() { s.main.pass(ctx, source.channel.Events()) })
	if source.fast != nil {
		passing.Go(func() { s.fast.pass(ctx, source.fast.Events()) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = source
	s.stop = func() { cancel(); passing.Wait() }
	return nil
}

// Off turns it off: what it brought and the feed has not taken is forgotten, for it comes by
// another way.
func (s *switched) Off(ctx context.Context) error {
	s.mu.Lock()
	source, stop := s.now, s.stop
	s.now, s.stop = nil, nil
	s.mu.Unlock()
	if source == nil {
		return nil
	}
	stop()
	s.main.forget()
	if s.fast != nil {
		s.fast.forget()
	}
	return source.close(ctx)
}

// pass passes a channel's events on until ctx ends or the channel does.
func (o *outlet) pass(ctx context.Context, events <-chan phoenix.Event) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-events:
			if !open {
				return
			}
			select {
			case o.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (o *outlet) forget() {
	for {
		select {
		case <-o.events:
		default:
			return
		}
	}
}
