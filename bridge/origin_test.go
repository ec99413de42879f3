package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/config"
)

// visit is a request for the Socket.IO endpoint as a browser, or another client, makes it.
type visit struct {
	host, origin, forwardedHost, site, mode, dest string
}

// by makes the visit and gives the status of the answer.
func (v visit) by(t *testing.T, address, transport string) int {
	t.Helper()
	url := address + "/socket.io/?EIO=4&transport=" + transport
	header := http.Header{}
	for name, value := range map[string]string{"Origin": v.origin, "X-Forwarded-Host": v.forwardedHost, "Sec-Fetch-Site": v.site,
		"Sec-Fetch-Mode": v.mode, "Sec-Fetch-Dest": v.dest} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if transport == "websocket" {
		if v.host != "" {
			header.Set("Host", v.host)
		}
		conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http"), header)
		if err == nil {
			_ = conn.Close()
		} else if resp == nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header, req.Host = header, v.host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// admits makes visits by both transports; wanted is whether they are to be let in.
func (w *world) admits(wanted bool, visits ...visit) {
	w.t.Helper()
	for _, v := range visits {
		for _, transport := range []string{"polling", "websocket"} {
			if got := v.by(w.t, w.address, transport); (got == http.StatusOK || got == http.StatusSwitchingProtocols) != wanted {
				w.t.Errorf("%s by %+v: HTTP %d, want it let in: %v", transport, v, got, wanted)
			}
		}
	}
}

// Under insecure_dev whoever connects may read everything: so no page from elsewhere may, nor one
// whose name was made to point here.
func TestInsecureDevIsForPagesOfThisMachineOnly(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{nil, {"*"}, {"https://app.example.com"}} {
		t.Run(fmt.Sprint(origins), func(t *testing.T) {
			w := newWorld(t, func(c *config.Config) { c.Auth.InsecureDev, c.SocketIO.CORS.Origins = true, origins })
			local := strings.TrimPrefix(w.address, "http://")
			w.admits(true,
				visit{}, // no page: Node.js, curl
				visit{host: local, origin: "http://" + local},
				visit{host: "localhost:3001", origin: "http://localhost:3001"},
				visit{host: "localhost:3001", origin: "http://localhost:3000"}, // the Next.js app
				visit{host: "127.0.0.1:3001", origin: "http://localhost:3000"},
				visit{host: "localhost:3001", origin: "http://127.0.0.1:3000"},
				visit{host: "[::1]:3001", origin: "http://[::1]:3000"},
				visit{host: "inbox.localhost:3001", origin: "https://app.localhost"},
				visit{site: "same-origin"})
			w.admits(false,
				visit{origin: "https://evil.example"},
				visit{origin: "https://app.example.com"},
				visit{origin: "null"}, // a file, a sandboxed frame
				visit{origin: "http://localhost.evil.example"},
				visit{origin: "http://127.0.0.1.evil.example"},
				visit{origin: "http://localhost@evil.example"},
				visit{origin: "http://192.168.1.5:3000"},
				visit{host: "evil.example:3001", origin: "http://evil.example:3001"}, // its name points here now
				visit{host: "evil.example:3001"},
				visit{host: "localhost.evil.example:3001", origin: "http://localhost:3000"},
				visit{site: "cross-site"}) // a script or an image of another site: no Origin
		})
	}
}

// Where no origins are named only pages of the server's own origin may connect, by websocket too,
// and on a developer's machine those of its other ports.
func TestWithoutNamedOriginsPagesOfTheSameOriginMayConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.admits(true,
		visit{},
		visit{host: "app.example.com", origin: "https://app.example.com"},
		visit{host: "APP.example.com", origin: "https://app.example.com"},
		visit{host: "app.example.com:443", origin: "https://app.example.com"},
		visit{host: "app.example.com:80", origin: "http://app.example.com"},
		visit{host: "app.example.com:8443", origin: "https://app.example.com:8443"},
		visit{host: "localhost:3001", origin: "http://localhost:3000"},
		visit{host: "127.0.0.1:3001", origin: "http://localhost:3000"})
	w.admits(false,
		visit{origin: "https://evil.example"},
		visit{host: "app.example.com", origin: "https://evil.example"},
		visit{host: "app.example.com", origin: "https://app.example.com:8443"},
		visit{host: "app.example.com:443", origin: "http://app.example.com"},
		visit{host: "app.example.com", origin: "https://sub.app.example.com"},
		visit{host: "app.example.com", origin: "http://localhost:3000"},
		visit{host: "10.0.0.5:3001", origin: "http://localhost:3000"},
		visit{host: "internal:3001", origin: "https://app.example.com", forwardedHost: "app.example.com"}, // nobody named the proxy
		visit{host: "app.example.com", origin: "null"})
	log := w.log.String()
	for _, part := range []string{"https://evil.example", `socketio: {cors: {origins: [\"https://evil.example\"]}}`} {
		if !strings.Contains(log, part) {
			t.Errorf("the log doesn't say %s", part)
		}
	}
}

// A trusted proxy says which host the browser asked for.
func TestSameOriginGoesByTheHostThatATrustedProxyForwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Limits.TrustedProxies = []string{"127.0.0.0/8"} })
	w.admits(true,
		visit{host: "internal:3001", origin: "https://app.example.com", forwardedHost: "app.example.com"},
		visit{host: "internal:3001", origin: "https://app.example.com", forwardedHost: "app.example.com, internal"},
		visit{host: "app.example.com", origin: "https://app.example.com"})
	w.admits(false,
		visit{host: "internal:3001", origin: "https://evil.example", forwardedHost: "app.example.com"},
		visit{host: "internal:3001", origin: "https://app.example.com"})
}

