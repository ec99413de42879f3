package standin

import (
	"encoding/json"
	"net/http"
	"slices"
)

// factsPath is the function that supabridge's migration brings into a project: doctor asks it what the catalog says of tables.
const factsPath = "rpc/supabridge_facts"

// facts answers it as that function does, for the service role alone.
func (c *restCall) facts() (int, []byte, error) {
	if c.claims.Role != roleService {
		return 0, nil, &Error{Code: "42501", Message: "permission denied for function supabridge_facts", status: http.StatusForbidden}
	}
	var asked struct {
		Schema string   `json:"schema"`
		Tables []string `json:"tables"`
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return 0, nil, &Error{Code: "PGRST102", Message: "Empty or invalid json"}
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
		t := c.db.tables[tableName{asked.Schema, name}]
		if t == nil {
			continue
		}
		info, _ := c.db.Table(asked.Schema, name)
		f := facts{Published: info.Published, Identity: "d", RLS: t.info.RLS, Columns: make(map[string]string), Broadcasts: t.broadcast != "",
			Kept: slices.ContainsFunc(t.columns, func(c column) bool { return c.onUpdate })}
		if t.info.FullIdentity {
			f.Identity = "f"
		}
		for _, column := range t.info.Columns {
			f.Columns[column.Name] = column.Type
		}
		for _, ix := range t.indexes {
			named := index{Unique: ix.unique}
			for _, i := range ix.columns {
				named.Columns = append(named.Columns, t.columns[i].name)
			}
			f.Indexes = append(f.Indexes, named)
		}
		tables[name] = f
	}
	out, err := json.Marshal(map[string]any{"tables": tables})
	return http.StatusOK, out, err
}
