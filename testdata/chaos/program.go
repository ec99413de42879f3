package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// recoveryWindow is how long the bridge keeps what a browser misses; short, so that some come back
// after it.
const recoveryWindow = 8 * time.Second

// shutdownTimeout is how long the bridge may take to stop, and endWait how long it is waited for.
const (
	shutdownTimeout = 3 * time.Second
	endWait         = shutdownTimeout + 2*time.Second
)

// feedInterval is how often the bridge reads while all is well: a feed that is stalled is found out
// after that.
const feedInterval = 5 * time.Second

// feedOverlap is how far behind the newest row the bridge reads: transactions take up to nearly as
// long.
const feedOverlap = 5 * time.Second

// realTiming are the waits of Supabase's own Realtime.
var realTiming = phxserver.RealTiming()

// program is a bridge as its operator runs it: a process that is killed and started again on the
// same port.
type program struct {
	args  []string
	env   []string
	probe string // answers 200 when it is ready
	log   io.Writer

	mu      sync.Mutex // held while it is started or ended
	process *exec.Cmd
	ended   chan struct{} // closed when process has
	starts  int
	late    []string // what it did not do in time
}

// bridgeEnv is the configuration of the bridge: the defaults, but with times that suit a run of a
// minute or two.
func bridgeEnv(p *project, port string, repair bool) []string {
	env := map[string]string{
		"LISTEN":                         "127.0.0.1:" + port,
		"SUPABASE_URL":                   "http://" + p.rest.address(),
		"SUPABASE_REALTIME_URL":          "ws://" + p.realtime.address() + "/realtime/v1/websocket",
		"SUPABASE_SERVICE_ROLE_KEY":      p.server.ServiceKey(),
		"SUPABASE_ANON_KEY":              p.server.AnonKey(),
		"SUPABASE_JWT_SECRET":            standin.DefaultJWTSecret,
		"SUPABASE_HEARTBEAT_INTERVAL":    "2s",
		"SUPABASE_JOIN_TIMEOUT":          "7s",
		"SUPABASE_RECONNECT_MIN":         "50ms",
		"SUPABASE_RECONNECT_MAX":         "500ms",
		"SUPABASE_REQUEST_TIMEOUT":       "3s",
		"SUPABASE_FEED_INTERVAL":         feedInterval.String(),
		"SUPABASE_FEED_OVERLAP":          feedOverlap.String(),
		"SUPABASE_FEED_STALL":            "2s",
		"SUPABASE_POLLING_AFTER":         "2s",
		"SUPABASE_POLLING_MIN":           "300ms",
		"SUPABASE_POLLING_MAX":           "2s",
		"SOCKETIO_PING_INTERVAL":         "3s",
		"SOCKETIO_PING_TIMEOUT":          "3s",
		"SOCKETIO_RECOVERY_WINDOW":       recoveryWindow.String(),
		"ROOMS_AUTHORIZATION_CACHE_SIZE": "10000",
		"OPS_SHUTDOWN_TIMEOUT":           shutdownTimeout.String(),
		"LOG_FORMAT":                     "json",
	}
	if !repair {
		env["SUPABASE_FEED_INTERVAL"] = "1h"
		env["SUPABASE_FEED_OVERLAP"] = "1s"
		env["SUPABASE_POLLING_AFTER"] = "1h"
		env["SOCKETIO_RECOVERY_WINDOW"] = "0s"
	}
	var list []string
	for key, value := range env {
		list = append(list, "SUPABRIDGE_"+key+"="+value)
	}
	return list
}

// naiveEnv is what naive.mjs asks for. It reads nothing by REST, so that one address is enough.
func naiveEnv(p *project, port string) []string {
	return []string{"PORT=" + port, "SUPABASE_URL=http://" + p.realtime.address(), "SUPABASE_KEY=" + p.server.ServiceKey()}
}

// start runs the program. Starting one that runs does nothing.
func (p *program) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		return nil
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, p.env...)
	cmd.Dir = os.TempDir()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.args[0], err)
	}
	p.starts++
	ended := make(chan struct{})
	p.process, p.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it ends by our signals
	}()
	return nil
}

