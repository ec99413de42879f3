package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix"
)

// feedTopic is the channel the changes come by. Its connection carries nothing else: a refused join holds up a whole socket for seconds, and limits on
// broadcasts close channels.
const feedTopic = "supabridge:changes"

// feedQueue bounds the changes received and not yet routed. What does not fit is dropped and read by the cursor.
const feedQueue = 16384

// closeTimeout bounds the farewell to Realtime.
const closeTimeout = time.Second

// upstream is what a bridge follows: one client of Realtime with one channel, and the feed that makes it whole.
type upstream struct {
	client  *phoenix.Client
	channel *phoenix.Channel
	fast    *phoenix.Channel // of broadcasts from the database; nil where that is off
	feed    *feed.Feed
	over    context.Context // ends with the feed: who waits for it after that waits in vain
	end     context.CancelFunc
}

// newUpstream makes the feed of a project's changes. It connects to nothing yet.
func (b *Bridge) newUpstream() (*upstream, error) {
	client, err := dial(b.cfg().Supabase, b.metrics.upstream.hooks())
	if err != nil {
		return nil, err
	}
	u := &upstream{client: client}
	u.over, u.end = context.WithCancel(context.Background())
	tables := b.cfg().Tables
	changes := []phoenix.Binding{
		{Event: phoenix.All, Schema: b.cfg().Supabase.Schema, Table: tables.Messages.Name},
		{Event: phoenix.All, Schema: b.cfg().Supabase.Schema, Table: tables.Conversations.Name},
	}
	if tables.Notifications.Name != "" {
		changes = append(changes, phoenix.Binding{Event: phoenix.All, Schema: b.cfg().Supabase.Schema, Table: tables.Notifications.Name})
	}
	u.channel, err = client.Channel(feedTopic, phoenix.ChannelOptions{
		Changes: changes,
		Queue:   feedQueue,
	})
	if err != nil {
		u.close(context.Background())
		return nil, fmt.Errorf("bridge: channel %s: %w", feedTopic, err)
	}
	s := b.cfg().Supabase
	opts := feed.Options{
		Tables: []feed.Table{ // conversations first: they say where messages go
			{Name: tables.Conversations.Name, Key: tables.Conversations.ID, Updated: tables.Conversations.Updated, Created: tables.Conversations.Created},
			{Name: tables.Messages.Name, Key: tables.Messages.ID, Updated: tables.Messages.Updated, Created: tables.Messages.Created},
		},
		Reader: b.rows, Channel: u.channel, Sink: sink{b},
		Pace: pace(b.cfg()), Window: s.Feed.Window,
	}
	if n := tables.Notifications; n.Name != "" {
		opts.Tables = append(opts.Tables, feed.Table{Name: n.Name, Key: n.ID, Updated: n.Updated, Created: n.Created})
	}
	if s.FastLane != "off" {
		if u.fast, err = client.Channel(migration.Topic, phoenix.ChannelOptions{
			Private: true, Broadcast: phoenix.BroadcastOptions{ReplicationReady: true}, Queue: feedQueue,
		}); err != nil {
			u.close(context.Background())
			return nil, fmt.Errorf("bridge: channel %s: %w", migration.Topic, err)
		}
		opts.Fast, opts.FastSure = u.fast, s.FastLane == "on"
	}
	u.feed = feed.New(opts)
	b.router.holds.settled = u.feed.Settled
	return u, nil
}

func dial(s config.Supabase, hooks phoenix.Hooks) (*phoenix.Client, error) {
	version := phoenix.V2
	if s.VSN == phoenix.V1.String() {
		version = phoenix.V1
	}
	client, err := phoenix.NewClient(s.URL, phoenix.Options{
		APIKey:            s.ServiceRoleKey.Reveal(),
		Endpoint:          s.RealtimeURL,
		Version:           version,
		HeartbeatInterval: s.HeartbeatInterval,
		JoinTimeout:       s.JoinTimeout,
		Backoff:           phoenix.Backoff{Min: s.Reconnect.Min, Max: s.Reconnect.Max},
		Hooks:             hooks,
	})
	if err != nil {
		return nil, fmt.Errorf("bridge: realtime: %w", err)
	}
	return client, nil
}

// follow joins the channel and passes changes on until ctx ends. The client reconnects and rejoins by itself, for as long as that takes.
func (u *upstream) follow(ctx context.Context) error {
	defer u.end()
	if err := u.channel.Subscribe(ctx); err != nil {
		return fmt.Errorf("subscribe to %s: %w", feedTopic, err)
	}
	if u.fast != nil { // after the other: where it is refused the connection is held up for seconds
		if err := u.fast.Subscribe(ctx); err != nil {
			return fmt.Errorf("subscribe to %s: %w", migration.Topic, err)
		}
	}
	u.feed.Run(ctx)
	return nil
}

// primed waits until nothing that is committed from now on can be missed, for at most a while: nobody is let into a room before that.
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

// close leaves the channel and ends the client.
func (u *upstream) close(ctx context.Context) error {
	u.end()
	farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := u.client.Close(farewell); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("closing the connection to Realtime: %w", err)
	}
	return nil
}

// sink takes what comes out of the feed.
type sink struct{ b *Bridge }

// Change routes one change. It may wait for Supabase to name a conversation's tenant: changes keep their order.
func (s sink) Change(ctx context.Context, c feed.Change) {
	if s.b.webhooks != nil && s.b.webhooks.recognise(c) {
		return
	}
	ctx, span := s.b.traces.change(ctx, c)
	defer span.End()
	emitting, sent := s.b.traces.emit(ctx)
	s.b.router.route(emitting, c)
	sent.End()
	s.b.sawChange(c)
	s.b.metrics.changed(c, s.b.committed(c))
}

// datedWithin is how old a row's time of change may be to stand for its commit: a row that is brought in from elsewhere bears an older one.
const datedWithin = time.Minute

// committed is when a change was committed, by the database's clock. The fast lane doesn't tell; then it is the row's time of change, which is that of its transaction's beginning.
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
	if at := row.Time(c.Row.Text(column)); column != "" && time.Since(at) < datedWithin {
		return at
	}
	return time.Time{}
}

// Resync asks every browser to read its rooms anew.
func (s sink) Resync(since time.Time, reason string) { s.b.resync.request(since, reason) }

// State logs a state and tells it to every browser, and webhooks that wait for Supabase try again when it is there.
func (s sink) State(r feed.Report) {
	if s.b.webhooks != nil && (r.State == feed.Live || r.State == feed.Polling) {
		s.b.webhooks.rouse()
	}
	event := s.b.log.Info()
	if r.State == feed.Down || r.State == feed.Polling {
		event = s.b.log.Warn()
	}
	if r.Reason != "" {
		event = event.Str("reason", r.Reason)
	}
	event.Str("state", string(r.State)).Msg("feed")
	s.b.emitAll(s.b.cfg().Vocabulary.StatusEvent, statusPayload(r))
	s.b.sawFeed(r)
}

// NoColumn logs that a cursor column is configured which the table lacks.
func (s sink) NoColumn(table, column string) {
	s.b.log.Error().Str("table", table).Str("column", column).Msg("the table has no such column; changes that Realtime loses are found without it, as far as they can be")
}

// statusPayload tells a frontend's status light the truth.
func statusPayload(r feed.Report) json.RawMessage {
	return object("state", string(r.State), "since", r.Since.UTC().Format(time.RFC3339Nano), "lag_ms", r.Lag.Milliseconds())
}
