package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/config"
)

// The targets of the outbox.
const (
	toApp      = "forward"  // the application's own route for Twilio
	toTables   = "store"    // the tables
	toReporter = "outgoing" // the application's route for what the bridge tells
)

// Bounds of webhooks that are not worth a knob.
const (
	statusWait   = 15 * time.Minute // that a status waits for its message to be stored
	offerWait    = 5 * time.Second  // for the feed to take a row
	maxEmitting  = 64               // events on their way to rooms; more wait to be stored
	maxEmitted   = 100_000          // messages remembered as sent before they were stored
	fullRetry    = "30"             // seconds after which a webhook may come again that was refused
	deadlineSlow = 30 * time.Second // that a target which asks for patience is left alone
)

// webhooks takes Twilio's and the database's webhooks. What is durable goes through the outbox: HTTP handlers put it in, and deliveries (outbox.Run's goroutines)
// take it to the tables and the application. emitted is safe for concurrent use; emitting counts goroutines.
type webhooks struct {
	b         *Bridge
	validator *twilio.Validator // nil without Twilio
	store     *twilio.Store     // nil without the modes store and emit
	tokens    []string
	client    *http.Client
	box       *outbox.Outbox // nil where nothing is durable

	emitted  *lru.Cache[string, struct{}] // by MessageSid: sent to rooms before it was stored
	seen     *lru.Cache[string, struct{}] // dedupe keys, where there is no box
	emitting sync.WaitGroup
	slots    chan struct{}
	ctx      context.Context // of those goroutines
	stop     context.CancelFunc
	counted  *prometheus.CounterVec
}

// newWebhooks makes what the configuration asks for; nil where that is nothing.
func (b *Bridge) newWebhooks() (*webhooks, error) {
	c := b.cfg().Webhooks
	if c.Twilio.AuthTokens == "" && c.Supabase.Secret == "" && c.Outgoing.URL == "" {
		return nil, nil
	}
	h := &webhooks{b: b, slots: make(chan struct{}, maxEmitting)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.client = &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var err error
	if h.emitted, err = lru.New[string, struct{}](maxEmitted); err != nil {
		return nil, fmt.Errorf("bridge: webhooks: %w", err)
	}
	if h.seen, err = lru.New[string, struct{}](maxEmitted); err != nil {
		return nil, fmt.Errorf("bridge: webhooks: %w", err)
	}
	deliver := make(map[string]outbox.Deliver)
	if c.Twilio.AuthTokens != "" {
		if err := h.setTwilio(c.Twilio, deliver); err != nil {
			return nil, fmt.Errorf("bridge: webhooks.twilio: %w", err)
		}
	}
	if c.Outgoing.URL != "" {
		deliver[toReporter] = b.deliverReport(h.client)
	}
	if len(deliver) > 0 {
		if h.box, err = outbox.Open(outbox.Options{
			Path: c.Outbox.Path, Deliver: deliver, MaxBytes: int64(c.Outbox.MaxSize), MaxAge: c.Outbox.MaxAge, KeepDead: c.Outbox.KeepDead,
			DedupeFor: c.Outbox.DedupeFor, Workers: c.Outbox.Workers, RetryMax: c.Outbox.RetryMax, Log: b.log,
		}); err != nil {
			return nil, fmt.Errorf("bridge: webhooks.outbox: %w", err)
		}
	}
	h.watch()
	return h, nil
}

// watch has webhooks counted and the outbox asked at each scrape.
func (h *webhooks) watch() {
	h.counted = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: "webhooks_total",
		Help: "Webhooks that came, by source and what became of them (taken, repeated, refused, not_kept)."}, []string{"source", "result"})
	h.b.metrics.registry.MustRegister(h.counted)
	if h.box == nil {
		return
	}
	for name, g := range map[string]struct {
		help  string
		value func(outbox.Stats) float64
	}{
		"outbox_waiting":      {"Entries that wait to be delivered.", func(s outbox.Stats) float64 { return float64(s.Waiting) }},
		"outbox_dead_letters": {"Entries that were given up and are kept aside.", func(s outbox.Stats) float64 { return float64(s.Dead) }},
		"outbox_bytes":        {"Bytes of all entries.", func(s outbox.Stats) float64 { return float64(s.Bytes) }},
	} {
		h.b.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: g.help},
			func() float64 { return g.value(h.box.Stats()) }))
	}
}

