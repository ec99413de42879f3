package redisadapter_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

func TestAnAddressNamesARedisAClusterOrSentinels(t *testing.T) {
	for address, want := range map[string]string{
		"redis://:hush@host:6379/2":                         "*redis.Client host:6379",
		"rediss://host":                                     "*redis.Client host:6379",
		"unix:///run/redis.sock":                            "*redis.Client /run/redis.sock",
		"redis://:hush@a:1?addr=b:2&addr=c:3":               "*redis.ClusterClient a:1,b:2,c:3",
		"rediss://a:1?addr=a:1":                             "*redis.ClusterClient a:1,a:1",
		"redis://a:1/3?master_name=m&addr=b:2&password=sss": "*redis.Client FailoverClient",
		"redis://a:1?addr=b:2&hush=1":                       "",
		"redis://a:1?addr=hush":                             "",
		"redis://a:1?master_name=&addr=hush":                "",
		"http://:hush@host":                                 "",
		"redis://host:hush":                                 "",
		":hush":                                             "",
	} {
		client, err := redisadapter.Client(address)
		if err != nil {
			if want != "" || !errors.Is(err, redisadapter.ErrAddress) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v, want %q", address, err, want)
			}
			continue
		}
		got := fmt.Sprintf("%T ", client)
		switch c := client.(type) {
		case *redis.Client:
			got += c.Options().Addr
		case *redis.ClusterClient:
			got += strings.Join(c.Options().Addrs, ",")
		}
		if got != want {
			t.Errorf("%s: %s, want %q", address, got, want)
		}
		_ = client.Close()
	}
}

// Debian's redis-server is its redis-sentinel too.
func TestSentinelsNameTheRedis(t *testing.T) {
	server := redistest.Start(t)
	host, port, _ := strings.Cut(server.Addr, ":")
	path := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(path, fmt.Appendf(nil, "sentinel monitor mymaster %s %s 1\n", host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := redistest.Start(t, path, "--sentinel")
	client, err := redisadapter.Client("redis://" + sentinel.Addr + "/1?master_name=mymaster")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	eventually.True(t, "the Redis by its Sentinel", func() bool { return client.Set(t.Context(), "key", "value", 0).Err() == nil })
	direct := redis.NewClient(&redis.Options{Addr: server.Addr, DB: 1})
	defer func() { _ = direct.Close() }()
	if got, err := direct.Get(t.Context(), "key").Result(); err != nil || got != "value" {
		t.Errorf("got %q, %v", got, err)
	}
}
