package config

import (
	"encoding/json"
	"slices"
	"strings"
)

// domain checks what browsers do with each other and with rows.
func (v *validator) domain() {
	if n := v.c.Tables.Notifications; n.Name != "" && n.User+n.Conversation+n.Tenant == "" {
		v.fail("tables.notifications.user", "expected a column that says whom a notification is for: this, tables.notifications.conversation or tables.notifications.tenant")
	}
	s := v.c.Sending
	if !s.Enabled {
		return
	}
	if s.Content == "" {
		v.fail("sending.content", "expected the name of a column, found nothing")
	}
	written := []string{s.Content, v.c.Tables.Messages.Conversation}
	if s.Sender != "" {
		written = append(written, s.Sender)
	}
	for _, set := range s.Set {
		name, _, ok := SetColumn(set)
		if !ok {
			v.fail("sending.set", "expected column=text or column:=json, found %s", shown(set))
		}
		written = append(written, name)
	}
	for _, field := range s.Fields {
		if slices.Contains(written, field) {
			v.fail("sending.fields", "holds %s, which the bridge writes itself", shown(field))
		}
	}
}

// SetColumn reads one of sending.set: the column and the JSON of its value.
func SetColumn(set string) (column string, value json.RawMessage, ok bool) {
	column, text, found := strings.Cut(set, "=")
	if !found || column == "" || column == ":" {
		return "", nil, false
	}
	if name, literal := strings.CutSuffix(column, ":"); literal {
		return name, json.RawMessage(text), json.Valid([]byte(text))
	}
	return column, quoted(text), true
}
