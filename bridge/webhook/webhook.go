package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// The targets of the outbox.
const (
	toApp      = "forward"  // the application's own route for Twilio
	toTables   = "store"    // the tables
	toReporter = "outgoing" // the application's route for reports
)

// Bounds of webhooks that are not worth an option.
const (
	statusWait   = 15 * time.Minute // that a status waits for its message to be stored
	offerWait    = 5 * time.Second  // for the feed to take a row
	maxEmitting  = 64               // events on their way to rooms; more wait to be stored
	maxEmitted   = 100_000          // messages remembered as sent before they were stored
	fullRetry    = "30"             // seconds after which a webhook may come again that was refused
	logEvery     = 10 * time.Second // between lines of one kind that anybody can cause, after the first ten
	deadlineSlow = 30 * time.Second // that a target which asks for patience is left alone
)

// Webhooks takes webhooks and sends those of the application. It is safe for concurrent use.
type Webhooks struct {
	opts      Options
	validator *twilio.Validator // nil without Twilio
	store     *twilio.Store     // nil without the modes store and emit
	tokens    []string
	client    *http.Client
	box       *outbox.Outbox // nil where nothing is durable
	reports   *reporter

	emitted  *lru.Cache[string, bool]     // by MessageSid: sent to rooms; true until the message's row comes
	seen     *lru.Cache[string, struct{}] // dedupe keys, where there is no box
	emitting sync.WaitGroup
	slots    chan struct{}
	ctx      context.Context // of those goroutines
	stop     context.CancelFunc
	counted  *prometheus.CounterVec

	// A flood of refused webhooks, or of those that can't be kept, is counted and not logged line
	// by line.
	refusal, failure rate.Sometimes
}

// New makes what the configuration asks for and opens the outbox where something is durable. Close
// ends it.
func New(opts Options) (*Webhooks, error) {
	if opts.Nodes == nil {
		opts.Nodes = alone{}
	}
	c := opts.Config
	h := &Webhooks{opts: opts, slots: make(chan struct{}, maxEmitting)}
	h.refusal = rate.Sometimes{First: 10, Interval: logEvery}
	h.failure = rate.Sometimes{First: 10, Interval: logEvery}
	h.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var err error
	if h.emitted, err = lru.New[string, bool](maxEmitted); err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	if h.seen, err = lru.New[string, struct{}](maxEmitted); err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	deliver := make(map[string]outbox.Deliver)
	if c.Twilio.AuthTokens != "" {
		if err := h.setTwilio(c.Twilio, deliver); err != nil {
			return nil, fmt.Errorf("webhooks.twilio: %w", err)
		}
	}
	if c.Outgoing.URL != "" {
		deliver[toReporter] = deliverReport(c.Outgoing, h.client)
	}
	for target, f := range deliver {
		deliver[target] = opts.Traces.Delivery(target, f)
	}
	if len(deliver) > 0 {
		if h.box, err = outbox.Open(outbox.Options{
			Path: c.Outbox.Path, Deliver: deliver, MaxBytes: int64(c.Outbox.MaxSize), MaxAge: c.Outbox.MaxAge,
			KeepDead: c.Outbox.KeepDead, DedupeFor: c.Outbox.DedupeFor, Workers: c.Outbox.Workers,
			RetryMax: c.Outbox.RetryMax, Log: opts.Log,
		}); err != nil {
			return nil, fmt.Errorf("webhooks.outbox: %w", err)
		}
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.reports = newReporter(opts, h.box)
	h.watch()
	return h, nil
}

// watch has webhooks counted and the outbox asked at each scrape, where webhooks are configured.
func (h *Webhooks) watch() {
	h.counted = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhooks_total",
		Help: "Webhooks that came, by source and what became of them (taken, repeated, unneeded, refused, not_kept; of " +
			"the database also handed_on, not_taken, unfollowed, unknown_type, unreadable).",
	}, []string{"source", "result"})
	c := h.opts.Config
	if c.Twilio.AuthTokens != "" || c.Supabase.Secret != "" || c.Outgoing.URL != "" {
		h.opts.Register.MustRegister(h.counted)
	}
	if h.box == nil {
		return
	}
	h.opts.Register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "outbox_oldest_seconds",
		Help: "How long the entry that waits longest has waited; supabridge outbox list --waiting says why.",
	}, func() float64 {
		if oldest, ok := h.box.Oldest(); ok {
			return time.Since(oldest.At).Seconds()
		}
		return 0
	}))
	for name, g := range map[string]struct {
		help  string
		value func(outbox.Stats) int64
	}{
		"outbox_waiting": {"Entries that wait to be delivered.", func(s outbox.Stats) int64 { return int64(s.Waiting) }},
		"outbox_dead_letters": {"Entries that were given up and are kept aside.",
			func(s outbox.Stats) int64 { return int64(s.Dead) }},
		"outbox_bytes": {"Bytes of all entries.", func(s outbox.Stats) int64 { return s.Bytes }},
	} {
		h.opts.Register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: g.help},
			func() float64 { return float64(g.value(h.box.Stats())) }))
	}
}

// refused logs that a webhook was not let in, and counts it.
func (h *Webhooks) refused(source string, r *http.Request, err error) {
	h.count(source, "refused")
	h.logRefused(source, r, err)
}

func (h *Webhooks) logRefused(source string, r *http.Request, err error) {
	h.refusal.Do(func() {
		h.opts.Log.Warn().Err(err).Str("source", source).Str("path", r.URL.Path).Str("address", r.RemoteAddr).
			Msg("webhook refused")
	})
}

func (h *Webhooks) count(source, result string) { h.counted.WithLabelValues(source, result).Inc() }

// Mount puts the routes on the mux: none that the configuration does not ask for.
func (h *Webhooks) Mount(mux *http.ServeMux) {
	c := h.opts.Config
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

// Run delivers what is in the outbox, and puts reports into it, until ctx ends. It returns once
// everything that it started has ended.
func (h *Webhooks) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { h.reports.run(ctx) })
	if h.box != nil {
		running.Go(func() {
			if err := h.box.Serve(ctx); err != nil {
				h.opts.Log.Warn().Err(err).Msg("supabridge outbox can't look at the outbox while this runs")
			}
		})
		running.Go(func() { h.box.Run(ctx) })
	}
	running.Wait()
}

// Close puts on disk the reports that Run left and those made since, and ends what New and the
// handlers started. Run must have returned.
func (h *Webhooks) Close() {
	h.reports.stop()
	h.stop()
	h.emitting.Wait()
	if h.box != nil {
		if err := h.box.Close(); err != nil {
			h.opts.Log.Error().Err(err).Msg("closing the outbox")
		}
	}
	h.client.CloseIdleConnections()
}

// Outbox is where webhooks wait to be delivered; nil where the configuration keeps none.
func (h *Webhooks) Outbox() *outbox.Outbox { return h.box }

// Report reports to the application what happened at this node, where webhooks.outgoing.events has
// the kind. It never waits. Reports of one lane are delivered in their order.
func (h *Webhooks) Report(kind, lane string, data json.RawMessage) { h.reports.add(kind, lane, data) }

// ReportOnce reports what every node of a cluster knows and calls it for: one of them sends it.
func (h *Webhooks) ReportOnce(kind, lane string, data json.RawMessage) {
	h.reports.share(kind, lane, data)
}

// ReportsRooms reports whether the application is informed of rooms, so that nodes have to know
// each other's.
func (h *Webhooks) ReportsRooms() bool { return h.reports.watchesRooms() }
