package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestLoadWithoutAnythingNamesWhatIsMissing(t *testing.T) {
	_, err := Load(Sources{})
	var all Errors
	if !errors.As(err, &all) {
		t.Fatalf("Load returned %v, want Errors", err)
	}
	var keys []string
	for _, e := range all {
		keys = append(keys, e.Key)
	}
	want := []string{"supabase.url", "supabase.service_role_key", "supabase.anon_key"}
	if !slices.Equal(keys, want) {
		t.Errorf("errors for %q, want %q", keys, want)
	}
	if !strings.Contains(err.Error(), "SUPABRIDGE_SUPABASE_URL, SUPABASE_URL, NEXT_PUBLIC_SUPABASE_URL") {
		t.Errorf("%q doesn't say how to set supabase.url", err)
	}
	var single *Error
	if !errors.As(err, &single) || single.Key != "supabase.url" {
		t.Errorf("errors.As finds %v, want the error of supabase.url", single)
	}
}

func TestEmptyFileMeansDefaults(t *testing.T) {
	for _, content := range []string{"", "\n", "---\n", "# nothing\n", "supabase:\ntables:\n  messages:\n", "null\n"} {
		c := mustLoad(t, Sources{File: file(t, "c.yaml", content), Environ: complete})
		want := Default()
		for k := range root().leaves() {
			if strings.HasPrefix(k.path, "supabase.") {
				continue
			}
			if got, want := k.in(c).Interface(), k.in(want).Interface(); !reflect.DeepEqual(got, want) {
				t.Errorf("file %q: %s is %v, want %v", content, k.path, got, want)
			}
		}
	}
}

func TestFlagsBeatEnvironmentBeatsFileBeatsDefaults(t *testing.T) {
	const content = "listen: ':1001'\nlog: {level: warn}\n"
	flags := func(args ...string) *pflag.FlagSet {
		f := pflag.NewFlagSet("run", pflag.ContinueOnError)
		f.String("listen", "", "")
		f.String("config", "", "")
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		return f
	}
	path := file(t, "c.yaml", content)
	dotenv := file(t, ".env", "SUPABRIDGE_LISTEN=:1002\n")
	for _, test := range []struct {
		name   string
		from   Sources
		want   string
		origin string
	}{
		{"default", Sources{}, ":3001", "default"},
		{"file", Sources{File: path}, ":1001", path + ":1"},
		{"environment file", Sources{File: path, EnvFiles: []string{dotenv}}, ":1002", "SUPABRIDGE_LISTEN in " + dotenv},
		{
			"environment", Sources{File: path, EnvFiles: []string{dotenv}, Environ: []string{"SUPABRIDGE_LISTEN=:1003"}},
			":1003", "environment SUPABRIDGE_LISTEN",
		},
		{
			"own name in a file before a known one outside",
			Sources{File: path, EnvFiles: []string{dotenv}, Environ: []string{"SOCKET_IO_PORT=1004"}},
			":1002", "SUPABRIDGE_LISTEN in " + dotenv,
		},
		{"known name", Sources{File: path, Environ: []string{"SOCKET_IO_PORT=1004"}}, ":1004", "environment SOCKET_IO_PORT"},
		{
			"flag",
			Sources{File: path, Environ: []string{"SUPABRIDGE_LISTEN=:1003"}, Flags: flags("--listen", ":1005")},
			":1005", "flag --listen",
		},
		{"flag not given", Sources{File: path, Flags: flags()}, ":1001", path + ":1"},
		{"flag not given and nothing else", Sources{Flags: flags()}, ":3001", "default"},
		{"empty variable", Sources{File: path, Environ: []string{"SUPABRIDGE_LISTEN="}}, ":1001", path + ":1"},
		{
			"empty variable hides that of the file",
			Sources{File: path, EnvFiles: []string{dotenv}, Environ: []string{"SUPABRIDGE_LISTEN="}},
			":1001", path + ":1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.from.Environ = append(test.from.Environ, complete...)
			c := mustLoad(t, test.from)
			if c.Listen != test.want || c.Origin("listen").String() != test.origin {
				t.Errorf("listen is %q from %q, want %q from %q", c.Listen, c.Origin("listen"), test.want, test.origin)
			}
		})
	}
}

