package standin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// lanePath is the function that supabridge's migration brings into a project: the bridge asks it which channel the triggers broadcast
// on, and whether anybody else may use it.
const lanePath = "rpc/supabridge_lane"

// lanePrefix begins the topics of its triggers.
const lanePrefix = "supabridge:lane"

// SetLaneGuard takes away the policy that keeps everybody but service_role off the topics of supabridge's triggers, or brings
// it back. It is there at first, if Options.Broadcast or the seed gives a table such a topic, as after supabridge's
// migration. Without it RealtimeOptions.Policies alone count.
func (s *Server) SetLaneGuard(there bool) { s.realtime.unguarded.Store(!there) }

// guards reports whether that policy keeps a topic from all but service_role.
func (rt *realtime) guards(topic string) bool {
	return rt.lane != "" && strings.HasPrefix(topic, lanePrefix) && !rt.unguarded.Load()
}

// lane answers the function as a database does that the migration was applied to, for the service role alone.
func (c *restCall) lane() (int, []byte, error) {
	if c.claims.Role != roleService {
		return 0, nil, &Error{Code: "42501", Message: "permission denied for function supabridge_lane", status: http.StatusForbidden}
	}
	var asked struct {
		Schema string   `json:"schema"`
		Tables []string `json:"tables"`
	}
	if err := json.Unmarshal(c.body, &asked); err != nil {
		return 0, nil, &Error{Code: "PGRST102", Message: "Empty or invalid json"}
	}
	answer := struct {
		Topic  string   `json:"topic"`
		Guard  string   `json:"guard"`
		Tables []string `json:"tables"`
	}{Topic: c.realtime.lane, Guard: "ok", Tables: []string{}}
	if c.realtime.unguarded.Load() {
		answer.Guard = "missing"
	}
	for _, name := range asked.Tables {
		if t := c.db.tables[tableName{asked.Schema, name}]; t != nil && t.broadcast == c.realtime.lane {
			answer.Tables = append(answer.Tables, name)
		}
	}
	slices.Sort(answer.Tables)
	out, err := json.Marshal(answer)
	return http.StatusOK, out, err
}

// laneTopic is the topic that the migration's triggers broadcast on; "" where no table has one.
func (db *DB) laneTopic() string {
	for _, t := range db.tables {
		if strings.HasPrefix(t.broadcast, lanePrefix) {
			return t.broadcast
		}
	}
	return ""
}
