package migration

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

// tables are the application's that the migration of inbox is for.
const tables = `
create table messages (id int primary key, body text, updated_at timestamptz default now());
create table conversations (id int primary key, updated_at timestamptz default now());
`

// everyTopic is a policy that lets an application's users hear and broadcast on every private
// channel.
const everyTopic = `create policy everything on realtime.messages for all to authenticated using (true) with check (true);`

// sql is what the migration, or what takes it back, prints.
func sql(t *testing.T, write func(io.Writer, Options) error, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// projects are the ways in which Supabase gives a project to its owner.
var projects = map[string]func(testing.TB) *pgtest.Bed{"now": pgtest.Start, "until 2026": pgtest.Start2025}

// laneOf is what the service role is told of the fast lane.
func laneOf(t *testing.T, bed *pgtest.Bed) (l Lane) {
	t.Helper()
	answer, err := bed.As("service_role", nil).Query(`select public.supabridge_lane('public', '{messages,conversations,other}')`)
	if err == nil {
		err = json.Unmarshal([]byte(answer), &l)
	}
	if err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return l
}

// broadcasts are what a database sent, in short.
func broadcasts(t *testing.T, bed *pgtest.Bed) string {
	t.Helper()
	var lines []string
	for _, b := range bed.Broadcasts() {
		var p struct {
			Table  string
			Record struct{ Body string }
			Old    struct{ Body string } `json:"old_record"`
		}
		if err := json.Unmarshal(b.Payload, &p); err != nil || !b.Private {
			t.Fatalf("%+v: %v", b, err)
		}
		lines = append(lines, strings.Join([]string{b.Topic, b.Event, p.Table, p.Record.Body, p.Old.Body}, "|"))
	}
	return strings.Join(lines, "\n")
}

// left are the objects of supabridge that a database has.
func left(bed *pgtest.Bed) string {
	return bed.SQL(`select 'trigger' from pg_trigger where tgname like 'supabridge%' union all select 'schema' from pg_namespace where nspname = 'supabridge'
		union all select 'policy' from pg_policy where polname like 'supabridge%' union all select 'index' from pg_indexes where indexname like 'supabridge%'
		union all select 'function' from pg_proc where proname like 'supabridge%'`)
}

func TestPostgresBroadcastsEachRowOfTheMigratedTables(t *testing.T) {
	t.Parallel()
	for name, start := range projects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bed := start(t)
			bed.Owner(tables + everyTopic)
			bed.Owner(sql(t, Write, inbox))
			lane := laneOf(t, bed)
			bed.Owner(sql(t, Write, inbox)) // again
			if again := laneOf(t, bed); !reflect.DeepEqual(again, lane) || lane.Unguarded() != "" || len(lane.Without([]string{"messages", "conversations"})) > 0 {
				t.Errorf("the lane is %+v, and %+v after it was applied again", lane, again)
			}
			bed.Owner(`set role authenticated; insert into messages values (1, 'a'); update messages set body = 'b'; delete from messages;
				insert into conversations values (7);`)
			want := strings.ReplaceAll("?|INSERT|messages|a|\n?|UPDATE|messages|b|a\n?|DELETE|messages||b\n?|INSERT|conversations||", "?", lane.Topic)
			if got := broadcasts(t, bed); got != want {
				t.Errorf("broadcast:\n%s\nwant:\n%s", got, want)
			}
			bed.SQL(`alter table realtime.messages add constraint small check (payload::text not like '%fail%')`)
			bed.Owner(`insert into messages values (2, 'fail')`)
			if got := bed.SQL(`select count(*) from messages`); got != "1" {
				t.Errorf("a broadcast that failed took the row with it")
			}
			bed.Owner(sql(t, WriteUndo, inbox))
			bed.Owner(sql(t, WriteUndo, inbox))
			if got := left(bed); got != "" {
				t.Errorf("left after undoing:\n%s", got)
			}
		})
	}
}

func TestPostgresTakesTheMigrationOverAnOlderOne(t *testing.T) {
	t.Parallel()
	older, err := os.ReadFile("testdata/first.apply.sql")
	if err != nil {
		t.Fatal(err)
	}
	const onlyOwners = "alter table realtime.messages enable row level security;\n" // could be applied until 2026; it changed nothing
	if !strings.Contains(string(older), onlyOwners) {
		t.Fatal("the older migration is not the one that was published")
	}
	for _, last := range []struct {
		name  string
		write func(io.Writer, Options) error
	}{{"apply", Write}, {"undo", WriteUndo}} {
		for when, start := range projects {
			t.Run(last.name+" "+when, func(t *testing.T) {
				t.Parallel()
				bed := start(t)
				bed.Owner(tables + everyTopic)
				if when == "now" {
					bed.Owner(strings.Replace(string(older), onlyOwners, "", 1))
				} else {
					bed.Owner(string(older))
				}
				bed.Owner(sql(t, last.write, inbox))
				if last.name == "apply" {
					if lane := laneOf(t, bed); lane.Unguarded() != "" || lane.Topic == Topic || len(lane.Tables) != 2 {
						t.Errorf("the lane is %+v", lane)
					}
				} else if got := left(bed); got != "" {
					t.Errorf("left after undoing:\n%s", got)
				}
			})
		}
	}
}

