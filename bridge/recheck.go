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

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/supabase"
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

// rechecker takes sockets out of rooms that their users may not be in any more. It asks again about
// every room of every user within recheck_every, about those of a client that has another token,
// and about everybody in a conversation that moved to another tenant.
//
// Each of these three has a goroutine that asks one question after the other, so none waits for
// another's. They share recheck_rate and take turns at it: each has a third of it at least, and
// what the others leave.
//
//   - The timer visits users, the one whose rights were asked about longest ago first, spread
//     over the interval. Renewing a token, or coming back, changes no user's turn.
//   - Doubts, of changed tokens, are kept by user, whatever the number of sockets and tokens, and
//     asked out of that user's own budget: a tenth of the rate.
//   - What moved is asked about in the order in which it moved.
//
// Rooms of one token are asked about together. Where there is more to ask than the rate allows, all
// of it takes longer than the interval. Where a question can't be asked everybody stays, and is
// asked about again sooner.
//
// The mutex guards what others hand over: at most two entries for each socket, maxMoved rooms, and
// the budgets that are in use.
type rechecker struct {
	b       *Bridge
	limiter *rate.Limiter

	mu      sync.Mutex
	here    map[*client]string              // clients until they are gone, and their users
	users   map[string]map[*client]struct{} // the same by user
	timer   *agenda                         // the users, by when they were asked about
	doubted map[string]map[*client]struct{} // clients that have another token, by user
	doubts  *agenda                         // their users, by when their budget lets them be asked about
	budgets map[string]time.Time            // when what a user's doubts have cost is made up for
	moved   map[string]struct{}             // conversations, as stored
	all     bool                            // more moved than are remembered, or the rules are others

	wakeTimer, wakeDoubts, wakeMoved chan struct{} // hold one

	waiting int           // moves that are looked at and not in moved yet
	settled atomic.Uint64 // the epoch up to which all that moved was looked at, whoever was here then

	checked *prometheus.CounterVec
	round   prometheus.Gauge
}

// Bounds of looking at a conversation that moved: how long its room waits, and how many questions it asks at once.
const (
	maxMoveWait   = 2 * time.Second
	moveQuestions = 8
)

// maxMoved bounds the moved conversations that wait to be looked at; more have everybody asked about.
const maxMoved = 10_000

// Bounds of what the doubts about one user may cost.
const (
	doubtShare = 10     // of recheck_rate a user has this part, at least one question a second
	doubtBurst = 4      // questions beyond that, after a while without
	maxBudgets = 10_000 // with more of them those that are made up for are forgotten
)

func newRechecker(b *Bridge) *rechecker {
	wake := func() chan struct{} { return make(chan struct{}, 1) }
	r := &rechecker{
		b: b, limiter: rate.NewLimiter(1, 1),
		here: make(map[*client]string), users: make(map[string]map[*client]struct{}), timer: newAgenda(),
		doubted: make(map[string]map[*client]struct{}), doubts: newAgenda(), budgets: make(map[string]time.Time),
		moved: make(map[string]struct{}), wakeTimer: wake(), wakeDoubts: wake(), wakeMoved: wake(),
	}
	r.checked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rights_checked_total",
		Help: "Rooms of sockets that were asked about again, by reason (timer, token, moved) and result (kept, lost, failed)."}, []string{"reason", "result"})
	r.round = prometheus.NewGauge(prometheus.GaugeOpts{Name: "rights_round_seconds",
		Help: "How long ago the rights of the user whom the timer looked at last had been asked about before; " +
			"more than rooms.authorization.recheck_every where there is more to ask than recheck_rate lets."})
	b.metrics.register.MustRegister(r.checked, r.round)
	return r
}

