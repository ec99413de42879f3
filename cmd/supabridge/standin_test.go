package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// running is a command that goes on until it is told to stop.
type running struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	output bytes.Buffer  // of both streams; guarded by mu
	grew   chan struct{} // holds one token when there is new output
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case r.grew <- struct{}{}:
	default:
	}
	return r.output.Write(p)
}

func (r *running) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

// start runs the command until the test ends.
func start(t *testing.T, environ []string, args ...string) *running {
	t.Helper()
	r := &running{cmd: program(t, environ, nil, args...), grew: make(chan struct{}, 1)}
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	return r
}

// prints waits for output that matches and returns the first group.
func (r *running) prints(t *testing.T, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	patience := time.After(20 * time.Second)
	for {
		if found := expression.FindStringSubmatch(r.String()); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-r.grew:
		case <-patience:
			t.Fatalf("output doesn't match %q:\n%s", pattern, r)
		}
	}
}

// stop sends the signal, and fails unless the command ends with code within limit.
func (r *running) stop(t *testing.T, s syscall.Signal, code int, limit time.Duration) {
	t.Helper()
	began := time.Now()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait() // the code says it
	if took := time.Since(began); took > limit {
		t.Errorf("ended %s after the signal, want within %s", took, limit)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d; output:\n%s", got, code, r)
	}
}

// get returns the status and body of an answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestStandinServesUntilTerminated(t *testing.T) {
	s := start(t, nil, "standin", "--listen", "127.0.0.1:0", "--poll", "10ms")
	url := s.prints(t, `SUPABASE_URL=(http://\S+)\n`)
	key := s.prints(t, `SUPABASE_ANON_KEY=(\S+)\n`)
	s.prints(t, `SUPABASE_JWT_SECRET=(\S+)\n`)
	if status, body := get(t, url+"/health"); status != http.StatusOK {
		t.Errorf("health answers %d %s", status, body)
	}
	if status, body := get(t, url+"/rest/v1/messages?select=id&apikey="+key); status != http.StatusOK || body != "[]" {
		t.Errorf("REST answers %d %s, want nothing that anon may see", status, body)
	}
	s.stop(t, syscall.SIGTERM, 0, 5*time.Second)
}

func TestStandinRefusesWhatItCannotUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	seed := map[string]string{"seed.yaml": "tables:\n  messages:\n    colums: {}\n"}
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"standin --listen " + taken.Addr().String(), 1, "the port of " + taken.Addr().String() + " is in use by another program"},
		{"standin --seed seed.yaml", 2, "seed seed.yaml: "},
		{"standin --seed none.yaml", 2, "seed: open none.yaml: no such file"},
		{"standin --max-rows 0", 2, "--max-rows: expected a number of 1 or more, found 0"},
		{"standin --poll -1s", 2, "--poll: expected a duration of 0s or more"},
		{"standin --poll soon", 2, "invalid argument \"soon\" for \"--poll\""},
	} {
		cmd := program(t, nil, seed, strings.Fields(test.args)...)
		output, _ := cmd.CombinedOutput() // the code says it
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(output), test.want) {
			t.Errorf("%s ends with %d and says\n%swant %d and %q", test.args, code, output, test.code, test.want)
		}
	}
}

func TestAnOutageIsRehearsedFromTheStart(t *testing.T) {
	r := start(t, nil, "standin", "--listen", "127.0.0.1:0", "--fault", `refuse,status=429,message="Too many connected users",count=1`, "--fault", "cut,every=200ms")
	url := r.prints(t, `SUPABASE_URL=(http://\S+)`)
	key := r.prints(t, `SUPABASE_ANON_KEY=(\S+)`)
	for _, want := range []int{http.StatusTooManyRequests, http.StatusSwitchingProtocols} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/realtime/v1/websocket?vsn=2.0.0&apikey="+key, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if want == http.StatusSwitchingProtocols {
			_, _ = io.Copy(io.Discard, resp.Body) // until the connection is cut
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("handshake: %d, want %d", resp.StatusCode, want)
		}
	}
	r.stop(t, syscall.SIGTERM, 0, 5*time.Second)
}

func TestAFaultThatIsNoneIsRefusedInWords(t *testing.T) {
	for _, fault := range []string{"explode", "cut", "delay"} {
		out, err := program(t, nil, nil, "standin", "--listen", "127.0.0.1:0", "--fault", fault).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "--fault "+fault) {
			t.Errorf("%s: %v: %s", fault, err, out)
		}
	}
}

func TestTheFaultsInTheHelpAreOnes(t *testing.T) {
	examples := regexp.MustCompile(`(?m)^  --fault (\S+)`).FindAllStringSubmatch(newStandin().Long, -1)
	if len(examples) < 4 {
		t.Fatalf("the help has %d examples", len(examples))
	}
	for _, e := range examples {
		if _, err := parseFaults(e[1:]); err != nil {
			t.Error(err)
		}
	}
}
