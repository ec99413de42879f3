package bridge

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// emit sends a message to its rooms before it is stored. Where too many are on their way it is left to be stored.
func (h *webhooks) emit(event twilio.Event) {
	select {
	case h.slots <- struct{}{}:
	default:
		return
	}
	h.emitting.Go(func() {
		defer func() { <-h.slots }()
		ctx, cancel := context.WithTimeout(h.ctx, h.b.cfg().Supabase.RequestTimeout+offerWait)
		defer cancel()
		record, err := h.store.Preview(ctx, event)
		if err != nil {
			h.b.log.Warn().Err(err).Msg("a message could not be sent before it is stored")
			return
		}
		r, err := row.Parse(h.completed(record, event))
		if err != nil {
			h.b.log.Error().Err(err).Msg("a message could not be sent before it is stored")
			return
		}
		sent := feed.Change{Table: h.b.cfg().Tables.Messages.Name, Action: feed.Insert, Row: r, Commit: time.Now()}
		if err := h.b.upstream.feed.Do(ctx, func() {
			if _, known := h.emitted.Get(event.Sid); known {
				return
			}
			h.emitted.Add(event.Sid, true)
			h.b.router.route(ctx, sent)
		}); err != nil {
			h.b.log.Warn().Err(err).Msg("a message could not be sent before it is stored")
		}
	})
}

// completed adds what the database would: a key, where the mapping gives none the MessageSid, and the time.
func (h *webhooks) completed(record json.RawMessage, event twilio.Event) json.RawMessage {
	t := h.b.cfg().Tables.Messages
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

// recognise reports whether a change is the row of a message that was sent to browsers before, and learns where the row is. Of other rows it
// remembers that they went to browsers, so that a webhook which comes later sends nothing. The feed's goroutine calls it.
func (h *webhooks) recognise(c feed.Change) bool {
	if c.Table != h.b.cfg().Tables.Messages.Name || c.Action != feed.Insert || !h.emits() {
		return false
	}
	sid := c.Row.Text(h.b.cfg().Webhooks.Twilio.Store.SidColumn)
	if sid == "" {
		return false
	}
	early, _ := h.emitted.Get(sid)
	h.emitted.Add(sid, false)
	if !early {
		return false
	}
	t := h.b.cfg().Tables.Messages
	h.b.router.messages.Add(c.Row.Text(t.ID), message{c.Row.Text(t.Conversation), c.Row.Text(t.Status), c.Row.Text(t.Tenant)})
	return true
}
