// Package bed is what the measuring programs in testdata/bench share: processes with what they
// used, a Supabase that can be away, and lists of latencies.
package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endWait is how long a process may take to end after SIGTERM.
const endWait = 15 * time.Second

// maxOutput is how much of a process' output is kept, in bytes; the rest is dropped.
const maxOutput = 4 << 10

// Process is a program that is measured. One goroutine waits for its end.
type Process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	out   output
}

// output keeps the beginning of what is written to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p[:min(len(p), maxOutput-o.text.Len())])
	return len(p), nil
}

// Start runs a program in a folder ("" is the temporary one) with this environment and no other but
// PATH and HOME. stdin may be nil.
func Start(name, folder string, env []string, stdin io.Reader, args ...string) (*Process, error) {
	p := &Process{name: name, cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	if folder == "" {
		folder = os.TempDir()
	}
	p.cmd.Dir, p.cmd.Stdin = folder, stdin
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // it ends by our signals, or Await tells
	}()
	return p, nil
}

// Output is the beginning of what the process wrote.
func (p *Process) Output() string {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.text.String()
}

// Await waits until an address answers 200, a minute at most.
func (p *Process) Await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended:\n%s", p.name, p.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s: %s does not answer 200:\n%s", p.name, address, p.Output())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// End has the process end, by SIGTERM and where that is not enough by SIGKILL.
func (p *Process) End() {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = p.cmd.Process.Signal(signal) // it may have ended
		select {
		case <-p.ended:
			return
		case <-time.After(endWait):
		}
	}
}

// Usage is what a process has used until now.
type Usage struct {
	CPU     time.Duration // user and system
	RSS     int64         // bytes
	PeakRSS int64
}

// clockTick is the unit of /proc's times: USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage reads /proc, so it fails elsewhere than on Linux.
func (p *Process) Usage() (u Usage, err error) {
	folder := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return u, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name before may have spaces
	if len(fields) < 13 {
		return u, errors.New("/proc/<pid>/stat is not as expected")
	}
	for _, f := range fields[11:13] { // utime and stime
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(ticks) * clockTick
	}
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			u.RSS = kib << 10
		case name == "VmHWM":
			u.PeakRSS = kib << 10
		}
	}
	return u, nil
}

// FreePort is a port of the loopback interface nobody listens on now.
func FreePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// Binary gives the path of the program to measure: the one given or, where that is empty, one built
// for the purpose. remove takes away what was built.
func Binary(ctx context.Context, given string) (path string, remove func(), err error) {
	if given != "" {
		path, err = filepath.Abs(given)
		return path, func() {}, err
	}
	folder, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(folder) } // in the system's folder for such
	path = filepath.Join(folder, "supabridge")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/supabridge/supabridge/cmd/supabridge")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		remove()
		return "", nil, fmt.Errorf("go build: %w", err)
	}
	return path, remove, nil
}
