// Command budget measures where the time goes from a commit to a browser.
//
//	go run ./testdata/bench/budget                                   1,000 clients and 100 changes a second, on both lanes
//	go run ./testdata/bench/budget -clients 100 -rate 10 -duration 5s
//
// The stages are measured from outside, by proxies on both sides of the bridge that note when a
// piece with the message's number passes, so that nothing in the bridge is believed:
//
//   - commit to bridge: from the row's created_at until the first frame of it leaves the stand-in
//     for the bridge. This is Realtime's looking for changes, or the database's broadcast.
//   - the bridge: from there until the frame for a client leaves the bridge. It has two passages
//     through the kernel and the proxies in it, so it is an upper bound.
//   - to the browser: from there to the client's handler.
//   - whole: from the commit to the handler of every client, with or without a proxy.
//
// One client in -watched is behind the proxy; the others are connected as they would be, and are
// the load. Everything is on one machine, and the clients take CPU from the bridge.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/internal/load"
	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func main() {
	bed.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "budget:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	clients, watched, conversations int
	rate                            float64
	duration                        time.Duration
	binary                          string
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("budget", flag.ContinueOnError)
	fs.IntVar(&o.clients, "clients", 1000, "how many clients")
	fs.IntVar(&o.watched, "watched", 20, "one client in so many is behind a proxy")
	fs.IntVar(&o.conversations, "conversations", 10, "conversations; client n is in the n-th of them, in turn")
	fs.Float64Var(&o.rate, "rate", 100, "messages a second")
	fs.DurationVar(&o.duration, "duration", 30*time.Second, "how long each lane is measured")
	fs.StringVar(&o.binary, "bin", "", "the program to test, instead of building it")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.clients < 1 || o.watched < 1 || o.conversations < 1 || o.rate <= 0 || o.rate*o.duration.Seconds() >= maxMessages {
		return fmt.Errorf("expected clients, conversations and a rate, and at most %d messages", maxMessages)
	}
	binary, remove, err := bed.Binary(ctx, o.binary)
	if err != nil {
		return err
	}
	defer remove()
	o.binary = binary
	fmt.Printf(
		"%d clients, %g changes a second to %d rooms\n\n| lane | stage | count | p50 | p95 | p99 | longest |\n|---|---|---|---|---|---|---|\n",
		o.clients,
		o.rate,
		o.conversations,
	)
	for _, lane := range []string{"off", "on"} {
		if err := o.lane(ctx, lane); err != nil {
			return fmt.Errorf("fast lane %s: %w", lane, err)
		}
	}
	return nil
}

// maxMessages is how many a run may have: their numbers have six digits.
const maxMessages = 1_000_000

// trial is one lane's run.
type trial struct {
	o       options
	started time.Time
	// upstream has when the first frame of a message came by, in nanoseconds after started; 0: not
	// yet.
	upstream []atomic.Int64

	toBridge, bridge, toBrowser, whole bed.Latencies
}

// number finds the number of a message in what passes, and what comes after it.
func number(piece []byte) (n int, rest []byte, ok bool) {
	const mark, width = `"n=`, 6
	for {
		i := bytes.Index(piece, []byte(mark))
		if i < 0 || len(piece) < i+len(mark)+width {
			return 0, nil, false
		}
		digits := piece[i+len(mark) : i+len(mark)+width]
		piece = piece[i+len(mark)+width:]
		if n, err := strconv.Atoi(string(digits)); err == nil {
			return n, piece, true
		}
	}
}

// watcher is a client behind a proxy. Only that proxy's goroutine and the client's touch it, under
// the mutex.
type watcher struct {
	mu   sync.Mutex
	left map[int]time.Time // when a message left the bridge for it, for each of the run
}

func (t *trial) since(at time.Time) int64 { return int64(at.Sub(t.started)) }

// passed notes what comes to the bridge.
func (t *trial) passed(piece []byte) {
	now := t.since(time.Now())
	for n, rest, ok := number(piece); ok; n, rest, ok = number(rest) {
		if n < len(t.upstream) {
			t.upstream[n].CompareAndSwap(0, now)
		}
	}
}

// left notes what leaves the bridge for a watched client.
func (t *trial) left(w *watcher, piece []byte) {
	now := time.Now()
	for n, rest, ok := number(piece); ok; n, rest, ok = number(rest) {
		if n >= len(t.upstream) {
			continue
		}
		w.mu.Lock()
		_, again := w.left[n] // the number is in a frame more than once
		if !again {
			w.left[n] = now
		}
		w.mu.Unlock()
		if came := t.upstream[n].Load(); came != 0 && !again {
			t.bridge.Add(time.Duration(t.since(now) - came))
		}
	}
}

// heard notes what reaches a client; w is nil for one that is not watched.
func (t *trial) heard(w *watcher, name string, args []byte) {
	now := time.Now()
	n, _, ok := number(args)
	if name != "new_message" || !ok || n >= len(t.upstream) {
		return
	}
	committed, err := createdAt(args)
	if err != nil {
		return
	}
	t.whole.Add(now.Sub(committed))
	if w == nil {
		return
	}
	w.mu.Lock()
	at, ok := w.left[n]
	w.mu.Unlock()
	if ok {
		t.toBrowser.Add(now.Sub(at))
	}
	if came := t.upstream[n].Load(); came != 0 {
		t.toBridge.Add(time.Duration(came - t.since(committed)))
	}
}

var errNoTime = errors.New("no created_at")

