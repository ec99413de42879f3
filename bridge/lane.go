package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/phoenix"
)

// Times of the fast lane's verification.
const (
	laneVerifyEvery = 30 * time.Second // between two questions
	laneVerifyRetry = 5 * time.Second  // after one that was not answered, or a channel that could not be left or joined
	laneBelieved    = 5 * time.Minute  // how long an answer holds while no other can be had
)

// lane is the fast lane: broadcasts from the database on a private channel. What comes by it goes
// to browsers as it is, so it is believed only while the database says that nobody else may
// broadcast there. The bridge asks that before it joins, and again and again: an application may
// drop the policy that guards the channel. Until then, and once the answer is no, it isn't on the
// channel at all; changes come by postgres_changes and by reads, as without the migration.
//
// What happens between two questions can't do harm: whoever wants to broadcast on the channel, or
// hear it, must know its name, which is random and told to the service role alone. A token in each
// payload would not do: who hears the channel would know it. A signature of each payload would need
// the bytes to arrive as they were sent, and would let everybody read on.
//
// One goroutine, from start to close, owns the channel.
type lane struct {
	b      *Bridge
	client *phoenix.Client
	events chan phoenix.Event
	cancel context.CancelFunc // nil before start
	done   chan struct{}

	// Owned by the goroutine.
	channel  *phoenix.Channel // nil while it is not joined
	topic    string           // of channel
	asking   bool
	verified time.Time // when the answer was last yes
}

func newLane(b *Bridge, client *phoenix.Client) *lane {
	return &lane{b: b, client: client, events: make(chan phoenix.Event, passedOn), done: make(chan struct{})}
}

// Events implements feed.Lane.
func (l *lane) Events() <-chan phoenix.Event { return l.events }

// start begins to verify the lane, and to hear it. ctx bounds both.
func (l *lane) start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	go func() {
		defer close(l.done)
		defer close(l.events)
		l.run(ctx)
	}()
}

// close ends it, and waits for that.
func (l *lane) close() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
}

// laneAnswer is what came of a question.
type laneAnswer struct {
	lane migration.Lane
	err  error
}

