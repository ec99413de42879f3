package bridge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
)

// databasePosts posts a Database Webhook to an address and gives the answer's code and fields.
func (w *world) databasePosts(address, body string) (int, map[string]any) {
	w.t.Helper()
	old := w.address
	w.address = address
	defer func() { w.address = old }()
	code, answer := w.post("/webhooks/supabase", body, "Authorization", "Bearer "+ourSecret)
	var fields map[string]any
	if err := json.Unmarshal([]byte(answer), &fields); err != nil {
		w.t.Fatalf("%d %q is no JSON: %v", code, answer, err)
	}
	return code, fields
}

// databaseHook is an INSERT of a message.
func databaseHook(id, content string, at time.Time) string {
	stamp := at.UTC().Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"type":"INSERT","table":"messages","schema":"public","old_record":null,"record":
		{"id":%q,"conversation_id":%q,"content":%q,"status":"SENT","created_at":%q,"updated_at":%q}}`, id, bakery, content, stamp, stamp)
}

func TestADatabaseWebhookIsAnsweredAndCountedByWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Webhooks.Supabase.Secret = ourSecret })
	const id = "e9000000-0000-4000-8000-000000000009"
	now := time.Now()
	for _, c := range []struct {
		name, body string
		code       int
		result     string
	}{
		{"news", databaseHook(id, "new", now), 200, "taken"},
		{"the same again", databaseHook(id, "new", now), 200, "repeated"},
		{"another table", `{"type":"INSERT","table":"secrets","schema":"public","record":{"id":1}}`, 422, "unfollowed"},
		{"no table", `{"type":"INSERT","schema":"public","record":{"id":1}}`, 422, "unfollowed"},
		{"a foreign schema", `{"type":"INSERT","table":"messages","schema":"private","record":{"id":1}}`, 422, "unfollowed"},
		{"an unknown type", `{"type":"TRUNCATE","table":"messages","schema":"public","record":null}`, 422, "unknown_type"},
		{"null", `null`, 422, "unknown_type"},
		{"no record", `{"type":"INSERT","table":"messages","schema":"public"}`, 422, "unreadable"},
		{"a record without its key", `{"type":"INSERT","table":"messages","schema":"public","record":{"content":"x"}}`, 422, "unreadable"},
		{"a deleted row without its key", `{"type":"DELETE","table":"messages","schema":"public","record":{"id":"x"},"old_record":null}`, 422, "unreadable"},
		{"no webhook", `x`, 400, "unreadable"},
		{"a long body", `{"type":"` + strings.Repeat("x", int(w.bridge.cfg().Webhooks.Supabase.MaxBody)) + `"}`, 413, "unreadable"},
	} {
		series := fmt.Sprintf(`supabridge_webhooks_total{result=%q,source="database"}`, c.result)
		before := seriesValue(w.scrape(), series)
		code, answer := w.databasePosts(w.address, c.body)
		if code != c.code || answer["result"] != c.result || (code != 200) == (answer["error"] == nil) {
			t.Errorf("%s: %d %v, want %d and the result %s", c.name, code, answer, c.code, c.result)
		}
		if passed := c.result == "taken"; code == 200 && answer["passed"] != passed {
			t.Errorf("%s: %v, want passed %t", c.name, answer, passed)
		}
		if after := seriesValue(w.scrape(), series); after != before+1 {
			t.Errorf("%s: %s went from %v to %v", c.name, series, before, after)
		}
	}
}

// seriesValue is the value of a series of the metrics, 0 where it is not there.
func seriesValue(metrics, series string) (value float64) {
	_, rest, _ := strings.Cut(metrics, series+" ")
	_, _ = fmt.Sscan(rest, &value)
	return value
}

func TestADatabaseWebhookThatTheFeedDoesNotTakeInTimeIsNotCountedAsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Webhooks.Supabase.Secret = ourSecret })
	p := w.pause()
	code, answer := w.databasePosts(w.address, databaseHook("e9000000-0000-4000-8000-000000000009", "new", time.Now()))
	p.goOn()
	if code != 200 || answer["result"] != "not_taken" || answer["passed"] != false {
		t.Errorf("%d %v, want 200 and not_taken", code, answer)
	}
}

func TestANodeThatDoesNotLeadSaysThatItHandedARowToTheLeader(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	cluster := func(c *config.Config) {
		c.Webhooks.Supabase.Secret = ourSecret
		c.Cluster.Redis, c.Cluster.Changes, c.Cluster.Lease = config.Secret(redis.URL()), "leader", time.Second
	}
	w := newWorld(t, cluster)
	other := w.node(cluster)
	var address string
	eventually.Nothing(t, "one node leads and the other hears it", func() string {
		a, b := w.bridge.cluster.Status(), other.bridge.cluster.Status()
		switch {
		case a.Leads && a.Hears && !b.Hears:
			address = other.address
		case b.Leads && b.Hears && !a.Hears:
			address = w.address
		}
		if address == "" {
			return "neither"
		}
		return ""
	})
	ana := connect(t, address, map[string]string{"token": w.token(anaID)})
	ana.must("join_conversation", bakery)
	code, answer := w.databasePosts(address, databaseHook("e9000000-0000-4000-8000-000000000009", "by webhook", time.Now()))
	if code != 200 || answer["result"] != "handed_on" || answer["passed"] != false {
		t.Errorf("%d %v, want 200 and handed_on", code, answer)
	}
	if got := ana.event("new_message"); got["content"] != "by webhook" {
		t.Errorf("new_message %v", got)
	}
}
