// Command capacity works the model of docs/cluster.md out: how many nodes a number of connections
// takes, what they and Redis and Supabase then carry, and what is the first to be full.
//
//	go run ./testdata/capacity                 the table of the documentation
//	go run ./testdata/capacity -changes 0.05   with other habits: see -h
//
// It simulates a day's busiest minute second by second: arrivals, events and departures are drawn
// at random around their means, and the largest second counts.
package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"text/tabwriter"
)

// habits are what a connection does.
type habits struct {
	changes  float64 // rows committed a second, for each connection
	hear     float64 // connections that get one change: its conversation's and its tenant's
	typing   float64 // signs of typing a second, for each connection
	near     float64 // connections in a conversation
	visits   float64 // times a second that a connection comes and goes
	tenant   float64 // connections of a tenant
	perNode  int     // connections at most
	memory   float64 // bytes of a node
	cores    float64 // of a node, as far as they are to be used
	messages float64 // a second that the Supabase project allows
	redis    float64 // share of Redis's one core that is to be used
	network  float64 // bytes a second to and from Redis
	leader   bool    // one node hears Realtime for all (cluster.changes)
}

// What was measured; docs/cluster.md says how.
const (
	connectionBytes = 3216.0  // memory of a connection at rest
	attendanceBytes = 940.0   // memory of a user's socket at another node
	deliverSeconds  = 1.7e-6  // CPU time for one event to one client
	noteSeconds     = 20e-6   // CPU time to take a note of another node: decode, apply
	joinSeconds     = 84e-6   // CPU time of a connection that comes and goes
	publishSeconds  = 0.85e-6 // Redis's CPU time for one message
	passSeconds     = 0.5e-6  // and for each node that hears it
	noteBytes       = 330.0
	tellSeconds     = 12e-6 // Redis's CPU time for one change that the leader tells
	hearSeconds     = 2e-6  // and for each node that reads it
	changeBytes     = 900.0 // a row of 500 bytes, and what goes with it
)

// load is what a cluster carries in one second.
type load struct {
	nodes            int
	memory, cpu      float64 // of a node: bytes, cores
	redisCPU         float64 // of its one core
	redisBytes       float64 // a second, in and out
	messages         float64 // of Realtime a second: each change to each node that hears it
	delivered, notes float64 // a second, all nodes together
}

// at is the load of a number of connections on so many nodes, with everything drawn anew.
func at(connections float64, nodes int, h habits, r *rand.Rand) load {
	draw := func(mean float64) float64 { return max(0, mean+math.Sqrt(mean)*r.NormFloat64()) } // of Poisson, where the mean isn't small
	n := float64(nodes)
	changes, typing, visits := draw(connections*h.changes), draw(connections*h.typing), draw(connections*h.visits)
	notes := typing + 2*visits + 3*n/3 // enter and leave; three signs of life in a lease of three seconds
	delivered := changes*h.hear + typing*h.near + 2*visits*min(h.tenant, connections)
	l := load{nodes: nodes, delivered: delivered, notes: notes}
	l.memory = connections/n*connectionBytes + connections*(n-1)/n*attendanceBytes
	l.cpu = delivered/n*deliverSeconds + notes*noteSeconds + visits/n*joinSeconds
	l.redisCPU = notes * (publishSeconds + n*passSeconds)
	l.redisBytes = notes * noteBytes * (1 + n)
	l.messages = changes * n
	if h.leader {
		l.messages = changes
		l.redisCPU += changes * (tellSeconds + n*hearSeconds)
		l.redisBytes += changes * changeBytes * (1 + n)
	}
	return l
}

// worst is the largest of a minute's seconds, each measure by itself.
func worst(connections float64, nodes int, h habits, r *rand.Rand) load {
	w := load{nodes: nodes}
	for range 60 {
		l := at(connections, nodes, h, r)
		w.memory, w.cpu, w.redisCPU = max(w.memory, l.memory), max(w.cpu, l.cpu), max(w.redisCPU, l.redisCPU)
		w.redisBytes, w.messages = max(w.redisBytes, l.redisBytes), max(w.messages, l.messages)
		w.delivered, w.notes = max(w.delivered, l.delivered), max(w.notes, l.notes)
	}
	return w
}

