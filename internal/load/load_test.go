package load_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "a secret of this test, long enough"
	tenant = "d1000000-0000-4000-8000-000000000001"
	bakery = "c1000000-0000-4000-8000-000000000001"
)

// serve runs a bridge on a stand-in and gives its address and the tokens of two users.
func serve(t *testing.T) (url string, tokens []string) {
	t.Helper()
	project, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	supabase := httptest.NewServer(project.Handler())
	cfg := config.Default()
	cfg.Supabase.URL = supabase.URL
	cfg.Supabase.ServiceRoleKey = config.Secret(project.ServiceKey())
	cfg.Supabase.JWTSecret = standin.DefaultJWTSecret
	cfg.Publish.Secret = secret
	b, err := bridge.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	port := httptest.NewServer(b.Handler())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		port.Close()
		if err := project.Close(context.Background()); err != nil {
			t.Error(err)
		}
		supabase.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	for _, user := range []string{"a1000000-0000-4000-8000-000000000001", "a1000000-0000-4000-8000-000000000002"} {
		token, err := project.Tokens().Mint("authenticated", user, map[string]any{"aud": "authenticated", "app_metadata": map[string]any{"distributor_id": tenant}}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	return port.URL, tokens
}

func TestLoadIsMeasured(t *testing.T) {
	url, tokens := serve(t)
	told := 0
	report, err := load.Run(t.Context(), load.Options{
		URL: url, Connections: 20, Tokens: tokens, Conversations: []string{bakery}, Messages: 50, Typing: 20, Churn: 5, Payload: 100, Secret: secret,
		Duration: 2 * time.Second, Progress: func(load.Progress) { told++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Connected != 20 || len(report.Problems) > 0 {
		t.Errorf("connected %d of 20; problems %v", report.Connected, report.Problems)
	}
	if report.Published == 0 || report.Delivered < report.Expected || report.Expected == 0 || report.Message.Count != int64(report.Delivered) || report.Message.P99 <= 0 {
		t.Errorf("published %d, delivered %d of %d, measured %+v", report.Published, report.Delivered, report.Expected, report.Message)
	}
	if report.Typed == 0 || report.Typing.Count == 0 {
		t.Errorf("%d began to type, %d were told", report.Typed, report.Typing.Count)
	}
	if report.Broken == 0 || report.Back != report.Broken || report.Recovered != report.Back {
		t.Errorf("broken %d, back %d, recovered %d", report.Broken, report.Back, report.Recovered)
	}
	if told == 0 || len(report.Points) == 0 {
		t.Errorf("told of progress %d times, %d points", told, len(report.Points))
	}
	var svg strings.Builder
	if err := report.Chart(&svg); err != nil || !strings.Contains(svg.String(), "<polyline") {
		t.Errorf("chart %q (%v)", svg.String(), err)
	}
	if table := report.Table(); !strings.Contains(table, "connected  20") || !strings.Contains(table, "p99") {
		t.Errorf("table:\n%s", table)
	}
}

func TestRefusalsAreCountedAndNobodyConnectedIsAnError(t *testing.T) {
	url, tokens := serve(t)
	report, err := load.Run(t.Context(), load.Options{URL: url, Connections: 4, Tokens: []string{tokens[0], "no token at all"}, Conversations: []string{bakery}, Duration: time.Millisecond})
	if err != nil || report.Connected != 2 || len(report.Problems) != 1 {
		t.Errorf("report %+v (%v), want half of them refused", report, err)
	}
	_, err = load.Run(t.Context(), load.Options{URL: url, Connections: 2, Tokens: tokens, Conversations: []string{"c2000000-0000-4000-8000-000000000001"}, Duration: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "join") {
		t.Errorf("a conversation of others: %v", err)
	}
	_, err = load.Run(t.Context(), load.Options{URL: url, Connections: 2, Tokens: tokens, Conversations: []string{bakery}, Messages: 1, Secret: "wrong", Duration: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong secret: %v", err)
	}
}

func TestOnlyThisMachineIsOwn(t *testing.T) {
	for address, want := range map[string]bool{
		"http://127.0.0.1:3001": true, "https://localhost": true, "http://[::1]:3001": true, "http://127.9.9.9": true,
		"http://10.0.0.1": false, "https://app.example.com": false, "http://localhost.example.com": false, "http://0.0.0.0:3001": false,
	} {
		if err := load.Own(address); (err == nil) != want || err != nil && !errors.Is(err, load.ErrNotOwn) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1:3001", "ws://127.0.0.1", "http://"} {
		if err := load.Own(address); err == nil || errors.Is(err, load.ErrNotOwn) {
			t.Errorf("%q: %v, want that it is no address", address, err)
		}
	}
}
