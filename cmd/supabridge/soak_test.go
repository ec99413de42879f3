package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// soakFor is how long the soak lasts. Ten minutes are the proof, less is for every day.
var soakFor = flag.Duration("soak", 30*time.Second, "how long the soak test lasts")

// What the soak does to the daemon.
const (
	soakClients = 24                     // that come and go
	soakWrite   = 100 * time.Millisecond // between two rows
	soakReload  = 1500 * time.Millisecond
	soakCut     = 4 * time.Second // between two cuts of the line to Supabase
	soakSamples = 12
)

// TestSoakLeavesNothingBehind has clients come and go, the configuration change, good and bad, and
// the line to Supabase break, for as long as -soak says. What the daemon holds must not grow
// meanwhile, must be gone afterwards, and a browser that stays must hear of every row once.
func TestSoakLeavesNothingBehind(t *testing.T) {
	if raceEnabled {
		t.Skip("scripts/test runs it without the race detector, which has memory of its own")
	}
	project := standinVariables(t, "--poll", "20ms")
	url, key := variable(project, "SUPABASE_URL"), variable(project, "SUPABASE_SERVICE_ROLE_KEY")
	path := filepath.Join(t.TempDir(), "c.yaml")
	rewrite(t, path, "typing: {timeout: 5s}\n")
	d := startDaemon(t, append(project,
		"SUPABRIDGE_LOG_LEVEL=error", "SUPABRIDGE_SUPABASE_RECONNECT_MIN=50ms", "SUPABRIDGE_SUPABASE_RECONNECT_MAX=300ms", "SUPABRIDGE_SOCKETIO_RECOVERY_WINDOW=2s",
		"SUPABRIDGE_SOCKETIO_CONNECT_TIMEOUT=2s", "SUPABRIDGE_SOCKETIO_PING_INTERVAL=2s", "SUPABRIDGE_SOCKETIO_PING_TIMEOUT=2s", "SUPABRIDGE_SUPABASE_FEED_WINDOW=2000",
		"SUPABRIDGE_PRESENCE_GRACE=1s", "SUPABRIDGE_SUPABASE_FEED_OVERLAP=5s",
	), "--config", path)
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor+3*time.Minute)
	defer cancel()

	var mu sync.Mutex
	heard := make(map[string]int)
	token := tokenFor(t, anaID)
	stays, err := connect(ctx, d.address, token, func(event, packet string) {
		if event == "new_message" {
			number, _, _ := strings.Cut(packet[strings.Index(packet, "number "):], `"`)
			mu.Lock()
			heard[number]++
			mu.Unlock()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stays.close()
	if answer, err := stays.ask(ctx, "join_conversation", bakery); err != nil || !strings.Contains(answer, `"success":true`) {
		t.Fatalf("join: %s (%v)", answer, err)
	}
	before := d.standing(ctx, t)

	soaking, stop := context.WithTimeout(ctx, *soakFor)
	defer stop()
	var parts sync.WaitGroup
	var came, reloads, cuts atomic.Int64
	every := func(interval time.Duration, do func(n int64) error) {
		parts.Go(func() {
			for n := int64(1); ; n++ {
				if pause(soaking, interval); soaking.Err() != nil {
					return
				}
				if err := do(n); err != nil && soaking.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var written atomic.Int64
	every(soakWrite, func(n int64) error {
		if err := writeMessage(ctx, url, key, fmt.Sprintf("number %d", n)); err != nil {
			return err
		}
		written.Store(n)
		return nil
	})
	every(soakReload, func(n int64) error {
		reloads.Add(1)
		content := fmt.Sprintf("typing: {timeout: %ds}\nauth: {refuse_message: refused %d times}\n", 3+n%5, n)
		if n%4 == 0 {
			content = "typing: {timeout: never}\nnonsense: {}\n"
		}
		rewrite(t, path, content)
		return d.cmd.Process.Signal(syscall.SIGHUP)
	})
	every(soakCut, func(n int64) error {
		cuts.Add(1)
		return inject(ctx, url, []string{`{"action":"cut"}`, `{"action":"refuse","status":503,"for":"500ms"}`, `{"action":"close"}`, `{"action":"crash"}`}[n%4])
	})
	for range soakClients {
		parts.Go(func() {
			for soaking.Err() == nil {
				visit(soaking, d.address, token)
				came.Add(1)
			}
		})
	}

	// The first sixth is for what is made once.
	pause(soaking, *soakFor/6)
	var samples []standing
	for range soakSamples {
		pause(soaking, *soakFor*5/6/(soakSamples+1))
		samples = append(samples, d.standing(ctx, t))
	}
	parts.Wait()
	early, late := middle(samples[:soakSamples/3]), middle(samples[soakSamples*2/3:])
	t.Logf("%d visits, %d reloads, %d cuts, %d rows; early %+v, late %+v", came.Load(), reloads.Load(), cuts.Load(), written.Load(), early, late)
	early.connections = late.connections // they come and go
	if more := late.beyond(early, 60, 40, early.heap/4+8<<20); more != "" {
		t.Errorf("the daemon grows: %s", more)
	}

	d.until(t, "have told every row", func() string {
		mu.Lock()
		defer mu.Unlock()
		for n := int64(1); n <= written.Load(); n++ {
			if heard[fmt.Sprintf("number %d", n)] == 0 {
				return fmt.Sprintf("row %d of %d did not come", n, written.Load())
			}
		}
		return ""
	})
	mu.Lock()
	for number, times := range heard {
		if times != 1 {
			t.Errorf("%s came %d times", number, times)
		}
	}
	mu.Unlock()
	d.until(t, "be as before", func() string { return d.standing(ctx, t).beyond(before, 15, 10, 24<<20) })
	d.stop(t, syscall.SIGTERM, 0, 20*time.Second)
}

// visit is what one client does before it goes: in one of the ways clients go.
func visit(ctx context.Context, address, token string) {
	stay, cancel := context.WithTimeout(ctx, time.Duration(100+rand.IntN(900))*time.Millisecond)
	defer cancel()
	if rand.IntN(4) == 0 { // opens a session by long-polling and is never seen again
		_, _ = session(stay, address) // it may be refused
		pause(stay, time.Second)
		return
	}
	c, err := connect(stay, address, token, nil)
	if err != nil {
		return
	}
	defer c.close()
	for _, event := range []string{"join_conversation", "typing_start", "typing_stop"} {
		if _, err := c.ask(stay, event, bakery); err != nil {
			return
		}
	}
	if rand.IntN(2) == 0 {
		_, _ = c.ask(stay, "join_distributor") // it may have to go meanwhile
	}
	pause(stay, time.Second)
	if rand.IntN(2) == 0 {
		_ = c.write("41") // takes leave; the others don't
	}
}

// inject makes a fault happen in the stand-in.
func inject(ctx context.Context, supabase, fault string) error {
	r, err := http.NewRequestWithContext(ctx, "POST", supabase+"/admin/faults", strings.NewReader(fault))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= 400 && resp.StatusCode != http.StatusConflict { // nobody is connected just now
		return fmt.Errorf("fault %s: %s", fault, resp.Status)
	}
	return nil
}

// middle takes the median of each figure.
func middle(samples []standing) standing {
	figure := func(of func(standing) float64) float64 {
		var values []float64
		for _, s := range samples {
			values = append(values, of(s))
		}
		return median(values)
	}
	return standing{
		heap: figure(func(s standing) float64 { return s.heap }), goroutines: figure(func(s standing) float64 { return s.goroutines }),
		files: figure(func(s standing) float64 { return s.files }), connections: figure(func(s standing) float64 { return s.connections }),
	}
}
