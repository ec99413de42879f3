package sample

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
)

type row struct {
	ID           string `json:"id"`
	Conversation string `json:"conversation_id"`
	Content      string `json:"content"`
	ByCustomer   bool   `json:"is_from_customer"`
	Status       string `json:"status"`
}

// newProject starts a stand-in with its own seed and gives what traffic needs to know of it.
func newProject(t *testing.T) (*standin.Server, TrafficOptions) {
	t.Helper()
	project, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(project.Handler())
	t.Cleanup(func() {
		server.Close()
		if err := project.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	o := TrafficOptions{SupabaseURL: server.URL, ServiceKey: project.ServiceKey()}
	for _, user := range project.Users() {
		o.Users = append(o.Users, User{ID: user.ID, Name: user.Name, Tenant: user.Tenant, Token: "of " + user.Name})
	}
	return project, o
}

func newTestTraffic(t *testing.T, o TrafficOptions) *traffic {
	t.Helper()
	tr, err := newTraffic(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.close)
	return tr
}

func (t *traffic) steps(tb testing.TB, n int) {
	tb.Helper()
	for i := range n {
		if err := t.step(tb.Context()); err != nil {
			tb.Fatalf("step %d: %v", i, err)
		}
	}
}

// messages gives all messages by id.
func (t *traffic) messages(tb testing.TB) map[string]row {
	tb.Helper()
	var rows []row
	if err := t.ask(tb.Context(), http.MethodGet, "messages?select=id,conversation_id,content,is_from_customer,status", nil, &rows); err != nil {
		tb.Fatal(err)
	}
	byID := make(map[string]row, len(rows))
	for _, r := range rows {
		byID[r.ID] = r
	}
	return byID
}

func TestCustomersBeginInEveryTenant(t *testing.T) {
	_, o := newProject(t)
	tr := newTestTraffic(t, o)
	before := tr.messages(t)
	tr.steps(t, 1)
	tenants := make(map[string]bool)
	for _, user := range o.Users {
		tenants[user.Tenant] = true
	}
	spoken := make(map[string]bool)
	for id, message := range tr.messages(t) {
		if _, old := before[id]; old {
			continue
		}
		if !message.ByCustomer || message.Status != "RECEIVED" || message.Content == "" {
			t.Errorf("first message %+v, want a customer's that was received", message)
		}
		spoken[message.Conversation] = true
	}
	if len(spoken) != len(tenants) {
		t.Errorf("%d conversations began, want one in each of %d tenants", len(spoken), len(tenants))
	}
}

func TestAgentsMessagesBecomeDeliveredAndThenRead(t *testing.T) {
	_, o := newProject(t)
	tr := newTestTraffic(t, o)
	var id string
	for range 10 {
		tr.steps(t, 1)
		for ours := range tr.ours {
			id = ours
		}
		if id != "" {
			break
		}
	}
	var seen []string
	for range 4 {
		seen = append(seen, tr.messages(t)[id].Status)
		tr.steps(t, 1)
	}
	if want := "SENT DELIVERED READ READ"; strings.Join(seen, " ") != want {
		t.Errorf("statuses of message %q after each step: %v, want %s", id, seen, want)
	}
}

func TestCustomerRepliesOnceToWhatThePageWrote(t *testing.T) {
	_, o := newProject(t)
	tr := newTestTraffic(t, o)
	tr.steps(t, 4) // what was on its way when the seed was written has arrived, and was answered
	conversation := tr.stages[0].conversations[len(tr.stages[0].conversations)-1]
	for _, text := range []string{"one", "two"} {
		if err := tr.ask(t.Context(), http.MethodPost, "messages", map[string]any{"conversation_id": conversation, "content": text, "status": "SENT"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := tr.messages(t)
	tr.steps(t, 4)
	var replied []row
	for id, message := range tr.messages(t) {
		if _, old := before[id]; !old && message.Conversation == conversation {
			replied = append(replied, message)
		}
	}
	if len(replied) != 1 || !replied[0].ByCustomer {
		t.Errorf("replies in %s: %+v, want one of the customer", conversation, replied)
	}
}

func TestTrafficDeletesItsOldestMessagesAndNoOthers(t *testing.T) {
	_, o := newProject(t)
	tr := newTestTraffic(t, o)
	seeded := tr.messages(t)
	tr.steps(t, 300)
	now := tr.messages(t)
	for id := range seeded {
		if _, kept := now[id]; !kept {
			t.Errorf("message %s of the seed was deleted", id)
		}
	}
	perConversation := make(map[string]int)
	written := make(map[string]bool)
	for id, message := range now {
		if _, old := seeded[id]; !old {
			perConversation[message.Conversation]++
			written[id] = true
		}
	}
	full := 0
	for conversation, count := range perConversation {
		if count > keptMessages {
			t.Errorf("conversation %s holds %d messages of traffic, want at most %d", conversation, count, keptMessages)
		}
		if count == keptMessages {
			full++
		}
	}
	if full == 0 {
		t.Errorf("no conversation reached %d messages, so nothing was deleted: %v", keptMessages, perConversation)
	}
	for id := range tr.ours {
		if !written[id] {
			t.Errorf("message %s is remembered but deleted", id)
		}
	}
}

func TestRunTrafficEndsWithItsContext(t *testing.T) {
	project, o := newProject(t)
	o.Interval = time.Millisecond
	o.Failed = func(err error) { t.Errorf("step failed: %v", err) }
	changes := make(chan struct{}, 5)
	defer project.DB().OnChange(func([]standin.Change) {
		select {
		case changes <- struct{}{}:
		default:
		}
	})()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- RunTraffic(ctx, o) }()
	for range cap(changes) {
		<-changes
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("RunTraffic after its context ended: %v, want nil", err)
	}
}

func TestRunTrafficTriesAgainWhenTheProjectRefuses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	requests := 0 // RunTraffic makes one request after the other
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 3 {
			cancel()
		}
		http.Error(w, "the secret body", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	var failed []error
	err := RunTraffic(ctx, TrafficOptions{SupabaseURL: server.URL, ServiceKey: "key-nobody-should-see", Interval: time.Millisecond, Failed: func(err error) { failed = append(failed, err) }})
	if err != nil {
		t.Errorf("RunTraffic: %v, want nil", err)
	}
	if len(failed) < 2 {
		t.Fatalf("%d failures told, want 2 or more", len(failed))
	}
	if text := failed[0].Error(); !strings.Contains(text, "GET conversations: 503") || strings.Contains(text, "secret body") || strings.Contains(text, "key-nobody") {
		t.Errorf("failure %q, want what was asked and the status, and nothing else", text)
	}
}

func TestRunTrafficRefusesAddressesThatCannotWork(t *testing.T) {
	for _, o := range []TrafficOptions{
		{},
		{SupabaseURL: "127.0.0.1:54321"},
		{SupabaseURL: "http://[::1"},
		{SupabaseURL: "http://127.0.0.1:54321", SocketURL: "nowhere"},
	} {
		if err := RunTraffic(t.Context(), o); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("RunTraffic with %q and %q: %v, want an error", o.SupabaseURL, o.SocketURL, err)
		}
	}
}
