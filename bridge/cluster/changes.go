package cluster

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/bus"
	"github.com/supabridge/supabridge/bridge/feed"
)

// ChangesOptions have the leader alone hear Realtime. Both are required.
type ChangesOptions struct {
	Realtime Realtime
	Feed     Feed
}

// Realtime is this node's own connection to Realtime, which one goroutine turns on and off. ctx
// bounds all that it brings.
type Realtime interface {
	On(ctx context.Context) error
	Off(ctx context.Context) error
}

// Feed is this node's feed, which takes the events of Changes.
type Feed interface {
	// Mark says how the feed stands. It is called on the feed's goroutine, like Tenants and Reached.
	Mark() feed.Mark
	// Tenants are those of the conversations that a change is about, as far as they are known and the
	// change doesn't name them.
	Tenants(feed.Change) map[string]string
	// Reached notes that all changes up to a place have been emitted.
	Reached(feed.Place)
	// LearnTenants takes what Tenants gave at the leader, on the goroutine that listens.
	LearnTenants(map[string]string)
	// Over is closed when the feed takes no more events.
	Over() <-chan struct{}
}

// Changes has the leader alone hear Realtime and read, and pass on to the other nodes what its feed
// passes on (cluster.changes: leader). Every node emits changes to its own browsers, as it does
// where each hears Realtime for itself. The leader does so before the others have them, since it
// waits for nobody.
//
// A node hears Realtime for itself (it is "on") while it leads, and while no leader is heard: there
// is none, or Redis is away. A node that has been on goes off once a leader has been live for
// overlap. The feed knows that changes are the same which both bring in that time, so that nothing
// is missing between the two.
//
// A nil Changes does nothing: each node hears Realtime for itself.
type Changes struct {
	c      *Cluster // immutable, like the next three
	bus    *bus.Bus
	opts   ChangesOptions
	events chan feed.BusEvent

	// The feed's goroutine alone uses these.
	appending bool       // what it passes on goes to the others
	last      feed.Place // of what went there in this term

	on atomic.Bool // Realtime is heard; step's goroutine alone writes it

	leaving atomic.Bool   // this node stops
	left    chan struct{} // closed once it leads no more for that

	// step's goroutine alone uses these.
	leading bool // this node leads, and has heard all that was told before
	live    bool // the feed was told that the bus is
	gone    bool // left is closed

	mu     sync.Mutex // guards what is below
	began  time.Time
	down   time.Time // since when Redis is away; zero while it is there
	marked time.Time // when a leader was heard last
	steady time.Time // since when it is live; zero while it is not
}

// overlap is how long a node goes on to hear Realtime beside a leader that is live. It must exceed
// what a change may take by either way, except for changes that a read finds.
const overlap = 10 * time.Second

// The kinds of entries on the bus.
const (
	busChange = "change" // of numbered, with a change
	busResync = "resync" // of gap
	busMark   = "mark"   // of numbered, with a mark; its number is that of the last change before
)

// gap tells that deletes may be missing.
type gap struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// busQueue bounds what waits for the feed; what is beyond waits in Redis.
const busQueue = 1024

// newChanges makes it where the options want it, else nil.
func (c *Cluster) newChanges() *Changes {
	if c.opts.Changes == nil {
		return nil
	}
	return &Changes{c: c, opts: *c.opts.Changes, events: make(chan feed.BusEvent, busQueue), left: make(chan struct{}),
		bus: bus.New(c.redis, bus.Options{Stream: c.leaderKey("changes"), Lease: c.key, Node: c.node,
			MaxQueue: c.opts.MaxQueue, Timeout: c.opts.Lease})}
}

// Changes is nil where each node hears Realtime for itself.
func (c *Cluster) Changes() *Changes {
	if c.alone() {
		return nil
	}
	return c.changes
}

// Events are what the feed has to take, as its Options.Bus.
func (x *Changes) Events() <-chan feed.BusEvent { return x.events }

// numbered is an entry of the bus with its number within the term.
type numbered struct {
	N      uint64       `json:"n"`
	Change *feed.Change `json:"change,omitempty"`
	Mark   *feed.Mark   `json:"mark,omitempty"`
	// Tenants are those of the conversations that the change is about: the others needn't ask for
	// them.
	Tenants map[string]string `json:"tenants,omitempty"`
}

// PassOn sends a change to the others, where this node leads, and returns its place; else the zero
// one. It is called on the feed's goroutine, like PassOnResync and Mark.
func (x *Changes) PassOn(c feed.Change) feed.Place {
	if x == nil || !x.appending {
		return feed.Place{}
	}
	x.last.N++
	x.put(busChange, numbered{N: x.last.N, Change: &c, Tenants: x.opts.Feed.Tenants(c)})
	return x.last
}

