package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// feedTopic is the channel the changes come by. Its connection carries nothing else: a refused join holds up a whole socket for seconds, and limits on
// broadcasts close channels.
const feedTopic = "supabridge:changes"

// feedQueue bounds the changes received and not yet routed.
const feedQueue = 16384

// closeTimeout bounds the farewell to Realtime.
const closeTimeout = time.Second

// follow joins the feed and routes its changes until ctx ends. The client reconnects and rejoins by itself, for as long as that takes.
func (b *Bridge) follow(ctx context.Context) error {
	client, err := b.dial()
	if err != nil {
		return err
	}
	defer func() {
		farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := client.Close(farewell); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			b.log.Warn().Err(err).Msg("closing the connection to Realtime")
		}
	}()
	channel, err := client.Channel(feedTopic, phoenix.ChannelOptions{
		Changes: []phoenix.Binding{
			{Event: phoenix.All, Schema: b.cfg.Supabase.Schema, Table: b.cfg.Tables.Messages.Name},
			{Event: phoenix.All, Schema: b.cfg.Supabase.Schema, Table: b.cfg.Tables.Conversations.Name},
		},
		Queue: feedQueue,
	})
	if err != nil {
		return fmt.Errorf("channel %s: %w", feedTopic, err)
	}
	if err := channel.Subscribe(ctx); err != nil {
		return fmt.Errorf("subscribe to %s: %w", feedTopic, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-channel.Events():
			if !open {
				return nil
			}
			b.handle(ctx, event)
		}
	}
}

func (b *Bridge) dial() (*phoenix.Client, error) {
	s := b.cfg.Supabase
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
	})
	if err != nil {
		return nil, fmt.Errorf("realtime: %w", err)
	}
	return client, nil
}

// handle takes one event of the feed. It may wait for Supabase to name a conversation's tenant: changes keep their order.
func (b *Bridge) handle(ctx context.Context, event phoenix.Event) {
	switch e := event.(type) {
	case *phoenix.Change:
		b.handleChange(ctx, e)
	case *phoenix.Joined:
		b.status.set(Joining, "")
	case *phoenix.Live:
		b.status.set(Live, "")
	case *phoenix.Gap:
		b.log.Warn().Str("reason", string(e.Reason)).Time("since", e.Since).Msg("changes may be missing")
		b.status.set(Joining, string(e.Reason))
	case *phoenix.Lost:
		b.status.set(Down, e.Err.Error())
	case *phoenix.Retrying:
		b.status.set(Down, e.Err.Error())
	case *phoenix.SystemError:
		b.log.Error().Str("extension", e.Extension).Stringer("class", e.Class).Err(e).Msg("realtime reports an error")
		b.status.set(Down, e.Error())
	case *phoenix.Closed:
		if e.Err != nil {
			b.status.set(Down, e.Err.Error())
		}
	}
}

func (b *Bridge) handleChange(ctx context.Context, e *phoenix.Change) {
	if e.Schema != b.cfg.Supabase.Schema {
		return
	}
	if len(e.Errors) > 0 {
		b.log.Warn().Str("table", e.Table).Strs("errors", e.Errors).Msg("a change came without all of its row")
	}
	b.router.route(ctx, change{table: e.Table, action: string(e.Type), record: e.Record, old: e.OldRecord, commit: e.CommitTime})
}
