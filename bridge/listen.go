package bridge

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// maxQueuePackets is how many packets may wait for one client. It is not worth a knob beside
// socketio.max_queue: it holds back empty packets alone.
const maxQueuePackets = 1 << 16

// listen makes the Socket.IO server. All namespaces have the same rooms and events.
func (b *Bridge) listen() (err error) {
	s := b.cfg().SocketIO
	var transports []socketio.Transport
	for _, name := range s.Transports {
		transports = append(transports, socketio.Transport(name))
	}
	b.io, err = socketio.Open(socketio.Options{
		Paths:          s.Paths,
		Transports:     transports,
		PingInterval:   s.PingInterval,
		PingTimeout:    s.PingTimeout,
		ConnectTimeout: s.ConnectTimeout,
		UpgradeTimeout: s.UpgradeTimeout,
		MaxPayload:     int(s.MaxPayload),
		MaxPartial:     int(s.MaxPartial),

		MaxQueuePackets:         maxQueuePackets,
		MaxPayloadBeforeConnect: int(s.MaxPayloadBeforeConnect),

		MaxQueueBytes:  int(s.MaxQueue),
		MaxQueuesBytes: int(s.MaxQueues),
		MaxRate:        s.MaxRate,
		Recovery: socketio.Recovery{
			Enabled:          s.Recovery.Window > 0,
			MaxDisconnection: s.Recovery.Window,
			MaxBytes:         int(s.Recovery.Memory),
			Export:           b.exporter(),
		},
		Allow:   b.guard.allow,
		Hooks:   b.guard.watchOrigins(b.guard.watch(b.metrics.sockets.Hooks())),
		CORS:    cors(b.cfg()),
		Adapter: b.cluster.Adapter(),
		Kin:     cluster.KinRoom,
	})
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	for _, name := range s.Namespaces {
		space := b.io.Of(name)
		space.Use(b.admit)
		space.OnRefused(b.turnedAway)
		space.OnConnection(b.welcome)
		b.spaces = append(b.spaces, space)
	}
	b.emitter.Serve(b.spaces)
	b.unlike()
	b.cluster.Serve(b.io, b.spaces)
	return nil
}

// admit lets a client in that says who it is. The refusal's text is configurable, since frontends
// compare it.
func (b *Bridge) admit(s *socketio.Socket) (err error) {
	defer func() {
		if defect := recover(); defect != nil {
			b.panicked(nil, "handshake", defect)
			err = &socketio.ConnectError{
				Message: b.refusal(failInternal.code),
				Data:    map[string]string{"code": failInternal.code},
			}
		}
	}()
	h := s.Handshake()
	who, err := b.identify(h)
	var seat *ratelimit.Meter
	if err == nil {
		seat, err = b.guard.seat(who.UserID)
	}
	if err != nil {
		reason := reasonOf(err)
		b.metrics.refused.WithLabelValues(reason).Inc()
		b.sawRefusal(h.RemoteAddr, reason)
		b.log.Info().Err(err).Str("address", h.RemoteAddr).Msg("connection refused")
		if passes(reason) {
			return &socketio.RetryError{After: retryAfter(), Err: err}
		}
		return &socketio.ConnectError{Message: b.refusal(reason), Data: map[string]string{"code": reason}}
	}
	before, _ := s.Data().(*client) // of a socket that is being recovered
	if s.Recovered() && before == nil {
		before = b.fromAbroad(s, who)
	}
	b.cluster.CatchUp(s.Context()) // before the rights are asked about: what it waits for is handed over too
	if s.Recovered() &&
		(before == nil || !before.isSame(who) || !before.mayResume() || !before.mayComeBack(s.Context(), who)) {
		s.DeclineRecovery()
		before = nil
	}
	if who.Pending {
		s.Restrict() // until it has said who it is
	}
	s.SetData(&admission{who, before, b.rechecker.Settled(), ratelimit.Network(h.RemoteAddr), seat})
	return nil
}

