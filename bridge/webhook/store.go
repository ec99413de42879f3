package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// toTables stores an event and offers the row to the feed, so that browsers have it at once.
func (h *Webhooks) toTables(ctx context.Context, item outbox.Item) error {
	params, err := twilio.ParseForm(item.Body)
	if err != nil {
		return outbox.Permanent(err)
	}
	event := twilio.Read(params)
	h.opts.Traces.Store(ctx, event)
	record, err := h.store.Apply(ctx, event)
	if errors.Is(err, twilio.ErrNotYet) {
		if item.Reason == err.Error() && time.Since(item.Since) > statusWait {
			err = fmt.Errorf("%w, for %s: it is none of this application's, or it was lost", err, statusWait)
			return outbox.Permanent(err)
		}
		return err
	}
	if err != nil {
		return tablesOutcome(err)
	}
	if record != nil {
		action := feed.Insert
		if event.Kind == twilio.Status {
			action = feed.Update
		}
		h.offer(ctx, h.opts.Tables.Messages.Name, action, record)
	}
	return nil
}

// Rouse has what waits for the tables tried at once: Supabase answers again.
func (h *Webhooks) Rouse() {
	if h.box != nil {
		h.box.Rouse(toTables)
	}
}

// offer gives a row to the feed, or to the leader's, and says what became of it. Where the feed
// doesn't take it in time nothing is lost: Realtime or a read brings it.
func (h *Webhooks) offer(ctx context.Context, table string, action feed.Action, record json.RawMessage) Outcome {
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	outcome, err := h.opts.Changes.Offer(ctx, table, action, record)
	if err != nil {
		h.opts.Log.Debug().Err(err).Str("table", table).Msg("a row was not offered to the feed")
		return NotTaken
	}
	return outcome
}
