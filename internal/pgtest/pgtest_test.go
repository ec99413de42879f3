package pgtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ana = "a0000000-0000-4000-8000-000000000001"
	ben = "a0000000-0000-4000-8000-000000000002"

	notes = `
		create table notes (id int primary key, owner uuid, body text, "from" text, tags text[], made timestamptz default '2026-01-02 03:04:05+00');
		alter table notes enable row level security;
		create policy own on notes to authenticated using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
		insert into notes (id, owner, body, "from") values (1, '` + ana + `', 'a', 'x'), (2, '` + ben + `', 'b,"c)', 'y'), (3, '` + ana + `', null, null);`
)

func TestTheOwnerHasTheRightsOfAHostedProjectsOwner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		start     func(testing.TB) *pgtest.Bed
		mayAlter  bool
		statement string
	}{
		{"now", pgtest.Start, false, `alter table realtime.messages enable row level security`},
		{"now, within a block", pgtest.Start, false, `do $$ begin alter table realtime.messages enable row level security; end $$`},
		{"until 2026", pgtest.Start2025, true, `alter table realtime.messages enable row level security`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bed := c.start(t)
			if got := bed.Owner(`select rolsuper, rolbypassrls from pg_roles where rolname = current_user`); got != "f|t" {
				t.Errorf("superuser and bypassing row level security: %s", got)
			}
			_, err := bed.TryOwner(c.statement)
			if (err == nil) != c.mayAlter || err != nil && !strings.Contains(err.Error(), "must be owner of table messages") {
				t.Errorf("altering realtime.messages: %v", err)
			}
			bed.Owner(`begin; create policy p on realtime.messages for select to authenticated using (true);
				alter policy p on realtime.messages using (topic = 'x'); commit`)
			user := bed.As("authenticated", pgtest.Claims{"sub": ana})
			if read, write := user.MayUse("x"); !read || write {
				t.Errorf("reading %t and writing %t, want the policy's", read, write)
			}
			if read, write := bed.As("service_role", nil).MayUse("y"); !read || !write {
				t.Errorf("service_role: reading %t and writing %t", read, write)
			}
			bed.Owner(`drop policy if exists p on realtime.messages`)
			if read, _ := user.MayUse("x"); read {
				t.Error("the policy that was dropped is still there")
			}
			if _, err := bed.TryOwner(`begin; create policy q on realtime.messages using (true); select 1/0; commit`); err == nil {
				t.Error("a division by zero went well")
			}
			if got := bed.SQL(`select count(*) from pg_policies where schemaname = 'realtime'`); got != "0" {
				t.Errorf("%s policies are left of a transaction that failed", got)
			}
			if got := len(bed.Broadcasts()); got != 0 {
				t.Errorf("asking for rights left %d messages", got)
			}
		})
	}
}

func TestTheDatabaseBroadcasts(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(`create table n (id int);
		create function tell() returns trigger language plpgsql as $$
			begin perform realtime.broadcast_changes('topic', tg_op, tg_op, tg_table_name, tg_table_schema, new, old); return null; end $$;
		create trigger tell after insert or update on n for each row execute function tell();
		insert into n values (1); update n set id = 2;`)
	var got []string
	for _, b := range bed.Broadcasts() {
		var p struct {
			ID, Operation     string
			Record, OldRecord json.RawMessage
		}
		if err := json.Unmarshal(b.Payload, &p); err != nil || p.ID == "" || !b.Private {
			t.Errorf("payload %s of %+v: %v", b.Payload, b, err)
		}
		got = append(got, b.Topic+" "+b.Event+" "+p.Operation+" "+string(p.Record))
	}
	if want := []string{`topic INSERT INSERT {"id": 1}`, `topic UPDATE UPDATE {"id": 2}`}; !slices.Equal(got, want) {
		t.Errorf("broadcast %q, want %q", got, want)
	}
}

func TestAUserInTheDatabaseIsBoundByItsPolicies(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(notes)
	for role, want := range map[string]string{"authenticated": "1 3", "service_role": "1 2 3", "anon": ""} {
		got, err := bed.As(role, pgtest.Claims{"sub": ana}).Query(`select coalesce(string_agg(id::text, ' ' order by id), '') from notes`)
		if err != nil || got != want {
			t.Errorf("%s reads %q, %v; want %q", role, got, err, want)
		}
	}
	if _, err := bed.As("authenticated", pgtest.Claims{"sub": ana}).Query(`insert into notes (id, owner) values (9, '` + ben + `')`); err == nil {
		t.Error("a row of somebody else was written")
	}
}

