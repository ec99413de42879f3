package standin

import (
	"fmt"
	"net/http"
	"slices"
)

// mayRead tells whether a role was granted SELECT on a column: on all of them, unless
// the table names those of the role.
func (t *table) mayRead(role string, column int) bool {
	granted, restricted := t.granted[role]
	return !restricted || slices.Contains(granted, column)
}

// readable are a table's columns that a role may read; restricted if there are others.
func (t *table) readable(role string) (columns []Column, restricted bool) {
	if _, restricted = t.granted[role]; !restricted {
		return t.info.Columns, false
	}
	for i, c := range t.info.Columns {
		if t.mayRead(role, i) {
			columns = append(columns, c)
		}
	}
	return columns, true
}

// grant takes the columns that the seed grants to roles.
func (t *table) grant(granted map[string][]string) error {
	for role, names := range granted {
		if !knownRole(role) {
			return fmt.Errorf("grants: there is no role %s", role)
		}
		var columns []int // none: the role may read nothing of the table
		if len(names) > 0 {
			var err error
			if columns, err = t.resolve(names); err != nil {
				return fmt.Errorf("grants: %w", err)
			}
		}
		if t.granted == nil {
			t.granted = make(map[string][]int)
		}
		t.granted[role] = columns
	}
	return nil
}

// denied is Postgres' error for a column that was not granted: it names the table.
func (c *restCall) denied() error {
	status := http.StatusForbidden
	if c.claims.Role == roleAnon {
		status = http.StatusUnauthorized
	}
	return &Error{Code: "42501", Message: "permission denied for table " + c.table.info.Name, status: status}
}

// mayProject refuses to show columns that the role may not read.
func (c *restCall) mayProject(p projection) error {
	for _, f := range p {
		if !c.table.mayRead(c.claims.Role, f.expr.column) {
			return c.denied()
		}
	}
	return nil
}

// mayTest refuses to compare columns that the role may not read.
func (c *restCall) mayTest(cond condition) error {
	for _, child := range cond.children {
		if err := c.mayTest(child); err != nil {
			return err
		}
	}
	if column, ok := c.table.byName[cond.field.column]; ok && cond.tree == "" && !c.table.mayRead(c.claims.Role, column) {
		return c.denied()
	}
	return nil
}

// maySort refuses to order by columns that the role may not read.
func (c *restCall) maySort(terms []orderTerm) error {
	for _, t := range terms {
		if !c.table.mayRead(c.claims.Role, t.expr.column) {
			return c.denied()
		}
	}
	return nil
}
