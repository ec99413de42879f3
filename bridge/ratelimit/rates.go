package ratelimit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// Limits is what the configuration lets clients do, compiled. It never changes.
type Limits struct {
	config.Limits
	Proxies []netip.Prefix // limits.trusted_proxies

	SocketRates, UserRates, AddressRates Rates // limits.*.events
}

// Rates are bounds by intent; EveryIntent bounds all events together.
type Rates map[vocabulary.Intent]config.Rate

// EveryIntent is not an intent of a client.
const EveryIntent vocabulary.Intent = 255

// Compile reads limits that are valid otherwise. It refuses an intent that doesn't exist, by its
// key.
func Compile(limits config.Limits) (*Limits, error) {
	l := &Limits{Limits: limits}
	for _, network := range l.TrustedProxies {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("limits.trusted_proxies: %w", err)
		}
		l.Proxies = append(l.Proxies, prefix)
	}
	for _, r := range []struct {
		path  string
		texts []string
		rates *Rates
	}{{"socket", l.Socket.Events, &l.SocketRates}, {"user", l.User.Events, &l.UserRates}, {"address", l.Address.Events,
		&l.AddressRates}} {
		var err error
		if *r.rates, err = compileRates(r.texts); err != nil {
			return nil, fmt.Errorf("limits.%s.events: %w", r.path, err)
		}
	}
	return l, nil
}

func compileRates(texts []string) (Rates, error) {
	named, err := config.ParseRates(texts)
	if err != nil {
		return nil, err
	}
	compiled := make(Rates, len(named))
	for name, r := range named {
		intent := EveryIntent
		if name != config.EveryIntent {
			i := slices.Index(vocabulary.Intents(), name)
			if i < 0 {
				return nil, fmt.Errorf(
					"no such intent as %q: there are %s and %s",
					name,
					config.EveryIntent,
					strings.Join(vocabulary.Intents(), ", "),
				)
			}
			intent = vocabulary.Intent(i + 1)
		}
		compiled[intent] = r
	}
	return compiled, nil
}

// Buckets hold what is left of Rates. A bucket is made with the first event that needs it, so that
// a client that sends nothing costs nothing. Their owner keeps them to one goroutine.
type Buckets map[vocabulary.Intent]*rate.Limiter

// Allow takes an event from the buckets it counts in; false where one of them is empty.
func (b *Buckets) Allow(r Rates, intent vocabulary.Intent) bool {
	for _, i := range [...]vocabulary.Intent{intent, EveryIntent} {
		bound, ok := r[i]
		if !ok {
			continue
		}
		bucket := (*b)[i]
		switch {
		case bucket == nil:
			if *b == nil {
				*b = make(Buckets, 2)
			}
			bucket = rate.NewLimiter(rate.Limit(bound.PerSecond), bound.Burst)
			(*b)[i] = bucket
		case bucket.Limit() != rate.Limit(bound.PerSecond) || bucket.Burst() != bound.Burst: // the configuration was reloaded
			bucket.SetLimit(rate.Limit(bound.PerSecond))
			bucket.SetBurst(bound.Burst)
		}
		if !bucket.Allow() {
			return false
		}
	}
	return true
}
