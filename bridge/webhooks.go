package bridge

import (
	"context"
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
	toReporter = "outgoing" // the application's route for what the bridge tells
)

// Bounds of webhooks that are not worth a knob.
const (
	statusWait   = 15 * time.Minute // that a status waits for its message to be stored
	offerWait    = 5 * time.Second  // for the feed to take a row
	maxEmitting  = 64               // events on their way to rooms; more wait to be stored
	maxEmitted   = 100_000          // messages remembered as sent before they were stored
	fullRetry    = "30"             // seconds after which a webhook may come again that was refused
	logEvery     = 10 * time.Second // between lines of one kind that anybody can cause, after the first ten
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

	emitted  *lru.Cache[string, bool]     // by MessageSid: sent to rooms; true of one whose row did not come yet
	seen     *lru.Cache[string, struct{}] // dedupe keys, where there is no box
	emitting sync.WaitGroup
	slots    chan struct{}
	ctx      context.Context // of those goroutines
	stop     context.CancelFunc
	counted  *prometheus.CounterVec

	refusal, failure rate.Sometimes // hold the log lines of what is refused and of what can't be kept: a flood of either is counted, not written
}

// newWebhooks makes what the configuration asks for; nil where that is nothing.
func (b *Bridge) newWebhooks() (*webhooks, error) {
	c := b.cfg().Webhooks
	if c.Twilio.AuthTokens == "" && c.Supabase.Secret == "" && c.Outgoing.URL == "" {
		return nil, nil
	}
	h := &webhooks{b: b, slots: make(chan struct{}, maxEmitting)}
	h.refusal = rate.Sometimes{First: 10, Interval: logEvery}
	h.failure = rate.Sometimes{First: 10, Interval: logEvery}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.client = &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var err error
	if h.emitted, err = lru.New[string, bool](maxEmitted); err != nil {
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
	for target, f := range deliver {
		deliver[target] = b.traces.Delivery(target, f)
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
	h.counted = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhooks_total",
		Help: "Webhooks that came, by source and what became of them (taken, repeated, unneeded, refused, not_kept; of " +
			"the database also handed_on, not_taken, unfollowed, unknown_type, unreadable)."}, []string{"source", "result"})
	h.b.metrics.register.MustRegister(h.counted)
	if h.box == nil {
		return
	}
	h.b.metrics.register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "outbox_oldest_seconds",
		Help: "How long the entry that waits longest has waited; supabridge outbox list --waiting says why."}, func() float64 {
		if oldest, ok := h.box.Oldest(); ok {
			return time.Since(oldest.At).Seconds()
		}
		return 0
	}))
	for name, g := range map[string]struct {
		help  string
		value func(outbox.Stats) float64
	}{
		"outbox_waiting":      {"Entries that wait to be delivered.", func(s outbox.Stats) float64 { return float64(s.Waiting) }},
		"outbox_dead_letters": {"Entries that were given up and are kept aside.", func(s outbox.Stats) float64 { return float64(s.Dead) }},
		"outbox_bytes":        {"Bytes of all entries.", func(s outbox.Stats) float64 { return float64(s.Bytes) }},
	} {
		h.b.metrics.register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: g.help},
			func() float64 { return g.value(h.box.Stats()) }))
	}
}

// refused logs that a webhook was not let in, and counts it.
func (h *webhooks) refused(source string, r *http.Request, err error) {
	h.count(source, "refused")
	h.logRefused(source, r, err)
}

func (h *webhooks) logRefused(source string, r *http.Request, err error) {
	h.refusal.Do(func() {
		h.b.log.Warn().Err(err).Str("source", source).Str("path", r.URL.Path).Str("address", r.RemoteAddr).Msg("webhook refused")
	})
}

func (h *webhooks) count(source, result string) { h.counted.WithLabelValues(source, result).Inc() }

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
