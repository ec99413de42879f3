package phoenix

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestFiltersAreQuoted(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for _, tt := range []struct {
		got  Filter
		want string
	}{
		{Eq("id", 7), "id=eq.7"},
		{Eq("id", int64(math.MaxInt64)), "id=eq.9223372036854775807"},
		{Neq("n", json.Number("10.50")), "n=neq.10.50"},
		{Lt("f", 1.5), "f=lt.1.5"},
		{Lte("at", at), "at=lte.2026-01-02T03:04:05.006Z"},
		{Gt("b", true), "b=gt.true"},
		{Gte("s", "plain text"), "s=gte.plain text"},
		{Like("s", "a%"), "s=like.a%"},
		{ILike("s", "he,llo"), `s=ilike."he,llo"`},
		{Match("s", "^(a|b)$"), `s=match."^(a|b)$"`},
		{IMatch("s", `\d`), `s=imatch."\\d"`},
		{Is("x", nil), "x=is.null"},
		{Is("x", false), "x=is.false"},
		{Is("x", "unknown"), "x=is.unknown"},
		{IsDistinct("x", `say "hi"`), `x=isdistinct."say \"hi\""`},
		{In("s", "a", "b,c", " d", ""), `s=in.(a,"b,c"," d","")`},
		{In("n", 1, 2, 3), "n=in.(1,2,3)"},
		{Not(Eq("id", 7)), "id=not.eq.7"},
		{Not(Not(Eq("id", 7))), "id=eq.7"},
		{And(Eq("a", 1), "", Not(In("b", "x"))), "a=eq.1,b=not.in.(x)"},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

// split takes a filter apart as the server does: commas at depth 0 outside quotes.
func split(f string) []string {
	var parts []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(f); i++ {
		switch c := f[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"' && i > 0 && strings.ContainsRune(".(,", rune(f[i-1])):
			quoted = true
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, f[start:i])
			start = i + 1
		}
	}
	return append(parts, f[start:])
}

func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func FuzzFilterValuesSurviveTheServersSplitting(f *testing.F) {
	for _, s := range []string{"a", "a,b", `"`, `\`, "(", ")", " x ", "", `a",b=eq.1`} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got := split(string(And(Eq("x", a), Gt("y", b), In("z", a, b))))
		if len(got) != 3 {
			t.Fatalf("%q, %q: %d conditions %q", a, b, len(got), got)
		}
		if v := unquote(strings.TrimPrefix(got[0], "x=eq.")); v != a {
			t.Errorf("%q arrives as %q", a, v)
		}
		list := strings.TrimSuffix(strings.TrimPrefix(got[2], "z=in"), ")")
		// A comma before the list makes its first value's quote one that opens.
		if values := split(strings.Replace(list, ".(", ",", 1)); len(values) != 3 || unquote(values[1]) != a || unquote(values[2]) != b {
			t.Errorf("%q, %q arrive as %q", a, b, values)
		}
		if v := unquote(strings.TrimPrefix(got[1], "y=gt.")); v != b {
			t.Errorf("%q arrives as %q", b, v)
		}
	})
}
