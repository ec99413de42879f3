package migration

import (
	_ "embed" // the query
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
)

// FactsQuery answers with one jsonb, a Facts, of the tables $2 (text[]) in the schema $1 (text). It
// reads the catalog only, which every role may.
//
//go:embed facts.sql
var FactsQuery string

// FactsFunction is the function by which the service role may run FactsQuery over the REST API. Its
// arguments are schema and tables.
const FactsFunction = "supabridge_facts"

// Facts are what a database's catalog says of tables.
type Facts struct {
	Tables map[string]TableFacts `json:"tables"` // by name, those that exist
}

// TableFacts are what it says of one.
type TableFacts struct {
	// Published: it is in the publication supabase_realtime.
	Published bool `json:"published"`
	// Identity is the replica identity: d the key, f the whole row, n nothing, i an index.
	Identity string `json:"identity"`
	// RLS: row level security is on.
	RLS bool `json:"rls"`
	// Columns are the types by name, as PostgreSQL writes them.
	Columns map[string]string `json:"columns"`
	// Indexes are those that are valid and of all rows.
	Indexes []IndexFacts `json:"indexes"`
	// Kept: some trigger runs before each update, as one that sets the time of the last change does.
	Kept bool `json:"kept"`
	// Broadcasts: the fast lane's trigger is there.
	Broadcasts bool `json:"broadcasts"`
}

// IndexFacts are what it says of an index. A column that is an expression is empty.
type IndexFacts struct {
	Unique  bool     `json:"unique"`
	Columns []string `json:"columns"`
}

// Identifies reports whether no two rows can have the same value in a column: a unique index is on
// it alone.
func (t TableFacts) Identifies(column string) bool {
	return slices.ContainsFunc(
		t.Indexes,
		func(ix IndexFacts) bool { return ix.Unique && slices.Equal(ix.Columns, []string{column}) },
	)
}

var factsFunction = template.Must(
	template.New("facts").
		Funcs(template.FuncMap{"name": quoteName}).
		Parse(`-- What supabridge doctor asks over the REST API with the service key: of the tables named what the catalog says, no row of theirs.
create or replace function {{name .Schema}}.` + FactsFunction + `(schema text, tables text[]) returns jsonb
  language sql
  stable
  set search_path = ''
as $function$
{{.Query}}$function$;
revoke all on function {{name .Schema}}.` + FactsFunction + `(text, text[]) from public, anon, authenticated;
grant execute on function {{name .Schema}}.` + FactsFunction + `(text, text[]) to service_role;
`),
)

// WriteFacts writes the function. Only a schema that the REST API exposes is of use.
func WriteFacts(w io.Writer, schema string) error {
	if err := factsFunction.Execute(w, struct{ Schema, Query string }{schema, FactsQuery}); err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	return nil
}

// factsText is the function for the migration, of which it is a part.
func factsText(schema string) (string, error) {
	var b strings.Builder
	err := WriteFacts(&b, schema)
	return b.String(), err
}
