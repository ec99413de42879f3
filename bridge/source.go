package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix"
)

// feedTopic is the channel the changes come by. Its connection carries nothing else: a refused join
// holds up a whole socket for seconds, and limits on broadcasts close channels.
const feedTopic = "supabridge:changes"

// feedQueue bounds the changes received and not yet routed. What does not fit is dropped and read
// by the cursor.
const feedQueue = 16384

// closeTimeout bounds the farewell to Realtime.
const closeTimeout = time.Second

// source is a connection to Realtime with the channels that bring the changes.
type source struct {
	client  *phoenix.Client
	channel *phoenix.Channel
	fast    *lane // of broadcasts from the database; nil where that is off
}

// newSource makes one. It connects to nothing yet.
func (b *Bridge) newSource() (*source, error) {
	client, err := dial(b.cfg().Supabase, b.metrics.upstream.Hooks())
	if err != nil {
		return nil, err
	}
	s := &source{client: client}
	schema, tables := b.cfg().Supabase.Schema, b.cfg().Tables
	changes := []phoenix.Binding{
		{Event: phoenix.All, Schema: schema, Table: tables.Messages.Name},
		{Event: phoenix.All, Schema: schema, Table: tables.Conversations.Name},
	}
	if tables.Notifications.Name != "" {
		changes = append(changes, phoenix.Binding{Event: phoenix.All, Schema: schema, Table: tables.Notifications.Name})
	}
	// Private, since some projects allow no others; the service role may enter each, and gets changes
	// there just the same.
	s.channel, err = client.Channel(feedTopic, phoenix.ChannelOptions{Private: true, Changes: changes, Queue: feedQueue})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bridge: channel %s: %w", feedTopic, err), s.close(context.Background()))
	}
	if b.cfg().Supabase.FastLane != "off" {
		s.fast = newLane(b, client)
	}
	return s, nil
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

// subscribe joins the channels; it does not wait for that.
func (s *source) subscribe(ctx context.Context) error {
	if err := s.channel.Subscribe(ctx); err != nil {
		return fmt.Errorf("subscribe to %s: %w", feedTopic, err)
	}
	if s.fast != nil { // after the other: where it is refused the connection is held up for seconds
		s.fast.start(ctx)
	}
	return nil
}

// close leaves the channels and ends the client.
func (s *source) close(ctx context.Context) error {
	farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if s.fast != nil {
		s.fast.close()
	}
	if err := s.client.Close(farewell); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("closing the connection to Realtime: %w", err)
	}
	return nil
}