// watch looks after a client from now on, as one of the user it is by now. The user's turn comes as
// soon as that of what the client has of before would.
func (r *rechecker) watch(c *client) {
	user := c.identity.Load().UserID
	r.mu.Lock()
	r.drop(c)
	r.here[c] = user
	if r.users[user] == nil {
		r.users[user] = make(map[*client]struct{}, 1)
	}
	r.users[user][c] = struct{}{}
	if c.checked.IsZero() {
		c.checked = time.Now()
	}
	if d := r.timer.by[user]; d == nil || c.checked.Before(d.at) {
		r.timer.set(user, c.checked)
	}
	r.mu.Unlock()
	rouse(r.wakeTimer)
}

// forget ends that.
func (r *rechecker) forget(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c)
}

// drop is forget for a caller that holds mu.
func (r *rechecker) drop(c *client) {
	user, ok := r.here[c]
	if !ok {
		return
	}
	delete(r.here, c)
	delete(r.users[user], c)
	if len(r.users[user]) == 0 {
		delete(r.users, user)
		r.timer.remove(user)
	}
	delete(r.doubted[user], c)
	if len(r.doubted[user]) == 0 {
		delete(r.doubted, user)
	}
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
	user, ok := r.here[c]
	if ok {
		if r.doubted[user] == nil {
			r.doubted[user] = make(map[*client]struct{}, 1)
		}
		r.doubted[user][c] = struct{}{}
		if r.doubts.by[user] == nil {
			r.doubts.set(user, r.affords(user))
		}
	}
	r.mu.Unlock()
	rouse(r.wakeDoubts)
}

// conversationMoved has no answer from before trusted about a conversation, and gives what has
// everybody in it asked about. Unless how is moveLater settle waits for the answers, for maxMoveWait
// at most; nothing is told in the room before it has returned, since a message of the new tenant may
// come next. Who can't be asked about in that time is taken out of the room where it is certain that
// the conversation moved: he can enter it again when he can. Whatever came out is looked at once more
// by run. settle must be called.
func (r *rechecker) conversationMoved(id string, how moveKind) (settle func(context.Context)) {
	r.mu.Lock()
	r.b.authorizer.withdraw(room{conversationRoom, id}) // under the mutex, so that no epoch is taken for settled before its room is known here
	r.waiting++
	r.mu.Unlock()
	return func(ctx context.Context) {
		if how != moveLater {
			r.settleMove(ctx, id, how)
		}
		r.mu.Lock()
		r.waiting--
		if len(r.moved) < maxMoved {
			r.moved[id] = struct{}{}
		} else {
			r.all = true
		}
		r.mu.Unlock()
		rouse(r.wakeMoved)
	}
}

// settleMove takes those out of a conversation that moved who may not stay there.
func (r *rechecker) settleMove(ctx context.Context, id string, how moveKind) {
	if how == movePossible && ctx.Err() != nil {
		return // too many others are asked about: who is here is asked about beside the feed
	}
	ctx, cancel := context.WithTimeout(ctx, maxMoveWait)
	defer cancel()
	slots := make(chan struct{}, moveQuestions)
	var all sync.WaitGroup
	for _, s := range stepsIn(r.clients(), map[string]struct{}{id: {}}) {
		slots <- struct{}{}
		all.Go(func() {
			if decided := r.check(ctx, s, byMove, nil); !decided && how == moveCertain {
				for _, c := range s.clients {
					c.lose(room{s.kind, id}, byMove)
				}
			}
			<-slots
		})
	}
	all.Wait()
}

// occupied reports whether anybody is in a conversation's room.
func (b *Bridge) occupied(conversation string) bool {
	room := emit.RoomName(b.cfg().Rooms.Conversation, conversation)
	return slices.ContainsFunc(b.spaces, func(n *socketio.Namespace) bool {
		return len(n.Local().To(room).Sockets()) > 0
	})
}

// rulesChanged has everybody asked about, and no answer from before trusted. It never waits.
func (r *rechecker) rulesChanged() {
	r.mu.Lock()
	r.b.authorizer.withdrawAll()
	r.all = true
	r.mu.Unlock()
	rouse(r.wakeMoved)
	rouse(r.wakeTimer) // recheck_every may be another
}

