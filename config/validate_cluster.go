package config

import (
	"net/url"
	"slices"
	"strings"
)

func (v *validator) cluster() {
	c := v.c.Cluster
	if c.Redis == "" {
		return
	}
	// The address may hold a password, so that it is never shown.
	if u, err := url.Parse(c.Redis.Reveal()); err != nil ||
		!slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) ||
		u.Host == "" && u.Path == "" {
		v.fail(
			"cluster.redis",
			"expected an address such as redis://:password@host:6379/0, rediss://host:6380, unix:///run/redis.sock, redis://host1:6379?addr=host2:6379 of a Redis Cluster, or redis://sentinel:26379?master_name=mymaster",
		)
	}
	if c.Prefix == "" || strings.ContainsAny(c.Prefix, " #") {
		v.fail("cluster.prefix", "expected a name without # and spaces, found %s", shown(c.Prefix))
	}
}
