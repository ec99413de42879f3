package pgtest

import (
	"slices"
	"testing"
)

func TestStatementsArePartedOutsideOfQuotesAndComments(t *testing.T) {
	text := `-- one; two
begin;
do $$ begin perform ';'; end $$; /* a; /* b; */ c; */
select 'it''s; ' || E'\';' || "a;""b", $1 ; select $x$ ;$$; $x$;;
create policy p on realtime.messages
`
	want := []string{"begin", "do $$ begin perform ';'; end $$", `select 'it''s; ' || E'\';' || "a;""b", $1`, "select $x$ ;$$; $x$", "create policy p on realtime.messages"}
	got := split(text)
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for i, statement := range got {
		if policyOnMessages.MatchString(statement) != (i == len(got)-1) {
			t.Errorf("policyOnMessages of %q", statement)
		}
	}
}