func TestPostgresKeepsTheLaneFromUsers(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(tables + everyTopic + `grant select, insert on messages to authenticated;`)
	bed.Owner(sql(t, Write, inbox))
	lane := laneOf(t, bed)
	bed.Owner(`insert into messages values (1, 'secret')`)
	for role, want := range map[string]bool{"service_role": true, "authenticated": false, "anon": false} {
		for _, topic := range []string{lane.Topic, Topic} {
			if read, write := bed.As(role, nil).MayUse(topic); read != want || write != want {
				t.Errorf("%s may hear %s: %t, and broadcast on it: %t; want %t", role, topic, read, write, want)
			}
		}
	}
	user := bed.As("authenticated", nil)
	if read, write := user.MayUse("other"); !read || !write {
		t.Error("the policy takes other topics away too")
	}
	// Where the application exposes the schema realtime, a user reads and writes the table itself, and
	// names no topic.
	if got, err := user.Query(`select count(*) from realtime.messages`); err != nil || got != "0" {
		t.Errorf("a user reads %s broadcasts of the lane in the table, %v", got, err)
	}
	if _, err := user.Query(`insert into realtime.messages (topic, extension) values ('` + lane.Topic + `', 'broadcast')`); err == nil {
		t.Error("a user writes a broadcast of the lane into the table")
	}
	for _, what := range []string{`select topic from supabridge.lane`, `select supabridge.guard()`, `select public.supabridge_lane('public', '{}')`} {
		for _, role := range []string{"authenticated", "anon"} {
			if got, err := bed.As(role, nil).Query(what); err == nil {
				t.Errorf("%s: %s gets %q", what, role, got)
			}
		}
	}
	if got, err := user.Query(`insert into messages values (2, 'mine'); select current_setting('realtime.topic')`); err != nil || got != "" {
		t.Errorf("after a user's own insert realtime.topic is %q, %v", got, err)
	}
	if got, err := user.Query(`set local realtime.topic = 'mine'; insert into messages values (3, 'mine'); select realtime.topic()`); err != nil || got != "mine" {
		t.Errorf("the application's realtime.topic is %q afterwards, %v", got, err)
	}
}

func TestPostgresTellsWhetherTheLaneIsGuarded(t *testing.T) {
	t.Parallel()
	const policy = "supabridge_service_role_only on realtime.messages "
	for _, c := range []struct{ name, break_, guard, tables string }{
		{"the policy is dropped", "drop policy " + policy, GuardMissing, "conversations messages"},
		{"it reads everything", "alter policy " + policy + "using (true)", GuardAltered, "conversations messages"},
		{"it writes everything", "alter policy " + policy + "with check (true)", GuardAltered, "conversations messages"},
		{"it binds some roles", "alter policy " + policy + "to authenticated", GuardAltered, "conversations messages"},
		{"it is permissive", "drop policy " + policy + "; create policy " + policy + "using (true)", GuardAltered, "conversations messages"},
		{"row level security is off", "", GuardMissing, "conversations messages"},
		{"an index is gone", "drop index supabridge_messages_cursor", GuardOK, "conversations messages"},
		{"a trigger is dropped", "drop trigger supabridge_broadcast on messages", GuardOK, "conversations"},
		{"a trigger is disabled", "alter table messages disable trigger supabridge_broadcast", GuardOK, "conversations"},
		{"a trigger is of replicas", "alter table messages enable replica trigger supabridge_broadcast", GuardOK, "conversations"},
		{"a trigger is for some", "drop trigger supabridge_broadcast on messages; create trigger supabridge_broadcast after insert on messages " +
			"for each row when (new.id > 5) execute function supabridge.broadcast_change()", GuardOK, "conversations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bed := pgtest.Start(t)
			bed.Owner(tables + everyTopic)
			bed.Owner(sql(t, Write, inbox))
			if c.break_ != "" {
				bed.Owner(c.break_)
			} else {
				bed.SQL(`alter table realtime.messages disable row level security`)
			}
			lane := laneOf(t, bed)
			if got := strings.Join(lane.Tables, " "); lane.Guard != c.guard || got != c.tables || (lane.Unguarded() == "") != (c.guard == GuardOK) {
				t.Errorf("guard %q (%s), tables %q; want %q, %q", lane.Guard, lane.Unguarded(), got, c.guard, c.tables)
			}
			if c.name == "row level security is off" {
				return // which a project's owner can't mend, nor bring about
			}
			bed.Owner(sql(t, Write, inbox))
			if mended := laneOf(t, bed); mended.Unguarded() != "" || mended.Topic != lane.Topic || len(mended.Tables) != 2 {
				t.Errorf("after it was applied again: %+v", mended)
			}
		})
	}
}

func TestPostgresTakesNamesThatNeedQuotes(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(`create schema "My ""Schema"""; create table "My ""Schema"""."Order
; drop table x; --" ("i""d" int primary key, "when" timestamptz); create table "My ""Schema""".bare (id int primary key);`)
	bed.Owner(sql(t, Write, awkward))
	bed.Owner(`insert into "My ""Schema""".bare values (1)`)
	if got := bed.SQL(`select payload->>'schema' from realtime.messages`); got != `My "Schema"` {
		t.Errorf("schema %q", got)
	}
	bed.Owner(sql(t, WriteUndo, awkward))
}
