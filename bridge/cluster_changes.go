package bridge

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/bus"
	"github.com/supabridge/supabridge/bridge/feed"
)

// changesBus has the leader alone hear Realtime and read, and tell the other nodes what its feed passes on (cluster.changes: leader). Every node tells its own
// browsers, as it does where each hears Realtime for itself: the leader before the others have it, since it waits for nobody.
//
// A node hears Realtime for itself (it is "on") while it leads, and while no leader is heard, be it that there is none or that Redis is away. One that has been on
// goes off once a leader has been live for overlap: what both bring in that time the feed knows to be the same, so that nothing is missing between the two.
type changesBus struct {
	c      *cluster // immutable, like the next three
	bus    *bus.Bus
	source *switched
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

// overlap is how long a node goes on to hear Realtime beside a leader that is live. It must exceed what a change may take by either way, but for changes that a read
// finds.
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

// newChangesBus makes it where the configuration wants one, else nil.
func (c *cluster) newChangesBus(queue int) *changesBus {
	if c.b.cfg().Cluster.Changes != "leader" {
		return nil
	}
	return &changesBus{c: c, source: newSwitched(c.b), events: make(chan feed.BusEvent, busQueue), left: make(chan struct{}), bus: bus.New(c.redis, bus.Options{
		Stream: c.keyOf("changes"), Lease: c.key, Node: c.node, MaxQueue: queue, Timeout: c.lease,
	})}
}

// changes is the bus of changes; nil where each node hears Realtime for itself.
func (c *cluster) changes() *changesBus {
	if c == nil {
		return nil
	}
	return c.led
}

// numbered is an entry of the bus with its number within the term.
type numbered struct {
	N      uint64       `json:"n"`
	Change *feed.Change `json:"change,omitempty"`
	Mark   *feed.Mark   `json:"mark,omitempty"`
	// Tenants are those of the conversations that the change is about, which the others then need not ask for.
	Tenants map[string]string `json:"tenants,omitempty"`
}

// passOn tells the others of a change, where this node leads, and gives its place; else the zero one. The feed's goroutine calls it, like the next two.
func (x *changesBus) passOn(c feed.Change) feed.Place {
	if x == nil || !x.appending {
		return feed.Place{}
	}
	x.last.N++
	x.put(busChange, numbered{N: x.last.N, Change: &c, Tenants: x.c.b.router.tenantsFor(c)})
	return x.last
}

// passOnResync tells them that deletes may be missing.
func (x *changesBus) passOnResync(since time.Time, reason string) {
	x.put(busResync, gap{since, reason})
}

// mark tells them how this node's feed stands.
func (x *changesBus) mark() {
	if x != nil && x.appending {
		m := x.c.b.upstream.feed.Mark()
		if x.c.b.router.waiting.count > 0 {
			m.Began = time.Time{} // what it read is not all passed on yet
		}
		x.put(busMark, numbered{N: x.last.N, Mark: &m})
		x.c.b.passed(x.last)
	}
}

// offer offers a row to the feed of whoever leads, where that is not this node's; false where it is for this one's.
func (x *changesBus) offer(table string, action feed.Action, record json.RawMessage) bool {
	if x == nil || x.on.Load() {
		return false
	}
	x.c.say(note{Kind: noteOffer, Table: table, Action: action, Row: record})
	return true
}

// offered takes such an offer, where this node leads. One that finds no place is lost: Realtime brings the row.
func (x *changesBus) offered(o feed.BusOffer) {
	if x == nil || !x.c.leads() || !json.Valid(o.Record) {
		return
	}
	select {
	case x.events <- o:
	default:
	}
}

// remark has mark done soon.
func (x *changesBus) remark() {
	if x != nil {
		x.do(x.mark)
	}
}

func (x *changesBus) put(kind string, what any) {
	if x == nil || !x.appending {
		return
	}
	body, err := json.Marshal(what)
	if err != nil { // of a row, which came as JSON
		x.c.b.log.Error().Err(err).Str("kind", kind).Msg("cluster: the other nodes can't be told")
		return
	}
	x.bus.Put(kind, body)
}

// run listens and decides until ctx ends.
func (x *changesBus) run(ctx context.Context) {
	if x == nil {
		return
	}
	x.began = time.Now()
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { x.bus.Listen(ctx, &hearing{x, ctx}) })
	x.tell(ctx, feed.BusLed{Led: true})
	tick := time.NewTicker(max(x.c.lease/20, 10*time.Millisecond))
	defer tick.Stop()
	var marked time.Time
	for {
		x.step(ctx)
		if x.leading && time.Since(marked) >= x.c.lease/3 {
			marked = time.Now()
			x.remark()
		}
		select {
		case <-ctx.Done():
			if err := x.source.off(ctx); err != nil {
				x.c.b.log.Warn().Err(err).Msg("stopping")
			}
			return
		case <-x.c.turned:
		case <-tick.C:
		}
	}
}

// tell gives the feed an event, in order.
func (x *changesBus) tell(ctx context.Context, e feed.BusEvent) {
	select {
	case x.events <- e:
	case <-ctx.Done():
	case <-x.c.b.upstream.over.Done():
	}
}

// do has the feed run something in order, but not where it is behind: it is done anew soon.
func (x *changesBus) do(f func()) {
	select {
	case x.events <- feed.BusDo(f):
	default:
	}
}