func (h *webhooks) count(source, result string) { h.counted.WithLabelValues(source, result).Inc() }

func (h *webhooks) setTwilio(c config.Twilio, deliver map[string]outbox.Deliver) error {
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
	t := h.b.cfg().Tables
	store := twilio.StoreOptions{
		Messages: t.Messages.Name, Sid: c.Store.SidColumn, StatusColumn: t.Messages.Status, Conversations: t.Conversations.Name, ConversationsKey: t.Conversations.ID,
		Statuses: make(map[string]string), Function: c.Store.ConversationFunction,
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
		{"conversation_find", c.Store.ConversationFind, &store.Find}, {"conversation_create", c.Store.ConversationCreate, &store.Create},
	} {
		if *m.to, err = twilio.ParseColumns(m.of); err != nil {
			return fmt.Errorf("store.%s: %w", m.key, err)
		}
	}
	if store.Lookups, err = twilio.ParseLookups(c.Store.Lookups); err != nil {
		return fmt.Errorf("store.lookups: %w", err)
	}
	h.store = twilio.NewStore(h.b.rows, store)
	return nil
}

// mount puts the routes on the mux: none that the configuration does not ask for.
func (h *webhooks) mount(mux *http.ServeMux) {
	c := h.b.cfg().Webhooks
	if h.validator != nil {
		for _, path := range c.Twilio.Paths {
			mux.HandleFunc("POST "+path, h.takeTwilio)
			mux.HandleFunc("GET "+path, h.takeTwilio)
		}
	}
	if c.Supabase.Secret != "" {
		mux.HandleFunc("POST "+c.Supabase.Path, h.takeDatabase)
	}
}

// run delivers until ctx ends.
func (h *webhooks) run(ctx context.Context) {
	if h.box == nil {
		return
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := h.box.Serve(ctx); err != nil {
			h.b.log.Warn().Err(err).Msg("supabridge outbox can't look at the outbox while this runs")
		}
	}()
	h.box.Run(ctx)
	<-served
}

// close ends what newWebhooks started. The box must not be running.
func (h *webhooks) close() {
	h.stop()
	h.emitting.Wait()
	if h.box != nil {
		if err := h.box.Close(); err != nil {
			h.b.log.Error().Err(err).Msg("closing the outbox")
		}
	}
	h.client.CloseIdleConnections()
}

// emptyTwiML sends nothing to the customer: any text in it would be a message.
const emptyTwiML = `<?xml version="1.0" encoding="UTF-8"?><Response/>`

// takeTwilio answers once the request is on disk, whatever Supabase or the application is doing.
func (h *webhooks) takeTwilio(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(h.b.cfg().Webhooks.Twilio.MaxBody)))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		http.Error(w, "the body is too long", http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		http.Error(w, "the body broke off", http.StatusBadRequest)
		return
	}
	if err := h.validator.Validate(r, body); err != nil {
		h.b.log.Warn().Err(err).Str("path", r.URL.Path).Str("address", r.RemoteAddr).Msg("webhook refused")
		h.count("twilio", "refused")
		code := http.StatusForbidden
		if errors.Is(err, twilio.ErrForm) {
			code = http.StatusBadRequest
		}
		http.Error(w, "the signature does not fit", code)
		return
	}
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
	key := event.DedupeKey(r.Header.Get(twilio.IdempotencyHeader), append([]byte(r.URL.RawQuery+"\n"), body...))
	added, err := h.keep(r, key, event, form, body)
	if err != nil {
		h.b.log.Error().Err(err).Msg("a webhook could not be kept")
		h.count("twilio", "not_kept")
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
		if event.Kind == twilio.Message && slices.Contains(h.b.cfg().Webhooks.Twilio.Modes, "emit") {
			h.emit(event)
		}
	} else {
		h.count("twilio", "repeated")
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, emptyTwiML) // Twilio is gone where this fails, and sends it again
}

