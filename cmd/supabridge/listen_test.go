package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// dev lets anybody in, so it serves nobody but this machine: not by another address, and not to a
// page whose name was made to point here.
func TestDevIsForThisMachineOnly(t *testing.T) {
	d := start(t, []string{"SUPABRIDGE_LISTEN=:0"}, "dev", "--no-traffic", "--supabase-listen", "127.0.0.1:0")
	page := d.prints(t, `Sample inbox +(http://\S+)`)
	if !strings.HasPrefix(page, "http://127.0.0.1:") {
		t.Errorf("dev listens at %s, want 127.0.0.1 alone", page)
	}
	d.prints(t, feedIsLive)
	for _, path := range []string{"/", "/sample/session", "/socket.io/?EIO=4&transport=polling"} {
		for _, v := range []struct {
			host, origin string
			want         int
		}{
			{"", "", 200}, {"localhost:3001", "", 200}, {"evil.example", "", 403}, {"evil.example", "http://evil.example", 403},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host = v.host; v.origin != "" {
				r.Header.Set("Origin", v.origin)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != v.want {
				t.Errorf("%s asked for as %q by %q answers %d, want %d", path, v.host, v.origin, resp.StatusCode, v.want)
			}
		}
	}
	d.stop(t, syscall.SIGTERM, 0, 5*time.Second)
}

func TestAnInsecureAddressIsRefusedAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "supabridge.yaml")
	text := "listen: 0.0.0.0:0\nauth:\n  insecure_dev: true\nsupabase: {url: 'http://127.0.0.1:1', service_role_key: a.b.c}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run", "--config", file}, {"config", "check", "--config", file}, {"dev", "--listen", "0.0.0.0:0", "--supabase-listen", "127.0.0.1:0"}} {
		cmd := program(t, nil, nil, args...)
		ended := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }) // it runs, instead of refusing
		output, _ := cmd.CombinedOutput()                                          // the code says it
		ended.Stop()
		if code := cmd.ProcessState.ExitCode(); code <= 0 || !strings.Contains(string(output), "auth.insecure_dev") || !strings.Contains(string(output), "0.0.0.0:0") {
			t.Errorf("%v ends with %d and says\n%s", args, code, output)
		}
	}
}

func TestRecordListensOnThisMachineAlone(t *testing.T) {
	cmd := newRecord()
	if addr := cmd.Flags().Lookup("listen").DefValue; addr != "127.0.0.1:3001" {
		t.Errorf("record listens on %s", addr)
	}
}
