package bridge

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestALargeRowClosesNobody has a row of 700 kB change its status: once such a change was told with
// the content twice, and closed every browser that saw it.
func TestALargeRowClosesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.ask("join_conversation", bakery)
	id := w.write(bakery, strings.Repeat("L", 700_000))
	for _, name := range []string{"new_message", "message_updated"} {
		if name == "message_updated" {
			w.rest("PATCH", "messages?id=eq."+id, `{"status":"DELIVERED"}`)
		}
		payload := ana.event(name)
		message, _ := payload["message"].(map[string]any)
		if payload["id"] != id || message["id"] != id || payload["content"] != nil || fmt.Sprint(payload["_truncated"], message["_truncated"]) != "[content] [content]" {
			t.Errorf("%s does not say that the content is missing: %.300v", name, payload)
		}
		if name == "message_updated" && payload["status"] != "DELIVERED" {
			t.Errorf("the status is %v", payload["status"])
		}
	}
	if status := ana.event("message_status_update"); status["messageId"] != id || status["status"] != "DELIVERED" {
		t.Errorf("the status update is %v", status)
	}
	small := w.write(bakery, "small")
	if payload := ana.event("new_message"); payload["id"] != small {
		t.Errorf("after it came %v", payload)
	}
}

// TestABurstThrowsNobodyOut has 5,000 rows of 1 kB committed at once, while a browser reads nothing
// before all have been sent.
func TestABurstThrowsNobodyOut(t *testing.T) {
	t.Parallel()
	const rows = 5000
	w := newWorld(t, nil)
	slow, fast := w.as(anaID), w.as(benID)
	for _, b := range []*browser{slow, fast} {
		b.ask("join_conversation", bakery)
	}
	all := make([]map[string]any, rows)
	for i := range all {
		all[i] = map[string]any{"conversation_id": bakery, "content": fmt.Sprintf("number %d ", i) + strings.Repeat("x", 1000)}
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	w.rest("POST", "messages", string(body))
	// The slow one's packets are not taken, so that its reader stands still after some thousand.
	for _, b := range []*browser{fast, slow} {
		seen := make(map[string]bool, rows)
		for range rows {
			id, _ := b.event("new_message")["id"].(string)
			seen[id] = true
		}
		if len(seen) != rows {
			t.Errorf("of %d rows %d came", rows, len(seen))
		}
	}
}