// PassOnResync tells them that deletes may be missing.
func (x *Changes) PassOnResync(since time.Time, reason string) {
	x.put(busResync, gap{since, reason})
}

// Mark tells them how this node's feed stands.
func (x *Changes) Mark() {
	if x != nil && x.appending {
		m := x.opts.Feed.Mark()
		x.put(busMark, numbered{N: x.last.N, Mark: &m})
		x.opts.Feed.Reached(x.last)
	}
}

// Offer offers a row that was just stored to the leader's feed. It returns false where the row is
// for this node's own feed. Any goroutine may call it.
func (x *Changes) Offer(table string, action feed.Action, record json.RawMessage) bool {
	if x == nil || x.on.Load() {
		return false
	}
	x.c.send(note{Kind: noteOffer, Table: table, Action: action, Row: record})
	return true
}

// takeOffer takes such an offer, where this node leads. One that finds no place is lost: Realtime
// brings the row.
func (x *Changes) takeOffer(o feed.BusOffer) {
	if x == nil || !x.c.leads() || !json.Valid(o.Record) {
		return
	}
	select {
	case x.events <- o:
	default:
	}
}

// sendMarkSoon has the feed call Mark soon.
func (x *Changes) sendMarkSoon() {
	if x != nil {
		x.do(x.Mark)
	}
}

func (x *Changes) put(kind string, what any) {
	if x == nil || !x.appending {
		return
	}
	body, err := json.Marshal(what)
	if err != nil { // of a row, which came as JSON
		x.c.opts.Log.Error().Err(err).Str("kind", kind).Msg("cluster: the other nodes can't be told")
		return
	}
	x.bus.Put(kind, body)
}

// Run listens to the leader, and decides when this node hears Realtime, until ctx ends.
func (x *Changes) Run(ctx context.Context) {
	if x == nil {
		return
	}
	x.began = time.Now()
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { x.bus.Listen(ctx, &listener{x, ctx}) })
	x.give(ctx, feed.BusLed{Led: true})
	tick := time.NewTicker(max(x.c.opts.Lease/20, 10*time.Millisecond))
	defer tick.Stop()
	var marked time.Time
	for {
		x.step(ctx)
		if x.leading && time.Since(marked) >= x.c.opts.Lease/3 {
			marked = time.Now()
			x.sendMarkSoon()
		}
		select {
		case <-ctx.Done():
			if err := x.opts.Realtime.Off(ctx); err != nil {
				x.c.opts.Log.Warn().Err(err).Msg("stopping")
			}
			return
		case <-x.c.wakeChanges:
		case <-tick.C:
		}
	}
}

// give gives the feed an event, in order.
func (x *Changes) give(ctx context.Context, e feed.BusEvent) {
	select {
	case x.events <- e:
	case <-ctx.Done():
	case <-x.opts.Feed.Over():
	}
}

// do has the feed run something in order, but not where it is behind: it is done anew soon.
func (x *Changes) do(f func()) {
	select {
	case x.events <- feed.BusDo(f):
	default:
	}
}

// step looks who leads, and whether this node is to hear Realtime for itself.
func (x *Changes) step(ctx context.Context) {
	if x.leaving.Load() {
		x.stopLeading(ctx)
		return
	}
	switch leads := x.c.leads(); {
	case leads && !x.leading:
		x.lead(ctx)
	case !leads && x.leading:
		x.leading = false
		x.give(ctx, feed.BusDo(func() { x.appending = false; x.bus.End() }))
		x.c.opts.Log.Info().Msg("cluster: this node does not lead any more")
	}
	if x.leading {
		return
	}
	now := time.Now()
	x.mu.Lock()
	heard := now.Sub(x.marked) < 2*x.c.opts.Lease && x.down.IsZero()
	waited := now.Sub(x.began) > 2*x.c.opts.Lease && now.Sub(x.marked) > 2*x.c.opts.Lease
	away := !x.down.IsZero() && (x.marked.IsZero() || now.Sub(x.down) > x.c.opts.Lease/2)
	steady := heard && !x.steady.IsZero() && now.Sub(x.steady) > overlap
	x.mu.Unlock()
	switch {
	case heard && !x.live:
		x.live = true
		x.give(ctx, feed.BusLive{})
	case (waited || away) && x.live:
		x.live = false
		x.give(ctx, feed.BusLost{Reason: "no leader is heard"})
	}
	switch {
	case (waited || away) && !x.on.Load():
		x.hearRealtime(ctx, time.Time{}, "no leader is heard")
	case steady && x.live && x.on.Load():
		x.leaveRealtime(ctx)
		x.c.opts.Log.Info().Msg("cluster: changes come from the leader")
	}
}

