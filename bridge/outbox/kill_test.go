package outbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// child is the process that is killed: it adds what it reads, says so, and delivers to a store.
func child(path, store string) int {
	post := func(ctx context.Context, item Item) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, store, strings.NewReader(string(item.Body)))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	o, err := Open(Options{Path: path, Deliver: map[string]Deliver{"store": post}, RetryMin: time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	go o.Run(context.Background())
	fmt.Println("ready", o.Stats().Waiting)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		name := lines.Text()
		if _, err := o.Add(context.Background(), name, Entry{Target: "store", Lane: name[:2], Body: []byte(name)}); err != nil {
			fmt.Println("error", err)
			return 1
		}
		fmt.Println("added", name)
	}
	return 0
}

// TestKilledAHundredTimesEverythingAcknowledgedArrives kills between the acknowledgement and the
// delivery, at moments that differ, and asks that the store, which keeps one of a name as a unique
// column does, ends with exactly what was acknowledged.
func TestKilledAHundredTimesEverythingAcknowledgedArrives(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred processes")
	}
	var mu sync.Mutex
	stored := make(map[string]int)
	held := make(chan struct{})
	hold := true
	store := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		wait := hold
		mu.Unlock()
		if wait { // delivery stands still: the process dies before it is done
			select {
			case <-held:
			case <-r.Context().Done():
				return
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		stored[string(body)]++
	}))
	defer store.Close()
	path := filepath.Join(t.TempDir(), "outbox.db")
	start := func() (*exec.Cmd, io.WriteCloser, *bufio.Scanner) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OUTBOX_CHILD="+path, "OUTBOX_STORE="+store.URL)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "ready") {
			t.Fatalf("the child says %q", lines.Text())
		}
		return cmd, in, lines
	}
	acknowledged := make(map[string]bool)
	for life := range 100 {
		mu.Lock()
		hold = life%3 != 0 // in every third life deliveries go on, and the kill meets them anywhere
		mu.Unlock()
		cmd, in, lines := start()
		for i := range 1 + life%4 {
			name := fmt.Sprintf("%02d-%d", life, i)
			if _, err := fmt.Fprintln(in, name); err != nil {
				t.Fatal(err)
			}
			if !lines.Scan() || lines.Text() != "added "+name {
				t.Fatalf("the child says %q", lines.Text())
			}
			acknowledged[name] = true
		}
		_, _ = fmt.Fprintln(in, "99-never-acknowledged") // may or may not be taken: the kill comes meanwhile
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		_ = in.Close()
	}
	mu.Lock()
	hold = false
	mu.Unlock()
	close(held)
	cmd, in, _ := start()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for missing := len(acknowledged); missing > 0; {
		select {
		case <-tick.C:
			missing = 0
			mu.Lock()
			for name := range acknowledged {
				if stored[name] == 0 {
					missing++
				}
			}
			mu.Unlock()
		case <-timeout.C:
			t.Fatalf("%d of %d acknowledged were not delivered", missing, len(acknowledged))
		}
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for name := range stored {
		if !acknowledged[name] && name != "99-never-acknowledged" {
			t.Errorf("%s was delivered and never added", name)
		}
	}
	t.Logf("%d acknowledged over 100 kills, all delivered", len(acknowledged))
}
