// Package redistest runs Redis servers for tests: real ones, each of a test's own, which keep
// nothing on disk.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a Redis server.
type Server struct {
	// Addr is its host and port, the same after a restart.
	Addr string

	tb   testing.TB
	args []string
	dir  string
	cmd  *exec.Cmd // nil while stopped
}

// Start runs a server until the test ends, with these arguments besides its own. Where redis-server
// is not installed the test fails.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatalf("missing: redis-server; scripts/prepare redis installs it (%v)", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("find a port for Redis: %v", err)
	}
	s := &Server{Addr: l.Addr().String(), tb: tb, args: args, dir: tb.TempDir()}
	if err := l.Close(); err != nil {
		tb.Fatalf("find a port for Redis: %v", err)
	}
	s.Run()
	tb.Cleanup(s.Kill)
	return s
}

// Run starts the server again, with nothing in it.
func (s *Server) Run() {
	s.tb.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.tb.Fatalf("port of Redis: %v", err)
	}
	log, err := os.Create(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		s.tb.Fatalf("log of Redis: %v", err)
	}
	defer func() { _ = log.Close() }() // the server has it too
	args := append(slices.Clone(s.args), "--port", port, "--bind", "127.0.0.1", "--dir", s.dir)
	if !slices.Contains(s.args, "--sentinel") {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	s.cmd = exec.CommandContext(s.tb.Context(), "redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("start redis-server: %v", err)
	}
	client := s.Client()
	defer func() { _ = client.Close() }()
	for deadline := time.Now().Add(20 * time.Second); client.Ping(s.tb.Context()).Err() != nil; {
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			s.tb.Fatalf("redis-server at %s does not answer:\n%s", s.Addr, strings.TrimSpace(string(said)))
		}
	}
}

// Kill ends the server at once, as a machine that loses its power does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // says that it was killed
	s.cmd = nil
}

// Suspend has the server stand still; what is sent to it waits. Resume has it go on.
func (s *Server) Suspend() { s.signal(syscall.SIGSTOP) }

// Resume has a suspended server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(what os.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(what); err != nil {
		s.tb.Fatalf("signal redis-server: %v", err)
	}
}

// Client gives a client of it, which the caller closes.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, DialTimeout: time.Second})
}

// URL is what configurations name it by.
func (s *Server) URL() string { return fmt.Sprintf("redis://%s", s.Addr) }

// Hasty gives a client that tries nothing twice, which the caller closes.
func (s *Server) Hasty() redis.UniversalClient {
	return redis.NewClient(&redis.Options{Addr: s.Addr, DialTimeout: time.Second, MaxRetries: -1})
}
