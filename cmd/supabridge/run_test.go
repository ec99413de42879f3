package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const feedIsLive = `"state":"live"`

func TestRunFollowsAProjectAndDrainsOnSIGTERM(t *testing.T) {
	s := start(t, nil, "standin", "--listen", "127.0.0.1:0")
	s.prints(t, `SUPABASE_JWT_SECRET=(\S+)\n`)
	var environ []string
	for line := range strings.Lines(s.String()) {
		if strings.HasPrefix(line, "SUPABASE_") {
			environ = append(environ, strings.TrimSpace(line)) // what the stand-in prints is all that run needs
		}
	}
	r := start(t, append(environ, "SOCKET_IO_PORT=1"), "run", "--listen", "127.0.0.1:0")
	addr := r.prints(t, `"listen":"([^"]+)"`)
	r.prints(t, feedIsLive)
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/nothing": http.StatusNotFound} {
		if status, body := get(t, "http://"+addr+path); status != want {
			t.Errorf("%s answers %d %s, want %d", path, status, body, want)
		}
	}
	r.stop(t, syscall.SIGTERM, 0, 12*time.Second)
	r.prints(t, `"message":"stopped"`)
	for _, secret := range environ[1:] {
		if _, value, _ := strings.Cut(secret, "="); strings.Contains(r.String(), value) {
			t.Errorf("the log holds a secret:\n%s", r)
		}
	}
}

func TestRunRefusesAnIncompleteConfiguration(t *testing.T) {
	cmd := program(t, []string{"SUPABASE_URL=http://127.0.0.1:1"}, nil, "run")
	output, _ := cmd.CombinedOutput() // the code says it
	if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(output), "supabase.service_role_key: required") {
		t.Errorf("ends with %d and says\n%s", code, output)
	}
}

func TestRunWarnsInTheLog(t *testing.T) {
	r := start(t, append([]string{"SUPABRIDGE_LISTN=x"}, least...), "run", "--listen", "127.0.0.1:0")
	r.prints(t, `"level":"warn".*SUPABRIDGE_LISTN: sets nothing, did you mean SUPABRIDGE_LISTEN\?`)
	r.prints(t, `"message":"started"`)
	r.stop(t, syscall.SIGINT, 0, 12*time.Second)
}
