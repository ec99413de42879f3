package standin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxResponseRows is Supabase's default bound on the rows of one answer.
const maxResponseRows = 1000

// restCall is one request to /rest/v1/.
type restCall struct {
	db      *DB
	table   *table
	method  string
	params  url.Values
	claims  Claims
	prefer  preferences
	accept  media
	body    []byte
	maxRows int
	// migrated: supabridge's migration was applied.
	migrated bool
	realtime *realtime
	header   http.Header // of the answer
}

// media is the form of answer asked for.
type media struct {
	single     bool // one object instead of an array
	stripNulls bool
}

const (
	mediaJSON   = "application/json"
	mediaArray  = "application/vnd.pgrst.array"
	mediaObject = "application/vnd.pgrst.object"
)

// serveRest answers /rest/v1/{table}. The bearer's claims are verified already, and the body read.
func (s *Server) serveRest(w http.ResponseWriter, r *http.Request, claims Claims, body []byte) {
	call := &restCall{db: s.db, method: r.Method, claims: claims, body: body, maxRows: s.maxRows, migrated: s.migrated, realtime: s.realtime, header: w.Header()}
	status, out, err := call.answer(r)
	if err != nil {
		s.restError(w, r, err, claims.Role)
		return
	}
	if call.header.Get("Content-Type") == "" && (len(out) > 0 || r.Method == http.MethodHead) {
		call.header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if len(call.prefer.applied) > 0 {
		call.header.Set("Preference-Applied", strings.Join(call.prefer.applied, ", "))
	}
	if status != http.StatusNoContent {
		call.header.Set("Content-Length", strconv.Itoa(len(out)))
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out) // the client may be gone
	}
}

// answer carries the request out and gives the status and body.
func (c *restCall) answer(r *http.Request) (int, []byte, error) {
	if !knownRole(c.claims.Role) {
		return 0, nil, &Error{Code: "22023", Message: "role " + quoteShort(c.claims.Role) + " does not exist", status: http.StatusUnauthorized}
	}
	var err error
	if c.params, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return 0, nil, &Error{Code: "PGRST100", Message: "failed to parse the query string"}
	}
	c.params.Del("apikey")
	if c.prefer, err = parsePrefer(r.Header); err != nil {
		return 0, nil, err
	}
	if r.URL.Path == "/rest/v1/" && r.Method == http.MethodGet && c.claims.Role == roleService {
		return c.openAPI(r)
	}
	if c.accept, err = parseAccept(r.Header); err != nil {
		return 0, nil, err
	}
	if c.migrated && r.Method == http.MethodPost && r.URL.Path == "/rest/v1/"+factsPath {
		return c.facts()
	}
	if c.migrated && c.realtime.lane != "" && r.Method == http.MethodPost && r.URL.Path == "/rest/v1/"+lanePath {
		return c.lane()
	}
	if c.table, err = c.findTable(r); err != nil {
		return 0, nil, err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return c.read(r.Header)
	case http.MethodPost:
		return c.insert(r.Header)
	case http.MethodPatch:
		return c.update(r.Header)
	case http.MethodDelete:
		return c.delete()
	}
	return 0, nil, &Error{Code: "PGRST117", Message: "Unsupported HTTP method: " + r.Method, status: http.StatusMethodNotAllowed}
}

// findTable finds the table by the path and the profile headers.
func (c *restCall) findTable(r *http.Request) (*table, error) {
	profile := r.Header.Get("Content-Profile")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		profile = r.Header.Get("Accept-Profile")
	}
	schema := c.db.schemas[0]
	if profile != "" {
		if !slices.Contains(c.db.schemas, profile) {
			return nil, &Error{Code: "PGRST106", Message: "Invalid schema: " + profile, status: http.StatusNotAcceptable,
				Hint: "Only the following schemas are exposed: " + strings.Join(c.db.schemas, ", ")}
		}
		schema = profile
	}
	c.header.Set("Content-Profile", schema)
	name := strings.TrimPrefix(r.URL.Path, "/rest/v1/")
	switch {
	case name == "":
		return nil, &Error{Code: "PGRST126", Message: "Root endpoint metadata is disabled", status: http.StatusNotFound}
	case strings.HasPrefix(name, "rpc/"):
		return nil, &Error{Code: "PGRST202", status: http.StatusNotFound,
			Message: "Could not find the function " + schema + "." + strings.TrimPrefix(name, "rpc/") + " in the schema cache",
			Details: "The stand-in has no functions."}
	case strings.Contains(name, "/"):
		return nil, &Error{Code: "PGRST125", Message: "Invalid path specified in request URL", status: http.StatusNotFound}
	}
	t, ok := c.db.tables[tableName{schema, name}]
	if !ok {
		return nil, c.db.noTable(schema, name)
	}
	return t, nil
}