func written(t *testing.T, rules any) string {
	t.Helper()
	text, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryKeyIsSetByItsVariableAndByTheFile(t *testing.T) {
	values := map[string]string{ // for those whose form Validate checks
		"listen":                       "127.0.0.1:4000",
		"tls.cert_file":                "cert.pem",
		"tls.key_file":                 "key.pem",
		"supabase.url":                 "https://x.supabase.co",
		"supabase.jwks_url":            "https://x.supabase.co/keys",
		"supabase.realtime_url":        "wss://x.supabase.co/socket/websocket",
		"rooms.conversation.name":      "c-{id}",
		"rooms.tenant.name":            "t-{id}",
		"rooms.conversation.rules":     "tenant,callback",
		"rooms.tenant.rules":           "membership",
		"socketio.paths":               "/api/socket,/other",
		"socketio.namespaces":          "/,/chat",
		"socketio.transports":          "websocket",
		"socketio.cors.origins":        "https://a.example.com,http://localhost:3000",
		"auth.credentials":             "cookie.token,query.token",
		"auth.insecure_dev":            "true",
		"limits.trusted_proxies":       "10.0.0.0/8",
		"limits.socket.events":         "join=1:2",
		"limits.user.events":           "*=1.5:2",
		"limits.address.events":        "typing=1:2,*=3:4",
		"auth.user_written_claims":     "user_metadata.org_id",
		"auth.refuse_messages":         "token_expired=jwt expired",
		"presence.enabled":             "false",
		"typing.enabled":               "false",
		"realtime.typing.share":        "both",
		"realtime.presence.share":      "in",
		"realtime.presence.topic":      "tenant-{tenant}",
		"realtime.typing.private":      "true",
		"realtime.presence.private":    "true",
		"sending.enabled":              "true",
		"sending.set":                  "status=SENT,is_from_customer:=false",
		"supabase.vsn":                 "1.0.0",
		"supabase.fast_lane":           "on",
		"vocabulary.preset":            "kebab",
		"vocabulary.dialect":           "fixed",
		"vocabulary.accept":            "kebab,colon",
		"vocabulary.in":                "{join: {events: [openThread]}}",
		"vocabulary.out":               "{typing.stop: [{event: stopTyping, to: conversation, args: [1, null, {a: '${user.id}'}]}]}",
		"vocabulary.shape":             "row",
		"vocabulary.conversation_noun": "ticket",
		"log.level":                    "debug",
		"log.format":                   "json",

		"rooms.authorization.callback.url":    "https://app.example.com/api/may-enter",
		"rooms.authorization.callback.secret": "sixteen bytes or more",

		"webhooks.twilio.paths":                     "/hooks/a,/hooks/b",
		"webhooks.twilio.public_urls":               "https://hooks.example.com#rc=2",
		"webhooks.twilio.trusted_proxies":           "10.0.0.0/8",
		"webhooks.twilio.modes":                     "forward,emit",
		"webhooks.twilio.forward_url":               "https://app.example.com/api/twilio",
		"webhooks.twilio.store.columns":             "body={Body}",
		"webhooks.twilio.store.statuses":            "read=SEEN",
		"webhooks.twilio.store.failure_columns":     "code?={ErrorCode}",
		"webhooks.twilio.store.lookups":             "shop = shops.id where phone={ToNumber}",
		"webhooks.twilio.store.conversation_find":   "phone={FromNumber}",
		"webhooks.twilio.store.conversation_create": "name={ProfileName}",
		"webhooks.supabase.secret":                  "sixteen bytes or more",
		"webhooks.supabase.path":                    "/hooks/db",
		"webhooks.outgoing.url":                     "https://app.example.com/api/bridge",
		"webhooks.outgoing.secret":                  "sixteen bytes or more",
		"webhooks.outgoing.events":                  "messages_read",
		"publish.secret":                            "sixteen bytes or more",
		"publish.path":                              "/publish",
		"publish.disconnect_path":                   "/disconnect",
		"socketio.admin.password_hash":              "$2a$10$something",
		"socketio.admin.mode":                       "production",
		"socketio.admin.bodies":                     "true",
		"socketio.admin.allow":                      "emit",
		"ops.traces.url":                            "http://127.0.0.1:4318/v1/traces",
		"tls.acme.directory":                        "https://ca.example.com/directory",
		"ops.tail_bodies":                           "true",
		"cluster.redis":                             "rediss://:secret@redis.example.com:6380/1",
		"cluster.mode":                              "sharded",
		"cluster.changes":                           "leader",
		"cluster.relay":                             "false",
	}
	var environ []string
	for k := range root().leaves() {
		value, given := values[k.path]
		switch {
		case given:
		case k.bounded && k.in(Default()).Int() != k.low:
			value = k.bound(k.low)
		case k.bounded:
			value = k.bound(k.high)
		default:
			value = map[kind]string{text: "word_" + k.name, secret: "key_" + k.name, list: "a.b, c.d"}[k.kind]
		}
		environ = append(environ, k.variable()+"="+value)
	}
	fromEnvironment := mustLoad(t, Sources{Environ: environ})
	for k := range root().leaves() {
		if o := fromEnvironment.Origin(k.path); o.Name != k.variable() {
			t.Errorf("%s comes from %v, want from %s", k.path, o, k.variable())
		}
		if got, old := k.in(fromEnvironment).Interface(), k.in(Default()).Interface(); reflect.DeepEqual(got, old) {
			t.Errorf("%s is still %v", k.path, got)
		}
	}

	var printed strings.Builder
	if err := fromEnvironment.Print(&printed); err != nil {
		t.Fatal(err)
	}
	readable := strings.NewReplacer(`  redis: "[redacted]"`, "  redis: redis://key", `"[redacted]"`, "$2_key_of_twenty_bytes", `'[redacted]'`, "$2_key_of_twenty_bytes").Replace(printed.String())
	fromFile := mustLoad(t, Sources{File: file(t, "c.yaml", readable)})
	for k := range root().leaves() {
		if k.kind == secret {
			continue
		}
		got, want := k.in(fromFile).Interface(), k.in(fromEnvironment).Interface()
		if k.kind == inRules || k.kind == outRules { // which remember their lines
			got, want = written(t, got), written(t, want)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v from the file, want %v", k.path, got, want)
		}
		if o := fromFile.Origin(k.path); o.Kind != FromFile || o.Line == 0 {
			t.Errorf("%s comes from %v, want from a line of the file", k.path, o)
		}
	}
}

func TestNamesOfAnAppOnSupabaseSuffice(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".env", "NEXT_PUBLIC_SUPABASE_URL=https://old.supabase.co\nSOCKET_IO_PORT=3005\n")
	write(".env.local", `NEXT_PUBLIC_SUPABASE_URL="https://new.supabase.co/"
NEXT_PUBLIC_SUPABASE_PUBLISHABLE_KEY=sb_publishable_x # public
SUPABASE_SECRET_KEY='sb_secret_y'
NEXT_PUBLIC_APP_URL=https://app.example.com/inbox
`)
	c := mustLoad(t, Sources{EnvFiles: EnvFilesIn(dir), Environ: []string{"NEXT_PUBLIC_APP_URL=https://real.example.com"}})
	for what, pair := range map[string][2]string{
		"url":      {c.Supabase.URL, "https://new.supabase.co"},
		"service":  {c.Supabase.ServiceRoleKey.Reveal(), "sb_secret_y"},
		"anon":     {c.Supabase.AnonKey.Reveal(), "sb_publishable_x"},
		"listen":   {c.Listen, ":3005"},
		"origins":  {strings.Join(c.SocketIO.CORS.Origins, " "), "https://real.example.com"},
		"realtime": {c.Supabase.RealtimeURL, "wss://new.supabase.co/realtime/v1/websocket"},
		"jwks":     {c.Supabase.JWKSURL, "https://new.supabase.co/auth/v1/.well-known/jwks.json"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
}

func TestServerNamesComeBeforeBrowserNames(t *testing.T) {
	c := mustLoad(t, Sources{Environ: []string{
		"NEXT_PUBLIC_SUPABASE_URL=http://localhost:54321", "SUPABASE_URL=http://kong:8000",
		"SUPABASE_SERVICE_ROLE_KEY=s", "SUPABASE_ANON_KEY=a",
	}})
	if c.Supabase.URL != "http://kong:8000" {
		t.Errorf("supabase.url is %q, want that of SUPABASE_URL", c.Supabase.URL)
	}
}

func TestPublishedKeysAreKnownBesideASecret(t *testing.T) {
	c := mustLoad(t, Sources{Environ: append([]string{"SUPABASE_JWT_SECRET=hush"}, complete...)})
	if !strings.HasSuffix(c.Supabase.JWKSURL, "/auth/v1/.well-known/jwks.json") {
		t.Errorf("supabase.jwks_url is %q beside a secret, want the project's", c.Supabase.JWKSURL)
	}
}

func TestAnonKeyIsNotNeededInInsecureDev(t *testing.T) {
	c := mustLoad(t, Sources{Environ: []string{
		"SUPABASE_URL=http://127.0.0.1:1", "SUPABASE_SERVICE_ROLE_KEY=s", "SUPABRIDGE_AUTH_INSECURE_DEV=true",
	}})
	if !c.Auth.InsecureDev {
		t.Error("auth.insecure_dev is off")
	}
}

func TestMissingFilesAreErrorsThatSayWhich(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for what, from := range map[string]Sources{
		"read configuration":    {File: missing},
		"read environment file": {EnvFiles: []string{missing}},
	} {
		_, err := Load(from)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), missing) {
			t.Errorf("error is %v, want one that says %q and %s", err, what, missing)
		}
	}
}

