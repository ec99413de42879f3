package realtime_test

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"

	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// sqlScript runs the statements of the recordings on the stand-in's tables: the few
// forms that occur, no more.
type sqlScript struct {
	db *sql.DB
	rt *realtime.Realtime
	// tables are those of the schema public: inside a transaction the DB must not be asked for them.
	tables map[string]sql.TableInfo
	// triggers are tables whose changes are broadcast from the database.
	triggers map[string]string // table to topic
}

var (
	insertStatement  = regexp.MustCompile(`(?is)^insert into ([\w.]+|"[^"]+")\s*(?:\(([^)]*)\))?\s*values\s*(.*)$`)
	insertSelect     = regexp.MustCompile(`(?is)^insert into (\w+)\s*(?:\(([^)]*)\))?\s*select (.*) from generate_series\(1,(\d+)\) g$`)
	updateStatement  = regexp.MustCompile(`(?is)^update ([\w.]+) set (.*?)(?: where (.*))?$`)
	deleteStatement  = regexp.MustCompile(`(?is)^delete from ("[^"]+"|[\w.]+)(?: where (.*))?$`)
	truncateTable    = regexp.MustCompile(`(?is)^truncate (\w+)$`)
	replicaIdentity  = regexp.MustCompile(`(?is)^alter table (\w+) replica identity (\w+)$`)
	publishTable     = regexp.MustCompile(`(?is)^alter publication supabase_realtime add table public\.(\w+)$`)
	sendFunction     = regexp.MustCompile(`(?is)^select realtime\.(send|send_binary)\((.*)\)$`)
	broadcastTrigger = regexp.MustCompile(`(?is)broadcast_changes\('([^']+)', TG_OP`)
)

// run runs a script in one transaction, as psql's -c does.
func (s *sqlScript) run(t *testing.T, script string) {
	t.Helper()
	if m := broadcastTrigger.FindStringSubmatch(script); m != nil {
		s.triggers = map[string]string{"unpublished": m[1]}
		return
	}
	statements := splitSQL(script, ';')
	if strings.EqualFold(strings.TrimSpace(statements[len(statements)-1]), "rollback") {
		return
	}
	var sends []func()
	err := s.db.Tx(func(tx *sql.Tx) error {
		for _, stmt := range statements {
			send, err := s.statement(tx, strings.TrimSpace(stmt))
			if err != nil {
				return err
			}
			if send != nil {
				sends = append(sends, send)
			}
		}
		return nil
	})
	if err != nil {
		t.Logf("sql %.60s: %v", script, err)
		return
	}
	for _, send := range sends {
		send()
	}
}

func (s *sqlScript) statement(tx *sql.Tx, stmt string) (after func(), err error) {
	if m := insertSelect.FindStringSubmatch(stmt); m != nil {
		return nil, s.insertSeries(tx, m)
	}
	if m := insertStatement.FindStringSubmatch(stmt); m != nil {
		return s.insert(tx, m)
	}
	if m := updateStatement.FindStringSubmatch(stmt); m != nil {
		return s.update(tx, m)
	}
	if m := deleteStatement.FindStringSubmatch(stmt); m != nil {
		return s.delete(tx, m)
	}
	if m := truncateTable.FindStringSubmatch(stmt); m != nil {
		return nil, tx.Truncate(m[1])
	}
	if m := replicaIdentity.FindStringSubmatch(stmt); m != nil {
		return func() { s.db.SetFullIdentity("public", m[1], m[2] == "full") }, nil
	}
	if m := publishTable.FindStringSubmatch(stmt); m != nil {
		return func() { s.rt.Publish("public", m[1], true) }, nil
	}
	if m := sendFunction.FindStringSubmatch(stmt); m != nil {
		return s.send(m[1], splitSQL(m[2], ','))
	}
	switch word, _, _ := strings.Cut(strings.ToLower(stmt), " "); word {
	case "", "begin", "commit", "create", "grant", "drop", "select":
		return nil, nil
	}
	return nil, fmt.Errorf("a statement the test can't run: %.80s", stmt)
}

func tableOf(name string) string {
	return strings.Trim(strings.TrimPrefix(name, "public."), `"`)
}

