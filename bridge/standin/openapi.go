package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// openAPI describes the tables of a schema as PostgREST does at its root, as far as it tells their columns and keys. The stand-in answers the service role alone.
func (c *restCall) openAPI(r *http.Request) (int, []byte, error) {
	schema := c.db.schemas[0]
	if profile := r.Header.Get("Accept-Profile"); profile != "" {
		schema = profile
	}
	type property struct {
		Description string `json:"description,omitempty"`
		Format      string `json:"format"`
		Type        string `json:"type,omitempty"`
	}
	type definition struct {
		Required   []string            `json:"required,omitempty"`
		Type       string              `json:"type"`
		Properties map[string]property `json:"properties"`
	}
	definitions := make(map[string]definition)
	for name, t := range c.db.tables {
		if name.schema != schema {
			continue
		}
		d := definition{Type: "object", Properties: make(map[string]property)}
		for i := range t.columns {
			col := &t.columns[i]
			p := property{Format: col.typ.name, Type: jsonType(col.typ)}
			if long, ok := longNames[col.typ.name]; ok {
				p.Format = long
			}
			var notes []string
			if slices.Contains(t.key, i) {
				notes = append(notes, "This is a Primary Key.<pk/>")
			}
			for _, f := range t.foreign {
				if len(f.columns) == 1 && f.columns[0] == i {
					to, column := f.to.info.Name, f.to.columns[f.refs.columns[0]].name
					notes = append(notes, fmt.Sprintf("This is a Foreign Key to `%s.%s`.<fk table='%s' column='%s'/>", to, column, to, column))
				}
			}
			if len(notes) > 0 {
				p.Description = "Note:\n" + strings.Join(notes, "\n")
			}
			if col.notNull {
				d.Required = append(d.Required, col.name)
			}
			d.Properties[col.name] = p
		}
		definitions[name.name] = d
	}
	c.header.Set("Content-Type", "application/openapi+json; charset=utf-8")
	out, err := json.Marshal(map[string]any{"swagger": "2.0", "info": map[string]string{"title": "standard public schema"}, "definitions": definitions})
	return http.StatusOK, out, err
}

// jsonType is how JSON has a type's values; "" for any.
func jsonType(t *columnType) string {
	switch t.kind {
	case kindInt:
		return "integer"
	case kindFloat, kindNumeric:
		return "number"
	case kindBool:
		return "boolean"
	case kindArray:
		return "array"
	case kindJSON, kindJSONB:
		return ""
	}
	return "string"
}
