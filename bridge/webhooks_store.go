package bridge

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
func (h *webhooks) toTables(ctx context.Context, item outbox.Item) error {
	params, err := twilio.ParseForm(item.Body)
	if err != nil {
		return outbox.Permanent(err)
	}
	event := twilio.Read(params)
	h.b.traces.Store(ctx, event)
	record, err := h.store.Apply(ctx, event)
	if errors.Is(err, twilio.ErrNotYet) {
		if item.Reason == err.Error() && time.Since(item.Since) > statusWait {
			return outbox.Permanent(fmt.Errorf("%w, for %s: it is none of this application's, or it was lost", err, statusWait))
		}
		return err
	}
	if err != nil {
		return tablesVerdict(err)
	}
	if record != nil {
		action := feed.Insert
		if event.Kind == twilio.Status {
			action = feed.Update
		}
		h.offer(ctx, h.b.cfg().Tables.Messages.Name, action, record)
	}
	return nil
}

// rouse has what waits for the tables tried at once: Supabase answers again.
func (h *webhooks) rouse() {
	if h.box != nil {
		h.box.Rouse(toTables)
	}
}

// offer gives a row to the feed. Where the feed does not take it in time nothing is lost: Realtime or a read brings it.
func (h *webhooks) offer(ctx context.Context, table string, action feed.Action, record json.RawMessage) bool {
	if h.b.cluster.Changes().Offer(table, action, record) {
		return false // by this node
	}
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	passed, err := h.b.upstream.feed.Offer(ctx, table, action, record)
	if err != nil {
		h.b.log.Debug().Err(err).Str("table", table).Msg("a row was not offered to the feed")
	}
	return passed
}
