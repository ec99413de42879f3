package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
)

// upstream is what a bridge follows: Realtime, by a connection of its own or by the node that
// leads, and the feed that makes it whole.
type upstream struct {
	source  *source // of this node's own, always; nil where the leader alone has one, or another node does
	feed    *feed.Feed
	waiting *waiting        // changes that the feed has passed on and that are not told yet
	over    context.Context // ends with the feed: who waits for it after that waits in vain
	end     context.CancelFunc
}

// newUpstream makes the feed of a project's changes. It connects to nothing yet.
func (b *Bridge) newUpstream() (_ *upstream, err error) {
	u := &upstream{}
	u.over, u.end = context.WithCancel(context.Background())
	s, tables := b.cfg().Supabase, b.cfg().Tables
	opts := feed.Options{
		Tables: []feed.Table{ // conversations first: they say where messages go
			{
				Name:    tables.Conversations.Name,
				Key:     tables.Conversations.ID,
				Updated: tables.Conversations.Updated,
				Created: tables.Conversations.Created,
				Group:   tables.Conversations.ID,
			},
			{
				Name:    tables.Messages.Name,
				Key:     tables.Messages.ID,
				Updated: tables.Messages.Updated,
				Created: tables.Messages.Created,
				Group:   tables.Messages.Conversation,
			},
		},
		Reader: b.rows, Sink: sink{b}, Pace: pace(b.cfg()), Window: s.Feed.Window, FastSure: s.FastLane == "on",
	}
	if n := tables.Notifications; n.Name != "" {
		opts.Tables = append(
			opts.Tables,
			feed.Table{Name: n.Name, Key: n.ID, Updated: n.Updated, Created: n.Created, Group: n.Conversation},
		)
	}
	if x := b.cluster.Changes(); x != nil {
		opts.Channel, opts.Bus = &b.realtime.main, x.Events()
		if b.realtime.fast != nil {
			opts.Fast = b.realtime.fast
		}
	} else {
		if u.source, err = b.newSource(); err != nil {
			u.end()
			return nil, err
		}
		opts.Channel = u.source.channel
		if u.source.fast != nil {
			opts.Fast = u.source.fast
		}
	}
	u.feed = feed.New(opts)
	w := b.router.waiting
	b.router.holds.settled = func(instant, version time.Time) bool {
		return w.count == 0 && u.feed.Settled(instant,
			version)
	}
	b.router.holds.now = u.feed.Now
	u.waiting, w.deliver, w.late = w, sink{b}.deliver, b.toldLate
	return u, nil
}

// follow passes changes on until ctx ends. Where this node hears Realtime for itself, the client
// reconnects and rejoins by itself, for as long as that takes.
func (u *upstream) follow(ctx context.Context) error {
	defer u.end()
	if u.source != nil {
		if err := u.source.subscribe(ctx); err != nil {
			return err
		}
	}
	pumping, stop := context.WithCancel(context.Background())
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		u.waiting.pump(pumping, u.feed.Do)
	}()
	feeding, ended := context.WithCancel(ctx)
	u.feed.Run(feeding)
	ended()
	stop()
	<-pumped
	u.waiting.end()
	return nil
}

// primed waits until nothing that is committed from now on can be missed, for at most a while:
// nobody is let into a room before that.
func (u *upstream) primed(ctx context.Context, wait time.Duration) error {
	select {
	case <-u.feed.Primed():
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case <-u.feed.Primed():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-u.over.Done():
		return u.over.Err()
	}
}

// close ends the connection.
func (u *upstream) close(ctx context.Context) error {
	u.end()
	if u.source == nil {
		return nil
	}
	return u.source.close(ctx)
}

// sink takes what comes out of the feed.
type sink struct{ b *Bridge }

// Change takes one change, which is told at once or waits for its turn in its rooms.
func (s sink) Change(ctx context.Context, c feed.Change) { s.b.router.waiting.take(ctx, c) }

