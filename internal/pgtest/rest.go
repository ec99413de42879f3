package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Bounds of the REST API.
const (
	// MaxRows is the most rows of an answer, as a hosted project has it unless told otherwise.
	MaxRows = 1000

	maxBody        = 8 << 20
	maxConnections = 8
	requestTimeout = 30 * time.Second
)

// RESTURL is the address of the project's API, as supabase.url has it: /rest/v1/ is below it. It is
// there from the first call to the test's end.
func (b *Bed) RESTURL() string {
	b.t.Helper()
	return b.rest()
}

func (b *Bed) serve() string {
	server := httptest.NewServer(b.RESTHandler(MaxRows))
	b.t.Cleanup(server.Close)
	return server.URL
}

// RESTHandler answers /rest/v1/ for tests that put something else beside it, or want another bound
// on rows. Its connections are closed when the test ends.
func (b *Bed) RESTHandler(maxRows int) http.Handler {
	api := &api{
		bed:     b,
		maxRows: maxRows,
		idle:    make(chan *pgx.Conn, maxConnections),
		slots:   make(chan struct{}, maxConnections),
	}
	b.t.Cleanup(api.close)
	return http.StripPrefix("/rest/v1/", api)
}

// api is PostgREST, as far as the bridge and doctor use it.
type api struct {
	bed     *Bed
	maxRows int
	idle    chan *pgx.Conn
	slots   chan struct{} // one for each connection in use
}

func (a *api) close() {
	for {
		select {
		case conn := <-a.idle:
			_ = conn.Close(context.Background()) // the database is dropped next
		default:
			return
		}
	}
}

// problem is PostgREST's answer where something failed.
type problem struct {
	Code    string  `json:"code"`
	Details *string `json:"details"`
	Hint    *string `json:"hint"`
	Message string  `json:"message"`
	status  int
}

func (p *problem) Error() string { return p.Code + ": " + p.Message }

func fail(status int, code, message string) error {
	return &problem{Code: code, Message: message, status: status}
}

// answer is what a request gets.
type answer struct {
	status int
	body   string
	ranges string // Content-Range
}

// request is one of them, on its connection and in its transaction.
type request struct {
	*http.Request
	api    *api
	conn   *pgx.Conn
	role   string
	schema string
	body   []byte
	params params
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	role, claims, err := identify(r)
	var got answer
	if err == nil {
		got, err = a.handle(ctx, r, role, claims)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err != nil {
		p := toProblem(err, role)
		if p.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		w.WriteHeader(p.status)
		_ = json.NewEncoder(w).Encode(p) // the client may be gone
		return
	}
	if got.ranges != "" {
		w.Header().Set("Content-Range", got.ranges)
	}
	w.WriteHeader(got.status)
	if r.Method != http.MethodHead && got.status != http.StatusNoContent {
		_, _ = io.WriteString(w, got.body) // the client may be gone
	}
}

// identify does what the gateway and then PostgREST do with keys and tokens.
func identify(r *http.Request) (role, claims string, err error) {
	key := r.Header.Get("apikey")
	if key == "" {
		key = r.URL.Query().Get("apikey")
	}
	if key == "" {
		return "", "", fail(http.StatusUnauthorized, "", "No API key found in request")
	}
	if _, _, err := verify(key); err != nil {
		return "", "", fail(http.StatusUnauthorized, "", "Invalid API key")
	}
	token := key
	if scheme, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(bearer)
	}
	return verify(token)
}

func verify(token string) (role, claims string, err error) {
	parsed := jwt.MapClaims{}
	_, err = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithJSONNumber()).ParseWithClaims(token, parsed,
		func(*jwt.Token) (any, error) { return []byte(JWTSecret), nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "", "", fail(http.StatusUnauthorized, "PGRST303", "JWT expired")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "", "", fail(
			http.StatusUnauthorized,
			"PGRST301",
			"Expected 3 parts in JWT; got "+strconv.Itoa(strings.Count(token, ".")+1),
		)
	case err != nil:
		return "", "", fail(http.StatusUnauthorized, "PGRST301", "No suitable key or wrong key type")
	}
	text, err := json.Marshal(parsed)
	if err != nil {
		return "", "", err
	}
	if role, _ = parsed["role"].(string); role == "" {
		role = "anon"
	}
	return role, string(text), nil
}

// handle carries a request out in a transaction of its own, with the role and the claims of whoever
// makes it.
func (a *api) handle(ctx context.Context, r *http.Request, role, claims string) (answer, error) {
	req := &request{Request: r, api: a, role: role, schema: "public"}
	var err error
	if req.body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody)); err != nil {
		return answer{}, fail(http.StatusRequestEntityTooLarge, "", "the body can't be read, or is too large")
	}
	if req.params, err = parseParams(r.URL.RawQuery); err != nil {
		return answer{}, err
	}
	profile := "Content-Profile"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		profile = "Accept-Profile"
	}
	if named := r.Header.Get(profile); named != "" {
		req.schema = named
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return answer{}, fail(http.StatusGatewayTimeout, "PGRST003", "Timed out acquiring connection from connection pool.")
	}
	if req.conn, err = a.take(ctx); err != nil {
		return answer{}, fail(http.StatusServiceUnavailable, "PGRST000", "Could not connect with the database: "+err.Error())
	}
	got, err := req.transact(ctx, claims)
	a.give(req.conn, err)
	return got, err
}

