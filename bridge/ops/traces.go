package ops

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// Bounds of traces.
const (
	maxTraced  = 10_000          // messages whose webhook is remembered until their row comes
	tracesTime = 2 * time.Second // for the last spans when the bridge stops
)

// traceHeader names the span that a request, or an entry of the outbox, belongs to (W3C Trace
// Context).
const traceHeader = "Traceparent"

// Traces follow a message: webhook, delivery by the outbox, the row's change, its being sent to
// rooms. A message is recognised in its row by the MessageSid. Spans hold ids and never contents.
// Where traces are off they do nothing. Safe for concurrent use.
type Traces struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider // nil where traces are off
	webhooks *lru.Cache[string, trace.SpanContext]
	sid      string // column with the MessageSid
	messages string // table
}

// TracesOptions say where spans go and how a message is recognised in its row.
type TracesOptions struct {
	URL           string      // of an OpenTelemetry collector (OTLP over HTTP); empty: traces are off
	OneIn         int         // one of so many messages is traced
	MessagesTable string      // whose rows come of webhooks
	SidColumn     string      // that holds the MessageSid; empty: rows are not joined to webhooks
	Failed        func(error) // is told when spans could not be sent
}

// NewTraces begins sending spans where a collector is named. It connects when the first ones are
// due.
func NewTraces(opts TracesOptions) (*Traces, error) {
	t := &Traces{tracer: noop.NewTracerProvider().Tracer(""), sid: opts.SidColumn, messages: opts.MessagesTable}
	if opts.URL == "" {
		return t, nil
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(opts.URL))
	if err != nil {
		return nil, fmt.Errorf("ops.traces.url: %w", err)
	}
	if t.webhooks, err = lru.New[string, trace.SpanContext](maxTraced); err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(reporting{exporter, opts.Failed}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(1/float64(opts.OneIn)))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "supabridge"))),
	)
	t.tracer = t.provider.Tracer("github.com/supabridge/supabridge/bridge")
	return t, nil
}

// reporting reports when spans could not be sent: the SDK would tell its own log only.
type reporting struct {
	sdktrace.SpanExporter
	failed func(error)
}

func (r reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		r.failed(err)
	}
	return nil
}

// Close sends what is left, as far as the collector takes it in time.
func (t *Traces) Close() {
	if t == nil || t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesTime)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what the collector does not take was told by reporting
}

// Webhook begins the span of one that came. It begins a trace of its own: what the sender says of
// one isn't believed.
func (t *Traces) Webhook(ctx context.Context, source string) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, "webhook "+source, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer))
}

// Describe says what a webhook is about.
func (t *Traces) Describe(span trace.Span, event twilio.Event) {
	span.SetAttributes(attribute.String("twilio.sid", event.Sid), attribute.String("twilio.status", event.Status))
}

// Carry writes ctx's span into an entry's header, which may be nil.
func (t *Traces) Carry(ctx context.Context, header map[string]string) map[string]string {
	if t.provider == nil {
		return header
	}
	if header == nil {
		header = make(map[string]string, 1)
	}
	delete(header, traceHeader) // the sender's
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	if parent := carrier.Get("traceparent"); parent != "" {
		header[traceHeader] = parent
	}
	return header
}

// Request writes ctx's span into a request's header.
func (t *Traces) Request(ctx context.Context, header http.Header) {
	if t.provider != nil {
		header.Del(traceHeader)
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

// Delivery wraps a function of the outbox in a span that follows the webhook's.
func (t *Traces) Delivery(target string, deliver outbox.Deliver) outbox.Deliver {
	if t.provider == nil {
		return deliver
	}
	return func(ctx context.Context, item outbox.Item) error {
		carrier := propagation.MapCarrier{"traceparent": item.Header[traceHeader]}
		ctx, span := t.tracer.Start(propagation.TraceContext{}.Extract(ctx, carrier), "deliver "+target, trace.WithAttributes(
			attribute.Int64(
				"outbox.id",
				int64(item.ID),
			),
			attribute.Int("outbox.attempts", item.Attempts),
			attribute.Float64("outbox.waited_seconds", time.Since(item.At).Seconds()),
		))
		defer span.End()
		err := deliver(ctx, item)
		Fail(span, err)
		return err
	}
}

// Store remembers that a message's row comes of ctx's span.
func (t *Traces) Store(ctx context.Context, event twilio.Event) {
	if t.provider != nil && event.Sid != "" {
		t.webhooks.Add(event.Sid, trace.SpanContextFromContext(ctx))
	}
}

// Change begins the span of a row's change, from its commit on: after the webhook that brought it,
// if one did. A status has the message's.
func (t *Traces) Change(ctx context.Context, c feed.Change) (context.Context, trace.Span) {
	if t.provider == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	if c.Table == t.messages && t.sid != "" {
		if parent, ok := t.webhooks.Get(c.Row.Text(t.sid)); ok {
			ctx = trace.ContextWithSpanContext(ctx, parent)
		}
	}
	by := "live"
	if c.Found {
		by = "read"
	}
	opts := []trace.SpanStartOption{
		trace.WithAttributes(
			attribute.String("db.table", c.Table),
			attribute.String("db.action", string(c.Action)),
			attribute.String("feed.by", by),
		),
	}
	if now := time.Now(); !c.Found && !c.Commit.IsZero() && c.Commit.Before(now) {
		opts = append(opts, trace.WithTimestamp(c.Commit))
	}
	return t.tracer.Start(ctx, "change "+c.Table, opts...)
}

// Emit begins the span of sending to rooms.
func (t *Traces) Emit(ctx context.Context) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, "emit")
}

// Fail marks a span as failed. A stop is no failure.
func Fail(span trace.Span, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		span.SetStatus(codes.Error, err.Error())
	}
}