// noTable is the error for a table that doesn't exist, with the one that may have been meant.
func (db *DB) noTable(schema, name string) *Error {
	e := &Error{Code: "PGRST205", Message: "Could not find the table '" + schema + "." + name + "' in the schema cache", status: http.StatusNotFound}
	best := len(name)/2 + 1
	for _, info := range db.Tables() {
		if d := editDistance(name, info.Name); info.Schema == schema && d < best {
			best = d
			e.Hint = "Perhaps you meant the table '" + schema + "." + info.Name + "'"
		}
	}
	return e
}

// editDistance is how many bytes must be put in, taken out or changed to make b of a. Long names aren't compared.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	line := make([]int, len(b)+1)
	for j := range line {
		line[j] = j
	}
	for i := range len(a) {
		diagonal := line[0]
		line[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = line[j+1]
			line[j+1] = min(cost, line[j]+1, diagonal+1)
		}
	}
	return line[len(b)]
}

// parseAccept chooses the first form of answer among those accepted that there is.
func parseAccept(h http.Header) (media, error) {
	all := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(all) == "" {
		return media{}, nil
	}
	for item := range strings.SplitSeq(all, ",") {
		kind, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		strip := strings.Contains(strings.ReplaceAll(params, " ", ""), "nulls=stripped")
		switch strings.TrimSpace(kind) {
		case mediaJSON, "*/*", "application/*":
			return media{}, nil
		case mediaArray + "+json", mediaArray:
			return media{stripNulls: strip}, nil
		case mediaObject + "+json", mediaObject:
			return media{single: true, stripNulls: strip}, nil
		}
	}
	return media{}, &Error{Code: "PGRST107", Message: "None of these media types are available: " + all, status: http.StatusNotAcceptable}
}

// filters binds every filter of the request into one test. How many there are is in given.
func (c *restCall) filters() (all test, given int, err error) {
	var tests []test
	for name, texts := range c.params {
		switch name {
		case "select", "order", "limit", "offset", "columns", "on_conflict":
			continue
		}
		for _, text := range texts {
			var cond condition
			switch name {
			case "or", "and", "not.or", "not.and":
				cond, err = parseTree(name, text)
			default:
				cond, err = parseFilter(name, text)
			}
			if err != nil {
				return all, 0, err
			}
			if err = c.mayTest(cond); err != nil {
				return all, 0, err
			}
			bound, err := c.table.bind(cond)
			if err != nil {
				return all, 0, err
			}
			tests = append(tests, bound)
		}
	}
	return allOf(tests), len(tests), nil
}

// matching gives the rows that the filters and the rules for the given operations let through. Call with DB.mu held.
func (c *restCall) matching(filter test, operations ...operation) []*row {
	policies := make([]policy, len(operations))
	for i, op := range operations {
		policies[i] = c.table.policyFor(&c.claims, op)
	}
	var out []*row
	for _, r := range c.table.rowsWith(func(column int) ([]value, bool) { vs, ok := filter.known[column]; return vs, ok }) {
		if filter.holds(r.vals) == isTrue && !slices.ContainsFunc(policies, func(p policy) bool { return !p.admitsRow(r.vals) }) {
			out = append(out, r)
		}
	}
	return out
}

// render writes rows as the answer's body. Asked for a single object, any other number of rows is PGRST116.
func (c *restCall) render(p projection, rows []*row) ([]byte, error) {
	if err := c.mayProject(p); err != nil {
		return nil, err
	}
	if c.accept.single {
		if len(rows) != 1 {
			return nil, &Error{Code: "PGRST116", Message: "Cannot coerce the result to a single JSON object",
				Details: "The result contains " + strconv.Itoa(len(rows)) + " rows", status: http.StatusNotAcceptable}
		}
		c.header.Set("Content-Type", mediaObject+"+json; charset=utf-8")
		return p.append(nil, rows[0].vals, c.accept.stripNulls), nil
	}
	out := []byte{'['}
	for i, r := range rows {
		if i > 0 {
			out = append(out, ", \n "...) // as json_agg puts it
		}
		out = p.append(out, r.vals, c.accept.stripNulls)
	}
	return append(out, ']'), nil
}

// restError answers with an error in PostgREST's form.
func (s *Server) restError(w http.ResponseWriter, r *http.Request, err error, role string) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: "XX000", Message: err.Error()}
	}
	status := e.statusOf(role == roleAnon)
	if status == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, r, status, struct {
		Code    string  `json:"code"`
		Details *string `json:"details"`
		Hint    *string `json:"hint"`
		Message string  `json:"message"`
	}{e.Code, orNull(e.Details), orNull(e.Hint), e.Message})
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// writeJSON answers with a value as JSON.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"message":"the answer can't be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}