// createdAt finds when the row was committed.
func createdAt(args []byte) (time.Time, error) {
	_, after, ok := bytes.Cut(args, []byte(`"created_at":"`))
	text, _, closed := bytes.Cut(after, []byte(`"`))
	if !ok || !closed {
		return time.Time{}, errNoTime
	}
	return time.Parse(time.RFC3339Nano, string(text))
}

// lane measures one lane with everything started anew.
func (o *options) lane(ctx context.Context, lane string) error {
	supabase, err := bed.StartStandin(ctx, lane == "on")
	if err != nil {
		return err
	}
	defer supabase.End()
	conversations, err := supabase.Conversations(ctx, o.conversations, 0)
	if err != nil {
		return err
	}
	t := &trial{o: *o, started: time.Now(), upstream: make([]atomic.Int64, int(o.rate*o.duration.Seconds())+1)}
	upstream, err := bed.OpenMeter(supabase.Address(), t.passed)
	if err != nil {
		return err
	}
	defer upstream.Close()
	bridge, address, err := supabase.StartBridge(
		ctx,
		o.binary,
		"SUPABRIDGE_SUPABASE_FAST_LANE="+lane,
		"SUPABRIDGE_SUPABASE_REALTIME_URL=ws://"+upstream.Address()+"/realtime/v1/websocket",
	)
	if err != nil {
		return err
	}
	defer bridge.End()
	leave, err := t.enter(ctx, supabase, address, conversations)
	defer leave()
	if err != nil {
		return err
	}
	before, err := bridge.Usage()
	if err != nil {
		return err
	}
	written, err := t.write(ctx, supabase, conversations)
	if err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil { // for the last to arrive
		return err
	}
	after, err := bridge.Usage()
	if err != nil {
		return err
	}
	name := map[string]string{"off": "postgres_changes", "on": "broadcast"}[lane]
	for _, stage := range []struct {
		name string
		l    *bed.Latencies
	}{{"commit to bridge", &t.toBridge}, {"the bridge", &t.bridge}, {"to the browser", &t.toBrowser}, {"whole", &t.whole}} {
		q := stage.l.Quantiles()
		fmt.Printf(
			"| %s | %s | %d | %s | %s | %s | %s |\n",
			name,
			stage.name,
			q.Count,
			bed.Milliseconds(q.P50),
			bed.Milliseconds(q.P95),
			bed.Milliseconds(q.P99),
			bed.Milliseconds(q.Max),
		)
	}
	fmt.Fprintf(
		os.Stderr,
		"%s: %d messages, %d of %d deliveries, the bridge took %.1f s of CPU\n",
		name,
		written,
		t.whole.Quantiles().Count,
		written*o.clients/o.conversations,
		(after.CPU - before.CPU).Seconds(),
	)
	return nil
}

// enter connects the clients, the watched ones through proxies of their own. leave ends them all,
// and is never nil.
func (t *trial) enter(
	ctx context.Context,
	supabase *bed.Standin,
	address string,
	conversations []string,
) (leave func(), err error) {
	var mu sync.Mutex
	var clients []*load.Client
	var meters []*bed.Meter
	leave = func() {
		var all sync.WaitGroup
		for _, c := range clients {
			all.Go(c.Cut)
		}
		all.Wait()
		for _, m := range meters {
			m.Close()
		}
	}
	slots := make(chan struct{}, 50)
	var all sync.WaitGroup
	var failed error
	for i := range t.o.clients {
		token, err := supabase.Token()
		if err != nil {
			return leave, err
		}
		options := load.ClientOptions{URL: "http://" + address, Token: token}
		var w *watcher
		if i%t.o.watched == 0 {
			w = &watcher{left: make(map[int]time.Time)}
			meter, err := bed.OpenMeter(address, func(piece []byte) { t.left(w, piece) })
			if err != nil {
				return leave, err
			}
			meters = append(meters, meter)
			options.URL = meter.URL()
		}
		options.Event = func(name string, args []byte) { t.heard(w, name, args) }
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			client, err := load.Dial(ctx, options)
			if err == nil {
				var answer []byte
				answer, err = client.Call(ctx, "join_conversation", conversations[i%len(conversations)])
				if err == nil && !strings.Contains(string(answer), `"success":true`) {
					err = fmt.Errorf("join: %s", answer)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if client != nil {
				clients = append(clients, client)
			}
			failed = errors.Join(failed, err)
		})
	}
	all.Wait()
	return leave, failed
}

// write commits the messages at the rate, each by a goroutine of its own, so that one that is slow
// holds up no other.
func (t *trial) write(ctx context.Context, supabase *bed.Standin, conversations []string) (written int, err error) {
	began := time.Now()
	errs := make(chan error, 1)
	var writing sync.WaitGroup
	for ; written < len(t.upstream)-1 && ctx.Err() == nil; written++ {
		if err := wait(ctx, time.Until(began.Add(time.Duration(float64(written)/t.o.rate*float64(time.Second))))); err != nil {
			break
		}
		row := map[string]any{
			"conversation_id": conversations[written%len(conversations)],
			"content":         fmt.Sprintf("n=%06d said just now, and as long as messages are.", written),
		}
		writing.Go(func() {
			if _, err := supabase.Insert(ctx, "messages", row); err != nil {
				select {
				case errs <- err:
				default:
				}
			}
		})
	}
	writing.Wait()
	select {
	case err := <-errs:
		return written, err
	default:
		return written, ctx.Err()
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
