package bridge

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

// The reasons for which rights are asked about again.
const (
	byTimer = "timer" // rooms.authorization.recheck_every
	byToken = "token" // the client has another one
	byMove  = "moved" // the conversation has another tenant, or is no more, or the rules are others
)

// rechecker takes sockets out of rooms that their users may not be in any more. It asks again about every room of every socket on a timer, about those of a
// client that has another token, and about everybody in a conversation that moved to another tenant.
//
// What that costs does not grow with what there is: rooms of one token are asked about together, one question follows the other, spread over the interval and at most
// recheck_rate a second. Where that is not enough the round takes longer than the interval. Where a question can't be asked everybody stays.
//
// Its goroutine is run's. The mutex guards what others hand over: at most two entries for each socket and maxMoved rooms.
type rechecker struct {
	b       *Bridge
	limiter *rate.Limiter

	mu      sync.Mutex
	here    map[*client]struct{} // the clients, until all that their being there meant has ended
	changed map[*client]struct{} // those that have another token
	moved   map[string]struct{}  // conversations, as stored
	all     bool                 // more moved than are remembered, or the rules are others
	wake    chan struct{}        // holds one

	waiting int           // moves that are looked at and not in moved yet
	settled atomic.Uint64 // the epoch up to which all that moved was looked at, whoever was here then

	checked *prometheus.CounterVec
	round   prometheus.Gauge
}

// Bounds of looking at a conversation that moved: how long the feed waits, and how many questions it asks at once.
const (
	maxMoveWait   = 2 * time.Second
	moveQuestions = 8
)

// maxMoved bounds the moved conversations that wait to be looked at; more have everybody asked about.
const maxMoved = 10_000

func newRechecker(b *Bridge) *rechecker {
	r := &rechecker{b: b, limiter: rate.NewLimiter(1, 1), here: make(map[*client]struct{}), changed: make(map[*client]struct{}),
		moved: make(map[string]struct{}), wake: make(chan struct{}, 1)}
	r.checked = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "rights_checked_total",
		Help: "Rooms of sockets that were asked about again, by reason (timer, token, moved) and result (kept, lost, failed)."}, []string{"reason", "result"})
	r.round = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "rights_round_seconds",
		Help: "How long the last round through all sockets took; more than rooms.authorization.recheck_every where there is more to ask than recheck_rate lets."})
	b.metrics.registry.MustRegister(r.checked, r.round)
	return r
}

// watch looks after a client from now on.
func (r *rechecker) watch(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.here[c] = struct{}{}
}

// forget ends that.
func (r *rechecker) forget(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.here, c)
	delete(r.changed, c)
}

// clients gives those that are here.
func (r *rechecker) clients() []*client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.here))
}

// doubt has a client's rooms asked about soon. It never waits.
func (r *rechecker) doubt(c *client) {
	r.mu.Lock()
	r.changed[c] = struct{}{}
	r.mu.Unlock()
	r.rouse()
}

// conversationMoved has everybody in a conversation asked about, and no answer from before trusted. Where it is certain that the conversation moved it waits for the
// answers, though not longer than maxMoveWait: the feed, which calls it, may bring a message of the new tenant next. Whatever came out is looked at once more
// by run.
func (r *rechecker) conversationMoved(ctx context.Context, id string, certain bool) {
	r.mu.Lock()
	r.b.authorizer.withdraw(room{conversationRoom, id}) // under the mutex, so that no epoch is taken for settled before its room is known here
	r.waiting++
	r.mu.Unlock()
	if certain {
		ctx, cancel := context.WithTimeout(ctx, maxMoveWait)
		defer cancel()
		slots := make(chan struct{}, moveQuestions)
		var all sync.WaitGroup
		for _, s := range stepsIn(r.clients(), map[string]struct{}{id: {}}) {
			slots <- struct{}{}
			all.Go(func() {
				r.check(ctx, s, byMove, nil)
				<-slots
			})
		}
		all.Wait()
	}
	r.mu.Lock()
	r.waiting--
	if len(r.moved) < maxMoved {
		r.moved[id] = struct{}{}
	} else {
		r.all = true
	}
	r.mu.Unlock()
	r.rouse()
}

// rulesChanged has everybody asked about, and no answer from before trusted. It never waits.
func (r *rechecker) rulesChanged() {
	r.mu.Lock()
	r.b.authorizer.withdrawAll()
	r.all = true
	r.mu.Unlock()
	r.rouse()
}

func (r *rechecker) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it has been roused already
	}
}

