package doctor

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// redis finds out whether the nodes can speak to each other.
func (p *patient) redis(ctx context.Context) {
	c := p.cfg.Cluster
	if c.Redis == "" {
		return
	}
	fail := func(fix, format string, args ...any) {
		p.add(Finding{Check: "redis", Level: Fail, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	client, err := redisadapter.Client(c.Redis.Reveal())
	if err != nil {
		fail(
			"SUPABRIDGE_CLUSTER_REDIS=redis://:<password>@<host>:6379/0",
			"cluster.redis can't be read as an address",
		) // the error may quote it
		return
	}
	defer client.Close()
	address := "the Redis of cluster.redis"
	if u, err := url.Parse(c.Redis.Reveal()); err == nil && u.Host != "" {
		address = u.Host
	}
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		fix := "SUPABRIDGE_CLUSTER_REDIS=# where Redis answers this machine: redis-cli -u \"$SUPABRIDGE_CLUSTER_REDIS\" ping"
		if strings.HasPrefix(err.Error(), "NOAUTH") || strings.HasPrefix(err.Error(), "WRONGPASS") ||
			strings.Contains(err.Error(), "invalid username-password") {
			fix = "SUPABRIDGE_CLUSTER_REDIS=redis://:<password>@" + address
		}
		fail(fix, "%s: %v", address, err)
		return
	}
	version := redisVersion(client.Info(ctx, "server").Val())
	major, _ := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	if c.Mode == "sharded" && major > 0 && major < 7 {
		fail(yaml("cluster.mode", "pubsub"), "%s is Redis %s, and cluster.mode sharded needs 7", address, version)
		return
	}
	// An empty message on a channel that nobody hears: whether publishing is allowed at all.
	publish := client.Publish
	if c.Mode == "sharded" {
		publish = client.SPublish
	}
	if err := publish(ctx, c.Prefix+"#supabridge-doctor", "").Err(); err != nil {
		fail("ACL SETUSER <user> +@pubsub &"+c.Prefix+"*", "%s does not let this user publish: %v", address, err)
		return
	}
	p.good("redis", "", "%s is Redis %s, and lets this node publish", address, version)
}

// redisVersion finds the version in what INFO says.
func redisVersion(info string) string {
	for line := range strings.Lines(info) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			return version
		}
	}
	return ""
}
