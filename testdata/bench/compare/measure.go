package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

// result is what one way took with so many browsers. Times are per minute of traffic where they are
// rates.
type result struct {
	Way        string
	Browsers   int
	Messages   int // committed
	Deliveries int // that browsers had of them
	Missing    int
	Latency    bed.Quantiles
	Reads      float64 // a minute
	Asked      float64 // a minute
	Bytes      float64 // a minute and browser
	CPU        struct {
		Supabase, Bridge float64 // seconds a minute
	}
	Wakeups     float64 // a minute and browser
	Connections int64   // to Realtime
	Problems    map[string]int
}

// grace is how long after the last message a browser may take to have it: longer than two polls at
// the default interval.
const grace = 7 * time.Second

// measure starts everything anew for one way and number, so that nothing is left of the one before.
func (o *options) measure(ctx context.Context, way string, n int) (r result, err error) {
	r = result{Way: way, Browsers: n}
	supabase, err := bed.StartStandin(ctx, way == "fast")
	if err != nil {
		return r, err
	}
	defer supabase.End()
	conversations, err := supabase.Conversations(ctx, o.conversations, o.history)
	if err != nil {
		return r, err
	}
	target := supabase.Address()
	var bridge *bed.Process
	if way == "supabridge" || way == "fast" {
		lane := map[string]string{"supabridge": "off", "fast": "on"}[way]
		if bridge, target, err = supabase.StartBridge(ctx, o.binary, "SUPABRIDGE_SUPABASE_FAST_LANE="+lane); err != nil {
			return r, err
		}
		defer bridge.End()
	}
	meter, err := bed.OpenMeter(target, nil)
	if err != nil {
		return r, err
	}
	defer meter.Close()
	browsers, err := o.open(ctx, supabase, meter.URL(), way, conversations, n)
	if err != nil {
		return r, err
	}
	defer browsers.close()

	if _, err := o.write(ctx, supabase, conversations, 2*time.Second); err != nil { // so that what begins with the first message has begun
		return r, err
	}
	if err := wait(ctx, grace); err != nil {
		return r, err
	}
	var all [2]snapshot
	if all[0], err = take(ctx, supabase, bridge, meter); err != nil {
		return r, err
	}
	if _, err := browsers.ask("reset"); err != nil {
		return r, err
	}
	if r.Messages, err = o.write(ctx, supabase, conversations, o.duration); err != nil {
		return r, err
	}
	if all[1], err = take(ctx, supabase, bridge, meter); err != nil {
		return r, err
	}
	text, err := browsers.ask("report")
	if err != nil {
		return r, err
	}
	var first report
	if err := json.Unmarshal(text, &first); err != nil {
		return r, err
	}
	if err := wait(ctx, max(grace, 2*o.interval)); err != nil {
		return r, err
	}
	if text, err = browsers.ask("report"); err != nil {
		return r, err
	}
	var last report
	if err := json.Unmarshal(text, &last); err != nil {
		return r, err
	}
	r.fill(all, first, last, o.expected(n, r.Messages))
	return r, nil
}

// expected is how many deliveries there are when message m is of conversation m and browser n
// follows conversation n, in turn.
func (o *options) expected(browsers, messages int) (sum int) {
	for m := range messages {
		c := m % o.conversations
		sum += browsers / o.conversations
		if c < browsers%o.conversations {
			sum++
		}
	}
	return sum
}

// snapshot is what was used until a moment.
type snapshot struct {
	at               time.Time
	counts           bed.Counts
	supabase, bridge bed.Usage
	bytes            int64
}

func take(ctx context.Context, supabase *bed.Standin, bridge *bed.Process, meter *bed.Meter) (s snapshot, err error) {
	s.at, s.bytes = time.Now(), meter.Bytes()
	if s.counts, err = supabase.Counts(ctx); err != nil {
		return s, err
	}
	if s.supabase, err = supabase.Usage(); err != nil || bridge == nil {
		return s, err
	}
	s.bridge, err = bridge.Usage()
	return s, err
}