// run looks after rights until ctx ends.
func (r *rechecker) run(ctx context.Context) {
	for ctx.Err() == nil {
		every := r.b.cfg().Rooms.Authorization.RecheckEvery
		began := time.Now()
		var steps []*step
		if every > 0 {
			steps = stepsOf(r.clients())
		} else {
			every = time.Minute // for the next look at the configuration
		}
		for i, s := range steps {
			if !r.rest(ctx, began.Add(every*time.Duration(i)/time.Duration(len(steps)))) {
				return
			}
			r.check(ctx, s, byTimer, r.pace)
		}
		r.round.Set(time.Since(began).Seconds())
		if !r.rest(ctx, began.Add(every)) {
			return
		}
	}
}

// rest waits until a time, doing meanwhile what can't wait; false if ctx ended. It looks at that first even where the time has come already.
func (r *rechecker) rest(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		r.urgent(ctx)
		select {
		case <-ctx.Done():
			return false
		case <-r.wake:
		case <-timer.C:
			return true
		}
	}
}

// urgent looks at those that moved, then at those that have another token, until there are none.
func (r *rechecker) urgent(ctx context.Context) {
	for ctx.Err() == nil {
		moved, all, epoch := r.takeMoved()
		if len(moved) > 0 || all {
			steps := stepsIn(r.clients(), moved)
			if all {
				steps = stepsOf(r.clients())
			}
			r.checkAll(ctx, steps, byMove)
			r.settled.Store(epoch)
			continue
		}
		changed := r.takeChanged()
		if len(changed) == 0 {
			return
		}
		r.checkAll(ctx, stepsOf(changed), byToken)
	}
}

// takeMoved gives the conversations that moved up to an epoch; all says that everybody is to be asked about.
func (r *rechecker) takeMoved() (moved map[string]struct{}, all bool, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved, all = r.moved, r.all
	r.moved, r.all = make(map[string]struct{}), false
	if epoch = r.settled.Load(); r.waiting == 0 {
		epoch = r.b.authorizer.now()
	}
	return moved, all, epoch
}

func (r *rechecker) takeChanged() []*client {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := slices.Collect(maps.Keys(r.changed))
	clear(r.changed)
	return changed
}

func (r *rechecker) checkAll(ctx context.Context, steps []*step, reason string) {
	for _, s := range steps {
		r.check(ctx, s, reason, r.pace)
	}
}

// step is a question, or a few, to be asked together: the rooms of one kind that the sockets of one token are in.
type step struct {
	who     *Identity
	kind    roomKind
	ids     []string
	clients []*client
}

// stepsOf makes the steps for all rooms of some clients.
func stepsOf(clients []*client) []*step { return stepsIn(clients, nil) }

// stepsIn makes those for some of their conversations; nil for all rooms.
func stepsIn(clients []*client, conversations map[string]struct{}) []*step {
	type key struct {
		token [sha256.Size]byte
		kind  roomKind
	}
	var steps []*step
	by := make(map[key]*step)
	named := make(map[*step]map[string]struct{})
	for _, c := range clients {
		who := c.identity.Load()
		if !who.Verified || !time.Now().Before(who.ends()) {
			continue // nothing to lose by the rules, or about to be disconnected
		}
		token := sha256.Sum256([]byte(who.Token))
		for _, rooms := range []struct {
			kind roomKind
			in   *entered
		}{{conversationRoom, &c.conversations}, {tenantRoom, &c.tenants}} {
			ids := rooms.in.all()
			if conversations != nil {
				ids = rooms.in.among(conversations)
				if rooms.kind != conversationRoom {
					continue
				}
			}
			if len(ids) == 0 {
				continue
			}
			s := by[key{token, rooms.kind}]
			if s == nil {
				s = &step{who: who, kind: rooms.kind}
				by[key{token, rooms.kind}], named[s] = s, make(map[string]struct{})
				steps = append(steps, s)
			}
			s.clients = append(s.clients, c)
			for _, id := range ids {
				if _, there := named[s][id]; !there {
					named[s][id] = struct{}{}
					s.ids = append(s.ids, id)
				}
			}
		}
	}
	return steps
}

// check asks about the rooms of a step, and takes its sockets out of those that are not open any more.
func (r *rechecker) check(ctx context.Context, s *step, reason string, pace func(context.Context) error) {
	open, err := r.b.authorizer.stillOpen(ctx, s.who, s.kind, s.ids, pace)
	if err != nil && ctx.Err() == nil {
		r.b.log.Warn().Err(err).Str("user", s.who.UserID).Stringer("room", s.kind).Msg("whether a user may still be in rooms could not be decided")
	}
	for _, id := range s.ids {
		switch {
		case !open[id]:
			r.checked.WithLabelValues(reason, "lost").Inc()
			for _, c := range s.clients {
				if c.identity.Load().Token == s.who.Token { // else it is asked about by its new one
					c.lose(room{s.kind, id}, reason)
				}
			}
		case err != nil:
			r.checked.WithLabelValues(reason, "failed").Inc()
		default:
			r.checked.WithLabelValues(reason, "kept").Inc()
		}
	}
}

