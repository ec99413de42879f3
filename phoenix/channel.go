package phoenix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// Defaults and bounds of ChannelOptions.
const (
	defaultQueue     = 1024
	minQueue         = 8
	defaultPushQueue = 100
	maxTopic         = 255 // bytes of a wire topic, so that it fits a binary frame
)

// ChannelOptions is what a channel asks the server for, and how it behaves. It is
// fixed once the channel is made; every join sends it anew.
type ChannelOptions struct {
	// Token returns the token this channel joins with. It is asked before every
	// join and ahead of the token's end (at 80 % of its life, and at least a minute
	// before), on a goroutine of its own, with a context that ends after
	// Options.JoinTimeout or with the client; it must return when that context ends.
	// A token about to expire within 30 s or an empty one fails the attempt. Nil: the
	// server uses the API key.
	Token func(ctx context.Context) (string, error)
	// Changes are the row changes to receive. Equal bindings are sent once.
	Changes []Binding
	// Broadcast configures messages between clients.
	Broadcast BroadcastOptions
	// Presence configures who is here.
	Presence PresenceOptions
	// Private asks for a channel guarded by the policies of realtime.messages. Public
	// and private channels of one name are different rooms.
	Private bool

	// Queue is how many events may wait for the consumer. Default 1024, at least 8;
	// each costs 16 bytes from the start.
	Queue int
	// Overflow is what happens when they are more.
	Overflow Overflow
	// JoinTimeout overrides Options.JoinTimeout for this channel.
	JoinTimeout time.Duration
	// PushQueue is how many sends may wait for the channel to be joined; negative:
	// none, they fail with ErrNotJoined. Default 100.
	PushQueue int
	// MaxSilence makes a live channel rejoin when no change arrived for so long: a
	// feed can die on the server while the connection and its heartbeats go on.
	// For feeds known to be busy. Default 0: never.
	MaxSilence time.Duration
}

// Stage is where a channel is.
type Stage uint8

const (
	// StageIdle: not subscribed yet.
	StageIdle Stage = iota
	// StageWaiting: for a connection, a token, its turn to join or the end of a back-off.
	StageWaiting
	// StageJoining: the join is on its way.
	StageJoining
	// StageJoined: the server accepted the join; changes don't flow yet.
	StageJoined
	// StageLive: everything asked for flows.
	StageLive
	// StageLeaving: the leave is on its way.
	StageLeaving
	// StageClosed: the end.
	StageClosed
)

func (s Stage) String() string {
	switch s {
	case StageIdle:
		return "idle"
	case StageWaiting:
		return "waiting"
	case StageJoining:
		return "joining"
	case StageJoined:
		return "joined"
	case StageLive:
		return "live"
	case StageLeaving:
		return "leaving"
	case StageClosed:
		return "closed"
	}
	return fmt.Sprintf("stage(%d)", uint8(s))
}

// Channel is one topic on a Client. Its methods are safe for concurrent use; its
// events have one stream, in order.
type Channel struct {
	c     *Client        // read-only
	name  string         // without "realtime:"; read-only
	topic string         // on the wire; read-only
	opts  ChannelOptions // read-only

	// What follows is owned by the client's loop.
	order    uint64 // of creation
	stage    Stage
	out      outlet
	bindings bindings
	joinRef  wire.Ref // of the join in flight or in force; null without one
	again    bool     // was joined before
	wasLive  bool     // was live before: what is missing since then is a gap
	gap      *Gap     // to deliver before the next Live
	lastErr  error    // why it isn't joined
	system   *SystemError
	failures int // in a row
	joinedAt time.Time
	evidence time.Time // the last sign of life of the change feed

	notBefore   time.Time // back-off
	retry       *alarm
	joinTimer   *alarm
	liveTimer   *alarm
	silence     *alarm
	feedLive    bool // "Subscribed to PostgreSQL" came for this join
	replicating bool // "Replication connection established" came for this join

	token    tokenState
	mismatch int // joins in a row whose bindings came back different
	columns  map[string][]Column
	waiters  []*waiter
	waiting  []*push // sends waiting for the join, bounded by PushQueue
	replayed replayed
	presence presence
	left     []chan struct{} // closed when the channel is
	leave    *alarm
}

