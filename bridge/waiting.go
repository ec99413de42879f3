package bridge

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/feed"
)

// A change may have to wait before it is told: the tenant of its conversation is not known yet, or
// its conversation has moved to another tenant and who may stay in the room is still being asked.
// Only its own rooms wait with it: changes of one conversation, and of one row, are told in the
// order in which the feed brought them, and all others go on. In a tenant's room the changes of a
// conversation that waits may so come after later ones of other conversations.
//
// At most maxWaiting changes, or maxWaitingBytes of rows, wait. At that bound the feed itself waits
// until fewer do: for tenantWait or access.MaxMoveWait at most, since every question ends by then.
// Nothing is dropped for it; what Realtime's queue can't take meanwhile is read by the cursor.
const (
	maxWaiting      = 10_000
	maxWaitingBytes = 64 << 20
)

// maxMoveChecks bounds the conversations that moved of which is asked at once who may stay.
const maxMoveChecks = 8

// waiting holds the changes that wait. The feed's goroutine alone uses it, but for the inbox.
type waiting struct {
	router  *router
	asker   *tenantAsker
	deliver func(ctx context.Context, c feed.Change)
	late    func(feed.Change) // the change is going to be told after later ones
	queues  map[string][]*pending
	count   int
	bytes   int
	serial  uint64
	inbox   inbox

	unchecked []*pending     // conversations that moved, whose check can't begin yet
	checking  int            // checks under way
	checks    sync.WaitGroup // their goroutines

	waited *prometheus.CounterVec
	full   prometheus.Counter
}

// pending is a change that waits.
type pending struct {
	ctx    context.Context
	change feed.Change
	keys   []string // of the queues that it stands in
	needs  []need
	after  message // what will be known of its message once it is told
	gone   bool    // nothing will be
	serial uint64
	check  checkState
	move   access.Move // how it is checked
	since  time.Time   // when the check was wanted
}

// need is a conversation whose tenant has to be known.
type need struct {
	conversation, tenant string
	known                bool
}

// checkState says how far it is with asking who may stay in the room of a conversation that moved.
type checkState uint8

const (
	unchecked checkState = iota
	checking
	checked
)

// inbox takes what is to be done on the feed's goroutine, from any other.
type inbox struct {
	mu   sync.Mutex
	list []func()
	wake chan struct{} // holds one: for pump
	more chan struct{} // holds one: for the feed's goroutine where it waits itself
}

func (i *inbox) post(f func()) {
	i.mu.Lock()
	i.list = append(i.list, f)
	i.mu.Unlock()
	for _, c := range []chan struct{}{i.wake, i.more} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (i *inbox) take() []func() {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := i.list
	i.list = nil
	return list
}

func newWaiting(r *router) *waiting {
	w := &waiting{router: r, queues: make(map[string][]*pending), deliver: r.route, late: func(feed.Change) {},
		inbox: inbox{wake: make(chan struct{}, 1), more: make(chan struct{}, 1)}}
	w.asker = newTenantAsker(r.tenants, func(conversation, tenant string, err error) {
		w.inbox.post(func() { w.answered(conversation, tenant, err) })
	})
	w.waited = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "changes_waited_total",
		Help: "Row changes that waited before they were sent, by what for: tenant (of the conversation), order (behind another of the conversation), moved (who may stay)."},
		[]string{"for"})
	for _, why := range []string{"tenant", "order", "moved"} {
		w.waited.WithLabelValues(why)
	}
	w.full = prometheus.NewCounter(prometheus.CounterOpts{Name: "changes_waiting_full_total",
		Help: "Times that all changes waited since too many were waiting for a tenant or for who may stay in a conversation that moved."})
	return w
}

// watch counts for a registry.
func (w *waiting) watch(registry prometheus.Registerer) {
	registry.MustRegister(w.waited, w.full, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tenants_asked",
		Help: "Conversations whose tenant is being asked for."}, func() float64 { return float64(w.asker.open()) }))
}

// take tells a change, or has it wait. It is where the feed's changes come in.
func (w *waiting) take(ctx context.Context, c feed.Change) {
	p := &pending{ctx: ctx, change: c}
	w.router.plan(p, w.lastOf)
	why := "order"
	if w.count == 0 || !w.behind(p) {
		switch {
		case w.decided(p):
			w.tell(p)
			return
		case p.check == checking:
			why = "moved"
		default:
			why = "tenant"
		}
	}
	w.serial++
	p.serial = w.serial
	w.standing(p, true)
	w.count++
	w.bytes += p.size()
	w.waited.WithLabelValues(why).Inc()
	w.late(c)
	for i := range p.needs {
		w.want(&p.needs[i])
	}
	w.bound(ctx)
}

// bound waits while too many changes wait.
func (w *waiting) bound(ctx context.Context) {
	if w.count <= maxWaiting && w.bytes <= maxWaitingBytes {
		return
	}
	w.full.Inc()
	for w.count > maxWaiting || w.bytes > maxWaitingBytes {
		select {
		case <-ctx.Done():
			return
		case <-w.inbox.more:
			w.collect()
		}
	}
}

func (p *pending) size() int { return len(p.change.Row.Record) + len(p.change.Old.Record) }

// lastOf gives what will be known of a message once all that waits is told; waits reports whether
// anything of it does.
func (w *waiting) lastOf(key string) (after message, gone, waits bool) {
	if q := w.queues[key]; len(q) > 0 {
		last := q[len(q)-1]
		return last.after, last.gone, true
	}
	return message{}, false, false
}

