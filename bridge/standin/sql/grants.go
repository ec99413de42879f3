package sql

import (
	"fmt"
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
		if !KnownRole(role) {
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
func (t *table) denied() error {
	return &Error{Code: "42501", Message: "permission denied for table " + t.info.Name}
}

// mayTest refuses to compare columns that the role may not read.
func (t *table) mayTest(role string, cond Condition) error {
	for _, child := range cond.Children {
		if err := t.mayTest(role, child); err != nil {
			return err
		}
	}
	if column, ok := t.byName[cond.Field.Column]; ok && cond.Tree == "" && !t.mayRead(role, column) {
		return t.denied()
	}
	return nil
}
