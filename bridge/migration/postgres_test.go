package migration

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// stub is what Supabase's realtime schema has that the migration needs.
const stub = `
create role anon; create role authenticated; create role service_role bypassrls;
create schema realtime;
create table realtime.messages (n bigserial, topic text, event text, payload jsonb, extension text default 'broadcast', private boolean default true);
create function realtime.topic() returns text language sql stable as $$ select nullif(current_setting('realtime.topic', true), '') $$;
create function realtime.broadcast_changes(topic_name text, event_name text, operation text, table_name text, table_schema text, new record, old record, level text default 'ROW')
  returns void language plpgsql as $$
begin
  if coalesce(new::text, old::text) like '%fail%' then raise exception 'too large'; end if;
  insert into realtime.messages (topic, event, payload) values (topic_name, event_name,
    jsonb_build_object('schema', table_schema, 'table', table_name, 'operation', operation, 'record', to_jsonb(new), 'old_record', to_jsonb(old)));
end $$;
grant usage on schema realtime to anon, authenticated, service_role;
grant select on realtime.messages to anon, authenticated, service_role;
create table messages (id int primary key, body text, updated_at timestamptz default now());
create table conversations (id int primary key, updated_at timestamptz default now());
grant insert, update, delete, select on messages, conversations to authenticated;
create policy everything on realtime.messages for select to authenticated using (true);
`

// server is a PostgreSQL of this test's own, reached by psql.
type server struct {
	t    *testing.T
	dir  string
	bin  string
	cred *syscall.SysProcAttr
}

// newServer starts a server, and fails where PostgreSQL is not installed: what it checks can't be checked otherwise.
func newServer(t *testing.T) *server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Fatal("this test needs PostgreSQL: apt-get install postgresql")
	}
	slices.Sort(found)
	dir, err := os.MkdirTemp("", "pg") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, bin: filepath.Dir(found[len(found)-1])}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 { // which PostgreSQL refuses to run as
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		s.cred = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(dir, "data")
	s.run("", "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N")
	s.run("", "pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", "-F -c listen_addresses='' -k "+dir, "start")
	t.Cleanup(func() { s.run("", "pg_ctl", "-D", data, "-m", "immediate", "stop") })
	return s
}

func (s *server) run(input, program string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr, cmd.Stdin = s.dir, s.cred, strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout = &out
	var failed bytes.Buffer
	if program != "pg_ctl" { // whose server would keep the pipe
		cmd.Stderr = &failed
	} else {
		cmd.Stdout = nil
	}
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, failed.String())
	}
	return strings.TrimSpace(out.String())
}

// sql runs statements and gives what they select.
func (s *server) sql(text string) string {
	s.t.Helper()
	return s.run(text, "psql", "-h", s.dir, "-U", "postgres", "-d", "postgres", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
}

func (s *server) apply(o Options, write func(*bytes.Buffer, Options) error) {
	s.t.Helper()
	var b bytes.Buffer
	if err := write(&b, o); err != nil {
		s.t.Fatal(err)
	}
	s.sql(b.String())
}

func forth(b *bytes.Buffer, o Options) error { return Write(b, o) }
func back(b *bytes.Buffer, o Options) error  { return WriteUndo(b, o) }

func TestPostgresBroadcastsEachRowOfTheMigratedTables(t *testing.T) {
	s := newServer(t)
	s.sql(stub)
	s.apply(inbox, forth)
	s.apply(inbox, forth) // again
	s.sql(`set role authenticated; insert into messages values (1, 'a'); update messages set body = 'b'; delete from messages; insert into conversations values (7);`)
	got := s.sql(`select topic, event, payload->>'table', payload->'record'->>'body', payload->'old_record'->>'body' from realtime.messages order by n`)
	want := strings.Join([]string{Topic + "|INSERT|messages|a|", Topic + "|UPDATE|messages|b|a", Topic + "|DELETE|messages||b", Topic + "|INSERT|conversations||"}, "\n")
	if got != want {
		t.Errorf("broadcast:\n%s\nwant:\n%s", got, want)
	}
	s.sql(`insert into messages values (2, 'fail')`)
	if got := s.sql(`select count(*) from messages`); got != "1" {
		t.Errorf("a broadcast that failed took the row with it")
	}
	for role, want := range map[string]string{"service_role": "4", "authenticated": "0"} {
		if got := s.sql(`set realtime.topic = '` + Topic + `'; set role ` + role + `; select count(*) from realtime.messages`); got != want {
			t.Errorf("%s reads %s messages of the topic, want %s", role, got, want)
		}
	}
	if got := s.sql(`set realtime.topic = 'other'; set role authenticated; select count(*) > 0 from realtime.messages`); got != "t" {
		t.Error("the policy takes other topics away too")
	}
	s.apply(inbox, back)
	s.apply(inbox, back)
	left := s.sql(`select (select count(*) from pg_trigger where not tgisinternal) + (select count(*) from pg_namespace where nspname = 'supabridge')
		+ (select count(*) from pg_policy where polname like 'supabridge%') + (select count(*) from pg_indexes where indexname like 'supabridge%')`)
	if left != "0" {
		t.Errorf("%s things are left after undoing", left)
	}
}

func TestPostgresTakesNamesThatNeedQuotes(t *testing.T) {
	s := newServer(t)
	s.sql(stub + `create schema "My ""Schema"""; create table "My ""Schema"""."Order
; drop table x; --" ("i""d" int primary key, "when" timestamptz); create table "My ""Schema""".bare (id int primary key);`)
	s.apply(awkward, forth)
	s.sql(`insert into "My ""Schema""".bare values (1)`)
	if got := s.sql(`select payload->>'schema' from realtime.messages`); got != `My "Schema"` {
		t.Errorf("schema %q", got)
	}
	s.apply(awkward, back)
}