func (a *api) take(ctx context.Context) (*pgx.Conn, error) {
	select {
	case conn := <-a.idle:
		return conn, nil
	default:
		return connect(ctx, a.bed.cluster.address("authenticator", a.bed.database))
	}
}

// give keeps a connection for the next request, unless something failed on it.
func (a *api) give(conn *pgx.Conn, err error) {
	if err == nil && !conn.IsClosed() {
		select {
		case a.idle <- conn:
			return
		default:
		}
	}
	_ = conn.Close(context.Background()) // its transaction is undone by that
}

func (r *request) transact(ctx context.Context, claims string) (answer, error) {
	headers := make(map[string]string)
	for name, values := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	text, err := json.Marshal(headers)
	if err != nil {
		return answer{}, err
	}
	begin := "begin isolation level read committed read write"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		begin = "begin isolation level read committed read only"
	}
	become := begin + "; set local role " + quoteName(r.role)
	for _, setting := range [][2]string{
		{"search_path", quoteName(r.schema) + ", public, extensions"}, {"request.jwt.claims", claims},
		{"request.method", r.Method}, {"request.path", "/" + r.URL.Path}, {"request.headers", string(text)},
		{"request.cookies", "{}"},
	} {
		become += "; select set_config(" + quoteText(setting[0]) + ", " + quoteText(setting[1]) + ", true)"
	}
	if _, err := run(ctx, r.conn, become); err != nil {
		return answer{}, err
	}
	got, err := r.route(ctx)
	if err != nil {
		return answer{}, err
	}
	_, err = run(ctx, r.conn, "commit")
	return got, err
}

func (r *request) route(ctx context.Context) (answer, error) {
	// Like Supabase's default, public alone is exposed, and whatever else a test makes and gives the
	// API's roles.
	exposed, err := r.value(
		ctx,
		"select has_schema_privilege(oid, 'usage') and nspname !~ '^(pg_|information_schema$|auth$|realtime$|extensions$)' "+
			"from pg_namespace where nspname = "+quoteText(r.schema),
	)
	if err != nil {
		return answer{}, err
	}
	if exposed != "t" {
		return answer{}, fail(http.StatusNotAcceptable, "PGRST106", "Invalid schema: "+r.schema)
	}
	name, isFunction := strings.CutPrefix(r.URL.Path, "rpc/")
	switch {
	case name == "":
		return answer{status: http.StatusOK, body: "{}"}, nil
	case strings.Contains(name, "/"):
		return answer{}, fail(http.StatusNotFound, "PGRST125", "Invalid path specified in request URL")
	case isFunction && r.Method == http.MethodPost:
		return r.call(ctx, name)
	case isFunction:
		return answer{}, fail(http.StatusMethodNotAllowed, "PGRST101", "functions are called by POST here")
	}
	return r.table(ctx, name)
}

// value is the first value that a query selects; "" where there is none.
func (r *request) value(ctx context.Context, query string) (string, error) {
	return run(ctx, r.conn, query)
}

func toProblem(err error, role string) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var db *pgconn.PgError
	if !errors.As(err, &db) {
		return &problem{Code: "PGRST001", Message: err.Error(), status: http.StatusServiceUnavailable}
	}
	p = &problem{Code: db.Code, Message: db.Message, status: statusOf(db.Code, role)}
	if db.Detail != "" {
		p.Details = &db.Detail
	}
	if db.Hint != "" {
		p.Hint = &db.Hint
	}
	return p
}

// statusOf is the HTTP status of an SQLSTATE.
func statusOf(code, role string) int {
	switch code {
	case "42501":
		if role == "anon" {
			return http.StatusUnauthorized
		}
		return http.StatusForbidden
	case "42883", "42P01":
		return http.StatusNotFound
	case "23503", "23505":
		return http.StatusConflict
	case "25006":
		return http.StatusMethodNotAllowed
	case "21000", "42P17":
		return http.StatusInternalServerError
	}
	if status, err := strconv.Atoi(strings.TrimPrefix(code, "PT")); err == nil && strings.HasPrefix(code, "PT") {
		return status
	}
	switch code[:min(2, len(code))] {
	case "08", "53":
		return http.StatusServiceUnavailable
	case "28":
		return http.StatusForbidden
	case "09", "25", "2D", "38", "39", "3B", "40", "54", "55", "57", "58", "F0", "HV", "XX":
		return http.StatusInternalServerError
	case "P0":
		if code != "P0001" {
			return http.StatusInternalServerError
		}
	}
	return http.StatusBadRequest
}