// step looks who leads, and whether this node is to hear Realtime for itself.
func (x *changesBus) step(ctx context.Context) {
	if x.leaving.Load() {
		x.follow(ctx)
		return
	}
	switch leads := x.c.leads(); {
	case leads && !x.leading:
		x.lead(ctx)
	case !leads && x.leading:
		x.leading = false
		x.tell(ctx, feed.BusDo(func() { x.appending = false; x.bus.End() }))
		x.c.b.log.Info().Msg("cluster: this node does not lead any more")
	}
	if x.leading {
		return
	}
	now := time.Now()
	x.mu.Lock()
	heard := now.Sub(x.marked) < 2*x.c.lease && x.down.IsZero()
	waited := now.Sub(x.began) > 2*x.c.lease && now.Sub(x.marked) > 2*x.c.lease
	away := !x.down.IsZero() && (x.marked.IsZero() || now.Sub(x.down) > x.c.lease/2)
	steady := heard && !x.steady.IsZero() && now.Sub(x.steady) > overlap
	x.mu.Unlock()
	switch {
	case heard && !x.live:
		x.live = true
		x.tell(ctx, feed.BusLive{})
	case (waited || away) && x.live:
		x.live = false
		x.tell(ctx, feed.BusLost{Reason: "no leader is heard"})
	}
	switch {
	case (waited || away) && !x.on.Load():
		x.hearRealtime(ctx, time.Time{}, "no leader is heard")
	case steady && x.live && x.on.Load():
		x.leaveRealtime(ctx)
		x.c.b.log.Info().Msg("cluster: changes come from the leader")
	}
}

func (x *changesBus) leaveRealtime(ctx context.Context) {
	x.on.Store(false)
	if err := x.source.off(ctx); err != nil {
		x.c.b.log.Warn().Err(err).Msg("cluster: leaving Realtime to the leader")
	}
	x.tell(ctx, feed.BusLed{Led: true})
}

// follow has a node that stops hear of the next leader what its browsers are still to hear.
func (x *changesBus) follow(ctx context.Context) {
	if x.gone {
		return
	}
	x.gone = true
	if x.leading {
		x.leading = false
		x.leaveRealtime(ctx)
	}
	x.tell(ctx, feed.BusDo(func() {
		x.appending = false
		close(x.left)
	}))
}

// leave has this node lead no more, since it stops: what its feed has passed on is with the others when it returns, as far as that takes no more than a moment.
func (x *changesBus) leave() {
	if x == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), resignWait)
	defer cancel()
	x.leaving.Store(true)
	x.c.turn()
	select {
	case <-x.left:
	case <-ctx.Done():
	}
	x.bus.Flush(ctx)
	x.bus.End()
}

// lead takes the lead once everything has been heard that another leader told before.
func (x *changesBus) lead(ctx context.Context) {
	last, since, err := x.bus.Last(ctx)
	if err != nil || !x.bus.Past(last) {
		return // the next step tries again
	}
	term := x.c.term.Load()
	x.leading = true
	if x.live {
		x.live = false
		x.tell(ctx, feed.BusLost{Reason: "this node leads"})
	}
	on := x.on.Load()
	x.tell(ctx, feed.BusDo(func() {
		x.bus.Begin(term, last)
		x.appending, x.last = true, feed.Place{Term: term}
		x.mark()
		if on && !since.IsZero() { // this node has heard of deletes meanwhile; others may have not
			x.passOnResync(since, "leader")
		}
	}))
	x.hearRealtime(ctx, since, "this node leads")
}

// hearRealtime has this node hear Realtime for itself; since is as in feed.BusLed.
func (x *changesBus) hearRealtime(ctx context.Context, since time.Time, why string) {
	x.tell(ctx, feed.BusLed{Led: false, Since: since})
	if x.on.Load() {
		return
	}
	if err := x.source.on(ctx); err != nil {
		if ctx.Err() == nil {
			x.c.b.log.Error().Err(err).Msg("cluster: Realtime can't be heard; changes are read")
		}
		return
	}
	x.on.Store(true)
	x.c.b.log.Info().Str("reason", why).Msg("cluster: this node hears Realtime")
}

// hearing takes what comes by the bus.
type hearing struct {
	x   *changesBus
	ctx context.Context
}

// Heard implements bus.Listener.
func (h *hearing) Heard(err error) {
	if err == nil {
		h.x.c.say(note{Kind: noteMark}) // for this node to know at once that there is a leader
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
func (h *hearing) Missing(since time.Time) {
	h.x.tell(h.ctx, feed.BusGap{Since: since, Reason: "entries of the leader's are missing"})
}

// Entry implements bus.Listener.
func (h *hearing) Entry(e bus.Entry) {
	x := h.x
	switch e.Kind {
	case busChange:
		var n numbered
		if err := json.Unmarshal(e.Body, &n); err != nil || n.Change == nil {
			x.c.b.log.Warn().Err(err).Str("peer", e.From).Msg("cluster: a change of the leader's makes no sense; rows are read")
			h.Missing(e.At)
			return
		}
		n.Change.Place = feed.Place{Term: e.Term, N: n.N}
		for conversation, tenant := range n.Tenants {
			x.c.b.router.tenants.answered(conversation, tenant)
		}
		x.tell(h.ctx, feed.BusChange{Change: *n.Change})
	case busResync:
		var g gap
		if json.Unmarshal(e.Body, &g) == nil {
			x.tell(h.ctx, feed.BusResync{Since: g.Since, Reason: g.Reason})
		}
	case busMark:
		var n numbered
		if json.Unmarshal(e.Body, &n) != nil || n.Mark == nil {
			return
		}
		m := *n.Mark
		x.tell(h.ctx, feed.BusMark{Mark: m})
		x.tell(h.ctx, feed.BusDo(func() { x.c.b.passed(feed.Place{Term: e.Term, N: n.N}) }))
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