// behind reports whether another change waits in one of the queues that p belongs into.
func (w *waiting) behind(p *pending) bool {
	return slices.ContainsFunc(p.keys, func(key string) bool { return len(w.queues[key]) > 0 })
}

// standing puts p at the end of its queues, or takes it out.
func (w *waiting) standing(p *pending, in bool) {
	for _, key := range p.keys {
		if in {
			w.queues[key] = append(w.queues[key], p)
			continue
		}
		q := w.queues[key]
		if i := slices.Index(q, p); i >= 0 {
			q = slices.Delete(q, i, i+1)
		}
		if len(q) == 0 {
			delete(w.queues, key)
		} else {
			w.queues[key] = q
		}
	}
}

// first reports whether nothing that p has to follow waits any more. p waits itself.
func (w *waiting) first(p *pending) bool {
	return !slices.ContainsFunc(p.keys, func(key string) bool { return w.queues[key][0] != p })
}

// decided reports whether all that a change needs is known. It is called for changes that follow
// nothing that waits, and begins to ask who may stay where a conversation moved.
func (w *waiting) decided(p *pending) bool {
	known := true
	for i := range p.needs {
		n := &p.needs[i]
		if !n.known {
			n.tenant, n.known = w.router.tenants.lookup(n.conversation)
			known = known && n.known
		}
	}
	if !known {
		return false
	}
	if p.check == unchecked {
		p.check, p.move = checked, w.router.moves(p.change)
		if p.move != access.MoveLater {
			p.since = time.Now()
			p.check = checking
			w.unchecked = append(w.unchecked, p)
			w.begin()
		}
	}
	return p.check == checked
}

func (w *waiting) want(n *need) {
	if !n.known {
		w.asker.want(n.conversation)
	}
}

// begin begins checks, as many as may be under way.
func (w *waiting) begin() {
	for w.checking < maxMoveChecks && len(w.unchecked) > 0 {
		p := w.unchecked[0]
		w.unchecked = w.unchecked[1:]
		w.checking++
		settle := w.router.moved(w.router.conversationOf(p.change), p.move)
		w.checks.Go(func() {
			ctx, cancel := p.ctx, context.CancelFunc(func() {})
			if p.move == access.MovePossible { // there may be many, while Supabase can't be asked
				ctx, cancel = context.WithDeadline(ctx, p.since.Add(access.MaxMoveWait))
			}
			settle(ctx)
			cancel()
			w.inbox.post(func() {
				w.checking--
				p.check = checked
				w.begin()
				w.advance([]*pending{p})
			})
		})
	}
}

// answered takes the answer for a conversation's tenant.
func (w *waiting) answered(conversation, tenant string, err error) {
	if err != nil {
		w.router.log.Warn().
			Err(err).
			Str("conversation", conversation).
			Msg("the tenant of a conversation is not known; its changes go to its own room only")
		w.router.tenants.failed(conversation)
	} else {
		w.router.tenants.answered(conversation, tenant)
	}
	q := slices.Clone(w.queues[inConversation(conversation)])
	for _, p := range q {
		for i := range p.needs {
			if n := &p.needs[i]; n.conversation == conversation && !n.known {
				n.tenant, n.known = tenant, true
			}
		}
	}
	w.advance(q[:min(len(q), 1)])
}

// advance tells what can be told, and then what waited for that.
func (w *waiting) advance(heads []*pending) {
	for len(heads) > 0 {
		p := heads[0]
		heads = heads[1:]
		if !w.inQueue(p) || !w.first(p) {
			continue
		}
		if !w.decided(p) {
			for i := range p.needs {
				w.want(&p.needs[i]) // it may have been known for a while only
			}
			continue
		}
		w.standing(p, false)
		w.tell(p)
		w.count-- // not before: who has read the row already is known until nothing waits
		w.bytes -= p.size()
		for _, key := range p.keys {
			if q := w.queues[key]; len(q) > 0 {
				heads = append(heads, q[0])
			}
		}
	}
}

func (w *waiting) inQueue(p *pending) bool {
	return len(p.keys) > 0 && slices.Contains(w.queues[p.keys[0]], p)
}

func (w *waiting) tell(p *pending) {
	c := p.change
	if p.serial > 0 {
		c.Place = feed.Place{} // it is told later than the leader told it
	}
	w.router.found = p.needs
	w.deliver(p.ctx, c)
	w.router.found = nil
}

// collect does what others have left to be done.
func (w *waiting) collect() {
	for _, f := range w.inbox.take() {
		f()
	}
}

// pump has what others leave to be done done on the feed's goroutine, by do, until ctx ends.
func (w *waiting) pump(ctx context.Context, do func(context.Context, func()) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.inbox.wake:
			if do(ctx, w.collect) != nil {
				return
			}
		}
	}
}

// end tells everything that still waits, with what is known by now. The feed must have ended, and
// the ctx of its changes: checks then end at once.
func (w *waiting) end() {
	w.asker.close()
	w.collect()
	var left []*pending
	seen := make(map[*pending]bool)
	for _, q := range w.queues {
		for _, p := range q {
			if !seen[p] {
				seen[p], left = true, append(left, p)
			}
		}
	}
	slices.SortFunc(left, func(a, b *pending) int { return cmp.Compare(a.serial, b.serial) })
	for _, p := range left {
		for i := range p.needs {
			p.needs[i].known = true
		}
	}
	for _, p := range left {
		w.advance([]*pending{p})
		for w.inQueue(p) { // until its check has ended, and those before it
			w.checks.Wait()
			w.collect()
		}
	}
}

// open is how many conversations are being asked for.
func (a *tenantAsker) open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}
