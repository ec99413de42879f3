package webhook

import (
	"context"

	"github.com/supabridge/supabridge/bridge/outbox"
)

// StatusWait is how long a status waits for its message.
const StatusWait = statusWait

// Store delivers an entry to the tables, as the outbox does: one that a test has aged.
func (h *Webhooks) Store(ctx context.Context, item outbox.Item) error { return h.toTables(ctx, item) }
