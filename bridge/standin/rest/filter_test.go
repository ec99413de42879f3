package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// show writes a condition as SQL-like text.
func show(c sql.Condition) string {
	not := ""
	if c.Not {
		not = "not "
	}
	if c.Tree != "" {
		parts := make([]string, len(c.Children))
		for i, child := range c.Children {
			parts[i] = show(child)
		}
		return not + c.Tree + "(" + strings.Join(parts, " ") + ")"
	}
	quantifier := ""
	if c.All {
		quantifier = " all"
	}
	if c.Any {
		quantifier = " any"
	}
	return fmt.Sprintf("%s%s %s%s %q", not, showField(c.Field), c.Op, quantifier, c.Values)
}

func showField(f sql.Field) string {
	text := f.Column
	for i, st := range f.Path {
		arrow := "->"
		if f.Text && i == len(f.Path)-1 {
			arrow = "->>"
		}
		text += arrow + st.Key
		if st.Indexed {
			text += "#"
		}
	}
	return text
}

func TestFiltersAreReadAsPostgRESTReadsThem(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a", "eq.5", `a eq ["5"]`},
		{"a", "eq.", `a eq [""]`},
		{"a", "eq.x,y)", `a eq ["x,y)"]`},
		{"a", `eq."quoted"`, `a eq ["\"quoted\""]`},
		{"a", "not.eq.5", `not a eq ["5"]`},
		{"Weird Col", "eq.5", `Weird Col eq ["5"]`},
		{`"Weird.Col"`, "eq.5", `Weird.Col eq ["5"]`},
		{"a->>b", "eq.5", `a->>b eq ["5"]`},
		{`a->"b.c"->0->>d-e`, "eq.5", `a->b.c->0#->>d-e eq ["5"]`},
		{"or", "(a->b->>-1.eq.1,a-b.is.null)", `or(a->b->>-1# eq ["1"] a-b is ["null"])`},
		{"a", "in.(1,2)", `a in ["1" "2"]`},
		{"a", "in.()", `a in []`},
		{"a", `in.("x,y","q\"u\\",z z)`, `a in ["x,y" "q\"u\\" "z z"]`},
		{"a", `in.(a"b)`, `a in ["a\"b"]`},
		{"a", `in.("a"b,c)`, `a in ["\"a\"b" "c"]`},
		{"a", "not.in.(1)", `not a in ["1"]`},
		{"a", "is.NULL", `a is ["null"]`},
		{"a", "not.is.null", `not a is ["null"]`},
		{"a", "is.not_null", `a is ["not_null"]`},
		{"a", "like.*x%", `a like ["*x%"]`},
		{"a", "like(any).{a*,\"b,c\"}", `a like any ["a*" "b,c"]`},
		{"a", "eq(all).{1}", `a eq all ["1"]`},
		{"or", "(a.eq.1,b.eq.2)", `or(a eq ["1"] b eq ["2"])`},
		{"not.and", "(a.eq.1)", `not and(a eq ["1"])`},
		{"or", "(a.gt.1,and(a.eq.1,not.or(b.not.in.(1,2),c.is.null)))", `or(a gt ["1"] and(a eq ["1"] not or(not b in ["1" "2"] c is ["null"])))`},
		{"or", `(a.eq."x,y",b.eq."p)q")`, `or(a eq ["x,y"] b eq ["p)q"])`},
		{"or", `(a.gt."2026-11-22T22:53:31.365023+00:00",b.eq.2026-11-22T22:53:31.365023+00:00)`,
			`or(a gt ["2026-11-22T22:53:31.365023+00:00"] b eq ["2026-11-22T22:53:31.365023+00:00"])`},
		{"or", `("Weird Col".eq.1,a.eq.)`, `or(Weird Col eq ["1"] a eq [""])`},
		{"or", "( a.eq.1 , b.eq.2)", `or(a eq ["1 "] b eq ["2"])`},
		{"or", "(and.eq.1)", `or(and eq ["1"])`},
	} {
		got, err := parseParameter(c.name, c.text)
		if err != nil {
			t.Errorf("%s=%s: %v", c.name, c.text, err)
		} else if show(got) != c.want {
			t.Errorf("%s=%s: read as %s, want %s", c.name, c.text, show(got), c.want)
		}
	}
}

func parseParameter(name, text string) (sql.Condition, error) {
	switch name {
	case "or", "and", "not.or", "not.and":
		return parseTree(name, text)
	}
	return parseFilter(name, text)
}