// waiter is a Wait in progress.
type waiter struct {
	stage Stage
	done  chan error // buffered
}

// Channel makes a channel for the topic name (without "realtime:"). Nothing is
// sent before Subscribe. ErrTopicInUse when the client has a channel of that topic
// which is not closed yet; ErrTooManyChannels at Options.MaxChannels.
func (c *Client) Channel(name string, options ChannelOptions) (*Channel, error) {
	topic := wire.TopicPrefix + name
	if name == "" || len(topic) > maxTopic {
		return nil, fmt.Errorf("realtime: channel name of %d bytes: want 1 to %d", len(name), maxTopic-len(wire.TopicPrefix))
	}
	options.Changes = slices.Clone(options.Changes)
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("realtime: channel %s: %w", name, err)
	}
	if options.Queue == 0 {
		options.Queue = defaultQueue
	}
	options.Queue = max(options.Queue, minQueue)
	if options.JoinTimeout <= 0 {
		options.JoinTimeout = c.opts.JoinTimeout
	}
	if options.PushQueue == 0 {
		options.PushQueue = defaultPushQueue
	}
	ch := &Channel{
		c: c, name: name, topic: topic, opts: options,
		out:      newOutlet(options.Queue, options.Overflow),
		bindings: newBindings(options.Changes),
		columns:  make(map[string][]Column),
	}
	var err error
	if callErr := c.call(context.Background(), func() {
		switch {
		case c.closing:
			err = ErrClosed
		case c.channels[topic] != nil:
			err = fmt.Errorf("%w: %s", ErrTopicInUse, name)
		case len(c.channels) >= c.opts.MaxChannels:
			err = fmt.Errorf("%w: %d", ErrTooManyChannels, c.opts.MaxChannels)
		default:
			c.lastRef++
			ch.order = c.lastRef
			c.channels[topic] = ch
		}
	}); callErr != nil {
		return nil, callErr
	}
	if err != nil {
		return nil, err
	}
	return ch, nil
}

// validate checks the options and brings the bindings to one spelling.
func (o *ChannelOptions) validate() error {
	if o.Overflow > OverflowFail {
		return fmt.Errorf("unknown overflow policy %d", o.Overflow)
	}
	for i := range o.Changes {
		if err := o.Changes[i].validate(); err != nil {
			return fmt.Errorf("binding %d: %w", i, err)
		}
	}
	if r := o.Broadcast.Replay; r != nil {
		if !o.Private {
			return errors.New("replay needs a private channel")
		}
		if r.Since.IsZero() || r.Limit < 0 || r.Limit > maxReplay {
			return fmt.Errorf("replay needs Since, and a limit of at most %d", maxReplay)
		}
	}
	return nil
}

// inOrder lists the channels as they were made.
func (c *Client) inOrder() []*Channel {
	list := make([]*Channel, 0, len(c.channels))
	for _, ch := range c.channels {
		list = append(list, ch)
	}
	slices.SortFunc(list, func(a, b *Channel) int { return cmp.Compare(a.order, b.order) })
	return list
}

// Topic is the channel's name, without "realtime:".
func (ch *Channel) Topic() string { return ch.name }

// Events is the channel's stream: everything that happens to it, in order, ending
// with Closed. There is one stream; two readers share its events between them.
func (ch *Channel) Events() <-chan Event { return ch.out.events }