// A page of another origin that may connect can also read what it polls.
func TestAPageThatMayConnectCanReadItsPolls(t *testing.T) {
	t.Parallel()
	for _, insecure := range []bool{false, true} {
		w := newWorld(t, func(c *config.Config) { c.Auth.InsecureDev = insecure })
		if got := originAnswer(t, w.address, "http://localhost:3000"); got != "http://localhost:3000" {
			t.Errorf("insecure_dev %v: Access-Control-Allow-Origin %q", insecure, got)
		}
		if got := originAnswer(t, w.address, "https://evil.example"); got != "" {
			t.Errorf("insecure_dev %v: Access-Control-Allow-Origin %q for another site", insecure, got)
		}
	}
}

// Named origins are the only ones of others, as before.
func TestNamedOriginsAreTheOnlyOnes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.SocketIO.CORS.Origins = []string{"https://app.example.com"} })
	w.admits(true, visit{}, visit{host: "x.example", origin: "https://app.example.com"})
	w.admits(false, visit{host: "x.example", origin: "https://evil.example"}, visit{host: "localhost:3001", origin: "http://localhost:3000"})
}

// Refusals are logged, but not without end.
func TestRefusedOriginsDontFillTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const visits = 300
	for i := range visits {
		r := httptest.NewRequest(http.MethodGet, "http://app.example.com/socket.io/?EIO=4&transport=polling", nil)
		r.Header.Set("Origin", fmt.Sprintf("https://%d.%s.example", i, strings.Repeat("x", 2000)))
		answer := httptest.NewRecorder()
		w.bridge.Handler().ServeHTTP(answer, r)
		if answer.Code != http.StatusForbidden {
			t.Fatalf("HTTP %d: %s", answer.Code, answer.Body)
		}
	}
	lines := bytes.Count([]byte(w.log.String()), []byte("another origin"))
	if size := len(w.log.String()); lines == 0 || lines > 30 || size > 64<<10 {
		t.Errorf("%d refusals made %d lines and a log of %d bytes", visits, lines, size)
	}
	w.wantMetrics(fmt.Sprintf(`supabridge_requests_rejected_total{code="forbidden"} %d`, visits))
}

// A link on another site may lead to what is for this machine only; what that site loads itself may
// not be from there.
func TestALinkFromAnotherSiteOpensALocalPage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(LocalOnly(http.NotFoundHandler()))
	defer server.Close()
	for _, test := range []struct {
		v    visit
		want int
	}{
		{visit{site: "cross-site", mode: "navigate", dest: "document"}, http.StatusNotFound},
		{visit{site: "cross-site", mode: "navigate", dest: "iframe"}, http.StatusForbidden},
		{visit{site: "cross-site", mode: "no-cors", dest: "script"}, http.StatusForbidden},
		{visit{site: "cross-site", mode: "no-cors", dest: "document"}, http.StatusForbidden},
		{visit{host: "evil.example", site: "cross-site", mode: "navigate", dest: "document"}, http.StatusForbidden},
	} {
		if got := test.v.by(t, server.URL, "polling"); got != test.want {
			t.Errorf("%+v: HTTP %d, want %d", test.v, got, test.want)
		}
	}
}

// The line that the log gives for a page that was refused can be used as it stands.
func TestTheLineThatLetsAPageInCanBeUsed(t *testing.T) {
	t.Parallel()
	for _, v := range []visit{
		{host: "app.example.com", origin: "https://other.example"},
		{host: "internal:3001", origin: "https://app.example.com", forwardedHost: "app.example.com"},
	} {
		w := newWorld(t, nil)
		w.admits(false, v)
		var line struct {
			Mend string `json:"to_allow"`
		}
		for text := range strings.Lines(w.log.String()) {
			if strings.Contains(text, "to_allow") {
				if err := json.Unmarshal([]byte(text), &line); err != nil {
					t.Fatal(err)
				}
			}
		}
		file := filepath.Join(t.TempDir(), "supabridge.yaml")
		if err := os.WriteFile(file, []byte(line.Mend+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(config.Sources{File: file, Environ: []string{"SUPABRIDGE_SUPABASE_URL=http://127.0.0.1:1",
			"SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=a.b.c", "SUPABRIDGE_SUPABASE_ANON_KEY=a.b.d"}})
		if err != nil {
			t.Errorf("%+v: the log says %q: %v", v, line.Mend, err)
			continue
		}
		newWorld(t, func(c *config.Config) {
			c.SocketIO.CORS.Origins, c.Limits.TrustedProxies = cfg.SocketIO.CORS.Origins, cfg.Limits.TrustedProxies
		}).admits(true, v)
	}
}
