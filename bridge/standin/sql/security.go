package sql

import (
	"encoding/json"
	"slices"
	"strconv"
)

// The roles a token may ask for. RoleService passes over row security.
const (
	RoleAnon          = "anon"
	RoleAuthenticated = "authenticated"
	RoleService       = "service_role"
)

// KnownRole reports whether the database has a role.
func KnownRole(role string) bool {
	return role == RoleAnon || role == RoleAuthenticated || role == RoleService
}

// Operation is what a rule is for; a rule may be for several.
type Operation uint8

// The operations.
const (
	ForSelect Operation = 1 << iota
	ForInsert
	ForUpdate
	ForDelete
	ForAll = ForSelect | ForInsert | ForUpdate | ForDelete
)

// rule lets the roles it names at the rows it describes: those whose column equals a claim of the
// token, on the row itself or on a parent row that is found over foreign keys. Immutable.
type rule struct {
	operations Operation
	roles      []string
	everything bool // no condition: using (true)
	hops       []hop
	column     int // in the table of the last hop, or in the rule's own
	typ        *Type
	claim      []string // path into the claims
}

// hop goes from a row to its parent.
type hop struct {
	column int
	typ    *Type
	to     *table
	refs   *index
}

// unrestricted tells whether a role sees and writes every row of the table.
func (t *table) unrestricted(role string) bool { return !t.info.RLS || role == RoleService }

// policy is a table's rules bound to one token and one Operation.
type policy struct {
	everything bool
	tests      []boundRule
}

type boundRule struct {
	rule *rule
	want value
}

// policyFor binds the rules to a token, nil meaning the owner of the database.
func (t *table) policyFor(c *Claims, op Operation) policy {
	if c == nil || t.unrestricted(c.Role) {
		return policy{everything: true}
	}
	var p policy
	for i := range t.rules {
		r := &t.rules[i]
		if r.operations&op == 0 || !slices.Contains(r.roles, c.Role) {
			continue
		}
		if r.everything {
			return policy{everything: true}
		}
		text, ok := ClaimText(c.Raw, r.claim)
		if !ok {
			continue
		}
		if want, err := r.typ.parse(text); err == nil {
			p.tests = append(p.tests, boundRule{rule: r, want: want})
		}
	}
	return p
}

// admits tells whether one of the rules lets a row through. Call with DB.mu held.
func (p policy) admits(at func(column int) value) bool {
	if p.everything {
		return true
	}
	return slices.ContainsFunc(p.tests, func(b boundRule) bool { return b.holds(at) })
}

// admitsRow is admits for a row's values.
func (p policy) admitsRow(vals []value) bool {
	return p.everything || p.admits(func(c int) value { return vals[c] })
}

func (b boundRule) holds(at func(column int) value) bool {
	for _, h := range b.rule.hops {
		v := at(h.column)
		if v.null {
			return false
		}
		parent := h.refs.one[h.typ.indexKey(v)]
		if parent == nil {
			return false
		}
		at = func(c int) value { return parent.vals[c] }
	}
	v := at(b.rule.column)
	return !v.null && b.rule.typ.compare(v, b.want) == 0
}

// ClaimText finds a claim by its path and gives it as text; ok is false if it is missing, null or
// no scalar.
func ClaimText(claims map[string]any, path []string) (text string, ok bool) {
	var at any = claims
	for _, name := range path {
		m, isMap := at.(map[string]any)
		if !isMap {
			return "", false
		}
		at = m[name]
	}
	switch v := at.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case float64:
		return formatFloat(v, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