func (x *Changes) leaveRealtime(ctx context.Context) {
	x.on.Store(false)
	if err := x.opts.Realtime.Off(ctx); err != nil {
		x.c.opts.Log.Warn().Err(err).Msg("cluster: leaving Realtime to the leader")
	}
	x.give(ctx, feed.BusLed{Led: true})
}

// stopLeading has a node that stops hear the next leader, for what its browsers are still to get.
func (x *Changes) stopLeading(ctx context.Context) {
	if x.gone {
		return
	}
	x.gone = true
	if x.leading {
		x.leading = false
		x.leaveRealtime(ctx)
	}
	x.give(ctx, feed.BusDo(func() {
		x.appending = false
		close(x.left)
	}))
}

// leave has this node lead no more, since it stops. When it returns the others have what its feed
// has passed on, as far as that takes no more than a moment.
func (x *Changes) leave() {
	if x == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resignWait)
	defer cancel()
	x.leaving.Store(true)
	x.c.leaderChanged()
	select {
	case <-x.left:
	case <-ctx.Done():
	}
	x.bus.Flush(ctx)
	x.bus.End()
}

// lead takes the lead once everything has been heard that another leader told before.
func (x *Changes) lead(ctx context.Context) {
	last, since, err := x.bus.Last(ctx)
	if err != nil || !x.bus.Past(last) {
		return // the next step tries again
	}
	term := x.c.term.Load()
	x.leading = true
	if x.live {
		x.live = false
		x.give(ctx, feed.BusLost{Reason: "this node leads"})
	}
	on := x.on.Load()
	x.give(ctx, feed.BusDo(func() {
		x.bus.Begin(term, last)
		x.appending, x.last = true, feed.Place{Term: term}
		x.Mark()
		if on && !since.IsZero() { // this node has heard of deletes meanwhile; others may have not
			x.PassOnResync(since, "leader")
		}
	}))
	x.hearRealtime(ctx, since, "this node leads")
}

// hearRealtime has this node hear Realtime for itself; since is as in feed.BusLed.
func (x *Changes) hearRealtime(ctx context.Context, since time.Time, why string) {
	x.give(ctx, feed.BusLed{Led: false, Since: since})
	if x.on.Load() {
		return
	}
	if err := x.opts.Realtime.On(ctx); err != nil {
		if ctx.Err() == nil {
			x.c.opts.Log.Error().Err(err).Msg("cluster: Realtime can't be heard; changes are read")
		}
		return
	}
	x.on.Store(true)
	x.c.opts.Log.Info().Str("reason", why).Msg("cluster: this node hears Realtime")
}

// listener takes what comes by the bus.
type listener struct {
	x   *Changes
	ctx context.Context
}

// Heard implements bus.Listener.
func (h *listener) Heard(err error) {
	if err == nil {
		h.x.c.send(note{Kind: noteMark}) // for this node to know at once that there is a leader
	}
	h.x.mu.Lock()
	defer h.x.mu.Unlock()
	if err == nil {
		h.x.down = time.Time{}
	} else if h.x.down.IsZero() {
		h.x.down, h.x.steady = time.Now(), time.Time{}
	}
}

// Missing implements bus.Listener.
func (h *listener) Missing(since time.Time) {
	h.x.give(h.ctx, feed.BusGap{Since: since, Reason: "entries of the leader's are missing"})
}

// Entry implements bus.Listener.
func (h *listener) Entry(e bus.Entry) {
	x := h.x
	switch e.Kind {
	case busChange:
		var n numbered
		if err := json.Unmarshal(e.Body, &n); err != nil || n.Change == nil {
			x.c.opts.Log.Warn().Err(err).Str("peer", e.From).
				Msg("cluster: a change of the leader's makes no sense; rows are read")
			h.Missing(e.At)
			return
		}
		n.Change.Place = feed.Place{Term: e.Term, N: n.N}
		x.opts.Feed.LearnTenants(n.Tenants)
		x.give(h.ctx, feed.BusChange{Change: *n.Change})
	case busResync:
		var g gap
		if json.Unmarshal(e.Body, &g) == nil {
			x.give(h.ctx, feed.BusResync{Since: g.Since, Reason: g.Reason})
		}
	case busMark:
		var n numbered
		if json.Unmarshal(e.Body, &n) != nil || n.Mark == nil {
			return
		}
		m := *n.Mark
		x.give(h.ctx, feed.BusMark{Mark: m})
		x.give(h.ctx, feed.BusDo(func() { x.opts.Feed.Reached(feed.Place{Term: e.Term, N: n.N}) }))
		x.mu.Lock()
		defer x.mu.Unlock()
		x.marked = time.Now()
		if m.State != feed.Live {
			x.steady = time.Time{}
		} else if x.steady.IsZero() {
			x.steady = x.marked
		}
	}
}
