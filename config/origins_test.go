package config

import (
	"slices"
	"strings"
	"testing"
)

// Browsers write an origin in one form; whatever the configuration's form is, it is the same page.
func TestOriginsAreKeptAsBrowsersSendThem(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"NEXT_PUBLIC_APP_URL=https://App.Example.com:443/inbox":       "https://app.example.com",
		"NEXT_PUBLIC_APP_URL=HTTP://localhost:80":                     "http://localhost",
		"NEXT_PUBLIC_APP_URL=http://localhost:443":                    "http://localhost:443",
		"NEXT_PUBLIC_APP_URL=http://LOCALHOST:3000/":                  "http://localhost:3000",
		"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=https://App.Example.com":    "https://app.example.com",
		"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=https://a.example.com:8443": "https://a.example.com:8443",
		"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=capacitor://localhost":      "capacitor://localhost",
		"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=http://[::1]:80":            "http://[::1]",
	} {
		c := mustLoad(t, Sources{Environ: append([]string{set}, complete...)})
		if got := c.SocketIO.CORS.Origins; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", set, got, want)
		}
	}
	for set, want := range map[string]string{
		"https://münchen.example":                             "xn--",
		"https://app.example.com,https://app.example.com:443": "twice",
	} {
		_, err := Load(Sources{Environ: append([]string{"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=" + set}, complete...)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", set, err, want)
		}
	}
}
