package socketio_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/supabridge/supabridge/socketio"
)

// behind is an adapter with a message on its way, which it delivers when it has to catch up.
type behind struct {
	*busNode
	asked chan struct{} // has one for each time
}

func (b *behind) CaughtUp(ctx context.Context) error {
	if ctx.Err() == nil {
		b.host.Deliver(&socketio.NodeMessage{Kind: socketio.KindEmit, Namespace: "/", Args: json.RawMessage(`["on its way"]`)})
	}
	select {
	case b.asked <- struct{}{}:
	default:
	}
	return nil
}

func TestAServerThatStopsDeliversWhatIsOnItsWayBeforeItClosesAConnection(t *testing.T) {
	var b bus
	adapter := &behind{b.node(), make(chan struct{}, 1)}
	io, url := serve(t, socketio.Options{Adapter: adapter})
	client, _, _ := connect(t, url, "")
	done := make(chan error, 1)
	go func() { done <- io.Shutdown(t.Context()) }()
	client.expect(`42["on its way"]`)
	receive(t, "the question", adapter.asked)
	client.expectEnd()
	if err := receive(t, "shutdown", done); err != nil {
		t.Error(err)
	}
}

// stuck is an adapter that never catches up.
type stuck struct{ *busNode }

func (stuck) CaughtUp(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestAServerThatStopsWaitsForNoAdapterForLong(t *testing.T) {
	var b bus
	io, url := serve(t, socketio.Options{Adapter: stuck{b.node()}})
	client, _, _ := connect(t, url, "")
	if err := io.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	client.expectEnd()
}
