package pgtest

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// table reads from a table or view, or writes to it.
func (r *request) table(ctx context.Context, name string) (answer, error) {
	there, err := r.value(
		ctx,
		"select count(*) from pg_class where relkind in ('r', 'v', 'm', 'f', 'p') and relnamespace = "+
			"(select oid from pg_namespace where nspname = "+quoteText(r.schema)+") and relname = "+quoteText(name),
	)
	if err != nil {
		return answer{}, err
	}
	if there == "0" {
		return answer{}, fail(
			http.StatusNotFound,
			"PGRST205",
			"Could not find the table '"+r.schema+"."+name+"' in the schema cache",
		)
	}
	full := quoteName(r.schema) + "." + quoteName(name)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return r.read(ctx, full)
	case http.MethodPost:
		return r.insert(ctx, name, full)
	case http.MethodPatch:
		return r.update(ctx, name, full)
	case http.MethodDelete:
		return r.written(ctx, "delete from "+full+r.condition(), http.StatusOK, http.StatusNoContent)
	}
	return answer{}, fail(http.StatusMethodNotAllowed, "PGRST117", "Unsupported HTTP method: "+r.Method)
}

func (r *request) columns() string {
	if r.params.selected == nil {
		return "*"
	}
	quoted := make([]string, len(r.params.selected))
	for i, column := range r.params.selected {
		quoted[i] = quoteName(column)
	}
	return strings.Join(quoted, ", ")
}

func (r *request) condition() string {
	if len(r.params.where) == 0 {
		return ""
	}
	return " where " + strings.Join(r.params.where, " and ")
}

// bounds are order, limit and offset.
func (r *request) bounds() string {
	out := ""
	if len(r.params.order) > 0 {
		out = " order by " + strings.Join(r.params.order, ", ")
	}
	limit := r.api.maxRows
	if r.params.limit >= 0 {
		limit = min(limit, r.params.limit)
	}
	return out + " limit " + strconv.Itoa(limit) + " offset " + strconv.Itoa(r.params.offset)
}

// asRows is the answer's rows as one JSON array, each as PostgreSQL writes it, and their count.
const asRows = "select coalesce(json_agg(r), '[]'), count(*) from "

func (r *request) read(ctx context.Context, full string) (answer, error) {
	out, err := run(ctx, r.conn, asRows+"(select "+r.columns()+" from "+full+r.condition()+r.bounds()+") r")
	if err != nil {
		return answer{}, err
	}
	body, n := rowsAndCount(out)
	total := "*"
	status := http.StatusOK
	if r.prefers("count=exact") {
		if total, err = r.value(ctx, "select count(*) from "+full+r.condition()); err != nil {
			return answer{}, err
		}
		if total != strconv.Itoa(n) {
			status = http.StatusPartialContent
		}
	}
	ranges := "*/" + total
	if n > 0 {
		ranges = strconv.Itoa(r.params.offset) + "-" + strconv.Itoa(r.params.offset+n-1) + "/" + total
	}
	return r.single(answer{status, body, ranges}, n)
}

// single unwraps the row where one object is asked for.
func (r *request) single(a answer, n int) (answer, error) {
	if !strings.HasPrefix(r.Header.Get("Accept"), "application/vnd.pgrst.object") {
		return a, nil
	}
	if n != 1 {
		return answer{}, fail(http.StatusNotAcceptable, "PGRST116", "Cannot coerce the result to a single JSON object")
	}
	a.body = strings.TrimSpace(a.body[1 : len(a.body)-1])
	return a, nil
}

func rowsAndCount(out string) (body string, n int) {
	i := strings.LastIndexByte(out, '|')
	n, _ = strconv.Atoi(out[i+1:]) // PostgreSQL wrote it
	return out[:i], n
}

func (r *request) prefers(what string) bool {
	for _, header := range r.Header.Values("Prefer") {
		for part := range strings.SplitSeq(header, ",") {
			if strings.TrimSpace(part) == what {
				return true
			}
		}
	}
	return false
}

