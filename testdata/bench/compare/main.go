// Command compare measures what a team gains by supabridge: the same browsers, the same messages,
// the same Supabase, in four ways.
//
//	go run ./testdata/bench/compare                            1, 10, 100 and 1,000 browsers, a minute each
//	go run ./testdata/bench/compare -browsers 10 -duration 10s
//
// The ways:
//
//   - polling: each browser asks PostgREST for its conversation every -interval, as a frontend does
//     that has nothing else;
//   - supabase-js: each browser follows its conversation on a Realtime channel of its own;
//   - supabridge: each browser is in its conversation's room on the bridge, which has one
//     subscription;
//   - fast: the same where the migration of `supabridge sql` has the database broadcast each row.
//
// The Supabase is a stand-in in a process of its own whose Realtime collects changes as seldom as
// Supabase's does; the browsers are the real clients, in a Node process (browsers.mjs, with the
// packages of testdata/node). Everything is on loopback: there is no network in the times, no TLS
// and no compression in the bytes.
//
// What is counted, over the time in which messages are written:
//
//   - reads: requests to PostgREST that read, by whomever; each is a query of the database. Joins
//     come before and aren't in it.
//   - asked: questions of Realtime to row level security, one for each change and subscriber with a
//     user's token.
//   - latency: from the commit, as the row's created_at has it, to the browser's handler.
//   - bytes: what passes between the browsers and what they talk to, in both directions, HTTP and
//     WebSocket frames with their heads.
//   - CPU: of the stand-in (database, PostgREST and Realtime, all in Go and in memory, so only to
//     be held against each other) and of the bridge.
//   - wake-ups: see browsers.mjs.
//   - missing: messages that a browser should have and had not at the end.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

// ways are the kinds of browsers.mjs, in the order of the table.
var ways = []string{"polling", "supabase-js", "supabridge", "fast"}

func main() {
	bed.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	browsers      []int
	ways          []string
	duration      time.Duration
	interval      time.Duration
	rate          float64 // messages a second
	conversations int
	history       int
	binary        string
	node, folder  string
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	browsers := fs.String("browsers", "1,10,100,1000", "how many browsers, one after the other")
	kinds := fs.String("ways", strings.Join(ways, ","), "which ways")
	fs.DurationVar(&o.duration, "duration", time.Minute, "how long messages are written, for each way and number")
	fs.DurationVar(&o.interval, "interval", 3*time.Second, "how often a browser polls")
	fs.Float64Var(&o.rate, "rate", 2, "messages a second, over all conversations")
	fs.IntVar(&o.conversations, "conversations", 10, "conversations; browser n follows the n-th of them, in turn")
	fs.IntVar(&o.history, "history", 50, "messages in each at the beginning; a poll reads the last 50")
	fs.StringVar(&o.binary, "bin", "", "the program to test, instead of building it")
	fs.StringVar(&o.node, "node", "node", "Node.js")
	fs.StringVar(&o.folder, "folder", "testdata/bench/compare", "where browsers.mjs is")
	plots := fs.String("plots", "", "write latency.svg and reads.svg into this folder")
	asJSON := fs.Bool("json", false, "print JSON in place of tables")
	if err := fs.Parse(args); err != nil {
		return err
	}
	for text := range strings.SplitSeq(*browsers, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-browsers: expected numbers with commas between, found %q", text)
		}
		o.browsers = append(o.browsers, n)
	}
	for way := range strings.SplitSeq(*kinds, ",") {
		if way = strings.TrimSpace(way); !slices.Contains(ways, way) {
			return fmt.Errorf("-ways: expected some of %s, found %q", strings.Join(ways, ", "), way)
		}
		o.ways = append(o.ways, way)
	}
	binary, remove, err := bed.Binary(ctx, o.binary)
	if err != nil {
		return err
	}
	defer remove()
	o.binary = binary
	var results []result
	for _, n := range o.browsers {
		for _, way := range o.ways {
			r, err := o.measure(ctx, way, n)
			if err != nil {
				return fmt.Errorf("%s, %d browsers: %w", way, n, err)
			}
			if !*asJSON {
				fmt.Fprintln(os.Stderr, r)
			}
			results = append(results, r)
		}
	}
	if *plots != "" {
		if err := plot(*plots, results); err != nil {
			return err
		}
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	fmt.Print(table(results))
	return nil
}
