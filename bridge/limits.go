package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/body"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// limits is what the configuration lets clients do, compiled. It never changes.
type limits struct {
	config.Limits
	proxies               []netip.Prefix
	socket, user, address rates
}

// rates are bounds by intent; everyIntent is that of all events together.
type rates map[vocabulary.Intent]config.Rate

// everyIntent is no intent of a client's.
const everyIntent vocabulary.Intent = 255

// CheckLimits says what is wrong of the limits of a configuration that is valid otherwise: an intent that there is not.
func CheckLimits(cfg *config.Config) error {
	_, err := compileLimits(cfg)
	return err
}

func compileLimits(cfg *config.Config) (*limits, error) {
	l := &limits{Limits: cfg.Limits}
	for _, network := range l.TrustedProxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("limits.trusted_proxies: %w", err)
		}
		l.proxies = append(l.proxies, prefix)
	}
	for _, r := range []struct {
		path  string
		texts []string
		rates *rates
	}{{"socket", l.Socket.Events, &l.socket}, {"user", l.User.Events, &l.user}, {"address", l.Address.Events, &l.address}} {
		var err error
		if *r.rates, err = compileRates(r.texts); err != nil {
			return nil, fmt.Errorf("limits.%s.events: %w", r.path, err)
		}
	}
	return l, nil
}

func compileRates(texts []string) (rates, error) {
	named, err := config.ParseRates(texts)
	if err != nil {
		return nil, err
	}
	compiled := make(rates, len(named))
	for name, r := range named {
		intent := everyIntent
		if name != config.EveryIntent {
			i := slices.Index(vocabulary.Intents(), name)
			if i < 0 {
				return nil, fmt.Errorf("no such intent as %q: there are %s and %s", name, config.EveryIntent, strings.Join(vocabulary.Intents(), ", "))
			}
			intent = vocabulary.Intent(i + 1)
		}
		compiled[intent] = r
	}
	return compiled, nil
}

// buckets are what is left of rates. A bucket is made with the first event that needs it, so that a client that says nothing costs nothing.
type buckets map[vocabulary.Intent]*rate.Limiter

// allow takes an event from the buckets it counts in; false where one of them is empty.
func (b *buckets) allow(r rates, intent vocabulary.Intent) bool {
	for _, i := range [...]vocabulary.Intent{intent, everyIntent} {
		bound, ok := r[i]
		if !ok {
			continue
		}
		bucket := (*b)[i]
		switch {
		case bucket == nil:
			if *b == nil {
				*b = make(buckets, 2)
			}
			bucket = rate.NewLimiter(rate.Limit(bound.PerSecond), bound.Burst)
			(*b)[i] = bucket
		case bucket.Limit() != rate.Limit(bound.PerSecond) || bucket.Burst() != bound.Burst: // the configuration was reloaded
			bucket.SetLimit(rate.Limit(bound.PerSecond))
			bucket.SetBurst(bound.Burst)
		}
		if !bucket.Allow() {
			return false
		}
	}
	return true
}

// meter is what one user or one address has. A nil meter, of nobody in particular, counts nothing and bounds nothing.
type meter struct {
	mu          sync.Mutex // guards the rest
	connections int
	rooms       int
	buckets     buckets
}

func (m *meter) allow(r rates, intent vocabulary.Intent) bool {
	if m == nil || len(r) == 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buckets.allow(r, intent)
}

func (m *meter) addRooms(n int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rooms += n
}

// full tells whether a bound is reached.
func (m *meter) full(bounds config.PeerLimits) (rooms bool) {
	if m == nil || bounds.Rooms == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rooms >= bounds.Rooms
}

// meters are those of users, or of addresses: of all that are here, and for a while of those who left, so that coming again does not fill their buckets.
type meters struct {
	mu   sync.Mutex // guards the rest; taken before a meter's own
	here map[string]*meter
	left *lru.Cache[string, *meter]
}

// maxLeft bounds the meters that are kept of those who left.
const maxLeft = 10_000

func newMeters() *meters {
	left, err := lru.New[string, *meter](maxLeft)
	if err != nil {
		panic("bridge: a cache of a fixed size: " + err.Error())
	}
	return &meters{here: make(map[string]*meter), left: left}
}

// enter counts a connection; "" is nobody.
func (ms *meters) enter(key string) *meter {
	m, _ := ms.admit(key, 0)
	return m
}

// admit is enter, unless it would be one too many: more than most, where that is not 0.
func (ms *meters) admit(key string, most int) (m *meter, ok bool) {
	if key == "" {
		return nil, true
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m = ms.here[key]
	if m == nil {
		if m, _ = ms.left.Get(key); m == nil {
			m = new(meter)
		}
		ms.left.Remove(key)
		ms.here[key] = m
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if most != 0 && m.connections >= most {
		return nil, false
	}
	m.connections++
	return m, true
}

// leave takes that back.
func (ms *meters) leave(key string) {
	if key == "" {
		return
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.here[key]
	if m == nil {
		return
	}
	m.mu.Lock()
	m.connections--
	gone, used := m.connections == 0, len(m.buckets) > 0
	m.mu.Unlock()
	if gone {
		delete(ms.here, key)
		if used {
			ms.left.Add(key, m)
		}
	}
}

// full tells whether a further connection would be too many.
func (ms *meters) full(key string, most int) bool {
	if key == "" || most == 0 {
		return false
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.here[key]
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.connections >= most
}

// peek gives the meter of somebody who is here; nil where he is not.
func (ms *meters) peek(key string) *meter {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.here[key]
}

func (ms *meters) count() int {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return len(ms.here)
}

// maxBodies bounds what is held of bodies whose signature is not checked yet, in bytes. It is not
// worth a knob: there are few at a time, of a few KiB.
const maxBodies = 16 << 20

// guard holds clients to the limits.
type guard struct {
	b         *Bridge
	users     *meters
	addresses *meters
	exceeded  *prometheus.CounterVec
	bodies    *body.Budget // of requests whose signature is checked once they were read
}

func newGuard(b *Bridge) *guard {
	g := &guard{b: b, users: newMeters(), addresses: newMeters()}
	g.exceeded = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "limits_exceeded_total",
		Help: "What was refused for being too much, by limit and, of events, by intent."}, []string{"limit", "intent"})
	b.metrics.registry.MustRegister(g.exceeded)
	largest := max(b.cfg().Publish.MaxBody, b.cfg().Webhooks.Twilio.MaxBody)
	g.bodies = body.NewBudget(max(maxBodies, 4*int64(largest)), func() { g.exceed("unverified_bodies", "") })
	for name, ms := range map[string]*meters{"users": g.users, "addresses": g.addresses} {
		b.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name + "_connected",
			Help: "How many " + name + " are connected, by one connection or more."}, func() float64 { return float64(ms.count()) }))
	}
	return g
}