// ask sends a request with a token, and headers as names and values in turn.
func ask(t *testing.T, bed *pgtest.Bed, token, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, bed.RESTURL()+"/rest/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("apikey", bed.AnonKey())
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func TestTheRESTAPIAnswersAsPostgRESTDoes(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(notes + `
		create function sum(a int, b int default 1) returns int language sql as 'select a + b';
		create function texts(list text[]) returns setof text language sql as 'select unnest(list)';
		create function nothing() returns void language sql as '';
		create function whoever() returns jsonb language sql as
			$$ select jsonb_build_object('role', current_user, 'sub', auth.uid(), 'header', current_setting('request.headers')::json ->> 'x-test') $$;
		create function secret() returns int language sql as 'select 1';
		revoke all on function secret() from public, anon, authenticated;
		create table closed (id int); revoke all on closed from anon, authenticated;`)
	user := bed.Token("authenticated", pgtest.Claims{"sub": ana})
	service, anon := bed.ServiceKey(), bed.AnonKey()
	expired := bed.Token("authenticated", pgtest.Claims{"exp": time.Now().Add(-time.Minute).Unix()})
	const representation = "return=representation"
	for _, c := range []struct {
		name, token, method, path, body string
		headers                         []string
		status                          int
		want                            string // is in the answer
	}{
		{"policies", user, "GET", "notes?select=id", "", nil, 200, "[{\"id\":1}, \n {\"id\":3}]"},
		{"eq", service, "GET", "notes?select=id&id=eq.2", "", nil, 200, `[{"id":2}]`},
		{"in with quotes", service, "GET", `notes?select=id&body=in.("a","b,\"c)")&order=id.desc`, "", nil, 200, "[{\"id\":2}, \n {\"id\":1}]"},
		{"a name that needs quotes", service, "GET", `notes?select="from"&"from"=eq.x`, "", nil, 200, `[{"from":"x"}]`},
		{"a tree", service, "GET", `notes?select=id&or=(id.gt."2",and(id.eq."1","from".eq."x"))&order=id.asc.nullslast`, "", nil, 200, "[{\"id\":1}, \n {\"id\":3}]"},
		{"null or not in", service, "GET", `notes?select=id&or=(body.is.null,body.not.in.("a"))&order=id`, "", nil, 200, "[{\"id\":2}, \n {\"id\":3}]"},
		{"times and text as JSON", service, "GET", "notes?select=made,body&id=eq.3", "", nil, 200, `[{"made":"2026-01-02T03:04:05+00:00","body":null}]`},
		{"limit and offset", service, "GET", "notes?select=id&order=id&limit=1&offset=1", "", nil, 200, `[{"id":2}]`},
		{"no such table", service, "GET", "nots", "", nil, 404, "PGRST205"},
		{"no such column", service, "GET", "notes?select=nope", "", nil, 400, "42703"},
		{"no such schema", service, "GET", "notes", "", []string{"Accept-Profile", "nope"}, 406, "PGRST106"},
		{"a value of another type", service, "GET", "notes?id=eq.x", "", nil, 400, "22P02"},
		{"no grant, with a token", user, "GET", "closed", "", nil, 403, "42501"},
		{"no grant, without", anon, "GET", "closed", "", nil, 401, "42501"},
		{"a broken filter", service, "GET", "notes?id=2", "", nil, 400, "PGRST100"},
		{"expired", expired, "GET", "notes", "", nil, 401, "JWT expired"},
		{"signed by another key", strings.Repeat("x", 3) + user, "GET", "notes", "", nil, 401, "PGRST301"},
		{"insert", user, "POST", "notes", `{"id":10,"owner":"` + ana + `","body":"new","tags":["p","q"]}`, []string{"Prefer", representation}, 201, `"tags":["p","q"]`},
		{"insert against a policy", user, "POST", "notes", `{"id":11,"owner":"` + ben + `"}`, nil, 403, "42501"},
		{"insert twice", service, "POST", "notes", `{"id":10}`, nil, 409, "23505"},
		{"insert, if it is not there", service, "POST", `notes?on_conflict="id"`, `{"id":10,"body":"other"}`,
			[]string{"Prefer", representation + ",resolution=ignore-duplicates"}, 201, `[]`},
		{"upsert", service, "POST", "notes", `[{"id":10,"body":"other"}]`, []string{"Prefer", representation + ",resolution=merge-duplicates"}, 201, `"body":"other"`},
		{"insert what has no column", service, "POST", "notes", `{"id":12,"nope":1}`, nil, 400, "PGRST204"},
		{"insert no JSON", service, "POST", "notes", `{`, nil, 400, "PGRST102"},
		{"update", service, "PATCH", "notes?id=eq.10&body=eq.other", `{"body":null,"from":"z"}`, []string{"Prefer", representation}, 200, `"body":null,"from":"z"`},
		{"update of somebody else's", user, "PATCH", "notes?id=eq.2", `{"body":"mine"}`, []string{"Prefer", representation}, 200, `[]`},
		{"delete", service, "DELETE", "notes?id=eq.10", "", nil, 204, ""},
		{"a function", service, "POST", "rpc/sum", `{"a":2}`, nil, 200, "3"},
		{"a function with a list", service, "POST", "rpc/texts", `{"list":["a","b"]}`, nil, 200, `["a", "b"]`},
		{"a function of nothing", service, "POST", "rpc/nothing", ``, nil, 204, ""},
		{"a function knows who calls", user, "POST", "rpc/whoever", `{}`, []string{"X-Test", "v"}, 200, `{"sub": "` + ana + `", "role": "authenticated", "header": "v"}`},
		{"a function that only some may call", user, "POST", "rpc/secret", `{}`, nil, 403, "42501"},
		{"arguments that no function has", service, "POST", "rpc/sum", `{"c":2}`, nil, 404, "PGRST202"},
	} {
		status, got := ask(t, bed, c.token, c.method, strings.NewReplacer(`"`, "%22", `\`, "%5C").Replace(c.path), c.body, c.headers...)
		if status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, got, c.status, c.want)
		}
	}
}

func TestAnAnswerHasNoMoreThanMaxRows(t *testing.T) {
	t.Parallel()
	bed := pgtest.Start(t)
	bed.Owner(`create table many (id int primary key); insert into many select generate_series(1, 1001)`)
	_, body := ask(t, bed, bed.ServiceKey(), "GET", "many?limit=5000&order=id", "")
	var rows []struct{ ID int }
	if err := json.Unmarshal([]byte(body), &rows); err != nil || len(rows) != pgtest.MaxRows {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