func (s *sqlScript) columnsOf(table, list string) []string {
	var names []string
	if list == "" {
		for _, c := range s.tables[table].Columns {
			names = append(names, c.Name)
		}
		return names
	}
	for name := range strings.SplitSeq(list, ",") {
		names = append(names, strings.Trim(strings.TrimSpace(name), `"`))
	}
	return names
}

func (s *sqlScript) insert(tx *sql.Tx, m []string) (func(), error) {
	table := tableOf(m[1])
	if _, ok := s.tables[table]; !ok {
		return nil, fmt.Errorf("no table %s", table)
	}
	columns := s.columnsOf(table, m[2])
	var after func()
	for _, tuple := range splitSQL(m[3], ',') {
		tuple = strings.TrimSpace(tuple)
		row := make(map[string]any)
		for i, expr := range splitSQL(tuple[1:len(tuple)-1], ',') {
			row[columns[i]] = evalSQL(expr, nil)
		}
		doc, err := tx.Insert(table, row)
		if err != nil {
			return nil, err
		}
		after = s.trigger(table, "INSERT", doc, nil)
	}
	return after, nil
}

func (s *sqlScript) insertSeries(tx *sql.Tx, m []string) error {
	columns := s.columnsOf(m[1], m[2])
	n, _ := strconv.Atoi(m[4])
	if strings.Contains(m[3], "string_agg") { // one row with a large incompressible text
		row := make(map[string]any)
		for i, expr := range splitSQL(m[3], ',') {
			if strings.Contains(expr, "string_agg") {
				var b strings.Builder
				for g := 1; g <= n; g++ {
					fmt.Fprintf(&b, "%x", md5.Sum([]byte(strconv.Itoa(g))))
				}
				row[columns[i]] = b.String()
				continue
			}
			row[columns[i]] = evalSQL(expr, nil)
		}
		_, err := tx.Insert(m[1], row)
		return err
	}
	for g := 1; g <= n; g++ {
		row := make(map[string]any)
		for i, expr := range splitSQL(m[3], ',') {
			row[columns[i]] = evalSQL(strings.ReplaceAll(expr, "||g", "||'"+strconv.Itoa(g)+"'"), nil)
		}
		if _, err := tx.Insert(m[1], row); err != nil {
			return err
		}
	}
	return nil
}

// where reads the conditions that occur: a column equal to a value, or one of several.
func where(clause string) (column string, values []any) {
	if clause == "" {
		return "", nil
	}
	if column, list, ok := strings.Cut(clause, " in ("); ok {
		for _, v := range splitSQL(strings.TrimSuffix(list, ")"), ',') {
			values = append(values, evalSQL(v, nil))
		}
		return column, values
	}
	column, expr, _ := strings.Cut(clause, "=")
	return column, []any{evalSQL(expr, nil)}
}

