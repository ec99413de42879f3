// Command webhooks measures what becomes of Twilio's webhooks.
//
//	go run ./testdata/bench/webhooks                       a thousand a second while Supabase is down for a minute
//	go run ./testdata/bench/webhooks -duration 5s          the same, shorter
//	go run ./testdata/bench/webhooks -nextjs               the answer of the bridge against that of a Next.js route, in turn
//
// Requests are signed as Twilio signs them and sent when they are due, whether or not those before
// were answered; an answer's time counts from when its request was due, so that one slow answer
// shows in all that it held up. The bridge is the real program in its own process, with its outbox
// on the disk of -folder; the Supabase is a stand-in in this process, and down means that its port
// is closed.
//
// Of the outage the program judges, and exits 1 where it is otherwise: every request was answered
// 200; every message is in the table once, and nothing else; every status has been written; nothing
// is left in the outbox, and nothing was given up.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "webhooks:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	duration    time.Duration
	rate        int // requests a second
	customers   int
	rounds      int
	drain       time.Duration
	nextjs      bool
	folder      string
	binary      string
	app         string
	requestTime time.Duration
	distance    time.Duration
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("webhooks", flag.ContinueOnError)
	fs.DurationVar(&o.duration, "duration", time.Minute, "how long to post; with -nextjs, for each round")
	fs.IntVar(&o.rate, "rate", 0, "webhooks a second; 0 is 1000, and 100 with -nextjs")
	fs.IntVar(&o.customers, "customers", 500, "how many conversations they are of")
	fs.DurationVar(&o.drain, "drain", 10*time.Minute, "how long storing them may take after Supabase is back")
	fs.DurationVar(&o.requestTime, "timeout", 15*time.Second, "how long an answer may take: Twilio's own bound")
	fs.BoolVar(&o.nextjs, "nextjs", false, "compare the answer with a Next.js route's, Supabase being there")
	fs.IntVar(&o.rounds, "rounds", 3, "with -nextjs: rounds of each, in turn")
	fs.DurationVar(&o.distance, "distance", 0, "how much later each answer of Supabase comes than over loopback")
	fs.StringVar(&o.app, "app", "testdata/nextjs", "with -nextjs: the app, built")
	fs.StringVar(&o.folder, "folder", "", "where the outbox is made; empty is the temporary folder")
	fs.StringVar(&o.binary, "bin", "", "the program to test, instead of building it")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.rate == 0 {
		o.rate = 1000
		if o.nextjs {
			o.rate = 100
		}
	}
	folder, err := os.MkdirTemp(o.folder, "webhooks-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	o.folder = folder
	binary, remove, err := bed.Binary(ctx, o.binary)
	if err != nil {
		return err
	}
	defer remove()
	o.binary = binary
	fmt.Fprintf(
		os.Stderr,
		"webhooks: %d a second of %d customers, %s, %d CPUs, fsync alone: %s\n",
		o.rate,
		o.customers,
		o.duration,
		runtime.NumCPU(),
		syncTimes(folder),
	)
	if o.nextjs {
		return o.compare(ctx)
	}
	return o.outage(ctx)
}

// syncTimes is how long the disk takes for one small write on its own: what no answer can be faster
// than.
func syncTimes(folder string) bed.Quantiles {
	var l bed.Latencies
	f, err := os.Create(filepath.Join(folder, "sync"))
	if err != nil {
		return bed.Quantiles{}
	}
	defer f.Close()
	page := make([]byte, 4096)
	for range 200 {
		began := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return bed.Quantiles{}
		}
		if err := f.Sync(); err != nil {
			return bed.Quantiles{}
		}
		l.Add(time.Since(began))
	}
	return l.Quantiles()
}
