package rest

import (
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// cutField takes a field off the start of a text. ok is false if there is none, or its path isn't
// complete.
func cutField(s string) (f sql.Field, rest string, ok bool) {
	f.Column, rest, ok = cutName(s)
	for ok && strings.HasPrefix(rest, "->") {
		if f.Text {
			return f, rest, false // ->> gives a text, in which there are no places
		}
		rest, f.Text = strings.CutPrefix(rest[2:], ">")
		var st sql.Step
		st, rest, ok = cutStep(rest)
		f.Path = append(f.Path, st)
	}
	return f, rest, ok
}

func cutStep(s string) (st sql.Step, rest string, ok bool) {
	if text, n, quoted := cutQuoted(s); quoted {
		return sql.Step{Key: text}, s[n:], true
	}
	i := strings.IndexAny(s, "(:.,>)")
	if i < 0 {
		i = len(s)
	} else if s[i] == '>' && i > 0 && s[i-1] == '-' {
		i--
	}
	st.Key = strings.TrimSpace(s[:i])
	if n, err := strconv.ParseInt(st.Key, 10, 32); err == nil {
		st.Index, st.Indexed = int(n), true
	}
	return st, s[i:], st.Key != ""
}

// nameOf is the key of a field in an answer: the column's name, or the last key of the path.
func nameOf(f sql.Field) string {
	for i := len(f.Path) - 1; i >= 0; i-- {
		if !f.Path[i].Indexed {
			return f.Path[i].Key
		}
	}
	return f.Column
}

// cutName takes a column's name, plain or quoted, off a text.
func cutName(s string) (name, rest string, ok bool) {
	if text, n, quoted := cutQuoted(s); quoted {
		return text, s[n:], text != ""
	}
	i := strings.IndexAny(s, `:."(),`)
	if i < 0 {
		i = len(s)
	}
	if arrow := strings.Index(s[:i], "->"); arrow >= 0 {
		i = arrow
	}
	name = strings.TrimSpace(s[:i])
	return name, s[i:], name != ""
}
