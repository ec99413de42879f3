package ratelimit

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Network is what an address (host:port) counts by: of IPv6 its /64, since whoever has one address there has all of them.
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

// RealAddress gives a request that comes through a trusted proxy the address of the client: the last one in
// X-Forwarded-For that is not a trusted proxy itself. Anybody may have written what stands before it.
func RealAddress(next http.Handler, trusted func() []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxies := trusted(); len(proxies) > 0 {
			if client, ok := forwardedFor(r, proxies); ok {
				behind := *r
				behind.RemoteAddr = net.JoinHostPort(client.String(), "0")
				r = &behind
			}
		}
		next.ServeHTTP(w, r)
	})
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
