package realtime

import (
	"encoding/json"

	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// changeBroadcast is the payload of realtime.broadcast_changes; its id is added on the way.
type changeBroadcast struct {
	Operation string                     `json:"operation"`
	Schema    string                     `json:"schema"`
	Table     string                     `json:"table"`
	Record    map[string]json.RawMessage `json:"record"`
	OldRecord map[string]json.RawMessage `json:"old_record"`
}

// broadcastChanges is the trigger of tables that have a topic: it sends each row of a transaction
// as that commits, with all of the old row, whatever the replica identity and however long the
// changes' poll takes. A TRUNCATE has no rows to fire it.
func (rt *Realtime) broadcastChanges(changes []sql.Change) {
	for _, c := range changes {
		topic := rt.topics[tableName{c.Schema, c.Table}]
		if topic == "" || c.Type == sql.Truncate {
			continue
		}
		payload, err := json.Marshal(changeBroadcast{c.Type, c.Schema, c.Table, c.New, c.Old})
		if err == nil {
			_, err = rt.server.Send(phxserver.DatabaseMessage{Topic: topic, Event: c.Type, Private: true, Payload: payload})
		}
		if err != nil && rt.opts.Log != nil { // as in SQL, where it warns and lets the transaction be
			rt.opts.Log.Warn("a change was not broadcast", "table", c.Table, "error", err)
		}
	}
}
