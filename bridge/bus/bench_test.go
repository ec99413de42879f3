package bus_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/bridge/bus"
	"github.com/supabridge/supabridge/internal/redistest"
)

// counting counts what it hears.
type counting struct {
	heard chan struct{}
	left  int
	up    chan struct{}
}

func (c *counting) Entry(bus.Entry) {
	if c.left--; c.left == 0 {
		close(c.heard)
	}
}
func (c *counting) Missing(time.Time) {}
func (c *counting) Heard(err error) {
	if err == nil {
		close(c.up)
	}
}

// BenchmarkTold tells what an entry with a row of 500 bytes costs Redis, whose CPU time is
// reported, with several nodes that hear it: the constants of testdata/capacity.
func BenchmarkTold(b *testing.B) {
	for _, nodes := range []int{1, 10, 20} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			r := redistest.Start(b)
			client := redis.NewClient(&redis.Options{Addr: r.Addr, PoolSize: nodes + 4, ContextTimeoutEnabled: true})
			b.Cleanup(func() { _ = client.Close() })
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan struct{}, nodes+1)
			listen := func(name string) (*bus.Bus, *counting) {
				n := bus.New(client, bus.Options{Stream: "changes", Lease: lease, Node: name, MaxQueue: 1 << 30})
				c := &counting{heard: make(chan struct{}), up: make(chan struct{}), left: b.N}
				go func() { n.Listen(ctx, c); ended <- struct{}{} }()
				<-c.up
				return n, c
			}
			leader, _ := listen("leader")
			var others []*counting
			for i := range nodes {
				_, c := listen(strconv.Itoa(i))
				others = append(others, c)
			}
			if err := client.Set(ctx, lease, "leader", 0).Err(); err != nil {
				b.Fatal(err)
			}
			leader.Begin(1, "0-0")
			row := []byte(strings.Repeat("x", 500))
			before := cpu(b, client)
			b.ResetTimer()
			for i := range b.N {
				leader.Put("change", row)
				if i%10 == 9 {
					leader.Flush(ctx) // a few at once, as they come
				}
			}
			for _, c := range others {
				<-c.heard
			}
			b.StopTimer()
			b.ReportMetric((cpu(b, client)-before)*1e6/float64(b.N), "redis-µs/op")
			stop()
			for range nodes + 1 {
				<-ended
			}
		})
	}
}

// cpu is how many seconds of CPU time Redis has used.
func cpu(b *testing.B, client *redis.Client) (seconds float64) {
	info, err := client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range strings.Split(info, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && (name == "used_cpu_sys" || name == "used_cpu_user") {
			s, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += s
		}
	}
	return seconds
}
