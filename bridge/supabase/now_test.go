package supabase_test

import (
	"testing"

	"github.com/supabridge/supabridge/internal/pgtest"
)

// Newest compares with the text "now". PostgREST sends it as a parameter, which PostgreSQL reads
// anew each time.
func TestPostgreSQLReadsNowAsTheTimeOfEachTransaction(t *testing.T) {
	t.Parallel()
	for _, column := range []string{"timestamptz", "timestamp", "timestamptz(0)"} {
		s := pgtest.New(t)
		got := s.SQL(`
create table rows (at ` + column + `);
insert into rows values ('2001-01-01'), ('2099-01-01'), ('infinity'), ('-infinity'), (null);
prepare newest as select extract(year from at) from rows where at <= $1 order by at desc limit 1;
execute newest('now');
insert into rows values (now());
select pg_sleep(1.1);
execute newest('now') \gset
select :'extract' = extract(year from now())::text;
select count(*) from rows where at <= 'now' and at > '2001-01-02';
`)
		if want := "2001\n\nt\n1"; got != want {
			t.Errorf("%s: %q, want %q", column, got, want)
		}
	}
}