// toldLate notes that a change is going to be told after later ones: where the leader told it in
// its place, nobody who comes from another node is recovered across that.
func (b *Bridge) toldLate(c feed.Change) {
	if c.Place != (feed.Place{}) {
		b.passed(feed.Place{})
	}
}

// deliver tells of one change, and the other nodes where this one leads.
func (s sink) deliver(ctx context.Context, c feed.Change) {
	if c.Place == (feed.Place{}) {
		c.Place = s.b.cluster.Changes().PassOn(c)
	}
	defer s.b.passed(c.Place)
	if s.b.webhooks.Recognise(c) {
		s.b.router.learn(c)
		return
	}
	ctx, span := s.b.traces.Change(ctx, c)
	defer span.End()
	emitting, sent := s.b.traces.Emit(ctx)
	s.b.router.route(emitting, c)
	sent.End()
	s.b.sawChange(c)
	s.b.metrics.changes.Sent(c, s.b.committed(c))
}

// datedWithin is how far a row's time of change may be from now to stand for its commit: a row that
// is brought in from elsewhere bears an older one, one dated by a wrong clock a younger one.
const datedWithin = time.Minute

// committed is when a change was committed, by the database's clock. The fast lane doesn't tell;
// then it is the row's time of change, which is that of its transaction's beginning.
func (b *Bridge) committed(c feed.Change) time.Time {
	if !c.Commit.IsZero() || c.Action == feed.Delete {
		return c.Commit
	}
	t := b.cfg().Tables
	var column string
	switch c.Table {
	case t.Messages.Name:
		column = cmp.Or(t.Messages.Updated, t.Messages.Created)
	case t.Conversations.Name:
		column = cmp.Or(t.Conversations.Updated, t.Conversations.Created)
	}
	if at := row.Time(c.Row.Text(column)); column != "" && time.Since(at).Abs() < datedWithin {
		return at
	}
	return time.Time{}
}

// Resync asks every browser to read its rooms anew.
func (s sink) Resync(since time.Time, reason string) {
	s.b.cluster.Changes().PassOnResync(since, reason)
	s.b.resync.request(since, reason)
}

// State logs a state and tells it to every browser, and webhooks that wait for Supabase try again
// when it is there.
func (s sink) State(r feed.Report) {
	if r.State == feed.Live || r.State == feed.Polling {
		s.b.webhooks.Rouse()
	}
	event := s.b.log.Info()
	if r.State == feed.Down || r.State == feed.Polling {
		event = s.b.log.Warn()
	}
	if r.Reason != "" {
		event = event.Str("reason", r.Reason)
	}
	event.Str("state", string(r.State)).Msg("feed")
	s.b.emitter.Everybody(s.b.cfg().Vocabulary.StatusEvent, statusPayload(r))
	s.b.sawFeed(r)
	s.b.cluster.Changes().Mark()
}

// Again tells other nodes of a row.
func (s sink) Again(_ context.Context, c feed.Change) {
	if p := s.b.cluster.Changes().PassOn(c); p != (feed.Place{}) {
		s.b.passed(p)
	}
}

// Differs has nobody who comes from another node recovered across what is not the same here.
func (s sink) Differs(p feed.Place) {
	s.b.unlike()
	if p != (feed.Place{}) {
		s.b.passed(p)
	}
}

// NotUnique stops the bridge.
func (s sink) NotUnique(table, key string) {
	s.b.log.Error().Str("table", table).Str("id", key).Msg("two rows have the same key")
	s.b.keys.evidence(table)
}

// NoColumn logs that a cursor column is configured which the table lacks.
func (s sink) NoColumn(table, column string) {
	s.b.log.Error().
		Str("table", table).
		Str("column", column).
		Msg("the table has no such column; changes that Realtime loses are found without it, as far as they can be")
}

// statusPayload tells a frontend's status light the truth.
func statusPayload(r feed.Report) json.RawMessage {
	return object(
		"state",
		string(r.State),
		"since",
		r.Since.UTC().Format(time.RFC3339Nano),
		"lag_ms",
		r.Lag.Milliseconds(),
	)
}
