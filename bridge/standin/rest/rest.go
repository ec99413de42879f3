package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// maxResponseRows is Supabase's default bound on the rows of one answer.
const maxResponseRows = 1000

// Options say what a Handler answers from.
type Options struct {
	// MaxRows bounds the rows of one answer. 0 is 1000, as on Supabase.
	MaxRows int
	// Migrated says that supabridge's migration was applied: its functions are there.
	Migrated bool
	// Lane is the topic on which the migration's triggers broadcast; empty where no table has one.
	Lane string
	// Guarded reports whether the policy is there that keeps others than service_role off the lane. It
	// is asked only with a Lane.
	Guarded func() bool
}

// Handler answers /rest/v1/. It is immutable and safe for any number of goroutines.
type Handler struct {
	db   *sql.DB
	opts Options
}

// New makes a Handler for the tables of db.
func New(db *sql.DB, opts Options) *Handler {
	if opts.MaxRows == 0 {
		opts.MaxRows = maxResponseRows
	}
	return &Handler{db, opts}
}

// restCall is one request to /rest/v1/.
type restCall struct {
	db     *sql.DB
	table  *sql.Relation
	method string
	params url.Values
	claims sql.Claims
	prefer preferences
	accept media
	body   []byte
	opts   *Options
	header http.Header // of the answer
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

// Serve answers /rest/v1/{table}. The bearer's claims are verified already, and the body read.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, claims sql.Claims, body []byte) {
	call := &restCall{db: h.db, method: r.Method, claims: claims, body: body, opts: &h.opts, header: w.Header()}
	status, out, err := call.answer(r)
	if err != nil {
		writeError(w, r, err, claims.Role)
		return
	}
	if call.header.Get("Content-Type") == "" && (len(out) > 0 || r.Method == http.MethodHead) {
		call.header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if len(call.prefer.applied) > 0 {
		call.header.Set("Preference-Applied", strings.Join(call.prefer.applied, ", "))
	}
	write(w, r, status, out)
}

// write sends the status and body of an answer.
func write(w http.ResponseWriter, r *http.Request, status int, out []byte) {
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out) // the client may be gone
	}
}

// answer carries the request out and gives the status and body.
func (c *restCall) answer(r *http.Request) (int, []byte, error) {
	if !sql.KnownRole(c.claims.Role) {
		return 0, nil, refused(http.StatusUnauthorized, &sql.Error{Code: "22023",
			Message: "role " + sql.Quote(c.claims.Role) + " does not exist"})
	}
	var err error
	if c.params, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return 0, nil, &sql.Error{Code: "PGRST100", Message: "failed to parse the query string"}
	}
	c.params.Del("apikey")
	if c.prefer, err = parsePrefer(r.Header); err != nil {
		return 0, nil, err
	}
	if r.URL.Path == "/rest/v1/" && r.Method == http.MethodGet && c.claims.Role == sql.RoleService {
		return c.openAPI(r)
	}
	if c.accept, err = parseAccept(r.Header); err != nil {
		return 0, nil, err
	}
	if c.opts.Migrated && r.Method == http.MethodPost && r.URL.Path == "/rest/v1/"+factsPath {
		return c.facts()
	}
	if c.opts.Migrated && c.opts.Lane != "" && r.Method == http.MethodPost && r.URL.Path == "/rest/v1/"+lanePath {
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
	return 0, nil, refused(http.StatusMethodNotAllowed, &sql.Error{Code: "PGRST117",
		Message: "Unsupported HTTP method: " + r.Method})
}

