package rest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/standin/sql"
)

const shopSeed = `
schemas: [public, audit]
tables:
  items:
    columns:
      id: {type: int8, identity: true}
      name: {type: text, not_null: true}
      price: numeric(10,2)
      big: int8
      meta: jsonb
      raw: json
      tags: "text[]"
      active: {type: bool, default: "true"}
      owner: text
      made: {type: timestamptz, default: "2026-11-22T22:53:31.365023Z"}
      "Weird Col": text
    primary_key: [id]
    unique: [[owner, name]]
    row_security: [{column: owner, claim: app_metadata.team}, {for: [select], to: [anon], column: owner, claim: role}]
    rows:
      - {name: apple, price: 1.5, big: 9223372036854775807, meta: {b: 1, a: [1, null]}, raw: '{"b":1,  "a":2}', tags: "{x,\"y z\"}", owner: red}
      - {name: Banana, price: 10, active: "false", owner: red, "Weird Col": w}
      - {name: cherry, active: null, owner: blue}
  sales:
    columns: {id: int4, item_id: int8, n: {type: int4, default: 1}}
    primary_key: [id]
    foreign_keys: [{columns: [item_id], references: items}]
  log: {columns: {line: text, n: int4}}
  drops: {columns: {line: text}, row_security: [{for: [insert], to: [anon], everything: true}]}
  partly:
    columns: {id: int4, shown: text, hidden: text}
    primary_key: [id]
    grants: {anon: [id, shown], authenticated: []}
    rows: [{id: 1, shown: s, hidden: h}]
  audit.entries: {columns: {id: int4}, rows: [{id: 1}]}
`

// shop is a stand-in with shopSeed on a real socket.
type shop struct {
	*standin.Server
	url string
}

func openShop(t testing.TB, opts standin.Options) shop {
	t.Helper()
	seed, err := standin.ParseSeed(strings.NewReader(shopSeed))
	if err != nil {
		t.Fatal(err)
	}
	opts.Seed = seed
	s, err := standin.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		h.Close()
		closeServer(t, s)
	})
	return shop{s, h.URL}
}

