package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// times finds rows whose times mislead whoever reads rows by time: dated ahead of the database's
// clock, or without a time.
func (p *patient) times(ctx context.Context) {
	for _, m := range p.mappedTables() {
		if !m.live {
			continue
		}
		good := true
		for _, column := range []string{m.created, m.updated} {
			if column != "" {
				good = p.ahead(ctx, m, column) && good
			}
		}
		if m.updated != "" {
			good = p.undated(ctx, m) && good
		}
		if good {
			p.good("times", m.name, "no row is dated ahead of the database's clock, and none lacks its time of change")
		}
	}
}

// ahead finds the row whose column is furthest ahead. PostgreSQL takes "now" for the time by its
// own clock.
func (p *patient) ahead(ctx context.Context, m mapped, column string) bool {
	name := quoteREST(column)
	row, err := p.oneRow(ctx, m, []string{m.id, column}, name, "gt.now", "order", name+".desc")
	where := quote(column) + " > now()"
	switch {
	case err != nil:
		return p.untimed(m, column, where, err)
	case row == nil:
		return true
	}
	p.add(Finding{Check: "ahead", About: m.name, Level: Warn,
		Text: fmt.Sprintf(
			"%s is ahead of the database's clock; the furthest is %s, in the row %s = %s. Whatever wrote it uses another clock, or leaves the time zone out",
			column,
			text(row[column]),
			m.id,
			text(row[m.id]),
		),
		Fix: "update " + p.sql(m.name) + " set " + quote(column) + " = now() where " + where + ";"})
	return false
}

// undated finds a row that has no time of change, as where only an update sets it.
func (p *patient) undated(ctx context.Context, m mapped) bool {
	row, err := p.oneRow(ctx, m, []string{m.id}, quoteREST(m.updated), "is.null")
	where := quote(m.updated) + " is null"
	switch {
	case err != nil:
		return p.untimed(m, m.updated, where, err)
	case row == nil:
		return true
	}
	since := "now()"
	if m.created != "" {
		since = "coalesce(" + quote(m.created) + ", now())"
	}
	table := p.sql(m.name)
	p.add(Finding{Check: "undated", About: m.name, Level: Warn,
		Text: fmt.Sprintf(
			"%s is null in some rows, such as %s = %s: what Realtime loses of them is found later, or not",
			m.updated,
			m.id,
			text(row[m.id]),
		),
		Fix: "update " + table + " set " + quote(m.updated) + " = " + since + " where " + where + ";\n" +
			"alter table " + table + " alter column " + quote(m.updated) + " set default now(), alter column " +
			quote(m.updated) + " set not null;"})
	return false
}

// untimed says that a column could not be looked at. One that holds no times has been found out
// otherwise.
func (p *patient) untimed(m mapped, column, where string, err error) bool {
	p.add(
		Finding{
			Check: "times",
			About: m.name,
			Level: Unknown,
			Text:  "the times in " + column + " can't be looked at: " + err.Error(),
			Look:  "select * from " + p.sql(m.name) + " where " + where + " limit 1;",
		},
	)
	return false
}

// oneRow reads columns of the first row that fits; nil where none does. The query is names and
// values in turn.
func (p *patient) oneRow(
	ctx context.Context,
	m mapped,
	columns []string,
	query ...string,
) (map[string]json.RawMessage, error) {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quoteREST(c)
	}
	path := url.PathEscape(m.name) + "?limit=1&select=" + url.QueryEscape(strings.Join(quoted, ","))
	for i := 0; i < len(query); i += 2 {
		path += "&" + url.QueryEscape(query[i]) + "=" + url.QueryEscape(query[i+1])
	}
	got, err := p.service(ctx, path)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, fmt.Errorf("%s", got.message())
	}
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal(got.body, &rows); err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// text is a JSON value without the quotes of a string.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// quoteREST quotes a column's name in PostgREST's grammar.
func quoteREST(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
