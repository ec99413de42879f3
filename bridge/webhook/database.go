package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/row"
)

// databaseWebhook is what Supabase posts.
type databaseWebhook struct {
	Type   feed.Action     `json:"type"`
	Table  string          `json:"table"`
	Schema string          `json:"schema"`
	Record json.RawMessage `json:"record"`
	Old    json.RawMessage `json:"old_record"`
}

// takeDatabase offers a change of a row to the feed. It is a second source: what fails here comes
// by Realtime or is read.
func (h *Webhooks) takeDatabase(w http.ResponseWriter, r *http.Request) {
	c := h.opts.Config.Supabase
	if err := publish.Authenticate(r.Header, nil, []byte(c.Secret.Reveal()), 0, time.Now()); err != nil {
		h.refused("database", r, err)
		ops.WriteJSON(w, http.StatusUnauthorized, map[string]string{"error": "the secret is wrong"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(c.MaxBody)))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		h.answerDatabase(w, r, http.StatusRequestEntityTooLarge, unreadable, "the body is too long")
		return
	}
	var change databaseWebhook
	if err != nil || json.Unmarshal(body, &change) != nil {
		h.answerDatabase(w, r, http.StatusBadRequest, unreadable, "the body is not that of a Database Webhook")
		return
	}
	record, result, reason := h.readDatabase(change)
	if reason != "" {
		h.answerDatabase(w, r, http.StatusUnprocessableEntity, result, reason)
		return
	}
	h.answerDatabase(w, r, http.StatusOK, string(h.offer(r.Context(), change.Table, change.Type, record)), "")
}

// What becomes of a Database Webhook beside an Outcome: a label of webhooks_total, and the field
// "result" of the answer.
const (
	unfollowed  = "unfollowed"   // its table or its schema isn't in the configuration
	unknownType = "unknown_type" // neither INSERT nor UPDATE nor DELETE
	unreadable  = "unreadable"   // no JSON, too long, or no row with a key
)

// answerDatabase answers a Database Webhook and counts it. A reason means that nothing can come of
// it.
func (h *Webhooks) answerDatabase(w http.ResponseWriter, r *http.Request, code int, result, reason string) {
	h.count("database", result)
	if reason == "" {
		ops.WriteJSON(w, code, map[string]any{"passed": result == string(Taken), "result": result})
		return
	}
	h.logRefused("database", r, errors.New(reason))
	ops.WriteJSON(w, code, map[string]string{"error": reason, "result": result})
}

// readDatabase gives the row of a Database Webhook. Where nothing can come of it, it gives the
// result and the reason.
func (h *Webhooks) readDatabase(change databaseWebhook) (record json.RawMessage, result, reason string) {
	t := h.opts.Tables
	keys := map[string]string{
		t.Conversations.Name: t.Conversations.ID,
		t.Messages.Name:      t.Messages.ID,
		t.Notifications.Name: t.Notifications.ID,
	}
	key, followed := keys[change.Table]
	name := "record"
	record = change.Record
	if change.Type == feed.Delete {
		name, record = "old_record", change.Old
	}
	switch {
	case change.Type != feed.Insert && change.Type != feed.Update && change.Type != feed.Delete:
		return nil, unknownType, fmt.Sprintf("type %.40q is none of INSERT, UPDATE, DELETE", string(change.Type))
	case change.Schema != h.opts.Schema:
		return nil, unfollowed, fmt.Sprintf(
			"schema %.80q is not followed; supabase.schema is %q",
			change.Schema,
			h.opts.Schema,
		)
	case change.Table == "" || !followed:
		return nil, unfollowed, fmt.Sprintf("table %.80q is not followed; see tables in the configuration", change.Table)
	}
	if parsed, err := row.Parse(record); err != nil || parsed.Text(key) == "" {
		return nil, unreadable, fmt.Sprintf("%s has no row with the key %q", name, key)
	}
	return record, "", ""
}
