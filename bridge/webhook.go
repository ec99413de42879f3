package bridge

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/webhook"
)

// newWebhooks makes what takes and sends webhooks; it does nothing where none are configured.
func (b *Bridge) newWebhooks() (*webhook.Webhooks, error) {
	c := b.cfg()
	opts := webhook.Options{
		Config: c.Webhooks, Tables: c.Tables, Schema: c.Supabase.Schema, Rows: b.rows,
		RequestTimeout: c.Supabase.RequestTimeout, Changes: webhookChanges{b}, Occupied: b.occupiedRooms,
		Bodies: b.guard.bodies, Nodes: b.cluster, Traces: b.traces, Register: b.metrics.register, Log: b.log,
	}
	h, err := webhook.New(opts)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return h, nil
}

// webhookChanges is where rows and messages of webhooks go.
type webhookChanges struct{ b *Bridge }

// Offer brings a row to the feed of this node, or to that of the leader where this node has none of
// its own.
func (s webhookChanges) Offer(
	ctx context.Context, table string, action feed.Action, record json.RawMessage,
) (webhook.Outcome, error) {
	if s.b.cluster.Changes().Offer(table, action, record) {
		return webhook.HandedOn, nil
	}
	passed, err := s.b.upstream.feed.Offer(ctx, table, action, record)
	switch {
	case err != nil:
		return webhook.NotTaken, err
	case !passed:
		return webhook.Repeated, nil
	}
	return webhook.Taken, nil
}

func (s webhookChanges) Do(ctx context.Context, f func()) error { return s.b.upstream.feed.Do(ctx, f) }

func (s webhookChanges) Emit(ctx context.Context, c feed.Change) { s.b.router.route(ctx, c) }

// occupiedRooms lists the rooms of conversations and tenants that have a socket of this node.
func (b *Bridge) occupiedRooms() map[string]bool {
	occupied := make(map[string]bool)
	rooms := b.cfg().Rooms
	for _, space := range b.spaces {
		for room := range space.Rooms() {
			_, conversation := roomID(rooms.Conversation, room)
			_, tenant := roomID(rooms.Tenant, room)
			if conversation || tenant {
				occupied[room] = true
			}
		}
	}
	return occupied
}
