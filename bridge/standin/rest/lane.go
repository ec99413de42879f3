package rest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// lanePath is the function that supabridge's migration brings into a project: the bridge asks it
// which channel the triggers broadcast on, and whether anybody else may use it.
const lanePath = "rpc/supabridge_lane"

// lane answers the function as a database does that the migration was applied to, for the service
// role alone.
func (c *restCall) lane() (int, []byte, error) {
	if c.claims.Role != sql.RoleService {
		return 0, nil, refused(http.StatusForbidden, &sql.Error{Code: "42501",
			Message: "permission denied for function supabridge_lane"})
	}
	var asked struct {
		Schema string   `json:"schema"`
		Tables []string `json:"tables"`
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return 0, nil, &sql.Error{Code: "PGRST102", Message: "Empty or invalid json"}
	}
	answer := struct {
		Topic  string   `json:"topic"`
		Guard  string   `json:"guard"`
		Tables []string `json:"tables"`
	}{Topic: c.opts.Lane, Guard: "ok", Tables: []string{}}
	if !c.opts.Guarded() {
		answer.Guard = "missing"
	}
	for _, name := range asked.Tables {
		if t, ok := c.db.Describe(asked.Schema, name); ok && t.Broadcast == c.opts.Lane {
			answer.Tables = append(answer.Tables, name)
		}
	}
	slices.Sort(answer.Tables)
	out, err := json.Marshal(answer)
	return http.StatusOK, out, err
}