// run looks after rights until ctx ends.
func (r *rechecker) run(ctx context.Context) {
	var workers sync.WaitGroup
	for _, work := range []func(context.Context){r.runTimer, r.runDoubts, r.runMoved} {
		workers.Go(func() { work(ctx) })
	}
	workers.Wait()
}

// rest waits until a time, or to be woken; the zero time never comes. It reports whether ctx goes
// on.
func rest(ctx context.Context, until time.Time, wake <-chan struct{}) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-due:
	}
	return ctx.Err() == nil
}

// runTimer asks about every user once in a round.
func (r *rechecker) runTimer(ctx context.Context) {
	var visited time.Time // when the last visit began
	sockets := 0          // that were asked about then
	for ctx.Err() == nil {
		next, round := r.nextVisit(visited, sockets)
		if next.IsZero() || time.Now().Before(next) {
			if !rest(ctx, next, r.wakeTimer) {
				return
			}
			continue
		}
		visited = time.Now()
		user, clients, asked := r.visit(visited)
		sockets = len(clients)
		decided := true
		for _, s := range stepsOf(clients) {
			decided = r.check(ctx, s, byTimer, r.pace) && decided
		}
		r.round.Set(time.Since(asked).Seconds())
		if !decided {
			r.visitAgain(user, visited.Add(-round*3/4))
		}
	}
}

// nextVisit gives the time of the timer's next visit, which is zero where there is none, and how
// long a round takes. That is three quarters of the interval: what comes in on a remembered answer
// (longestMemory), and the answer's own time, keep within the interval too. A visit has the part of
// the round that its user's sockets are of all, since each may have a token of its own to be asked
// with.
func (r *rechecker) nextVisit(visited time.Time, sockets int) (next time.Time, round time.Duration) {
	round = r.b.cfg().Rooms.Authorization.RecheckEvery * 3 / 4
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.timer.first()
	if round == 0 || first == nil {
		return time.Time{}, round
	}
	part := func(sockets int) time.Duration {
		return time.Duration(float64(round) * min(1, float64(sockets)/float64(len(r.here))))
	}
	next, latest := first.at.Add(part(len(r.users[first.user]))), first.at.Add(round)
	if after := visited.Add(part(sockets)); after.After(next) {
		next = after
	}
	if latest.Before(next) {
		next = latest
	}
	return next, round
}

// visit gives the user whose turn it is, with the clients and the time of the last visit, and notes
// that they are asked about now.
func (r *rechecker) visit(now time.Time) (user string, clients []*client, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.timer.first()
	if first == nil {
		return "", nil, now
	}
	user, asked = first.user, first.at
	r.timer.set(user, now)
	for c := range r.users[user] {
		c.checked = now
		clients = append(clients, c)
	}
	return user, clients, asked
}

// visitAgain has a user asked about again as if the last time had been another.
func (r *rechecker) visitAgain(user string, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer.by[user] != nil {
		r.timer.set(user, asked)
	}
}

// runDoubts asks about clients that have another token, of one user after the other.
func (r *rechecker) runDoubts(ctx context.Context) {
	begun := make(map[string][]*step) // what is left of a user's doubts
	for ctx.Err() == nil {
		user, at := r.nextDoubt()
		if at.IsZero() || time.Now().Before(at) {
			if !rest(ctx, at, r.wakeDoubts) {
				return
			}
			continue
		}
		steps := begun[user]
		if len(steps) == 0 {
			steps = inParts(stepsOf(r.takeDoubted(user)))
		}
		cost := 0
		if len(steps) > 0 {
			r.check(ctx, steps[0], byToken, func(ctx context.Context) error { cost++; return r.pace(ctx) })
			steps = steps[1:]
		}
		if begun[user] = steps; len(steps) == 0 {
			delete(begun, user)
		}
		r.charge(user, cost, len(steps) > 0)
	}
}

