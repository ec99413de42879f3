package bridge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/feed"
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
		Accept: words.Accept, ConversationIDs: words.IDs.Conversation, TenantIDs: words.IDs.Tenant, In: words.In, Out: words.Out,
	})
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return v, nil
}

// reach is whom an event concerns: rooms by kind, as far as they are known.
type reach struct {
	conversation, tenant, user []string
	sender                     []string   // rooms of whose doing it is
	except                     []string   // sockets that must not get it in any case
	remote                     bool       // another node heard of it, and tells the application
	origin                     origin     // what it comes of
	at                         feed.Place // of the row, in what the leader passes on
	nth                        uint64     // among the events of that row
}

// rooms names the rooms of an audience.
func (r reach) rooms(to vocabulary.Audience) []string {
	rooms := make([]string, 0, 4)
	if to&vocabulary.ToConversation != 0 {
		rooms = append(rooms, r.conversation...)
	}
	if to&vocabulary.ToTenant != 0 {
		rooms = append(rooms, r.tenant...)
	}
	if to&vocabulary.ToUser != 0 {
		rooms = append(rooms, r.user...)
	}
	return rooms
}

// dialects knows which styles sockets hear. Each socket is in the room of its style, so that an event goes in one style to those who hear it: to its rooms
// except the rooms of all other styles. A style that no socket ever heard costs nothing; with one style in use nothing is excepted.
type dialects struct {
	used [8]atomic.Bool // by style; never taken back, since a socket that is away may be recovered
}

// inUse lists the styles in use, the preset first: a socket that takes on another style while an event goes out so hears it in one of the two at least.
func (d *dialects) inUse(preset vocabulary.Style) []vocabulary.Style {
	styles := append(make([]vocabulary.Style, 0, len(d.used)), preset)
	for _, s := range vocabulary.Styles() {
		if s != preset && d.used[s].Load() {
			styles = append(styles, s)
		}
	}
	return styles
}

// styleRoom is the room of the sockets that hear a style. The name can't be that of another room: those are not entered by name.
func styleRoom(s vocabulary.Style) string { return "\x00style:" + s.String() }

// speak has the client hear a style from now on. Between the two rooms it is in neither and would hear every style, never none.
func (c *client) speak(s vocabulary.Style) {
	c.socket.Leave(styleRoom(vocabulary.Style(c.style.Load())))
	c.b.speaks(s)
	c.style.Store(uint32(s))
	c.socket.Join(styleRoom(s))
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

// emit sends an occasion in each style in use, to every socket of this node that is in any of the rooms it goes to, once. Other nodes do the same when they
// hear of it: which styles are in use each knows of itself.
func (b *Bridge) emit(to reach, o *vocabulary.Occasion) {
	if o.Event == vocabulary.MessagesRead && !to.remote {
		b.webhooks.Report(webhook.MessagesRead, to.conversation[0], o.Plain())
	}
	b.metrics.told.WithLabelValues(o.Event.String()).Inc()
	styles := b.dialects.inUse(b.words().Preset())
	said := b.words().Say(styles[0], o)
	b.cluster.relay(to, said)
	if b.words().SaysAlike(o.Event) {
		b.send(to, said, nil, 0)
		return
	}
	for i, style := range styles {
		var others []string
		for _, other := range styles {
			if other != style {
				others = append(others, styleRoom(other))
			}
		}
		if i > 0 {
			said = b.words().Say(style, o)
		}
		b.send(to, said, others, rank(style, styles[0]))
	}
}

func (b *Bridge) send(to reach, said []vocabulary.Utterance, others []string, rank uint64) {
	except := append(slices.Clip(others), to.except...)
	for i, u := range said {
		for _, target := range b.targets(to, u, except) {
			_ = b.alike(target, to, rank, uint64(i)).Emit(u.Name, asValues(u.Args)...) // raw JSON can always be encoded
		}
	}
}

// targets chooses whom something said goes to, in each namespace; none where it goes to nobody.
func (b *Bridge) targets(to reach, u vocabulary.Utterance, except []string) []*socketio.Target {
	rooms := to.rooms(u.To)
	except = slices.Clip(except)
	switch {
	case u.To&vocabulary.ToAll != 0:
		rooms, except = nil, append(except, waitingRoom) // every socket that is somebody's
	case len(rooms) == 0:
		return nil
	}
	if u.ExceptSender {
		except = append(except, to.sender...)
	}
	targets := make([]*socketio.Target, len(b.spaces))
	for i, space := range b.spaces {
		targets[i] = space.To(rooms...).Except(except...)
	}
	return targets
}

func asValues(args []json.RawMessage) []any {
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg
	}
	return values
}

// say tells this socket of an occasion, in its style and whomever else it would go to.
func (c *client) say(o *vocabulary.Occasion) {
	c.b.metrics.told.WithLabelValues(o.Event.String()).Inc()
	for _, u := range c.b.words().Say(vocabulary.Style(c.style.Load()), o) {
		if err := c.socket.Emit(u.Name, asValues(u.Args)...); err != nil {
			return // the socket is going; its disconnect is logged
		}
	}
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

// speaker lets selectors look at what a client brought along when it connected. The socket builds its handshake anew for each call, so it is kept here.
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