// isSame tells whether a client is the same user's as one that is back.
func (c *client) isSame(who *auth.Identity) bool {
	then := c.identity.Load()
	return !then.Pending && !who.Pending && then.UserID == who.UserID
}

// admission is what admit finds out and welcome needs.
type admission struct {
	who     *auth.Identity
	before  *client
	epoch   uint64 // up to which the rights of before are known
	address string
	seat    *ratelimit.Meter // in which the socket counts towards its user's; nil of nobody
}

// welcome takes up a client that was let in. One that is back after a short absence has its rooms
// and what it missed already.
func (b *Bridge) welcome(s *socketio.Socket) {
	defer b.survive(s, "connect")
	a := s.Data().(*admission) // admit set it
	c := &client{b: b, socket: s, key: strconv.FormatUint(b.serial.Add(1), 36), stays: new(stays)}
	c.become(a.who)
	c.speaker.c = c
	c.count(a.address, a.seat)
	if s.Recovered() && a.before != nil {
		if !c.takeOver(a.before) {
			// It lost a right while it came back: it shall come once more, and have nothing of before.
			c.lost.Store(true)
			s.CloseConnection()
		}
	} else {
		c.speak(b.words().Preset())
	}
	s.SetData(c) // from now on another connection may take over from this one, with all it has
	if c.who.Pending {
		c.await()
	} else {
		c.arrive()
	}
	s.OnAny(c.dispatch)
	s.OnDisconnect(c.gone)
	b.rechecker.Watch(c)
	if a.before != nil && (a.before.identity.Load().Token != c.who.Token || c.changedSince(a.epoch)) {
		b.rechecker.Recheck(c)
	}
	b.log.Info().
		Str("socket", s.ID()).
		Str("user", c.who.UserID).
		Str("transport", string(s.Transport())).
		Bool("verified", c.who.Verified).
		Bool("recovered", s.Recovered()).
		Msg("connected")
	c.saw(tail.Connect, string(s.Transport()), "")
}

// arrive begins what comes with being somebody.
func (c *client) arrive() {
	if c.who.UserID != "" {
		c.socket.Join(emit.UserRoom(c.who.UserID))
	}
	if c.claimHome() {
		c.b.homes.ask(c)
	}
	c.expiry = auth.NewExpiry(c.who.Ends(), c.warn, c.expire)
	if name := c.b.cfg().Vocabulary.StatusEvent; name != "" {
		_ = c.socket.Emit(name, statusPayload(c.b.upstream.feed.Report())) // to a socket that is going already, nothing
	}
}

// resume takes over the rooms of the connection that was lost.
func (c *client) resume(before *client) {
	c.style.Store(before.style.Load())
	c.settled.Store(before.settled.Load())
	c.status.set(before.status.get())
	c.stays = before.stays
	for _, id := range before.conversations.all() {
		if c.socket.In(emit.RoomName(c.b.cfg().Rooms.Conversation, id)) { // one that it was about to enter is entered anew
			c.conversations.add(id, id)
		}
	}
	for _, id := range before.tenants.all() {
		c.tenants.add(id, id)
		c.appear(id)
	}
}

// warn tells the client that its token is about to end. A frontend answers with a new one in an
// `access_token` event.
func (c *client) warn() {
	seconds := strconv.Itoa(int(auth.ExpiryWarning / time.Second))
	c.say(
		&vocabulary.Occasion{
			Event:  vocabulary.TokenExpiring,
			Fields: []vocabulary.Extra{{Name: "expiresInSeconds", Value: json.RawMessage(seconds)}},
		},
	)
}

// expire ends the connection in a way that has the client come back by itself, with a fresh token
// where its auth is a function.
func (c *client) expire() {
	c.b.log.Info().Str("socket", c.socket.ID()).Msg("the token has expired")
	c.socket.CloseConnection()
}
