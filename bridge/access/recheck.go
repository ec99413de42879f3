package access

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// The reasons for which rights are asked about again.
const (
	byTimer = "timer" // rooms.authorization.recheck_every
	byToken = "token" // the client has another one
	byMove  = "moved" // the conversation has another tenant, or is no more, or the rules are others
)

// Rechecker takes sessions out of rooms that their users may not be in any more. It asks again
// about every room of every user within recheck_every, about the rooms of a session that has
// another token, and about everybody in a conversation that moved to another tenant.
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
type Rechecker struct {
	authorizer *Authorizer
	log        zerolog.Logger
	limiter    *rate.Limiter

	mu      sync.Mutex
	here    map[Session]string              // sessions until they are gone, and their users
	users   map[string]map[Session]struct{} // the same by user
	timer   *agenda                         // the users, by when they were asked about
	doubted map[string]map[Session]struct{} // sessions that have another token, by user
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

// Bounds of looking at a conversation that moved: how long its room waits, and how many questions
// are asked at once.
const (
	MaxMoveWait   = 2 * time.Second
	moveQuestions = 8
)

// maxMoved bounds the moved conversations that wait to be looked at. Beyond it everybody is asked
// about.
const maxMoved = 10_000

// Bounds of what the doubts about one user may cost.
const (
	doubtShare = 10     // of recheck_rate a user has this part, at least one question a second
	doubtBurst = 4      // questions beyond that, after a while without
	maxBudgets = 10_000 // with more of them those that are made up for are forgotten
)

// NewRechecker makes a Rechecker, which registers its metrics.
func NewRechecker(a *Authorizer, registry prometheus.Registerer, log zerolog.Logger) *Rechecker {
	wake := func() chan struct{} { return make(chan struct{}, 1) }
	r := &Rechecker{
		authorizer: a, log: log, limiter: rate.NewLimiter(1, 1),
		here: make(map[Session]string), users: make(map[string]map[Session]struct{}), timer: newAgenda(),
		doubted: make(map[string]map[Session]struct{}), doubts: newAgenda(), budgets: make(map[string]time.Time),
		moved: make(map[string]struct{}), wakeTimer: wake(), wakeDoubts: wake(), wakeMoved: wake(),
	}
	r.checked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rights_checked_total",
		Help: "Rooms of sockets that were asked about again, by reason (timer, token, moved) " +
			"and result (kept, lost, failed)."}, []string{"reason", "result"})
	r.round = prometheus.NewGauge(prometheus.GaugeOpts{Name: "rights_round_seconds",
		Help: "How long ago the rights of the user whom the timer looked at last had been asked about before; " +
			"more than rooms.authorization.recheck_every where there is more to ask than recheck_rate lets."})
	registry.MustRegister(r.checked, r.round)
	return r
}

// Watch looks after a session from now on, as one of the user it belongs to by now. It may be
// called again, where that is another user. The user's turn comes no later than it would for the
// session that this one has taken over from.
func (r *Rechecker) Watch(c Session) {
	user := c.Identity().UserID
	checked := c.Checked()
	r.mu.Lock()
	r.drop(c)
	r.here[c] = user
	if r.users[user] == nil {
		r.users[user] = make(map[Session]struct{}, 1)
	}
	r.users[user][c] = struct{}{}
	if checked.at.IsZero() {
		checked.at = time.Now()
	}
	if d := r.timer.by[user]; d == nil || checked.at.Before(d.at) {
		r.timer.set(user, checked.at)
	}
	r.mu.Unlock()
	rouse(r.wakeTimer)
}

// TakeOver has a session that is not watched yet go on with the time at which another's rights were
// asked about last, since it takes over the rooms of that one.
func (r *Rechecker) TakeOver(c, before Session) {
	to, from := c.Checked(), before.Checked()
	r.mu.Lock()
	defer r.mu.Unlock()
	*to = *from
}

// Forget ends what Watch began.
func (r *Rechecker) Forget(c Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(c)
}