// Subscribe starts joining, connecting the client if need be, and returns without
// waiting for an answer; Wait waits. From then on the channel stays subscribed:
// whatever ends it, other than Leave, Close or OverflowFail, it joins again. ctx
// only bounds the call itself. Subscribing twice is fine. ErrClosed after Leave.
func (ch *Channel) Subscribe(ctx context.Context) error {
	var err error
	if callErr := ch.c.call(ctx, func() {
		switch ch.stage {
		case StageIdle:
			ch.setStage(StageWaiting)
			ch.c.checkUnused()
			ch.c.connect()
			ch.tryJoin()
		case StageLeaving, StageClosed:
			err = ErrClosed
		}
	}); callErr != nil {
		return callErr
	}
	return err
}

// Wait returns nil once the channel is at least at stage (StageJoined or
// StageLive). It returns early with an *Error of class Permanent when the server
// refuses in a way that trying again won't change (though the channel does try,
// every few minutes), with ErrClosed when the channel ends, and when ctx ends with
// the context's error joined to the last failure.
func (ch *Channel) Wait(ctx context.Context, stage Stage) error {
	w := &waiter{stage: stage, done: make(chan error, 1)}
	if err := ch.c.call(ctx, func() {
		switch {
		case ch.stage == StageClosed:
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
	return ch.stage >= stage && ch.stage <= StageLive
}

// failWaiters ends the Waits when err won't go away by trying again.
func (ch *Channel) failWaiters(err error) {
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
		s = Status{Stage: ch.stage, Failures: ch.failures, Queued: len(ch.out.events), Evidence: ch.evidence}
		if ch.stage != StageLive {
			s.Err = ch.lastErr
		}
	})
	return s
}

func (ch *Channel) setStage(to Stage) {
	from := ch.stage
	if from == to {
		return
	}
	ch.stage = to
	if h := ch.c.opts.Hooks.StageChanged; h != nil {
		h(ch.topic, from, to)
	}
	level := slog.LevelDebug
	if to == StageJoined || to == StageLive || to == StageClosed || from >= StageJoined {
		level = slog.LevelInfo
	}
	ch.c.logf(level, "realtime channel "+to.String(), slog.String("topic", ch.name), slog.String("was", from.String()))
	ch.waiters = slices.DeleteFunc(ch.waiters, func(w *waiter) bool {
		switch {
		case to == StageClosed:
			w.done <- ErrClosed
		case ch.reached(w.stage):
			w.done <- nil
		default:
			return false
		}
		return true
	})
}

// current reports whether m belongs to the join in force. Fan-out messages carry
// no reference at all and belong to the topic; phx_close and phx_error carry the
// reference of the join they end, in V1 as their ref.
func (ch *Channel) current(m *wire.Message) bool {
	ref := m.JoinRef
	if ref.IsNull() {
		ref = m.Ref
	}
	return ref.IsNull() || ref == ch.joinRef
}

var errStale = errors.New("realtime: message of an earlier join")

// receive handles a message that is no reply.
func (ch *Channel) receive(m *wire.Message) {
	if !ch.current(m) {
		ch.c.dropped(errStale)
		return
	}
	if ch.stage != StageJoined && ch.stage != StageLive {
		if m.Event == wire.EventClose && ch.stage == StageLeaving {
			ch.close(nil)
		}
		return
	}
	if m.Binary || m.Kind == wire.UserBroadcast {
		ch.receiveBroadcast(m)
		return
	}
	switch m.Event {
	case wire.EventChanges:
		ch.receiveChange(m.Payload)
	case wire.EventBroadcast:
		ch.receiveBroadcast(m)
	case wire.EventPresenceState:
		ch.receivePresenceState(m.Payload)
	case wire.EventPresenceDiff:
		ch.receivePresenceDiff(m.Payload)
	case wire.EventSystem:
		ch.receiveSystem(m.Payload)
	case wire.EventClose:
		ch.closedByServer()
	case wire.EventError:
		ch.crashed(m.Payload)
	default:
		ch.deliver(&Message{Event: m.Event, Payload: m.Payload})
	}
}
