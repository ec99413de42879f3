// Command sizes puts a bridge under the load of supabridge load at several numbers of connections,
// and measures what the bridge itself takes beside what the clients see.
//
//	go run ./testdata/bench/sizes
//	go run ./testdata/bench/sizes -connections 100,1000 -duration 10s -plot sizes.svg
//
// Each number has a bridge and a stand-in of its own, in processes of their own. The load is
// messages to ten rooms by publish, typing, and connections that break and come back with their
// sessions.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/internal/load"
	"github.com/supabridge/supabridge/internal/load/chart"
	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func main() {
	bed.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(1)
	}
}

const (
	publishSecret = "the secret of this measurement"
	rooms         = 10
)

// size is what was measured at one number of connections.
type size struct {
	connections int
	report      *load.Report
	cpu         time.Duration // of the bridge, from its start
	idle, rss   int64         // bytes, before anybody came and at the most
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("sizes", flag.ContinueOnError)
	connections := fs.String("connections", "100,1000,5000,10000", "how many, one after the other")
	duration := fs.Duration("duration", 30*time.Second, "how long each")
	messages := fs.Float64("messages", 20, "messages a second")
	typing := fs.Float64("typing", 5, "browsers that begin to type a second")
	churn := fs.Float64("churn", 5, "connections that break a second")
	plot := fs.String("plot", "", "write an SVG of the latencies to this file")
	binary := fs.String("bin", "", "the program to test, instead of building it")
	if err := fs.Parse(args); err != nil {
		return err
	}
	path, remove, err := bed.Binary(ctx, *binary)
	if err != nil {
		return err
	}
	defer remove()
	var sizes []size
	for text := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-connections: expected numbers with commas between, found %q", text)
		}
		s, err := measure(
			ctx,
			path,
			load.Options{
				Connections: n,
				AtOnce:      200,
				Messages:    *messages,
				Typing:      *typing,
				Churn:       *churn,
				Payload:     200,
				Secret:      publishSecret,
				Duration:    *duration,
			},
		)
		if err != nil {
			return fmt.Errorf("%d connections: %w", n, err)
		}
		fmt.Fprintf(os.Stderr, "%d connections\n%s", n, s.report.Table())
		sizes = append(sizes, s)
	}
	print(sizes)
	return draw(*plot, sizes)
}

// measure runs one number of connections.
func measure(ctx context.Context, binary string, o load.Options) (s size, err error) {
	s.connections = o.Connections
	supabase, err := bed.StartStandin(ctx, false)
	if err != nil {
		return s, err
	}
	defer supabase.End()
	if o.Conversations, err = supabase.Conversations(ctx, rooms, 0); err != nil {
		return s, err
	}
	bridge, address, err := supabase.StartBridge(ctx, binary, "SUPABRIDGE_PUBLISH_SECRET="+publishSecret)
	if err != nil {
		return s, err
	}
	defer bridge.End()
	o.URL = "http://" + address
	for range o.Connections { // each is another user
		token, err := supabase.Token()
		if err != nil {
			return s, err
		}
		o.Tokens = append(o.Tokens, token)
	}
	before, err := bridge.Usage()
	if err != nil {
		return s, err
	}
	if s.report, err = load.Run(ctx, o); err != nil {
		return s, err
	}
	after, err := bridge.Usage()
	s.cpu, s.idle, s.rss = after.CPU-before.CPU, before.RSS, after.PeakRSS
	return s, err
}

// print writes the sizes as Markdown.
func print(sizes []size) {
	ms := bed.Milliseconds
	fmt.Println(
		"| connections | connected in | message p50 | p95 | p99 | typing p99 | delivered | of those to be | broken, recovered | bridge's CPU | memory before, at most | KiB a connection |\n|---|---|---|---|---|---|---|---|---|---|---|---|",
	)
	for _, s := range sizes {
		r := s.report
		fmt.Printf(
			"| %d | %.1f s | %s | %s | %s | %s | %d | %d | %d, %d | %.1f s | %d, %d MiB | %.1f |\n",
			s.connections,
			r.Connecting.Seconds(),
			ms(r.Message.P50),
			ms(r.Message.P95),
			ms(r.Message.P99),
			ms(
				r.Typing.P99,
			),
			r.Delivered,
			r.Expected,
			r.Broken,
			r.Recovered,
			s.cpu.Seconds(),
			s.idle>>20,
			s.rss>>20,
			float64(s.rss-s.idle)/float64(s.connections)/1024,
		)
		for what, n := range r.Problems {
			fmt.Fprintf(os.Stderr, "%d connections, %d times: %s\n", s.connections, n, what)
		}
	}
}

func draw(path string, sizes []size) error {
	if path == "" {
		return nil
	}
	c := chart.Chart{
		Title: "A message by the number of connections",
		X:     "connections",
		Y:     "milliseconds",
		LogX:  true,
		LogY:  true,
	}
	for _, line := range []struct {
		name string
		of   func(load.Quantiles) time.Duration
	}{{"p50", func(q load.Quantiles) time.Duration { return q.P50 }}, {"p99", func(q load.Quantiles) time.Duration { return q.P99 }}} {
		s := chart.Series{Name: line.name}
		for _, size := range sizes {
			s.Points = append(
				s.Points,
				chart.Point{X: float64(size.connections), Y: line.of(size.report.Message).Seconds() * 1000},
			)
		}
		c.Series = append(c.Series, s)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(c.Write(file), file.Close())
}
