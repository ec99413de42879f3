package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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
	options, err := redis.ParseURL(c.Redis.Reveal())
	if err != nil {
		fail("SUPABRIDGE_CLUSTER_REDIS=redis://:<password>@<host>:6379/0", "cluster.redis can't be read as an address") // the error may quote it
		return
	}
	options.MaxRetries, options.DialerRetries = -1, 1
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = p.opts.Timeout, p.opts.Timeout, p.opts.Timeout
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		fix := "SUPABRIDGE_CLUSTER_REDIS=# where Redis answers this machine: redis-cli -u \"$SUPABRIDGE_CLUSTER_REDIS\" ping"
		if strings.HasPrefix(err.Error(), "NOAUTH") || strings.HasPrefix(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "invalid username-password") {
			fix = "SUPABRIDGE_CLUSTER_REDIS=redis://:<password>@" + options.Addr
		}
		fail(fix, "%s: %v", options.Addr, err)
		return
	}
	version := redisVersion(client.Info(ctx, "server").Val())
	major, _ := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	if c.Mode == "sharded" && major > 0 && major < 7 {
		fail(yaml("cluster.mode", "pubsub"), "%s is Redis %s, and cluster.mode sharded needs 7", options.Addr, version)
		return
	}
	// An empty message on a channel that nobody hears: whether publishing is allowed at all.
	publish := client.Publish
	if c.Mode == "sharded" {
		publish = client.SPublish
	}
	if err := publish(ctx, c.Prefix+"#supabridge-doctor", "").Err(); err != nil {
		fail("ACL SETUSER <user> +@pubsub &"+c.Prefix+"*", "%s does not let this user publish: %v", options.Addr, err)
		return
	}
	p.good("redis", "", "%s is Redis %s, and lets this node publish", options.Addr, version)
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
