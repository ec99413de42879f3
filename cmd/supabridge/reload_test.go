package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// standinVariables are what a stand-in prints for whoever follows it.
func standinVariables(t *testing.T, flags ...string) []string {
	t.Helper()
	s := start(t, nil, append([]string{"standin", "--listen", "127.0.0.1:0"}, flags...)...)
	s.prints(t, `SUPABASE_JWT_SECRET=(\S+)\n`)
	var environ []string
	for line := range strings.Lines(s.String()) {
		if strings.HasPrefix(line, "SUPABASE_") {
			environ = append(environ, strings.TrimSpace(line))
		}
	}
	return environ
}

// rewrite puts another content in a file's place, as editors do.
func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestRunTakesOnWhatItsFileSays(t *testing.T) {
	environ := standinVariables(t)
	path := filepath.Join(t.TempDir(), "c.yaml")
	rewrite(t, path, "log: {level: info}\n")
	r := start(t, environ, "run", "--listen", "127.0.0.1:0", "--config", path)
	r.prints(t, feedIsLive)

	rewrite(t, path, "log: {level: debug}\ntyping: {timeout: 7s}\n")
	r.prints(t, `"changed":\["typing.timeout","log.level"\].*the configuration was (read anew)`)

	rewrite(t, path, "log: {level: debug}\ntyping: {timeout: 7}\npresense: {}\n")
	r.prints(t, `"at":"[^"]*c.yaml:2","key":"typing.timeout".*expected a (duration)`)
	r.prints(t, `"at":"[^"]*c.yaml:3","key":"presense".*did you mean (presence)`)
	r.prints(t, `not taken on; the one before (stays)`)

	rewrite(t, path, "log: {level: debug}\ntyping: {timeout: 8s}\nlisten: ':1'\nwebhooks: {outbox: {path: /elsewhere}}\n")
	r.prints(t, `c.yaml:4","key":"webhooks.outbox.path".*can't change (while) the daemon runs`)
	if strings.Contains(r.String(), `"key":"listen"`) {
		t.Errorf("--listen beats the file, whose change is none:\n%s", r)
	}

	rewrite(t, path, "log: {level: debug}\ntyping: {timeout: 9s}\n")
	r.prints(t, `"changed":\["(typing.timeout)"\]`)
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.prints(t, `SIGHUP: the configuration has (not) changed`)
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
}

func TestSIGHUPReadsTheEnvironmentFilesAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prod.env")
	secrets := strings.Join(standinVariables(t), "\n") + "\n"
	rewrite(t, path, secrets)
	r := start(t, nil, "run", "--listen", "127.0.0.1:0", "--env-file", path)
	r.prints(t, feedIsLive)
	rewrite(t, path, secrets+"SUPABRIDGE_AUTH_REFUSE_MESSAGE=no\n")
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.prints(t, `"changed":\["(auth.refuse_message)"\]`)
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
}

func TestARenewedCertificateIsShownToNewClients(t *testing.T) {
	first, _ := newCertificate(t)
	r := start(t, append(least, "SUPABRIDGE_TLS_CERT_FILE="+first.CertFile, "SUPABRIDGE_TLS_KEY_FILE="+first.KeyFile), "run", "--listen", "127.0.0.1:0")
	addr := r.prints(t, `"listen":"([^"]+)"`)
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return string(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	before := shown()
	second, _ := newCertificate(t)
	for from, to := range map[string]string{second.KeyFile: first.KeyFile, second.CertFile: first.CertFile} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, to, string(content))
	}
	timeout := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for shown() == before {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the certificate before is still shown:\n%s", r)
		}
	}
	rewrite(t, first.CertFile, "nonsense")
	r.prints(t, `can't be used; the one before (stays)`)
	shown()
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
}

func TestHealthAnswersForTheDaemon(t *testing.T) {
	r := start(t, standinVariables(t), "run", "--listen", "127.0.0.1:0")
	addr := r.prints(t, `"listen":"([^"]+)"`)
	r.prints(t, feedIsLive)
	for _, args := range [][]string{{"health"}, {"health", "--ready"}} {
		if out, err := program(t, nil, nil, append(args, "--listen", addr)...).CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Skip("another program took the port")
	}
	if out, err := program(t, nil, nil, "health", "--listen", addr).CombinedOutput(); err == nil || !strings.Contains(string(out), "health: ") {
		t.Errorf("without a daemon: %v: %s", err, out)
	}
}