// written carries a statement that writes out, and answers with its rows where they are asked for.
func (r *request) written(ctx context.Context, statement string, with, without int) (answer, error) {
	if !r.prefers("return=representation") {
		_, err := run(ctx, r.conn, statement)
		return answer{status: without}, err
	}
	out, err := run(
		ctx,
		r.conn,
		"with written as ("+statement+" returning *) "+asRows+"(select "+r.columns()+" from written) r",
	)
	if err != nil {
		return answer{}, err
	}
	body, n := rowsAndCount(out)
	return r.single(answer{status: with, body: body}, n)
}

// columnsOf are the columns that a body names, sorted. All of them must be the table's.
func (r *request) columnsOf(ctx context.Context, table string, rows []map[string]json.RawMessage) ([]string, error) {
	var columns []string
	for i, row := range rows {
		named := slices.Sorted(maps.Keys(row))
		if i > 0 && !slices.Equal(named, columns) {
			return nil, fail(http.StatusBadRequest, "PGRST102", "All object keys must match")
		}
		columns = named
	}
	known, err := run(
		ctx,
		r.conn,
		"select attname from pg_attribute where attnum > 0 and not attisdropped and attrelid = to_regclass("+
			quoteText(quoteName(r.schema)+"."+quoteName(table))+")",
	)
	if err != nil {
		return nil, err
	}
	for _, column := range columns {
		if !slices.Contains(strings.Split(known, "\n"), column) {
			return nil, fail(
				http.StatusBadRequest,
				"PGRST204",
				"Could not find the '"+column+"' column of '"+table+"' in the schema cache",
			)
		}
	}
	return columns, nil
}

var errBody = fail(http.StatusBadRequest, "PGRST102", "Empty or invalid json")

func (r *request) insert(ctx context.Context, name, full string) (answer, error) {
	body := bytes.TrimSpace(r.body)
	if !bytes.HasPrefix(body, []byte("[")) {
		body = slices.Concat([]byte("["), body, []byte("]"))
	}
	var rows []map[string]json.RawMessage
	if json.Unmarshal(body, &rows) != nil ||
		slices.ContainsFunc(rows, func(row map[string]json.RawMessage) bool { return row == nil }) {
		return answer{}, errBody
	}
	columns, err := r.columnsOf(ctx, name, rows)
	if err != nil {
		return answer{}, err
	}
	statement := "insert into " + full
	if len(columns) == 0 {
		statement += " select from json_array_elements(" + quoteText(string(body)) + ")"
	} else {
		quoted := make([]string, len(columns))
		for i, column := range columns {
			quoted[i] = quoteName(column)
		}
		all := strings.Join(quoted, ", ")
		statement += " (" + all + ") select " + all + " from json_populate_recordset(null::" + full + ", " +
			quoteText(string(body)) + ")"
	}
	if ignore := r.prefers("resolution=ignore-duplicates"); ignore || r.prefers("resolution=merge-duplicates") {
		clause, err := r.onConflict(ctx, full, columns, ignore)
		if err != nil {
			return answer{}, err
		}
		statement += clause
	}
	return r.written(ctx, statement, http.StatusCreated, http.StatusCreated)
}

// onConflict is what becomes of a row that is there already, by the columns named or those of the
// primary key.
func (r *request) onConflict(ctx context.Context, full string, columns []string, ignore bool) (string, error) {
	by := r.params.conflict
	if by == nil {
		key, err := run(
			ctx,
			r.conn,
			"select a.attname from pg_index i, pg_attribute a where i.indisprimary and i.indrelid = "+quoteText(full)+
				"::regclass and a.attrelid = i.indrelid and a.attnum = any (i.indkey)",
		)
		if err != nil || key == "" {
			return "", err
		}
		by = strings.Split(key, "\n")
	}
	quoted := make([]string, len(by))
	for i, column := range by {
		quoted[i] = quoteName(column)
	}
	clause := " on conflict (" + strings.Join(quoted, ", ") + ") do "
	if ignore {
		return clause + "nothing", nil
	}
	set := make([]string, len(columns))
	for i, column := range columns {
		set[i] = quoteName(column) + " = excluded." + quoteName(column)
	}
	return clause + "update set " + strings.Join(set, ", "), nil
}

