package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// openAPI describes the tables of a schema as PostgREST does at its root, as far as it tells their
// columns and keys. The stand-in answers the service role alone.
func (c *restCall) openAPI(r *http.Request) (int, []byte, error) {
	schema := c.db.Schemas()[0]
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
	for _, info := range c.db.Tables() {
		t, ok := c.db.Describe(info.Schema, info.Name)
		if !ok || info.Schema != schema {
			continue
		}
		d := definition{Type: "object", Properties: make(map[string]property)}
		for i, col := range t.Columns {
			p := property{Format: t.Details[i].SQLType, Type: t.Details[i].JSONType}
			var notes []string
			if slices.Contains(t.Key, col.Name) {
				notes = append(notes, "This is a Primary Key.<pk/>")
			}
			for _, f := range t.ForeignKeys {
				if len(f.Columns) == 1 && f.Columns[0] == col.Name {
					to, column := f.Table, f.References[0]
					notes = append(notes,
						fmt.Sprintf("This is a Foreign Key to `%s.%s`.<fk table='%s' column='%s'/>", to, column, to, column))
				}
			}
			if len(notes) > 0 {
				p.Description = "Note:\n" + strings.Join(notes, "\n")
			}
			if t.Details[i].NotNull {
				d.Required = append(d.Required, col.Name)
			}
			d.Properties[col.Name] = p
		}
		definitions[info.Name] = d
	}
	c.header.Set("Content-Type", "application/openapi+json; charset=utf-8")
	out, err := json.Marshal(
		map[string]any{
			"swagger":     "2.0",
			"info":        map[string]string{"title": "standard public schema"},
			"definitions": definitions,
		},
	)
	return http.StatusOK, out, err
}
