package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rate is how often something may happen.
type Rate struct {
	PerSecond float64 // over time
	Burst     int     // at once, after a while without
}

// EveryIntent is the name under which a rate is given for all events together.
const EveryIntent = "*"

// ParseRates reads rates by intent, as limits.*.events have them: "join=20:200", 20 a second and
// 200 at once. Names are not looked at.
func ParseRates(texts []string) (map[string]Rate, error) {
	rates := make(map[string]Rate, len(texts))
	for _, text := range texts {
		name, rate, _ := strings.Cut(text, "=")
		often, burst, _ := strings.Cut(rate, ":")
		perSecond, err := strconv.ParseFloat(often, 64)
		most, err2 := strconv.Atoi(burst)
		switch _, twice := rates[name]; {
		case name == "", err != nil, err2 != nil, !(perSecond > 0 && perSecond <= 1e6), most < 1, most > 1e6:
			return nil, fmt.Errorf(
				"expected an intent, events a second and events at once, as join=20:200, found %s",
				shown(text),
			)
		case twice:
			return nil, fmt.Errorf("holds %s twice", shown(name))
		}
		rates[name] = Rate{perSecond, most}
	}
	return rates, nil
}

func (v *validator) limits() {
	l := v.c.Limits
	for _, network := range l.TrustedProxies {
		if _, err := netip.ParsePrefix(network); err != nil {
			v.fail("limits.trusted_proxies", "expected a network such as 10.0.0.0/8 or 192.0.2.7/32, found %s", shown(network))
		}
	}
	for path, rates := range map[string][]string{"limits.socket.events": l.Socket.Events,
		"limits.user.events": l.User.Events, "limits.address.events": l.Address.Events} {
		if _, err := ParseRates(rates); err != nil {
			v.fail(path, "%s", err)
		}
	}
}
