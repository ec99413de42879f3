package bridge

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// newCollector takes spans as a collector of OpenTelemetry does.
func newCollector(t *testing.T) (spans <-chan *otlp.Span, url string) {
	t.Helper()
	ch := make(chan *otlp.Span, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			t.Error(err)
		}
		for _, text := range []string{"hello", authToken} {
			if strings.Contains(string(body), text) {
				t.Errorf("a span holds %q", text)
			}
		}
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					ch <- span
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return ch, server.URL + "/v1/traces"
}

func TestATraceFollowsAMessageFromWebhookToEmit(t *testing.T) {
	t.Parallel()
	spans, url := newCollector(t)
	parents := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") }))
	t.Cleanup(app.Close)
	w := newWorldOn(t, standin.Options{}, twilioModes(t, func(c *config.Config) {
		c.Ops.Traces.URL = url
		c.Webhooks.Twilio.ForwardURL = app.URL
	}, "store", "forward"))
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	forged := "00-11111111111111111111111111111111-2222222222222222-01"
	if code, body := w.twilioPosts(inbound("SM1", "hello"), "Traceparent", forged); code != 200 {
		t.Fatalf("answer %d %s", code, body)
	}
	ana.event("new_message")
	w.delivered()
	byName := make(map[string]*otlp.Span)
	timeout := time.After(patience)
	for _, name := range []string{"webhook twilio", "deliver store", "deliver forward", "change messages", "emit"} {
		for byName[name] == nil {
			select {
			case span := <-spans:
				byName[span.Name] = span
			case <-timeout:
				t.Fatalf("no span %q came, only %v", name, byName)
			}
		}
	}
	root := byName["webhook twilio"]
	if len(root.ParentSpanId) != 0 {
		t.Error("the sender's trace is believed")
	}
	for child, parent := range map[string]string{"deliver store": "webhook twilio", "deliver forward": "webhook twilio", "change messages": "deliver store", "emit": "change messages"} {
		c, p := byName[child], byName[parent]
		if string(c.TraceId) != string(root.TraceId) || string(c.ParentSpanId) != string(p.SpanId) {
			t.Errorf("%s does not follow %s in one trace", child, parent)
		}
		if c.EndTimeUnixNano < c.StartTimeUnixNano {
			t.Errorf("%s ends before it begins", child)
		}
	}
	if got, want := <-parents, "00-"+hex.EncodeToString(root.TraceId)+"-"+hex.EncodeToString(byName["deliver forward"].SpanId)+"-01"; got != want {
		t.Errorf("the application got traceparent %s, want %s", got, want)
	}
}

func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Ops.Traces.URL = "http://127.0.0.1:1/v1/traces" })
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	for range 20 {
		w.write(bakery, "hello")
		ana.event("new_message")
	}
}
