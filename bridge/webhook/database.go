package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/publish"
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
		ops.WriteJSON(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "the body is too long"})
		return
	}
	var change databaseWebhook
	if err != nil || json.Unmarshal(body, &change) != nil {
		reason := "the body is not that of a Database Webhook"
		ops.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": reason})
		return
	}
	record := change.Record
	if change.Type == feed.Delete {
		record = change.Old
	}
	if reason := h.unfollowed(change); reason != "" {
		h.refused("database", r, errors.New(reason))
		ops.WriteJSON(w, http.StatusUnprocessableEntity, map[string]string{"error": reason})
		return
	}
	passed := h.offer(r.Context(), change.Table, change.Type, record)
	h.count("database", map[bool]string{true: "taken", false: "repeated"}[passed])
	ops.WriteJSON(w, http.StatusOK, map[string]bool{"passed": passed})
}

// unfollowed says why nothing can come of a Database Webhook, "" where something can.
func (h *Webhooks) unfollowed(change databaseWebhook) string {
	t := h.opts.Tables
	known := []string{t.Conversations.Name, t.Messages.Name, t.Notifications.Name}
	switch {
	case change.Type != feed.Insert && change.Type != feed.Update && change.Type != feed.Delete:
		return fmt.Sprintf("type %.40q is none of INSERT, UPDATE, DELETE", string(change.Type))
	case change.Schema != h.opts.Schema:
		return fmt.Sprintf("schema %.80q is not followed; supabase.schema is %q", change.Schema, h.opts.Schema)
	case change.Table == "" || !slices.Contains(known, change.Table):
		return fmt.Sprintf("table %.80q is not followed; see tables in the configuration", change.Table)
	}
	return ""
}
