package webhook

import (
	"context"

	"github.com/supabridge/supabridge/bridge/outbox"
)

// StatusWait is how long a status waits for its message.
const StatusWait = statusWait

// MaxRetryAfter bounds how long a target may ask to be left alone.
const MaxRetryAfter = maxRetryAfter

// TablesOutcome says what becomes of an entry after an answer of the tables.
func TablesOutcome(err error) error { return tablesOutcome(err) }

// Store delivers an entry to the tables, as the outbox does: one that a test has aged.
func (h *Webhooks) Store(ctx context.Context, item outbox.Item) error { return h.toTables(ctx, item) }
