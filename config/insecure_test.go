package config

import (
	"slices"
	"strings"
	"testing"
)

// Under auth.insecure_dev a port without a host is one of this machine alone, wherever it was
// named, and another address is refused.
func TestInsecureDevListensOnThisMachineAlone(t *testing.T) {
	for _, tt := range []struct {
		set, want, refused string
	}{
		{"", "127.0.0.1:3001", ""},
		{"SOCKET_IO_PORT=4000", "127.0.0.1:4000", ""},
		{"SUPABRIDGE_LISTEN=:4000", "127.0.0.1:4000", ""},
		{"SUPABRIDGE_LISTEN=localhost:4000", "localhost:4000", ""},
		{"SUPABRIDGE_LISTEN=127.0.0.5:4000", "127.0.0.5:4000", ""},
		{"SUPABRIDGE_LISTEN=[::1]:4000", "[::1]:4000", ""},
		{"SUPABRIDGE_LISTEN=0.0.0.0:4000", "", "0.0.0.0:4000"},
		{"SUPABRIDGE_LISTEN=[::]:4000", "", "[::]:4000"},
		{"SUPABRIDGE_LISTEN=192.168.1.5:4000", "", "192.168.1.5:4000"},
		{"SUPABRIDGE_LISTEN=inbox.example.com:4000", "", "inbox.example.com:4000"},
	} {
		environ := append([]string{"SUPABRIDGE_AUTH_INSECURE_DEV=true", tt.set}, complete...)
		c, err := Load(Sources{Environ: environ})
		switch {
		case tt.refused == "" && (err != nil || c.Listen != tt.want):
			t.Errorf("%s: listens on %s (%v), want %s", tt.set, c.Listen, err, tt.want)
		case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused) || !strings.Contains(err.Error(), "SUPABRIDGE_LISTEN") ||
			!strings.Contains(err.Error(), "auth.insecure_dev")):
			t.Errorf("%s: %v, want an error that names it, where it stands, and auth.insecure_dev", tt.set, err)
		}
	}
	c := mustLoad(t, Sources{Environ: append([]string{"SUPABRIDGE_LISTEN=0.0.0.0:4000"}, complete...)})
	if c.Listen != "0.0.0.0:4000" {
		t.Errorf("without insecure_dev it listens on %s", c.Listen)
	}
}

// Origins that insecure_dev does not let in are warned of.
func TestInsecureDevWarnsOfOriginsThatItRefuses(t *testing.T) {
	c := mustLoad(t, Sources{Environ: append([]string{"SUPABRIDGE_AUTH_INSECURE_DEV=true", "NEXT_PUBLIC_APP_URL=http://localhost:3000/app"}, complete...)})
	if got := c.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q for localhost", got)
	}
	c = mustLoad(t, Sources{Environ: append([]string{"SUPABRIDGE_AUTH_INSECURE_DEV=true", "NEXT_PUBLIC_APP_URL=https://app.example.com"}, complete...)})
	if got := c.Warnings(); !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, "https://app.example.com") }) {
		t.Errorf("warnings %q, want one that names the origin", got)
	}
}

// A running daemon doesn't begin to let everybody in on a port that others reach.
func TestInsecureDevCannotBeTurnedOnWhileTheDaemonRuns(t *testing.T) {
	then := mustLoad(t, Sources{Environ: append([]string{"SUPABRIDGE_LISTEN=:4000"}, complete...)})
	now := mustLoad(t, Sources{Environ: append([]string{"SUPABRIDGE_LISTEN=:4000", "SUPABRIDGE_AUTH_INSECURE_DEV=true"}, complete...)})
	if _, err := then.Replace(now); err == nil || !strings.Contains(err.Error(), "auth.insecure_dev") {
		t.Errorf("replaced: %v", err)
	}
}
