package main

import (
	"bytes"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/ops/tail"
)

func TestTailWatchesARunningDaemon(t *testing.T) {
	environ := standinVariables(t)
	r := start(t, append(environ, "SUPABRIDGE_OPS_LISTEN=127.0.0.1:0"), "run", "--listen", "127.0.0.1:0")
	ops := r.prints(t, `"listen":"([^"]+)","time":"[^"]*","message":"ops"`)
	r.prints(t, feedIsLive)
	watcher := start(t, nil, "tail", "--ops", ops, "--kind", "change")
	value := func(name string) string {
		for _, pair := range environ {
			if rest, ok := strings.CutPrefix(pair, name+"="); ok {
				return rest
			}
		}
		t.Fatalf("no %s", name)
		return ""
	}
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(watcher.String(), "INSERT") { // it may not watch yet
		if time.Now().After(deadline) {
			t.Fatalf("tail prints:\n%s", watcher)
		}
		body := `{"conversation_id":"c1000000-0000-4000-8000-000000000001","content":"not to be seen"}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, value("SUPABASE_URL")+"/rest/v1/messages", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Apikey": {value("SUPABASE_SERVICE_ROLE_KEY")}, "Content-Type": {"application/json"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		select {
		case <-watcher.grew:
		case <-time.After(50 * time.Millisecond):
		}
	}
	http.DefaultClient.CloseIdleConnections()
	watcher.prints(t, `change     INSERT table=messages id=\S+ conversation=c1000000-0000-4000-8000-000000000001 tenant=d1000000-0000-4000-8000-000000000001 live (after) `)
	if out, err := program(t, nil, nil, "tail", "--ops", ops, "--bodies").CombinedOutput(); err == nil || !strings.Contains(string(out), "ops.tail_bodies is off") {
		t.Errorf("bodies: %v: %s", err, out)
	}
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
	watcher.prints(t, `tail: the bridge has (stopped)`)
	if strings.Contains(watcher.String(), "not to be seen") {
		t.Errorf("tail prints a body:\n%s", watcher)
	}
}

func TestWhatClientsChooseDoesNotReachTheTerminalAsOrders(t *testing.T) {
	var out bytes.Buffer
	if err := printSight(&out, tail.Sight{Kind: tail.Join, Text: "forbidden", Conversation: "\x1b[2J\u009b1m\nx"}); err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSuffix(out.String(), "\n"); strings.ContainsAny(s, "\x1b\u009b\n") {
		t.Errorf("prints %q", s)
	}
}
