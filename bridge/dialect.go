package bridge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// Words compiles the vocabulary of a configuration. Its errors name the rule and its line.
func Words(cfg *config.Config) (*vocabulary.Vocabulary, error) {
	words := cfg.Vocabulary
	v, err := vocabulary.New(vocabulary.Options{
		Preset: words.Preset, Shape: vocabulary.Shape(words.Shape), MaxRow: int(words.MaxRow),
		ConversationNoun: words.ConversationNoun, TenantNoun: words.TenantNoun,
		ConversationRoom: cfg.Rooms.Conversation.Name, TenantRoom: cfg.Rooms.Tenant.Name,
		ConversationParse: cfg.Rooms.Conversation.Parse, TenantParse: cfg.Rooms.Tenant.Parse,
		Accept: words.Accept, ConversationIDs: words.IDs.Conversation, TenantIDs: words.IDs.Tenant, In: words.In,
		Out: words.Out,
	})
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return v, nil
}

// speak has the client hear a style from now on. Between the two rooms it is in neither and would
// hear every style, never none.
func (c *client) speak(s vocabulary.Style) {
	c.socket.Leave(emit.StyleRoom(vocabulary.Style(c.style.Load())))
	c.b.speaks(s)
	c.style.Store(uint32(s))
	c.socket.Join(emit.StyleRoom(s))
}

// listen learns from an event which style the client hears; the first that tells decides.
func (c *client) listen(event string) {
	if c.settled.Load() || c.b.cfg().Vocabulary.Dialect == "fixed" {
		return
	}
	style, ok := c.b.words().Reveals(event)
	if !ok {
		return
	}
	c.settled.Store(true)
	c.b.metrics.dialects.WithLabelValues(style.String()).Inc()
	c.b.log.Info().Str("socket", c.socket.ID()).Stringer("style", style).Msg("dialect detected")
	if style != vocabulary.Style(c.style.Load()) {
		c.speak(style)
	}
}

// emit reports an occasion to the application where it wants to know, and sends it to its audience.
func (b *Bridge) emit(to emit.Audience, o *vocabulary.Occasion) {
	if o.Event == vocabulary.MessagesRead && !to.Remote {
		b.webhooks.Report(webhook.MessagesRead, to.Conversation[0], o.Plain())
	}
	b.emitter.Emit(to, o)
}

// say sends this socket an occasion, in its style and whomever else it would go to.
func (c *client) say(o *vocabulary.Occasion) {
	c.b.emitter.To(c.socket, vocabulary.Style(c.style.Load()), o)
}

// occasion is something that concerns this client's user.
func (c *client) occasion(event vocabulary.Event, fields ...vocabulary.Extra) *vocabulary.Occasion {
	return about(c.who, event, fields...)
}

// about is an occasion that is about a user.
func about(who *auth.Identity, event vocabulary.Event, fields ...vocabulary.Extra) *vocabulary.Occasion {
	o := &vocabulary.Occasion{Event: event, Fields: fields}
	if who.UserID != "" {
		o.User = vocabulary.NewID(who.UserID)
	}
	if who.Name != "" {
		o.UserName = vocabulary.NewID(who.Name)
	}
	if who.Tenant != "" {
		o.Tenant = vocabulary.NewID(who.Tenant)
	}
	return o
}

// speaker lets selectors look at what a client brought along when it connected. The socket builds
// its handshake anew for each call, so it is kept here.
type speaker struct {
	c         *client
	handshake *socketio.Handshake
}

func (s *speaker) said() *socketio.Handshake {
	if s.handshake == nil {
		s.handshake = s.c.socket.Handshake()
	}
	return s.handshake
}

func (s *speaker) Auth() json.RawMessage     { return s.said().Auth }
func (s *speaker) Query(name string) string  { return s.said().Query[name] }
func (s *speaker) Header(name string) string { return s.said().Header.Get(name) }

func (s *speaker) Cookie(name string) string {
	request := http.Request{Header: s.said().Header}
	if cookie, err := request.Cookie(name); err == nil {
		return cookie.Value
	}
	return ""
}

// Claims reads the token that was verified.
func (s *speaker) Claims() json.RawMessage {
	parts := strings.Split(s.c.who.Token, ".")
	if !s.c.who.Verified || len(parts) != 3 {
		return nil
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	return claims
}