// nextDoubt gives the user whose doubts are due first, and when; the zero time where there are
// none.
func (r *rechecker) nextDoubt() (user string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.doubts.first(); first != nil {
		return first.user, first.at
	}
	return "", time.Time{}
}

func (r *rechecker) takeDoubted(user string) []*client {
	r.mu.Lock()
	defer r.mu.Unlock()
	clients := slices.Collect(maps.Keys(r.doubted[user]))
	delete(r.doubted, user)
	return clients
}

// doubtTime is how long it takes to make up for one question of a user's doubts.
func (r *rechecker) doubtTime() time.Duration {
	return time.Second / time.Duration(max(1, r.b.cfg().Rooms.Authorization.RecheckRate/doubtShare))
}

// affords gives the time from which a user's budget lets a doubt be asked about. The caller holds
// mu.
func (r *rechecker) affords(user string) time.Time {
	now := time.Now()
	if at := r.budgets[user].Add(-doubtBurst * r.doubtTime()); at.After(now) {
		return at
	}
	return now
}

// charge takes what was asked from a user's budget, and has what is left of the doubts asked about
// in its turn.
func (r *rechecker) charge(user string, cost int, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if cost > 0 {
		from := r.budgets[user]
		if from.Before(now) {
			from = now
		}
		r.budgets[user] = from.Add(time.Duration(cost) * r.doubtTime())
	}
	if len(r.budgets) > maxBudgets {
		maps.DeleteFunc(r.budgets, func(_ string, at time.Time) bool { return at.Before(now) })
	}
	if left || len(r.doubted[user]) > 0 {
		r.doubts.set(user, r.affords(user))
	} else {
		r.doubts.remove(user)
	}
}

