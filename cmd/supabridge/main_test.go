package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test binary behave as the command itself.
const asProgram = "SUPABRIDGE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if target := os.Getenv(asAttacker); target != "" {
		words := strings.Split(target, "\n")
		attackers(words[0], words[1], words[2:])
		return
	}
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// program is the command with nothing in its environment but what is given, in
// a new directory that holds the files.
func program(t *testing.T, environ []string, files map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir = t.TempDir()
	// Without the setting a program built with -race takes a second to end.
	cmd.Env = append([]string{asProgram + "=1", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + t.TempDir()}, environ...)
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(cmd.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cmd
}

// least is an environment the bridge can be configured by.
var least = []string{
	"SUPABASE_URL=http://127.0.0.1:54321", "SUPABASE_SERVICE_ROLE_KEY=sb_secret_hush", "SUPABASE_ANON_KEY=sb_publishable_hush",
}

func TestCommandsAnswerAndExit(t *testing.T) {
	for _, test := range []struct {
		name           string
		environ        []string
		files          map[string]string
		args           string
		code           int
		stdout, stderr []string // each a part of the output; none means there is none
	}{
		{name: "no command", args: "", stdout: []string{"Available Commands", "config", "version"}},
		{name: "help", args: "config --help", stdout: []string{"check", "print", "schema"}},
		{name: "version", args: "version", stdout: []string{"supabridge ", ", go1."}},
		{
			name: "unknown command", args: "confg", code: 2,
			stderr: []string{"supabridge: unknown command \"confg\"; see supabridge --help; did you mean config?\n"},
		},
		{
			name: "unknown command below config", args: "config chek", code: 2,
			stderr: []string{"unknown command \"chek\"; see supabridge config --help; did you mean check?"},
		},
		{name: "unknown flag", args: "config check --confg x", code: 2, stderr: []string{"unknown flag: --confg; see supabridge config check --help"}},
		{name: "flag without its value", args: "config check --config", code: 2, stderr: []string{"flag needs an argument: --config"}},
		{name: "too many arguments", args: "version now", code: 2, stderr: []string{"unknown argument \"now\""}},

		{name: "check", environ: least, args: "config check", stdout: []string{"the configuration is good\n"}},
		{
			name: "check with environment files", args: "config check",
			files: map[string]string{
				".env":       "NEXT_PUBLIC_SUPABASE_URL=http://127.0.0.1:1\nSUPABASE_SERVICE_ROLE_KEY=s\n",
				".env.local": "NEXT_PUBLIC_SUPABASE_ANON_KEY=a\nnonsense\n",
			},
			stdout: []string{"the configuration is good\n"},
			stderr: []string{"warning: .env.local:2: not understood"},
		},
		{
			name: "check with one environment file only", args: "config check --env-file prod.env", code: 2,
			files: map[string]string{".env": "SUPABASE_URL=http://127.0.0.1:1\n", "prod.env": "SUPABASE_SERVICE_ROLE_KEY=s\nSUPABASE_ANON_KEY=a\n"},
			stderr: []string{
				"supabridge: the configuration can't be used:\nsupabase.url: required; set it in the file or in the environment as SUPABRIDGE_SUPABASE_URL, SUPABASE_URL",
			},
		},
		{
			name: "check says all that is wrong", environ: least, args: "config check --config c.yaml --listen nowhere", code: 2,
			files: map[string]string{"c.yaml": "lisen: x\nlog: {level: loud}\n"},
			stderr: []string{
				"c.yaml:1: lisen: unknown key, did you mean listen?\n", "c.yaml:2: log.level: expected one of", "flag --listen: listen: expected host:port",
			},
		},
		{
			name: "check says what is wrong of the vocabulary and the certificate too", environ: least, args: "config check --config c.yaml", code: 2,
			files: map[string]string{"c.yaml": "lisen: x\ntls: {cert_file: c.pem, key_file: k.pem}\nvocabulary:\n  in: {jion: {events: [a]}}\n  out: {message.created: {event: connect}}\n"},
			stderr: []string{
				"c.yaml:1: lisen: unknown key", "in.jion (line 4): no such intent", "out.message.created[0] (line 5): event: connect belongs to Socket.IO itself", "open c.pem: no such file",
			},
		},
		{
			name: "check says what is wrong of the limits", environ: least, args: "config check --config c.yaml", code: 2,
			files:  map[string]string{"c.yaml": "limits: {user: {events: ['jion=1:1']}}\n"},
			stderr: []string{`limits.user.events: no such intent as "jion": there are * and join, leave`},
		},
		{
			name: "check without the file", environ: least, args: "config check --config none.yaml", code: 2,
			stderr: []string{"read configuration: open none.yaml: no such file"},
		},
		{
			name: "check without the certificate", environ: append([]string{"SUPABRIDGE_TLS_CERT_FILE=c.pem", "SUPABRIDGE_TLS_KEY_FILE=k.pem"}, least...),
			args: "config check", code: 2, stderr: []string{"certificate of tls.cert_file and tls.key_file: open c.pem: no such file"},
		},
		{
			name: "print", environ: least, args: "config print --config c.yaml --listen :4000",
			files: map[string]string{"c.yaml": "typing:\n  timeout: 6s\n"},
			stdout: []string{
				"listen: \":4000\" # flag --listen\n", "  timeout: 6s # c.yaml:2\n", "service_role_key: \"[redacted]\" # environment SUPABASE_SERVICE_ROLE_KEY\n",
			},
		},
		{name: "print what is wrong", args: "config print", code: 2, stderr: []string{"supabase.url: required"}},
		{name: "print defaults needs no project", args: "config print --defaults", stdout: []string{"# Address the daemon listens on", "listen: \":3001\"\n"}},
		{name: "schema", args: "config schema", stdout: []string{`"$schema": "https://json-schema.org/draft/2020-12/schema"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := program(t, test.environ, test.files, strings.Fields(test.args)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d (%v), want %d; stderr:\n%s", code, err, test.code, &stderr)
			}
			for _, stream := range []struct {
				name, got string
				want      []string
			}{{"stdout", stdout.String(), test.stdout}, {"stderr", stderr.String(), test.stderr}} {
				if len(stream.want) == 0 && stream.got != "" {
					t.Errorf("%s is\n%swant nothing", stream.name, stream.got)
				}
				for _, part := range stream.want {
					if !strings.Contains(stream.got, part) {
						t.Errorf("%s is\n%swant it to hold\n%s", stream.name, stream.got, part)
					}
				}
				if strings.Contains(stream.got, "hush") {
					t.Errorf("%s holds a secret:\n%s", stream.name, stream.got)
				}
			}
		})
	}
}