// team mints a token of a user of a team.
func (s shop) team(t testing.TB, team string) string {
	t.Helper()
	token, err := s.Tokens().Mint(sql.RoleAuthenticated, "u1", map[string]any{"app_metadata": map[string]any{"team": team}}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// ask makes a request as the service role, unless the headers ("Name: value") say otherwise.
func (s shop) ask(t testing.TB, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	path, query, _ := strings.Cut(path, "?")
	parts := strings.Split(query, "&")
	for i, part := range parts {
		if k, v, ok := strings.Cut(part, "="); ok {
			parts[i] = url.QueryEscape(k) + "=" + url.QueryEscape(v)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path+"?"+strings.Join(parts, "&"), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("apikey", s.ServiceKey())
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		r.Header.Del(name)
		if v != "" {
			r.Header.Add(name, v)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp, string(text)
}

// exchange is one request and what must come of it. want is the body, or the start of it before a
// final "…". header is "Name: value" of the answer.
type exchange struct {
	name         string
	method, path string
	body         string
	headers      []string
	status       int
	want         string
	header       string
}

func (e exchange) run(t *testing.T, s shop) {
	t.Helper()
	resp, body := s.ask(t, e.method, e.path, e.body, e.headers...)
	if resp.StatusCode != e.status {
		t.Errorf("status %d, want %d; body %s", resp.StatusCode, e.status, body)
	}
	if start, cut := strings.CutSuffix(e.want, "…"); cut && !strings.HasPrefix(body, start) || !cut && body != e.want {
		t.Errorf("body\n%s\nwant\n%s", body, e.want)
	}
	if name, v, ok := strings.Cut(e.header, ": "); ok && resp.Header.Get(name) != v {
		t.Errorf("%s is %q, want %q", name, resp.Header.Get(name), v)
	}
}

func TestReads(t *testing.T) {
	s := openShop(t, standin.Options{MaxRows: 100})
	for _, e := range []exchange{
		{name: "everything", path: "/rest/v1/items?id=eq.1", status: 200, header: "Content-Range: 0-0/*",
			want: `[{"id":1,"name":"apple","price":1.50,"big":9223372036854775807,"meta":{"a": [1, null], "b": 1},"raw":{"b":1,  "a":2},` +
				`"tags":["x","y z"],"active":true,"owner":"red","made":"2026-11-22T22:53:31.365023+00:00","Weird Col":null}]`},
		{name: "columns and aliases", path: `/rest/v1/items?select=n:name, id,"Weird Col",w:"Weird Col"&id=eq.2`, status: 200,
			want: `[{"n":"Banana","id":2,"Weird Col":"w","w":"w"}]`},
		{name: "rows are set off as json_agg sets them off", path: "/rest/v1/items?select=id", status: 200, want: "[{\"id\":1}, \n {\"id\":2}, \n {\"id\":3}]"},
		{name: "no rows", path: "/rest/v1/items?id=eq.9", status: 200, want: "[]", header: "Content-Range: */*"},
		{name: "content type", path: "/rest/v1/items?id=eq.9", status: 200, want: "[]", header: "Content-Type: application/json; charset=utf-8"},
		{name: "numbers compare as numbers", path: "/rest/v1/items?select=id&price=gt.9.5", status: 200, want: `[{"id":2}]`},
		{name: "null is not unequal", path: "/rest/v1/items?select=id&price=neq.10", status: 200, want: `[{"id":1}]`},
		{name: "but distinct", path: "/rest/v1/items?select=id&price=isdistinct.10", status: 200, want: "[{\"id\":1}, \n {\"id\":3}]"},
		{name: "not of unknown is unknown", path: "/rest/v1/items?select=id&price=not.eq.10", status: 200, want: `[{"id":1}]`},
		{name: "is unknown", path: "/rest/v1/items?select=id&active=is.unknown", status: 200, want: `[{"id":3}]`},
		{name: "not is true", path: "/rest/v1/items?select=id&active=not.is.true", status: 200, want: "[{\"id\":2}, \n {\"id\":3}]"},
		{name: "two filters on one column", path: "/rest/v1/items?select=id&id=gte.1&id=lt.3", status: 200, want: "[{\"id\":1}, \n {\"id\":2}]"},
		{name: "like with a star", path: "/rest/v1/items?select=id&name=like.*an*", status: 200, want: `[{"id":2}]`},
		{name: "match", path: "/rest/v1/items?select=id&name=imatch.^b.n", status: 200, want: `[{"id":2}]`},
		{name: "eq null is the text", path: "/rest/v1/items?select=id&name=eq.null", status: 200, want: `[]`},
		{name: "all of none", path: "/rest/v1/items?select=id&id=gt(all).{}&order=id&limit=1", status: 200, want: `[{"id":1}]`},
		{name: "by a key of two columns", path: "/rest/v1/items?select=id&owner=eq.red&name=eq.apple", status: 200, want: `[{"id":1}]`},
		{name: "by a key of two columns that nobody has", path: "/rest/v1/items?select=id&owner=eq.blue&name=eq.apple", status: 200, want: `[]`},
		{name: "all of several", path: "/rest/v1/items?select=id&name=like(all).{*a*,*p*}", status: 200, want: `[{"id":1}]`},
		{name: "any of several by key", path: "/rest/v1/items?select=id&id=eq(any).{3,1,3}", status: 200, want: "[{\"id\":1}, \n {\"id\":3}]"},
		{name: "or over a null is not false", path: "/rest/v1/items?select=id&not.or=(price.gt.5,id.eq.1)", status: 200, want: `[]`},
		{name: "time with an offset", path: "/rest/v1/items?select=id&id=eq.1&made=eq.2026-11-23T00:53:31.365023+02:00", status: 200, want: `[{"id":1}]`},
		{name: "a cursor", path: `/rest/v1/items?select=id&or=(made.gt."2026-11-22T22:53:31.365023+00:00",and(made.eq."2026-11-22T22:53:31.365023+00:00",id.gt.1))&order=made.asc,id.asc&limit=1`,
			status: 200, want: `[{"id":2}]`},
		{name: "order with nulls last", path: "/rest/v1/items?select=id&order=price.desc.nullslast", status: 200, want: "[{\"id\":2}, \n {\"id\":1}, \n {\"id\":3}]"},
		{name: "order with nulls first by default", path: "/rest/v1/items?select=id&order=price.desc", status: 200, want: "[{\"id\":3}, \n {\"id\":2}, \n {\"id\":1}]"},
		{name: "order by quoted column", path: `/rest/v1/items?select=id&order="Weird Col",id.desc&limit=2`, status: 200, want: "[{\"id\":2}, \n {\"id\":3}]"},
		{name: "paths into json", path: "/rest/v1/items?select=meta->b,first:meta->a->>0,meta->a->-1,raw->>a,tags->1,none:meta->a->9&id=eq.1", status: 200,
			want: `[{"b":1,"first":"1","a":null,"a":"2","tags":"y z","none":null}]`},
		{name: "filter on a path as text", path: "/rest/v1/items?select=id&meta->>b=eq.1", status: 200, want: `[{"id":1}]`},
		{name: "filter on a path as json", path: "/rest/v1/items?select=id&meta->b=gte.0.5&meta->a=eq.[1,null]", status: 200, want: `[{"id":1}]`},
		{name: "a path to nothing is null", path: "/rest/v1/items?select=id&or=(meta->>zz.is.null,id.eq.9)", status: 200, want: "[{\"id\":1}, \n {\"id\":2}, \n {\"id\":3}]"},
		{name: "order by a path", path: "/rest/v1/items?select=id&order=meta->b.desc.nullslast,id.desc", status: 200, want: "[{\"id\":1}, \n {\"id\":3}, \n {\"id\":2}]"},
		{name: "limit and offset", path: "/rest/v1/items?select=id&order=id&limit=1&offset=1", status: 200, want: `[{"id":2}]`, header: "Content-Range: 1-1/*"},
		{name: "limit of nothing", path: "/rest/v1/items?select=id&limit=0", status: 200, want: `[]`},
		{name: "range header", path: "/rest/v1/items?select=id&order=id", headers: []string{"Range: 1-1"}, status: 200, want: `[{"id":2}]`, header: "Content-Range: 1-1/*"},
		{name: "range header within offset and limit", path: "/rest/v1/items?select=id&order=id&limit=2", headers: []string{"Range: 1-5"}, status: 200, want: `[{"id":2}]`},
		{name: "open range header", path: "/rest/v1/items?select=id&order=id", headers: []string{"Range: 2-"}, status: 200, want: `[{"id":3}]`},
		{name: "count of all", path: "/rest/v1/items?select=id", headers: []string{"Prefer: count=exact"}, status: 200, want: "[…", header: "Content-Range: 0-2/3"},
		{name: "count of more", path: "/rest/v1/items?select=id&limit=1", headers: []string{"Prefer: count=exact"}, status: 206, want: `[{"id":1}]`, header: "Content-Range: 0-0/3"},
		{name: "count of none", path: "/rest/v1/items?id=eq.9", headers: []string{"Prefer: count=exact"}, status: 200, want: `[]`, header: "Content-Range: */0"},
		{name: "count is said to be applied", path: "/rest/v1/items?id=eq.9", headers: []string{"Prefer: count=exact"}, status: 200, want: `[]`, header: "Preference-Applied: count=exact"},
		{name: "offset past the end of a count", path: "/rest/v1/items?offset=9", headers: []string{"Prefer: count=exact"}, status: 416, header: "Content-Range: */3",
			want: `{"code":"PGRST103","details":"An offset of 9 was requested, but there are only 3 rows.","hint":null,"message":"Requested range not satisfiable"}`},
		{name: "head", method: "HEAD", path: "/rest/v1/items", headers: []string{"Prefer: count=exact"}, status: 200, header: "Content-Range: 0-2/3"},
		{name: "head of an error", method: "HEAD", path: "/rest/v1/nope", status: 404, header: "Content-Type: application/json; charset=utf-8"},
		{name: "one object", path: "/rest/v1/items?select=id&id=eq.1", headers: []string{"Accept: application/vnd.pgrst.object+json"}, status: 200, want: `{"id":1}`,
			header: "Content-Type: application/vnd.pgrst.object+json; charset=utf-8"},
		{name: "one object of several", path: "/rest/v1/items", headers: []string{"Accept: application/vnd.pgrst.object+json"}, status: 406,
			want: `{"code":"PGRST116","details":"The result contains 3 rows","hint":null,"message":"Cannot coerce the result to a single JSON object"}`},
		{name: "the first form accepted counts", path: "/rest/v1/items?select=id&id=eq.1", headers: []string{"Accept: application/json, application/vnd.pgrst.object+json"}, status: 200, want: `[{"id":1}]`},
		{name: "without nulls", path: "/rest/v1/items?select=id,price&id=eq.3", headers: []string{"Accept: application/vnd.pgrst.array+json;nulls=stripped"}, status: 200, want: `[{"id":3}]`},
		{name: "another schema", path: "/rest/v1/entries", headers: []string{"Accept-Profile: audit"}, status: 200, want: `[{"id":1}]`, header: "Content-Profile: audit"},
		{name: "key in the query", path: "/rest/v1/entries?apikey=" + s.ServiceKey(), headers: []string{"apikey: ", "Accept-Profile: audit"}, status: 200, want: `[{"id":1}]`},
		{name: "newer key", path: "/rest/v1/items?select=id&id=eq.1", headers: []string{"apikey: " + s.Tokens().SecretKey(), "Authorization: Bearer " + s.Tokens().SecretKey()}, status: 200, want: `[{"id":1}]`},
	} {
		t.Run(e.name, func(t *testing.T) {
			if e.method == "" {
				e.method = http.MethodGet
			}
			e.run(t, s)
		})
	}
}

// signWith signs claims as another project might.
func signWith(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestRefusals(t *testing.T) {
	s := openShop(t, standin.Options{})
	expired, err := s.Tokens().Mint(sql.RoleAuthenticated, "u", nil, time.Now(), -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	user, err := s.Tokens().Mint(sql.RoleAuthenticated, "u", nil, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.Tokens().Mint("root", "u", nil, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []exchange{
		{name: "table", path: "/rest/v1/item", status: 404,
			want: `{"code":"PGRST205","details":null,"hint":"Perhaps you meant the table 'public.items'","message":"Could not find the table 'public.item' in the schema cache"}`},
		{name: "schema", path: "/rest/v1/items", headers: []string{"Accept-Profile: auth"}, status: 406,
			want: `{"code":"PGRST106","details":null,"hint":"Only the following schemas are exposed: public, audit","message":"Invalid schema: auth"}`},
		{name: "selected column", path: "/rest/v1/items?select=id,zzzzz", status: 400, want: `{"code":"42703","details":null,"hint":null,"message":"column items.zzzzz does not exist"}`},
		{name: "column nearly right", path: "/rest/v1/items?select=nmae", status: 400,
			want: `{"code":"42703","details":null,"hint":"Perhaps you meant to reference the column \"items.name\".","message":"column items.nmae does not exist"}`},
		{name: "filtered column", path: "/rest/v1/items?zzzzz=eq.1", status: 400, want: `{"code":"42703","details":null,"hint":null,"message":"column items.zzzzz does not exist"}`},
		{name: "ordered column", path: "/rest/v1/items?order=zzzzz", status: 400, want: `{"code":"42703","details":null,"hint":null,"message":"column items.zzzzz does not exist"}`},
		{name: "operator", path: "/rest/v1/items?id=foo.1", status: 400,
			want: `{"code":"PGRST100","details":"unexpected 'f' expecting \"not\" or operator (eq, gt, ...)","hint":null,"message":"\"failed to parse filter (foo.1)\" (line 1, column 1)"}`},
		{name: "literal", path: "/rest/v1/items?id=eq.x", status: 400, want: `{"code":"22P02","details":null,"hint":null,"message":"invalid input syntax for type bigint: \"x\""}`},
		{name: "like of a number", path: "/rest/v1/items?id=like.1*", status: 404, want: `{"code":"42883",…`},
		{name: "eq of json", path: "/rest/v1/items?raw=eq.{}", status: 404, want: `{"code":"42883",…`},
		{name: "is true of a text", path: "/rest/v1/items?name=is.true", status: 400, want: `{"code":"42804","details":null,"hint":null,"message":"argument of IS TRUE must be type boolean, not type text"}`},
		{name: "regular expression", path: "/rest/v1/items?name=match.(", status: 400, want: `{"code":"2201B",…`},
		{name: "embedding", path: "/rest/v1/items?select=*,sales(*)", status: 400, want: `{"code":"PGRST127","details":"The stand-in does not support embedding other tables in select.","hint":null,"message":"Feature not implemented"}`},
		{name: "cast", path: "/rest/v1/items?select=id::text", status: 400, want: `{"code":"PGRST127",…`},
		{name: "column of a path", path: "/rest/v1/items?select=mega->b", status: 400, want: `{"code":"42703",…`},
		{name: "path into a text", path: "/rest/v1/items?select=meta->>a->b", status: 400, want: `{"code":"PGRST100",…`},
		{name: "aggregate", path: "/rest/v1/items?select=price.sum()", status: 400, want: `{"code":"PGRST123",…`},
		{name: "full text", path: "/rest/v1/items?name=fts.x", status: 400, want: `{"code":"PGRST127",…`},
		{name: "function", method: "POST", path: "/rest/v1/rpc/f", body: "{}", status: 404, want: `{"code":"PGRST202",…`},
		{name: "root", path: "/rest/v1/", headers: []string{"Authorization: Bearer " + user}, status: 404, want: `{"code":"PGRST126",…`},
		{name: "method", method: "PUT", path: "/rest/v1/items", body: "{}", status: 405, want: `{"code":"PGRST117",…`},
		{name: "media type", path: "/rest/v1/items", headers: []string{"Accept: text/csv"}, status: 406, want: `{"code":"PGRST107",…`},
		{name: "limit", path: "/rest/v1/items?limit=-1", status: 416, want: `{"code":"PGRST103",…`},
		{name: "range", path: "/rest/v1/items", headers: []string{"Range: 5-1"}, status: 416, want: `{"code":"PGRST103",…`},
		{name: "preference when strict", path: "/rest/v1/items", headers: []string{"Prefer: handling=strict, count=precise"}, status: 400, want: `{"code":"PGRST122",…`},
		{name: "no key", path: "/rest/v1/items", headers: []string{"apikey: "}, status: 401, want: `{"message":"No API key found in request",…`},
		{name: "wrong key", path: "/rest/v1/items", headers: []string{"apikey: x"}, status: 401, want: `{"message":"Invalid API key",…`},
		{name: "expired token", path: "/rest/v1/items", headers: []string{"Authorization: Bearer " + expired}, status: 401,
			want: `{"code":"PGRST303","details":null,"hint":null,"message":"JWT expired"}`, header: `WWW-Authenticate: Bearer error="invalid_token", error_description="JWT expired"`},
		{name: "token of another project", path: "/rest/v1/items", headers: []string{"Authorization: Bearer " + expired + "x"}, status: 401, want: `{"code":"PGRST301",…`},
		{name: "no token", path: "/rest/v1/items", headers: []string{"Authorization: Bearer a.b"}, status: 401, want: `{"code":"PGRST301","details":null,"hint":null,"message":"Expected 3 parts in JWT; got 2"}`},
		{name: "token without role", path: "/rest/v1/items", headers: []string{"Authorization: Bearer " + signWith(t, jwt.SigningMethodHS256, []byte(standin.DefaultJWTSecret), jwt.MapClaims{"exp": 1})}, status: 401,
			want: `{"code":"PGRST303","details":null,"hint":null,"message":"Parsing claims failed"}`},
		{name: "unsigned token", path: "/rest/v1/items", headers: []string{"Authorization: Bearer " + signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"role": "service_role", "exp": 1 << 40})}, status: 401,
			want: `{"code":"PGRST301","details":null,"hint":null,"message":"Wrong or unsupported encoding algorithm"}`},
		{name: "parts that are no JSON", path: "/rest/v1/items", headers: []string{"Authorization: Bearer a.b.c"}, status: 401, want: `{"code":"PGRST301",…`},
		{name: "unknown role", path: "/rest/v1/items", headers: []string{"Authorization: Bearer " + root}, status: 401, want: `{"code":"22023","details":null,"hint":null,"message":"role \"root\" does not exist"}`},
		{name: "body", method: "POST", path: "/rest/v1/items", body: "{", status: 400, want: `{"code":"PGRST102","details":null,"hint":null,"message":"Empty or invalid json"}`},
		{name: "body of nulls", method: "POST", path: "/rest/v1/items", body: "[null]", status: 400, want: `{"code":"PGRST102",…`},
		{name: "keys that differ", method: "POST", path: "/rest/v1/items", body: `[{"name":"a"},{"id":1}]`, status: 400, want: `{"code":"PGRST102","details":null,"hint":null,"message":"All object keys must match"}`},
		{name: "content type", method: "POST", path: "/rest/v1/items", body: "a,b", headers: []string{"Content-Type: text/csv"}, status: 400, want: `{"code":"PGRST102",…`},
		{name: "column of a body", method: "POST", path: "/rest/v1/items", body: `{"nope":1}`, status: 400,
			want: `{"code":"PGRST204","details":null,"hint":null,"message":"Could not find the 'nope' column of 'items' in the schema cache"}`},
		{name: "null", method: "POST", path: "/rest/v1/items", body: `{"name":null}`, status: 400, want: `{"code":"23502","details":"Failing row contains (…`},
		{name: "duplicate", method: "POST", path: "/rest/v1/items", body: `{"id":1,"name":"x"}`, status: 409,
			want: `{"code":"23505","details":"Key (id)=(1) already exists.","hint":null,"message":"duplicate key value violates unique constraint \"items_pkey\""}`},
		{name: "parent", method: "POST", path: "/rest/v1/sales", body: `{"id":1,"item_id":99}`, status: 409, want: `{"code":"23503","details":"Key (item_id)=(99) is not present in table \"items\".",…`},
		{name: "conflict on no key", method: "POST", path: "/rest/v1/items?on_conflict=price", body: `{"name":"x"}`, headers: []string{"Prefer: resolution=merge-duplicates"}, status: 400, want: `{"code":"42P10",…`},
		{name: "row twice in one merge", method: "POST", path: "/rest/v1/items", body: `[{"id":1,"name":"a"},{"id":1,"name":"b"}]`, headers: []string{"Prefer: resolution=merge-duplicates"}, status: 500, want: `{"code":"21000",…`},
		{name: "update of everything", method: "PATCH", path: "/rest/v1/items", body: `{"name":"x"}`, status: 400, want: `{"code":"21000","details":null,"hint":null,"message":"UPDATE requires a WHERE clause"}`},
		{name: "deletion of everything", method: "DELETE", path: "/rest/v1/items", status: 400, want: `{"code":"21000","details":null,"hint":null,"message":"DELETE requires a WHERE clause"}`},
		{name: "more than affordable", method: "DELETE", path: "/rest/v1/items?id=gt.0", headers: []string{"Prefer: handling=strict, max-affected=1"}, status: 400, want: `{"code":"PGRST124","details":"The query affects 3 rows",…`},
		{name: "no such path", path: "/storage/v1/object", status: 404, want: `{"message":"no Route matched with those values"}`},
	} {
		t.Run(e.name, func(t *testing.T) {
			if e.method == "" {
				e.method = http.MethodGet
			}
			e.run(t, s)
			if n := count(t, s.DB(), "items"); n != 3 {
				t.Errorf("%d items after a refusal, want 3", n)
			}
		})
	}
}

func TestWrites(t *testing.T) {
	const whole, merge, ignore = "Prefer: return=representation", "Prefer: return=representation,resolution=merge-duplicates", "Prefer: return=representation,resolution=ignore-duplicates"
	for _, e := range []exchange{
		{name: "insert", method: "POST", path: "/rest/v1/sales", body: `{"id":1,"item_id":1}`, status: 201, header: "Content-Range: */*"},
		{name: "insert and show", method: "POST", path: "/rest/v1/sales?select=n,id", body: `{"id":1,"item_id":null}`, headers: []string{whole}, status: 201, want: `[{"n":1,"id":1}]`,
			header: "Preference-Applied: return=representation"},
		{name: "insert an object and show one", method: "POST", path: "/rest/v1/sales", body: `{"id":1}`, headers: []string{whole, "Accept: application/vnd.pgrst.object+json"}, status: 201, want: `{"id":1,"item_id":null,"n":1}`},
		{name: "insert and locate", method: "POST", path: "/rest/v1/sales", body: `{"id":1}`, headers: []string{"Prefer: return=headers-only"}, status: 201, header: "Location: /sales?id=eq.1"},
		{name: "insert nothing", method: "POST", path: "/rest/v1/sales", body: `[]`, headers: []string{whole}, status: 201, want: `[]`},
		{name: "insert defaults", method: "POST", path: "/rest/v1/log", body: `{}`, headers: []string{whole}, status: 201, want: `[{"line":null,"n":null}]`},
		{name: "insert all values as text", method: "POST", path: "/rest/v1/items?select=id,price,big,active,tags,meta,name", headers: []string{whole}, status: 201,
			body: `{"name":5,"price":"1.005","big":"9007199254740993","active":"f","tags":["a",null],"meta":"text"}`,
			want: `[{"id":4,"price":1.01,"big":9007199254740993,"active":false,"tags":["a",null],"meta":"text","name":"5"}]`},
		{name: "missing is null", method: "POST", path: "/rest/v1/sales?columns=id,n", body: `[{"id":1},{"id":2,"n":5}]`, headers: []string{whole}, status: 201,
			want: "[{\"id\":1,\"item_id\":null,\"n\":null}, \n {\"id\":2,\"item_id\":null,\"n\":5}]"},
		{name: "missing is the default", method: "POST", path: `/rest/v1/sales?columns="id","n"&select=n`, body: `[{"id":1},{"id":2,"n":5,"zzz":1}]`, headers: []string{"Prefer: missing=default,return=representation"}, status: 201,
			want: "[{\"n\":1}, \n {\"n\":5}]"},
		{name: "count of inserted", method: "POST", path: "/rest/v1/sales", body: `[{"id":1},{"id":2}]`, headers: []string{"Prefer: count=exact"}, status: 201, header: "Content-Range: */2"},
		{name: "merge", method: "POST", path: "/rest/v1/items?select=id,name,price", body: `[{"id":1,"name":"pear"},{"id":9,"name":"new"}]`, headers: []string{merge}, status: 201,
			want: "[{\"id\":1,\"name\":\"pear\",\"price\":1.50}, \n {\"id\":9,\"name\":\"new\",\"price\":null}]"},
		{name: "merge only", method: "POST", path: "/rest/v1/items?select=name", body: `{"id":1,"name":"pear"}`, headers: []string{merge}, status: 200, want: `[{"name":"pear"}]`},
		{name: "merge by another key", method: "POST", path: "/rest/v1/items?select=id,price&on_conflict=name,owner", body: `{"owner":"red","name":"apple","price":7}`, headers: []string{merge}, status: 200, want: `[{"id":1,"price":7.00}]`},
		{name: "ignore", method: "POST", path: "/rest/v1/items?select=id", body: `[{"id":1,"name":"pear"},{"id":9,"name":"new"},{"id":9,"name":"again"}]`, headers: []string{ignore}, status: 201, want: `[{"id":9}]`},
		{name: "ignore and count", method: "POST", path: "/rest/v1/items", body: `{"id":1,"name":"pear"}`, headers: []string{"Prefer: resolution=ignore-duplicates,count=exact"}, status: 201, header: "Content-Range: */0"},
		{name: "the first preference counts", method: "POST", path: "/rest/v1/items?select=id", body: `{"id":1,"name":"pear"}`, headers: []string{"Prefer: resolution=ignore-duplicates,resolution=merge-duplicates,return=representation"}, status: 201, want: `[]`},
		{name: "update", method: "PATCH", path: "/rest/v1/items?owner=eq.red", body: `{"price":3}`, status: 204, header: "Content-Range: 0-1/*"},
		{name: "update and show in order", method: "PATCH", path: "/rest/v1/items?owner=eq.red&select=id,price&order=id.desc", body: `{"price":3}`, headers: []string{whole}, status: 200,
			want: "[{\"id\":2,\"price\":3.00}, \n {\"id\":1,\"price\":3.00}]"},
		{name: "update with a null", method: "PATCH", path: "/rest/v1/items?id=eq.1&select=price,meta", body: `{"price":null,"meta":null}`, headers: []string{whole}, status: 200, want: `[{"price":null,"meta":null}]`},
		{name: "update of nothing", method: "PATCH", path: "/rest/v1/items?id=eq.99", body: `{"price":3}`, headers: []string{whole}, status: 200, want: `[]`, header: "Content-Range: */*"},
		{name: "update by nothing", method: "PATCH", path: "/rest/v1/items?id=eq.1", body: `{}`, headers: []string{whole}, status: 200, want: `[]`},
		{name: "delete", method: "DELETE", path: "/rest/v1/items?id=in.(1,2)", status: 204, header: "Content-Range: */*"},
		{name: "delete and show", method: "DELETE", path: "/rest/v1/items?id=eq.2&select=name", headers: []string{whole}, status: 200, want: `[{"name":"Banana"}]`},
		{name: "delete and count", method: "DELETE", path: "/rest/v1/items?id=in.(1,2)", headers: []string{"Prefer: count=exact"}, status: 204, header: "Content-Range: */2"},
	} {
		t.Run(e.name, func(t *testing.T) { e.run(t, openShop(t, standin.Options{})) })
	}
}

func TestGrantsHoldForREST(t *testing.T) {
	s := openShop(t, standin.Options{})
	anon, red := "apikey: "+s.AnonKey(), "Authorization: Bearer "+s.team(t, "red")
	denied := `{"code":"42501","details":null,"hint":null,"message":"permission denied for table partly"}`
	for _, e := range []exchange{
		{name: "granted columns", path: "/rest/v1/partly?select=shown,id&shown=eq.s&order=id", headers: []string{anon}, status: 200, want: `[{"shown":"s","id":1}]`},
		{name: "all columns", path: "/rest/v1/partly", headers: []string{anon}, status: 401, want: denied},
		{name: "another column", path: "/rest/v1/partly?select=id,hidden", headers: []string{anon}, status: 401, want: denied},
		{name: "a filter on it", path: "/rest/v1/partly?select=id&hidden=eq.h", headers: []string{anon}, status: 401, want: denied},
		{name: "a filter on it within a tree", path: "/rest/v1/partly?select=id&or=(id.eq.1,and(id.gt.0,hidden.eq.h))", headers: []string{anon}, status: 401, want: denied},
		{name: "order by it", path: "/rest/v1/partly?select=id&order=hidden", headers: []string{anon}, status: 401, want: denied},
		{name: "a role with nothing", path: "/rest/v1/partly?select=id", headers: []string{anon, red}, status: 403, want: denied},
		{name: "a role that isn't named", path: "/rest/v1/partly", status: 200, want: `[{"id":1,"shown":"s","hidden":"h"}]`},
		{name: "an answer to a write", method: "PATCH", path: "/rest/v1/partly?id=eq.1", body: `{"shown":"t"}`, headers: []string{anon, "Prefer: return=representation"}, status: 401, want: denied},
		{name: "which was not written then", path: "/rest/v1/partly?select=shown", status: 200, want: `[{"shown":"s"}]`},
	} {
		if e.method == "" {
			e.method = "GET"
		}
		t.Run(e.name, func(t *testing.T) { e.run(t, s) })
	}
}

func TestRowsWithoutIdentityStayAsTheyAre(t *testing.T) {
	s := openShop(t, standin.Options{})
	for _, e := range []exchange{
		{name: "update", method: "PATCH", path: "/rest/v1/log?n=eq.1", body: `{"n":2}`, status: 500, want: `{"code":"55000","details":null,"hint":"To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.","message":"cannot update table \"log\" because it does not have a replica identity and publishes updates"}`},
		{name: "delete", method: "DELETE", path: "/rest/v1/log?n=eq.1", status: 500, want: `{"code":"55000","details":null,"hint":"To enable deleting from the table, set REPLICA IDENTITY using ALTER TABLE.","message":"cannot delete from table \"log\" because it does not have a replica identity and publishes deletes"}`},
	} {
		t.Run(e.name, func(t *testing.T) { e.run(t, s) })
	}
}

func TestRowSecurityHoldsForREST(t *testing.T) {
	s := openShop(t, standin.Options{})
	red := "Authorization: Bearer " + s.team(t, "red")
	for _, e := range []exchange{
		{name: "own rows", method: "GET", path: "/rest/v1/items?select=id", headers: []string{red}, status: 200, want: "[{\"id\":1}, \n {\"id\":2}]"},
		{name: "count of own rows", method: "HEAD", path: "/rest/v1/items", headers: []string{red, "Prefer: count=exact"}, status: 200, header: "Content-Range: 0-1/2"},
		{name: "another's row by its key", method: "GET", path: "/rest/v1/items?id=eq.3", headers: []string{red}, status: 200, want: "[]"},
		{name: "update of another's row", method: "PATCH", path: "/rest/v1/items?id=eq.3", body: `{"price":1}`, headers: []string{red, "Prefer: return=representation"}, status: 200, want: "[]"},
		{name: "deletion of another's row", method: "DELETE", path: "/rest/v1/items?id=eq.3", headers: []string{red, "Prefer: count=exact"}, status: 204, header: "Content-Range: */0"},
		{name: "insert for another", method: "POST", path: "/rest/v1/items", body: `{"name":"x","owner":"blue"}`, headers: []string{red}, status: 403,
			want: `{"code":"42501","details":null,"hint":null,"message":"new row violates row-level security policy for table \"items\""}`},
		{name: "giving a row away", method: "PATCH", path: "/rest/v1/items?id=eq.1", body: `{"owner":"blue"}`, headers: []string{red}, status: 403, want: `{"code":"42501",…`},
		{name: "merging into another's row", method: "POST", path: "/rest/v1/items", body: `{"id":3,"name":"x","owner":"red"}`, headers: []string{red, "Prefer: resolution=merge-duplicates"}, status: 403,
			want: `{"code":"42501","details":null,"hint":null,"message":"new row violates row-level security policy (USING expression) for table \"items\""}`},
		{name: "ignoring another's row", method: "POST", path: "/rest/v1/items", body: `{"id":3,"name":"x","owner":"red"}`, headers: []string{red, "Prefer: resolution=ignore-duplicates,return=representation"}, status: 201, want: "[]"},
		{name: "own insert", method: "POST", path: "/rest/v1/items?select=id", body: `{"name":"x","owner":"red"}`, headers: []string{red, "Prefer: return=representation"}, status: 201, want: "[{\"id\":5}]"}, // the refused insert took 4
		{name: "anon reads by its own rule", method: "GET", path: "/rest/v1/items", headers: []string{"apikey: " + s.AnonKey()}, status: 200, want: "[]"},
		{name: "anon must sign in to write", method: "POST", path: "/rest/v1/items", body: `{"name":"x"}`, headers: []string{"apikey: " + s.AnonKey()}, status: 401, want: `{"code":"42501",…`},
		{name: "writing what one may not read", method: "POST", path: "/rest/v1/drops", body: `{"line":"x"}`, headers: []string{"apikey: " + s.AnonKey()}, status: 201},
		{name: "and asking to see it", method: "POST", path: "/rest/v1/drops", body: `{"line":"y"}`, headers: []string{"apikey: " + s.AnonKey(), "Prefer: return=representation"}, status: 401, want: `{"code":"42501",…`},
		{name: "which was not written then", method: "GET", path: "/rest/v1/drops", status: 200, want: `[{"line":"x"}]`},
		{name: "a user's token beside the anon key", method: "GET", path: "/rest/v1/items?select=id&limit=1", headers: []string{"apikey: " + s.AnonKey(), red}, status: 200, want: `[{"id":1}]`},
		{name: "a table without row security", method: "GET", path: "/rest/v1/sales", headers: []string{"apikey: " + s.AnonKey()}, status: 200, want: "[]"},
	} {
		t.Run(e.name, func(t *testing.T) { e.run(t, s) })
	}
}

func TestAnswersAreCutAtTheMostRows(t *testing.T) {
	s := openShop(t, standin.Options{})
	mustTx(t, s.DB(), func(tx *standin.Tx) error {
		for i := range 1500 {
			if _, err := tx.Insert("log", map[string]any{"n": i}); err != nil {
				return err
			}
		}
		return nil
	})
	resp, body := s.ask(t, http.MethodGet, "/rest/v1/log?limit=1400", "", "Prefer: count=exact")
	if got := strings.Count(body, "{"); got != 1000 || resp.Header.Get("Content-Range") != "0-999/1500" || resp.StatusCode != 206 {
		t.Errorf("%d rows, status %d, range %s", got, resp.StatusCode, resp.Header.Get("Content-Range"))
	}
}

func BenchmarkReadByKeyAmongManyRows(b *testing.B) {
	s := openShop(b, standin.Options{})
	mustTx(b, s.DB(), func(tx *standin.Tx) error {
		for i := range 10_000 {
			if _, err := tx.Insert("sales", map[string]any{"id": i}); err != nil {
				return err
			}
		}
		return nil
	})
	for i := 0; b.Loop(); i++ {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/rest/v1/sales?id=eq."+strconv.Itoa(i%10_000), nil)
		r.Header.Set("apikey", s.ServiceKey())
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

// closeServer ends a server at the end of a test.
func closeServer(t testing.TB, s *standin.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func mustTx(t testing.TB, db *sql.DB, fn func(tx *sql.Tx) error) {
	t.Helper()
	if err := db.Tx(fn); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, db *sql.DB, table string) int {
	t.Helper()
	n := 0
	mustTx(t, db, func(tx *sql.Tx) error {
		rows, err := tx.Select(table, nil)
		n = len(rows)
		return err
	})
	return n
}