func (r *request) update(ctx context.Context, name, full string) (answer, error) {
	var change map[string]json.RawMessage
	if json.Unmarshal(r.body, &change) != nil || change == nil {
		return answer{}, errBody
	}
	columns, err := r.columnsOf(ctx, name, []map[string]json.RawMessage{change})
	if err != nil {
		return answer{}, err
	}
	if len(columns) == 0 {
		return answer{status: http.StatusOK, body: "[]"}, nil
	}
	set := make([]string, len(columns))
	for i, column := range columns {
		set[i] = quoteName(
			column,
		) + " = (select b." + quoteName(
			column,
		) + " from json_populate_record(null::" + full + ", " + quoteText(
			string(r.body),
		) + ") b)"
	}
	return r.written(
		ctx,
		"update "+full+" set "+strings.Join(set, ", ")+r.condition(),
		http.StatusOK,
		http.StatusNoContent,
	)
}

// call calls a function with named arguments.
func (r *request) call(ctx context.Context, name string) (answer, error) {
	given := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(r.body)) > 0 && json.Unmarshal(r.body, &given) != nil {
		return answer{}, errBody
	}
	names := slices.Sorted(maps.Keys(given))
	f, err := r.function(ctx, name, names)
	if err != nil {
		return answer{}, err
	}
	arguments, fields := make([]string, len(names)), make([]string, len(names))
	for i, argument := range names {
		arguments[i] = quoteName(argument) + " := (select given." + quoteName(argument) + " from given)"
		fields[i] = quoteName(argument) + " " + f.types[argument]
	}
	with := ""
	if len(fields) > 0 {
		with = "with given as (select * from json_to_record(" + quoteText(
			string(r.body),
		) + ") as _ (" + strings.Join(
			fields,
			", ",
		) + ")) "
	}
	call := quoteName(r.schema) + "." + quoteName(name) + "(" + strings.Join(arguments, ", ") + ")"
	switch {
	case f.returns == "void":
		_, err := run(ctx, r.conn, with+"select "+call)
		return answer{status: http.StatusNoContent}, err
	case f.set:
		column := "r"
		if !f.composite {
			column = "r.value"
		}
		out, err := run(
			ctx,
			r.conn,
			with+"select coalesce(json_agg("+column+"), '[]') from (select * from "+call+" as value"+
				r.condition()+r.bounds()+") r",
		)
		return answer{status: http.StatusOK, body: out}, err
	}
	out, err := run(ctx, r.conn, with+"select coalesce(to_json("+call+"), 'null')")
	return answer{status: http.StatusOK, body: out}, err
}

// function is what the catalog says of one.
type function struct {
	types          map[string]string // by argument
	returns        string
	set, composite bool
}

// function finds the function that takes these arguments by name.
func (r *request) function(ctx context.Context, name string, given []string) (function, error) {
	text, err := r.value(ctx, `select coalesce(json_agg(json_build_object(
		'returns', prorettype::regtype, 'set', proretset, 'defaults', pronargdefaults,
		'composite', proargmodes && '{o,b,t}' or exists (select from pg_type t where t.oid = prorettype and typtype = 'c'),
		'names', (select coalesce(json_agg(n order by i), '[]')
			from unnest(proargnames) with ordinality a (n, i) where i <= pronargs),
		'types', (select coalesce(json_agg(format_type(o, null) order by i), '[]')
			from unnest(proargtypes) with ordinality a (o, i)))), '[]')
		from pg_proc where pronamespace = (select oid from pg_namespace where nspname = `+quoteText(r.schema)+`) and proname = `+quoteText(name))
	if err != nil {
		return function{}, err
	}
	var all []struct {
		Returns        string
		Set, Composite bool
		Defaults       int
		Names, Types   []string
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return function{}, err
	}
	for _, f := range all {
		if len(f.Names) < len(f.Types) {
			continue
		}
		types := make(map[string]string)
		required := make(map[string]bool)
		for i, kind := range f.Types {
			types[f.Names[i]] = kind
			if i < len(f.Types)-f.Defaults {
				required[f.Names[i]] = true
			}
		}
		fits := true
		for _, argument := range given {
			fits = fits && types[argument] != ""
			delete(required, argument)
		}
		if fits && len(required) == 0 {
			return function{types, f.Returns, f.Set, f.Composite}, nil
		}
	}
	return function{}, fail(
		http.StatusNotFound,
		"PGRST202",
		"Could not find the function "+r.schema+"."+name+"("+strings.Join(given, ", ")+") in the schema cache",
	)
}
