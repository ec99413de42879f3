package bridge

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/body"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/socketio"
)

// maxBodies bounds what is held of bodies whose signature is not checked yet, in bytes. It is not
// worth a knob: there are few at a time, of a few KiB.
const maxBodies = 16 << 20

// guard holds clients to the limits.
type guard struct {
	b         *Bridge
	users     *ratelimit.Meters
	addresses *ratelimit.Meters
	exceeded  *prometheus.CounterVec
	originLog *rate.Limiter // of lines about pages that were refused
	bodies    *body.Budget  // of requests whose signature is checked once they were read
}

func newGuard(b *Bridge) *guard {
	g := &guard{b: b, users: ratelimit.NewMeters(), addresses: ratelimit.NewMeters(), originLog: newOriginLog()}
	g.exceeded = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "limits_exceeded_total",
		Help: "What was refused for being too much, by limit and, of events, by intent."}, []string{"limit", "intent"})
	b.metrics.register.MustRegister(g.exceeded)
	largest := max(b.cfg().Publish.MaxBody, b.cfg().Webhooks.Twilio.MaxBody)
	g.bodies = body.NewBudget(max(maxBodies, 4*int64(largest)), func() { g.exceed("unverified_bodies", "") })
	for name, ms := range map[string]*ratelimit.Meters{"users": g.users, "addresses": g.addresses} {
		b.metrics.register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name + "_connected",
			Help: "How many " + name + " are connected, by one connection or more."},
			func() float64 { return float64(ms.Count()) }))
	}
	return g
}

func (g *guard) exceed(limit, intent string) { g.exceeded.WithLabelValues(limit, intent).Inc() }

var errTooManyFromAddress = errors.New("too many connections from this address")

// allow refuses a connection where its address has too many.
func (g *guard) allow(r *http.Request) error {
	address := ratelimit.Network(r.RemoteAddr)
	if !g.addresses.Full(address, g.b.limits().Address.Connections) {
		return nil
	}
	g.exceed("address.connections", "")
	g.b.log.Warn().
		Str("address", address).
		Msg("too many connections from one address; behind a proxy, name it in limits.trusted_proxies")
	return errTooManyFromAddress
}

// watch counts the connections of addresses beside what the hooks do already.
func (g *guard) watch(h socketio.Hooks) socketio.Hooks {
	opened, closed := h.Opened, h.Closed
	h.Opened = func(c socketio.ConnectionInfo) {
		g.addresses.Enter(ratelimit.Network(c.RemoteAddr))
		opened(c)
	}
	h.Closed = func(c socketio.ConnectionInfo, reason string, err error) {
		g.addresses.Leave(ratelimit.Network(c.RemoteAddr))
		closed(c, reason, err)
	}
	return h
}

// count begins to count the client towards its address and its user, of whom it has a seat already.
func (c *client) count(address string, seat *ratelimit.Meter) {
	c.address = c.b.guard.addresses.Peek(address)
	c.user.Store(seat)
	for _, in := range []*entered{&c.conversations, &c.tenants} {
		in.count = func(n int) {
			c.address.AddRooms(n)
			c.user.Load().AddRooms(n)
		}
	}
}

// seat counts a connection of a user's, so that none of those that come at the same time is let in
// as one too many. errTooMany where it is that.
func (g *guard) seat(user string) (*ratelimit.Meter, error) {
	m, ok := g.users.Admit(user, g.b.limits().User.Connections)
	if !ok {
		g.exceed("user.connections", "")
		return nil, errTooMany
	}
	return m, nil
}

// turnedAway takes back the seat of a socket that was let in and did not come.
func (b *Bridge) turnedAway(s *socketio.Socket) {
	if a, ok := s.Data().(*admission); ok && a.seat != nil {
		b.guard.users.Leave(a.who.UserID)
	}
}

// discount takes all that back.
func (c *client) discount() {
	c.conversations.close()
	c.tenants.close()
	if c.user.Load() != nil {
		c.b.guard.users.Leave(c.who.UserID)
	}
}

var (
	failTooFast  = failure{"rate_limited", "too many events; slow down"}
	failTooLarge = failure{"payload_too_large", "the event is too large"}
	failUserFull = failure{refusedTooMany, "this user has too many connections"}
)

// permit holds an event to the limits; else it answers, though an event without an acknowledgement
// not more than once a second.
func (c *client) permit(e *socketio.Event) bool {
	l := c.b.limits()
	size := 0
	for _, arg := range e.Args {
		size += len(arg)
	}
	for _, attachment := range e.Attachments {
		size += len(attachment)
	}
	var limit string
	f := failTooFast
	switch {
	case size > int(l.Socket.EventSize):
		limit, f = "socket.event_size", failTooLarge
	case !c.buckets.Allow(l.SocketRates, c.intent):
		limit = "socket.events"
	case !c.user.Load().Allow(l.UserRates, c.intent):
		limit = "user.events"
	case !c.address.Allow(l.AddressRates, c.intent):
		limit = "address.events"
	default:
		return true
	}
	c.b.guard.exceed(limit, c.intent.String())
	if c.complaints == nil {
		c.complaints = rate.NewLimiter(1, 1)
	}
	if e.WantsAck() || c.complaints.Allow() {
		c.fail(e, f)
	}
	return false
}

// hasRoom tells whether the client may be in one more room.
func (c *client) hasRoom() bool {
	l := c.b.limits()
	switch {
	case c.conversations.size()+c.tenants.size() >= l.Socket.Rooms:
		c.b.guard.exceed("socket.rooms", "")
	case c.user.Load().Full(l.User):
		c.b.guard.exceed("user.rooms", "")
	case c.address.Full(l.Address):
		c.b.guard.exceed("address.rooms", "")
	default:
		return true
	}
	return false
}