func (g *guard) exceed(limit, intent string) { g.exceeded.WithLabelValues(limit, intent).Inc() }

var errTooManyFromAddress = errors.New("too many connections from this address")

// allow refuses a connection where its address has too many.
func (g *guard) allow(r *http.Request) error {
	address := hostOf(r.RemoteAddr)
	if !g.addresses.full(address, g.b.limits().Address.Connections) {
		return nil
	}
	g.exceed("address.connections", "")
	g.b.log.Warn().Str("address", address).Msg("too many connections from one address; behind a proxy, name it in limits.trusted_proxies")
	return errTooManyFromAddress
}

// watch counts the connections of addresses beside what the hooks do already.
func (g *guard) watch(h socketio.Hooks) socketio.Hooks {
	opened, closed := h.Opened, h.Closed
	h.Opened = func(c socketio.ConnectionInfo) {
		g.addresses.enter(hostOf(c.RemoteAddr))
		opened(c)
	}
	h.Closed = func(c socketio.ConnectionInfo, reason string, err error) {
		g.addresses.leave(hostOf(c.RemoteAddr))
		closed(c, reason, err)
	}
	return h
}

// hostOf is what an address counts by: of IPv6 the network, since whoever has one address there has all of them.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		network, _ := ip.Prefix(64) // which every such address has
		return network.String()
	}
	return ip.String()
}

// maxForwarded bounds the addresses that are looked at in X-Forwarded-For, from its end.
const maxForwarded = 32

// realAddress has requests that come by a trusted proxy bear the address of whom that proxy speaks for: the last one in X-Forwarded-For that is not
// of a trusted proxy itself. What stands before it anybody may have written.
func (g *guard) realAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxies := g.b.limits().proxies
		if len(proxies) > 0 {
			if client, ok := forwardedFor(r, proxies); ok {
				behind := *r
				behind.RemoteAddr = net.JoinHostPort(client.String(), "0")
				r = &behind
			}
		}
		next.ServeHTTP(w, r)
	})
}

func forwardedFor(r *http.Request, proxies []netip.Prefix) (client netip.Addr, ok bool) {
	trusted := func(ip netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !trusted(peer.Addr()) {
		return client, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	slices.Reverse(hops)
	for _, hop := range hops[:min(len(hops), maxForwarded)] {
		ip, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return client, ok
		}
		if client, ok = ip.Unmap(), true; !trusted(ip) {
			return client, true
		}
	}
	return client, ok // all are proxies: the first of them
}

// count begins to count the client towards its address and its user, of whom it has a seat already.
func (c *client) count(address string, seat *meter) {
	c.address = c.b.guard.addresses.peek(address)
	c.user.Store(seat)
	for _, in := range []*entered{&c.conversations, &c.tenants} {
		in.count = func(n int) {
			c.address.addRooms(n)
			c.user.Load().addRooms(n)
		}
	}
}

// seat counts a connection of a user's, so that none of those that come at the same time is let in as one too many. errTooMany where it is that.
func (g *guard) seat(user string) (*meter, error) {
	m, ok := g.users.admit(user, g.b.limits().User.Connections)
	if !ok {
		g.exceed("user.connections", "")
		return nil, errTooMany
	}
	return m, nil
}

// turnedAway takes back the seat of a socket that was let in and did not come.
func (b *Bridge) turnedAway(s *socketio.Socket) {
	if a, ok := s.Data().(*admission); ok && a.seat != nil {
		b.guard.users.leave(a.who.UserID)
	}
}

// discount takes all that back.
func (c *client) discount() {
	c.conversations.close()
	c.tenants.close()
	if c.user.Load() != nil {
		c.b.guard.users.leave(c.who.UserID)
	}
}

var (
	failTooFast  = failure{"rate_limited", "too many events; slow down"}
	failTooLarge = failure{"payload_too_large", "the event is too large"}
	failUserFull = failure{refusedTooMany, "this user has too many connections"}
)

// permit holds an event to the limits; else it answers, though an event without an acknowledgement not more than once a second.
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
	case !c.buckets.allow(l.socket, c.intent):
		limit = "socket.events"
	case !c.user.Load().allow(l.user, c.intent):
		limit = "user.events"
	case !c.address.allow(l.address, c.intent):
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
	case c.user.Load().full(l.User):
		c.b.guard.exceed("user.rooms", "")
	case c.address.full(l.Address):
		c.b.guard.exceed("address.rooms", "")
	default:
		return true
	}
	return false
}
