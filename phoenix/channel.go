package phoenix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
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
	// PushDropOld makes a send that finds PushQueue full take the place of the oldest
	// one, which fails with ErrQueueFull in its stead: for messages that matter only
	// while they are new, such as who is typing.
	PushDropOld bool
	// MaxSilence makes a live channel rejoin when no change arrived for so long: a
	// feed can die on the server while the connection and its heartbeats go on.
	// For feeds known to be busy. Default 0: never.
	MaxSilence time.Duration
}

// Stage is where a channel is.
type Stage uint8

const (
	// StageIdle means that it is not subscribed yet.
	StageIdle Stage = iota
	// StageWaiting means that it waits for a connection, a token, its turn to join or the end of a
	// back-off.
	StageWaiting
	// StageJoining means that the join is on its way.
	StageJoining
	// StageJoined means that the server accepted the join; changes don't flow yet.
	StageJoined
	// StageLive means that everything asked for flows.
	StageLive
	// StageLeaving means that the leave is on its way.
	StageLeaving
	// StageClosed is the end.
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

// Channel is a hold on one topic of a Client, with a stream of events of its own, in
// order. Several holds may share a topic: the server knows one subscription, which
// lasts until the last of them leaves. Methods are safe for concurrent use.
type Channel struct {
	*channel

	// What follows is owned by the client's loop.
	subscribed bool // by Subscribe; events are delivered from then on
	closed     bool
	out        outlet
	again      bool            // Joined was delivered before
	wasLive    bool            // Live was delivered before: what is missing since then is a gap
	gap        *Gap            // to deliver before the next Live
	left       []chan struct{} // closed when this is
}

// channel is the client's side of one topic, shared by all who hold it.
type channel struct {
	c     *Client        // read-only
	name  string         // without "realtime:"; read-only
	topic string         // on the wire; read-only
	opts  ChannelOptions // read-only; Queue and Overflow are each hold's own

	// What follows is owned by the client's loop.
	order    uint64 // of creation
	stage    Stage
	holds    []*Channel // not empty until closed; replaced, never changed in place
	bindings bindings
	joinRef  wire.Ref // of the join in flight or in force; null without one
	joined   bool     // was joined before
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
	leave    *alarm
}

// Channel makes a channel for the topic name (without "realtime:"). Nothing is sent
// before Subscribe. When the client has a channel of that topic already, made with
// equal options (Queue and Overflow apart) and without a Token, the new one shares its
// subscription; with other options, or a Token, which can't be compared, or while the
// last of that topic is leaving, the error is ErrTopicInUse: see Channel.Share.
// ErrTooManyChannels at Options.MaxChannels topics, or 256 channels of one.
func (c *Client) Channel(name string, options ChannelOptions) (*Channel, error) {
	topic := wire.TopicPrefix + name
	if name == "" || len(topic) > maxTopic {
		return nil, fmt.Errorf("realtime: channel name of %d bytes: want 1 to %d", len(name), maxTopic-len(wire.TopicPrefix))
	}
	if err := options.normalize(c.opts.JoinTimeout); err != nil {
		return nil, fmt.Errorf("realtime: channel %s: %w", name, err)
	}
	var made *Channel
	var err error
	if callErr := c.call(context.Background(), func() {
		if c.closing {
			err = ErrClosed
			return
		}
		ch := c.channels[topic]
		switch {
		case ch == nil && len(c.channels) >= c.opts.MaxChannels:
			err = fmt.Errorf("%w: %d", ErrTooManyChannels, c.opts.MaxChannels)
			return
		case ch == nil:
			c.lastRef++
			ch = &channel{
				c: c, name: name, topic: topic, opts: options, order: c.lastRef,
				bindings: newBindings(options.Changes),
				columns:  make(map[string][]Column),
			}
			c.channels[topic] = ch
		case ch.stage == StageLeaving:
			err = fmt.Errorf("%w: %s, which is leaving", ErrTopicInUse, name)
			return
		case !ch.opts.shareable(&options):
			err = fmt.Errorf("%w: %s", ErrTopicInUse, name)
			return
		}
		made, err = ch.hold(options.Queue, options.Overflow)
	}); callErr != nil {
		return nil, callErr
	}
	return made, err
}

// normalize checks the options, fills in defaults and brings the bindings to one
// spelling. What the caller may change later is copied.
func (o *ChannelOptions) normalize(joinTimeout time.Duration) error {
	o.Changes = slices.Clone(o.Changes)
	for i := range o.Changes {
		o.Changes[i].Select = slices.Clone(o.Changes[i].Select)
	}
	if r := o.Broadcast.Replay; r != nil {
		own := *r
		o.Broadcast.Replay = &own
	}
	if err := o.validate(); err != nil {
		return err
	}
	if o.Queue == 0 {
		o.Queue = defaultQueue
	}
	o.Queue = max(o.Queue, minQueue)
	if o.JoinTimeout <= 0 {
		o.JoinTimeout = joinTimeout
	}
	if o.PushQueue == 0 {
		o.PushQueue = defaultPushQueue
	}
	return nil
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
func (c *Client) inOrder() []*channel {
	list := make([]*channel, 0, len(c.channels))
	for _, ch := range c.channels {
		list = append(list, ch)
	}
	slices.SortFunc(list, func(a, b *channel) int { return cmp.Compare(a.order, b.order) })
	return list
}

// Topic is the channel's name, without "realtime:".
func (ch *Channel) Topic() string { return ch.name }

// Events is the channel's stream: everything that happens to it from Subscribe on, in
// order, ending with Closed. There is one stream; two readers share its events
// between them. Channels that share a topic have a stream each, of the same events.
func (ch *Channel) Events() <-chan Event { return ch.out.events }

// leavePatience is how long Follow waits for the server's answer to its leave.
const leavePatience = time.Second

// Follow subscribes and ranges over Events until ctx ends, the loop is left or the
// channel closes; then it leaves, waiting at most a second for the server:
//
//	for ev := range ch.Follow(ctx) { … }
func (ch *Channel) Follow(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		defer func() {
			leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leavePatience)
			defer cancel()
			_ = ch.Leave(leaving) // closed all the same
		}()
		// Its only errors are that ctx ended, and that the channel closed, which Events tells.
		_ = ch.Subscribe(ctx)
		for {
			select {
			case ev, ok := <-ch.Events():
				if !ok || !yield(ev) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// Subscribe starts joining, connecting the client if need be, and returns without
// waiting for an answer; Wait waits. From then on the channel stays subscribed:
// whatever ends it, other than Leave, Close or OverflowFail, it joins again. ctx
// only bounds the call itself. Subscribing twice is fine. ErrClosed after Leave.
func (ch *Channel) Subscribe(ctx context.Context) error {
	var err error
	if callErr := ch.c.call(ctx, func() {
		switch {
		case ch.closed || ch.stage == StageLeaving:
			err = ErrClosed
		case ch.subscribed:
		case ch.stage == StageIdle:
			ch.subscribed = true
			ch.setStage(StageWaiting)
			ch.c.checkUnused()
			ch.c.connect()
			ch.tryJoin()
		default:
			ch.subscribed = true
			ch.catchUp()
		}
	}); callErr != nil {
		return callErr
	}
	return err
}

func (ch *channel) setStage(to Stage) {
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
	ch.endWaits()
}

// current reports whether m belongs to the join in force. Fan-out messages carry
// no reference at all and belong to the topic; phx_close and phx_error carry the
// reference of the join they end, in V1 as their ref.
func (ch *channel) current(m *wire.Message) bool {
	ref := m.JoinRef
	if ref.IsNull() {
		ref = m.Ref
	}
	return ref.IsNull() || ref == ch.joinRef
}

var errStale = errors.New("realtime: message of an earlier join")

// receive handles a message that is no reply.
func (ch *channel) receive(m *wire.Message) {
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
