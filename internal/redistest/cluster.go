package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cluster is a Redis Cluster of masters that have a replica each, master i that of index i+len/2. A
// master that falls silent is replaced after two seconds or so.
type Cluster struct {
	Servers []*Server
	tb      testing.TB
}

// StartCluster runs one until the test ends.
func StartCluster(tb testing.TB, masters int) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	var buses []string
	for range 2 * masters {
		bus := freePort(tb)
		buses = append(buses, bus)
		c.Servers = append(
			c.Servers,
			Start(
				tb,
				"--cluster-enabled",
				"yes",
				"--cluster-node-timeout",
				"1000",
				"--cluster-port",
				bus,
				"--cluster-require-full-coverage",
				"no",
				"--cluster-allow-replica-migration",
				"no",
				"--repl-diskless-sync-delay",
				"0",
			),
		)
	}
	ctx := tb.Context()
	first := c.Servers[0].Client()
	defer func() { _ = first.Close() }()
	for i, s := range c.Servers {
		client := s.Client()
		if i < masters {
			c.do(client.ClusterAddSlotsRange(ctx, i*16384/masters, (i+1)*16384/masters-1).Err())
		}
		c.do(client.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		host, port, _ := strings.Cut(s.Addr, ":")
		c.do(first.Do(ctx, "cluster", "meet", host, port, buses[i]).Err())
		_ = client.Close()
	}
	c.until("all know each other", func(ctx context.Context) bool {
		for _, s := range c.Servers {
			if !s.says(ctx, fmt.Sprintf("cluster_known_nodes:%d", len(c.Servers))) {
				return false
			}
		}
		return true
	})
	for i, s := range c.Servers[masters:] {
		id := c.Servers[i].id(ctx)
		client := s.Client()
		c.until(
			"the replica knows its master",
			func(ctx context.Context) bool { return client.ClusterReplicate(ctx, id).Err() == nil },
		)
		_ = client.Close()
	}
	c.until("the cluster works", func(ctx context.Context) bool {
		for i, s := range c.Servers {
			if !s.says(ctx, "cluster_state:ok") || !s.says(ctx, fmt.Sprintf("cluster_size:%d", masters)) {
				return false
			}
			if i >= masters && !s.follows(ctx, c.Servers[i-masters]) {
				return false
			}
		}
		return true
	})
	return c
}

// Client gives a client of the cluster, which the caller closes.
func (c *Cluster) Client() *redis.ClusterClient {
	o := &redis.ClusterOptions{DialTimeout: time.Second}
	for _, s := range c.Servers {
		o.Addrs = append(o.Addrs, s.Addr)
	}
	return redis.NewClusterClient(o)
}

// Hasty is Client for those who take any kind of Redis: a cluster's client tries nothing twice.
func (c *Cluster) Hasty() redis.UniversalClient { return c.Client() }

// Master gives the server that is the master of a key's slot.
func (c *Cluster) Master(key string) *Server {
	c.tb.Helper()
	client := c.Client()
	defer func() { _ = client.Close() }()
	node, err := client.MasterForKey(c.tb.Context(), key)
	c.do(err)
	for _, s := range c.Servers {
		if s.Addr == node.Options().Addr {
			return s
		}
	}
	c.tb.Fatalf("no server at %s", node.Options().Addr)
	return nil
}

func (c *Cluster) do(err error) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatalf("Redis Cluster: %v", err)
	}
}

func (c *Cluster) until(what string, f func(context.Context) bool) {
	c.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); !f(c.tb.Context()); <-tick.C {
		if time.Now().After(deadline) {
			c.tb.Fatalf("Redis Cluster: not within 60 s: %s", what)
		}
	}
}

func (s *Server) says(ctx context.Context, line string) bool {
	client := s.Client()
	defer func() { _ = client.Close() }()
	return strings.Contains(client.ClusterInfo(ctx).Val(), line+"\r\n")
}

func (s *Server) id(ctx context.Context) string {
	client := s.Client()
	defer func() { _ = client.Close() }()
	return client.ClusterMyID(ctx).Val()
}

func freePort(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a port for Redis: %v", err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Move gives the slot of a key, in which there is nothing, to another master.
func (c *Cluster) Move(key string, from, to *Server) {
	c.tb.Helper()
	ctx := c.tb.Context()
	old, next := from.Client(), to.Client()
	defer func() { _, _ = old.Close(), next.Close() }()
	slot := old.ClusterKeySlot(ctx, key).Val()
	c.do(next.Do(ctx, "cluster", "setslot", slot, "importing", from.id(ctx)).Err())
	c.do(old.Do(ctx, "cluster", "setslot", slot, "migrating", to.id(ctx)).Err())
	for _, client := range []*redis.Client{next, old} {
		c.do(client.Do(ctx, "cluster", "setslot", slot, "node", to.id(ctx)).Err())
	}
}

// Promote has the replica of the master of a key's slot take its place, in agreement with it, and
// gives it.
func (c *Cluster) Promote(key string) *Server {
	c.tb.Helper()
	master := c.Master(key)
	for _, s := range c.Servers {
		if s != master && s.follows(c.tb.Context(), master) {
			client := s.Client()
			c.do(client.ClusterFailover(c.tb.Context()).Err())
			_ = client.Close()
			c.until("the replica takes over", func(ctx context.Context) bool { return master.follows(ctx, s) })
			return s
		}
	}
	c.tb.Fatalf("%s has no replica", master.Addr)
	return nil
}

// Follows tells whether a server is a replica that is in step with its master.
func (c *Cluster) Follows(s *Server) bool { return s.follows(c.tb.Context(), nil) }

// follows tells whether the server is a replica in step with that master, nil for any.
func (s *Server) follows(ctx context.Context, master *Server) bool {
	client := s.Client()
	defer func() { _ = client.Close() }()
	info := client.Info(ctx, "replication").Val()
	return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up") &&
		(master == nil || strings.Contains(info, "master_port:"+master.Addr[strings.LastIndex(master.Addr, ":")+1:]+"\r\n"))
}