// fill computes the result from what was used and what the browsers say: when the messages ended,
// and when the last had time to come.
func (r *result) fill(all [2]snapshot, first, last report, expected int) {
	minutes := all[1].at.Sub(all[0].at).Minutes()
	counts := all[1].counts.Since(all[0].counts)
	r.Reads, r.Asked, r.Connections = float64(counts.Reads)/minutes, float64(counts.Asked)/minutes, counts.Open
	r.Bytes = float64(all[1].bytes-all[0].bytes) / minutes / float64(r.Browsers)
	r.CPU.Supabase = (all[1].supabase.CPU - all[0].supabase.CPU).Seconds() / minutes
	r.CPU.Bridge = (all[1].bridge.CPU - all[0].bridge.CPU).Seconds() / minutes
	r.Wakeups = float64(first.Wakeups) / minutes / float64(r.Browsers)
	var l bed.Latencies
	for _, ms := range last.Latencies {
		l.Add(time.Duration(ms * float64(time.Millisecond)))
	}
	r.Latency, r.Deliveries, r.Missing, r.Problems = l.Quantiles(), len(
		last.Latencies,
	), expected-len(
		last.Latencies,
	), last.Problems
}

// write commits messages for a while, one conversation after the other, at moments that have
// nothing to do with each other: a fixed rhythm would fall together with that in which Realtime
// looks for changes. The moments are the same for every way.
func (o *options) write(
	ctx context.Context,
	supabase *bed.Standin,
	conversations []string,
	duration time.Duration,
) (written int, err error) {
	began := time.Now()
	moments := rand.New(rand.NewPCG(1, 1))
	for due := time.Duration(0); ; written++ {
		if due += time.Duration(moments.ExpFloat64() / o.rate * float64(time.Second)); due >= duration {
			return written, wait(ctx, time.Until(began.Add(duration)))
		}
		if err := wait(ctx, time.Until(began.Add(due))); err != nil {
			return written, err
		}
		row := map[string]any{
			"conversation_id": conversations[written%len(conversations)],
			"content":         fmt.Sprintf("Message %d, said just now and as long as messages are.", written),
		}
		if _, err := supabase.Insert(ctx, "messages", row); err != nil {
			return written, err
		}
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

// browsers is the Node process. One goroutine at a time speaks to it.
type browsers struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// report is what the browsers measured.
type report struct {
	Latencies []float64 // milliseconds
	Wakeups   int
	Problems  map[string]int
}

// open starts the browsers and waits until each follows its conversation.
func (o *options) open(
	ctx context.Context,
	supabase *bed.Standin,
	url, way string,
	conversations []string,
	n int,
) (*browsers, error) {
	type browser struct {
		Token        string `json:"token"`
		Conversation string `json:"conversation"`
	}
	settings := map[string]any{
		"kind":     way,
		"url":      url,
		"key":      supabase.Tokens.AnonKey(),
		"interval": o.interval.Milliseconds(),
	}
	var list []browser
	for i := range n {
		token, err := supabase.Token()
		if err != nil {
			return nil, err
		}
		list = append(list, browser{token, conversations[i%len(conversations)]})
	}
	settings["browsers"] = list
	line, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	b := &browsers{process: exec.CommandContext(ctx, o.node, filepath.Join(o.folder, "browsers.mjs"))}
	b.process.Stderr = os.Stderr
	if b.in, err = b.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewReaderSize(out, 1<<20)
	if err := b.process.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.node, err)
	}
	if answer, err := b.ask(string(line)); err != nil || strings.TrimSpace(string(answer)) != "ready" {
		b.close()
		return nil, errors.Join(fmt.Errorf("the browsers say %.200q", answer), err)
	}
	return b, nil
}

// ask writes a line and gives the one that answers it.
func (b *browsers) ask(line string) ([]byte, error) {
	if _, err := io.WriteString(b.in, line+"\n"); err != nil {
		return nil, fmt.Errorf("tell the browsers: %w", err)
	}
	answer, err := b.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the browsers' answer: %w", err)
	}
	return answer, nil
}

// close ends the process.
func (b *browsers) close() {
	_ = b.in.Close() // it may have ended
	killed := time.AfterFunc(5*time.Second, func() { _ = b.process.Process.Kill() })
	defer killed.Stop()
	_ = b.process.Wait() // it is only measured with
}