// drop is Forget for a caller that holds mu.
func (r *Rechecker) drop(c Session) {
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

// sessions gives those that are here.
func (r *Rechecker) sessions() []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.here))
}

// Recheck has a session's rooms asked about soon. It never waits.
func (r *Rechecker) Recheck(c Session) {
	r.mu.Lock()
	user, ok := r.here[c]
	if ok {
		if r.doubted[user] == nil {
			r.doubted[user] = make(map[Session]struct{}, 1)
		}
		r.doubted[user][c] = struct{}{}
		if r.doubts.by[user] == nil {
			r.doubts.set(user, r.affords(user))
		}
	}
	r.mu.Unlock()
	rouse(r.wakeDoubts)
}

// Move says how it is looked who may stay in the room of a conversation that moved.
type Move uint8

// How it is looked.
const (
	MoveLater    Move = iota // beside the feed: what comes next is emitted meanwhile
	MovePossible             // its room waits; a session that can't be asked about stays, and is asked about again
	MoveCertain              // its room waits; a session that can't be asked about is taken out
)

// ConversationMoved withdraws the answers about a conversation, and returns a function that has
// everybody in it asked about. The caller must call settle.
//
// Unless how is MoveLater, settle waits for the answers, for MaxMoveWait at most. The caller emits
// nothing in the room before settle has returned, since a message of the new tenant may come next.
// With MoveCertain a session that can't be asked about in that time is taken out of the room, and
// may enter it again later. Run looks at the conversation once more in any case.
func (r *Rechecker) ConversationMoved(id string, how Move) (settle func(context.Context)) {
	r.mu.Lock()
	// Under the mutex, so that no epoch is taken for settled before its room is known here.
	r.authorizer.withdraw(Room{ConversationRoom, id})
	r.waiting++
	r.mu.Unlock()
	return func(ctx context.Context) {
		if how != MoveLater {
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

// settleMove takes sessions that may not stay out of a conversation that moved.
func (r *Rechecker) settleMove(ctx context.Context, id string, how Move) {
	if how == MovePossible && ctx.Err() != nil {
		return // too many others are asked about: who is here is asked about beside the feed
	}
	ctx, cancel := context.WithTimeout(ctx, MaxMoveWait)
	defer cancel()
	slots := make(chan struct{}, moveQuestions)
	var all sync.WaitGroup
	for _, s := range stepsIn(r.sessions(), map[string]struct{}{id: {}}) {
		slots <- struct{}{}
		all.Go(func() {
			if decided := r.check(ctx, s, byMove, nil); !decided && how == MoveCertain {
				for _, c := range s.sessions {
					c.Evict(Room{s.kind, id}, byMove)
				}
			}
			<-slots
		})
	}
	all.Wait()
}

// RulesChanged withdraws all answers, and has everybody asked about. It never waits. Call it after
// Authorizer.Update with other rules.
func (r *Rechecker) RulesChanged() {
	r.mu.Lock()
	r.authorizer.withdrawAll()
	r.all = true
	r.mu.Unlock()
	rouse(r.wakeMoved)
	rouse(r.wakeTimer) // recheck_every may be another
}

// Settled is the epoch up to which everything that moved was looked at, whichever sessions were
// here then.
func (r *Rechecker) Settled() uint64 { return r.settled.Load() }

// Run looks after rights until ctx ends.
func (r *Rechecker) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for _, work := range []func(context.Context){r.runTimer, r.runDoubts, r.runMoved} {
		workers.Go(func() { work(ctx) })
	}
	workers.Wait()
}

// rouse wakes a goroutine that waits on a channel that holds one.
func rouse(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it has been roused already
	}
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
func (r *Rechecker) runTimer(ctx context.Context) {
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
		user, sessions, asked := r.visit(visited)
		sockets = len(sessions)
		decided := true
		for _, s := range stepsOf(sessions) {
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
func (r *Rechecker) nextVisit(visited time.Time, sockets int) (next time.Time, round time.Duration) {
	round = r.authorizer.settings.Load().RecheckEvery * 3 / 4
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

// visit gives the user whose turn it is, with the sessions and the time of the last visit, and
// notes that they are asked about now.
func (r *Rechecker) visit(now time.Time) (user string, sessions []Session, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.timer.first()
	if first == nil {
		return "", nil, now
	}
	user, asked = first.user, first.at
	r.timer.set(user, now)
	for c := range r.users[user] {
		c.Checked().at = now
		sessions = append(sessions, c)
	}
	return user, sessions, asked
}

// visitAgain has a user asked about again as if the last time had been another.
func (r *Rechecker) visitAgain(user string, asked time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer.by[user] != nil {
		r.timer.set(user, asked)
	}
}

// runDoubts asks about sessions that have another token, of one user after the other.
func (r *Rechecker) runDoubts(ctx context.Context) {
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
func (r *Rechecker) nextDoubt() (user string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.doubts.first(); first != nil {
		return first.user, first.at
	}
	return "", time.Time{}
}

func (r *Rechecker) takeDoubted(user string) []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	sessions := slices.Collect(maps.Keys(r.doubted[user]))
	delete(r.doubted, user)
	return sessions
}

// doubtTime is how long it takes to make up for one question of a user's doubts.
func (r *Rechecker) doubtTime() time.Duration {
	return time.Second / time.Duration(max(1, r.authorizer.settings.Load().RecheckRate/doubtShare))
}

// affords gives the time from which a user's budget lets a doubt be asked about. The caller holds
// mu.
func (r *Rechecker) affords(user string) time.Time {
	now := time.Now()
	if at := r.budgets[user].Add(-doubtBurst * r.doubtTime()); at.After(now) {
		return at
	}
	return now
}

// charge takes what was asked from a user's budget, and has what is left of the doubts asked about
// in its turn.
func (r *Rechecker) charge(user string, cost int, left bool) {
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
func (r *Rechecker) runMoved(ctx context.Context) {
	for ctx.Err() == nil {
		moved, all, epoch := r.takeMoved()
		if len(moved) == 0 && !all {
			if !rest(ctx, time.Time{}, r.wakeMoved) {
				return
			}
			continue
		}
		steps := stepsIn(r.sessions(), moved)
		if all {
			steps = stepsOf(r.sessions())
		}
		for _, s := range steps {
			r.check(ctx, s, byMove, r.pace)
		}
		r.settled.Store(epoch)
	}
}

// takeMoved gives the conversations that moved up to an epoch; all says that everybody is to be
// asked about.
func (r *Rechecker) takeMoved() (moved map[string]struct{}, all bool, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved, all = r.moved, r.all
	r.moved, r.all = make(map[string]struct{}), false
	if epoch = r.settled.Load(); r.waiting == 0 {
		epoch = r.authorizer.Epoch()
	}
	return moved, all, epoch
}

// step is a question, or a few, to be asked together: the rooms of one kind that the sessions of
// one token are in.
type step struct {
	who      *auth.Identity
	kind     RoomKind
	ids      []string
	sessions []Session
}

// stepsOf makes the steps for all rooms of some sessions.
func stepsOf(sessions []Session) []*step { return stepsIn(sessions, nil) }

// stepsIn makes those for some of their conversations; nil for all rooms.
func stepsIn(sessions []Session, conversations map[string]struct{}) []*step {
	type key struct {
		token [sha256.Size]byte
		kind  RoomKind
		alone string // a room that is asked about alone, since its id may be spelled otherwise than stored
	}
	var steps []*step
	by := make(map[key]*step)
	named := make(map[*step]map[string]struct{})
	for _, c := range sessions {
		who := c.Identity()
		if !who.Verified || !time.Now().Before(who.Ends()) {
			continue // nothing to lose by the rules, or about to be disconnected
		}
		var held []string
		if conversations != nil {
			if held = c.Rooms(ConversationRoom, conversations); len(held) == 0 {
				continue
			}
		}
		token := sha256.Sum256([]byte(who.Token))
		add := func(kind RoomKind, alone string, ids []string) {
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
			s.sessions = append(s.sessions, c)
			for _, id := range ids {
				if _, there := named[s][id]; !there {
					named[s][id] = struct{}{}
					s.ids = append(s.ids, id)
				}
			}
		}
		if conversations != nil {
			add(ConversationRoom, "", held)
			continue
		}
		add(ConversationRoom, "", c.Rooms(ConversationRoom, nil))
		add(TenantRoom, "", c.Rooms(TenantRoom, nil))
		if claimed := c.ClaimedTenant(); claimed != "" {
			add(TenantRoom, claimed, []string{claimed}) // the rules may let it in by now
		}
	}
	return steps
}

// inParts cuts steps into steps that ask about no more rooms than fit into one question.
func inParts(steps []*step) (parts []*step) {
	for _, s := range steps {
		for ids := range slices.Chunk(s.ids, supabase.MaxIDs) {
			parts = append(parts, &step{who: s.who, kind: s.kind, ids: ids, sessions: s.sessions})
		}
	}
	return parts
}

// maxRenewed bounds how often a refusal is asked about again since the session has another token by
// now. A client that renews it faster than questions are answered is held to the last one.
const maxRenewed = 2

// check asks about the rooms of a step, takes its sessions out of those that are not open any more,
// and lets them into a tenant that has become open. It reports whether all could be decided.
func (r *Rechecker) check(ctx context.Context, s *step, reason string, pace pacing) (decided bool) {
	return r.checkRenewed(ctx, s, reason, pace, 0)
}

func (r *Rechecker) checkRenewed(
	ctx context.Context, s *step, reason string, pace pacing, renewed int,
) (decided bool) {
	open, err := r.authorizer.stillOpen(ctx, s.who, s.kind, s.ids, pace)
	if err != nil && ctx.Err() == nil {
		r.log.Warn().Err(err).Str("user", s.who.UserID).Stringer("room", s.kind).
			Msg("whether a user may still be in rooms could not be decided")
	}
	decided = err == nil
	last := renewed == maxRenewed && time.Now().Before(s.who.Expires)
	again := make(map[string]*step) // by token
	var current []Session
	for _, c := range s.sessions {
		current = append(current, c.Current()...)
	}
	for _, id := range s.ids {
		switch {
		case open[id] != "":
			r.checked.WithLabelValues(reason, "kept").Inc()
			if s.kind == TenantRoom {
				for _, c := range current {
					if c.Identity().Token == s.who.Token {
						c.OpenTenant(id, open[id])
					}
				}
			}
			continue
		case err != nil:
			r.checked.WithLabelValues(reason, "failed").Inc()
			continue
		}
		lost := false
		for _, c := range current {
			who := c.Identity()
			if who.Token == s.who.Token || last {
				lost = c.Evict(Room{s.kind, id}, reason) || lost
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
			if !slices.Contains(t.sessions, c) {
				t.sessions = append(t.sessions, c)
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

// pace holds questions to the rate that is configured.
func (r *Rechecker) pace(ctx context.Context) error {
	perSecond := r.authorizer.settings.Load().RecheckRate
	r.limiter.SetLimit(rate.Limit(perSecond))
	r.limiter.SetBurst(perSecond)
	return r.limiter.Wait(ctx)
}

// stillOpen asks anew in which rooms a user may go on being, and gives those as stored by the ids
// that were asked about. Where there is an error, it is not known of the others.
func (a *Authorizer) stillOpen(
	ctx context.Context, who *auth.Identity, kind RoomKind, ids []string, pace pacing,
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
	epoch := a.Epoch()
	q := &inquiry{who: who, kind: kind, pace: pace}
	q.tenants = func(ctx context.Context, who *auth.Identity, kind RoomKind, id string) (string, error) {
		found, err := a.decide(ctx, &inquiry{who: who, kind: kind, pace: pace}, []string{id})
		if err == nil && found[id] == "" {
			err = ErrRefused
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
