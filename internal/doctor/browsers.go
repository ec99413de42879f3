package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/config"
)

// browsers connects to the daemon as a page would: by the path, with each origin, and by websocket.
func (p *patient) browsers(ctx context.Context) {
	address, given := strings.TrimRight(p.opts.URL, "/"), p.opts.URL != ""
	if !given {
		address = OwnAddress(p.cfg)
	}
	if !given && strings.HasPrefix(address, "https:") {
		p.add(
			Finding{
				Check: "endpoint",
				Level: Unknown,
				Text:  "the certificate is for the name that browsers use, which is not known",
				Look:  "supabridge doctor --url https://… # where browsers reach it",
			},
		)
		return
	}
	origins := slices.Clone(p.cfg.SocketIO.CORS.Origins)
	switch {
	case p.cfg.Auth.InsecureDev: // whatever is named
		origins = []string{"http://localhost:3000"}
	case len(origins) == 0:
		p.add(
			Finding{
				Check: "cors",
				Level: Hint,
				Text:  "only pages of the daemon's own origin, and on this machine those of localhost, may connect: name those of your app",
				Fix:   yaml("socketio.cors.origins", `["https://app.example.com"]`),
			},
		)
		origins = []string{""}
	case slices.Contains(origins, "*"):
		origins = []string{"https://any.example.com"}
	}
	for i, path := range p.cfg.SocketIO.Paths {
		if i == 0 && !p.polls(ctx, address, path, given, origins) {
			return
		}
		if slices.Contains(p.cfg.SocketIO.Transports, "websocket") {
			p.upgrades(ctx, address, path, origins[0])
		}
	}
}

// OwnAddress is where this machine reaches a daemon of that configuration.
func OwnAddress(cfg *config.Config) string {
	scheme := "http://"
	if cfg.TLS.CertFile != "" || len(cfg.TLS.ACME.Domains) > 0 {
		scheme = "https://"
	}
	return scheme + Reachable(cfg.Listen)
}

// Reachable is where this machine reaches what listens on an address, as host:port, that may mean
// every interface.
func Reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listen
}

// polls opens a connection by polling from each origin, and closes it again.
func (p *patient) polls(ctx context.Context, address, path string, given bool, origins []string) bool {
	endpoint := address + path + "/?EIO=4&transport=polling"
	for _, origin := range origins {
		var headers []string
		if origin != "" {
			headers = []string{"Origin", origin}
		}
		got, err := p.http.ask(ctx, http.MethodGet, endpoint, "", headers...)
		switch {
		case err != nil && !given && errors.Is(err, syscall.ECONNREFUSED):
			p.add(
				Finding{
					Check: "endpoint",
					About: address,
					Level: Unknown,
					Text:  "no daemon runs here",
					Look:  "supabridge doctor --url https://… # where browsers reach it",
				},
			)
			return false
		case err != nil:
			p.add(
				Finding{
					Check: "endpoint",
					About: address,
					Level: Fail,
					Text:  err.Error(),
					Fix:   "--url # the address that browsers use: NEXT_PUBLIC_SOCKET_URL of the app",
				},
			)
			return false
		case got.status != http.StatusOK || !strings.HasPrefix(string(got.body), "0{"):
			p.add(p.wrongPath(address, path, origin, got))
			return false
		}
		p.hangUp(ctx, endpoint, got.body, headers)
		if origin != "" {
			p.allowed(address, origin, got.header)
		}
	}
	p.good("endpoint", address+path, "a browser can poll")
	return true
}

func (p *patient) wrongPath(address, path string, origin string, got answer) Finding {
	f := Finding{
		Check: "endpoint",
		About: address + path,
		Level: Fail,
		Text:  fmt.Sprintf("it answers %d, and not as Socket.IO does", got.status),
		Fix:   "location " + path + "/ { proxy_pass http://127.0.0.1:3001; } # nginx: the path must arrive as it is",
	}
	var e struct {
		Code    int
		Message string
	}
	if json.Unmarshal(got.body, &e) == nil && e.Message != "" {
		f.Text += ": " + e.Message
		f.Fix = yaml("socketio.transports", `["polling", "websocket"]`)
		if e.Message == "Origin not allowed" { // as engineio says it
			f.Check, f.About, f.Fix = "cors", origin, yaml(
				"socketio.cors.origins",
				fmt.Sprintf("[%q]", origin),
			)+" # in the file that the daemon runs with"
		}
	}
	return f
}

// hangUp ends a connection that was opened by polling.
func (p *patient) hangUp(ctx context.Context, endpoint string, body []byte, headers []string) {
	var opened struct{ SID string }
	if json.Unmarshal(body[1:], &opened) == nil {
		_, _ = p.http.ask(
			ctx,
			http.MethodPost,
			endpoint+"&sid="+url.QueryEscape(opened.SID),
			"1",
			headers...) // else it ends by itself
	}
}

// allowed looks at what a page of an origin is told.
func (p *patient) allowed(address, origin string, h http.Header) {
	fix := yaml("socketio.cors.origins", fmt.Sprintf("[%q]", origin))
	switch told := h.Values("Access-Control-Allow-Origin"); {
	case len(told) == 1 && (told[0] == origin || told[0] == "*" && h.Get("Access-Control-Allow-Credentials") == ""):
		p.good("cors", origin, "its pages may connect")
	case len(told) == 0:
		p.add(
			Finding{
				Check: "cors",
				About: origin,
				Level: Fail,
				Text:  "its pages may not connect to " + address + ": the answer has no Access-Control-Allow-Origin",
				Fix:   fix + " # and let the proxy pass the header on",
			},
		)
	case len(told) > 1:
		p.add(
			Finding{
				Check: "cors",
				About: origin,
				Level: Fail,
				Text:  "the answer has Access-Control-Allow-Origin more than once, which browsers refuse: a proxy adds its own",
				Fix:   "proxy_hide_header Access-Control-Allow-Origin; # nginx, or take its add_header away",
			},
		)
	default:
		p.add(Finding{Check: "cors", About: origin, Level: Fail, Text: "the answer allows " + told[0] + " instead", Fix: fix})
	}
}

// upgrades opens a websocket, and closes it again.
func (p *patient) upgrades(ctx context.Context, address, path, origin string) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	endpoint := "ws" + strings.TrimPrefix(address, "http") + path + "/?EIO=4&transport=websocket"
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: p.opts.Timeout}
	conn, resp, err := dialer.DialContext(ctx, endpoint, header)
	if err != nil {
		text := err.Error()
		if resp != nil {
			text = "it answers " + resp.Status
		}
		p.add(
			Finding{Check: "websocket", About: address + path, Level: Fail, Text: "a browser can't open a websocket: " + text,
				Fix: "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; # nginx\n# or, to do without:\n" + yaml(
					"socketio.transports",
					`["polling"]`,
				)},
		)
		return
	}
	_ = conn.Close() // it was only to be opened
	p.good("websocket", address+path, "a browser can open one")
}
