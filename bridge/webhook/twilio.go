package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	bodies "github.com/supabridge/supabridge/bridge/body"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
)

func (h *Webhooks) setTwilio(c config.Twilio, deliver map[string]outbox.Deliver) error {
	for token := range strings.SplitSeq(c.AuthTokens.Reveal(), ",") {
		h.tokens = append(h.tokens, strings.TrimSpace(token))
	}
	opts := twilio.Options{Tokens: h.tokens, PublicURLs: c.PublicURLs}
	for _, network := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return fmt.Errorf("trusted_proxies: %w", err)
		}
		opts.TrustedProxies = append(opts.TrustedProxies, prefix)
	}
	var err error
	if h.validator, err = twilio.NewValidator(opts); err != nil {
		return err
	}
	if slices.Contains(c.Modes, "forward") {
		deliver[toApp] = h.forward
	}
	if slices.Contains(c.Modes, "store") {
		deliver[toTables] = h.toTables
	}
	if !slices.Contains(c.Modes, "store") && !slices.Contains(c.Modes, "emit") {
		return nil
	}
	t := h.opts.Tables
	store := twilio.StoreOptions{
		Messages: t.Messages.Name, Sid: c.Store.SidColumn, StatusColumn: t.Messages.Status,
		Conversations: t.Conversations.Name, ConversationsKey: t.Conversations.ID,
		Conversation: t.Messages.Conversation,
		Statuses:     make(map[string]string), Function: c.Store.ConversationFunction,
	}
	for _, pair := range c.Store.Statuses {
		status, word, _ := strings.Cut(pair, "=")
		store.Statuses[status] = word
	}
	for _, m := range []struct {
		key string
		of  []string
		to  *twilio.Columns
	}{
		{"columns", c.Store.Columns, &store.Columns}, {"failure_columns", c.Store.FailureColumns, &store.Failure},
		{"conversation_find", c.Store.ConversationFind, &store.Find},
		{"conversation_create", c.Store.ConversationCreate, &store.Create},
	} {
		if *m.to, err = twilio.ParseColumns(m.of); err != nil {
			return fmt.Errorf("store.%s: %w", m.key, err)
		}
	}
	if store.Lookups, err = twilio.ParseLookups(c.Store.Lookups); err != nil {
		return fmt.Errorf("store.lookups: %w", err)
	}
	h.store = twilio.NewStore(h.opts.Rows, store)
	return nil
}

// emptyTwiML sends nothing to the customer: any text in it would be a message.
const emptyTwiML = `<?xml version="1.0" encoding="UTF-8"?><Response/>`

// takeTwilio answers once the request is on disk, whatever Supabase or the application is doing.
func (h *Webhooks) takeTwilio(w http.ResponseWriter, r *http.Request) {
	ctx, span := h.opts.Traces.Webhook(r.Context(), "twilio")
	defer span.End()
	if r.Header.Get(twilio.SignatureHeader) == "" { // whose body isn't worth reading
		h.refused("twilio", r, twilio.ErrNoSignature)
		ops.Fail(span, twilio.ErrNoSignature)
		http.Error(w, "the signature does not fit", http.StatusForbidden)
		return
	}
	body, done, err := h.opts.Bodies.Read(w, r, int64(h.opts.Config.Twilio.MaxBody))
	defer done()
	if errors.Is(err, bodies.ErrBudget) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	} else if errors.Is(err, bodies.ErrTooLong) {
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	token, err := h.validator.Signer(r, body)
	if err != nil {
		h.refused("twilio", r, err)
		ops.Fail(span, err)
		code := http.StatusForbidden
		if errors.Is(err, twilio.ErrForm) {
			code = http.StatusBadRequest
		}
		http.Error(w, "the signature does not fit", code)
		return
	}
	done() // Twilio's own may take as long as the disk does
	form := body
	if r.Method == http.MethodGet {
		form = []byte(r.URL.RawQuery)
	} else if !twilio.IsForm(r.Header) {
		form = nil
	}
	params, err := twilio.ParseForm(form)
	if err != nil {
		http.Error(w, "the parameters can't be read", http.StatusBadRequest)
		return
	}
	event := twilio.Read(params)
	h.opts.Traces.Describe(span, event)
	if code, reason := h.unusable(event, form != nil); code != 0 {
		h.refused("twilio", r, errors.New(reason))
		http.Error(w, reason, code)
		return
	}
	if !h.uses(event) {
		h.count("twilio", "unneeded")
		answerTwilio(w, event)
		return
	}
	key := event.DedupeKey(r.Header.Get(twilio.IdempotencyHeader), append([]byte(r.URL.RawQuery+"\n"), body...))
	added, err := h.keep(ctx, r, key, event, token, form, body)
	if err != nil {
		h.failure.Do(func() { h.opts.Log.Error().Err(err).Msg("a webhook could not be kept") })
		h.count("twilio", "not_kept")
		ops.Fail(span, err)
		w.Header().Set("Retry-After", fullRetry)
		reason := "the webhook could not be kept; send it again"
		if errors.Is(err, outbox.ErrFull) {
			reason = "the outbox is full; send the webhook again"
		}
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	if added {
		h.count("twilio", "taken")
		if event.Kind == twilio.Message && h.emits() {
			h.emit(event)
		}
	} else {
		h.count("twilio", "repeated")
	}
	answerTwilio(w, event)
}

// keep puts a webhook on disk for each of its targets; added is false where it was taken before.
func (h *Webhooks) keep(
	ctx context.Context, r *http.Request, key string, event twilio.Event, token string, form, body []byte,
) (added bool, err error) {
	if h.box == nil {
		known, _ := h.seen.ContainsOrAdd(key, struct{}{})
		return !known, nil
	}
	var entries []outbox.Entry
	modes := h.opts.Config.Twilio.Modes
	if slices.Contains(modes, "forward") {
		entries = append(entries, outbox.Entry{
			Target: toApp, Lane: event.Conversation(), Body: body,
			Header: h.opts.Traces.Carry(ctx, forwardedHeader(r, token)),
		})
	}
	if slices.Contains(modes, "store") && h.uses(event) &&
		(event.Kind != twilio.Other || !slices.Contains(modes, "forward")) {
		lane := event.Conversation()
		if event.Kind == twilio.Status {
			lane = event.Sid // a status waits for its message to be stored, and nobody else for the status
		}
		header := h.opts.Traces.Carry(ctx, nil)
		entries = append(entries, outbox.Entry{Target: toTables, Lane: lane, Header: header, Body: form})
	}
	return h.box.Add(ctx, key, entries...)
}