// pace holds questions to the rate that is configured.
func (r *rechecker) pace(ctx context.Context) error {
	perSecond := r.b.cfg().Rooms.Authorization.RecheckRate
	r.limiter.SetLimit(rate.Limit(perSecond))
	r.limiter.SetBurst(perSecond)
	return r.limiter.Wait(ctx)
}

// stillOpen gives those of the rooms a user is in that he may go on being in, by asking anew; ids are as stored. Of those that an error leaves in doubt it
// says that they are.
func (a *authorizer) stillOpen(ctx context.Context, who *Identity, kind roomKind, ids []string, pace func(context.Context) error) (map[string]bool, error) {
	open := make(map[string]bool, len(ids))
	if may, known := a.free(who); known {
		for _, id := range ids {
			open[id] = may
		}
		return open, nil
	}
	epoch := a.now()
	q := &inquiry{who: who, kind: kind, pace: pace}
	q.tenants = func(ctx context.Context, who *Identity, kind roomKind, id string) (string, error) {
		found, err := a.decide(ctx, &inquiry{who: who, kind: kind, pace: pace}, []string{id})
		if err == nil && found[id] == "" {
			err = errRefused
		}
		return found[id], err
	}
	found, err := a.decide(ctx, q, ids)
	token := sha256.Sum256([]byte(who.Token))
	for _, id := range ids {
		open[id] = found[id] != "" || err != nil
		if found[id] == "" && err == nil {
			a.remember(question{token, kind, id}, "", who.ends(), epoch) // what was remembered is wrong
		}
	}
	return open, err
}

// failLost is told without having been asked for.
var failLost = failure{"access_lost", "you may not be in this room any more"}

// lose takes the client out of a room that it may not be in any more. It runs on the goroutine of the rechecker or of the feed, beside the client's own events: a join that is under
// way finds in confirm that the room was lost.
func (c *client) lose(r room, reason string) {
	rooms, template := &c.conversations, c.b.cfg().Rooms.Conversation
	if r.kind == tenantRoom {
		rooms, template = &c.tenants, c.b.cfg().Rooms.Tenant
	}
	if _, in := rooms.get(r.id); !in {
		return
	}
	c.lost.Store(true) // first: a connection that takes over from this one looks at it last
	if !rooms.remove(r.id) {
		return
	}
	c.leave(roomName(template, r.id), wholeRoom(r.id))
	who := c.identity.Load()
	o := about(who, vocabulary.Failure, vocabulary.String("code", failLost.code), vocabulary.String("message", failLost.message))
	if r.kind == conversationRoom {
		c.types(vocabulary.NewID(r.id), who, false)
		o.Conversation = vocabulary.NewID(r.id)
		o.Fields = append(o.Fields, vocabulary.String("conversationId", r.id))
	} else {
		if r.id != who.Tenant {
			c.part(r.id, who)
		}
		o.Tenant = vocabulary.NewID(r.id)
		o.Fields = append(o.Fields, vocabulary.String(c.b.words().TenantKey(), r.id))
	}
	c.b.log.Info().Str("socket", c.socket.ID()).Str("user", who.UserID).Stringer("room", r.kind).Str("id", r.id).Str("reason", reason).Msg("right lost")
	c.say(o)
}

// confirm tells whether a room that was just entered is still the client's, else it takes the client out of it and says so. A right may be lost while the room is
// entered; and where what the answer rested on has changed since it was given, the rechecker may have looked before the client was there, so it is asked again.
func (c *client) confirm(e *socketio.Event, r room, rooms *entered, template config.Room) bool {
	_, still := rooms.get(r.id)
	if still && c.b.authorizer.changedSince(r, c.asked) {
		c.asked = c.b.authorizer.now()
		_, err := c.b.authorizer.mayEnter(c.socket.Context(), c.who, r.kind, r.id)
		still = !errors.Is(err, errRefused)
		if err != nil && still || c.b.authorizer.changedSince(r, c.asked) {
			c.b.rechecker.doubt(c)
		}
	}
	if !still {
		rooms.remove(r.id)
		c.leave(roomName(template, r.id), wholeRoom(r.id))
		c.fail(e, failForbidden)
	}
	return still
}

// mayResume tells whether a client that is back may have the rooms it had, and what was sent there meanwhile.
func (c *client) mayResume() bool {
	if c.lost.Load() {
		return false
	}
	left := c.left.Load()
	return left == nil || !c.changedSince(*left)
}

// changedSince tells whether answers about a conversation it is in were withdrawn since an epoch.
func (c *client) changedSince(epoch uint64) bool {
	return slices.ContainsFunc(c.conversations.all(), func(id string) bool {
		return c.b.authorizer.changedSince(room{conversationRoom, id}, epoch)
	})
}