func (l *lane) run(ctx context.Context) {
	answers := make(chan laneAnswer, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ask := func() {
		if l.asking {
			return
		}
		l.asking = true
		asking.Go(func() { // broadcasts don't wait for it
			var a laneAnswer
			a.lane, a.err = l.b.askLane(ctx)
			answers <- a
		})
	}
	for {
		var events <-chan phoenix.Event
		if l.channel != nil {
			events = l.channel.Events()
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			ask()
		case <-l.b.lane.again:
			ask()
		case a := <-answers:
			l.asking = false
			timer.Reset(l.judge(ctx, a))
		case e, open := <-events:
			if !open {
				l.channel = nil // the client has ended
				continue
			}
			l.pass(ctx, e)
		}
	}
}

// judge acts on an answer, and returns when to ask again.
func (l *lane) judge(ctx context.Context, a laneAnswer) time.Duration {
	switch {
	case ctx.Err() != nil:
		return laneVerifyEvery
	case a.err == nil:
		l.verified = time.Now()
		l.b.lane.found(laneState{verified: true, tables: a.lane.Tables})
		return l.join(ctx, a.lane.Topic)
	case unanswered(a.err):
		if time.Since(l.verified) > laneBelieved {
			l.b.lane.found(laneState{reason: a.err.Error(), unknown: true})
			l.leave(ctx, "the fast lane could not be verified")
		}
		return laneVerifyRetry
	}
	l.verified = time.Time{}
	l.b.lane.found(laneState{reason: a.err.Error(), absent: errors.Is(a.err, errNoLane)})
	l.leave(ctx, "the fast lane is not guarded")
	return laneVerifyEvery
}

// join has the channel be the one of this topic.
func (l *lane) join(ctx context.Context, topic string) time.Duration {
	if l.channel != nil && l.topic == topic {
		return laneVerifyEvery
	}
	l.leave(ctx, "the fast lane has another channel")
	channel, err := l.client.Channel(topic, phoenix.ChannelOptions{
		Private: true, Broadcast: phoenix.BroadcastOptions{ReplicationReady: true}, Queue: feedQueue,
	})
	if err == nil {
		err = channel.Subscribe(ctx)
	}
	if err != nil { // it is being left yet, or the client has ended
		return laneVerifyRetry
	}
	l.channel, l.topic = channel, topic
	return laneVerifyEvery
}

// leave gives the channel up, and what it brought that was not passed on yet.
func (l *lane) leave(ctx context.Context, reason string) {
	if l.channel == nil {
		return
	}
	channel := l.channel
	l.channel = nil
	since := time.Now()
	farewell, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	_ = channel.Leave(farewell) // it is closed here in any case
	l.pass(ctx, &phoenix.Gap{Since: since, Reason: phoenix.GapReason(reason)})
}

// pass hands an event to the feed. Its errors must not name the channel: they are logged.
func (l *lane) pass(ctx context.Context, e phoenix.Event) {
	if lost, ok := e.(*phoenix.Lost); ok {
		e = &phoenix.Lost{Err: errors.New(strings.ReplaceAll(lost.Err.Error(), l.topic, migration.Topic))}
	}
	select {
	case l.events <- e:
	case <-ctx.Done():
	}
}

// errNoLane: the database has no fast lane, or that of an older version.
var errNoLane = errors.New("the function " + migration.LaneFunction + " is not in the database")

// unanswered reports whether a question failed in a way that says nothing of the lane.
func unanswered(err error) bool {
	failed, ok := supabase.AsError(err)
	return ok && (failed.Class == supabase.ClassRetry || failed.Class == supabase.ClassSlow)
}

// askLane asks the database whether the fast lane may be believed. The error says why not.
func (b *Bridge) askLane(ctx context.Context) (migration.Lane, error) {
	var lane migration.Lane
	tables := b.followedTables()
	text, err := b.rows.Call(
		ctx,
		migration.LaneFunction,
		map[string]any{"schema": b.cfg().Supabase.Schema, "tables": tables},
	)
	if failed, ok := supabase.AsError(err); ok && failed.Status == 404 {
		return lane, errNoLane
	}
	if err != nil {
		return lane, err
	}
	if err := json.Unmarshal(text, &lane); err != nil {
		lane = migration.Lane{} // which says that it can't be read
	}
	if reason := lane.Unguarded(); reason != "" {
		return lane, errors.New(reason)
	}
	// With "on" the lane is trusted to bring the changes of every table, also while nothing else does.
	if missing := lane.Without(tables); len(missing) == len(tables) ||
		len(missing) > 0 && b.cfg().Supabase.FastLane == "on" {
		return lane, fmt.Errorf(
			"the trigger supabridge_broadcast is missing, disabled or altered on %s",
			strings.Join(missing, ", "),
		)
	}
	return lane, nil
}

// followedTables are those whose changes are passed on.
func (b *Bridge) followedTables() []string {
	t := b.cfg().Tables
	tables := []string{t.Conversations.Name, t.Messages.Name}
	if t.Notifications.Name != "" {
		tables = append(tables, t.Notifications.Name)
	}
	return tables
}

// laneState is what is known of the fast lane.
type laneState struct {
	verified bool
	absent   bool // there is none in the database
	unknown  bool // it could not be asked
	reason   string
	tables   []string // that have its trigger
}

// laneWatch tells those who run the daemon how the fast lane stands.
type laneWatch struct {
	b     *Bridge
	again chan struct{} // holds one where the lane is to be verified at once

	mu   sync.Mutex // guards now
	now  laneState
	gone bool // now was set
}

func newLaneWatch(b *Bridge) *laneWatch { return &laneWatch{b: b, again: make(chan struct{}, 1)} }

// verify has the lane verified soon.
func (w *laneWatch) verify() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// found notes how the lane stands, and logs it where that has changed.
func (w *laneWatch) found(s laneState) {
	w.mu.Lock()
	same := w.gone && s.verified == w.now.verified && s.reason == w.now.reason &&
		strings.Join(s.tables, "\n") == strings.Join(w.now.tables, "\n")
	w.now, w.gone = s, true
	w.mu.Unlock()
	if same {
		return
	}
	const mend = `supabridge sql | psql "$DATABASE_URL"`
	log := &w.b.log
	switch on := w.b.cfg().Supabase.FastLane == "on"; {
	case s.verified:
		event := log.Info()
		if missing := (migration.Lane{Tables: s.tables}).Without(w.b.followedTables()); len(missing) > 0 {
			event = log.Warn().Strs("without", missing).Str("mend", mend)
		}
		event.Msg("the fast lane is verified")
	case s.absent && !on:
		log.Info().
			Str("reason", s.reason).
			Str("install", mend).
			Msg("the fast lane is not used (supabase.fast_lane): the database has none, or that of an older version")
	case s.unknown:
		log.Warn().
			Str("reason", s.reason).
			Msg("the fast lane is not used: the database could not be asked whether it is guarded (supabase.fast_lane)")
	default:
		log.Error().
			Str("reason", s.reason).
			Str("mend", mend).
			Msg("the fast lane is not used: it is not verified (supabase.fast_lane)")
	}
}

// verified reports whether the lane is believed.
func (w *laneWatch) verified() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now.verified
}

// watch registers the metric.
func (w *laneWatch) watch(registry prometheus.Registerer) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "supabridge", Name: "fast_lane_verified",
		Help: "1 while the database says that nobody else may broadcast on the fast lane, which is used only then (supabase.fast_lane); of the node that hears Realtime."},
		func() float64 {
			if w.verified() {
				return 1
			}
			return 0
		}))
}
