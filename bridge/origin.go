package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/engineio"
)

// cors says which pages may connect: those of the server's own origin and of the origins that are
// named. Where none is named, a browser on the machine that the bridge runs on may also use its
// other ports: a Next.js app on localhost:3000 beside a bridge on localhost:3001. Under
// auth.insecure_dev that is all, whatever is named: a page that connects may then read everything.
func cors(cfg *config.Config) socketio.CORS {
	c := socketio.CORS{Origins: cfg.SocketIO.CORS.Origins, Credentials: true}
	if cfg.Auth.InsecureDev {
		c.Origins = nil
	}
	if len(c.Origins) == 0 {
		c.Allow = func(r *http.Request, origin string) bool { return isLoopbackName(r.Host) && isLocalPage(origin) }
	}
	return c
}

// isLocalPage reports whether an origin is one of this machine.
func isLocalPage(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.User == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopbackName(u.Host)
}

// isLoopbackName reports whether a host, which may have a port, always is the machine that asks:
// localhost, a name below it, or a loopback address.
func isLoopbackName(host string) bool {
	name := hostName(host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback()
}

// hostName takes the port off a host, and the brackets of an IPv6 address.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// LocalOnly serves only requests that name this machine, by localhost or an address, and that no
// page of another site has caused. It is for what is open to everybody on a developer's machine:
// any page could reach that by a name of its own that it lets point here.
func LocalOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := notLocal(r); why != "" {
			ops.WriteJSON(w, http.StatusForbidden, map[string]any{"code": engineio.CodeForbidden, "message": why})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// notLocal says why a request isn't one of this machine; "" where it is.
func notLocal(r *http.Request) string {
	switch {
	case !ops.IsLocalName(r.Host):
		return fmt.Sprintf(
			"this server is for its own machine only, by localhost or an address, and was asked for as %.200q",
			r.Host,
		)
	case r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "cross-site" && !isLink(r):
		return "this server is for its own machine only, not for other sites"
	}
	return ""
}

// isLink reports whether a browser opens a page of its own for the request, as where a link on
// another site was clicked. That site can't read the page.
func isLink(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document"
}

// local holds the Socket.IO endpoint to this machine under auth.insecure_dev.
func (g *guard) local(next http.Handler) http.Handler {
	if !g.b.cfg().Auth.InsecureDev { // which can't change while the daemon runs
		return next
	}
	only := LocalOnly(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := notLocal(r); why != "" {
			g.b.metrics.sockets.Rejected("forbidden")
			g.refusedPage(r, "ask for it by localhost, or turn auth.insecure_dev off")
		}
		only.ServeHTTP(w, r)
	})
}

// watchOrigins logs pages that were refused for their origin, beside what the hooks do already.
func (g *guard) watchOrigins(h socketio.Hooks) socketio.Hooks {
	refused := h.Refused
	h.Refused = func(r *http.Request, e *engineio.Error) {
		refused(r, e)
		if errors.Is(e, engineio.ErrOrigin) {
			g.refusedPage(r, g.mends(r))
		}
	}
	return h
}

// maxShown bounds what a client wrote in a line of the log, in bytes.
const maxShown = 200

// mends gives the line of the configuration that would let the page in.
func (g *guard) mends(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if g.b.cfg().Auth.InsecureDev {
		return "open the page by localhost, or set auth: {insecure_dev: false} and name its origin in socketio.cors.origins"
	}
	forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	if u, err := url.Parse(origin); err == nil && forwarded != "" && u.Host == strings.TrimSpace(forwarded) {
		return fmt.Sprintf("limits: {trusted_proxies: [%q]}", networkOf(r.RemoteAddr))
	}
	origins := append(slices.Clone(g.b.cfg().SocketIO.CORS.Origins), origin)
	for i, o := range origins {
		origins[i] = fmt.Sprintf("%.*q", maxShown, o)
	}
	return fmt.Sprintf("socketio: {cors: {origins: [%s]}}", strings.Join(origins, ", "))
}

// networkOf gives the network that a peer is alone in, as limits.trusted_proxies has them.
func networkOf(address string) string {
	ip, err := netip.ParseAddr(hostName(address))
	if err != nil {
		return address // of no TCP connection
	}
	ip = ip.Unmap().WithZone("")
	return netip.PrefixFrom(ip, ip.BitLen()).String()
}

func newOriginLog() *rate.Limiter { return rate.NewLimiter(rate.Limit(1.0/10), 10) }

// refusedPage logs that a page may not connect, at most once in ten seconds after the first ten.
func (g *guard) refusedPage(r *http.Request, mend string) {
	if !g.originLog.Allow() {
		return
	}
	g.b.log.Warn().
		Str("origin", shortened(r.Header.Get("Origin"))).
		Str("host", shortened(r.Host)).
		Str("address", r.RemoteAddr).
		Str("to_allow", mend).
		Msg("a page of another origin was refused")
}

func shortened(text string) string { return text[:min(len(text), maxShown)] }
