package ratelimit

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

func TestWhoACloseProxySpeaksFor(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		peer      string
		forwarded []string
		want      string // empty: the peer itself
	}{
		{"10.0.0.1:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"[::ffff:10.0.0.1]:5", []string{"192.0.2.1"}, "192.0.2.1"},
		{"[fd00::1%eth0]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"192.0.2.9:5", []string{"192.0.2.1"}, ""},
		{"10.0.0.1:5", nil, ""},
		{"10.0.0.1:5", []string{"1.1.1.1, 192.0.2.1", "10.9.9.9"}, "192.0.2.1"},
		{"10.0.0.1:5", []string{"10.2.2.2, 10.3.3.3"}, "10.2.2.2"},
		{"10.0.0.1:5", []string{"1.1.1.1, unknown"}, ""},
		{"10.0.0.1:5", []string{"1.1.1.1, unknown, 10.3.3.3"}, "10.3.3.3"},
		{"10.0.0.1:5", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"10.0.0.1:5", []string{"1.1.1.1" + strings.Repeat(",10.0.0.2", 1000)}, "10.0.0.2"},
		{"@", []string{"192.0.2.1"}, ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.peer
		r.Header["X-Forwarded-For"] = test.forwarded
		got, ok := forwardedFor(r, proxies)
		if ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%s by %s: %v %v, want %q", test.forwarded, test.peer, got, ok, test.want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("10.0.0.1:5", "1.1.1.1, 10.0.0.2")
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", forwarded)
		if got, ok := forwardedFor(r, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); ok && !got.IsValid() {
			t.Errorf("%q by %q: no address", forwarded, peer)
		}
		Network(peer)
	})
}

func TestBucketsFillAgainAndFollowTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Buckets
		r := Rates{vocabulary.Heartbeat: {PerSecond: 2, Burst: 3}}
		take := func(r Rates) (n int) {
			for b.Allow(r, vocabulary.Heartbeat) {
				n++
			}
			return n
		}
		if n := take(r); n != 3 {
			t.Errorf("%d at once, want 3", n)
		}
		time.Sleep(time.Second)
		if n := take(r); n != 2 {
			t.Errorf("%d after a second, want 2", n)
		}
		time.Sleep(time.Hour)
		if n := take(r); n != 3 {
			t.Errorf("%d after an hour, want 3", n)
		}
		time.Sleep(time.Second)
		take(Rates{vocabulary.Heartbeat: {PerSecond: 10, Burst: 20}})
		time.Sleep(time.Hour)
		if n := take(Rates{vocabulary.Heartbeat: {PerSecond: 10, Burst: 20}}); n != 20 {
			t.Errorf("%d by the new rate after an hour, want 20", n)
		}
		if n := len(b); n != 1 || !b.Allow(r, vocabulary.MarkRead) || len(b) != 1 {
			t.Errorf("%d buckets: an intent without a bound has none", len(b))
		}
	})
}

func TestAnEventWithinTheLimitsAllocatesNothing(t *testing.T) {
	l, err := Compile(config.Default().Limits)
	if err != nil {
		t.Fatal(err)
	}
	var b Buckets
	m := NewMeters().Enter("u")
	if n := testing.AllocsPerRun(100, func() {
		b.Allow(l.SocketRates, vocabulary.StartTyping)
		m.Allow(l.UserRates, vocabulary.StartTyping)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestMetersAreKeptForThoseWhoAreHereAndABoundedNumberWhoLeft(t *testing.T) {
	ms := NewMeters()
	spend := Rates{EveryIntent: {PerSecond: 1, Burst: 1}}
	for i := range maxLeft + 100 {
		key := fmt.Sprint(i)
		if m := ms.Enter(key); !m.Allow(spend, vocabulary.Heartbeat) {
			t.Fatalf("%s: no event is left at first", key)
		}
		ms.Leave(key)
	}
	if ms.Count() != 0 || ms.left.Len() != maxLeft {
		t.Errorf("%d are here and %d kept, want 0 and %d", ms.Count(), ms.left.Len(), maxLeft)
	}
	ms.Enter("silent")
	ms.Leave("silent")
	if ms.left.Contains("silent") {
		t.Error("one that said nothing is kept")
	}
	ms.Leave("silent") // once too often
	if ms.Enter("") != nil || ms.Count() != 0 {
		t.Error("nobody is counted")
	}
}

func TestALimitOfNoSuchIntentIsNamed(t *testing.T) {
	cfg := config.Default()
	cfg.Limits.User.Events = []string{"jion=1:1"}
	if _, err := Compile(cfg.Limits); err == nil || !strings.Contains(err.Error(), `limits.user.events: no such intent as "jion"`) {
		t.Errorf("error %v", err)
	}
	if _, err := Compile(config.Default().Limits); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
