package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestMistakesInTheFileAreNamed(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          []string // errors, FILE standing for the path
	}{
		{"unknown key, near one", "supabase:\n  heartbeat_intervall: 25s\n", []string{
			"FILE:2: supabase.heartbeat_intervall: unknown key, did you mean supabase.heartbeat_interval?",
		}},
		{"letters swapped", "tpyign: {}\n", []string{"FILE:1: tpyign: unknown key, did you mean typing?"}},
		{"wrong case", "Listen: ':1'\n", []string{"FILE:1: Listen: unknown key, did you mean listen?"}},
		{"key in the wrong section", "join_timeout: 1s\n", []string{
			"FILE:1: join_timeout: unknown key, did you mean supabase.join_timeout?",
		}},
		{"key like nothing", "presence:\n  zzzzzzzz: 1\n", []string{
			"FILE:2: presence.zzzzzzzz: unknown key, known here are enabled, grace, remember",
		}},
		{"key given twice", "listen: ':1'\n\nlisten: ':2'\n", []string{"FILE:3: listen: given twice, first in line 1"}},
		{"unknown key given twice", "listn: 1\nlistn: 2\n", []string{
			"FILE:1: listn: unknown key, did you mean listen?", "FILE:2: listn: given twice, first in line 1",
		}},
		{"section is a list", "typing: [a]\n", []string{"FILE:1: typing: expected keys below it, found a list"}},
		{"section is a text", "typing: yes please\n", []string{"FILE:1: typing: expected keys below it, found a text"}},
		{"document is a list", "- a\n", []string{"FILE:1: expected keys below it, found a list"}},
		{"key is a list", "? [a, b]\n: c\n", []string{"FILE:1: expected a key, found a list"}},
		{"merge key", "typing:\n  <<: {timeout: 1s}\n", []string{"FILE:2: typing.<<: merge keys are not supported"}},
		{"no value", "listen:\n", []string{"FILE:1: listen: expected a text, found nothing"}},
		{"number for a text", "auth:\n  audience: 12\n", []string{
			"FILE:2: auth.audience: expected a text, found a number \"12\" (put it in quotes)",
		}},
		{"number for a secret", "supabase:\n  jwt_secret: 1234567\n", []string{
			"FILE:2: supabase.jwt_secret: expected a text, found a number (put it in quotes)",
		}},
		{"keys for a secret", "supabase:\n  jwt_secret: {a: hush}\n", []string{
			"FILE:2: supabase.jwt_secret: expected a text, found keys below it",
		}},
		{"boolean of YAML 1.1", "presence: {enabled: on}\n", []string{
			"FILE:1: presence.enabled: expected true or false, found \"on\"",
		}},
		{"quoted boolean", "presence: {enabled: 'true'}\n", []string{
			"FILE:1: presence.enabled: expected true or false, found a text \"true\" (take off the quotes)",
		}},
		{"text for a number", "rooms: {tenant_cache_size: many}\n", []string{
			"FILE:1: rooms.tenant_cache_size: expected a whole number from 1 to 100000000, found \"many\"",
		}},
		{"number out of bounds", "rooms: {tenant_cache_size: 0}\n", []string{
			"FILE:1: rooms.tenant_cache_size: expected a whole number from 1 to 100000000, found \"0\"",
		}},
		{"fraction", "rooms: {tenant_cache_size: 1.5}\n", []string{
			"FILE:1: rooms.tenant_cache_size: expected a whole number from 1 to 100000000, found \"1.5\"",
		}},
		{"duration without a unit", "presence: {grace: 10}\n", []string{
			"FILE:1: presence.grace: expected a duration such as 1m30s from 0s to 10m, found \"10\" (give the unit, such as 10s)",
		}},
		{"duration out of bounds", "presence: {grace: -1s}\n", []string{
			"FILE:1: presence.grace: expected a duration such as 1m30s from 0s to 10m, found \"-1s\"",
		}},
		{"size", "socketio: {max_queue: 1 mib}\n", []string{
			"FILE:1: socketio.max_queue: expected a size such as 1MiB, 64KiB, 1MB or a number of bytes from 16KiB to 1GiB, found \"1 mib\"",
		}},
		{"enum, near one", "vocabulary: {preset: undrescore}\n", []string{
			"FILE:1: vocabulary.preset: expected one of underscore, colon, kebab, camel, whaticket, none, found \"undrescore\" (did you mean underscore?)",
		}},
		{"enum in a list", "socketio:\n  transports:\n    - polling\n    - websockets\n", []string{
			"FILE:3: socketio.transports: expected a list of some of polling, websocket, found \"websockets\" (did you mean websocket?)",
		}},
		{"text for a list", "socketio: {paths: /socket.io}\n", []string{
			"FILE:1: socketio.paths: expected a list of texts, found a text (write [\"/socket.io\"])",
		}},
		{"number in a list", "socketio: {paths: [1]}\n", []string{
			"FILE:1: socketio.paths: expected a list of texts, found a number in it",
		}},
		{"empty member", "socketio: {paths: [/a, '']}\n", []string{
			"FILE:1: socketio.paths: expected a list without empty members",
		}},
		{"two documents", "listen: ':1'\n---\nlisten: ':2'\n", []string{"FILE:2: expected one YAML document, found another"}},
		{"not YAML", "listen: ':1'\n\ttyping: x\n", []string{
			"FILE:2: not valid YAML: found character that cannot start any token",
		}},
		{"alias to nothing", "listen: *here\n", []string{"FILE: not valid YAML: an alias to no anchor; put a text that begins with * in quotes"}},
		{"secret that begins with a sign", "supabase:\n  jwt_secret: !hush\n", []string{
			"FILE:2: supabase.jwt_secret: expected a text, found a value with a tag (put it in quotes)",
		}},
		{"secret for a key", "presence:\n  sb_secret_hush: jwt\n", []string{
			"FILE:2: presence.[not shown]: unknown key, known here are enabled, grace, remember",
		}},
		{"everything at once, in the order of the file", "log: {level: loud}\nlisten: 3001\ntls: {cert_file: a}\nops: {shutdown: 1s}\n", []string{
			"FILE:1: log.level: expected one of trace, debug, info, warn, error, found \"loud\"",
			"FILE:2: listen: expected a text, found a number \"3001\" (put it in quotes)",
			"FILE:4: ops.shutdown: unknown key, did you mean ops.shutdown_timeout?",
			"tls.key_file: required beside tls.cert_file",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := file(t, "c.yaml", test.content)
			checkErrors(t, Sources{File: path, Environ: complete}, path, test.want)
		})
	}
}

