package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mapped is a table of the configuration with the columns that must exist.
type mapped struct {
	key     string   // of the configuration
	name    string   // of the table
	columns []column // in the order of the configuration
	id      string
	updated string // "" where there is none
	created string
	live    bool // its changes are followed
	guards  bool // its rows decide who may enter rooms, or are what is in them: others must not read them
}

type column struct{ key, name string }

func (m *mapped) with(key, name string) {
	if name != "" {
		m.columns = append(m.columns, column{m.key + "." + key, name})
	}
}

// mappedTables are the tables that the configuration names.
func (p *patient) mappedTables() []mapped {
	t := p.cfg.Tables
	messages := mapped{
		key:     "tables.messages",
		name:    t.Messages.Name,
		id:      t.Messages.ID,
		updated: t.Messages.Updated,
		created: t.Messages.Created,
		live:    true,
		guards:  true,
	}
	messages.with("id", t.Messages.ID)
	messages.with("conversation", t.Messages.Conversation)
	messages.with("status", t.Messages.Status)
	messages.with("created", t.Messages.Created)
	messages.with("updated", t.Messages.Updated)
	messages.with("tenant", t.Messages.Tenant)
	conversations := mapped{
		key:     "tables.conversations",
		name:    t.Conversations.Name,
		id:      t.Conversations.ID,
		updated: t.Conversations.Updated,
		created: t.Conversations.Created,
		live:    true,
		guards:  true,
	}
	conversations.with("id", t.Conversations.ID)
	conversations.with("tenant", t.Conversations.Tenant)
	conversations.with("created", t.Conversations.Created)
	conversations.with("updated", t.Conversations.Updated)
	tenants := mapped{key: "tables.tenants", name: t.Tenants.Name, id: t.Tenants.ID, guards: true}
	tenants.with("id", t.Tenants.ID)
	tables := []mapped{messages, conversations, tenants}
	if n := t.Notifications; n.Name != "" {
		notifications := mapped{
			key:     "tables.notifications",
			name:    n.Name,
			id:      n.ID,
			updated: n.Updated,
			created: n.Created,
			live:    true,
			guards:  true,
		}
		notifications.with("id", n.ID)
		notifications.with("user", n.User)
		notifications.with("conversation", n.Conversation)
		notifications.with("tenant", n.Tenant)
		notifications.with("created", n.Created)
		notifications.with("updated", n.Updated)
		tables = append(tables, notifications)
	}
	return tables
}

// sql names a table in SQL.
func (p *patient) sql(table string) string { return quote(p.cfg.Supabase.Schema) + "." + quote(table) }

