package bridge

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// listen makes the Socket.IO server. All namespaces have the same rooms and events.
func (b *Bridge) listen() {
	s := b.cfg().SocketIO
	var transports []socketio.Transport
	for _, name := range s.Transports {
		transports = append(transports, socketio.Transport(name))
	}
	b.io = socketio.NewServer(socketio.Options{
		Paths:          s.Paths,
		Transports:     transports,
		PingInterval:   s.PingInterval,
		PingTimeout:    s.PingTimeout,
		ConnectTimeout: s.ConnectTimeout,
		UpgradeTimeout: s.UpgradeTimeout,
		MaxPayload:     int(s.MaxPayload),
		MaxQueueBytes:  int(s.MaxQueue),
		Recovery:       socketio.Recovery{Enabled: s.Recovery.Window > 0, MaxDisconnection: s.Recovery.Window, MaxBytes: int(s.Recovery.Memory)},
		Hooks:          b.metrics.hooks(),
		CORS:           cors(b.cfg()),
	})
	for _, name := range s.Namespaces {
		space := b.io.Of(name)
		space.Use(b.admit)
		space.OnConnection(b.welcome)
		b.spaces = append(b.spaces, space)
	}
}

// admit lets a client in that says who it is. The refusal's text is configurable, since frontends compare it.
func (b *Bridge) admit(s *socketio.Socket) error {
	who, err := b.identify(s.Handshake())
	if err != nil {
		code := "unauthorized"
		if errors.Is(err, errNoToken) {
			code = "no_token"
		}
		b.metrics.refused.WithLabelValues(code).Inc()
		b.log.Info().Err(err).Str("address", s.Handshake().RemoteAddr).Msg("connection refused")
		return &socketio.ConnectError{Message: b.cfg().Auth.RefuseMessage, Data: map[string]string{"code": code}}
	}
	before, _ := s.Data().(*client) // of a socket that is being recovered
	if before != nil && before.who.UserID != who.UserID {
		s.DeclineRecovery()
		before = nil
	}
	s.SetData(&admission{who, before})
	return nil
}

// admission is what admit finds out and welcome needs.
type admission struct {
	who    *Identity
	before *client
}

// welcome takes up a client that was let in. One that is back after a short absence has its rooms and what it missed already.
func (b *Bridge) welcome(s *socketio.Socket) {
	a := s.Data().(*admission) // admit set it
	c := &client{b: b, socket: s, key: strconv.FormatUint(b.serial.Add(1), 36), who: a.who, home: a.who.Tenant}
	c.speaker.c = c
	s.SetData(c)
	if c.who.UserID != "" {
		s.Join(userRoom(c.who.UserID))
	}
	if c.home != "" {
		c.appear(c.home)
	}
	if s.Recovered() && a.before != nil {
		c.resume(a.before)
	} else {
		c.speak(b.words().Preset())
	}
	c.expiry = newExpiry(c.who.Expires, c.warn, c.expire)
	if name := b.cfg().Vocabulary.StatusEvent; name != "" {
		_ = s.Emit(name, statusPayload(b.upstream.feed.Report())) // to a socket that is going already, nothing
	}
	s.OnAny(c.dispatch)
	s.OnDisconnect(c.gone)
	b.log.Info().Str("socket", s.ID()).Str("user", c.who.UserID).Str("transport", string(s.Transport())).Bool("verified", c.who.Verified).
		Bool("recovered", s.Recovered()).Msg("connected")
}

// resume takes over the rooms of the connection that was lost.
func (c *client) resume(before *client) {
	c.style.Store(before.style.Load())
	c.settled = before.settled
	for _, id := range before.conversations.all() {
		c.conversations.add(id, id)
	}
	for _, id := range before.whole.all() {
		c.whole.add(id, id)
	}
	for _, id := range before.tenants.all() {
		c.tenants.add(id, id)
		c.appear(id)
	}
}

// warn tells the client that its token is about to end. A frontend answers with a new one in an `access_token` event.
func (c *client) warn() {
	seconds := strconv.Itoa(int(expiryWarning / time.Second))
	c.say(&vocabulary.Occasion{Event: vocabulary.TokenExpiring, Fields: []vocabulary.Extra{{Name: "expiresInSeconds", Value: json.RawMessage(seconds)}}})
}

// expire ends the connection in a way that has the client come back by itself, with a fresh token where its auth is a function.
func (c *client) expire() {
	c.b.log.Info().Str("socket", c.socket.ID()).Msg("the token has expired")
	c.socket.CloseConnection()
}
