package phoenix

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Filter narrows a Binding to rows that meet it: conditions "column=op.value" joined
// by commas, all of which must hold. The functions of this file build one with the
// quoting the server wants; And joins several, Not turns one around.
//
//	phoenix.And(phoenix.Eq("room_id", 7), phoenix.In("status", "sent", "read, twice"))
//	// room_id=eq.7,status=in.(sent,"read, twice")
//
// Servers from before mid-2026 take one condition only, of Eq, Neq, Lt, Lte, Gt,
// Gte and In. Values may be strings, numbers, booleans, time.Time or anything with
// a String method.
type Filter string

func condition(column, op string, value any) Filter {
	return Filter(column + "=" + op + "." + quoteValue(filterText(value)))
}

// Eq is column = value. Nothing equals null: see Is.
func Eq(column string, value any) Filter { return condition(column, "eq", value) }

// Neq is column <> value; rows where the column is null don't meet it.
func Neq(column string, value any) Filter { return condition(column, "neq", value) }

// Lt is column < value.
func Lt(column string, value any) Filter { return condition(column, "lt", value) }

// Lte is column <= value.
func Lte(column string, value any) Filter { return condition(column, "lte", value) }

// Gt is column > value.
func Gt(column string, value any) Filter { return condition(column, "gt", value) }

// Gte is column >= value.
func Gte(column string, value any) Filter { return condition(column, "gte", value) }

// Like is column LIKE pattern, with % and _ as wildcards.
func Like(column, pattern string) Filter { return condition(column, "like", pattern) }

// ILike is Like without regard to case.
func ILike(column, pattern string) Filter { return condition(column, "ilike", pattern) }

// Match is column ~ expr, a POSIX regular expression.
func Match(column, expr string) Filter { return condition(column, "match", expr) }

// IMatch is Match without regard to case.
func IMatch(column, expr string) Filter { return condition(column, "imatch", expr) }

// IsDistinct is column IS DISTINCT FROM value: Neq that null rows meet too.
func IsDistinct(column string, value any) Filter { return condition(column, "isdistinct", value) }

// Is is column IS value, where value is nil, true, false, or "unknown".
func Is(column string, value any) Filter {
	if value == nil {
		return Filter(column + "=is.null")
	}
	return condition(column, "is", value)
}

// In is column = ANY (values). The server takes at most 100 values.
func In[T any](column string, values ...T) Filter {
	var b strings.Builder
	b.WriteString(column)
	b.WriteString("=in.(")
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quoteValue(filterText(v)))
	}
	b.WriteByte(')')
	return Filter(b.String())
}

// Not turns a single condition around. Null rows meet neither it nor the original,
// except for Is and IsDistinct.
func Not(f Filter) Filter {
	column, rest, ok := strings.Cut(string(f), "=")
	if !ok {
		return f
	}
	if plain, was := strings.CutPrefix(rest, "not."); was {
		return Filter(column + "=" + plain)
	}
	return Filter(column + "=not." + rest)
}

// And is met by rows that meet all of the filters. Empty ones are left out.
func And(filters ...Filter) Filter {
	var parts []string
	for _, f := range filters {
		if f != "" {
			parts = append(parts, string(f))
		}
	}
	return Filter(strings.Join(parts, ","))
}

func filterText(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return v
	case json.Number:
		return string(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	}
	return fmt.Sprint(value)
}

var valueEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quoteValue quotes what the server's splitter would take apart or trim.
func quoteValue(s string) string {
	if s != "" && !strings.ContainsAny(s, `,()"\`) && strings.TrimSpace(s) == s {
		return s
	}
	return `"` + valueEscaper.Replace(s) + `"`
}