// end signals the program and waits for its end. One that does not end in time after SIGTERM is a
// failure: it is made to tell where its goroutines are, and killed.
func (p *program) end(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return
	}
	began := time.Now()
	for _, last := range []syscall.Signal{signal, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.process.Process.Signal(last) // it may have ended
		select {
		case <-p.ended:
			p.process = nil
			return
		case <-time.After(endWait):
			p.late = append(
				p.late,
				fmt.Sprintf("the bridge runs on %s after %v", time.Since(began).Round(time.Millisecond), last),
			)
		}
	}
}

// ready waits until the program says that it is.
func (p *program) ready(ctx context.Context) error {
	client := http.Client{Timeout: 2 * time.Second}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.probe, nil)
		if err != nil {
			return err
		}
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s does not answer 200: %w", p.probe, err)
		}
	}
}

// freePort is a port of the loopback interface nobody listens on now.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// browsers is the Node process with the socket.io-clients. It is spoken to in lines of JSON, each
// answered by one, in turn.
type browsers struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	mu      sync.Mutex // held from a question to its answer
}

// profile is one browser: where it connects, with which transports (none: the defaults), to be in
// which conversations.
type profile struct {
	URL        string   `json:"url"`
	Token      string   `json:"token"`
	Transports []string `json:"transports,omitempty"`
	Rooms      []string `json:"rooms"`
	Tenant     bool     `json:"tenant,omitempty"` // whether it is in the tenant's room too
}

// view is what one browser has seen, as browsers.mjs counts it.
type view struct {
	Connected  bool                        `json:"connected"`
	Pending    int                         `json:"pending"` // rooms not entered, reads under way
	Got        map[string]int64            `json:"got"`     // the last version of each row that an event brought
	Opened     map[string]int64            `json:"opened"`  // the version of each row that was there when its room was opened, again or first
	Rooms      map[string]map[string]int64 `json:"rooms"`   // what it shows: n of each row, by conversation and id
	States     int64                       `json:"states"`  // different versions that events brought
	Events     int64                       `json:"events"`
	Duplicated int64                       `json:"duplicated"`
	Disordered int64                       `json:"disordered"`
	Told       int64                       `json:"told"`  // deletes by an event
	Found      int64                       `json:"found"` // deletes found by reading ids
	Connects   int64                       `json:"connects"`
	Recovered  int64                       `json:"recovered"`
	Since      int64                       `json:"since"`
	Resyncs    int64                       `json:"resyncs"`
	Fallbacks  int64                       `json:"fallbacks"` // joins with since that could not be complete, so that the room was read
	Last       string                      `json:"last"`      // what happened to its connection last
	Examples   []string                    `json:"examples"`
}

// question is a command to the Node process.
type question struct {
	Do       string    `json:"do"`
	Browsers []profile `json:"browsers,omitempty"`
	Rest     string    `json:"rest,omitempty"`
	Key      string    `json:"key,omitempty"`
	Since    bool      `json:"since,omitempty"`
	Overlap  int64     `json:"overlap,omitempty"` // in milliseconds, how much older than its commit a row may be
	Journal  bool      `json:"journal,omitempty"` // whether the browsers are to write down what happens to them
	Who      int       `json:"who,omitempty"`
}

func openBrowsers(node, script string) (*browsers, error) {
	b := &browsers{process: exec.Command(node, script)}
	b.process.Stderr = os.Stderr
	var err error
	if b.in, err = b.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.out = bufio.NewReaderSize(out, 1<<20)
	if err := b.process.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", node, err)
	}
	return b, nil
}

// ask sends a command and reads the answer into answer, where that is not nil.
func (b *browsers) ask(q question, answer any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	line, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask the browsers to %s: %w", q.Do, err)
	}
	text, err := b.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the browsers' answer to %s: %w", q.Do, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// views asks what every browser has seen.
func (b *browsers) views() ([]view, error) {
	var views []view
	return views, b.ask(question{Do: "views"}, &views)
}

// close ends the process by ending its input, and kills it where that is not enough.
func (b *browsers) close() error {
	_ = b.in.Close() // it may have ended
	killed := time.AfterFunc(5*time.Second, func() { _ = b.process.Process.Kill() })
	defer killed.Stop()
	err := b.process.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("the browsers: %w", err)
	}
	return nil
}
