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
		s := pgtest.Start(t)
		newest := `
prepare newest as select extract(year from at) from rows where at <= $1 order by at desc limit 1;
execute newest('now');`
		got := s.SQL(`create table rows (at ` + column + `);
insert into rows values ('2001-01-01'), ('2099-01-01'), ('infinity'), ('-infinity'), (null);` + newest)
		s.SQL(`insert into rows values (now() - interval '1 second')`)
		got += s.SQL(newest)
		got += s.SQL(`select count(*) from rows where at <= 'now' and at > '2001-01-02'`)
		if want := "2001" + s.SQL(`select extract(year from now() - interval '1 second')`) + "1"; got != want {
			t.Errorf("%s: %q, want %q", column, got, want)
		}
	}
}
