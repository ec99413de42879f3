// Package realtimeshare has clients of Supabase Realtime and those of the bridge see each other:
// typing goes as Broadcast, who is online as Presence, each way as configured.
//
//	s, err := realtimeshare.New(realtimeshare.Options{Typing: …, Presence: …, Dial: dial, House: house})
//	go s.Run(ctx)
//	s.Typed("c1", realtimeshare.User{ID: "u1"}, true)   // a socket of ours types
//	s.Nudge()                                   // somebody came or went
//
// It uses connections of its own, never the one that carries changes: a refused join holds up a
// whole connection, and limits on broadcasts close channels. A channel is joined while somebody is
// in what it is about, and a while longer. What goes out is coalesced (of a user who types in a
// conversation only the latest state waits) and held to a budget.
//
// One channel of one connection is one presence to Realtime, so a bridge can't announce all its
// users on one. Each of the first users of a tenant, Presence.Seats many, has a seat: a connection
// that is shared with one user of every other tenant. An unchanged supabase-js client sees them as
// it sees its like. Those beyond are listed together in one further presence, under `users`.
//
// Run's goroutine owns everything but what waits to be sent. Each channel has a goroutine that
// reads it and, where it announces somebody, one that does; all have ended when Run returns.
package realtimeshare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/phoenix"
)

// User is somebody, as others are told of them.
type User struct {
	ID, Name string
	Status   string // online, away, …; of typing empty
}

// House is what a Sharer knows of the bridge, and tells it. Its methods are called from one
// goroutine.
type House interface {
	// Occupied gives the conversations and tenants in whose rooms sockets are.
	Occupied() (conversations, tenants []string)
	// Present gives, by tenant, the users who are online by sockets of this bridge.
	Present() map[string][]User
	// TenantOf gives the tenant of a conversation, "" where it has none.
	TenantOf(ctx context.Context, conversation string) (string, error)
	// Typing takes that somebody elsewhere types, or stopped.
	Typing(conversation string, user User, on bool)
	// Enter takes that somebody elsewhere is online in a tenant, or how they are now; Leave that they
	// are not any more. The key is the same for both.
	Enter(tenant, key string, user User)
	Leave(tenant, key string, user User)
}

// Lane is one kind of thing that is shared.
type Lane struct {
	// In and Out are the ways it goes. With neither it is off.
	In, Out bool
	// Topic is the channel's name, in which {conversation} or {tenant} stands for an id.
	Topic string
	// Private channels are guarded by the policies of realtime.messages.
	Private bool
}

func (l Lane) on() bool { return l.In || l.Out }

// Options of a Sharer.
type Options struct {
	// Typing is shared as broadcasts named Event, with isTyping in the payload. With StopEvent the end
	// has a name of its own.
	Typing           Lane
	Event, StopEvent string
	// Presence is shared as Presence; Seats bounds the users of a tenant who have one of their own.
	Presence Lane
	Seats    int

	MaxChannels int           // on one connection
	PerSecond   int           // broadcasts
	Linger      time.Duration // how long a channel stays joined when nobody needs it any more
	Expiry      func() time.Duration

	Dial     func() (*phoenix.Client, error) // makes a connection
	House    House
	Log      zerolog.Logger
	Registry prometheus.Registerer
}

// Times and bounds that are not worth a knob.
const (
	// how often it is looked who is where, beside when it is said that somebody came or went
	lookEvery    = time.Second
	lookPause    = time.Second / 10 // the least time between two such looks: each goes through all rooms
	lostAfter    = 30 * time.Second // how long those elsewhere count as online while their channel is away
	sendWithin   = 10 * time.Second // what waits for its channel longer is dropped
	askWithin    = 2 * time.Second  // for the tenant of a conversation
	farewell     = time.Second      // for leaving everything
	maxWaiting   = 1000             // users typing whose sign waits to be sent
	maxTypers    = 100              // users elsewhere typing in one channel at a time
	maxElsewhere = 1000             // presences of others in one channel
	maxListed    = 500              // users listed in one presence
	maxText      = 256              // bytes of an id or a name
	channelRoom  = 256              // events of one channel that wait for Run
)

