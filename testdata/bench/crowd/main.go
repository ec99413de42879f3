// Command crowd holds the bridge against Node's Socket.IO server where many clients are there at
// once.
//
//	go run ./testdata/bench/crowd -clients 10000                     all in one room, then all cut off and back
//	go run ./testdata/bench/crowd -clients 1000 -rounds 1 -json
//
// A round of either server, each in a fresh process, in turn:
//
//   - room: every client is in one room; messages are published, one after the other was had by
//     all. What is measured is each client's time from before the post.
//   - storm: every connection is cut at once, -missed messages are published meanwhile, and then
//     every client comes back with its token and its session. What is measured is the time until
//     all are back, who recovered, whether anybody lost or got twice what was published, and the
//     server's memory and CPU.
//
// The clients are those of supabridge load, in this process, WebSocket only; each is another user
// with a token of its own. With 10,000 of them they take about as much CPU as the server: on two
// cores a time here is that of both, and only to be held against the other server's.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func main() {
	bed.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

// servers are what is compared.
var servers = []string{"supabridge", "node"}

// options are the command line.
type options struct {
	clients, atOnce  int
	messages, missed int
	rounds           int
	payload          int
	servers          []string
	binary           string
	node, folder     string
}

// maxMessages is how many one client can tell apart: the bits of a word.
const maxMessages = 64

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("crowd", flag.ContinueOnError)
	fs.IntVar(&o.clients, "clients", 10_000, "how many clients")
	fs.IntVar(&o.atOnce, "at-once", 500, "how many connect at the same time")
	fs.IntVar(&o.messages, "messages", 20, "messages to all of them")
	fs.IntVar(&o.missed, "missed", 10, "messages published while all are away")
	fs.IntVar(&o.payload, "payload", 200, "bytes of a message's text")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds of each server, in turn")
	which := fs.String("servers", strings.Join(servers, ","), "which servers")
	fs.StringVar(&o.binary, "bin", "", "the program to test, instead of building it")
	fs.StringVar(&o.node, "node", "node", "Node.js")
	fs.StringVar(&o.folder, "folder", "testdata/bench/crowd", "where peer.mjs is")
	asJSON := fs.Bool("json", false, "print JSON in place of tables")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.messages+o.missed > maxMessages || o.messages < 1 || o.missed < 0 || o.clients < 1 {
		return fmt.Errorf("expected a client or more, a message or more, and at most %d messages altogether", maxMessages)
	}
	for name := range strings.SplitSeq(*which, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(servers, name) {
			return fmt.Errorf("-servers: expected some of %s, found %q", strings.Join(servers, ", "), name)
		}
		o.servers = append(o.servers, name)
	}
	binary, remove, err := bed.Binary(ctx, o.binary)
	if err != nil {
		return err
	}
	defer remove()
	o.binary = binary
	var results []result
	for n := range o.rounds {
		for i := range o.servers {
			r, err := o.round(ctx, o.servers[(i+n)%len(o.servers)])
			if err != nil {
				return fmt.Errorf("%s: %w", o.servers[(i+n)%len(o.servers)], err)
			}
			if !*asJSON {
				fmt.Fprintln(os.Stderr, r)
			}
			results = append(results, r)
		}
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	fmt.Print(table(o.servers, results))
	return nil
}

// result is one round of one server.
type result struct {
	Server  string
	Clients int
	Connect time.Duration // until all were in the room the first time

	Room     bed.Quantiles // each client and message
	ToAll    bed.Quantiles // each message, until the last client had it
	RoomCPU  time.Duration // of the server, for all messages
	RoomRSS  int64         // bytes, with all clients connected
	Back     time.Duration // until all were back
	BackEach bed.Quantiles // each client's connecting
	// Returned is how many clients came back at all, Recovered those that were given their room and
	// what they missed.
	Returned, Recovered int
	Lost, Twice         int // messages, of all that all were to have
	StormCPU            time.Duration
	Peak                int64 // bytes, the server's largest RSS in the whole round
}

func (r result) String() string {
	return fmt.Sprintf(
		"%s, %d clients in %s: room %s, to all p50 %s p99 %s, %d MiB; storm all back in %s, %d recovered, lost %d, twice %d, peak %d MiB",
		r.Server,
		r.Clients,
		r.Connect.Round(
			time.Millisecond,
		),
		r.Room,
		bed.Milliseconds(r.ToAll.P50),
		bed.Milliseconds(r.ToAll.P99),
		r.RoomRSS>>20,
		r.Back.Round(time.Millisecond),
		r.Recovered,
		r.Lost,
		r.Twice,
		r.Peak>>20,
	)
}

// table writes medians over the rounds as Markdown.
func table(names []string, results []result) string {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"\n%d clients, medians\n\n| | supabridge | Node | Node to supabridge |\n|---|---|---|---|\n",
		results[0].Clients,
	)
	median := func(server string, get func(result) float64) float64 {
		var all []float64
		for _, r := range results {
			if r.Server == server {
				all = append(all, get(r))
			}
		}
		if len(all) == 0 {
			return 0
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, row := range []struct {
		name, unit string
		get        func(result) float64
	}{
		{"connect and join, all of them", "s", func(r result) float64 { return r.Connect.Seconds() }},
		{"one message, each client, p50", "ms", func(r result) float64 { return r.Room.P50.Seconds() * 1000 }},
		{"one message, each client, p99", "ms", func(r result) float64 { return r.Room.P99.Seconds() * 1000 }},
		{"one message, until the last has it, p50", "ms", func(r result) float64 { return r.ToAll.P50.Seconds() * 1000 }},
		{"one message, until the last has it, longest", "ms", func(r result) float64 { return r.ToAll.Max.Seconds() * 1000 }},
		{"server's CPU for the messages", "s", func(r result) float64 { return r.RoomCPU.Seconds() }},
		{"memory with all connected", "MiB", func(r result) float64 { return float64(r.RoomRSS) / (1 << 20) }},
		{"storm: until all are back", "s", func(r result) float64 { return r.Back.Seconds() }},
		{"storm: each client's connecting, p99", "ms", func(r result) float64 { return r.BackEach.P99.Seconds() * 1000 }},
		{"storm: recovered", "", func(r result) float64 { return float64(r.Recovered) }},
		{"storm: messages lost", "", func(r result) float64 { return float64(r.Lost) }},
		{"storm: messages twice", "", func(r result) float64 { return float64(r.Twice) }},
		{"storm: server's CPU", "s", func(r result) float64 { return r.StormCPU.Seconds() }},
		{"largest memory", "MiB", func(r result) float64 { return float64(r.Peak) / (1 << 20) }},
	} {
		ours, theirs := median("supabridge", row.get), median("node", row.get)
		ratio := "–"
		if ours > 0 && len(names) == len(servers) {
			ratio = fmt.Sprintf("%.1f", theirs/ours)
		}
		fmt.Fprintf(&b, "| %s | %s %s | %s %s | %s |\n", row.name, figure(ours), row.unit, figure(theirs), row.unit, ratio)
	}
	return b.String()
}

// figure gives four digits, or all of a large number.
func figure(value float64) string {
	if value >= 1000 {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.4g", value)
}