// full names what is beyond its bound. More nodes help against the first two alone, where anything
// does.
func (l load) full(h habits) (names []string) {
	for _, bound := range []struct {
		name       string
		is, atMost float64
	}{
		{"CPU of nodes", l.cpu, h.cores},
		{"memory of nodes", l.memory, h.memory},
		{"Realtime", l.messages, h.messages},
		{"Redis CPU", l.redisCPU, h.redis},
		{"Redis network", l.redisBytes, h.network},
	} {
		if bound.is > bound.atMost {
			names = append(names, bound.name)
		}
	}
	return names
}

// maxNodes is where the search for enough nodes ends.
const maxNodes = 2000

func main() {
	h := habits{}
	flag.Float64Var(&h.changes, "changes", 0.002, "rows committed a second for each connection")
	flag.Float64Var(&h.hear, "hear", 4, "connections that get one change")
	flag.Float64Var(&h.typing, "typing", 0.01, "signs of typing a second for each connection")
	flag.Float64Var(&h.near, "near", 2, "connections in a conversation")
	flag.Float64Var(&h.visits, "visits", 0.001, "times a second that a connection comes and goes")
	flag.Float64Var(&h.tenant, "tenant", 20, "connections of a tenant")
	flag.IntVar(
		&h.perNode,
		"per-node",
		50_000,
		"connections of a node at most (ports, descriptors, how many may come back at once)",
	)
	flag.Float64Var(&h.memory, "memory", 4e9, "bytes of memory of a node")
	flag.Float64Var(&h.cores, "cores", 1.4, "cores of a node to be used")
	flag.Float64Var(&h.messages, "messages", 10_000, "Realtime messages a second that the project allows")
	flag.Float64Var(&h.redis, "redis", 0.6, "share of Redis's core to be used")
	flag.Float64Var(&h.network, "network", 1e9, "bytes a second to and from Redis")
	flag.BoolVar(&h.leader, "leader", false, "one node hears Realtime for all (cluster.changes: leader)")
	seed := flag.Uint64("seed", 1, "of what is drawn")
	flag.Parse()
	r := rand.New(rand.NewPCG(*seed, 0))
	out := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...any) {
		for _, c := range cells {
			_, _ = fmt.Fprintf(out, "%v\t", c) // the flush tells of failures
		}
		_, _ = fmt.Fprintln(out)
	}
	line(
		"connections",
		"nodes",
		"MB a node",
		"cores a node",
		"delivered/s",
		"notes/s",
		"Redis core",
		"Redis MB/s",
		"Realtime/s",
		"full",
	)
	for _, connections := range []float64{1e3, 1e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7} {
		nodes := max(1, int(math.Ceil(connections/float64(h.perNode))))
		l := worst(connections, nodes, h, r)
		for more := nodes; (l.cpu > h.cores || l.memory > h.memory) && more < maxNodes; { // more nodes, where that helps
			more += max(1, more/20)
			if w := worst(connections, more, h, r); w.cpu <= h.cores && w.memory <= h.memory {
				l = w
			}
		}
		line(
			int(connections),
			l.nodes,
			fmt.Sprintf("%.0f", l.memory/1e6),
			fmt.Sprintf("%.2f", l.cpu),
			fmt.Sprintf("%.0f", l.delivered),
			fmt.Sprintf("%.0f", l.notes),
			fmt.Sprintf(
				"%.3f",
				l.redisCPU,
			),
			fmt.Sprintf("%.1f", l.redisBytes/1e6),
			fmt.Sprintf("%.0f", l.messages),
			strings.Join(l.full(h), ", "),
		)
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}
