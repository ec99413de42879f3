package ratelimit

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Network is what an address (host:port) counts by: of IPv6 its /64, since whoever has one address
// there has all of them.
func Network(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		network, _ := ip.Prefix(64) // which every such address has
		return network.String()
	}
	return ip.String()
}

// maxForwarded bounds the addresses that are looked at in X-Forwarded-For, from its end.
const maxForwarded = 32

// RealAddress gives a request that comes through a trusted proxy the address of the client: the
// last one in X-Forwarded-For that is not a trusted proxy itself. Anybody may have written what
// stands before it. The request gets the host, too, that the browser asked for.
func RealAddress(next http.Handler, trusted func() []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxies := trusted(); len(proxies) > 0 {
			behind, host := *r, forwardedHost(r, proxies)
			if host != "" {
				behind.Host = host
			}
			if client, ok := forwardedFor(r, proxies); ok {
				behind.RemoteAddr = net.JoinHostPort(client.String(), "0")
			}
			r = &behind
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedHost is the host that the browser asked a trusted proxy for, "" where none is told.
func forwardedHost(r *http.Request, proxies []netip.Prefix) string {
	host, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ",")
	if host = strings.TrimSpace(host); host == "" || !isProxy(r.RemoteAddr, proxies) {
		return ""
	}
	return host
}

// isProxy reports whether a peer is a trusted proxy.
func isProxy(address string, proxies []netip.Prefix) bool {
	peer, err := netip.ParseAddrPort(address)
	return err == nil &&
		slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(peer.Addr().Unmap().WithZone("")) })
}

func forwardedFor(r *http.Request, proxies []netip.Prefix) (client netip.Addr, ok bool) {
	trusted := func(ip netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !trusted(peer.Addr()) {
		return client, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	slices.Reverse(hops)
	for _, hop := range hops[:min(len(hops), maxForwarded)] {
		ip, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return client, ok
		}
		if client, ok = ip.Unmap(), true; !trusted(ip) {
			return client, true
		}
	}
	return client, ok // all are proxies: the first of them
}
