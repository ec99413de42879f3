package record

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is one with an upstream server that is not asked.
func recorder(t testing.TB) *Recorder {
	t.Helper()
	r, err := New(Options{Upstream: "http://127.0.0.1:1", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// profileOf has a recorder see what a frontend (>) and its server (<) send, as Socket.IO packets,
// and loads the profile.
func profileOf(t *testing.T, lines ...string) (string, *config.Config) {
	t.Helper()
	r := recorder(t)
	s := r.session("4")
	r.handshake(httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket", nil))
	s.enginePacket([]byte(`40{"token":"eyJ.eyJzdWIiOiJ1LTEiLCJ1c2VyX21ldGFkYXRhIjp7Im5hbWUiOiJBbmEifX0.x"}`), false)
	for _, line := range lines {
		s.enginePacket([]byte("4"+line[2:]), line[0] == '<')
	}
	var text strings.Builder
	if err := r.WriteProfile(&text); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Sources{File: file, Sections: []string{"vocabulary", "socketio", "auth"}})
	if err != nil {
		t.Fatalf("the profile can't be loaded: %v\n%s", err, text.String())
	}
	if _, err := vocabulary.New(vocabulary.Options{
		Preset: cfg.Vocabulary.Preset, ConversationNoun: cfg.Vocabulary.ConversationNoun, TenantNoun: cfg.Vocabulary.TenantNoun, In: cfg.Vocabulary.In, Out: cfg.Vocabulary.Out,
	}); err != nil {
		t.Fatalf("the profile's vocabulary can't be used: %v\n%s", err, text.String())
	}
	return text.String(), cfg
}

func TestAFrontendOfAKnownStyleNeedsNoRules(t *testing.T) {
	text, cfg := profileOf(t,
		`> 2["join-conversation","c1"]`, `> 2["typing-start",{"conversationId":"c1"}]`,
		`< 2["user-typing",{"conversationId":"c1","userId":"u-2","userName":"Ben","isTyping":true}]`,
		`< 2["new-message",{"id":"m","conversationId":"c1","content":"x","createdAt":"2030-01-01T00:00:00Z"}]`,
		`< 2["online-users",["u-1","u-2"]]`, `< 2["user-offline",{"userId":"u-2"}]`)
	if cfg.Vocabulary.Preset != "kebab" || len(cfg.Vocabulary.In) > 0 || len(cfg.Vocabulary.Out) > 0 {
		t.Errorf("want the preset kebab and no rules:\n%s", text)
	}
	if len(cfg.Auth.Credentials) != 1 || cfg.Auth.Credentials[0] != "auth.token" {
		t.Errorf("credentials %v, want auth.token", cfg.Auth.Credentials)
	}
}

func TestRulesAreDerivedFromWhatTheServerSends(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"wrapped", []string{`> 2["joinRoom",{"roomId":7}]`, `< 2["msg",{"room":7,"data":{"id":1,"body":"hi","created_at":"now"}}]`},
			[]string{`{event: msg, shape: snake, rename: {content: body}, payload: {room: '${conversation.id}', data: '${payload}'}}`}},
		{"status", []string{`> 2["join","c1"]`, `< 2["msg_status",{"id":"m","state":"read","at":"now"}]`},
			[]string{`{event: msg_status, payload: {id: '${payload.messageId}', state: '${payload.status}', at: '${payload.timestamp}'}}`}},
		{"bare ids", []string{`> 2["join","c1"]`, `> 2["hello",{"userId":"u-9"}]`, `< 2["went-offline","u-9"]`}, []string{`{event: went-offline, args: ['${user.id}']}`}},
		{"ids beside usual ones", []string{`> 2["join","c1"]`, `> 2["enter_thread",{"thread":{"key":"c2"}}]`, `> 2["typing",{"on":true,"in":"c2"}]`},
			[]string{`join: {events: [enter_thread], id: [$0.thread.key, $0]}`, `typing: {id: [$0.in], state: [$0.on]}`}},
		{"unknown", []string{`> 2["frobnicate",{"a":1}]`, `< 2["frobnicated",true]`}, []string{"# The frontend emits frobnicate ({a: number})", "# The server sends frobnicated (boolean)"}},
		{"text of a message", []string{`> 2["join","c1"]`, `> 2["send",{"to":"c1","say":"hello there"}]`}, []string{`send_message: {events: [send], id: [$0.to], text: [$0.say]}`, "sending.enabled"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, _ := profileOf(t, test.lines...)
			for _, want := range test.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
		})
	}
}

func TestAProfileHoldsNoValue(t *testing.T) {
	text, _ := profileOf(t, `> 21["join",{"id":"c-secret"}]`, `< 31[{"opened":true,"key":"k3y-secret","user":"u-1"}]`, `> 2["send_message",{"conversationId":"c-secret","text":"a secret"}]`,
		`< 2["weird_presence",{"who":"u-1","mood":"secretive mood","n":12345}]`)
	for _, secret := range []string{"secret", "u-1", "12345", "eyJ"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in\n%s", secret, text)
		}
	}
}

func TestPollsOfBothProtocolsAreRead(t *testing.T) {
	for version, body := range map[string]string{"4": "42[\"a\",1]\x1e451-[\"b\",{\"_placeholder\":true,\"num\":0}]\x1ebAQI=", "3": "11:42[\"a\",\"é\"]"} {
		r := recorder(t)
		r.session(version).payload([]byte(body), false)
		if want := strings.Count(body, `["`); len(r.emitted.names) != want {
			t.Errorf("version %s: %q were read of %q, want %d", version, r.emitted.names, body, want)
		}
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	r := recorder(t)
	s := r.session("4")
	for i := range 2 * maxEvents {
		s.enginePacket([]byte(`42["e`+strings.Repeat("x", i)+`",{"k`+strings.Repeat("y", i)+`":1}]`), false)
		s.enginePacket([]byte(`42["same",{"k`+strings.Repeat("y", i)+`":1}]`), false)
	}
	if names, samples := len(r.emitted.names), len(r.emitted.events["same"].samples); names != maxEvents || samples != maxSamples {
		t.Errorf("%d names and %d samples are kept, want %d and %d", names, samples, maxEvents, maxSamples)
	}
}

func TestAnyPathAndNamespaceIsAnswered(t *testing.T) {
	r, err := New(Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server := httptest.NewServer(r)
	defer server.Close()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/api/anything?EIO=4&transport=polling", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || r.paths[0] != "/api/anything" {
		t.Errorf("status %d, paths %q", resp.StatusCode, r.paths)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte("42[\"a\",{\"id\":1}]\x1e41"), false)
	f.Add([]byte("3:4211:42[\"a\",\"é\"]"), true)
	f.Add([]byte("0{\"sid\":\"x\"}\x1eb4AQ=="), true)
	f.Add([]byte(`42["join",{"thread":{"id":"c"},"t":"a.eyJ9.b"}]`), false)
	f.Fuzz(func(t *testing.T, body []byte, v3 bool) {
		r := recorder(t)
		s := r.session(map[bool]string{true: "3", false: "4"}[v3])
		s.payload(body, false)
		s.payload(body, true)
		s.frame(true, body, true)
		if err := r.WriteProfile(new(strings.Builder)); err != nil {
			t.Fatal(err)
		}
	})
}
