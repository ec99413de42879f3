// Package pgtest starts a PostgreSQL of a test's own.
package pgtest

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a PostgreSQL of a test's own, reached by psql and by the socket in its Dir.
type Server struct {
	t *testing.T
	// Dir holds its socket.
	Dir  string
	bin  string
	cred *syscall.SysProcAttr
}

// New starts a server, and fails where PostgreSQL is not installed: what it checks can't be checked otherwise.
func New(t *testing.T) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Fatal("missing: PostgreSQL; scripts/prepare postgres installs it")
	}
	slices.Sort(found)
	dir, err := os.MkdirTemp("", "pg") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, Dir: dir, bin: filepath.Dir(found[len(found)-1])}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 { // which PostgreSQL refuses to run as
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		s.cred = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(dir, "data")
	s.run("", "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N")
	s.run("", "pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", "-F -c listen_addresses='' -k "+dir, "start")
	t.Cleanup(func() { s.run("", "pg_ctl", "-D", data, "-m", "immediate", "stop") })
	return s
}

func (s *Server) run(input, program string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdin = s.Dir, s.cred, strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout = &out
	var failed bytes.Buffer
	if program != "pg_ctl" { // whose server would keep the pipe
		cmd.Stderr = &failed
	} else {
		cmd.Stdout = nil
	}
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, failed.String())
	}
	return strings.TrimSpace(out.String())
}

// SQL runs statements and gives what they select.
func (s *Server) SQL(text string) string {
	s.t.Helper()
	return s.run(text, "psql", "-h", s.Dir, "-U", "postgres", "-d", "postgres", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
}
