package standin

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// show writes a condition as SQL-like text.
func (c condition) show() string {
	not := ""
	if c.not {
		not = "not "
	}
	if c.tree != "" {
		parts := make([]string, len(c.children))
		for i, child := range c.children {
			parts[i] = child.show()
		}
		return not + c.tree + "(" + strings.Join(parts, " ") + ")"
	}
	quantifier := ""
	if c.all {
		quantifier = " all"
	}
	if c.any {
		quantifier = " any"
	}
	return fmt.Sprintf("%s%s %s%s %q", not, c.field.show(), c.op, quantifier, c.values)
}

func (f field) show() string {
	text := f.column
	for i, st := range f.path {
		arrow := "->"
		if f.text && i == len(f.path)-1 {
			arrow = "->>"
		}
		text += arrow + st.key
		if st.indexed {
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
		} else if got.show() != c.want {
			t.Errorf("%s=%s: read as %s, want %s", c.name, c.text, got.show(), c.want)
		}
	}
}

func parseParameter(name, text string) (condition, error) {
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
		var e *Error
		if !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s=%s: read as %s with error %v, want code %s", c.name, c.text, got.show(), err, c.code)
		}
	}
}

func TestLikeMatchesWholeTexts(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		fold, want    bool
	}{
		{"abc", "abc", false, true}, {"abc", "abcd", false, false}, {"a%", "a", false, true}, {"%c", "abc", false, true},
		{"a_c", "aéc", false, true}, {"a_c", "ac", false, false}, {"%b%", "abc", false, true}, {"%a%b%c%", "xaxbxcx", false, true},
		{"a%b%c", "abcb", false, false}, {"", "", false, true}, {"%", "", false, true}, {"_", "", false, false},
		{`50\%`, "50%", false, true}, {`50\%`, "50x", false, false}, {`a\_b`, "axb", false, false}, {`a\\b`, `a\b`, false, true},
		{"ABC", "abc", false, false}, {"ABC", "abc", true, true}, {"É%", "été", true, true},
	} {
		if got := matchLike(parseLike(c.pattern, c.fold), c.text, c.fold); got != c.want {
			t.Errorf("%q like %q (fold %v) is %v", c.text, c.pattern, c.fold, got)
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
	db := seeded(f, `
tables:
  t:
    columns: {id: int8, content: text, n: numeric, b: bool, at: timestamptz, j: jsonb, ia: "int[]"}
    primary_key: [id]
    rows: [{id: 1, content: x, n: 1.5, b: true, at: now(), j: {a: 1}, ia: "{1}"}, {id: 2}]
`)
	table := db.tables[tableName{"public", "t"}]
	f.Fuzz(func(t *testing.T, name, text string) {
		c, err := parseParameter(name, text)
		if err == nil {
			var bound test
			if bound, err = table.bind(c); err == nil {
				for _, r := range table.rows() {
					bound.holds(r.vals)
				}
				return
			}
		}
		if e := (*Error)(nil); !errors.As(err, &e) {
			t.Fatalf("%q=%q: an error of type %T: %v", name, text, err, err)
		}
	})
}

func FuzzSelectAndOrder(f *testing.F) {
	for _, s := range []string{"*", "id,content", "a:id,b:content", `"Weird Col",x:"Weird Col"`, "id.desc.nullslast,content", "id,other(*)", "id::text", "count()", "j->a->>b", "x:j->0", "j->>a.desc"} {
		f.Add(s)
	}
	db := seeded(f, `
tables:
  t: {columns: {id: int8, content: text, "Weird Col": text, j: jsonb}, rows: [{id: 1}, {id: 2, content: x, j: {a: [1]}}]}
`)
	table := db.tables[tableName{"public", "t"}]
	f.Fuzz(func(t *testing.T, text string) {
		p, err := table.parseSelect(text)
		if err == nil {
			p.append(nil, table.rows()[0].vals, true)
		} else if e := (*Error)(nil); !errors.As(err, &e) {
			t.Fatalf("select=%q: an error of type %T: %v", text, err, err)
		}
		terms, err := table.parseOrder(text)
		if err == nil {
			sortRows(table.rows(), terms)
		} else if e := (*Error)(nil); !errors.As(err, &e) {
			t.Fatalf("order=%q: an error of type %T: %v", text, err, err)
		}
	})
}
