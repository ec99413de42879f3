package main

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// TestNoSecretComesOut configures every secret there is, runs the daemon at its most talkative
// through all it does, right and wrong, and looks for them in everything it prints and serves.
func TestNoSecretComesOut(t *testing.T) {
	project := standinVariables(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("hush-admin-password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	environ := append(project,
		"SUPABRIDGE_LOG_LEVEL=trace", "SUPABRIDGE_LOG_FORMAT=json", "SUPABRIDGE_OPS_LISTEN=127.0.0.1:0",
		"SUPABRIDGE_WEBHOOKS_TWILIO_AUTH_TOKENS=hush-twilio-token-one,hush-twilio-token-two", "SUPABRIDGE_WEBHOOKS_TWILIO_PUBLIC_URLS=https://hooks.example.com",
		"SUPABRIDGE_WEBHOOKS_SUPABASE_SECRET=hush-database-webhook", "SUPABRIDGE_WEBHOOKS_OUTGOING_SECRET=hush-outgoing-secret",
		"SUPABRIDGE_WEBHOOKS_OUTGOING_URL=http://127.0.0.1:1/hook", "SUPABRIDGE_WEBHOOKS_OUTBOX_PATH="+filepath.Join(t.TempDir(), "outbox"),
		"SUPABRIDGE_PUBLISH_SECRET=hush-publish-secret", "SUPABRIDGE_SOCKETIO_ADMIN_USERNAME=ops", "SUPABRIDGE_SOCKETIO_ADMIN_PASSWORD_HASH="+string(hash),
		"SUPABRIDGE_OPS_TRACES_URL=http://127.0.0.1:1/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS=authorization=hush-collector-key",
	)
	secrets := []string{"hush", string(hash)}
	for _, pair := range project {
		if name, value, _ := strings.Cut(pair, "="); name != "SUPABASE_URL" && name != "SUPABASE_ANON_KEY" {
			secrets = append(secrets, value)
		}
	}
	token := tokenFor(t, anaID)
	_, payload, _ := strings.Cut(token, ".")
	secrets = append(secrets, token, payload[strings.Index(payload, ".")+1:])

	r := start(t, environ, "run", "--listen", "127.0.0.1:0")
	address, ops := r.prints(t, `"listen":"([^"]+)","tls"`), r.prints(t, `"listen":"([^"]+)","time":"[^"]+","message":"ops"`)
	r.prints(t, feedIsLive)
	var seen strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request := func(method, url, body string, header ...string) {
		t.Helper()
		q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			q.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		seen.WriteString(q.URL.Path + "\n" + string(text) + "\n")
	}

	heard := make(chan string, 100)
	ana, err := connect(ctx, address, token, func(event, _ string) {
		if event == "new_message" {
			heard <- event
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range [][]any{{"join_conversation", bakery}, {"join_conversation", "not-there"}, {"typing_start", bakery}, {"access_token", "hush-refused-token"}, {"access_token", token}, {"nothing", token}} {
		if _, err := ana.ask(ctx, ask[0].(string), ask[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := connect(ctx, address, "hush-refused-token", nil); err == nil {
		t.Fatal("a made-up token was let in")
	}
	url, key := r.prints(t, `"supabase":"([^"]+)"`), ""
	for _, pair := range project {
		if value, ok := strings.CutPrefix(pair, "SUPABASE_SERVICE_ROLE_KEY="); ok {
			key = value
		}
	}
	if err := writeMessage(ctx, url, key, "hush, this is the body of a message"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-ctx.Done():
		t.Fatal("the message did not come")
	}
	main := "http://" + address
	request("GET", main+"/socket.io/?EIO=4&transport=polling&token="+token, "")
	request("GET", main+"/socket.io/?EIO=9&transport=polling&token="+token, "")
	for _, header := range [][]string{{"Authorization", "Bearer hush-publish-secret"}, {"Authorization", "Bearer hush-publish-guess"}, {"X-Bridge-Signature", "t=1,v1=hush"}} {
		request("POST", main+"/api/publish", `{"event":"news","rooms":["conversation:`+bakery+`"],"data":"hush"}`, header...)
	}
	request("POST", main+"/webhooks/twilio", "MessageSid=SM1&Body=hush", "X-Twilio-Signature", "hush", "Content-Type", "application/x-www-form-urlencoded")
	for _, secret := range []string{"hush-database-webhook", "hush-database-guess"} {
		request("POST", main+"/webhooks/supabase", `{"type":"INSERT","table":"messages","record":{"content":"hush"}}`, "Authorization", "Bearer "+secret)
	}
	for _, path := range []string{"/", "/status.json", "/metrics", "/readyz", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		request("GET", "http://"+ops+path, "")
	}
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.prints(t, `(?i)SIGHUP|nothing (in it )?changed|read anew`)
	ana.close()
	http.DefaultClient.CloseIdleConnections()
	r.stop(t, syscall.SIGTERM, 0, 20*time.Second)

	for _, args := range [][]string{{"config", "print"}, {"config", "check"}, {"config", "schema"}, {"doctor"}, {"doctor", "--json"}} {
		output, err := program(t, environ, nil, args...).CombinedOutput()
		if err != nil && args[0] != "doctor" { // which finds that nobody is there
			t.Errorf("%v: %v\n%s", args, err, output)
		}
		seen.WriteString(strings.Join(args, " ") + "\n" + string(output) + "\n")
	}
	for what, text := range map[string]string{"log": r.String(), "answers": seen.String()} {
		if len(text) < 1000 {
			t.Errorf("the %s are too short to prove anything:\n%s", what, text)
		}
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("the %s hold a secret: …%s", what, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
}