func TestFiltersThatCannotBeReadAreRefused(t *testing.T) {
	deep := strings.Repeat("and(", 100) + "a.eq.1" + strings.Repeat(")", 100)
	for _, c := range []struct{ name, text, code string }{
		{"a", "5", "PGRST100"},
		{"a", "foo.5", "PGRST100"},
		{"a", "eq", "PGRST100"},
		{"a", "", "PGRST100"},
		{"a", "not.5", "PGRST100"},
		{"a", "in.1,2", "PGRST100"},
		{"a", "in.(1,2", "PGRST100"},
		{"a", "in.(1)x", "PGRST100"},
		{"a", "is.maybe", "PGRST100"},
		{"a", "neq(any).{1}", "PGRST100"},
		{"a", "fts(english).x", "PGRST127"},
		{"a", "cs.{1}", "PGRST127"},
		{"a->>b->c", "eq.1", "PGRST100"},
		{"a->", "eq.1", "PGRST100"},
		{"a(b)", "eq.1", "PGRST100"},
		{"or", "(a->>.eq.1)", "PGRST100"},
		{"other.a", "eq.1", "PGRST108"},
		{"or", "a.eq.1", "PGRST100"},
		{"or", "()", "PGRST100"},
		{"or", "(a.eq.1", "PGRST100"},
		{"or", "(a.eq.1)x", "PGRST100"},
		{"or", "(a)", "PGRST100"},
		{"or", `("a.eq.1)`, "PGRST100"},
		{"or", "(" + deep + ")", "PGRST100"},
	} {
		got, err := parseParameter(c.name, c.text)
		var e *sql.Error
		if !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s=%s: read as %s with error %v, want code %s", c.name, c.text, show(got), err, c.code)
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, s := range [][2]string{
		{"id", "eq.5"}, {"content", `not.in.("a,b",c)`}, {"or", `(id.eq.1,and(content.eq."x,\"y",n.not.is.null))`}, {"content", "like(any).{a*,b}"},
		{"not.and", "(n.gt.1,b.is.true)"}, {"j->a->>b", "eq.x"}, {"or", "(j->0.gt.5,ia->-1.eq.1)"}, {"at", "gte.2026-11-22T22:53:31+00:00"},
	} {
		f.Add(s[0], s[1])
	}
	relation := relationOf(f, map[string]string{
		"id": "int8", "content": "text", "n": "numeric", "b": "bool", "at": "timestamptz", "j": "jsonb", "ia": "int[]",
	}, map[string]any{"id": 1, "content": "x", "n": "1.5", "b": true, "at": "now()", "j": json.RawMessage(`{"a":1}`), "ia": "{1}"})
	f.Fuzz(func(t *testing.T, name, text string) {
		c, err := parseParameter(name, text)
		if err == nil {
			var bound sql.Filter
			if bound, err = relation.Filter(c); err == nil {
				relation.Select(bound)
				return
			}
		}
		if e := (*sql.Error)(nil); !errors.As(err, &e) {
			t.Fatalf("%q=%q: an error of type %T: %v", name, text, err, err)
		}
	})
}

func FuzzSelectAndOrder(f *testing.F) {
	for _, s := range []string{"*", "id,content", "a:id,b:content", `"Weird Col",x:"Weird Col"`, "id.desc.nullslast,content", "id,other(*)", "id::text", "count()", "j->a->>b", "x:j->0", "j->>a.desc"} {
		f.Add(s)
	}
	relation := relationOf(f, map[string]string{"id": "int8", "content": "text", "Weird Col": "text", "j": "jsonb"},
		map[string]any{"id": 1, "content": "x", "j": json.RawMessage(`{"a":[1]}`)})
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseSelect(relation, text)
		if err == nil {
			p.Append(nil, relation.Select(sql.All(nil))[0], true)
		} else if e := (*sql.Error)(nil); !errors.As(err, &e) {
			t.Fatalf("select=%q: an error of type %T: %v", text, err, err)
		}
		terms, err := parseOrder(relation, text)
		if err == nil {
			sql.Sort(relation.Select(sql.All(nil)), terms)
		} else if e := (*sql.Error)(nil); !errors.As(err, &e) {
			t.Fatalf("order=%q: an error of type %T: %v", text, err, err)
		}
	})
}

// relationOf is a table with two rows: the one given, and one with an id alone.
func relationOf(t testing.TB, columns map[string]string, row map[string]any) *sql.Relation {
	t.Helper()
	def := sql.TableDef{Schema: "public", Name: "t", Key: []string{"id"}, Rows: []sql.RowDef{{Values: row}, {Values: map[string]any{"id": "2"}}}}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		typ, err := sql.ParseType(columns[name], nil)
		if err != nil {
			t.Fatal(err)
		}
		def.Columns = append(def.Columns, sql.ColumnDef{Name: name, Type: typ})
	}
	db, err := sql.New([]sql.TableDef{def}, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	relation, ok := db.Relation(sql.Claims{Role: sql.RoleService}, "public", "t")
	if !ok {
		t.Fatal("the table isn't there")
	}
	return relation
}
