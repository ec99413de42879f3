package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDevServesEverythingAndStopsAtOnce(t *testing.T) {
	// The app's own names mean a real project, which dev must not touch.
	environ := []string{"SUPABASE_URL=https://real.example.com", "SUPABRIDGE_SUPABASE_URL=https://real.example.com", "SOCKET_IO_PORT=1"}
	for _, flags := range [][]string{nil, {"--no-traffic"}} {
		d := start(t, environ, append([]string{"dev", "--listen", "127.0.0.1:0", "--supabase-listen", "127.0.0.1:0"}, flags...)...)
		d.prints(t, `(Ctrl-C) stops everything`)
		page, supabase := d.prints(t, `Sample inbox +(http://\S+)`), d.prints(t, `Supabase +(http://\S+)`)
		d.prints(t, feedIsLive)
		for url, want := range map[string]string{
			page + "/":               "<html",
			page + "/sample/session": supabase,
			page + "/readyz":         "live",
			page + "/socket.io/?EIO=4&transport=polling": `"sid"`,
			supabase + "/health":                         "ok",
		} {
			if status, body := get(t, url); status != http.StatusOK || !strings.Contains(strings.ToLower(body), want) {
				t.Errorf("%s answers %d %s, want %q in it", url, status, body, want)
			}
		}
		if strings.Contains(d.String(), "real.example.com") {
			t.Errorf("dev looks at the real project:\n%s", d)
		}
		d.stop(t, syscall.SIGINT, 0, 2*time.Second)
	}
}

func TestDevSaysWhichPortIsTaken(t *testing.T) {
	s := start(t, nil, "standin", "--listen", "127.0.0.1:0")
	taken := strings.TrimPrefix(s.prints(t, `SUPABASE_URL=(http://\S+)\n`), "http://")
	for _, test := range []struct{ listen, supabase, want string }{
		{"127.0.0.1:0", taken, "the port of " + taken + " is in use by another program; stop that, or choose another with --supabase-listen"},
		{taken, "127.0.0.1:0", "the port of " + taken + " is in use by another program; stop that, or choose another with --listen"},
	} {
		cmd := program(t, nil, nil, "dev", "--listen", test.listen, "--supabase-listen", test.supabase)
		output, _ := cmd.CombinedOutput() // the code says it
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(output), test.want) {
			t.Errorf("ends with %d and says\n%swant 1 and %q", code, output, test.want)
		}
	}
	s.stop(t, syscall.SIGTERM, 0, 5*time.Second)
}