// quote quotes an identifier where it needs it.
func quote(name string) string {
	if strings.IndexFunc(
		name,
		func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') },
	) < 0 &&
		name != "" &&
		(name[0] < '0' || name[0] > '9') {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// yaml writes a key of the configuration as it stands in the file.
func yaml(key, value string) string {
	steps := strings.Split(key, ".")
	var b strings.Builder
	for i, step := range steps {
		b.WriteString(strings.Repeat("  ", i) + step + ":")
		if i < len(steps)-1 {
			b.WriteByte('\n')
		}
	}
	return b.String() + " " + value
}

// tables finds out whether the tables and columns exist and whether anybody may read them. It
// returns false where no more of them can be said.
func (p *patient) tables(ctx context.Context) bool {
	readable := true
	for _, m := range p.mappedTables() {
		readable = p.columns(ctx, m) && readable
	}
	return readable
}

// columns asks for all columns of a table at once, and for each where that fails: an error names
// but one.
func (p *patient) columns(ctx context.Context, m mapped) bool {
	names := make([]string, len(m.columns))
	for i, c := range m.columns {
		names[i] = c.name
	}
	got, err := p.selects(ctx, m.name, names...)
	fail := func(check, fix, format string, args ...any) bool {
		p.add(Finding{Check: check, About: m.name, Level: Fail, Text: fmt.Sprintf(format, args...), Fix: fix})
		return false
	}
	switch {
	case err != nil:
		return fail("table", "", "it can't be asked for: %v", err)
	case got.status < 300:
		p.good("columns", m.name, "%s", strings.Join(names, ", "))
		return true
	}
	switch e := got.problem(); e.Code {
	case "PGRST106":
		return fail(
			"schema",
			yaml(
				"supabase.schema",
				"# one that is exposed",
			)+"\n# or expose it: dashboard, Project Settings, Data API, Exposed schemas",
			"the REST API does not expose the schema %s",
			p.cfg.Supabase.Schema,
		)
	case "PGRST205", "42P01":
		hint := ""
		if e.Hint != "" {
			hint = " (" + e.Hint + ")"
		}
		return fail(
			"table",
			yaml(m.key+".name", "# the table's name"),
			"there is no such table in the schema %s%s",
			p.cfg.Supabase.Schema,
			hint,
		)
	case "42501":
		return fail("grant", "grant select on "+p.sql(m.name)+" to service_role;", "the service role may not read it")
	case "42703":
		p.missing(ctx, m)
		return false
	}
	return fail("table", "", "it can't be read: %s", got.message())
}

// selects asks for columns of no row.
func (p *patient) selects(ctx context.Context, table string, columns ...string) (answer, error) {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = `"` + strings.ReplaceAll(c, `"`, `\"`) + `"`
	}
	return p.service(ctx, url.PathEscape(table)+"?limit=0&select="+url.QueryEscape(strings.Join(quoted, ",")))
}

func (p *patient) missing(ctx context.Context, m mapped) {
	var there []string
	if got, err := p.service(ctx, url.PathEscape(m.name)+"?limit=1"); err == nil {
		var rows []map[string]json.RawMessage
		if json.Unmarshal(got.body, &rows) == nil && len(rows) > 0 {
			for name := range rows[0] {
				there = append(there, name)
			}
			slices.Sort(there)
		}
	}
	for _, c := range m.columns {
		if got, err := p.selects(ctx, m.name, c.name); err != nil || got.code() != "42703" {
			continue
		}
		f := Finding{
			Check: "columns",
			About: m.name,
			Level: Fail,
			Text:  fmt.Sprintf("it has no column %s, which %s names", c.name, c.key),
		}
		if len(there) > 0 {
			f.Text += "; it has " + strings.Join(there, ", ")
		}
		f.Fix = yaml(c.key, "# the column's name")
		switch c.name {
		case m.updated:
			f.Fix += "\n-- or, so that changes which Realtime loses are found:\n" + p.addUpdated(m)
		case m.created:
			f.Fix += "\n-- or: alter table " + p.sql(
				m.name,
			) + " add column " + quote(
				c.name,
			) + " timestamptz not null default now();"
		}
		p.add(f)
	}
}

// addUpdated is a column with the time of the last change, kept by a trigger.
func (p *patient) addUpdated(m mapped) string {
	return "alter table " + p.sql(
		m.name,
	) + " add column " + quote(
		m.updated,
	) + " timestamptz not null default now();\n" + p.keepUpdated(
		m,
	)
}

func (p *patient) keepUpdated(m mapped) string {
	return "create extension if not exists moddatetime schema extensions;\ncreate trigger keep_" + m.updated + " before update on " + p.sql(
		m.name,
	) +
		"\n  for each row execute function extensions.moddatetime(" + quote(
		m.updated,
	) + ");"
}

// anonReads tells whether somebody without a token reads rows of a table; known is false where
// there is no row to read, or no answer.
func (p *patient) anonReads(ctx context.Context, m mapped) (reads, known bool) {
	keys := p.projectKeys()
	if len(keys) < 2 {
		return false, false
	}
	path := url.PathEscape(m.name) + "?limit=1&select=" + url.QueryEscape(`"`+m.id+`"`)
	got, err := p.rest(ctx, keys[1], path)
	switch {
	case err != nil || got.status >= 500:
		return false, false
	case got.status >= 300:
		return false, true // refused in words
	case isList(got.body) > 0:
		return true, true
	}
	all, err := p.service(ctx, path)
	return false, err == nil && all.status == http.StatusOK && isList(all.body) > 0
}

// isList counts the rows of an answer.
func isList(body []byte) int {
	var rows []json.RawMessage
	if json.Unmarshal(body, &rows) != nil {
		return 0
	}
	return len(rows)
}
