package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestPrintShowsWhereValuesComeFromAndNoSecret(t *testing.T) {
	path := file(t, "c.yaml", "\nsupabase:\n  jwt_secret: hush-hush\npresence: {grace: 3s}\n")
	c := mustLoad(t, Sources{File: path, Environ: []string{
		"SUPABASE_URL=https://x.supabase.co", "SUPABASE_SERVICE_ROLE_KEY=sb_secret_hush", "SUPABASE_ANON_KEY=sb_publishable_hush",
	}})
	var printed strings.Builder
	if err := c.Print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"  url: \"https://x.supabase.co\" # environment SUPABASE_URL\n",
		"  service_role_key: \"[redacted]\" # environment SUPABASE_SERVICE_ROLE_KEY\n",
		"  jwt_secret: \"[redacted]\" # " + path + ":3\n",
		"  realtime_url: \"wss://x.supabase.co/realtime/v1/websocket\" # derived\n",
		"  grace: 3s # " + path + ":4\n",
		"  enabled: true\n",
		"  redis: \"\"\n",
	} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("output lacks %q", want)
		}
	}
	if strings.Contains(printed.String(), "hush") {
		t.Errorf("output holds a secret:\n%s", printed.String())
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	secret := Secret("hush")
	held := struct{ Key Secret }{secret}
	asJSON, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		string(asJSON), string(asYAML), secret.String(),
		fmt.Sprint(secret), fmt.Sprintf("%v %+v %#v %q %s %x %X %d", secret, secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", held, &held, held),
	} {
		if strings.Contains(s, "hush") || strings.Contains(s, "68757368") || !strings.Contains(s, "[redacted]") {
			t.Errorf("secret comes out as %q", s)
		}
	}
	if s := fmt.Sprintf("%s%q", Secret(""), Secret("")); s != `""` {
		t.Errorf("no secret comes out as %q, want nothing", s)
	}
	if secret.Reveal() != "hush" {
		t.Errorf("Reveal returns %q", secret.Reveal())
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "512B": 512, "1KB": 1000, "1KiB": 1024, "64 KiB": 65536, "1MB": 1e6, "1MiB": 1 << 20, "2GiB": 2 << 30, "3GB": 3e9,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) is %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != want {
			t.Errorf("%d bytes are written %q, which reads as %d, %v", got, got, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5MiB", "1mib", "1M", "1 TiB", "99999999999GiB", "9223372036854775808", "1  KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) is %d, want an error", text, got)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"1MiB", "64 KiB", "9223372036854775807", "1.5GB", "GiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(n.String()); err != nil || again != n || n < 0 {
			t.Errorf("%q is %d, written %q, read as %d, %v", text, n, n, again, err)
		}
	})
}