// each calls do for every row that a clause finds.
func (s *sqlScript) each(tx *sql.Tx, table, clause string, do func(key map[string]any, row map[string]json.RawMessage) error) error {
	column, values := where(clause)
	if column == "" {
		values = []any{nil}
	}
	info, ok := s.tables[table]
	if !ok {
		return fmt.Errorf("no table %s", table)
	}
	for _, v := range values {
		var cond map[string]any
		if column != "" {
			cond = map[string]any{strings.TrimSpace(column): v}
		}
		rows, err := tx.Select(table, cond)
		if err != nil {
			return err
		}
		for _, row := range rows {
			key := make(map[string]any)
			for _, k := range info.Key {
				key[k] = row[k]
			}
			if err := do(key, row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sqlScript) update(tx *sql.Tx, m []string) (after func(), err error) {
	table := tableOf(m[1])
	err = s.each(tx, table, m[3], func(key map[string]any, row map[string]json.RawMessage) error {
		set := make(map[string]any)
		for _, assignment := range splitSQL(m[2], ',') {
			name, expr, _ := strings.Cut(assignment, "=")
			set[strings.Trim(strings.TrimSpace(name), `"`)] = evalSQL(expr, row)
		}
		if _, err := tx.Update(table, key, set); err != nil {
			return err
		}
		now, err := tx.Select(table, key)
		if err == nil && len(now) == 1 {
			after = s.trigger(table, "UPDATE", now[0], row)
		}
		return err
	})
	return after, err
}

func (s *sqlScript) delete(tx *sql.Tx, m []string) (after func(), err error) {
	table := tableOf(m[1])
	err = s.each(tx, table, m[2], func(key map[string]any, row map[string]json.RawMessage) error {
		after = s.trigger(table, "DELETE", nil, row)
		_, err := tx.Delete(table, key)
		return err
	})
	return after, err
}

// trigger is what realtime.broadcast_changes sends for a row.
func (s *sqlScript) trigger(table, op string, fresh, old map[string]json.RawMessage) func() {
	topic := s.triggers[table]
	if topic == "" {
		return nil
	}
	payload, _ := json.Marshal(map[string]any{"operation": op, "schema": "public", "table": table, "record": fresh, "old_record": old})
	return func() {
		_, _ = s.rt.Server().Send(phxserver.DatabaseMessage{Topic: topic, Event: op, Private: true, Payload: payload})
	}
}

func (s *sqlScript) send(function string, args []string) (func(), error) {
	text := func(i int) string { v, _ := evalSQL(args[i], nil).(string); return v }
	m := phxserver.DatabaseMessage{Event: text(1), Topic: text(2), Private: true, Payload: []byte(text(0))}
	if len(args) > 3 {
		m.Private = strings.TrimSpace(args[3]) == "true"
	}
	if function == "send_binary" {
		m.Binary, m.Payload = true, []byte{0x00, 0xff}
	}
	return func() { _, _ = s.rt.Server().Send(m) }, nil
}

// splitSQL cuts at a separator outside of quotes, parentheses and brackets.
func splitSQL(s string, sep byte) []string {
	var parts []string
	depth, start, quote := 0, 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == sep && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

var (
	repeatCall = regexp.MustCompile(`^repeat\('(.*)',\s*(\d+)\)$`)
	chrCall    = regexp.MustCompile(`^chr\((\d+)\)$`)
	sumOfTwo   = regexp.MustCompile(`^(\d+)\+(\d+)$`)
	typeCast   = regexp.MustCompile(`::\w+$`)
)

// evalSQL evaluates the expressions that occur; row is for the names of columns.
func evalSQL(expr string, row map[string]json.RawMessage) any {
	expr = strings.TrimSpace(expr)
	if parts := splitConcat(expr); len(parts) > 1 {
		var b strings.Builder
		for _, p := range parts {
			v := evalSQL(p, row)
			if raw, ok := v.(json.RawMessage); ok {
				var text string
				_ = json.Unmarshal(raw, &text)
				v = text
			}
			b.WriteString(fmt.Sprint(v))
		}
		return b.String()
	}
	expr = typeCast.ReplaceAllString(expr, "")
	switch {
	case strings.EqualFold(expr, "null"):
		return nil
	case expr == "true" || expr == "false":
		return expr == "true"
	case expr == "now()":
		return time.Now()
	case strings.HasPrefix(expr, "array["):
		var items []json.RawMessage
		for _, e := range splitSQL(expr[len("array["):len(expr)-1], ',') {
			text, _ := evalSQL(e, row).(string)
			items = append(items, json.RawMessage(text))
		}
		raw, _ := json.Marshal(items)
		return json.RawMessage(raw)
	case strings.HasPrefix(expr, "B'"):
		return strings.Trim(expr[1:], "'")
	case strings.HasPrefix(expr, "'"):
		return strings.ReplaceAll(expr[1:len(expr)-1], "''", "'")
	}
	if m := repeatCall.FindStringSubmatch(expr); m != nil {
		n, _ := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n)
	}
	if m := chrCall.FindStringSubmatch(expr); m != nil {
		n, _ := strconv.Atoi(m[1])
		return string(rune(n))
	}
	if m := sumOfTwo.FindStringSubmatch(expr); m != nil {
		a, _ := strconv.Atoi(m[1])
		b, _ := strconv.Atoi(m[2])
		return a + b
	}
	if raw, ok := row[expr]; ok {
		return raw
	}
	return expr // a number: a literal's text
}

func splitConcat(expr string) []string {
	var parts []string
	rest := expr
	for {
		halves := splitSQL(rest, '|')
		if len(halves) < 3 || halves[1] != "" {
			return append(parts, rest)
		}
		parts = append(parts, halves[0])
		rest = rest[len(halves[0])+2:]
	}
}