// runMoved asks about everybody in conversations that moved.
func (r *rechecker) runMoved(ctx context.Context) {
	for ctx.Err() == nil {
		moved, all, epoch := r.takeMoved()
		if len(moved) == 0 && !all {
			if !rest(ctx, time.Time{}, r.wakeMoved) {
				return
			}
			continue
		}
		steps := stepsIn(r.clients(), moved)
		if all {
			steps = stepsOf(r.clients())
		}
		for _, s := range steps {
			r.check(ctx, s, byMove, r.pace)
		}
		r.settled.Store(epoch)
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

// step is a question, or a few, to be asked together: the rooms of one kind that the sockets of one token are in.
type step struct {
	who     *auth.Identity
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
		alone string // a room that is asked about alone, since its id may be spelled in another way than stored
	}
	var steps []*step
	by := make(map[key]*step)
	named := make(map[*step]map[string]struct{})
	for _, c := range clients {
		who := c.identity.Load()
		if !who.Verified || !time.Now().Before(who.Ends()) {
			continue // nothing to lose by the rules, or about to be disconnected
		}
		var held []string
		if conversations != nil {
			if held = c.conversations.among(conversations); len(held) == 0 {
				continue
			}
		}
		token := sha256.Sum256([]byte(who.Token))
		add := func(kind roomKind, alone string, ids []string) {
			if len(ids) == 0 {
				return
			}
			k := key{token, kind, alone}
			s := by[k]
			if s == nil {
				s = &step{who: who, kind: kind}
				by[k], named[s] = s, make(map[string]struct{})
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
		if conversations != nil {
			add(conversationRoom, "", held)
			continue
		}
		add(conversationRoom, "", c.conversations.all())
		add(tenantRoom, "", c.presentIn())
		if claimed := c.closedHome(); claimed != "" {
			add(tenantRoom, claimed, []string{claimed}) // the rules may let it in by now
		}
	}
	return steps
}

// inParts cuts steps into such as ask about no more rooms than fit into one question.
func inParts(steps []*step) (parts []*step) {
	for _, s := range steps {
		for ids := range slices.Chunk(s.ids, supabase.MaxIDs) {
			parts = append(parts, &step{who: s.who, kind: s.kind, ids: ids, clients: s.clients})
		}
	}
	return parts
}

// maxRenewed bounds how often a refusal is asked about again since the client has another token by
// now. Whoever renews it faster than questions are answered is held to the last one.
const maxRenewed = 2

// check asks about the rooms of a step, takes its sockets out of those that are not open any more,
// and has them count as present in a tenant that has become open. It reports whether all could be
// decided.
func (r *rechecker) check(ctx context.Context, s *step, reason string, pace pacing) (decided bool) {
	return r.checkRenewed(ctx, s, reason, pace, 0)
}

func (r *rechecker) checkRenewed(ctx context.Context, s *step, reason string, pace pacing, renewed int) (decided bool) {
	open, err := r.b.authorizer.stillOpen(ctx, s.who, s.kind, s.ids, pace)
	if err != nil && ctx.Err() == nil {
		r.b.log.Warn().Err(err).Str("user", s.who.UserID).Stringer("room", s.kind).Msg("whether a user may still be in rooms could not be decided")
	}
	decided = err == nil
	last := renewed == maxRenewed && time.Now().Before(s.who.Expires)
	again := make(map[string]*step) // by token
	var standing []*client
	for _, c := range s.clients {
		standing = append(standing, c.standIns()...)
	}
	for _, id := range s.ids {
		switch {
		case open[id] != "":
			r.checked.WithLabelValues(reason, "kept").Inc()
			if s.kind == tenantRoom {
				for _, c := range standing {
					if c.identity.Load().Token == s.who.Token {
						c.openHome(id, open[id])
					}
				}
			}
			continue
		case err != nil:
			r.checked.WithLabelValues(reason, "failed").Inc()
			continue
		}
		lost := false
		for _, c := range standing {
			who := c.identity.Load()
			if who.Token == s.who.Token || last {
				lost = c.lose(room{s.kind, id}, reason) || lost
				continue
			}
			t := again[who.Token]
			if t == nil {
				t = &step{who: who, kind: s.kind}
				again[who.Token] = t
			}
			if len(t.ids) == 0 || t.ids[len(t.ids)-1] != id {
				t.ids = append(t.ids, id)
			}
			if !slices.Contains(t.clients, c) {
				t.clients = append(t.clients, c)
			}
		}
		if lost {
			r.checked.WithLabelValues(reason, "lost").Inc()
		}
	}
	if renewed < maxRenewed {
		for _, t := range again {
			decided = r.checkRenewed(ctx, t, reason, pace, renewed+1) && decided
		}
	}
	return decided
}

// pacing is waited for before each question that goes out; nil where somebody waits for the answer.
type pacing = func(context.Context) error

// pace holds questions to the rate that is configured.
func (r *rechecker) pace(ctx context.Context) error {
	perSecond := r.b.cfg().Rooms.Authorization.RecheckRate
	r.limiter.SetLimit(rate.Limit(perSecond))
	r.limiter.SetBurst(perSecond)
	return r.limiter.Wait(ctx)
}

// stillOpen asks anew in which rooms a user may go on being, and gives those as stored by the ids
// that were asked about. Where there is an error, it is not known of the others.
func (a *authorizer) stillOpen(
	ctx context.Context, who *auth.Identity, kind roomKind, ids []string, pace pacing,
) (map[string]string, error) {
	if may, known := a.free(who); known {
		open := make(map[string]string, len(ids))
		for _, id := range ids {
			if may {
				open[id] = id
			}
		}
		return open, nil
	}
	epoch := a.now()
	q := &inquiry{who: who, kind: kind, pace: pace}
	q.tenants = func(ctx context.Context, who *auth.Identity, kind roomKind, id string) (string, error) {
		found, err := a.decide(ctx, &inquiry{who: who, kind: kind, pace: pace}, []string{id})
		if err == nil && found[id] == "" {
			err = errRefused
		}
		return found[id], err
	}
	open, err := a.decide(ctx, q, ids)
	for _, id := range ids {
		if open[id] == "" && err == nil {
			a.remember(a.question(who, kind, id), "", who.Ends(), epoch) // what was remembered is wrong
		}
	}
	return open, err
}

// failLost is told without having been asked for.
var failLost = failure{"access_lost", "you may not be in this room any more"}

// takeOver puts the client in the place of one whose connection was lost: whoever takes a right
// from that one from now on takes it from this one. It reports false where that one lost a right
// while this one came.
func (c *client) takeOver(before *client) bool {
	before.passing.Lock()
	defer before.passing.Unlock()
	c.resume(before)
	before.next = append(before.next, c)
	r := c.b.rechecker
	r.mu.Lock()
	c.checked = before.checked
	r.mu.Unlock()
	return !before.lost.Load()
}

// standIns are the clients that stand for this one by now: itself, unless recovery put others in
// its place.
func (c *client) standIns() []*client {
	c.passing.Lock()
	next := c.next
	c.passing.Unlock()
	if len(next) == 0 {
		return []*client{c}
	}
	var all []*client
	for _, n := range next {
		all = append(all, n.standIns()...)
	}
	return all
}

// lose takes the client out of a room that it may not be in any more, or the one that recovery put
// in its place. It reports whether it was there. It runs on the goroutine of the rechecker or of
// the feed, beside the client's own events: a join that is under way finds in confirm that the room
// was lost.
func (c *client) lose(r room, reason string) bool {
	template := c.b.cfg().Rooms.Conversation
	if r.kind == tenantRoom {
		template = c.b.cfg().Rooms.Tenant
	}
	next, joined := c.giveUp(r)
	if len(next) > 0 {
		was := false
		for _, n := range next {
			was = n.lose(r, reason) || was
		}
		if joined && !was { // the socket in its place may be in the room without knowing
			c.leave(emit.RoomName(template, r.id), wholeRoom(r.id))
		}
		return was || joined
	}
	if joined {
		c.leave(emit.RoomName(template, r.id), wholeRoom(r.id))
	}
	was := joined
	if r.kind == tenantRoom { // after it has left the room, or it would hear itself go
		was = c.loseTenant(r.id) || joined
	}
	if !joined {
		return was // a tenant that it had not joined told it nothing, so it need not be told that this ends
	}
	who := c.identity.Load()
	o := about(who, vocabulary.Failure, vocabulary.String("code", failLost.code), vocabulary.String("message", failLost.message))
	if r.kind == conversationRoom {
		c.types(vocabulary.NewID(r.id), who, false)
		o.Conversation = vocabulary.NewID(r.id)
		o.Fields = append(o.Fields, vocabulary.String("conversationId", r.id))
	} else {
		o.Tenant = vocabulary.NewID(r.id)
		o.Fields = append(o.Fields, vocabulary.String(c.b.words().TenantKey(), r.id))
	}
	c.b.log.Info().Str("socket", c.socket.ID()).Str("user", who.UserID).Stringer("room", r.kind).Str("id", r.id).Str("reason", reason).Msg("right lost")
	c.say(o)
	return true
}

// giveUp takes a room from the client. It gives those that recovery has put in its place, from which
// it is to be taken too.
func (c *client) giveUp(r room) (next []*client, joined bool) {
	c.passing.Lock()
	defer c.passing.Unlock()
	rooms := &c.conversations
	if r.kind == tenantRoom {
		rooms = &c.tenants
	}
	if _, joined = rooms.get(r.id); joined {
		c.lost.Store(true)
		joined = rooms.remove(r.id)
	}
	return c.next, joined
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
		c.leave(emit.RoomName(template, r.id), wholeRoom(r.id))
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