// findTable finds the table by the path and the profile headers.
func (c *restCall) findTable(r *http.Request) (*sql.Relation, error) {
	profile := r.Header.Get("Content-Profile")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		profile = r.Header.Get("Accept-Profile")
	}
	schemas := c.db.Schemas()
	schema := schemas[0]
	if profile != "" {
		if !slices.Contains(schemas, profile) {
			return nil, refused(http.StatusNotAcceptable, &sql.Error{Code: "PGRST106", Message: "Invalid schema: " + profile,
				Hint: "Only the following schemas are exposed: " + strings.Join(schemas, ", ")})
		}
		schema = profile
	}
	c.header.Set("Content-Profile", schema)
	name := strings.TrimPrefix(r.URL.Path, "/rest/v1/")
	switch {
	case name == "":
		return nil, refused(http.StatusNotFound, &sql.Error{Code: "PGRST126", Message: "Root endpoint metadata is disabled"})
	case strings.HasPrefix(name, "rpc/"):
		return nil, refused(http.StatusNotFound, &sql.Error{Code: "PGRST202",
			Message: "Could not find the function " + schema + "." + strings.TrimPrefix(name, "rpc/") + " in the schema cache",
			Details: "The stand-in has no functions."})
	case strings.Contains(name, "/"):
		return nil, refused(http.StatusNotFound, &sql.Error{Code: "PGRST125",
			Message: "Invalid path specified in request URL"})
	}
	t, ok := c.db.Relation(c.claims, schema, name)
	if !ok {
		return nil, noTable(c.db, schema, name)
	}
	return t, nil
}

// noTable is the error for a table that doesn't exist, with the one that may have been meant.
func noTable(db *sql.DB, schema, name string) error {
	e := &sql.Error{Code: "PGRST205",
		Message: "Could not find the table '" + schema + "." + name + "' in the schema cache"}
	if similar := db.Similar(schema, name); similar != "" {
		e.Hint = "Perhaps you meant the table '" + schema + "." + similar + "'"
	}
	return refused(http.StatusNotFound, e)
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
	return media{}, refused(http.StatusNotAcceptable, &sql.Error{Code: "PGRST107",
		Message: "None of these media types are available: " + all})
}

// filters binds every filter of the request into one test. How many there are is in given.
func (c *restCall) filters() (all sql.Filter, given int, err error) {
	var tests []sql.Filter
	for name, texts := range c.params {
		switch name {
		case "select", "order", "limit", "offset", "columns", "on_conflict":
			continue
		}
		for _, text := range texts {
			var cond sql.Condition
			switch name {
			case "or", "and", "not.or", "not.and":
				cond, err = parseTree(name, text)
			default:
				cond, err = parseFilter(name, text)
			}
			if err != nil {
				return all, 0, err
			}
			bound, err := c.table.Filter(cond)
			if err != nil {
				return all, 0, err
			}
			tests = append(tests, bound)
		}
	}
	return sql.All(tests), len(tests), nil
}

// render writes rows as the answer's body. Asked for a single object, any other number of rows is
// PGRST116.
func (c *restCall) render(p sql.Projection, rows []*sql.Row) ([]byte, error) {
	if err := c.mayProject(p); err != nil {
		return nil, err
	}
	if c.accept.single {
		if len(rows) != 1 {
			return nil, refused(http.StatusNotAcceptable, &sql.Error{Code: "PGRST116",
				Message: "Cannot coerce the result to a single JSON object",
				Details: "The result contains " + strconv.Itoa(len(rows)) + " rows"})
		}
		c.header.Set("Content-Type", mediaObject+"+json; charset=utf-8")
		return p.Append(nil, rows[0], c.accept.stripNulls), nil
	}
	out := []byte{'['}
	for i, r := range rows {
		if i > 0 {
			out = append(out, ", \n "...) // as json_agg puts it
		}
		out = p.Append(out, r, c.accept.stripNulls)
	}
	return append(out, ']'), nil
}

// mayProject refuses to show columns that the role may not read.
func (c *restCall) mayProject(p sql.Projection) error {
	for _, f := range p {
		if err := c.table.MayRead(f.Expr); err != nil {
			return err
		}
	}
	return nil
}

// maySort refuses to order by columns that the role may not read.
func (c *restCall) maySort(terms []sql.OrderTerm) error {
	for _, t := range terms {
		if err := c.table.MayRead(t.Expr); err != nil {
			return err
		}
	}
	return nil
}
