package bridge

import (
	"errors"
	"time"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/socketio"
)

// listen makes the Socket.IO server. All namespaces have the same rooms and events.
func (b *Bridge) listen() {
	s := b.cfg.SocketIO
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
		CORS:           socketio.CORS{Origins: s.CORS.Origins, Credentials: true},
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
		b.log.Info().Err(err).Str("address", s.Handshake().RemoteAddr).Msg("connection refused")
		return &socketio.ConnectError{Message: b.cfg.Auth.RefuseMessage, Data: map[string]string{"code": code}}
	}
	s.SetData(who)
	return nil
}

// welcome takes up a client that was let in.
func (b *Bridge) welcome(s *socketio.Socket) {
	who := s.Data().(*Identity) // admit set it
	c := &client{b: b, socket: s, who: who, home: who.Tenant, conversations: entered{}, tenants: entered{}}
	if who.UserID != "" {
		s.Join(userRoom(who.UserID))
	}
	if c.home != "" {
		c.appear(c.home)
	}
	c.expiry = newExpiry(who.Expires, c.warn, c.expire)
	if name := b.cfg.Vocabulary.StatusEvent; name != "" {
		_ = s.Emit(name, statusPayload(b.upstream.feed.Report())) // to a socket that is going already, nothing
	}
	s.OnAny(c.dispatch)
	s.OnDisconnect(c.gone)
	b.log.Info().Str("socket", s.ID()).Str("user", who.UserID).Str("transport", string(s.Transport())).Bool("verified", who.Verified).Msg("connected")
}

// warn tells the client that its token is about to end. A frontend answers with a new one in an `access_token` event.
func (c *client) warn() {
	c.tell(vocabulary.TokenExpiring, object("expiresInSeconds", int(expiryWarning/time.Second)))
}

// expire ends the connection, and not just the namespace: a client then comes back by itself, and with a fresh token where it has one.
func (c *client) expire() {
	c.b.log.Info().Str("socket", c.socket.ID()).Msg("the token has expired")
	c.socket.Disconnect(true)
}