// Sharer shares typing and presence.
type Sharer struct {
	opts    Options
	id      string        // by which it knows its own
	nudge   chan struct{} // it is to be looked who is where
	wake    chan struct{} // something waits to be sent
	inbox   chan func()
	over    context.Context // ends with Run
	end     context.CancelFunc
	limiter *rate.Limiter
	metrics metrics
	workers sync.WaitGroup

	// Owned by Run's goroutine.
	lanes    []*phoenix.Client // the first carries all but seats; made when needed
	rooms    map[string]*room  // by topic
	tables   map[string]*table // by tenant
	occupied map[string]bool   // conversations
	full     bool              // it has been logged that there are too many
	closed   bool              // the project allows private channels only, whatever the lanes say
	retry    *time.Timer       // when the budget allows the next broadcast

	mu      sync.Mutex // guards what follows
	waiting map[sign]pending
	order   []sign
}

// sign is what a pending broadcast is about.
type sign struct{ conversation, user string }

type pending struct {
	user User
	on   bool
	at   time.Time
}

// New makes a Sharer; Run starts it.
func New(opts Options) *Sharer {
	s := &Sharer{
		opts: opts, id: uuid.NewString(), nudge: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		inbox:   make(chan func(), channelRoom),
		limiter: rate.NewLimiter(rate.Limit(opts.PerSecond), opts.PerSecond), metrics: newMetrics(opts.Registry),
		lanes: make(
			[]*phoenix.Client,
			1+opts.Seats,
		), rooms: make(map[string]*room), tables: make(map[string]*table), waiting: make(map[sign]pending),
	}
	s.over, s.end = context.WithCancel(context.Background())
	s.retry = time.NewTimer(time.Hour)
	s.retry.Stop()
	return s
}

