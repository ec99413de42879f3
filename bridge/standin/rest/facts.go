package rest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// factsPath is the function that supabridge's migration brings into a project: doctor asks it what
// the catalog says of tables.
const factsPath = "rpc/supabridge_facts"

// facts answers it as that function does, for the service role alone.
func (c *restCall) facts() (int, []byte, error) {
	if c.claims.Role != sql.RoleService {
		return 0, nil, refused(http.StatusForbidden, &sql.Error{Code: "42501",
			Message: "permission denied for function supabridge_facts"})
	}
	var asked struct {
		Schema string   `json:"schema"`
		Tables []string `json:"tables"`
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return 0, nil, &sql.Error{Code: "PGRST102", Message: "Empty or invalid json"}
	}
	type index struct {
		Unique  bool     `json:"unique"`
		Columns []string `json:"columns"`
	}
	type facts struct {
		Published  bool              `json:"published"`
		Identity   string            `json:"identity"`
		RLS        bool              `json:"rls"`
		Columns    map[string]string `json:"columns"`
		Indexes    []index           `json:"indexes"`
		Kept       bool              `json:"kept"`
		Broadcasts bool              `json:"broadcasts"`
	}
	tables := make(map[string]facts)
	for _, name := range asked.Tables {
		t, ok := c.db.Describe(asked.Schema, name)
		if !ok {
			continue
		}
		f := facts{Published: t.Published, Identity: "d", RLS: t.RLS,
			Columns: make(map[string]string), Broadcasts: t.Broadcast != "",
			Kept: slices.ContainsFunc(t.Details, func(c sql.ColumnDetails) bool { return c.OnUpdate })}
		if t.FullIdentity {
			f.Identity = "f"
		}
		for _, column := range t.Columns {
			f.Columns[column.Name] = column.Type
		}
		for _, ix := range t.Indexes {
			f.Indexes = append(f.Indexes, index(ix))
		}
		tables[name] = f
	}
	out, err := json.Marshal(map[string]any{"tables": tables})
	return http.StatusOK, out, err
}