func checkErrors(t *testing.T, from Sources, path string, want []string) {
	t.Helper()
	c, err := Load(from)
	var all Errors
	if !errors.As(err, &all) || c != nil {
		t.Fatalf("Load returned %v, %v, want Errors alone", c, err)
	}
	var got []string
	for _, e := range all {
		line := e.Error()
		if path != "" {
			line = strings.ReplaceAll(line, path, "FILE")
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("errors are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAnchorsAndLiteralsAreRead(t *testing.T) {
	c := mustLoad(t, Sources{Environ: complete, File: file(t, "c.yaml", `
presence: {grace: &pause 7s}
typing: {timeout: *pause}
rooms: {tenant_cache_size: 1_000}
socketio: {max_payload: 2000, max_queue: "64KiB"}
auth: {refuse_message: "no: on"}
`)})
	if c.Typing.Timeout != c.Presence.Grace || c.Rooms.TenantCacheSize != 1000 || c.SocketIO.MaxPayload != 2000 ||
		c.SocketIO.MaxQueue != 64<<10 || c.Auth.RefuseMessage != "no: on" {
		t.Errorf("read %+v", c)
	}
}

func FuzzLoad(f *testing.F) {
	var reference strings.Builder
	if err := Reference(&reference); err != nil {
		f.Fatal(err)
	}
	f.Add(reference.String())
	f.Add("supabase: {url: 'http://x', jwt_secret: ZZZhush}\nlisten: [\n")
	f.Add("a: &a [*a]\nb: *a\n? {x: y}\n: z\n<<: 1\n")
	f.Add("supabase: &s {reconnect: *s}")
	f.Add("socketio: {paths: [/a, /a], max_queue: 99999999999999999999GiB}\n---\n")
	f.Add("auth: {refuse_message: \"\\u2028 # : \\t'\", tenant_claims: ['on', \"0\"]}\npresence: {grace: 1.5s}\n")
	env, _, err := newEnvironment(complete, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content string) {
		c, err := assemble(Sources{File: "c.yaml"}, []byte(content), env)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("the error is %v, want Errors", err)
			}
			for _, e := range all {
				if e.Problem == "" {
					t.Errorf("error %#v says nothing", e)
				}
			}
			return
		}
		// What is good is still good, and the same, after it was printed.
		var printed strings.Builder
		if err := c.Print(&printed); err != nil {
			t.Fatal(err)
		}
		again, err := assemble(Sources{File: "p.yaml"}, []byte(strings.ReplaceAll(printed.String(), redacted, "x")), env)
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, printed.String())
		}
		for k := range root().leaves() {
			got, want := k.in(again).Interface(), k.in(c).Interface()
			if k.kind != secret && !strings.Contains(content, redacted) && !reflect.DeepEqual(got, want) {
				t.Errorf("%s is %#v, and %#v once printed", k.path, want, got)
			}
		}
	})
}