func TestFileBeyondTheLimitIsRefused(t *testing.T) {
	_, err := Load(Sources{File: file(t, "c.yaml", strings.Repeat("#\n", maxFileSize))})
	if err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("error is %v, want one that names the limit", err)
	}
}

func TestWarnings(t *testing.T) {
	dotenv := file(t, ".env", "what is this\nSUPABRIDGE_LOG_LEVLE=info\n")
	c := mustLoad(t, Sources{
		EnvFiles: []string{dotenv},
		Environ: append([]string{
			"SUPABRIDGE_LISTN=:1",
			"SUPABRIDGE_PORT_3001_TCP=tcp://10.0.0.1:3001", "SUPABRIDGE_SERVICE_HOST=10.0.0.1", "SUPABRIDGE_BIN=bin/supabridge",
			"SUPABRIDGE_AUTH_TENANT_CLAIMS=user_metadata.org_id",
			"SUPABRIDGE_AUTH_USER_WRITTEN_CLAIMS=user_metadata.org_id",
		}, complete...),
	})
	want := []string{
		dotenv + ":1: not understood, left out: expected NAME=value",
		"SUPABRIDGE_LOG_LEVLE in " + dotenv + ": sets nothing, did you mean SUPABRIDGE_LOG_LEVEL?",
		"environment SUPABRIDGE_LISTN: sets nothing, did you mean SUPABRIDGE_LISTEN?",
		"auth.user_written_claims: user_metadata.org_id can be written by the user, who can so make himself a member of anything that it decides on",
	}
	if got := c.Warnings(); !slices.Equal(got, want) {
		t.Errorf("warnings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHandMadeConfigIsValidatedAndDerived(t *testing.T) {
	c := Default()
	c.Supabase.URL = "http://127.0.0.1:54321/"
	c.Supabase.ServiceRoleKey, c.Supabase.AnonKey = "s", "a"
	c.Derive()
	if err := c.Validate(); err != nil {
		t.Fatalf("Validate: %v", err)
	}
	if want := "ws://127.0.0.1:54321/realtime/v1/websocket"; c.Supabase.RealtimeURL != want {
		t.Errorf("supabase.realtime_url is %q, want %q", c.Supabase.RealtimeURL, want)
	}
	c.Typing.Timeout = time.Millisecond
	c.Vocabulary.Preset = "loud"
	c.SocketIO.Transports = []string{"pigeon"}
	err := c.Validate()
	for _, want := range []string{
		"vocabulary.preset: expected one of underscore, colon, kebab, camel, whaticket, none, found \"loud\"",
		"socketio.transports: expected a list of some of polling, websocket, found \"pigeon\"",
		"typing.timeout: expected a duration such as 1m30s from 500ms to 10m, found \"1ms\"",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate returned %v, want it to say %q", err, want)
		}
	}
}