// keep puts a webhook on disk for each of its targets; added is false where it was taken before.
func (h *webhooks) keep(r *http.Request, key string, event twilio.Event, form, body []byte) (added bool, err error) {
	if h.box == nil {
		known, _ := h.seen.ContainsOrAdd(key, struct{}{})
		return !known, nil
	}
	var entries []outbox.Entry
	modes := h.b.cfg().Webhooks.Twilio.Modes
	if slices.Contains(modes, "forward") {
		entries = append(entries, outbox.Entry{Target: toApp, Lane: event.Conversation(), Header: forwardedHeader(r), Body: body})
	}
	if slices.Contains(modes, "store") && event.Kind != twilio.Other {
		lane := event.Conversation()
		if event.Kind == twilio.Status {
			lane = event.Sid // a status waits for its message to be stored, and nobody else for the status
		}
		entries = append(entries, outbox.Entry{Target: toTables, Lane: lane, Body: form})
	}
	return h.box.Add(r.Context(), key, entries...)
}

// toTables stores an event and offers the row to the feed, so that browsers have it at once.
func (h *webhooks) toTables(ctx context.Context, item outbox.Item) error {
	params, err := twilio.ParseForm(item.Body)
	if err != nil {
		return outbox.Permanent(err)
	}
	event := twilio.Read(params)
	record, err := h.store.Apply(ctx, event)
	if errors.Is(err, twilio.ErrNotYet) && time.Since(item.At) > statusWait {
		h.b.log.Warn().Str("status", event.Status).Msg("a status is given up: its message was never stored")
		return nil
	}
	if err != nil {
		return sorted(err)
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

// sorted says what a failure means for the outbox.
func sorted(err error) error {
	e, ok := supabase.AsError(err)
	if !ok {
		return err
	}
	switch e.Class {
	case supabase.ClassPermanent:
		return outbox.Permanent(err)
	case supabase.ClassSlow:
		return outbox.Unavailable(err, max(e.RetryAfter, deadlineSlow))
	case supabase.ClassRetry, supabase.ClassToken:
		return outbox.Unavailable(err, e.RetryAfter)
	}
	return err
}

// offer gives a row to the feed. Where the feed does not take it in time nothing is lost: Realtime or a read brings it.
func (h *webhooks) offer(ctx context.Context, table string, action feed.Action, record json.RawMessage) bool {
	ctx, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	passed, err := h.b.upstream.feed.Offer(ctx, table, action, record)
	if err != nil {
		h.b.log.Debug().Err(err).Str("table", table).Msg("a row was not offered to the feed")
	}
	return passed
}

// hopHeaders are between two hosts and not for the next; those of the signature and the address are written anew.
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Content-Length", "Host", "Authorization", twilio.SignatureHeader}

// Entries of a forwarded request's header that are not headers.
const (
	methodEntry = ":method"
	queryEntry  = ":query"
)

func forwardedHeader(r *http.Request) map[string]string {
	header := map[string]string{methodEntry: r.Method, queryEntry: r.URL.RawQuery}
	for name, values := range r.Header {
		if !slices.Contains(hopHeaders, http.CanonicalHeaderKey(name)) {
			header[name] = strings.Join(values, ", ")
		}
	}
	return header
}

// forward posts a webhook to the application, signed anew for its address there. What the application answers is not Twilio's answer: that was given.
func (h *webhooks) forward(ctx context.Context, item outbox.Item) error {
	address := h.b.cfg().Webhooks.Twilio.ForwardURL
	if query := item.Header[queryEntry]; query != "" {
		join := "?"
		if strings.Contains(address, "?") {
			join = "&"
		}
		address += join + query
	}
	req, err := http.NewRequestWithContext(ctx, item.Header[methodEntry], address, strings.NewReader(string(item.Body)))
	if err != nil {
		return outbox.Permanent(errors.New("forward: the address can't be made"))
	}
	for name, value := range item.Header {
		if !strings.HasPrefix(name, ":") {
			req.Header.Set(name, value)
		}
	}
	var params twilio.Params
	if twilio.IsForm(req.Header) {
		if params, err = twilio.ParseForm(item.Body); err != nil {
			return outbox.Permanent(err)
		}
	}
	req.Header.Set(twilio.SignatureHeader, twilio.Sign(h.tokens[0], address, params))
	return post(h.client, req, "forward")
}

// post carries out a delivery over HTTP.
func post(client *http.Client, req *http.Request, what string) error {
	resp, err := client.Do(req)
	if err != nil {
		return outbox.Unavailable(fmt.Errorf("%s: no answer: %w", what, bare(err)), 0)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
	_ = resp.Body.Close()
	failure := fmt.Errorf("%s: HTTP %d", what, resp.StatusCode)
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		return nil
	case code == http.StatusTooManyRequests:
		return outbox.Unavailable(failure, deadlineSlow)
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return outbox.Unavailable(failure, 0)
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusUnauthorized, code == http.StatusForbidden:
		return failure
	default:
		return outbox.Permanent(failure)
	}
}

// bare takes the address off an error of net/http: it may have parameters in it.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

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
			h.emitted.Add(event.Sid, struct{}{})
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

// recognise tells whether a change is the row of a message that browsers have already, and learns where it is. The feed's goroutine calls it.
func (h *webhooks) recognise(c feed.Change) bool {
	if c.Table != h.b.cfg().Tables.Messages.Name || c.Action != feed.Insert || h.emitted.Len() == 0 {
		return false
	}
	sid := c.Row.Text(h.b.cfg().Webhooks.Twilio.Store.SidColumn)
	if sid == "" || !h.emitted.Contains(sid) {
		return false
	}
	t := h.b.cfg().Tables.Messages
	h.b.router.messages.Add(c.Row.Text(t.ID), message{conversation: c.Row.Text(t.Conversation), status: c.Row.Text(t.Status)})
	return true
}

// databaseWebhook is what Supabase posts.
type databaseWebhook struct {
	Type   feed.Action     `json:"type"`
	Table  string          `json:"table"`
	Schema string          `json:"schema"`
	Record json.RawMessage `json:"record"`
	Old    json.RawMessage `json:"old_record"`
}

// takeDatabase offers a change of a row to the feed. It is a second source: what fails here comes by Realtime or is read.
func (h *webhooks) takeDatabase(w http.ResponseWriter, r *http.Request) {
	c := h.b.cfg().Webhooks.Supabase
	if publish.Authenticate(r.Header, nil, []byte(c.Secret.Reveal()), 0, time.Now()) != nil {
		h.b.log.Warn().Str("path", r.URL.Path).Str("address", r.RemoteAddr).Msg("webhook refused")
		h.count("database", "refused")
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "the secret is wrong"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(c.MaxBody)))
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		writeJSON(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "the body is too long"})
		return
	}
	var change databaseWebhook
	if err != nil || json.Unmarshal(body, &change) != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "the body is not that of a Database Webhook"})
		return
	}
	record := change.Record
	if change.Type == feed.Delete {
		record = change.Old
	}
	known := change.Type == feed.Insert || change.Type == feed.Update || change.Type == feed.Delete
	passed := known && change.Schema == h.b.cfg().Supabase.Schema && h.offer(r.Context(), change.Table, change.Type, record)
	h.count("database", map[bool]string{true: "taken", false: "repeated"}[passed])
	writeJSON(w, http.StatusOK, map[string]bool{"passed": passed})
}