// Nudge has it looked soon who is where: at once, or once lookPause is over since the last look. It
// never waits.
func (s *Sharer) Nudge() { signal(s.nudge) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Typed takes that a user of ours types in a conversation, or stopped. It never waits: only the
// latest of each user and conversation is kept.
func (s *Sharer) Typed(conversation string, user User, on bool) {
	if !s.opts.Typing.Out {
		return
	}
	key := sign{conversation, user.ID}
	s.mu.Lock()
	_, known := s.waiting[key]
	full := !known && len(s.waiting) >= maxWaiting
	if !full {
		s.waiting[key] = pending{user, on, time.Now()}
	}
	if !known && !full {
		s.order = append(s.order, key)
	}
	s.mu.Unlock()
	if full {
		s.metrics.sent.WithLabelValues("dropped").Inc()
		return
	}
	signal(s.wake)
}

// Run shares until ctx ends. Then it leaves everything, within a second, and returns.
func (s *Sharer) Run(ctx context.Context) {
	defer s.close(ctx)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	pause := time.NewTimer(lookPause) // until the next look may be
	defer pause.Stop()
	pausing, nudged := false, false
	for {
		if nudged && !pausing {
			s.look(ctx)
			s.flush(ctx)
			nudged, pausing = false, true
			pause.Reset(lookPause)
		}
		select {
		case <-ctx.Done():
			return
		case f := <-s.inbox:
			f()
		case <-s.retry.C:
			s.flush(ctx)
		case <-s.wake:
			s.flush(ctx)
		case <-pause.C:
			pausing = false
		case <-tick.C:
			nudged = true
		case <-s.nudge:
			nudged = true
		}
	}
}

// close leaves everything and waits for those who worked for it.
func (s *Sharer) close(ctx context.Context) {
	s.retry.Stop()
	s.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	var closing sync.WaitGroup
	for _, client := range s.lanes {
		if client != nil {
			closing.Go(func() { _ = client.Close(ctx) }) // what is left then is cut off
		}
	}
	closing.Wait()
	s.workers.Wait()
}

// post hands what happened to Run's goroutine; false once that takes no more.
func (s *Sharer) post(f func()) bool {
	select {
	case s.inbox <- f:
		return true
	case <-s.over.Done():
		return false
	}
}

// lane gives a connection, making it at its first use.
func (s *Sharer) lane(i int) (*phoenix.Client, error) {
	if s.lanes[i] == nil {
		client, err := s.opts.Dial()
		if err != nil {
			return nil, err
		}
		s.lanes[i] = client
	}
	return s.lanes[i], nil
}

// expand fills a topic in.
func expand(topic, conversation, tenant string) string {
	return strings.NewReplacer("{conversation}", conversation, "{tenant}", tenant).Replace(topic)
}

// wish is a channel that is needed.
type wish struct {
	conversation, tenant string
	typing, presence     bool
}

// look finds which channels are needed, joins and leaves them, and announces who is online.
func (s *Sharer) look(ctx context.Context) {
	conversations, tenants := s.opts.House.Occupied()
	present := s.opts.House.Present()
	s.occupied = make(map[string]bool, len(conversations))
	for _, id := range conversations {
		s.occupied[id] = true
	}
	known := make(map[string]bool, len(tenants)+len(present))
	for _, tenant := range tenants {
		known[tenant] = true
	}
	for tenant := range present {
		if !known[tenant] {
			tenants = append(tenants, tenant)
		}
	}
	s.settle(ctx, s.wishes(conversations, tenants))
	if s.opts.Presence.Out {
		s.seat(ctx, present)
	}
}

func (s *Sharer) wishes(conversations, tenants []string) map[string]wish {
	wishes := make(map[string]wish)
	add := func(topic string, w wish) {
		w.typing, w.presence = w.typing || wishes[topic].typing, w.presence || wishes[topic].presence
		wishes[topic] = w
	}
	if lane := s.opts.Typing; lane.on() && len(conversations) > 0 {
		switch {
		case strings.Contains(lane.Topic, "{conversation}"):
			for _, id := range conversations {
				add(expand(lane.Topic, id, ""), wish{conversation: id, typing: true})
			}
		case strings.Contains(lane.Topic, "{tenant}"):
			for _, id := range tenants {
				add(expand(lane.Topic, "", id), wish{tenant: id, typing: true})
			}
		default:
			add(lane.Topic, wish{typing: true})
		}
	}
	if lane := s.opts.Presence; lane.on() {
		for _, id := range tenants {
			add(expand(lane.Topic, "", id), wish{tenant: id, presence: true})
		}
	}
	return wishes
}

// settle joins the channels that are needed, as many as may be, and leaves those that have not been
// for a while.
func (s *Sharer) settle(ctx context.Context, wishes map[string]wish) {
	now := time.Now()
	for topic, r := range s.rooms {
		if w, needed := wishes[topic]; needed {
			r.unneeded, r.typing = time.Time{}, w.typing
		} else if r.unneeded.IsZero() {
			r.unneeded = now
		}
		if !r.unneeded.IsZero() && now.Sub(r.unneeded) >= s.opts.Linger {
			s.leave(r)
		}
		if !r.lost.IsZero() && now.Sub(r.lost) >= lostAfter {
			s.forget(r)
		}
	}
	left := 0
	topics := make([]string, 0, len(wishes))
	for topic := range wishes {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	for _, topic := range topics {
		if s.rooms[topic] != nil {
			continue
		}
		if len(s.rooms) >= s.opts.MaxChannels {
			left++
			continue
		}
		if err := s.join(ctx, topic, wishes[topic]); err != nil &&
			!errors.Is(err, phoenix.ErrTopicInUse) { // it is still being left
			s.opts.Log.Warn().Err(err).Str("topic", topic).Msg("a channel for typing and presence can't be joined")
		}
	}
	s.metrics.channels.Set(float64(len(s.rooms)))
	s.metrics.left.Set(float64(left))
	if left > 0 && !s.full {
		s.opts.Log.Warn().
			Int("left_out", left).
			Int("max_channels", s.opts.MaxChannels).
			Msg("typing and presence of some are not shared over Realtime: too many channels")
	}
	s.full = left > 0
}

func (s *Sharer) join(ctx context.Context, topic string, w wish) error {
	client, err := s.lane(0)
	if err != nil {
		return err
	}
	private := s.closed || w.typing && s.opts.Typing.Private || w.presence && s.opts.Presence.Private
	ch, err := client.Channel(topic, phoenix.ChannelOptions{
		Private: private, Presence: phoenix.PresenceOptions{Enabled: w.presence, Key: "supabridge:" + s.id}, PushQueue: 8,
		Queue: channelRoom,
	})
	if err != nil {
		return fmt.Errorf("channel %s: %w", topic, err)
	}
	r := &room{wish: w, topic: topic, channel: ch, typers: make(map[string]time.Time), there: make(map[string]elsewhere)}
	s.rooms[topic] = r
	s.follow(ch, func(e phoenix.Event) { s.hear(ctx, r, e) })
	return ch.Subscribe(ctx)
}

// follow reads a channel until it ends.
func (s *Sharer) follow(ch *phoenix.Channel, hear func(phoenix.Event)) {
	s.workers.Go(func() {
		for e := range ch.Events() {
			s.post(func() { hear(e) }) // afterwards it is only emptied
		}
	})
}

// leave gives a channel up.
func (s *Sharer) leave(r *room) {
	delete(s.rooms, r.topic)
	s.forget(r)
	if r.list != nil {
		r.list.stop()
	}
	s.depart(r.channel)
}

// depart leaves a channel without waiting for it.
func (s *Sharer) depart(ch *phoenix.Channel) {
	s.workers.Go(func() {
		ctx, cancel := context.WithTimeout(s.over, lostAfter)
		defer cancel()
		_ = ch.Leave(ctx) // closed all the same
	})
}

// room is a channel of the first connection, and what is known by it.
type room struct {
	wish
	topic    string
	channel  *phoenix.Channel
	joined   bool
	lost     time.Time            // since when it is not, where it was
	unneeded time.Time            // since when nobody needs it; zero while somebody does
	typers   map[string]time.Time // users elsewhere who type, until when at the longest
	there    map[string]elsewhere // presences of others, by reference
	list     *announcer           // of the users without a seat; nil while there never was one
	listed   string               // what it announced last
}

// hear takes what a channel brings.
func (s *Sharer) hear(ctx context.Context, r *room, e phoenix.Event) {
	switch e := e.(type) {
	case *phoenix.Joined:
		r.joined, r.lost = true, time.Time{}
		s.flush(ctx)
	case *phoenix.Retrying:
		var refused *phoenix.Error
		if errors.As(e.Err, &refused) && refused.Code == phoenix.CodePrivateOnly {
			s.goPrivate()
		}
	case *phoenix.Lost:
		r.joined, r.lost = false, time.Now()
	case *phoenix.Closed:
		r.joined = false
		s.forget(r)
	case *phoenix.BroadcastMessage:
		if r.typing && s.opts.Typing.In {
			s.hearTyping(ctx, r, e)
		}
	case *phoenix.PresenceState:
		if s.opts.Presence.In {
			s.hearState(r, e.Present)
		}
	case *phoenix.PresenceDiff:
		if s.opts.Presence.In {
			s.hearDiff(r, e)
		}
	}
}

// goPrivate joins every channel anew, as a private one: the project allows no others, so pages use
// private ones too.
func (s *Sharer) goPrivate() {
	if s.closed {
		return
	}
	s.closed = true
	s.opts.Log.Warn().
		Msg("the project allows private channels only: typing and presence are shared on private ones, which policies of realtime.messages must open to pages; " +
			"set realtime: {typing: {private: true}, presence: {private: true}}")
	for _, r := range s.rooms {
		s.leave(r)
	}
	for _, t := range s.tables {
		for i := range t.seats {
			s.free(t, i)
		}
	}
	s.Nudge()
}

// marshal writes what can always be written.
func marshal(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic("realtimeshare: a payload can't be marshaled: " + err.Error())
	}
	return text
}

// metrics count what is shared.
type metrics struct {
	channels, left prometheus.Gauge
	sent, received *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) metrics {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Name: name, Help: help}
	}
	m := metrics{
		channels: prometheus.NewGauge(
			prometheus.GaugeOpts(name("shared_channels", "Realtime channels joined for typing and presence.")),
		),
		left: prometheus.NewGauge(
			prometheus.GaugeOpts(
				name("shared_channels_left_out", "Channels that would be needed beyond realtime.max_channels."),
			),
		),
		sent: prometheus.NewCounterVec(
			prometheus.CounterOpts(name("shared_broadcasts_total", "Signs of typing for Realtime, by result: sent or dropped.")),
			[]string{"result"},
		),
		received: prometheus.NewCounterVec(prometheus.CounterOpts(name(
			"shared_received_total",
			"Signs of typing and presences of others from Realtime, by kind and result: taken or dropped.",
		)), []string{"kind", "result"}),
	}
	registry.MustRegister(m.channels, m.left, m.sent, m.received)
	return m
}
