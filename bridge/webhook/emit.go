package webhook

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// emit sends a message to its rooms before it is stored. Where too many are on their way it is left
// to be stored.
func (h *Webhooks) emit(event twilio.Event) {
	select {
	case h.slots <- struct{}{}:
	default:
		return
	}
	h.emitting.Go(func() {
		defer func() { <-h.slots }()
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.RequestTimeout+offerWait)
		defer cancel()
		record, err := h.store.Preview(ctx, event)
		if err != nil {
			h.opts.Log.Warn().Err(err).Msg("a message could not be sent before it is stored")
			return
		}
		r, err := row.Parse(h.completed(record, event))
		if err != nil {
			h.opts.Log.Error().Err(err).Msg("a message could not be sent before it is stored")
			return
		}
		sent := feed.Change{Table: h.opts.Tables.Messages.Name, Action: feed.Insert, Row: r, Commit: time.Now()}
		if err := h.opts.Changes.Do(ctx, func() {
			if _, known := h.emitted.Get(event.Sid); known {
				return
			}
			h.emitted.Add(event.Sid, true)
			h.opts.Changes.Emit(ctx, sent)
		}); err != nil {
			h.opts.Log.Warn().Err(err).Msg("a message could not be sent before it is stored")
		}
	})
}

// completed adds what the database would: a key, where the mapping gives none the MessageSid, and
// the time.
func (h *Webhooks) completed(record json.RawMessage, event twilio.Event) json.RawMessage {
	t := h.opts.Tables.Messages
	var columns map[string]json.RawMessage
	if json.Unmarshal(record, &columns) != nil {
		return record
	}
	add := func(name, text string) {
		if _, there := columns[name]; !there && name != "" {
			columns[name] = json.RawMessage(strconv.Quote(text)) // ASCII without control characters
		}
	}
	if json.Valid([]byte(strconv.Quote(event.Sid))) {
		add(t.ID, event.Sid)
	}
	now := row.Timestamp(time.Now())
	add(t.Created, now)
	add(t.Updated, now)
	whole, err := json.Marshal(columns)
	if err != nil {
		return record
	}
	return whole
}

// Recognise reports whether a change is the row of a message that was sent to rooms before it was
// stored: its events were sent then. Of other rows it remembers that they are stored, so that a
// webhook which comes later sends nothing. It is called for each change, on the goroutine of
// Changes.
func (h *Webhooks) Recognise(c feed.Change) bool {
	if c.Table != h.opts.Tables.Messages.Name || c.Action != feed.Insert || !h.emits() {
		return false
	}
	sid := c.Row.Text(h.opts.Config.Twilio.Store.SidColumn)
	if sid == "" {
		return false
	}
	early, _ := h.emitted.Get(sid)
	h.emitted.Add(sid, false)
	return early
}
