package doctor

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

func TestRedisIsTriedAsANodeUsesIt(t *testing.T) {
	server := redistest.Start(t)
	look := func(address, mode string) []Finding {
		p := &patient{cfg: config.Default(), opts: Options{Timeout: 5 * time.Second}}
		p.cfg.Cluster.Redis, p.cfg.Cluster.Mode = config.Secret(address), mode
		p.redis(t.Context())
		return p.report.Findings
	}
	do := func(args ...any) {
		t.Helper()
		client := redis.NewClient(&redis.Options{Addr: server.Addr})
		defer client.Close()
		if err := client.Do(context.Background(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := look("", "pubsub"); len(got) > 0 {
		t.Errorf("found %+v where there is none", got)
	}
	if got := look("redis://"+server.Addr, "pubsub"); len(got) != 1 || got[0].Level != OK {
		t.Errorf("found %+v, want it good", got)
	}
	do("ACL", "SETUSER", "limited", "on", ">hush", "~*", "+ping", "+info", "+hello", "+client", "+auth")
	for _, test := range []struct{ name, address, mend string }{
		{"no Redis", "redis://" + closedPort(t), "redis-cli"},
		{"no address", "http://:hush@host:6379", "redis://:<password>@<host>"},
		{"another password", "redis://limited:hushhush@" + server.Addr, "redis://:<password>@" + server.Addr},
		{"no right to publish", "redis://limited:hush@" + server.Addr, "ACL SETUSER"},
	} {
		got := look(test.address, "pubsub")
		if len(got) != 1 || got[0].Level != Fail || got[0].Check != "redis" || !strings.Contains(got[0].Fix, test.mend) || strings.Contains(got[0].Text+got[0].Fix, "hush") {
			t.Errorf("%s: found %+v, want a failure that %q mends", test.name, got, test.mend)
		}
	}
	server.Kill()
	if got := look("redis://"+server.Addr, "pubsub"); len(got) != 1 || got[0].Level != Fail {
		t.Errorf("found %+v of one that is gone", got)
	}
}

func TestTheVersionOfRedisIsFound(t *testing.T) {
	for info, want := range map[string]string{"# Server\r\nredis_version:7.2.4\r\nos:x\r\n": "7.2.4", "": "", "valkey_version:8.0\r\nredis_version:7.2.4": "7.2.4"} {
		if got := redisVersion(info); got != want {
			t.Errorf("%q: %q, want %q", info, got, want)
		}
	}
}
